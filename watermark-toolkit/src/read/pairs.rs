//! What was served and withheld, and what a model thinks of both.

use std::path::Path;

use serde::{Deserialize, Serialize};
use watermark_core::MAX_TOKEN_ID;

use super::error::Flaw;
use super::{BadRecord, BadRecordKind, Limits, Location, ReadError, json, lines};

/// An answer that was served with paired draws.
#[derive(Clone, Debug, PartialEq)]
pub struct ServedRecord {
    /// Where it was read.
    pub location: Location,
    /// Its request.
    pub request: RequestId,
    /// The account that asked.
    pub account: Option<String>,
    /// Ids before the answer.
    pub prompt_tokens: Vec<u32>,
    /// Ids that were served.
    pub tokens: Vec<u32>,
    /// [tokens]: the other candidate of each position; `None` where there is none.
    pub withheld: Vec<Option<u32>>,
}

/// A request as its ledger knows it, for example `ledger/2026-11/17`: a name and a sequence number.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequestId {
    /// All before the number, with the last slash.
    ledger: String,
    number: u64,
}

/// What a model thinks of both candidates of some positions of a request.
#[derive(Clone, Debug, PartialEq)]
pub struct ScoredRecord {
    /// Where it was read.
    pub location: Location,
    /// The request.
    pub request: RequestId,
    /// By position, ascending.
    pub scores: Vec<PairScore>,
}

/// A model's log-probabilities of the two candidates of a position, after the prompt and what was served before it: nats times 2^16, ties to
/// even. In a file `[position, token, token, score, score]`; which of the two was served is not said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(u32, u32, u32, i64, i64)", into = "(u32, u32, u32, i64, i64)")]
pub struct PairScore {
    /// The number of the generated token, from 0.
    pub position: u32,
    /// The candidates.
    pub tokens: [u32; 2],
    /// Their scores, aligned.
    pub scores: [i64; 2],
}

impl From<(u32, u32, u32, i64, i64)> for PairScore {
    fn from((position, a, b, score_a, score_b): (u32, u32, u32, i64, i64)) -> Self {
        Self { position, tokens: [a, b], scores: [score_a, score_b] }
    }
}

impl From<PairScore> for (u32, u32, u32, i64, i64) {
    fn from(PairScore { position, tokens: [a, b], scores: [score_a, score_b] }: PairScore) -> Self {
        (position, a, b, score_a, score_b)
    }
}

impl PairScore {
    /// The pair of a position with log-probabilities in nats, the smaller token first.
    #[must_use]
    pub fn new(position: u32, tokens: [u32; 2], ln_p: [f64; 2]) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "saturates far beyond any log-probability")]
        let scores = ln_p.map(|ln_p| (ln_p * 65_536.0).round_ties_even() as i64);
        let ([a, b], [score_a, score_b]) = (tokens, scores);
        if a < b {
            Self { position, tokens, scores }
        } else {
            Self { position, tokens: [b, a], scores: [score_b, score_a] }
        }
    }

    /// The scores of two candidates in this order; `None` if they are of others.
    #[must_use]
    pub fn of(&self, first: u32, second: u32) -> Option<[i64; 2]> {
        let [a, b] = self.scores;
        match self.tokens {
            tokens if tokens == [first, second] => Some([a, b]),
            tokens if tokens == [second, first] => Some([b, a]),
            _ => None,
        }
    }

    /// The score of the first of two candidates minus that of the second; `None` if it is of others.
    #[must_use]
    pub fn difference(&self, first: u32, second: u32) -> Option<i64> {
        self.of(first, second).map(|[first, second]| first.saturating_sub(second))
    }
}

impl RequestId {
    /// Reads `NAME/NUMBER`; the number has no sign and no leading zero.
    #[must_use]
    pub fn parse(id: &str) -> Option<Self> {
        let (ledger, digits) = id.rsplit_once('/')?;
        Self::new(ledger, digits.parse().ok()?).filter(|parsed| parsed.to_string() == id)
    }

    /// The request of a ledger by its number. `None` for a name that is empty, too long, or has a control character.
    #[must_use]
    pub fn new(ledger: &str, number: u64) -> Option<Self> {
        let fits = !ledger.is_empty() && ledger.len() <= MAX_LEDGER && !ledger.contains(char::is_control);
        fits.then(|| Self { ledger: format!("{ledger}/"), number })
    }

    /// The number.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The one after it, unless this is the last that there can be.
    #[must_use]
    pub fn next(&self) -> Option<Self> {
        Some(Self { ledger: self.ledger.clone(), number: self.number.checked_add(1)? })
    }

    /// Whether it comes later in the same ledger.
    #[must_use]
    pub fn follows(&self, other: &Self) -> bool {
        self.ledger == other.ledger && self.number > other.number
    }
}

