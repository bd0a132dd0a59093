//! Counts of what a model could have chosen, made in the same way as counts of what it chose.

use hashbrown::HashSet;

use super::pairs::check;
use super::repeats::repeated;
use super::rule::Rule;
use super::{LayerDetector, Pair, PairSet, Tally};
use crate::prf::{Position, RuleId};
use crate::{Error, ErrorKind, Result};

/// A token that a model could choose next, with its probability.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The token's id.
    pub token: u32,
    /// Its probability in units of 2^-16, rounded down; 2^16 for the one token that was or would be chosen.
    pub probability_q16: u32,
}

impl Choice {
    /// A certain choice.
    #[must_use]
    pub fn certain(token: u32) -> Self {
        Self { token, probability_q16: 1 << 16 }
    }

    /// Every token of a row of natural logarithms of probabilities that has at least 2^-16; NaN and positive values count as
    /// impossible.
    pub fn from_log_probabilities(row: impl IntoIterator<Item = (u32, f64)>) -> Vec<Self> {
        let choice = |(token, ln_p): (u32, f64)| {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 2^16")]
            let probability_q16 = if ln_p <= 0.0 { (libm::exp(ln_p) * 65_536.0) as u32 } else { 0 };
            (probability_q16 > 0).then_some(Self { token, probability_q16 })
        };
        row.into_iter().filter_map(choice).collect()
    }

    /// What an unmarked reference expects at a position, `expected`, beside a suspect that shows `shown` of its own probabilities there, all or
    /// the largest of them. A token that the suspect does not show may have as much as its smallest shown one, and no more than all shown
    /// ones leave. So much is taken off the reference there, as if the suspect had it: what is hidden counts neither for nor against it.
    #[must_use]
    pub fn expected_beside(expected: &[Self], shown: &[Self]) -> Vec<Self> {
        let sum: u64 = shown.iter().map(|choice| u64::from(choice.probability_q16)).sum();
        let left = u32::try_from((1_u64 << 16).saturating_sub(sum)).unwrap_or(0);
        let smallest = shown.iter().map(|choice| choice.probability_q16).min().unwrap_or(1 << 16);
        let hidden = left.min(smallest);
        let mut tokens: Vec<u32> = shown.iter().map(|choice| choice.token).collect();
        tokens.sort_unstable();
        let beside = expected.iter().filter_map(|&choice| {
            let off = if tokens.binary_search(&choice.token).is_ok() { 0 } else { hidden };
            let probability_q16 = choice.probability_q16.saturating_sub(off);
            (probability_q16 > 0).then_some(Self { probability_q16, ..choice })
        });
        beside.collect()
    }
}

/// The contexts that a reader has seen together with the token that followed. In a marked text that token tells something
/// about the draws of its context, so whoever has seen it can do better than chance there without any training.
#[derive(Clone, Debug)]
pub(crate) struct ShownContexts {
    rule: RuleId,
    contexts: HashSet<Pair>,
}

impl ShownContexts {
    pub(super) fn new(rule: &Rule) -> Self {
        Self { rule: rule.id(), contexts: HashSet::new() }
    }
}

impl LayerDetector {
    /// Counts what a model could have chosen at each position of its own answer: expected counts in units of 2^-16. `choices`
    /// [tokens] holds its next-token probabilities there, in full or the largest of them: what is left out has no weight,
    /// which keeps the null. Pairs in `exclude` do not count, nor what the answer repeats of itself
    /// ([`VERBATIM`](super::VERBATIM)).
    ///
    /// # Errors
    /// [`ErrorKind::TokenOutOfRange`]; [`ErrorKind::InvalidParameter`] for a wrong shape, another context rule, or an engine
    /// whose PRF input is not (context, token).
    pub fn add_preferences(
        &self,
        tally: &mut Tally,
        exclude: &PairSet,
        tokens: &[u32],
        choices: &[Vec<Choice>],
    ) -> Result<()> {
        let repeated = repeated(tokens);
        let counts = |at: usize, _| !repeated[at];
        self.add_choices(tally, |pair| !exclude.contains(pair), &[], tokens, choices, counts)
    }

    /// Counts what [`Self::add_preferences`] leaves out of one answer because it is in `exclude`.
    pub(crate) fn add_left_out_preferences(
        &self,
        tally: &mut Tally,
        exclude: &PairSet,
        tokens: &[u32],
        choices: &[Vec<Choice>],
    ) -> Result<()> {
        let repeated = repeated(tokens);
        let counts = |at: usize, _| !repeated[at];
        self.add_choices(tally, |pair| exclude.contains(pair), &[], tokens, choices, counts)
    }

