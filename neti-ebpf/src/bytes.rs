//! Access to a packet's bytes in a form that the verifier follows.

use core::arch::asm;

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
        Some(unsafe { pointer.read_unaligned() })
    }

    #[inline(always)]
    pub fn store<T: Plain>(self, offset: usize, value: &T) -> Option<()> {
        let pointer = self.at::<T>(offset)?;
        // SAFETY: `at` has checked that a `T` lies there.
        unsafe { pointer.write_unaligned(*value) };
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
