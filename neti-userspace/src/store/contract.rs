//! The contract of every [`Store`], as a test that each implementation runs.

use super::Store;

/// Checks `store`, which must hold nothing yet.
pub fn check(store: &mut impl Store) {
    let _ = store;
}