    /// Nothing shown to a reader yet.
    pub(crate) fn shown_contexts(&self) -> ShownContexts {
        ShownContexts::new(&self.rule)
    }

    /// Reading mode: counts what a model chooses while it reads `text` of ours after `prompt`, in contexts that are not in
    /// `shown` and did not occur earlier in this input. Afterwards `shown` holds every context of the input that a token
    /// followed, scored or not. An error changes nothing.
    ///
    /// # Errors
    /// As [`Self::add_preferences`].
    pub(crate) fn add_reading(
        &self,
        tally: &mut Tally,
        shown: &mut ShownContexts,
        prompt: &[u32],
        text: &[u32],
        choices: &[Vec<Choice>],
    ) -> Result<()> {
        check(prompt)?;
        shown.rule.check(self.rule.id())?;
        let (width, seen) = (self.width(), &mut shown.contexts);
        let input: Vec<u32> = prompt.iter().chain(text).copied().collect();
        // The context of each position that has a full one, as if everything had been generated.
        let mut windows = (width..input.len()).map(|at| (at, self.rule.context_of(&input[at - width..at]))).peekable();
        self.add_choices(
            tally,
            |_| true,
            prompt,
            text,
            choices,
            |at, pair| {
                while let Some((_, context)) = windows.next_if(|&(position, _)| position < prompt.len() + at) {
                    seen.insert(context);
                }
                !seen.contains(&pair.without_token())
            },
        )?;
        seen.extend(windows.map(|(_, context)| context));
        // Contexts that are padded where a text begins are the same in every text.
        self.rule.positions(prompt, &[], text, |position| {
            if let Position::Input(pair) = position {
                seen.insert(pair.without_token());
            }
        });
        Ok(())
    }

