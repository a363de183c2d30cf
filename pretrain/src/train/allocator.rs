//! What the programs' allocator does with memory that a step frees.

use libmimalloc_sys::{mi_option_set_default, mi_option_t};

/// `mi_option_purge_delay` of mimalloc's public header, which the bindings leave out.
const PURGE_DELAY: mi_option_t = 15;

/// Has freed memory stay mapped, unless the environment sets MIMALLOC_PURGE_DELAY: the next step asks for the same amounts,
/// and a page that was given back costs a fault and 4 KiB of zeros.
pub(super) fn keep_freed_memory() {
    // SAFETY: the option exists; a value that another thread reads at the same time is the old or the new one.
    unsafe { mi_option_set_default(PURGE_DELAY, -1) };
}
