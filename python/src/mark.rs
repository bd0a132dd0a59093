//! Marking: a marker for a deployment, a session for a sequence.

use std::sync::{Mutex, MutexGuard};

use pyo3::prelude::*;
use pyo3::types::PyDict;
use watermark_core::mark::{self, Change, MarkState, Raised, Sampling, SessionOptions};

use crate::error::{InputError, ParameterError, raise_core};
use crate::given::{self, whole};
use crate::keys;
use crate::logits::{Logits, Row, RowMut, Rows, RowsMut, in_format};
use crate::work::{detached, held, not_pickled};

/// More tokens than any model writes in a sequence.
const MAX_RESERVED: usize = 1 << 24;

/// A profile with its key: makes sessions. Any number of threads may share one.
#[pyclass(frozen, module = "watermark_core")]
struct Marker(mark::Marker);

#[pymethods]
impl Marker {
    #[new]
    fn new(profile: &Bound<'_, PyAny>, key: &Bound<'_, PyAny>) -> PyResult<Self> {
        mark::Marker::new(given::profile(profile)?.file.profile, &keys::node(key)?).map(Self).map_err(raise_core)
    }

    /// Starts a sequence with no generated tokens. `seed` decides every draw that no key decides; the same seed for two
    /// sequences repeats those draws. `account` chooses the key of layers with a key per account (`"per": "account"`), and is refused
    /// where there is none: all accounts would be marked alike. Temperature 0 is greedy decoding, which carries no mark unless the
    /// profile's sampling policy sees to it; what the policy raises is in `Session.raised`. `request` is the request's number in the ledger,
    /// which paired draws follow from: needed by a profile with such a layer, refused by others, and never the same for two answers.
    #[pyo3(signature = (*, seed, account=None, request=None, marked=true, temperature=1.0, top_k=None, top_p=None, min_p=None))]
    #[expect(clippy::too_many_arguments, reason = "keywords of a Python call")]
    fn session(
        &self,
        #[pyo3(from_py_with = whole)] seed: u64,
        account: Option<String>,
        request: Option<String>,
        marked: bool,
        temperature: f32,
        #[pyo3(from_py_with = whole)] top_k: Option<usize>,
        top_p: Option<f64>,
        min_p: Option<f64>,
    ) -> PyResult<Session> {
        let sampling = Sampling { temperature, top_k, top_p, min_p };
        self.0
            .session(&SessionOptions { account, marked, seed, sampling, request })
            .map(|session| Session(Mutex::new(session)))
            .map_err(raise_core)
    }

    /// Length of a row of logits, as the profile has it.
    #[getter]
    fn vocab_size(&self) -> u32 {
        self.0.vocab_size()
    }

    /// Whether a layer draws the token itself; without one a session's draw is ordinary, or the engine's.
    #[getter]
    fn chooses(&self) -> bool {
        self.0.chooses()
    }

    /// Whether a layer has a key per account, so that a marked session needs one.
    #[getter]
    fn has_account_layer(&self) -> bool {
        self.0.has_account_layer()
    }

    /// Whether the profile has paired draws, so that a marked session needs the request's number.
    #[getter]
    fn has_paired_draws(&self) -> bool {
        self.0.has_paired_draws()
    }

    /// Whether answers at temperature 0 are marked, because the profile's sampling policy raises it or boosts before it.
    #[getter]
    fn marks_greedy(&self) -> bool {
        self.0.marks_greedy()
    }

    /// The profile, as the JSON text of its file.
    #[getter]
    fn profile(&self) -> String {
        self.0.profile().print()
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(not_pickled("Marker"))
    }

    fn __repr__(&self) -> String {
        format!("Marker(profile={:?}, key=<not shown>)", self.0.profile().name)
    }
}

/// One sequence being sampled: `sample` or `process`, then `accept` with the token that was really emitted. After an error
/// every call that can fail raises it again until `reset`. Belongs to one thread at a time; a second one gets a `RuntimeError`.
#[pyclass(frozen, module = "watermark_core")]
struct Session(Mutex<mark::Session>);

#[pymethods]
impl Session {
    /// Applies temperature, truncation and the reweighting layers, in the order of the profile's policy, to a row of logits [vocab_size] in
    /// place: float32, float16 or bfloat16, contiguous, writable, and nobody else's meanwhile. For engines that draw the token themselves: a choosing layer has no
    /// part.
    fn process(&self, py: Python<'_>, logits: &Bound<'_, PyAny>) -> PyResult<()> {
        let mut logits = Logits::row(logits)?;
        let row = logits.get_mut()?;
        let session = &mut *self.held()?;
        py.detach(|| in_format!(RowMut, row, |row| session.process(row))).map_err(raise_core)
    }

    /// Draws the next token from a row of logits [vocab_size], which is not changed. Does not advance the sequence: calling
    /// it again gives the same token.
    fn sample(&self, py: Python<'_>, logits: &Bound<'_, PyAny>) -> PyResult<u32> {
        let logits = Logits::row(logits)?;
        let row = logits.get();
        let session = &mut *self.held()?;
        py.detach(|| in_format!(Row, row, |row| session.sample(row))).map_err(raise_core)
    }

