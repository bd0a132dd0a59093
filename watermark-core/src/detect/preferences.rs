//! Counts of what a model could have chosen, made in the same way as counts of what it chose.

use hashbrown::HashSet;

use super::pairs::check;
use super::{LayerDetector, Pair, PairSet, Tally};
use crate::prf::Position;
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
}

impl LayerDetector {
    /// Counts what a model could have chosen at each position of its own answer: expected counts in units of 2^-16. `choices`
    /// [tokens] holds its next-token probabilities there, in full or the largest of them: what is left out has no weight,
    /// which keeps the null. Pairs in `exclude` do not count.
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
        self.add_choices(tally, exclude, &[], tokens, choices, |_, _| true)
    }

    /// Reading mode: counts what a model chooses while it reads `text` of ours after `prompt`. Positions whose context occurred
    /// earlier in the same input do not count: the model could copy what followed it there.
    ///
    /// # Errors
    /// As [`Self::add_preferences`].
    pub fn add_reading(&self, tally: &mut Tally, prompt: &[u32], text: &[u32], choices: &[Vec<Choice>]) -> Result<()> {
        check(prompt)?;
        let width = self.width();
        let input: Vec<u32> = prompt.iter().chain(text).copied().collect();
        let mut seen: HashSet<Pair> = HashSet::new();
        // Contexts of the positions before this one.
        let mut next = width;
        let none = self.pair_set();
        self.add_choices(tally, &none, prompt, text, choices, |at, pair| {
            let position = prompt.len() + at;
            while next < position {
                seen.insert(self.rule.context_of(&input[next - width..next]));
                next += 1;
            }
            !seen.contains(&pair.without_token())
        })
    }

    fn add_choices(
        &self,
        tally: &mut Tally,
        exclude: &PairSet,
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
                        if choice.probability_q16 > 0 && !special && !exclude.contains(&pair) {
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

    /// Contexts that the input showed before, in the prompt, across its end or in the text, could be copied from there.
    #[test]
    fn reading_leaves_out_contexts_of_the_same_input() {
        let layer = layer(1);
        let mut tally = layer.tally();
        let text = [7, 8, 9, 7, 5, 6];
        // contexts of positions 1..: 7 (new), 8 (new), 9 (in the prompt), 7 (again), 5 (ends the prompt: nothing followed but 7)
        layer.add_reading(&mut tally, &[9, 4, 5], &text, &certain(&[0, 1, 2, 3, 4, 5])).unwrap();
        let mut contexts: Vec<u32> = tally.pairs().map(|(pair, _)| pair.context(1)[0]).collect();
        contexts.sort_unstable();
        assert_eq!(contexts, [7, 8]);
        assert_eq!((tally.n_excluded(), tally.n_short_context()), (3, 1));
    }

    #[test]
    fn bad_shapes_and_values() {
        let layer = layer(1);
        let mut tally = layer.tally();
        let error = layer.add_preferences(&mut tally, &layer.pair_set(), &[1, 2], &[]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidParameter);
        let huge = [vec![], vec![Choice::certain(1 << 24)]];
        assert!(layer.add_preferences(&mut tally, &layer.pair_set(), &[1, 2], &huge).is_err());
        let row = [(3, -0.1), (4, f64::NAN), (5, 0.5), (6, f64::NEG_INFINITY), (7, 0.0), (8, -11.2)];
        let choices = Choice::from_log_probabilities(row);
        assert_eq!(
            choices.iter().map(|c| (c.token, c.probability_q16)).collect::<Vec<_>>(),
            [(3, 59_299), (7, 65_536)]
        );
    }
}
