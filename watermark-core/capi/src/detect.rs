//! Detection over token ids.

use std::ffi::{CString, c_char};
use std::sync::Arc;

use watermark_core::detect::{Detector, LayerDetector, Tally};
use watermark_core::key::PrfKey;
use watermark_core::profile::Profile;
use watermark_core::scheme::Scheme;

use crate::WmKey;
use crate::arguments::{Versioned, exclusive, optional_string, secret, shared, slice, text, write};
use crate::handle::{create, free};
use crate::status::{Failure, Result, WmStatus, guard};

/// The layers of a profile under one key, ready to score. May be shared by threads.
pub struct WmDetector(Arc<Vec<Layer>>);

struct Layer {
    detector: LayerDetector,
    name: Option<CString>,
    scheme: CString,
}

/// Counts of distinct (context, token) pairs over any number of records, for every layer of a detector. One thread at a time.
pub struct WmTally {
    layers: Arc<Vec<Layer>>,
    tallies: Vec<Tally>,
}

/// A scheme with its parameters. May be shared by threads.
pub struct WmScheme(Scheme);

/// The test of one layer. Null hypothesis: the text is independent of the key; the key is then the only randomness, and the
/// tail is exact for any text.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct WmFinding {
    /// sizeof(WmFinding).
    pub struct_size: usize,
    /// The layer's name in its profile; NULL for a raw PRF key. Valid as long as the detector or a tally of it.
    pub layer: *const c_char,
    /// The scheme's name. Valid as long as the detector or a tally of it.
    pub scheme: *const c_char,
    /// Distinct pairs.
    pub n_scored: u64,
    /// Positions whose pair had occurred before.
    pub n_duplicate: u64,
    /// Special tokens and pairs from prompts.
    pub n_excluded: u64,
    /// Positions without a full context.
    pub n_short_context: u64,
    /// Green tokens, ones (weighted where the scheme says so), or the score sum in units of 2^-32: the low 64 bits.
    pub statistic_low: u64,
    /// The high 64 bits of the statistic.
    pub statistic_high: u64,
    /// log10 P(statistic at least this large) under the null hypothesis, to a relative error of 1e-9 (dual key 1e-6).
    pub log10_p: f64,
    /// Natural logarithm of the e-value.
    pub ln_e: f64,
}

// SAFETY: pointers, integers and floats only.
unsafe impl Versioned for WmFinding {
    const FIRST: usize = 88;
    const NAME: &'static str = "finding";
}

/// A scheme as a layer of a profile has it, `scheme_json` [scheme_len], for instance `{"scheme": "greenlist", "gamma": 0.5}`. What
/// only marking needs may be left out. What there is: papers/README.md, "Schemes".
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wm_scheme_parse(
    scheme_json: *const c_char,
    scheme_len: usize,
    out: *mut *mut WmScheme,
) -> WmStatus {
    create(out, || Ok(WmScheme(Scheme::parse(text(scheme_json, scheme_len, "scheme_json")?)?)))
}

/// Ends a scheme; NULL is allowed. Detectors made from it go on.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wm_scheme_free(scheme: *mut WmScheme) {
    free(scheme);
}

/// Every layer of a profile, `profile_json` [profile_len], under a key at or above the profile's path. `account` is needed if
/// a layer has a key per account, else it must be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wm_detector_new(
    profile_json: *const c_char,
    profile_len: usize,
    key: *const WmKey,
    account: *const c_char,
    out: *mut *mut WmDetector,
) -> WmStatus {
    create(out, || {
        let profile = Profile::parse(text(profile_json, profile_len, "profile_json")?)?;
        let account = optional_string(account, "account")?;
        let detector = Detector::new(&profile, &shared(key, "key")?.0, account)?;
        WmDetector::from_layers(detector.layers())
    })
}

/// One layer from a raw PRF key [32], without a profile and without special tokens.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wm_detector_from_prf_key(
    scheme: *const WmScheme,
    width: usize,
    prf_key: *const u8,
    out: *mut *mut WmDetector,
) -> WmStatus {
    create(out, || {
        let key = PrfKey::from_bytes(secret(prf_key, "prf_key")?);
        WmDetector::from_layers(&[LayerDetector::from_prf_key(shared(scheme, "scheme")?.0, width, &key)?])
    })
}

/// The number of layers; 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wm_detector_n_layers(detector: *const WmDetector) -> usize {
    let mut n = 0;
    guard(|| {
        n = shared(detector, "detector")?.0.len();
        Ok(())
    });
    n
}

/// Ends a detector; NULL is allowed. Its tallies go on.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wm_detector_free(detector: *mut WmDetector) {
    free(detector);
}

