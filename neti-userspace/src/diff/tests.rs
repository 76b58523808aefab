use neti_common::maps::{OVERLAYS, REALS};
use proptest::prelude::*;

use super::*;
use crate::{
    membership::sample::at,
    store::{Store, memory::MemoryStore},
};

/// States over few keys and values, so that two of them share some.
fn states() -> impl Strategy<Value = MapState> {
    let words = || prop::collection::vec((0usize..64, 0u64..3), 0..6);
    (of_family(), of_family(), 0..3_u32, words()).prop_map(|(v4, v6, others, vlans)| {
        let mut filter = FilterState::empty();
        filter.policy.others = others;
        let mut state = MapState { v4, v6, filter: Arc::new(filter), ..MapState::empty() };
        for (word, bits) in vlans {
            state.vlans[word] = bits;
        }
        state
    })
}

fn of_family<F: Family>() -> impl Strategy<Value = FamilyState<F>> {
    let map = || prop::collection::btree_map(0u8..8, 0u32..3, 0..8);
    (map(), map(), 0u32..3).prop_map(|(members, overlays, uplink)| {
        let key = |net: &str, n: u8| at::<F>(&format!("{net}.{n}"));
        let mut state = FamilyState::empty();
        state.settings.uplink = uplink;
        for (n, generation) in members {
            let real = key("10.0.0", n);
            state.members.insert(real, member(real, generation));
        }
        for (n, generation) in overlays {
            let overlay = key("100.64.0", n);
            state.overlays.insert(overlay, path(overlay, generation));
        }
        state
    })
}

fn member<F: Family>(real: F::Addr, generation: u32) -> Member<F> {
    let overlays = [F::UNSPECIFIED; OVERLAYS];
    Member {
        real,
        overlays,
        host: 0,
        generation,
        role: 0,
        overlay_count: 0,
        flags: 0,
        _pad: [0; 2],
    }
}

fn path<F: Family>(overlay: F::Addr, generation: u32) -> Path<F> {
    let reals = [F::UNSPECIFIED; REALS];
    let real = reals[0];
    Path { overlay, real, reals, primary: overlay, host: 0, generation, flags: 0, _pad: [0; 7] }
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
        if let Some(InForce { v4, v6, filter }) = &changes.in_force {
            prop_assert_eq!((v4, v6), (&want.v4.settings, &want.v6.settings), "both or none");
            prop_assert_eq!(filter, &want.filter);
        }
        no_idle_change(&changes.v4, &have.v4)?;
        no_idle_change(&changes.v6, &have.v6)?;
    }
}

fn no_idle_change<F: Family>(
    changes: &FamilyChanges<F>,
    have: &FamilyState<F>,
) -> Result<(), TestCaseError> {
    for path in &changes.put_overlays {
        prop_assert_ne!(have.overlays.get(&path.overlay), Some(path));
    }
    for member in &changes.put_members {
        prop_assert_ne!(have.members.get(&member.real), Some(member));
    }
    for real in &changes.remove_members {
        prop_assert!(have.members.contains_key(real));
    }
    Ok(())
}
