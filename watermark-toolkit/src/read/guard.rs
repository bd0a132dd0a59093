//! Libraries that panic on damaged files.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

thread_local! {
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Whether a panic of this thread would be taken for a damaged file, so that a panic hook need not report it.
#[must_use]
pub fn panic_is_handled() -> bool {
    GUARDED.get()
}

/// Runs what may panic on data that contradict themselves; `Err` if it did.
pub(crate) fn panics<T>(read: impl FnOnce() -> T) -> Result<T, ()> {
    GUARDED.set(true);
    let result = catch_unwind(AssertUnwindSafe(read));
    GUARDED.set(false);
    result.map_err(|_| ())
}
