//! Handles: objects of the library behind pointers that callers hold.

use crate::arguments::exclusive;
use crate::status::{Result, WmStatus, guard};

/// As [`guard`] for calls that make a handle: `*out` is NULL unless they succeed.
pub(crate) unsafe fn create<T>(out: *mut *mut T, step: impl FnOnce() -> Result<T>) -> WmStatus {
    guard(|| {
        let out = exclusive(out, "out")?;
        *out = std::ptr::null_mut();
        *out = Box::into_raw(Box::new(step()?));
        Ok(())
    })
}

/// Ends a handle that [`create`] made; NULL is none.
pub(crate) unsafe fn free<T>(handle: *mut T) {
    guard(|| {
        if !handle.is_null() {
            drop(Box::from_raw(handle));
        }
        Ok(())
    });
}
