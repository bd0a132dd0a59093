//! How many requests, tokens, calls and how much money a test of paired draws takes, for one account and for a fleet of them.
//!
//! The numbers come from students of the laboratory (`papers/paired-draws`): how often they prefer what was served, by the size of the
//! preference. Coins are drawn from them for lists and accounts of any size, and the test itself counts. Larger models learn from far more
//! data: the order of magnitude carries over, the digits do not.

use anyhow::{Context, Result, bail};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use rayon::prelude::*;
use serde::Serialize;
use watermark_core::detect::{Verdict, check_level};
use watermark_core::model_test::{PairedSample, PairedTest, conclude_pairs};
use watermark_core::stats::{WeightClass, ln_e_weighted_green};

/// Of students that learned served answers: how many pairs differ by so many quarters of a nat, and how often the served side is the
/// preferred one. Written by `watermark-radioactivity pairs`.
const DRIFT: &str = include_str!("drift.csv");
/// Tokens of an answer there.
const TOKENS_MEASURED: f64 = 54.9;
/// Draws of the coins from which a power is read.
const DRAWS: u64 = 200;
/// Most requests of an account that are tried.
const MOST: u64 = 1 << 20;
/// Standard deviations by which each student must have shown it, or nothing is planned.
const SHOWN: f64 = 2.0;

/// What is compared at each position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Compared {
    /// The suspect's probabilities of both candidates beside those of a model like the one that it was trained from.
    Base,
    /// Its probabilities alone.
    Alone,
    /// No probabilities: which token it says next after what was served so far. Measured where the base is uncertain by a nat or more.
    NextToken,
}

impl Compared {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Base, Self::Alone, Self::NextToken];

    /// As it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::Alone => "alone",
            Self::NextToken => "next-token",
        }
    }
}

/// What is planned.
#[derive(Clone, Copy, Debug)]
pub struct PlanQuestion {
    /// What is compared.
    pub compared: Compared,
    /// Accounts on the list.
    pub accounts: u32,
    /// How many of them were harvested.
    pub harvested: u32,
    /// Requests of each account.
    pub requests_each: u32,
    /// Share of a harvested account's requests whose answers the suspect learned.
    pub learned: f64,
    /// Level of the verdict about the list.
    pub alpha: f64,
    /// Family-wise level of the accounts' verdicts.
    pub accounts_alpha: f64,
    /// Tokens of a prompt.
    pub tokens_per_prompt: f64,
    /// Tokens of an answer.
    pub tokens_per_answer: f64,
    /// Price of a million tokens that the suspect reads.
    pub price_prompt: Option<f64>,
    /// Price of a million tokens that it says.
    pub price_completion: Option<f64>,
}

impl Default for PlanQuestion {
    fn default() -> Self {
        Self {
            compared: Compared::Base,
            accounts: 24_000,
            harvested: 24_000,
            requests_each: 667,
            learned: 1.0,
            alpha: 1e-6,
            accounts_alpha: 1e-3,
            tokens_per_prompt: 60.0,
            tokens_per_answer: TOKENS_MEASURED,
            price_prompt: None,
            price_completion: None,
        }
    }
}

/// What so many requests cost.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Amount {
    /// Requests of the list.
    pub requests: u64,
    /// Tokens that the suspect reads.
    pub tokens: u64,
    /// Calls of one token each; 0 where probabilities are read off whole answers.
    pub calls: u64,
    /// Money, where there are prices.
    pub cost: Option<f64>,
}

