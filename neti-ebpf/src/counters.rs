//! What each CPU counts of verdicts, and how much time it has left to note whose packets were dropped.

use aya_ebpf::{helpers::bpf_jiffies64, macros::map, maps::PerCpuArray};
use neti_common::{
    maps::{Counter, Notes},
    verdict::{COUNTERS as COUNTER_SLOTS, Hook, Verdict, counter_index},
};

#[map(name = "notes")]
static NOTES: PerCpuArray<Notes> = PerCpuArray::with_max_entries(1, 0);
#[map(name = "counters")]
static COUNTERS: PerCpuArray<Counter> = PerCpuArray::with_max_entries(COUNTER_SLOTS, 0);

/// Whether there is time to note whose packet came to this end; the program that does so is then told which it is.
#[inline(always)]
pub fn may_note(verdict: Verdict) -> bool {
    let Some(notes) = NOTES.get_ptr_mut(0) else { return false };
    // SAFETY: this CPU's own, and the program that notes is the next to run on it; the helper takes no arguments.
    unsafe {
        let notes = &mut *notes;
        (notes.reason, notes.would) = (verdict.reason as u32, verdict.would as u32);
        notes.take(bpf_jiffies64())
    }
}

/// Whether there is a place for a source that is not there yet.
#[inline(always)]
pub fn may_note_another(now: u64) -> bool {
    // SAFETY: this CPU's own, and nothing else runs on it meanwhile.
    NOTES.get_ptr_mut(0).is_some_and(|notes| unsafe { (*notes).take_fresh(now) })
}

/// What [`may_note`] has told.
#[inline(always)]
pub fn noted() -> (u8, bool) {
    let Some(notes) = NOTES.get(0) else { return (0, false) };
    (notes.reason as u8, notes.would != 0)
}

/// Counts a verdict.
#[inline(always)]
pub fn count(hook: Hook, verdict: Verdict, bytes: u32) {
    if let Some(counter) = COUNTERS.get_ptr_mut(counter_index(hook, verdict.reason, verdict.would))
    {
        // SAFETY: this CPU's own slot; the verifier has seen the check.
        unsafe {
            (*counter).packets += 1;
            (*counter).bytes += bytes as u64;
        }
    }
}
