//! Work outside the interpreter's lock, on threads that survive a fork.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError, mpsc};
use std::thread;
use std::time::Duration;

use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};
use serde_json::Value;

use crate::error::raise;
use crate::finding::to_dict;

/// The pool of the process that made it. A forked child has the memory of its parent's pool but none of its threads, so it
/// would wait for ever.
static POOL: Mutex<Option<(u32, Arc<ThreadPool>)>> = Mutex::new(None);

/// Runs `work` on this process's pool while other Python threads go on.
pub(crate) fn detached<T: Send>(py: Python<'_>, work: impl FnOnce() -> T + Send) -> PyResult<T> {
    let pool = pool()?;
    Ok(py.detach(|| pool.install(work)))
}

/// Called with the interpreter's lock held, as `os.fork` is: so no child finds the mutex locked.
fn pool() -> PyResult<Arc<ThreadPool>> {
    let mut held = lock(&POOL);
    let process = std::process::id();
    if let Some((owner, pool)) = &*held
        && *owner == process
    {
        return Ok(Arc::clone(pool));
    }
    let pool = ThreadPoolBuilder::new().thread_name(|at| format!("watermark-{at}")).build();
    let pool = Arc::new(pool.map_err(|error| PyRuntimeError::new_err(format!("starting threads: {error}")))?);
    // Dropping the parent's pool here would signal threads that are not there.
    std::mem::forget(held.replace((process, Arc::clone(&pool))));
    Ok(pool)
}

/// How often an interrupt is looked for, and a caller is told how far the work is.
const EVERY: Duration = Duration::from_millis(50);

/// What work in a thread of its own and its caller say to each other.
#[derive(Default)]
pub(crate) struct Watch {
    /// Set by an interrupt (Ctrl-C), and by an exception of the caller's callback.
    pub(crate) stop: AtomicBool,
    state: Mutex<Option<Value>>,
}

impl Watch {
    /// An error as soon as the work is to stop, to end it with; the caller gets what stopped it instead.
    pub(crate) fn go_on(&self) -> anyhow::Result<()> {
        anyhow::ensure!(!self.stop.load(Ordering::Relaxed), "stopped");
        Ok(())
    }

    /// How far the work is; only the last word is passed on.
    pub(crate) fn tell(&self, state: Value) {
        *lock(&self.state) = Some(state);
    }

    fn pass_on(&self, py: Python<'_>, progress: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        let state = lock(&self.state).take();
        match (state, progress) {
            (Some(state), Some(progress)) => progress.call1((to_dict(py, &state)?,)).map(drop),
            _ => Ok(()),
        }
    }
}

/// As [`detached`], for work that may take long and looks at [`Watch::go_on`].
pub(crate) fn stoppable<T: Send>(py: Python<'_>, work: impl FnOnce(&Watch) -> anyhow::Result<T> + Send) -> PyResult<T> {
    let pool = pool()?;
    interruptible(py, None, |watch| pool.install(|| work(watch)))?.map_err(raise)
}

/// Runs `work` in a thread of its own. `progress` is called in the caller's, with the latest word of [`Watch::tell`] as a dict. What an
/// interrupt or `progress` raises stops the work, and is raised when that has ended.
pub(crate) fn interruptible<T: Send>(
    py: Python<'_>,
    progress: Option<&Bound<'_, PyAny>>,
    work: impl FnOnce(&Watch) -> T + Send,
) -> PyResult<T> {
    let (watch, mut raised) = (Watch::default(), None);
    let done = thread::scope(|scope| {
        let watch = &watch;
        // Short work is not to wait for the next look: its end drops the sender.
        let (working_on, end) = mpsc::channel::<()>();
        let end = Mutex::new(end);
        let working = scope.spawn(move || {
            let _working_on = working_on;
            work(watch)
        });
        while py.detach(|| lock(&end).recv_timeout(EVERY)) == Err(mpsc::RecvTimeoutError::Timeout) {
            let told =
                py.check_signals().and_then(|()| if raised.is_none() { watch.pass_on(py, progress) } else { Ok(()) });
            if let Err(error) = told {
                watch.stop.store(true, Ordering::Relaxed);
                raised = Some(error);
            }
        }
        working.join().map_err(|_| PyRuntimeError::new_err("it broke off; the same call goes on from there"))
    })?;
    match raised {
        Some(error) => Err(error),
        None => watch.pass_on(py, progress).map(|()| done),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What belongs to one thread at a time, for a call. `what` names it in the error of a second one.
pub(crate) fn held<'a, T>(mutex: &'a Mutex<T>, what: &str) -> PyResult<MutexGuard<'a, T>> {
    match mutex.try_lock() {
        Ok(held) => Ok(held),
        Err(TryLockError::Poisoned(poisoned)) => Ok(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => Err(PyRuntimeError::new_err(format!(
            "{what} is in use by another call; it belongs to one thread at a time, so give each thread its own"
        ))),
    }
}

/// What pickling something that holds a key comes to.
pub(crate) fn not_pickled(what: &str) -> PyErr {
    PyTypeError::new_err(format!(
        "a {what} holds key material and is not pickled or copied; make it anew, from profile and key file, where it is needed"
    ))
}
