//! Evidence bundles, checked as `watermark verify` does.

use std::path::PathBuf;

use pyo3::prelude::*;
use pyo3::types::PyDict;
use serde_json::Value;
use watermark_core::evidence::PublicKey;
use watermark_toolkit::evidence::{Context, MAX_BUNDLE, Verification, check, pairs};
use watermark_toolkit::files::read_bounded;

use crate::error::{EvidenceError, InputError, by_keyword};
use crate::finding::to_dict;
use crate::given;
use crate::html;
use crate::work::stoppable;

/// A bundle, not yet checked: its maker may be an adversary.
#[pyclass(frozen, module = "watermark_core")]
struct Evidence {
    /// Where a tokenizer may lie beside it.
    path: PathBuf,
    bytes: Vec<u8>,
}

#[pymethods]
impl Evidence {
    /// Reads a bundle; `EvidenceError` if the file cannot be read or is too large. What it says is up to `verify`.
    #[staticmethod]
    fn load(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        let bytes = py.detach(|| read_bounded(&path, MAX_BUNDLE));
        let bytes = bytes.map_err(|error| EvidenceError::new_err(format!("reading {}: {error:#}", path.display())))?;
        Ok(Self { path, bytes })
    }

    /// Checks integrity (signatures, proofs, sums, tails), with `data`, one or several answer files or records files of the case, or of evidence
    /// from pairs the list and scores files, recomputes the records, and with `trusted_keys` (64 hexadecimal digits each; all who signed must be named) looks at the signers.
    /// `pool` is the file of prompts that were drawn from. `authority` is a file of certificates (PEM) that time stamps must chain to, checked by the program openssl. What does not
    /// hold is found and returned; only what cannot be read raises.
    #[pyo3(signature = (*, data=None, pool=None, trusted_keys=None, tokenizer=None, authority=None))]
    fn verify(
        &self,
        py: Python<'_>,
        data: Option<&Bound<'_, PyAny>>,
        pool: Option<PathBuf>,
        trusted_keys: Option<&Bound<'_, PyAny>>,
        tokenizer: Option<PathBuf>,
        authority: Option<PathBuf>,
    ) -> PyResult<Verified> {
        let data = data.map(given::several).transpose()?.unwrap_or_default();
        let trusted_keys: Vec<String> = trusted_keys.map(given::several).transpose()?.unwrap_or_default();
        let key = |(at, digits): (usize, &String)| {
            PublicKey::from_hex(&digits.trim().to_lowercase())
                .map_err(|error| InputError::new_err(format!("trusted_keys[{at}]: {error}")))
        };
        let trusted = trusted_keys.iter().enumerate().map(key).collect::<PyResult<_>>()?;
        let context = Context { data, pool, tokenizer, trusted, authority };
        stoppable(py, |watch| {
            if pairs::is_of_pairs(&self.bytes) {
                let report = pairs::check(&self.bytes, &context, |_| watch.go_on())?;
                let found = serde_json::to_value(pairs::Verification::new(&report, &self.bytes, &context))?;
                return Ok(Verified { found, holds: report.faults.is_empty() });
            }
            let report = check(&self.path, &self.bytes, &context, &|_| watch.go_on())?;
            let found = serde_json::to_value(Verification::new(&report, &self.bytes, &context))?;
            Ok(Verified { found, holds: report.faults.is_empty() })
        })
    }

    fn __repr__(&self) -> String {
        format!("Evidence(<{} bytes>)", self.bytes.len())
    }
}

/// What was found in a bundle: integrity, trust and result apart.
#[pyclass(frozen, module = "watermark_core")]
struct Verified {
    found: Value,
    holds: bool,
}

#[pymethods]
impl Verified {
    /// Whether there is no fault at all: integrity holds, whatever the verdict, and where keys were named all signers are trusted.
    #[getter]
    fn holds(&self) -> bool {
        self.holds
    }

    /// Signature, form, proofs, numbers and, where given, data and time stamps hold. Trust apart.
    #[getter]
    fn integrity(&self) -> bool {
        self.found["integrity"].as_bool().unwrap_or_default()
    }

    /// `trusted` or `not_trusted`; None where no keys were named.
    #[getter]
    fn trust(&self) -> Option<&str> {
        self.found["trust"].as_str()
    }

