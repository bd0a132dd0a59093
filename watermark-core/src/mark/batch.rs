use std::borrow::BorrowMut;

use ndarray::{ArrayView2, ArrayViewMut2, Axis};
use rayon::prelude::*;

use super::{Logit, Session};
use crate::{Error, ErrorKind, Result};

/// [`Session::sample`] for a batch, row i with session i, on the current rayon pool. A row that fails fails alone: its error is
/// in its place. Shapes: `sessions` [n] (owned or borrowed), `rows` [n, vocab_size] with contiguous rows, `tokens` [n].
///
/// # Errors
/// [`ErrorKind::InvalidLogits`] for different numbers of sessions, rows and tokens; nothing has been sampled then.
pub fn sample_batch<S: BorrowMut<Session> + Send, L: Logit>(
    sessions: &mut [S],
    rows: ArrayView2<'_, L>,
    tokens: &mut [Result<u32>],
) -> Result<()> {
    check(sessions.len(), rows.nrows(), tokens.len())?;
    sessions.par_iter_mut().zip(rows.axis_iter(Axis(0))).zip(tokens).for_each(|((session, row), token)| {
        *token = row.as_slice().ok_or_else(not_contiguous).and_then(|row| session.borrow_mut().sample(row));
    });
    Ok(())
}

/// [`Session::process`] for a batch, in place. Shapes: `sessions` [n], `rows` [n, vocab_size] with contiguous rows, `results` [n].
///
/// # Errors
/// As [`sample_batch`].
pub fn process_batch<S: BorrowMut<Session> + Send, L: Logit>(
    sessions: &mut [S],
    mut rows: ArrayViewMut2<'_, L>,
    results: &mut [Result<()>],
) -> Result<()> {
    check(sessions.len(), rows.nrows(), results.len())?;
    sessions.par_iter_mut().zip(rows.axis_iter_mut(Axis(0))).zip(results).for_each(|((session, mut row), result)| {
        *result = row.as_slice_mut().ok_or_else(not_contiguous).and_then(|row| session.borrow_mut().process(row));
    });
    Ok(())
}

fn check(sessions: usize, rows: usize, results: usize) -> Result<()> {
    if sessions != rows || sessions != results {
        let message = format!("{sessions} sessions for {rows} rows and {results} results");
        return Err(Error::new(ErrorKind::InvalidLogits, message));
    }
    Ok(())
}

fn not_contiguous() -> Error {
    Error::new(ErrorKind::InvalidLogits, "a row of the batch is not contiguous in memory")
}
