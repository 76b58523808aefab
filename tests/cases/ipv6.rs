//! What IPv6 alone has: extension headers, and its link's own protocols.

mod discovery;
mod extensions;

use neti_common::family::V6;

use crate::Case;

pub fn cases() -> Vec<Case<V6>> {
    [extensions::cases(), discovery::cases()].concat()
}