impl std::fmt::Display for RequestId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{}", self.ledger, self.number)
    }
}

/// A longer name of a ledger is refused.
const MAX_LEDGER: usize = 200;

#[derive(Debug, Serialize, Deserialize)]
struct ServedLine {
    request: String,
    account: Option<String>,
    #[serde(default)]
    prompt_tokens: Vec<u32>,
    tokens: Vec<u32>,
    withheld: Vec<Option<u32>>,
}

#[derive(Debug, Serialize, Deserialize)]
struct ScoredLine {
    request: String,
    scores: Vec<PairScore>,
}

/// Reads JSON lines of `{"request", "account", "prompt_tokens", "tokens", "withheld": [ID or null, …]}`, plain or gzipped, as
/// `watermark mark --ledger` writes them. Other fields are left alone.
///
/// The outer error ends the input, the inner one concerns a record.
///
/// # Errors
/// If the input cannot be opened.
pub fn read_served(
    path: &Path,
    limits: Limits,
) -> Result<impl Iterator<Item = Result<Result<ServedRecord, BadRecord>, ReadError>> + use<>, ReadError> {
    let record = |(location, (request, line))| {
        let ServedLine { account, prompt_tokens, tokens, withheld, .. } = line;
        ServedRecord { location, request, account, prompt_tokens, tokens, withheld }
    };
    Ok(lines::open(path, limits, served)?.map(move |item| item.map(|line| line.map(record))))
}

/// A line that [`read_served`] reads, with its newline.
///
/// # Errors
/// Never for ids. Writing JSON can fail for other values, hence the result type.
pub fn print_served(
    request: &RequestId,
    account: &str,
    prompt_tokens: &[u32],
    tokens: &[u32],
    withheld: &[Option<u32>],
) -> serde_json::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(&ServedLine {
        request: request.to_string(),
        account: Some(account.to_owned()),
        prompt_tokens: prompt_tokens.to_vec(),
        tokens: tokens.to_vec(),
        withheld: withheld.to_vec(),
    })?;
    line.push(b'\n');
    Ok(line)
}

/// Reads JSON lines of `{"request", "scores": [[position, token, token, score, score], …]}`, plain or gzipped.
///
/// The outer error ends the input, the inner one concerns a record.
///
/// # Errors
/// If the input cannot be opened.
pub fn read_scored(
    path: &Path,
    limits: Limits,
) -> Result<impl Iterator<Item = Result<Result<ScoredRecord, BadRecord>, ReadError>> + use<>, ReadError> {
    let record =
        |(location, (request, line)): (_, (_, ScoredLine))| ScoredRecord { location, request, scores: line.scores };
    Ok(lines::open(path, limits, scored)?.map(move |item| item.map(|line| line.map(record))))
}

/// A line that [`read_scored`] reads, with its newline.
///
/// # Errors
/// Never for scores. Writing JSON can fail for other values, hence the result type.
pub fn print_scored(request: &RequestId, scores: &[PairScore]) -> serde_json::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(&ScoredLine { request: request.to_string(), scores: scores.to_vec() })?;
    line.push(b'\n');
    Ok(line)
}

fn served(line: &str, terminated: bool) -> Result<(RequestId, ServedLine), Flaw> {
    let line: ServedLine = parse(line, terminated, "{\"request\", \"tokens\", \"withheld\"}")?;
    if line.withheld.len() != line.tokens.len() {
        let message = format!("{} entries of \"withheld\" for {} tokens", line.withheld.len(), line.tokens.len());
        return Err(Flaw::new(BadRecordKind::WrongType, message));
    }
    check_ids(line.prompt_tokens.iter().chain(&line.tokens).chain(line.withheld.iter().flatten()))?;
    Ok((request(&line.request)?, line))
}

fn scored(line: &str, terminated: bool) -> Result<(RequestId, ScoredLine), Flaw> {
    let line: ScoredLine =
        parse(line, terminated, "{\"request\", \"scores\": [[position, token, token, score, score], …]}")?;
    check_ids(line.scores.iter().flat_map(|pair| &pair.tokens))?;
    if line.scores.windows(2).any(|two| two[0].position >= two[1].position) {
        return Err(Flaw::new(BadRecordKind::WrongType, "positions of \"scores\" are not ascending"));
    }
    Ok((request(&line.request)?, line))
}

fn parse<'a, T: Deserialize<'a>>(line: &'a str, terminated: bool, form: &str) -> Result<T, Flaw> {
    serde_json::from_str(line).map_err(|error| {
        if error.is_data() {
            let message = format!("at column {} a field is missing or of another type than in {form}", error.column());
            Flaw::new(BadRecordKind::WrongType, message)
        } else if terminated {
            json::invalid(&error)
        } else {
            json::truncated()
        }
    })
}

