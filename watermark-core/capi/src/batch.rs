//! Many sequences in one call, on the threads of rayon's pool.

use std::borrow::{Borrow, BorrowMut};
use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};

use half::{bf16, f16};
use ndarray::{ArrayView2, ArrayViewMut2, ShapeBuilder};
use watermark_core::mark::{Logit, Session, process_batch, sample_batch};

use crate::WmSession;
use crate::arguments::{check_length, exclusive, slice, slice_mut};
use crate::status::{Failure, Result, WmStatus, guard};

/// Number formats of a batch's logits.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WmDtype {
    /// float.
    F32 = 0,
    /// IEEE 754 binary16.
    F16 = 1,
    /// bfloat16.
    Bf16 = 2,
}

/// `wm_session_process` for `sessions` [n], all of one vocab_size and no session twice: row i of `rows` [n, vocab_size] with
/// session i, in place. `row_stride` is the distance of rows in elements, at least vocab_size; `dtype` is a WmDtype.
///
/// A row that fails fails alone: `statuses` [n] says which (the message: `wm_session_error`), and the call returns the first
/// of them. With WM_STATUS_INVALID_ARGUMENT nothing has happened; then, and with WM_STATUS_INTERNAL, `statuses` is not
/// written. The work is shared by the threads of one pool of the process, as many as there are cores or RAYON_NUM_THREADS says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wm_process_batch(
    sessions: *const *mut WmSession,
    n: usize,
    rows: *mut c_void,
    row_stride: usize,
    dtype: u32,
    statuses: *mut WmStatus,
) -> WmStatus {
    guard(|| match dtype {
        _ if dtype == WmDtype::F32 as u32 => process(sessions, n, rows.cast::<f32>(), row_stride, statuses),
        _ if dtype == WmDtype::F16 as u32 => process(sessions, n, rows.cast::<f16>(), row_stride, statuses),
        _ if dtype == WmDtype::Bf16 as u32 => process(sessions, n, rows.cast::<bf16>(), row_stride, statuses),
        _ => Err(unknown(dtype)),
    })
}

/// `wm_session_sample` for a batch, as `wm_process_batch`. `tokens` is [n]; where a row failed, its token is not written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wm_sample_batch(
    sessions: *const *mut WmSession,
    n: usize,
    rows: *const c_void,
    row_stride: usize,
    dtype: u32,
    tokens: *mut u32,
    statuses: *mut WmStatus,
) -> WmStatus {
    guard(|| match dtype {
        _ if dtype == WmDtype::F32 as u32 => sample(sessions, n, rows.cast::<f32>(), row_stride, tokens, statuses),
        _ if dtype == WmDtype::F16 as u32 => sample(sessions, n, rows.cast::<f16>(), row_stride, tokens, statuses),
        _ if dtype == WmDtype::Bf16 as u32 => sample(sessions, n, rows.cast::<bf16>(), row_stride, tokens, statuses),
        _ => Err(unknown(dtype)),
    })
}

fn unknown(dtype: u32) -> Failure {
    Failure::argument(format!("dtype is {dtype}; known are 0 (f32), 1 (f16), 2 (bf16)"))
}

unsafe fn process<L: Logit>(
    sessions: *const *mut WmSession,
    n: usize,
    rows: *mut L,
    row_stride: usize,
    statuses: *mut WmStatus,
) -> Result<()> {
    let mut batch = Batch::new(sessions, n, statuses)?;
    batch.check_rows(rows, row_stride)?;
    let shape = (n, batch.vocab_size).strides((row_stride, 1));
    let rows = ArrayViewMut2::from_shape_ptr(shape, rows);
    let mut results = vec![Ok(()); n];
    batch.run(|sessions| process_batch(sessions, rows, &mut results))?;
    batch.conclude(results, |_, ()| ())
}