    fn add_choices(
        &self,
        tally: &mut Tally,
        keeps: impl Fn(&Pair) -> bool,
        prompt: &[u32],
        tokens: &[u32],
        choices: &[Vec<Choice>],
        mut counts: impl FnMut(usize, Pair) -> bool,
    ) -> Result<()> {
        let invalid = |message: String| Error::new(ErrorKind::InvalidParameter, message);
        if choices.len() != tokens.len() {
            return Err(invalid(format!("{} rows of choices for {} tokens", choices.len(), tokens.len())));
        }
        if !self.rule.keeps_token() {
            return Err(invalid(format!(
                "{} mixes context and token; only chosen tokens can be scored",
                self.scheme().name()
            )));
        }
        check(tokens)?;
        choices.iter().try_for_each(|row| row.iter().try_for_each(|choice| check(&[choice.token])))?;
        tally.check_rule(&self.rule)?;
        let mut at = 0;
        self.rule.positions(prompt, &self.special, tokens, |position| {
            match position {
                Position::ShortContext => tally.count_short_context(),
                Position::Input(pair) if counts(at, pair) => {
                    for choice in &choices[at] {
                        let pair = pair.with_token(choice.token);
                        let special = self.special.binary_search(&choice.token).is_ok();
                        if choice.probability_q16 > 0 && !special && keeps(&pair) {
                            tally.add_pair(pair, choice.probability_q16.into());
                        }
                    }
                }
                Position::Excluded | Position::Input(_) => tally.count_excluded(),
            }
            at += 1;
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::engine::{Engine, EngineOptions};
    use crate::key::fresh_keys;
    use crate::scheme::{Greenlist, Scheme};

    fn layer(width: usize) -> LayerDetector {
        let scheme = Scheme::Greenlist(Greenlist::new(0.5, 2.0).unwrap());
        LayerDetector::from_prf_key(scheme, width, &fresh_keys(b"preferences", 1).next().unwrap()).unwrap()
    }

    fn certain(tokens: &[u32]) -> Vec<Vec<Choice>> {
        tokens.iter().map(|&token| vec![Choice::certain(token)]).collect()
    }

    #[test]
    fn certain_choices_of_an_answer_are_its_counts() {
        let (layer, tokens) = (layer(2), [1, 2, 3, 1, 2, 3, 4]);
        let mut answer = layer.tally();
        layer.add(&mut answer, &[], &tokens).unwrap();
        let mut chosen = layer.tally();
        layer.add_preferences(&mut chosen, &layer.pair_set(), &tokens, &certain(&tokens)).unwrap();
        let scaled: Vec<(Pair, u64)> = answer.pairs().map(|(pair, count)| (*pair, count << 16)).collect();
        assert_eq!(chosen.n_scored(), 4);
        assert!(chosen.pairs().all(|(pair, count)| scaled.contains(&(*pair, count))));
        assert_eq!(chosen.n_short_context(), 2);
    }

    fn contexts(tally: &Tally) -> Vec<u32> {
        let mut contexts: Vec<u32> = tally.pairs().map(|(pair, _)| pair.context(1)[0]).collect();
        contexts.sort_unstable();
        contexts
    }

    /// Contexts that the input showed before, in the prompt, across its end or in the text, could be copied from there; those
    /// of an earlier input too, wherever in it they stood and whether they were scored or not.
    #[test]
    fn reading_leaves_out_contexts_that_were_shown() {
        let layer = layer(1);
        let (mut tally, mut shown) = (layer.tally(), layer.shown_contexts());
        let text = [7, 8, 9, 7, 5, 6];
        // contexts of positions 1..: 7 (new), 8 (new), 9 (in the prompt), 7 (again), 5 (ends the prompt: nothing followed but 7)
        layer.add_reading(&mut tally, &mut shown, &[9, 4, 5], &text, &certain(&[0, 1, 2, 3, 4, 5])).unwrap();
        assert_eq!(contexts(&tally), [7, 8]);
        assert_eq!((tally.n_excluded(), tally.n_short_context()), (3, 1));
        // Nothing followed 6; 4 stood in the first prompt, 9 in the prompt and in the text, 7 was scored.
        let again = layer.add_reading(&mut tally, &mut shown, &[], &[6, 4, 9, 7, 3, 2], &certain(&[1; 6]));
        again.unwrap();
        assert_eq!(contexts(&tally), [3, 6, 7, 8]);
        assert_eq!((tally.n_excluded(), tally.n_short_context()), (6, 2));
    }

    /// An engine that pads the context of the first tokens gives every text the same ones, and a text that could not be counted
    /// has shown nothing.
    #[test]
    fn padded_contexts_count_once() {
        let engine = Engine::new("vllm", &EngineOptions::default()).unwrap();
        let layer = LayerDetector::from_prf_key(engine, 4, &fresh_keys(b"padded", 1).next().unwrap()).unwrap();
        let (mut tally, mut shown) = (layer.tally(), layer.shown_contexts());
        assert!(layer.add_reading(&mut tally, &mut shown, &[], &[1, 2, 3], &certain(&[1, 2])).is_err());
        layer.add_reading(&mut tally, &mut shown, &[], &[1, 2, 3], &certain(&[1, 2, 3])).unwrap();
        assert_eq!((tally.n_scored(), tally.n_excluded()), (3, 0));
        layer.add_reading(&mut tally, &mut shown, &[], &[4, 5, 6], &certain(&[7, 8, 9])).unwrap();
        assert_eq!((tally.n_scored(), tally.n_excluded()), (5, 1));
    }

    #[test]
    fn bad_shapes_and_values() {
        let layer = layer(1);
        let mut tally = layer.tally();
        let error = layer.add_preferences(&mut tally, &layer.pair_set(), &[1, 2], &[]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidParameter);
        let huge = [vec![], vec![Choice::certain(1 << 24)]];
        assert!(layer.add_preferences(&mut tally, &layer.pair_set(), &[1, 2], &huge).is_err());
        // Of .5 and .125 that are shown, .125 may be hidden anywhere else; of all, nothing.
        let p = |token, sixteenths: u32| Choice { token, probability_q16: sixteenths << 12 };
        let expected = [p(1, 4), p(2, 8), p(3, 1), p(4, 3)];
        let beside = |shown: &[Choice]| Choice::expected_beside(&expected, shown);
        assert_eq!(beside(&[p(1, 8), p(5, 2)]), [p(1, 4), p(2, 6), p(4, 1)]);
        assert_eq!(beside(&[p(1, 8), p(5, 8)]), expected);
        assert_eq!((beside(&[]), beside(&[p(9, 16)])), (vec![], expected.to_vec()));
        let row = [(3, -0.1), (4, f64::NAN), (5, 0.5), (6, f64::NEG_INFINITY), (7, 0.0), (8, -11.2)];
        let choices = Choice::from_log_probabilities(row);
        assert_eq!(
            choices.iter().map(|c| (c.token, c.probability_q16)).collect::<Vec<_>>(),
            [(3, 59_299), (7, 65_536)]
        );
    }
}