/// An empty tally.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wm_tally_new(detector: *const WmDetector, out: *mut *mut WmTally) -> WmStatus {
    create(out, || {
        let layers = Arc::clone(&shared(detector, "detector")?.0);
        let tallies = layers.iter().map(|layer| layer.detector.tally()).collect();
        Ok(WmTally { layers, tallies })
    })
}

/// Counts one record's generated `tokens` [n]; pairs that occur in its own `prompt` [n_prompt] are excluded. Every generated
/// position falls into exactly one of short_context, excluded, duplicate and scored. After an error the tally is as before.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wm_tally_add(
    tally: *mut WmTally,
    prompt: *const u32,
    n_prompt: usize,
    tokens: *const u32,
    n: usize,
) -> WmStatus {
    guard(|| {
        let tally = exclusive(tally, "tally")?;
        let (prompt, tokens) = (slice(prompt, n_prompt, "prompt")?, slice(tokens, n, "tokens")?);
        for (layer, counts) in tally.layers.iter().zip(&mut tally.tallies) {
            // What can be wrong is an id, which the first layer refuses before it counts anything.
            layer.detector.add(counts, prompt, tokens)?;
        }
        Ok(())
    })
}

/// Adds the counts of `other`, a tally of the same detector, which stays as it is. Merging gives what one tally of all records
/// would hold.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wm_tally_merge(tally: *mut WmTally, other: *const WmTally) -> WmStatus {
    guard(|| {
        if std::ptr::eq(tally, other) {
            return Err(Failure::argument("a tally cannot be merged into itself"));
        }
        let (tally, other) = (exclusive(tally, "tally")?, shared(other, "other")?);
        if !Arc::ptr_eq(&tally.layers, &other.layers) {
            return Err(Failure::argument("the tallies are of two detectors"));
        }
        for (counts, more) in tally.tallies.iter_mut().zip(&other.tallies) {
            counts.merge(more.clone())?;
        }
        Ok(())
    })
}

/// The plain test of one layer, 0 to n_layers - 1, over everything that was counted. Set `finding->struct_size` first. With
/// several layers, or several texts, p-values have to be adjusted for their number before one is believed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wm_tally_finding(tally: *const WmTally, layer: usize, finding: *mut WmFinding) -> WmStatus {
    guard(|| {
        let tally = shared(tally, "tally")?;
        let (Some(layer), Some(counts)) = (tally.layers.get(layer), tally.tallies.get(layer)) else {
            return Err(Failure::argument(format!("layer {layer}; there are {}", tally.layers.len())));
        };
        let found = layer.detector.finding(counts)?;
        // The statistic's halves.
        #[expect(clippy::cast_possible_truncation, reason = "the low half")]
        let (low, high) = (found.statistic as u64, (found.statistic >> 64) as u64);
        write(
            finding,
            &WmFinding {
                struct_size: size_of::<WmFinding>(),
                layer: layer.name.as_ref().map_or(std::ptr::null(), |name| name.as_ptr()),
                scheme: layer.scheme.as_ptr(),
                n_scored: found.n_scored,
                n_duplicate: found.n_duplicate,
                n_excluded: found.n_excluded,
                n_short_context: found.n_short_context,
                statistic_low: low,
                statistic_high: high,
                log10_p: found.log10_p,
                // Without weights there always is one.
                ln_e: found.ln_e.unwrap_or(0.0),
            },
        )
    })
}

/// Ends a tally; NULL is allowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wm_tally_free(tally: *mut WmTally) {
    free(tally);
}

/// The integer score of one pair, so that a statistic can be added up by hand: `word` is the PRF's word of (context, token);
/// `second` is what the scheme needs beside it, the word of key B for `gumbel_dual_key` and word 0 of the context for `mcmark`, and
/// ignored by schemes that need nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wm_scheme_score(scheme: *const WmScheme, word: u32, second: u32, score: *mut u64) -> WmStatus {
    guard(|| {
        *exclusive(score, "score")? = shared(scheme, "scheme")?.0.score(word, second);
        Ok(())
    })
}

impl WmDetector {
    fn from_layers(layers: &[LayerDetector]) -> Result<Self> {
        // Names are key-path segments and constants: no NUL.
        let text = |name: &str| CString::new(name).map_err(|_| Failure::argument("a layer's name holds a NUL"));
        let layer = |detector: &LayerDetector| {
            let (name, scheme) = (detector.name().map(text).transpose()?, text(detector.scheme().name())?);
            Ok(Layer { detector: detector.clone(), name, scheme })
        };
        Ok(Self(Arc::new(layers.iter().map(layer).collect::<Result<_>>()?)))
    }
}
