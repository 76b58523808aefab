//! Which of the capabilities that the kernel asks for this process lacks.

use std::fs;

/// A capability neti needs, with what for.
struct Capability {
    number: u32,
    name: &'static str,
    what_for: &'static str,
}

const NEEDED: [Capability; 3] = [
    Capability { number: 12, name: "CAP_NET_ADMIN", what_for: "to attach programs and set routes" },
    Capability { number: 38, name: "CAP_PERFMON", what_for: "to load programs that read packets" },
    Capability { number: 39, name: "CAP_BPF", what_for: "to load programs and make maps" },
];

/// Stands for CAP_BPF and CAP_PERFMON (`bpf_capable`, `perfmon_capable`), not for CAP_NET_ADMIN.
const SYS_ADMIN: u32 = 21;
const NET_ADMIN: u32 = 12;

/// The missing capabilities, each with what it is for; empty if none is missing.
pub fn missing() -> Vec<String> {
    // A system without /proc cannot be asked: the operation itself then tells.
    let Ok(status) = fs::read_to_string("/proc/self/status") else { return Vec::new() };
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    effective.map(missing_from).unwrap_or_default()
}

fn missing_from(effective: u64) -> Vec<String> {
    let has = |number: u32| effective >> number & 1 == 1;
    NEEDED
        .iter()
        .filter(|needed| !has(needed.number))
        .filter(|needed| needed.number == NET_ADMIN || !has(SYS_ADMIN))
        .map(|needed| format!("{} {}", needed.name, needed.what_for))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_what_is_missing() {
        let check = |effective: u64, expected: &[&str]| {
            let names: Vec<_> = missing_from(effective)
                .iter()
                .map(|text| text.split(' ').next().unwrap().to_owned())
                .collect();
            assert_eq!(names, expected, "{effective:#x}");
        };
        check(u64::MAX, &[]);
        check(0, &["CAP_NET_ADMIN", "CAP_PERFMON", "CAP_BPF"]);
        check(1 << NET_ADMIN | 1 << SYS_ADMIN, &[]);
        check(1 << SYS_ADMIN, &["CAP_NET_ADMIN"]);
        check(1 << NET_ADMIN | 1 << 39, &["CAP_PERFMON"]);
    }
}