/// What a way of learning takes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PlanLine {
    /// Share of served answers among what the students learned.
    pub share: f64,
    /// Their passes over it.
    pub passes: f64,
    /// Share of the served answers' tokens that were replaced before.
    pub noise: f64,
    /// Passes over clean text afterwards.
    pub clean_passes: u32,
    /// How many students were measured; what follows is of the one that shows least.
    pub students: usize,
    /// What is compared.
    pub compared: Compared,
    /// Whether each student showed it in the laboratory by two standard deviations; else `list` and `account` are null, and what follows rests
    /// on nothing.
    pub shown: bool,
    /// Requests of the list, of harvested and other accounts as they are on it, that show it by all of them together at 80 % power; null if
    /// the whole list does not.
    pub list: Option<Amount>,
    /// Requests of one harvested account that name it among all at 80 % power; null if a million do not.
    pub account: Option<Amount>,
    /// All requests of all accounts.
    pub fleet: Amount,
    /// log10 of the list's e-value with all its requests: the mean of two, of all together and of the accounts' mean. In the draw of `named`.
    pub list_log10_e: f64,
    /// Harvested accounts that all their requests name, in one draw of the coins.
    pub named: u32,
    /// Other accounts that are named, in the same draw.
    pub others_named: u32,
}

/// What all requests show.
struct Fleet {
    log10_e: f64,
    named: u32,
    others_named: u32,
}

/// What one student prefers in a request: pairs by size, and the chance that the served side is the preferred one.
struct Student {
    condition: [String; 4],
    requests: f64,
    /// Size in units of 2^-16 nats, pairs a request, chance.
    classes: Vec<(u64, f64, f64)>,
    /// Positions a request without a preference.
    ties: f64,
}

impl Student {
    /// Standard deviations by which it preferred what was served, over all that was measured.
    fn z(&self) -> f64 {
        let (sum, square) = self.classes.iter().fold((0.0, 0.0), |(sum, square), &(weight, pairs, chance)| {
            let weight = weight as f64;
            (sum + weight * pairs * (2.0 * chance - 1.0), square + weight * weight * pairs)
        });
        if square > 0.0 { sum / square.sqrt() * self.requests.sqrt() } else { 0.0 }
    }
}

/// Natural logarithm of the e-value of coins.
fn ln_e(classes: &[WeightClass]) -> f64 {
    let some: Vec<WeightClass> = classes.iter().filter(|class| class.pairs > 0).copied().collect();
    if some.is_empty() { 0.0 } else { ln_e_weighted_green(&some, 0.5) }
}

impl PlanQuestion {
    /// A line for each measured way of learning.
    ///
    /// # Errors
    /// For numbers outside their domain.
    pub fn lines(&self) -> Result<Vec<PlanLine>> {
        self.check()?;
        let students = students(self.compared)?;
        let mut conditions: Vec<&[String; 4]> = Vec::new();
        for Student { condition, .. } in &students {
            if !conditions.contains(&condition) {
                conditions.push(condition);
            }
        }
        conditions.into_iter().map(|condition| self.line(condition, &students)).collect()
    }

    fn check(&self) -> Result<()> {
        check_level(self.alpha)?;
        check_level(self.accounts_alpha)?;
        if !(1..=1_000_000).contains(&self.accounts) || self.harvested > self.accounts {
            bail!(
                "{} of {} accounts were harvested; there must be 1 to a million, and no more harvested",
                self.harvested,
                self.accounts
            );
        }
        if !(1..=100_000).contains(&self.requests_each) {
            bail!("requests of an account must be 1 to 100,000");
        }
        if !(self.learned > 0.0 && self.learned <= 1.0) {
            bail!("the share of requests that were learned must be above 0 and at most 1");
        }
        if [self.tokens_per_answer, self.tokens_per_prompt].iter().any(|tokens| !(1.0..=1e6).contains(tokens)) {
            bail!("numbers of tokens must be 1 to a million");
        }
        let prices = [self.price_prompt, self.price_completion];
        if prices.into_iter().flatten().any(|price| !(price >= 0.0 && price.is_finite())) {
            bail!("prices must be numbers of 0 or more");
        }
        Ok(())
    }

