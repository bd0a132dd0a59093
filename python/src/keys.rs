//! Keys and the PRF. No secret leaves an object of these classes, but through [`write_key_words`].

use std::path::{Path, PathBuf};

use pyo3::buffer::PyBuffer;
use pyo3::prelude::*;
use pyo3::types::PyString;
use watermark_core::hex;
use watermark_core::key::{self, KeyPath};
use watermark_core::{paired, prf};
use zeroize::Zeroizing;

use crate::error::{KeyFileError, ParameterError, raise_core};
use crate::given::{self, path, token_ids};
use crate::key_file::{is_no_path, key_file};
use crate::work::not_pickled;

/// The secret of one node of the key tree, with its path.
#[pyclass(frozen, module = "watermark_core")]
pub(crate) struct NodeKey(pub(crate) key::NodeKey);

#[pymethods]
impl NodeKey {
    /// The root node of a master secret, which should hold at least 32 bytes of entropy.
    #[staticmethod]
    fn root(master: &[u8]) -> Self {
        Self(key::NodeKey::root(master))
    }

    /// Reads a key file that only its owner may read; a sealed one opens with the file that WATERMARK_PASSPHRASE_FILE names, or asks
    /// for its passphrase at the terminal.
    #[staticmethod]
    fn from_file(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        key_file(py, path).map(Self)
    }

    /// Where this node sits; empty for the root.
    #[getter]
    fn path(&self) -> &str {
        self.0.path().as_str()
    }

    /// The node at an absolute path at or below this one.
    fn descend(&self, path: &str) -> PyResult<Self> {
        let node = path.parse().and_then(|path| self.0.descend(&path));
        node.map(Self).map_err(raise_core)
    }

    /// The PRF key of a scheme at a context width in tokens (0 to 8).
    fn prf_key(&self, scheme: &str, context_width: usize) -> PyResult<PrfKey> {
        self.0.prf_key(scheme, context_width).map(PrfKey).map_err(raise_core)
    }

    /// SHA-256 over node and salt (32 bytes): binding, and hiding as long as the salt is secret.
    fn commitment(&self, salt: &[u8]) -> PyResult<[u8; 32]> {
        let salt =
            salt.try_into().map_err(|_| ParameterError::new_err(format!("a salt has 32 bytes, not {}", salt.len())))?;
        Ok(self.0.commitment(salt))
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(not_pickled("NodeKey"))
    }

    fn __repr__(&self) -> String {
        format!("NodeKey(path={:?})", self.0.path().as_str())
    }
}

/// A key: the path of a key file, 64 hexadecimal digits (a node at the root of its tree), or a `NodeKey`.
pub(crate) fn node(given: &Bound<'_, PyAny>) -> PyResult<key::NodeKey> {
    if let Ok(key) = given.cast::<NodeKey>() {
        return Ok(key.get().0.clone());
    }
    if let Ok(text) = given.cast::<PyString>() {
        let text = text.to_str()?;
        let mut secret = Zeroizing::new([0; 32]);
        if hex::decode_any_case(text.as_bytes(), secret.as_mut_slice()).is_some() {
            return Ok(key::NodeKey::from_parts(KeyPath::root(), secret));
        }
        if is_no_path(Path::new(text)) {
            // Part of it may be a key, so nothing of it is repeated.
            return Err(KeyFileError::new_err("a key is the path of a key file, or 64 hexadecimal digits"));
        }
    }
    key_file(given.py(), path(given, "a key is the path of a key file, 64 hexadecimal digits or a NodeKey")?)
}

/// The key of one PRF: 32 bytes.
#[pyclass(frozen, module = "watermark_core")]
pub(crate) struct PrfKey(pub(crate) key::PrfKey);

#[pymethods]
impl PrfKey {
    /// A key as 64 hexadecimal digits.
    #[staticmethod]
    fn from_hex(digits: &str) -> PyResult<Self> {
        key::PrfKey::from_hex(digits).map(Self).map_err(raise_core)
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(not_pickled("PrfKey"))
    }

    fn __repr__(&self) -> &'static str {
        "PrfKey(..)"
    }
}

/// A PRF key: 64 hexadecimal digits or a `PrfKey`.
pub(crate) fn prf_key(given: &Bound<'_, PyAny>) -> PyResult<key::PrfKey> {
    if let Ok(key) = given.cast::<PrfKey>() {
        return Ok(key.get().0.clone());
    }
    let digits = Zeroizing::new(given.extract::<String>().unwrap_or_default());
    key::PrfKey::from_hex(&digits).map_err(raise_core)
}

/// The PRF `chacha20-v1` under a key for contexts of one width.
#[pyclass(frozen, module = "watermark_core")]
struct ChaCha20V1(prf::ChaCha20V1);

#[pymethods]
impl ChaCha20V1 {
    #[new]
    fn new(key: &Bound<'_, PyAny>, context_width: usize) -> PyResult<Self> {
        prf::ChaCha20V1::new(&prf_key(key)?, context_width).map(Self).map_err(raise_core)
    }

    /// The 32-bit words of tokens after a context, of which the last `context_width` tokens count.
    fn words(&self, context: &Bound<'_, PyAny>, tokens: &Bound<'_, PyAny>) -> PyResult<Vec<u32>> {
        let context = self.context(context)?;
        let tokens = token_ids(tokens, "tokens")?;
        let mut words = Vec::new();
        self.0.words(tokens.into_iter().map(|token| (context, token)), &mut words).map_err(raise_core)?;
        Ok(words)
    }

    /// The nonce of a context as RFC 8439 has it, in little-endian words.
    fn nonce(&self, context: &Bound<'_, PyAny>) -> PyResult<[u32; 3]> {
        Ok(self.context(context)?.nonce())
    }