    /// Everything that does not hold, as (code, what): codes of section 7 of verify/FORMAT.md and verify/PAIRS.md.
    #[getter]
    fn faults(&self) -> Vec<(&str, &str)> {
        let faults = self.found["faults"].as_array().into_iter().flatten();
        faults.filter_map(|fault| Some((fault["code"].as_str()?, fault["what"].as_str()?))).collect()
    }

    /// The verdict with what it rests on; None where there is no result.
    #[getter]
    fn headline(&self) -> Option<&str> {
        self.found["headline"].as_str()
    }

    /// What the verdict is conditioned on, as (name, standing, why); standing is `holds`, `word` or `fails`.
    #[getter]
    fn conditions(&self) -> Vec<(&str, &str, &str)> {
        let conditions = self.found["conditions"].as_array().into_iter().flatten();
        conditions
            .filter_map(|one| Some((one["name"].as_str()?, one["standing"].as_str()?, one["says"].as_str()?)))
            .collect()
    }

    /// The result that the bundle states; None without integrity, since a result that does not follow is none.
    #[getter]
    fn result<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyDict>>> {
        self.part(py, "result")
    }

    /// Public keys of who signed `bundle`, `registration` and `head` of the key commitments; of evidence from pairs also `ledger_head`.
    #[getter]
    fn signers<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyDict>>> {
        let Some(listed) = self.found["signers"].as_array() else { return self.part(py, "signers") };
        let names = ["bundle", "registration", "head", "ledger_head"];
        let named: serde_json::Map<_, _> = names.map(str::to_owned).into_iter().zip(listed.iter().cloned()).collect();
        if named.is_empty() { Ok(None) } else { to_dict(py, &Value::Object(named)).map(Some) }
    }

    /// The signers' clocks, and what others' time stamps say; None for evidence from pairs, whose conditions say it.
    #[getter]
    fn times<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyDict>>> {
        self.part(py, "times")
    }

    /// Files whose records were counted and scored again.
    #[getter]
    fn recomputed(&self) -> Vec<&str> {
        self.texts("recomputed")
    }

    /// What was not looked at, or rests on a signer's word.
    #[getter]
    fn not_checked(&self) -> Vec<String> {
        self.texts("not_checked").into_iter().map(by_keyword).collect()
    }

    /// What makes the case weaker than its verdict sounds.
    #[getter]
    fn cautions(&self) -> Vec<&str> {
        self.texts("cautions")
    }

    /// What `watermark verify --json` prints.
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        to_dict(py, &self.found)
    }

    fn _repr_html_(&self) -> String {
        let integrity = if self.integrity() { "holds" } else { "DOES NOT HOLD" };
        let mut rows = vec![["integrity", integrity], ["trust", self.trust().unwrap_or("not asked for")]];
        if let Some(headline) = self.headline() {
            rows.push(["verdict", headline]);
        }
        rows.extend(self.conditions().into_iter().map(|(_, standing, says)| [standing, says]));
        rows.extend(self.faults().into_iter().map(|(code, what)| [code, what]));
        rows.extend(self.cautions().into_iter().map(|what| ["caution", what]));
        let not_checked = self.not_checked();
        rows.extend(not_checked.iter().map(|what| ["not checked", what.as_str()]));
        html::pairs(&rows)
    }

    fn __repr__(&self) -> String {
        let codes: Vec<&str> = self.faults().into_iter().map(|(code, _)| code).collect();
        let integrity = if self.integrity() { "True" } else { "False" };
        format!(
            "Verified(integrity={integrity}, trust={:?}, faults={codes:?})",
            self.trust().unwrap_or("not asked for")
        )
    }
}

impl Verified {
    fn part<'py>(&self, py: Python<'py>, name: &str) -> PyResult<Option<Bound<'py, PyDict>>> {
        let part = &self.found[name];
        if part.is_null() { Ok(None) } else { to_dict(py, part).map(Some) }
    }

    fn texts(&self, name: &str) -> Vec<&str> {
        self.found[name].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
    }
}

/// Adds the classes to the module.
pub(crate) fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Evidence>()?;
    module.add_class::<Verified>()
}
