//! Results of calls: a status, a message for people, and the wall that no panic passes.

use std::any::Any;
use std::cell::RefCell;
use std::ffi::{CString, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};

use watermark_core::{Error, ErrorKind};

/// What a call came to. Everything but WM_STATUS_OK leaves a message for people: `wm_last_error`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WmStatus {
    /// Done.
    Ok = 0,
    /// A pointer is NULL or misaligned, a buffer too short, a struct_size or a constant unknown, a text not UTF-8. Nothing has
    /// happened.
    InvalidArgument = 1,
    /// A key path is malformed.
    InvalidPath = 2,
    /// The key does not lie above the profile's path.
    OutsideSubtree = 3,
    /// A key file is malformed.
    InvalidKeyFile = 4,
    /// A profile is malformed or contradicts itself.
    InvalidProfile = 5,
    /// A file was written by a newer or unknown version of its format.
    UnsupportedVersion = 6,
    /// A parameter is outside its domain.
    InvalidParameter = 7,
    /// A token id is at or above 2^24, or at or above vocab_size.
    TokenOutOfRange = 8,
    /// Logits hold NaN or +inf or allow no token.
    InvalidLogits = 9,
    /// A passphrase does not open a key file, or the file was changed.
    WrongPassphrase = 10,
    /// Something that the profile or key file needs was not given: an account, a passphrase, a proxy.
    MissingInput = 11,
    /// A defect of this library; the session can be used again after wm_session_reset.
    Internal = 12,
}

/// Why a call failed.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    status: WmStatus,
    message: CString,
}

pub(crate) type Result<T> = std::result::Result<T, Failure>;

impl Failure {
    fn new(status: WmStatus, message: &str) -> Self {
        // A NUL can only come from a quoted name in somebody's JSON.
        let message = CString::new(message.replace('\0', "\u{fffd}")).unwrap_or_default();
        Self { status, message }
    }

    pub(crate) fn argument(message: impl AsRef<str>) -> Self {
        Self::new(WmStatus::InvalidArgument, message.as_ref())
    }

    pub(crate) fn missing(message: &str) -> Self {
        Self::new(WmStatus::MissingInput, message)
    }

    /// What was thrown, as far as it is text. Panics of the library name places and sizes, never keys.
    pub(crate) fn panic(payload: &(dyn Any + Send)) -> Self {
        let text = payload.downcast_ref::<&str>().copied().or(payload.downcast_ref::<String>().map(String::as_str));
        Self::new(WmStatus::Internal, &format!("a defect of this library, please report it: {}", text.unwrap_or("?")))
    }

    pub(crate) fn status(&self) -> WmStatus {
        self.status
    }

    pub(crate) fn message(&self) -> &CString {
        &self.message
    }

    /// Leaves the message for `wm_last_error`.
    pub(crate) fn report(self) -> WmStatus {
        let Self { status, message } = self;
        // Only a thread that is ending has no place for it any more.
        let _ = LAST_ERROR.try_with(|last| *last.borrow_mut() = message);
        status
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let status = match error.kind() {
            ErrorKind::InvalidPath => WmStatus::InvalidPath,
            ErrorKind::OutsideSubtree => WmStatus::OutsideSubtree,
            ErrorKind::InvalidKeyFile => WmStatus::InvalidKeyFile,
            ErrorKind::InvalidProfile => WmStatus::InvalidProfile,
            ErrorKind::UnsupportedVersion => WmStatus::UnsupportedVersion,
            ErrorKind::InvalidParameter => WmStatus::InvalidParameter,
            ErrorKind::TokenOutOfRange => WmStatus::TokenOutOfRange,
            ErrorKind::InvalidLogits => WmStatus::InvalidLogits,
            ErrorKind::WrongPassphrase => WmStatus::WrongPassphrase,
            ErrorKind::MissingInput => WmStatus::MissingInput,
            // Those of evidence, which is not in this interface.
            _ => WmStatus::Internal,
        };
        Self::new(status, &error.to_string())
    }
}

thread_local! {
    static LAST_ERROR: RefCell<CString> = RefCell::default();
}

/// The message of this thread's last call that failed; empty if none did. Valid until the next one fails on this thread.
#[unsafe(no_mangle)]
pub extern "C" fn wm_last_error() -> *const c_char {
    // The text lies on the heap, so it stays where it is when the borrow ends.
    LAST_ERROR.try_with(|last| last.borrow().as_ptr()).unwrap_or(c"".as_ptr())
}

/// Runs the body of a call: no panic leaves it, every failure leaves a message.
pub(crate) fn guard(step: impl FnOnce() -> Result<()>) -> WmStatus {
    let result = catch_unwind(AssertUnwindSafe(step)).unwrap_or_else(|payload| Err(Failure::panic(&*payload)));
    result.map_or_else(Failure::report, |()| WmStatus::Ok)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::panic, reason = "tests")]
    use std::ffi::CStr;

    use super::*;

    fn last() -> String {
        // SAFETY: the string is this thread's, and nothing fails in between.
        unsafe { CStr::from_ptr(wm_last_error()) }.to_string_lossy().into_owned()
    }

    #[test]
    fn a_panic_becomes_a_status() {
        assert_eq!(guard(|| panic!("index {}", 7)), WmStatus::Internal);
        assert!(last().ends_with("please report it: index 7"), "{}", last());
        assert_eq!(guard(|| std::panic::panic_any(7)), WmStatus::Internal);
        assert_eq!(guard(|| Ok(())), WmStatus::Ok);
        assert!(last().ends_with("please report it: ?"), "a success leaves the message");
    }

    #[test]
    fn messages_are_one_c_string_per_thread() {
        assert_eq!(guard(|| Err(Failure::argument("a\0b"))), WmStatus::InvalidArgument);
        assert_eq!(last(), "a\u{fffd}b");
        let other = std::thread::spawn(last).join();
        assert_eq!(other.ok().as_deref(), Some(""));
    }
}