    /// The 16 words that belong to the context alone.
    fn context_words(&self, context: &Bound<'_, PyAny>) -> PyResult<[u32; 16]> {
        Ok(self.0.context_words(self.context(context)?))
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(not_pickled("ChaCha20V1"))
    }

    fn __repr__(&self) -> String {
        format!("ChaCha20V1(context_width={})", self.0.width())
    }
}

impl ChaCha20V1 {
    fn context(&self, given: &Bound<'_, PyAny>) -> PyResult<prf::Context> {
        let tokens = token_ids(given, "context")?;
        let context = self.0.context(&tokens).map_err(raise_core)?;
        context.ok_or_else(|| {
            let (has, width) = (tokens.len(), self.0.width());
            ParameterError::new_err(format!("the context has {has} tokens; a context of {width} is needed"))
        })
    }
}

/// The node of a key in any of its forms, read once.
#[pyfunction]
fn node_key(key: &Bound<'_, PyAny>) -> PyResult<NodeKey> {
    node(key).map(NodeKey)
}

/// The PRF of a profile's layer; `account` for a layer with a key per account.
#[pyfunction]
#[pyo3(signature = (profile, key, layer, account=None))]
fn layer_prf(
    profile: &Bound<'_, PyAny>,
    key: &Bound<'_, PyAny>,
    layer: &str,
    account: Option<&str>,
) -> PyResult<ChaCha20V1> {
    let profile = given::profile(profile)?.file.profile;
    let named = profile.layers.iter().find(|of_profile| of_profile.name == layer);
    let named = named.ok_or_else(|| ParameterError::new_err(format!("the profile has no layer {layer:?}")))?;
    let key = profile.prf_key(named, &node(key)?, account).map_err(raise_core)?;
    prf::ChaCha20V1::new(&key, named.width).map(ChaCha20V1).map_err(raise_core)
}

/// The key of one request's paired draws: the words of both draws at each position, and which of them is served.
#[pyclass(frozen, module = "watermark_core.paired")]
struct RequestKey(paired::RequestKey);

#[pymethods]
impl RequestKey {
    /// Which draw is served at a position: 0 or 1.
    fn coin(&self, position: u32) -> u8 {
        self.0.coin(position) as u8
    }

    /// The 32-bit words of tokens in one of the two draws, 0 or 1, of a position.
    fn words(&self, position: u32, draw: u8, tokens: &Bound<'_, PyAny>) -> PyResult<Vec<u32>> {
        let draw = match draw {
            0 => paired::Draw::First,
            1 => paired::Draw::Second,
            other => return Err(ParameterError::new_err(format!("draw is {other}; there are 0 and 1"))),
        };
        let word = |token| self.0.word(position, draw, token).map_err(raise_core);
        token_ids(tokens, "tokens")?.into_iter().map(word).collect()
    }

    /// The candidates of a position, served and withheld, of the distribution of `logits` over `ids`, [n] each. As `Session.sample` draws
    /// them at temperature 1 without truncation.
    fn candidates(&self, position: u32, ids: &Bound<'_, PyAny>, logits: Vec<f32>) -> PyResult<(u32, u32)> {
        let found = self.0.candidates(position, &token_ids(ids, "ids")?, &logits).map_err(raise_core)?;
        Ok((found.served, found.withheld))
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(not_pickled("RequestKey"))
    }

    fn __repr__(&self) -> &'static str {
        "RequestKey(..)"
    }
}

/// The key of a request under a profile with paired draws, and its beacon if it has one. `request` is its number in the ledger.
///
/// Raises:
///     ParameterError: The profile has no paired draws.
///     InvalidProfile: Its beacon has not been drawn.
#[pyfunction]
fn request_key(profile: &Bound<'_, PyAny>, key: &Bound<'_, PyAny>, request: &str) -> PyResult<RequestKey> {
    let profile = given::profile(profile)?.file.profile;
    let layer = profile.paired_key(&node(key)?).map_err(raise_core)?;
    let layer = layer.ok_or_else(|| ParameterError::new_err("the profile has no paired draws"))?;
    let beacon = profile.drawn_beacon().map_err(raise_core)?;
    Ok(RequestKey(paired::RequestSecret::new(&layer, request).key(beacon.as_ref())))
}

/// Writes the eight words of the key of a PRF, or of a request's draws, into a row of int64 that the caller hands in, and erases: the one way
/// out for a secret, for words that are computed on a device.
#[pyfunction]
fn write_key_words(py: Python<'_>, of: &Bound<'_, PyAny>, out: &Bound<'_, PyAny>) -> PyResult<()> {
    let row: PyBuffer<i64> = PyBuffer::get(out)?;
    let words = match of.cast::<RequestKey>() {
        Ok(request) => *request.get().0.key_words(),
        Err(_) => *of.cast::<ChaCha20V1>()?.get().0.key_words(),
    };
    let words = Zeroizing::new(Zeroizing::new(words).map(i64::from));
    if row.item_count() != words.len() || row.readonly() {
        return Err(ParameterError::new_err("the key goes into a writable row of 8 int64"));
    }
    row.copy_from_slice(py, words.as_slice())
}

/// Adds classes and functions to the module.
pub(crate) fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<NodeKey>()?;
    module.add_class::<PrfKey>()?;
    module.add_class::<ChaCha20V1>()?;
    module.add_function(wrap_pyfunction!(node_key, module)?)?;
    module.add_class::<RequestKey>()?;
    module.add_function(wrap_pyfunction!(layer_prf, module)?)?;
    module.add_function(wrap_pyfunction!(request_key, module)?)?;
    module.add_function(wrap_pyfunction!(write_key_words, module)?)
}