fn request(id: &str) -> Result<RequestId, Flaw> {
    let message = "\"request\" is not the name of a ledger, a slash and a number, as ledger/2026-11/17";
    RequestId::parse(id).ok_or_else(|| Flaw::new(BadRecordKind::WrongType, message))
}

fn check_ids<'a>(mut ids: impl Iterator<Item = &'a u32>) -> Result<(), Flaw> {
    match ids.find(|&&id| id > MAX_TOKEN_ID) {
        None => Ok(()),
        Some(id) => {
            let message = format!("token id {id}; token ids are integers from 0 to {MAX_TOKEN_ID}");
            Err(Flaw::new(BadRecordKind::InvalidToken, message))
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn both_files() {
        let (request, line) =
            served(r#"{"request":"ledger/2026-11/17","tokens":[1,2],"withheld":[3,null],"completion":"ab"}"#, true)
                .unwrap();
        assert_eq!((request.to_string().as_str(), request.number()), ("ledger/2026-11/17", 17));
        assert_eq!((line.tokens, line.withheld, line.account), (vec![1, 2], vec![Some(3), None], None));
        let (_, line) = scored(r#"{"request":"a/0","scores":[[0,5,9,-65536,-32768],[4,1,2,0,-1]]}"#, true).unwrap();
        assert_eq!(line.scores[0], PairScore::new(0, [9, 5], [-0.5, -1.0]));
        assert_eq!(line.scores[0].difference(9, 5), Some(32_768));
        assert_eq!(line.scores[0].difference(5, 9), Some(-32_768));
        assert_eq!(line.scores[0].difference(5, 8), None);
        let printed = serde_json::to_string(&line.scores).unwrap();
        assert_eq!(printed, "[[0,5,9,-65536,-32768],[4,1,2,0,-1]]");
    }

    #[test]
    fn requests_are_numbers_of_a_ledger() {
        let [first, later, other] = ["a/b/9", "a/b/10", "a/c/11"].map(|id| RequestId::parse(id).unwrap());
        assert!(later.follows(&first) && !first.follows(&later) && !first.follows(&first) && !other.follows(&first));
        assert_eq!(RequestId::new("a/b", 9).as_ref(), Some(&first));
        assert_eq!(RequestId::new("a\nb", 9), None);
        for id in ["17", "/17", "a/017", "a/+1", "a/", "a/-1", "a/1.0", "", "a/99999999999999999999"] {
            assert_eq!(RequestId::parse(id), None, "{id}");
        }
    }

    #[test]
    fn flaws_are_named() {
        for (line, kind) in [
            (r#"{"request":"a/1","tokens":[1],"withheld":[]}"#, BadRecordKind::WrongType),
            (r#"{"request":"a/1","tokens":[16777216],"withheld":[1]}"#, BadRecordKind::InvalidToken),
            (r#"{"request":"secret","tokens":[1],"withheld":[1]}"#, BadRecordKind::WrongType),
            (r#"{"tokens":[1],"withheld":[1]}"#, BadRecordKind::WrongType),
            (r#"{"tokens":[1"#, BadRecordKind::InvalidJson),
        ] {
            let flaw = served(line, true).unwrap_err();
            assert_eq!(flaw.kind(), kind, "{line}");
            assert!(!format!("{flaw:?}").contains("secret"));
        }
        for (line, kind) in [
            (r#"{"request":"a/1","scores":[[1,2,3,4,5],[1,2,3,4,5]]}"#, BadRecordKind::WrongType),
            (r#"{"request":"a/1","scores":[[1,2,16777216,4,5]]}"#, BadRecordKind::InvalidToken),
            (r#"{"request":"a/1","scores":[[1,2,3,4]]}"#, BadRecordKind::WrongType),
            (r#"{"request":"a/1","scores":[[1,2,3,4,0.5]]}"#, BadRecordKind::WrongType),
        ] {
            assert_eq!(scored(line, true).unwrap_err().kind(), kind, "{line}");
        }
    }

    proptest! {
        #[test]
        fn no_panic_on_any_line(line in "\\PC{0,200}") {
            let _ = (served(&line, true), scored(&line, false));
        }

        #[test]
        fn no_panic_on_damaged_lines(at in 0usize..80, byte in any::<char>()) {
            for line in [
                r#"{"request":"a/1","tokens":[1,2],"withheld":[3,null],"account":"b"}"#,
                r#"{"request":"a/1","scores":[[0,5,9,-65536,-32768],[4,1,2,0,-1]]}"#,
            ] {
                let damaged: String = line.chars().enumerate().map(|(i, c)| if i == at { byte } else { c }).collect();
                let _ = (served(&damaged, false), scored(&damaged, true));
            }
        }
    }
}