    /// As `sample` where only the tokens `ids` [n] are left, with logits [n], after a truncation elsewhere.
    fn sample_among(&self, py: Python<'_>, ids: &Bound<'_, PyAny>, logits: &Bound<'_, PyAny>) -> PyResult<u32> {
        let ids = given::token_ids(ids, "ids")?;
        let logits = Logits::row(logits)?;
        let row = logits.get();
        let session = &mut *self.held()?;
        py.detach(|| in_format!(Row, row, |row| session.sample_among(&ids, row))).map_err(raise_core)
    }

    /// Hands in a proxy's next-token probabilities [vocab_size] (float32) for the next position, as layers whose scheme
    /// needs a proxy (`adfp`) want them.
    fn set_proxy(&self, probabilities: &Bound<'_, PyAny>) -> PyResult<()> {
        let probabilities = Logits::row(probabilities)?;
        match probabilities.get() {
            Row::Single(row) => self.held()?.set_proxy(row).map_err(raise_core),
            Row::Half(_) | Row::Brain(_) => Err(InputError::new_err("a proxy's probabilities are float32")),
        }
    }

    /// Appends the emitted token.
    fn accept(&self, #[pyo3(from_py_with = whole)] token: u32) -> PyResult<()> {
        self.held()?.accept(token).map_err(raise_core)
    }

    /// Takes back the last `n` accepted or drafted tokens, or all if there are fewer.
    fn rollback(&self, #[pyo3(from_py_with = whole)] n: usize) -> PyResult<()> {
        self.held()?.rollback(n);
        Ok(())
    }

    /// An independent copy at this point.
    fn fork(&self) -> PyResult<Self> {
        Ok(Self(Mutex::new(self.held()?.fork())))
    }

    /// Back to no generated tokens; clears an error.
    fn reset(&self) -> PyResult<()> {
        self.held()?.reset();
        Ok(())
    }

    /// Speculative decoding: draws a draft token from the draft model's row of logits [vocab_size] and keeps it until `verify`.
    fn draft(&self, py: Python<'_>, logits: &Bound<'_, PyAny>) -> PyResult<u32> {
        let logits = Logits::row(logits)?;
        let row = logits.get();
        let session = &mut *self.held()?;
        py.detach(|| in_format!(Row, row, |row| session.draft(row))).map_err(raise_core)
    }

    /// Keeps a draft token that was not drawn here (looked up in the prompt, say) until `verify`.
    fn propose(&self, #[pyo3(from_py_with = whole)] token: u32) -> PyResult<()> {
        self.held()?.propose(token).map_err(raise_core)
    }

    /// Replaces the drafts by what the target model's rows [drafts + 1, vocab_size] give, and returns the tokens that are now
    /// accepted (1 to drafts + 1). Row i is the target's after the sequence and i drafts. The text is the one without drafts; with
    /// two keys it is marked under one or the other.
    fn verify(&self, py: Python<'_>, logits: &Bound<'_, PyAny>) -> PyResult<Vec<u32>> {
        let logits = Logits::rows(logits)?;
        let packed = || InputError::new_err("the rows of logits are not contiguous in memory; pass a contiguous copy");
        let session = &mut *self.held()?;
        let accepted = in_format!(Rows, logits.view(), |rows| {
            let rows = rows.to_slice().ok_or_else(packed)?;
            py.detach(|| session.verify(rows))
        });
        let accepted = accepted.map_err(raise_core)?;
        let generated = session.generated();
        Ok(generated[generated.len() - accepted..].to_vec())
    }

    /// Makes room for `tokens` more tokens (at most 2^24), so that accepting them allocates nothing.
    fn reserve(&self, #[pyo3(from_py_with = whole)] tokens: usize) -> PyResult<()> {
        if tokens > MAX_RESERVED {
            return Err(ParameterError::new_err(format!("tokens is {tokens}; room is made for at most 2^24")));
        }
        self.held()?.reserve(tokens);
        Ok(())
    }

    /// Tokens accepted so far; drafts that wait for `verify` are the last of them.
    #[getter]
    fn generated(&self) -> PyResult<Vec<u32>> {
        Ok(self.held()?.generated().to_vec())
    }

    /// What paired draws withheld at each of these tokens: the candidate that the coin did not serve; None where another token than the drawn
    /// one was accepted. Empty without paired draws.
    #[getter]
    fn withheld(&self) -> PyResult<Vec<Option<u32>>> {
        Ok(self.held()?.withheld().to_vec())
    }

