//! Access to a packet's bytes in a form that the verifier follows.

use core::{arch::asm, mem::transmute_copy};

use neti_common::packet::Plain;

/// The same offset, of which the verifier no longer knows more than that it is below 512 ([`neti_common::packet::Packet::opaque`]).
#[inline(always)]
pub fn opaque(mut offset: usize, unknown: usize) -> usize {
    // SAFETY: arithmetic.
    unsafe {
        asm!(
            "{offset} ^= {unknown}",
            "{offset} ^= {unknown}",
            "{offset} &= 511",
            offset = inout(reg) offset,
            unknown = in(reg) unknown,
            options(pure, nomem, nostack)
        );
    }
    offset
}

/// The packet's readable bytes, as its context has them at this moment; any helper that changes the packet ends their
/// validity.
#[derive(Clone, Copy)]
pub struct Bytes {
    pub start: usize,
    pub end: usize,
}

impl Bytes {
    #[inline(always)]
    pub fn load<T: Plain>(self, offset: usize) -> Option<T> {
        let pointer = self.at::<T>(offset)?;
        // SAFETY: `at` has checked that a `T` lies there.
        Some(unsafe { read(pointer) })
    }

    #[inline(always)]
    pub fn store<T: Plain>(self, offset: usize, value: &T) -> Option<()> {
        let pointer = self.at::<T>(offset)?;
        // SAFETY: `at` has checked that a `T` lies there.
        unsafe { write(pointer, value) };
        Some(())
    }

    /// Where a `T` lies at `offset`, if it does. The sum is made in assembly because LLVM would make it again after the
    /// check, and the verifier remembers the check of this register only; the mask is the bound that the verifier needs
    /// where it has lost sight of the offset's own.
    #[inline(always)]
    fn at<T>(self, offset: usize) -> Option<*mut T> {
        let mut at = self.start;
        // SAFETY: arithmetic. No offset reaches the mask: the deepest header that we read starts before byte 400.
        unsafe {
            asm!(
                "{offset} &= 511",
                "{at} += {offset}",
                at = inout(reg) at,
                offset = inout(reg) offset => _,
                options(pure, nomem, nostack)
            );
        }
        if at + size_of::<T>() > self.end { None } else { Some(at as *mut T) }
    }
}

/// Makes functions that load and store a word wherever it lies, as x86-64 and arm64 can and the verifier allows there:
/// LLVM would do it byte by byte, and keep all those bytes on the stack meanwhile.
macro_rules! word {
    ($load:ident, $store:ident, $type:ty, $name:literal) => {
        #[inline(always)]
        unsafe fn $load(at: *const $type) -> $type {
            let word: u64;
            // SAFETY: the caller's.
            unsafe {
                asm!(
                    concat!("{word} = *(", $name, " *)({at} + 0)"),
                    at = in(reg) at,
                    word = out(reg) word,
                    options(pure, readonly, nostack)
                );
            }
            word as $type
        }

        #[inline(always)]
        unsafe fn $store(at: *mut $type, word: $type) {
            // SAFETY: the caller's.
            unsafe {
                asm!(
                    concat!("*(", $name, " *)({at} + 0) = {word}"),
                    at = in(reg) at,
                    word = in(reg) word as u64,
                    options(nostack)
                );
            }
        }
    };
}

word!(load16, store16, u16, "u16");
word!(load32, store32, u32, "u32");
word!(load64, store64, u64, "u64");

/// Reads a `T`, aligned or not.
///
/// # Safety
///
/// A `T` lies there.
#[inline(always)]
unsafe fn read<T: Plain>(at: *const T) -> T {
    // SAFETY: the words have the size of `T`, for which every bit pattern is valid.
    unsafe {
        match size_of::<T>() {
            2 => transmute_copy(&load16(at.cast())),
            4 => transmute_copy(&load32(at.cast())),
            8 => transmute_copy(&load64(at.cast())),
            16 => transmute_copy(&[load64(at.cast()), load64(at.cast::<u64>().add(1))]),
            _ => at.read_unaligned(),
        }
    }
}

/// Writes a `T`, aligned or not.
///
/// # Safety
///
/// There is room for a `T`.
#[inline(always)]
unsafe fn write<T: Plain>(at: *mut T, value: &T) {
    // SAFETY: the words have the size of `T`.
    unsafe {
        match size_of::<T>() {
            2 => store16(at.cast(), transmute_copy(value)),
            4 => store32(at.cast(), transmute_copy(value)),
            8 => store64(at.cast(), transmute_copy(value)),
            16 => {
                let [first, second]: [u64; 2] = transmute_copy(value);
                store64(at.cast(), first);
                store64(at.cast::<u64>().add(1), second);
            }
            _ => at.write_unaligned(*value),
        }
    }
}
