//! Incremental Internet checksums (RFC 1624).
//!
//! A checksum is never byte-swapped here: the one's-complement sum is the same in either byte order, so all sums are
//! taken over words as they lie in memory. 0x0000 and 0xffff are one and the same sum; only UDP tells them apart.

/// Adds with the carry folded back in.
#[inline(always)]
pub fn add(a: u32, b: u32) -> u32 {
    let sum = a as u64 + b as u64;
    (sum as u32).wrapping_add((sum >> 32) as u32)
}

/// Folds a sum to 16 bits.
#[inline(always)]
pub fn fold(sum: u32) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    ((sum & 0xffff) + (sum >> 16)) as u16
}

/// The difference `new - old` in one's complement: what [`apply`] and the kernel's `csum_replace_by_diff` take.
#[inline(always)]
pub fn difference(old: u32, new: u32) -> u32 {
    add(!old, new)
}

/// [`difference`] of a 16-bit word.
#[inline(always)]
pub fn difference16(old: [u8; 2], new: [u8; 2]) -> u32 {
    // `!old` stays within 16 bits, so that the halves of the sum keep their weight.
    (!u16::from_ne_bytes(old)) as u32 + u16::from_ne_bytes(new) as u32
}

/// The checksum after a change of `difference` (RFC 1624 eqn. 3: HC' = ~(~HC + ~m + m')).
#[inline(always)]
pub fn apply(checksum: [u8; 2], difference: u32) -> [u8; 2] {
    (!fold(add((!u16::from_ne_bytes(checksum)) as u32, difference))).to_ne_bytes()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The checksum computed from scratch (RFC 1071).
    fn recomputed(data: &[u8]) -> [u8; 2] {
        let sum = data
            .chunks(2)
            .map(|word| u16::from_be_bytes([word[0], word.get(1).copied().unwrap_or(0)]) as u32)
            .sum();
        (!fold(sum)).to_be_bytes()
    }

    /// 0x0000 and 0xffff are one sum.
    fn is_same_sum(a: [u8; 2], b: [u8; 2]) -> bool {
        let [a, b] = [a, b].map(u16::from_ne_bytes);
        a == b || (a == 0 && b == 0xffff) || (a == 0xffff && b == 0)
    }

    proptest! {
            #[test]
            fn incremental_equals_recomputed(
                mut data in proptest::collection::vec(any::<u8>(), 8..200),
                at in 0usize..1000,
                new in any::<[u8; 4]>(),
            ) {
                data.push(1); // A sum of all zeros has two representations; any set bit leaves one.
                let before = recomputed(&data);
                let at = (at % (data.len() / 4)) * 4;
                let old: [u8; 4] = data[at..at + 4].try_into().unwrap();
                data[at..at + 4].copy_from_slice(&new);
                let difference = difference(u32::from_ne_bytes(old), u32::from_ne_bytes(new));
                let after = apply(before, difference);
                let expected = recomputed(&data);
                prop_assert!(is_same_sum(after, expected));
            }

            #[test]
            fn sixteen_bit_difference_equals_thirty_two_bit(checksum in any::<[u8; 2]>(), old in any::<[u8; 2]>(), new in any::<[u8; 2]>()) {
                let wide = |word: [u8; 2]| u32::from_ne_bytes([word[0], word[1], 0, 0]);
                let a = apply(checksum, difference16(old, new));
                let b = apply(checksum, difference(wide(old), wide(new)));
    prop_assert!(is_same_sum(a, b));
            }
        }
}
