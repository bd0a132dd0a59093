use super::drafts::Drafts;
use super::scratch::Scratch;
use super::{Logit, Session};
use crate::paired::Draw;
use crate::scheme::{TWO_32, logarithms, softmax};
use crate::{Error, ErrorKind, Result};

/// Speculative decoding: a cheap model drafts some tokens, the target model computes their rows at once, and what the target
/// would not have said is replaced.
///
/// Draft and target draw with the same words, so they agree whenever their distributions are alike, and **the emitted text
/// is the one that [`Session::sample`] would have given without drafts, token by token, whatever the draft model says**: marks
/// are as strong as ever. Where d is the total variation distance of the two distributions, a Gumbel draw accepts the draft
/// with probability at least `(1 - d) / (1 + d)` (2408.07978); rejection sampling has `1 - d` and would weaken a mark under one
/// key (2602.01428).
///
/// `gumbel_dual_key` and vLLM's format of that name keep `1 - d` in another way (2605.12456): drafts are drawn under
/// key A and accepted with probability `min(1, p / q)`, decided by a public coin of the position. A rejected draft is
/// replaced by a draw from `(p - q)+` under key B. Every token then carries one of the two marks and follows the
/// target's distribution, but the text differs from the one without drafts.
impl Session {
    /// Draws a draft token from the draft model's row of logits [vocab_size] and puts it at the end of the sequence until
    /// [`Session::verify`]. The row is truncated and reweighted as the target's will be.
    ///
    /// # Errors
    /// As [`Session::sample`]; [`ErrorKind::MissingInput`] with a layer that needs a proxy, which has no row here.
    pub fn draft<L: Logit>(&mut self, logits: &[L]) -> Result<u32> {
        self.guarded(|session| {
            let token = Scratch::with(session.vocab_size, |scratch| {
                session.distribution(logits, scratch)?;
                let key = session.marked_context(scratch);
                if !session.rejects() {
                    // With paired draws the served side, as the target will draw it.
                    let second = session.coin() == Some(Draw::Second);
                    return session.draw(key.as_ref(), second, scratch);
                }
                let probabilities = &mut scratch.buffers.probabilities;
                softmax(&scratch.support.logits, probabilities);
                session.drafts.ids.extend(&scratch.support.ids);
                session.drafts.probabilities.extend(probabilities.iter());
                session.draw(key.as_ref(), false, scratch)
            })?;
            session.push(token)?;
            session.drafts.push(token);
            Ok(token)
        })
    }

    /// Puts a draft token that was not drawn here (looked up in the prompt, say) at the end of the sequence. It is accepted
    /// if it is what [`Session::sample`] gives.
    ///
    /// # Errors
    /// [`ErrorKind::TokenOutOfRange`]; sticky.
    pub fn propose(&mut self, token: u32) -> Result<()> {
        self.guarded(|session| {
            session.push(token)?;
            session.drafts.push(token);
            Ok(())
        })
    }

    /// Replaces the drafts by what the target model's rows give: the drafts up to the first one that does not hold, then one
    /// token more. Returns how many tokens that is (1 to drafts + 1); they are the last of [`Session::generated`].
    ///
    /// Shape: `rows` [drafts + 1, vocab_size], row after row: row i is the target's after the sequence and i drafts.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidLogits`], as [`Session::sample`] or for another number of rows; sticky.
    pub fn verify<L: Logit>(&mut self, rows: &[L]) -> Result<usize> {
        self.guarded(|session| {
            let n = session.drafts.len();
            if rows.len() != (n + 1) * session.vocab_size {
                let message = format!(
                    "{} logits; {n} drafts take {} rows for a vocabulary of {}",
                    rows.len(),
                    n + 1,
                    session.vocab_size
                );
                return Err(Error::new(ErrorKind::InvalidLogits, message));
            }
            let mut drafts = std::mem::take(&mut session.drafts);
            session.rollback(n);
            let emitted = session.replace(&drafts, rows);
            drafts.truncate(0);
            // The next round reuses the memory.
            session.drafts = drafts;
            emitted
        })
    }

    fn replace<L: Logit>(&mut self, drafts: &Drafts, rows: &[L]) -> Result<usize> {
        for (at, row) in rows.chunks_exact(self.vocab_size).enumerate() {
            let draft = drafts.tokens.get(at).copied();
            let token = Scratch::with(self.vocab_size, |scratch| {
                self.distribution(row, scratch)?;
                match draft {
                    Some(token) if !drafts.distribution(at).0.is_empty() => {
                        self.accept_or_correct(token, drafts.distribution(at), scratch)
                    }
                    _ => self.choose(scratch),
                }
            })?;
            self.push(token)?;
            if draft != Some(token) {
                return Ok(at + 1);
            }
        }
        Ok(drafts.len() + 1)
    }

    /// Returns the draft with probability `min(1, p / q)`, else a token drawn from `(p - q)+`. That token is never the
    /// draft again, because a draft is rejected only where `p < q`.
    fn accept_or_correct(&mut self, draft: u32, q: (&[u32], &[f64]), scratch: &mut Scratch) -> Result<u32> {
        let key = self.marked_context(scratch);
        let coin = (f64::from(self.public_words()[1]) + 0.5) / TWO_32;
        let Scratch { support, buffers, .. } = scratch;
        let probabilities = &mut buffers.probabilities;
        softmax(&support.logits, probabilities);
        let probability = |ids: &[u32], p: &[f64]| ids.binary_search(&draft).map_or(0.0, |at| p[at]);
        if coin * probability(q.0, q.1) < probability(&support.ids, probabilities) {
            return Ok(draft);
        }
        let mut drafted = q.0.iter().zip(q.1).peekable();
        let mut left = false;
        for (id, p) in support.ids.iter().zip(probabilities.iter_mut()) {
            while drafted.next_if(|(other, _)| *other < id).is_some() {}
            let q = drafted.next_if(|(other, _)| *other == id).map_or(0.0, |(_, &q)| q);
            *p = (*p - q).max(0.0);
            left |= *p > 0.0;
        }
        // Where p and q are nearly the same, rounding may leave nothing of their difference; then p itself is as good.
        if left {
            logarithms(probabilities, &mut support.logits);
        }
        self.draw(key.as_ref(), true, scratch)
    }

    /// Whether drafts are accepted by a coin. With paired draws they are where they are the candidate that is served.
    fn rejects(&self) -> bool {
        self.paired.is_none() && self.choosing.as_ref().is_some_and(super::choosing::Choosing::has_two_keys)
    }
}