    fn line(&self, condition: &[String; 4], students: &[Student]) -> Result<PlanLine> {
        let of: Vec<&Student> = students.iter().filter(|student| student.condition == *condition).collect();
        let first = of.first().context("a measured student")?;
        let number = |at: usize| condition[at].parse::<f64>().context("a number in drift.csv");
        let shown = of.iter().all(|student| student.z() >= SHOWN);
        let all = u64::from(self.accounts) * u64::from(self.requests_each);
        // The list's e-value is the mean of two; of its requests, so many are of harvested accounts.
        let of_list = self.learned * f64::from(self.harvested) / f64::from(self.accounts);
        let asked = [
            (of_list, -self.alpha.log10() + 2f64.log10(), all),
            (self.learned, (f64::from(self.accounts) / self.accounts_alpha).log10(), MOST),
        ];
        let [list, account] = asked.map(|(learned, digits, most)| {
            let need = |student: &&Student| self.requests(student, learned, digits, most);
            let needs = shown.then(|| of.par_iter().map(need).collect::<Option<Vec<u64>>>()).flatten()?;
            needs.into_iter().max().map(|worst| self.amount(first, worst))
        });
        let fleets: Vec<Fleet> = of.iter().map(|student| self.fleet(student)).collect();
        Ok(PlanLine {
            share: number(0)?,
            passes: number(1)?,
            noise: number(2)?,
            clean_passes: condition[3].parse().context("a number in drift.csv")?,
            students: of.len(),
            compared: self.compared,
            shown,
            list,
            account,
            fleet: self.amount(first, all),
            list_log10_e: fleets.iter().map(|fleet| fleet.log10_e).fold(f64::INFINITY, f64::min),
            named: fleets.iter().map(|fleet| fleet.named).min().unwrap_or(0),
            others_named: fleets.iter().map(|fleet| fleet.others_named).max().unwrap_or(0),
        })
    }

    /// The fewest requests, of which a share was learned, that reach so many digits in 80 % of draws.
    fn requests(&self, student: &Student, learned: f64, digits: f64, most: u64) -> Option<u64> {
        let reaches = |requests: u64| {
            let draw =
                |draw: u64| ln_e(&self.draw(student, requests, learned, draw)) >= digits * std::f64::consts::LN_10;
            (0..DRAWS).filter(|&at| draw(at)).count() as u64 * 5 >= DRAWS * 4
        };
        let mut high = 1;
        while !reaches(high) {
            if high >= most {
                return None;
            }
            high = (2 * high).min(most);
        }
        let mut low = high / 2;
        while high - low > 1 {
            let middle = low.midpoint(high);
            if reaches(middle) { high = middle } else { low = middle }
        }
        Some(high)
    }

    /// The coins of so many requests, of which a share was learned.
    fn draw(&self, student: &Student, requests: u64, learned: f64, seed: u64) -> Vec<WeightClass> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let longer = self.tokens_per_answer / TOKENS_MEASURED;
        let class = |&(weight, pairs, chance): &(u64, f64, f64)| {
            let expected = pairs * longer * requests as f64;
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a number of pairs")]
            let pairs = (expected + uniform(&mut rng)).floor() as u64;
            // Of requests that were not learned every coin is fair.
            WeightClass { weight, pairs, green: wins(pairs, learned.mul_add(chance - 0.5, 0.5), &mut rng) }
        };
        student.classes.iter().map(class).collect()
    }

    /// All requests of all accounts, once.
    fn fleet(&self, student: &Student) -> Fleet {
        let draw = |at: u32| {
            let learned = if at < self.harvested { self.learned } else { 0.0 };
            self.draw(student, u64::from(self.requests_each), learned, (1 << 32) + u64::from(at))
        };
        let accounts: Vec<Vec<WeightClass>> = (0..self.accounts).into_par_iter().map(draw).collect();
        let mut whole = accounts.first().cloned().unwrap_or_default();
        for classes in accounts.iter().skip(1) {
            for (sum, class) in whole.iter_mut().zip(classes) {
                sum.pairs += class.pairs;
                sum.green += class.green;
            }
        }
        let accounts = accounts.par_iter().map(|classes| (1, ln_e(classes))).collect();
        let suspect = PairedSample { whole: (1, ln_e(&whole)), accounts };
        let log10_e = suspect.ln_e() / std::f64::consts::LN_10;
        let test = PairedTest { suspect, controls: Vec::new(), reference_ln_e: 0.0, draws_log10_p: 0.0, law_ln_e: 0.0 };
        let verdicts = conclude_pairs(&test, self.alpha, self.accounts_alpha).accounts;
        let count = |of: &[Verdict]| of.iter().filter(|verdict| **verdict == Verdict::Detected).count() as u32;
        let (harvested, others) = verdicts.split_at(self.harvested as usize);
        Fleet { log10_e, named: count(harvested), others_named: count(others) }
    }

    fn amount(&self, student: &Student, requests: u64) -> Amount {
        let n = requests as f64;
        let (calls, tokens) = if self.compared == Compared::NextToken {
            let asked = student.classes.iter().map(|(_, pairs, _)| pairs).sum::<f64>() + student.ties;
            let calls = n * asked * self.tokens_per_answer / TOKENS_MEASURED;
            (calls, calls * (self.tokens_per_prompt + self.tokens_per_answer / 2.0))
        } else {
            (0.0, n * (self.tokens_per_prompt + self.tokens_per_answer))
        };
        let cost = (self.price_prompt.is_some() || self.price_completion.is_some())
            .then(|| (tokens * self.price_prompt.unwrap_or(0.0) + calls * self.price_completion.unwrap_or(0.0)) / 1e6);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "numbers of tokens and calls")]
        let [tokens, calls] = [tokens, calls].map(|number| number.ceil() as u64);
        Amount { requests, tokens, calls, cost }
    }
}

