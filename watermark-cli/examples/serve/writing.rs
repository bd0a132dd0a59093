//! One answer: generated, marked, told piece by piece, and entered into the ledger.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use watermark_cli::generate::prompt_ids;
use watermark_cli::ledger::{Ledger, Served};
use watermark_cli::tokenizer::Tokenizer;
use watermark_core::mark::{Marker, Sampling, Session, SessionOptions};
use watermark_lab::generate::{Generate, generate};
use watermark_lab::model::Model;
use watermark_lab::shipped;

/// What a request asks for.
pub(crate) struct Order {
    pub(crate) prompt: String,
    pub(crate) account: String,
    pub(crate) marked: bool,
    pub(crate) max_tokens: usize,
    pub(crate) sampling: Sampling,
    pub(crate) seed: u64,
}

impl Order {
    /// Whether an answer can be begun: the prompt fits, the parameters are valid.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(crate) fn validate(&self, writer: &Writer) -> Result<()> {
        let prompt = prompt_ids(&writer.tokenizer, &self.prompt)?;
        let most = writer.model.config().context_len;
        ensure!(prompt.len() < most, "the prompt has {} tokens; the model takes {}", prompt.len(), most - 1);
        writer.marker.session(&self.session())?;
        Ok(())
    }

    fn session(&self) -> SessionOptions {
        let Self { account, marked, sampling, seed, .. } = self;
        SessionOptions { account: Some(account.clone()), marked: *marked, seed: *seed, sampling: *sampling }
    }
}

/// What was served.
pub(crate) struct Written {
    pub(crate) text: String,
    pub(crate) prompt_tokens: usize,
    pub(crate) tokens: usize,
    /// Whether the model ended the answer, rather than `max_tokens`.
    pub(crate) ended: bool,
}

/// Everything that an answer needs. Shared by all requests.
pub(crate) struct Writer {
    pub(crate) model: Model,
    pub(crate) tokenizer: Tokenizer,
    pub(crate) marker: Marker,
    pub(crate) ledger: Ledger,
}

/// An answer in the making.
struct Draft<F> {
    session: Session,
    tell: F,
    text: String,
    ended: bool,
}

impl Writer {
    /// Writes an answer; every piece goes to `tell` as soon as it is text, and the answer ends early once that returns
    /// `false`: nobody listens any more. The ledger has what was told when this returns.
    ///
    /// # Errors
    /// If the prompt does not fit, the parameters are invalid, or the ledger cannot be written.
    pub(crate) fn write(&self, order: &Order, tell: impl FnMut(&str) -> bool + Send) -> Result<Written> {
        let prompt = prompt_ids(&self.tokenizer, &order.prompt)?;
        let session = self.marker.session(&order.session())?;
        let mut drafts = [Draft { session, tell, text: String::new(), ended: false }];
        let options = Generate { max_new_tokens: order.max_tokens, batch_size: 1, eos_token_id: shipped::EOS };
        let (model, prompts) = (&self.model, [prompt]);
        let written =
            generate(model, &prompts, &mut drafts, &options, |draft, logits| self.step(draft, logits), |_| ())?;
        let [mut draft] = drafts;
        let tokens = written.first().map_or(&[][..], Vec::as_slice);
        // What was held back as the beginning of a character is now all there will be of it.
        self.tell(&mut draft, tokens, true)?;
        let since = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?;
        self.ledger
            .submit(Served {
                answer: draft.text.clone().into_bytes(),
                account: order.account.clone(),
                key: self.marker.profile().path.clone(),
                time_ms: u64::try_from(since.as_millis())?,
            })?
            .wait()?;
        let prompt_tokens = prompts.first().map_or(0, Vec::len);
        Ok(Written { text: draft.text, prompt_tokens, tokens: tokens.len(), ended: draft.ended })
    }

    fn step<F: FnMut(&str) -> bool>(&self, draft: &mut Draft<F>, logits: &[f32]) -> Result<u32> {
        let token = draft.session.sample(logits)?;
        if token == shipped::EOS {
            draft.ended = true;
            return Ok(token);
        }
        draft.session.accept(token)?;
        let tokens = draft.session.generated().to_vec();
        Ok(if self.tell(draft, &tokens, false)? { token } else { shipped::EOS })
    }

    /// Tells what is new in the text of `tokens`; whether anybody listens. An unfinished character waits for its other bytes.
    fn tell<F: FnMut(&str) -> bool>(&self, draft: &mut Draft<F>, tokens: &[u32], last: bool) -> Result<bool> {
        let text = self.tokenizer.decode(tokens)?;
        let new = match text.strip_prefix(draft.text.as_str()) {
            Some(new) if last || !new.ends_with(char::REPLACEMENT_CHARACTER) => new,
            _ => return Ok(true),
        };
        if new.is_empty() {
            return Ok(true);
        }
        draft.text.push_str(new);
        Ok((draft.tell)(new))
    }
}
