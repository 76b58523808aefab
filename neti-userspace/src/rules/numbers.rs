//! The numbers by which the maps know hosts and roles: the same on every host and at every start.

use crate::membership::HostId;

/// The number of a host: FNV-1a of its id.
pub fn of_host(id: &HostId) -> u32 {
    fnv(id.as_str())
}

/// The number of a role, and 0 for no role.
pub fn of_role(role: &str) -> u32 {
    if role.is_empty() { 0 } else { fnv(role) }
}

/// FNV-1a of 32 bits.
fn fnv(text: &str) -> u32 {
    let step = |hash: u32, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    text.bytes().fold(0x811c_9dc5, step)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::membership::sample::id;

    #[test]
    fn a_name_has_the_same_number_everywhere() {
        // The published vector of FNV-1a for "foobar".
        assert_eq!(of_host(&id("foobar")), 0xbf9c_f968);
        assert_eq!(of_role("foobar"), 0xbf9c_f968);
        assert_eq!(of_role(""), 0);
    }
}
