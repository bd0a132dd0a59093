//! Keys of the tree, and the PRF under one.

use std::ffi::c_char;

use watermark_core::key::{KeyPath, NodeKey, PrfKey, open_key_file};
use watermark_core::prf::{ChaCha20V1, Context};
use zeroize::Zeroizing;

use crate::arguments::{optional_string, secret, shared, slice, slice_mut, string, text};
use crate::handle::{create, free};
use crate::status::{Failure, Result, WmStatus, guard};

/// The secret of one node of the key tree. Wiped when freed. May be shared by threads.
pub struct WmKey(pub(crate) NodeKey);

/// The PRF chacha20-v1 under one key and context width. Wiped when freed. May be shared by threads.
pub struct WmPrf(ChaCha20V1);

/// Less is no key.
const MASTER_BYTES: usize = 32;

/// Reads a key file, sealed or not: `json` [json_len]. `passphrase` opens a sealed one; NULL where none is needed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wm_key_open(
    json: *const c_char,
    json_len: usize,
    passphrase: *const c_char,
    out: *mut *mut WmKey,
) -> WmStatus {
    create(out, || {
        let passphrase = optional_string(passphrase, "passphrase")?;
        let key = open_key_file::<Failure>(text(json, json_len, "json")?, || {
            let passphrase =
                passphrase.ok_or_else(|| Failure::missing("the key file is sealed; give its passphrase"))?;
            Ok(Zeroizing::new(passphrase.to_owned()))
        });
        key.map(WmKey)
    })
}

/// The root node of a master secret [n], 32 bytes or more from the system's randomness.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wm_key_from_master(master: *const u8, n: usize, out: *mut *mut WmKey) -> WmStatus {
    create(out, || {
        if n < MASTER_BYTES {
            return Err(Failure::argument(format!("a master secret of {n} bytes; take at least {MASTER_BYTES}")));
        }
        Ok(WmKey(NodeKey::root(slice(master, n, "master")?)))
    })
}

/// The node [32] that was exported from `path`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wm_key_from_node(path: *const c_char, node: *const u8, out: *mut *mut WmKey) -> WmStatus {
    create(out, || Ok(WmKey(NodeKey::from_parts(key_path(path)?, secret(node, "node")?))))
}

/// The node at the absolute `path`, at or below this one. Whoever holds it can derive what is below it and nothing else.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wm_key_descend(key: *const WmKey, path: *const c_char, out: *mut *mut WmKey) -> WmStatus {
    create(out, || Ok(WmKey(shared(key, "key")?.0.descend(&key_path(path)?)?)))
}

/// Writes the commitment [32] to this node under `salt` [32]: SHA-256("watermark-commit-v1\0" || node || salt).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wm_key_commitment(key: *const WmKey, salt: *const u8, commitment: *mut u8) -> WmStatus {
    guard(|| {
        let salt = secret(salt, "salt")?;
        let key = shared(key, "key")?;
        slice_mut(commitment, 32, "commitment")?.copy_from_slice(&key.0.commitment(&salt));
        Ok(())
    })
}

/// Ends a key; NULL is allowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wm_key_free(key: *mut WmKey) {
    free(key);
}

/// The PRF of a scheme (by its name) at a context width of 0 to 8 tokens, under this node.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wm_prf_derive(
    key: *const WmKey,
    scheme: *const c_char,
    width: usize,
    out: *mut *mut WmPrf,
) -> WmStatus {
    create(out, || {
        let key = shared(key, "key")?.0.prf_key(string(scheme, "scheme")?, width)?;
        Ok(WmPrf(ChaCha20V1::new(&key, width)?))
    })
}

/// The PRF under a raw key [32] at a context width of 0 to 8 tokens. A key belongs to one width.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wm_prf_new(prf_key: *const u8, width: usize, out: *mut *mut WmPrf) -> WmStatus {
    create(out, || Ok(WmPrf(ChaCha20V1::new(&PrfKey::from_bytes(secret(prf_key, "prf_key")?), width)?)))
}

/// The words of `tokens` [n] after the tokens `context` [n_context], of which the last `width` count. `words` is [n].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wm_prf_words(
    prf: *const WmPrf,
    context: *const u32,
    n_context: usize,
    tokens: *const u32,
    n: usize,
    words: *mut u32,
) -> WmStatus {
    guard(|| {
        let prf = &shared(prf, "prf")?.0;
        let context = prf_context(prf, context, n_context)?;
        let tokens = slice(tokens, n, "tokens")?;
        // Computed aside: `words` may be where the tokens are.
        let computed: std::result::Result<Vec<u32>, _> = tokens.iter().map(|&t| prf.word(context, t)).collect();
        slice_mut(words, n, "words")?.copy_from_slice(&computed?);
        Ok(())
    })
}

/// The 16 words that belong to the context alone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wm_prf_context_words(
    prf: *const WmPrf,
    context: *const u32,
    n_context: usize,
    words: *mut u32,
) -> WmStatus {
    guard(|| {
        let prf = &shared(prf, "prf")?.0;
        let computed = prf.context_words(prf_context(prf, context, n_context)?);
        slice_mut(words, 16, "words")?.copy_from_slice(&computed);
        Ok(())
    })
}

/// Ends a PRF; NULL is allowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wm_prf_free(prf: *mut WmPrf) {
    free(prf);
}

unsafe fn key_path(path: *const c_char) -> Result<KeyPath> {
    Ok(string(path, "path")?.parse()?)
}

unsafe fn prf_context(prf: &ChaCha20V1, context: *const u32, n: usize) -> Result<Context> {
    let context = prf.context(slice(context, n, "context")?)?;
    context.ok_or_else(|| Failure::argument(format!("{n} context tokens for a width of {}", prf.width())))
}
