//! A profile under its key.

use std::ffi::c_char;

use watermark_core::mark::Marker;
use watermark_core::profile::Profile;

use crate::WmKey;
use crate::arguments::{shared, text};
use crate::handle::{create, free};
use crate::status::{WmStatus, guard};

/// A profile with its key, which makes sessions. May be shared by threads.
pub struct WmMarker(pub(crate) Marker);

/// Prepares a profile, `profile_json` [profile_len], under a key at or above the profile's path. The key is not needed any
/// more afterwards.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wm_marker_new(
    profile_json: *const c_char,
    profile_len: usize,
    key: *const WmKey,
    out: *mut *mut WmMarker,
) -> WmStatus {
    create(out, || {
        let profile = Profile::parse(text(profile_json, profile_len, "profile_json")?)?;
        Ok(WmMarker(Marker::new(profile, &shared(key, "key")?.0)?))
    })
}

/// The length of a row of logits; 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wm_marker_vocab_size(marker: *const WmMarker) -> u32 {
    told(marker, Marker::vocab_size)
}

/// 1 if a layer draws the token itself, as `wm_session_sample` then does; without one the draw is ordinary, or the engine's after
/// `wm_session_process`. 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wm_marker_chooses(marker: *const WmMarker) -> u32 {
    told(marker, |marker| marker.chooses().into())
}

/// 1 if a layer has a key per account, so that a marked session needs one. 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wm_marker_has_account_layer(marker: *const WmMarker) -> u32 {
    told(marker, |marker| marker.has_account_layer().into())
}

/// 1 if the profile has paired draws, so that a marked session needs the request's number. 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wm_marker_has_paired_draws(marker: *const WmMarker) -> u32 {
    told(marker, |marker| marker.has_paired_draws().into())
}

/// 1 if answers at temperature 0 are marked, because the profile's sampling policy raises it or boosts before it: then open a
/// session for greedy requests too. 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wm_marker_marks_greedy(marker: *const WmMarker) -> u32 {
    told(marker, |marker| marker.marks_greedy().into())
}

/// What a marker says of its profile; 0 for NULL.
unsafe fn told(marker: *const WmMarker, what: impl FnOnce(&Marker) -> u32) -> u32 {
    let mut said = 0;
    guard(|| {
        said = what(&shared(marker, "marker")?.0);
        Ok(())
    });
    said
}

/// Ends a marker; NULL is allowed. Its sessions go on.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wm_marker_free(marker: *mut WmMarker) {
    free(marker);
}
