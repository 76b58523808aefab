use core::mem::size_of;

use super::*;
use crate::family::{V4, V6};

#[test]
fn layout_is_fixed() {
    assert_eq!(size_of::<Settings<V4>>(), 8 + 32 + 32 + 64 + 96 + 40);
    assert_eq!(offset_of!(Settings<V4>, uplink), 232);
    assert_eq!(size_of::<Member<V4>>(), 52);
    assert_eq!(offset_of!(Member<V4>, host), 36);
    assert_eq!(size_of::<Path<V4>>(), 36);
    assert_eq!((size_of::<hops::Hop>(), offset_of!(hops::Hop, address)), (16, 8));
    assert_eq!(size_of::<RangeKey<V4>>(), 12);
    assert_eq!(size_of::<Range>(), 16);
    assert_eq!(size_of::<SubjectKey>(), 12);
    assert_eq!(size_of::<DropKey<V4>>(), 12);
    assert_eq!(size_of::<Dropped>(), 24);
    assert_eq!(Flow::<V4>::TUPLE, 12);
    assert_eq!(size_of::<Flow<V4>>(), 16);
    assert_eq!(size_of::<Hint<V4>>(), 24);
    assert_eq!(size_of::<FragmentKey<V4>>(), 16);
    assert_eq!(size_of::<Fragment<V4>>(), 16);
    assert_eq!(size_of::<TwinOut>(), 4);
    assert_eq!(size_of::<TwinIn<V4>>(), 16);
    assert_eq!(size_of::<Counter>(), 16);

    assert_eq!(size_of::<Settings<V6>>(), 32 + 128 + 128 + 256 + 192 + 40);
    assert_eq!(offset_of!(Settings<V6>, uplink), 736);
    assert_eq!(size_of::<Member<V6>>(), 160);
    assert_eq!(offset_of!(Member<V6>, host), 144);
    assert_eq!(size_of::<Path<V6>>(), 96);
    assert_eq!(size_of::<RangeKey<V6>>(), 24);
    assert_eq!(size_of::<DropKey<V6>>(), 24);
    assert_eq!(Flow::<V6>::TUPLE, 36);
    assert_eq!(size_of::<Flow<V6>>(), 40);
    assert_eq!(size_of::<Hint<V6>>(), 48);
    assert_eq!(size_of::<FragmentKey<V6>>(), 40);
    assert_eq!(size_of::<Fragment<V6>>(), 40);
    assert_eq!(size_of::<TwinIn<V6>>(), 40);
}

#[test]
fn none_prefix_contains_nothing() {
    for address in [[0, 0, 0, 0], [255, 255, 255, 255], [10, 0, 0, 1]] {
        assert!(!Prefix::<V4>::NONE.contains(&address));
    }
    let prefix = Prefix::<V4> { network: [10, 1, 0, 0], mask: V4::mask(16) };
    assert!(prefix.contains(&[10, 1, 255, 7]));
    assert!(!prefix.contains(&[10, 2, 0, 0]));
    assert_eq!(V4::mask(0), [0; 4]);
    assert_eq!(V4::mask(32), [255; 4]);
}