unsafe fn sample<L: Logit>(
    sessions: *const *mut WmSession,
    n: usize,
    rows: *const L,
    row_stride: usize,
    tokens: *mut u32,
    statuses: *mut WmStatus,
) -> Result<()> {
    let mut batch = Batch::new(sessions, n, statuses)?;
    batch.check_rows(rows, row_stride)?;
    let tokens = slice_mut(tokens, n, "tokens")?;
    let shape = (n, batch.vocab_size).strides((row_stride, 1));
    let rows = ArrayView2::from_shape_ptr(shape, rows);
    let mut results = vec![Ok(0); n];
    batch.run(|sessions| sample_batch(sessions, rows, &mut results))?;
    batch.conclude(results, |i, token| tokens[i] = token)
}

/// Sessions of a batch and where their statuses go.
struct Batch<'a> {
    rows: Vec<Row<'a>>,
    statuses: *mut WmStatus,
    vocab_size: usize,
}

struct Row<'a>(&'a mut WmSession);

impl Borrow<Session> for Row<'_> {
    fn borrow(&self) -> &Session {
        &self.0.inner
    }
}

impl BorrowMut<Session> for Row<'_> {
    fn borrow_mut(&mut self) -> &mut Session {
        &mut self.0.inner
    }
}

impl Batch<'_> {
    unsafe fn new(sessions: *const *mut WmSession, n: usize, statuses: *mut WmStatus) -> Result<Self> {
        let handles = slice(sessions, n, "sessions")?;
        let mut sorted = handles.to_vec();
        sorted.sort_unstable();
        if sorted.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(Failure::argument("a session is in the batch twice"));
        }
        if n > 0 && (statuses.is_null() || !statuses.is_aligned()) {
            return Err(Failure::argument("statuses is NULL or misaligned"));
        }
        let rows: Vec<Row<'_>> =
            handles.iter().map(|&handle| exclusive(handle, "a session").map(Row)).collect::<Result<_>>()?;
        let vocab_size = rows.first().map_or(0, |row| row.0.inner.vocab_size());
        if rows.iter().any(|row| row.0.inner.vocab_size() != vocab_size) {
            return Err(Failure::argument("the sessions have different vocabulary sizes"));
        }
        Ok(Self { rows, statuses, vocab_size })
    }

    fn check_rows<L>(&self, rows: *const L, row_stride: usize) -> Result<()> {
        if self.rows.is_empty() {
            return Ok(());
        }
        if row_stride < self.vocab_size {
            let message = format!("row_stride is {row_stride}; rows have {} elements", self.vocab_size);
            return Err(Failure::argument(message));
        }
        let elements = row_stride.saturating_mul(self.rows.len());
        check_length::<L>(elements, "rows")?;
        if rows.is_null() || !rows.is_aligned() {
            return Err(Failure::argument("rows is NULL or misaligned"));
        }
        Ok(())
    }

    /// One call of the core. A session that a panic has passed through holds its error, which the core does not know.
    fn run(&mut self, call: impl FnOnce(&mut [Row<'_>]) -> watermark_core::Result<()>) -> Result<()> {
        if self.rows.is_empty() {
            return Ok(());
        }
        if let Some(failure) = self.rows.iter().find_map(|row| row.0.defect()) {
            return Err(failure.clone());
        }
        match catch_unwind(AssertUnwindSafe(|| call(&mut self.rows))) {
            Ok(result) => Ok(result?),
            Err(payload) => {
                let failure = Failure::panic(&*payload);
                self.rows.iter_mut().for_each(|row| row.0.fail(&failure));
                Err(failure)
            }
        }
    }

    unsafe fn conclude<T>(
        self,
        results: Vec<watermark_core::Result<T>>,
        mut success: impl FnMut(usize, T),
    ) -> Result<()> {
        let mut first = Ok(());
        for (i, (row, result)) in self.rows.into_iter().zip(results).enumerate() {
            let status = match result {
                Ok(value) => {
                    success(i, value);
                    WmStatus::Ok
                }
                Err(error) => {
                    let failure = Failure::from(error);
                    row.0.fail(&failure);
                    let status = failure.status();
                    first = first.and(Err(failure));
                    status
                }
            };
            self.statuses.add(i).write(status);
        }
        first
    }
}
