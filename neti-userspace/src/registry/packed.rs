//! Large settings, as they stand in a registry that takes no large values: compressed. etcd takes 1.5 MiB and ZooKeeper
//! 1 MiB, which is fewer than 100,000 ranges of addresses as text.

use std::{
    borrow::Cow,
    io::{Read, Write},
};

use flate2::{Compression, read::GzDecoder, write::GzEncoder};

/// Text of up to so many bytes stands as it is, for whoever looks at the registry with its own tools.
const PLAIN: usize = 256 << 10;

/// More than this is no text of ours. It bounds what a few bytes in a registry can take of every host.
const LARGEST: u64 = 64 << 20;

/// What begins gzip's format, and no JSON (RFC 1952, 2.3.1).
const MAGIC: &[u8] = &[0x1f, 0x8b];

/// The settings as they are to be written.
pub fn pack(text: &str) -> Cow<'_, [u8]> {
    let text = text.as_bytes();
    if text.len() <= PLAIN {
        return Cow::Borrowed(text);
    }
    let mut packed = GzEncoder::new(Vec::new(), Compression::best());
    let written = packed.write_all(text).and_then(|()| packed.finish());
    Cow::Owned(written.expect("memory takes all that is written to it"))
}

/// The settings' text. What cannot be unpacked stays as it is, and is no JSON.
pub fn unpack(stands: &[u8]) -> Cow<'_, [u8]> {
    if !stands.starts_with(MAGIC) {
        return Cow::Borrowed(stands);
    }
    let mut text = Vec::new();
    match GzDecoder::new(stands).take(LARGEST + 1).read_to_end(&mut text) {
        Ok(length) if length as u64 <= LARGEST => Cow::Owned(text),
        _ => Cow::Borrowed(stands),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_text_is_packed() {
        for (length, plain) in [(0, true), (PLAIN, true), (PLAIN + 1, false)] {
            let text = "neti ".repeat(length / 5 + 1)[..length].to_owned();
            let packed = pack(&text);
            assert_eq!(packed == text.as_bytes(), plain, "{length}");
            assert_eq!(unpack(&packed), text.as_bytes());
        }
    }

    #[test]
    fn what_cannot_be_unpacked_stays() {
        let packed = pack(&" ".repeat(PLAIN * 2)).into_owned();
        let large = pack(&" ".repeat(LARGEST as usize + 1)).into_owned();
        for broken in [&packed[..packed.len() - 9], &large, MAGIC, b"{}", b""] {
            assert_eq!(unpack(broken), broken);
        }
    }
}
