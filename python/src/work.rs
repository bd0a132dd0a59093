//! Work outside the interpreter's lock, on threads that survive a fork.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

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
    let mut held = POOL.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
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

/// How often an interrupt is looked for.
const EVERY: Duration = Duration::from_millis(50);

/// Runs `work` in a thread of its own, with a flag that an interrupt (Ctrl-C) sets; what the interrupt raises is then raised.
pub(crate) fn interruptible<T: Send>(py: Python<'_>, work: impl FnOnce(&AtomicBool) -> T + Send) -> PyResult<T> {
    let (stop, mut interrupted) = (AtomicBool::new(false), None);
    let done = thread::scope(|scope| {
        let stop = &stop;
        let working = scope.spawn(move || work(stop));
        while !working.is_finished() {
            py.detach(|| thread::sleep(EVERY));
            if let Err(error) = py.check_signals() {
                stop.store(true, Ordering::Relaxed);
                interrupted = Some(error);
            }
        }
        working.join().map_err(|_| PyRuntimeError::new_err("it broke off; the same call goes on from there"))
    })?;
    interrupted.map_or(Ok(done), Err)
}

/// What pickling something that holds a key comes to.
pub(crate) fn not_pickled(what: &str) -> PyErr {
    PyTypeError::new_err(format!(
        "a {what} holds key material and is not pickled or copied; make it anew, from profile and key file, where it is needed"
    ))
}