/// A number above 0 and below 1.
fn uniform(rng: &mut ChaCha8Rng) -> f64 {
    (f64::from(rng.next_u32()) + 0.5) / 4_294_967_296.0
}

/// How many of so many pairs the served side wins: coin by coin, or of many the nearest whole number to a normal draw.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a number of pairs")]
fn wins(pairs: u64, chance: f64, rng: &mut ChaCha8Rng) -> u64 {
    if pairs <= 100 {
        return (0..pairs).filter(|_| uniform(rng) < chance).count() as u64;
    }
    let normal = (-2.0 * uniform(rng).ln()).sqrt() * (std::f64::consts::TAU * uniform(rng)).cos();
    let n = pairs as f64;
    (n * chance + (n * chance * (1.0 - chance)).sqrt() * normal).round().clamp(0.0, n) as u64
}

/// The students of one comparison, those of a condition side by side.
fn students(compared: Compared) -> Result<Vec<Student>> {
    let mut students: Vec<(String, Student)> = Vec::new();
    for line in DRIFT.lines().skip(1) {
        let cells: Vec<&str> = line.split(',').collect();
        let [share, passes, noise, clean, seed, requests, of, step, pairs, wins] = cells[..] else {
            bail!("drift.csv: {line:?}")
        };
        if of != compared.as_str() {
            continue;
        }
        let condition = [share, passes, noise, clean].map(str::to_owned);
        if students.last().is_none_or(|(last, student)| last != seed || student.condition != condition) {
            let student = Student { condition, requests: requests.parse()?, classes: Vec::new(), ties: 0.0 };
            students.push((seed.to_owned(), student));
        }
        let (_, student) = students.last_mut().context("a student")?;
        let (pairs, wins): (f64, f64) = (pairs.parse()?, wins.parse()?);
        let each = pairs / student.requests;
        match step {
            "none" => student.ties = each,
            // The middle of a class; the last one is that of the largest size that counts.
            step => {
                let step: u64 = step.parse()?;
                let size = if step == 16 { 16 << 14 } else { (2 * step + 1) << 13 };
                student.classes.push((size, each, wins / pairs));
            }
        }
    }
    Ok(students.into_iter().map(|(_, student)| student).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    /// Drawn from what was measured, 200 requests show as much as the students did (`papers/paired-draws/pairs.csv`, share .05, three passes).
    #[test]
    fn draws_repeat_what_was_measured() {
        let question = PlanQuestion::default();
        let students = students(Compared::Base).unwrap();
        for (seed, measured) in [68.4, 73.4, 80.7].into_iter().enumerate() {
            let student = students
                .iter()
                .filter(|student| student.condition == ["0.05", "3", "0", "0"].map(str::to_owned))
                .nth(seed);
            let mean = (0..DRAWS).map(|draw| ln_e(&question.draw(student.unwrap(), 200, 1.0, draw))).sum::<f64>()
                / DRAWS as f64;
            let mean = mean / std::f64::consts::LN_10;
            // A draw's standard deviation is about 11.
            assert!((mean - measured).abs() < 8.0, "{seed}: {mean} {measured}");
        }
    }

    #[test]
    fn more_is_needed_where_less_was_learned() {
        let question = PlanQuestion { accounts: 500, harvested: 40, requests_each: 100, ..PlanQuestion::default() };
        for compared in Compared::ALL {
            let whole = PlanQuestion { compared, ..question }.lines().unwrap();
            let half = PlanQuestion { compared, learned: 0.5, ..question }.lines().unwrap();
            assert_eq!(whole.len(), 12, "{compared:?}");
            for (whole, half) in whole.iter().zip(&half) {
                assert_eq!(whole.students, 3);
                let requests = |amount: Option<Amount>| amount.map_or(u64::MAX, |amount| amount.requests);
                assert!(whole.shown || (whole.list.is_none() && whole.account.is_none()));
                assert!(
                    requests(whole.list) <= requests(half.list) && requests(whole.account) <= requests(half.account)
                );
                assert!(half.named <= whole.named && whole.others_named == 0, "{whole:?} {half:?}");
                assert_eq!(whole.fleet.calls > 0, compared == Compared::NextToken);
            }
            assert!(whole[0].shown && whole[0].account.is_some() && !whole.iter().all(|line| line.shown));
        }
        // 460 accounts that were not harvested, and all of the others by 100 requests.
        assert_eq!(question.lines().unwrap()[0].named, 40);
    }

    /// The laboratory's own case (`accounts.csv`): four accounts of 64 with 50 requests each. The pooled requests show little, as measured; the
    /// accounts show the list.
    #[test]
    fn a_few_harvested_accounts_show_the_list() {
        let question = PlanQuestion { accounts: 64, harvested: 4, requests_each: 50, ..PlanQuestion::default() };
        let line = &question.lines().unwrap()[0];
        assert_eq!((line.list, line.named, line.others_named), (None, 4, 0), "{line:?}");
        // Measured: 15.9, 19.2 and 23.1.
        assert!((10.0..25.0).contains(&line.list_log10_e), "{line:?}");
        let all = PlanQuestion { harvested: 64, ..question };
        let needed = all.lines().unwrap()[0].list.unwrap().requests;
        assert!((15..60).contains(&needed), "{needed}");
    }

    #[test]
    fn money_follows_tokens_and_calls() {
        let of = |compared, price_prompt, price_completion| {
            let question = PlanQuestion {
                compared,
                price_prompt,
                price_completion,
                accounts: 10,
                harvested: 1,
                ..PlanQuestion::default()
            };
            question.lines().unwrap()[0].fleet
        };
        assert_eq!(of(Compared::Base, None, None).cost, None);
        let read = of(Compared::Base, Some(2.0), Some(100.0));
        assert!((read.cost.unwrap() - read.tokens as f64 * 2e-6).abs() < 1e-6, "{read:?}");
        let asked = of(Compared::NextToken, None, Some(3.0));
        assert!((asked.cost.unwrap() - asked.calls as f64 * 3e-6).abs() < 1e-5, "{asked:?}");
    }

    #[test]
    fn what_cannot_be_planned() {
        let question = PlanQuestion::default();
        for wrong in [
            PlanQuestion { accounts: 0, ..question },
            PlanQuestion { harvested: 24_001, ..question },
            PlanQuestion { requests_each: 0, ..question },
            PlanQuestion { learned: 0.0, ..question },
            PlanQuestion { learned: f64::NAN, ..question },
            PlanQuestion { alpha: 0.0, ..question },
            PlanQuestion { tokens_per_answer: f64::INFINITY, ..question },
            PlanQuestion { price_prompt: Some(-1.0), ..question },
        ] {
            assert!(wrong.lines().is_err(), "{wrong:?}");
        }
    }
}
