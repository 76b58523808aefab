use neti_common::maps::AllowEntry;
use proptest::prelude::*;

use super::*;
use crate::store::{Store, memory::MemoryStore};

/// States over few keys and values, so that two of them share some.
fn states() -> impl Strategy<Value = MapState> {
    let map = || prop::collection::btree_map(0u8..8, 0u32..3, 0..8);
    let words = || prop::collection::vec((0usize..64, 0u64..3), 0..6);
    (map(), map(), map(), words(), words(), 0u32..3).prop_map(
        |(members, overlays, allow, open_ports, vlans, uplink)| {
            let mut state = MapState::empty();
            state.settings.uplink = uplink;
            for (key, generation) in members {
                let real = [10, 0, 0, key];
                state.members.insert(real, member(real, generation));
            }
            for (key, generation) in overlays {
                let overlay = [100, 64, 0, key];
                state.overlays.insert(overlay, path(overlay, generation));
            }
            for (key, count) in allow {
                let entries = [AllowEntry::default(); neti_common::maps::ALLOW_ENTRIES];
                state.allow.insert((32, [192, 0, 2, key]), Allow { count, entries });
            }
            for (word, bits) in open_ports {
                state.open_ports[word * 32] = bits;
            }
            for (word, bits) in vlans {
                state.vlans[word] = bits;
            }
            state
        },
    )
}

fn member(real: [u8; 4], generation: u32) -> Member<V4> {
    let overlays = [[0; 4]; neti_common::maps::OVERLAYS];
    Member { real, overlays, host: 0, generation, role: 0, overlay_count: 0, flags: 0 }
}

fn path(overlay: [u8; 4], generation: u32) -> Path<V4> {
    let real = [10, 0, 0, 1];
    let reals = [real, [0; 4]];
    Path { overlay, real, reals, primary: overlay, host: 0, generation, flags: 0, _pad: [0; 3] }
}

proptest! {
    #[test]
    fn applied_to_what_there_is_it_gives_what_is_wanted(have in states(), want in states()) {
        let mut store = MemoryStore { state: have.clone() };
        store.apply(&diff(&have, &want)).unwrap();
        prop_assert_eq!(&store.state, &want);
    }

    #[test]
    fn nothing_to_do_is_empty_and_no_change_is_idle(have in states(), want in states()) {
        let changes = diff(&have, &want);
        prop_assert_eq!(changes.is_empty(), have == want);
        for path in &changes.put_overlays {
            prop_assert_ne!(have.overlays.get(&path.overlay), Some(path));
        }
        for member in &changes.put_members {
            prop_assert_ne!(have.members.get(&member.real), Some(member));
        }
        for real in &changes.remove_members {
            prop_assert!(have.members.contains_key(real));
        }
    }
}