    /// Whether the position last sampled or processed carries a mark, and if not, why: `marked`, `off`, `greedy`, `certain`,
    /// `no_context` or `repeated`.
    #[getter]
    fn mark_state(&self) -> PyResult<&'static str> {
        Ok(match self.held()?.mark_state() {
            MarkState::Marked => "marked",
            MarkState::Greedy => "greedy",
            MarkState::Certain => "certain",
            MarkState::NoContext => "no_context",
            MarkState::Repeated => "repeated",
            _ => "off",
        })
    }

    /// What the profile's sampling policy raised in the request, each as what was asked for and what it became: `temperature`, `top_p`.
    /// Empty if nothing was, and in an unmarked session. Top-k and min-p are held to the floor of top-p row by row, which is not in here.
    #[getter]
    fn raised(&self, py: Python<'_>) -> PyResult<Py<PyDict>> {
        let Raised { temperature, top_p } = self.held()?.raised();
        let raised = PyDict::new(py);
        if let Some(Change { from, to }) = temperature {
            raised.set_item("temperature", (from, to))?;
        }
        if let Some(Change { from, to }) = top_p {
            raised.set_item("top_p", (from, to))?;
        }
        Ok(raised.unbind())
    }

    /// Length of a row of logits.
    #[getter]
    fn vocab_size(&self) -> PyResult<usize> {
        Ok(self.held()?.vocab_size())
    }

    /// The error that every call that can fail raises until `reset`.
    #[getter]
    fn error(&self) -> PyResult<Option<PyErr>> {
        Ok(self.held()?.error().cloned().map(raise_core))
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(not_pickled("Session"))
    }

    fn __repr__(&self) -> PyResult<String> {
        let generated = self.held()?.generated().len();
        Ok(format!("Session(generated=<{generated} tokens>, mark_state={:?})", self.mark_state()?))
    }
}

impl Session {
    fn held(&self) -> PyResult<MutexGuard<'_, mark::Session>> {
        held(&self.0, "this session")
    }
}

/// `Session.sample` for a batch: row i of logits [n, vocab_size] with session i, on all cores. Rows that fail fail alone: their
/// sessions keep the error (`Session.error`), and the first is raised when all rows are done. Sampling does not advance a
/// sequence, so a second call without those sessions gives the same tokens.
#[pyfunction]
fn sample_batch(py: Python<'_>, sessions: Vec<Bound<'_, Session>>, logits: &Bound<'_, PyAny>) -> PyResult<Vec<u32>> {
    let logits = Logits::rows(logits)?;
    let mut taken = take(&sessions)?;
    let mut sessions: Vec<&mut mark::Session> = taken.iter_mut().map(|session| &mut **session).collect();
    let mut tokens = vec![Ok(0); logits.len()];
    let rows = logits.view();
    let done = detached(py, || in_format!(Rows, rows, |rows| mark::sample_batch(&mut sessions, rows, &mut tokens)))?;
    done.map_err(raise_core)?;
    tokens.into_iter().enumerate().map(|(at, token)| token.map_err(|error| of_row(at, error))).collect()
}

/// `Session.process` for a batch, in place: row i of logits [n, vocab_size] with session i, on all cores. Rows that fail fail
/// alone: their sessions keep the error (`Session.error`), and the first is raised when all other rows are done.
#[pyfunction]
fn process_batch(py: Python<'_>, sessions: Vec<Bound<'_, Session>>, logits: &Bound<'_, PyAny>) -> PyResult<()> {
    let mut logits = Logits::rows(logits)?;
    let mut taken = take(&sessions)?;
    let mut sessions: Vec<&mut mark::Session> = taken.iter_mut().map(|session| &mut **session).collect();
    let mut results = vec![Ok(()); logits.len()];
    let rows = logits.view_mut()?;
    let done =
        detached(py, || in_format!(RowsMut, rows, |rows| mark::process_batch(&mut sessions, rows, &mut results)))?;
    done.map_err(raise_core)?;
    results.into_iter().enumerate().try_for_each(|(at, result)| result.map_err(|error| of_row(at, error)))
}

fn take<'a>(sessions: &'a [Bound<'_, Session>]) -> PyResult<Vec<MutexGuard<'a, mark::Session>>> {
    let take = |(at, session): (usize, &'a Bound<'_, Session>)| {
        held(&session.get().0, &format!("sessions[{at}] is in the batch twice, or"))
    };
    sessions.iter().enumerate().map(take).collect()
}

fn of_row(at: usize, error: watermark_core::Error) -> PyErr {
    let raised = raise_core(error.clone());
    Python::attach(|py| PyErr::from_type(raised.get_type(py), format!("row {at}: {error}")))
}

/// Whether a layer of a profile has a key per account, for a process that has no use for the key.
#[pyfunction]
fn has_account_layer(profile: &Bound<'_, PyAny>) -> PyResult<bool> {
    Ok(given::profile(profile)?.file.profile.has_account_layer())
}

/// Adds classes and functions to the module.
pub(crate) fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Marker>()?;
    module.add_class::<Session>()?;
    module.add_function(wrap_pyfunction!(has_account_layer, module)?)?;
    module.add_function(wrap_pyfunction!(sample_batch, module)?)?;
    module.add_function(wrap_pyfunction!(process_batch, module)?)
}
