//! One answer: generated, marked, told piece by piece, and entered into the ledger.

use std::sync::Arc;

use anyhow::{Result, ensure};
use watermark_core::mark::{Marker, Raised, Sampling, Session, SessionOptions};
use watermark_lab::answer::prompt_ids;
use watermark_lab::generate::{Generate, generate};
use watermark_lab::model::Model;
use watermark_lab::shipped;
use watermark_toolkit::ledger::{Ledger, RequestLedger, Served};
use watermark_toolkit::timestamp::now_ms;
use watermark_toolkit::tokenizer::Tokenizer;

/// What a request asks for.
pub(crate) struct Order {
    pub(crate) prompt: String,
    pub(crate) account: String,
    pub(crate) marked: bool,
    pub(crate) max_tokens: usize,
    pub(crate) sampling: Sampling,
    pub(crate) seed: u64,
}

/// A request whose answer can be written: the prompt fits, the parameters are valid.
pub(crate) struct Begun {
    account: String,
    prompt: Vec<u32>,
    max_tokens: usize,
    options: SessionOptions,
}

/// What was served.
pub(crate) struct Written {
    pub(crate) text: String,
    pub(crate) prompt_tokens: usize,
    pub(crate) tokens: usize,
    /// Whether the model ended the answer, rather than `max_tokens`.
    pub(crate) ended: bool,
    /// What the profile's sampling policy raised in the request.
    pub(crate) raised: Raised,
}

/// Everything that an answer needs. Shared by all requests.
pub(crate) struct Writer {
    pub(crate) model: Model,
    pub(crate) tokenizer: Tokenizer,
    pub(crate) marker: Marker,
    pub(crate) ledger: Ledger,
    /// With paired draws: what is served and withheld.
    pub(crate) requests: Option<Arc<RequestLedger>>,
}

/// An answer in the making.
struct Draft<F> {
    session: Session,
    tell: F,
    text: String,
    ended: bool,
}

impl Writer {
    /// Looks at everything in a request that can be wrong.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn begin(&self, order: Order) -> Result<Begun> {
        let Order { prompt, account, marked, max_tokens, sampling, seed } = order;
        let prompt = prompt_ids(&self.tokenizer, &prompt)?;
        let most = self.model.config().context_len;
        ensure!(prompt.len() < most, "the prompt has {} tokens; the model takes {}", prompt.len(), most - 1);
        let profile = self.marker.profile();
        let options = SessionOptions {
            account: profile.has_account_layer().then(|| account.clone()),
            marked,
            seed,
            sampling,
            // Its number is taken when it is written.
            request: self.requests_of(marked).map(|_| "ledger/0".to_owned()),
        };
        self.marker.session(&options)?;
        Ok(Begun { account, prompt, max_tokens, options })
    }

    /// Where requests of paired draws go: none for those who opted out.
    fn requests_of(&self, marked: bool) -> Option<&Arc<RequestLedger>> {
        self.requests.as_ref().filter(|_| marked)
    }

    /// Writes an answer; every piece goes to `tell` as soon as it is text, and the answer ends early once that returns
    /// `false`: nobody listens any more. The ledgers have what was told when this returns.
    ///
    /// # Errors
    /// If the ledger cannot be written.
    pub(crate) fn write(&self, begun: Begun, tell: impl FnMut(&str) -> bool + Send) -> Result<Written> {
        let Begun { account, prompt, max_tokens, mut options } = begun;
        // On the disk before the first token, so that nobody can draw again without leaving a trace.
        let request =
            self.requests_of(options.marked).map(|requests| requests.begin(&account, &prompt[1..])).transpose()?;
        options.request = request.as_ref().map(|request| request.id().to_string());
        let session = self.marker.session(&options)?;
        let mut drafts = [Draft { session, tell, text: String::new(), ended: false }];
        let options = Generate { max_new_tokens: max_tokens, batch_size: 1, eos_token_id: shipped::EOS };
        let prompts = [prompt];
        generate(&self.model, &prompts, &mut drafts, &options, |draft, logits| self.step(draft, logits), |_| ())?;
        let [mut draft] = drafts;
        // What was held back as the beginning of a character is now all there will be of it.
        self.tell(&mut draft, true)?;
        let entered = self.ledger.submit(Served {
            answer: draft.text.clone().into_bytes(),
            account,
            key: self.marker.profile().path.clone(),
            time_ms: now_ms()?,
        })?;
        if let Some(request) = request {
            let tokens = draft.session.generated().to_vec();
            let withheld = draft.session.withheld().iter().take(tokens.len()).copied().collect();
            request.close(tokens, withheld)?;
        }
        entered.wait()?;
        let prompt_tokens = prompts.first().map_or(0, Vec::len);
        let tokens = draft.session.generated().len();
        let raised = draft.session.raised();
        Ok(Written { text: draft.text, prompt_tokens, tokens, ended: draft.ended, raised })
    }

    fn step<F: FnMut(&str) -> bool>(&self, draft: &mut Draft<F>, logits: &[f32]) -> Result<u32> {
        let token = draft.session.sample(logits)?;
        if token == shipped::EOS {
            draft.ended = true;
            return Ok(token);
        }
        draft.session.accept(token)?;
        Ok(if self.tell(draft, false)? { token } else { shipped::EOS })
    }

    /// Tells what is new in the text; whether anybody listens. An unfinished character waits for its other bytes.
    fn tell<F: FnMut(&str) -> bool>(&self, draft: &mut Draft<F>, last: bool) -> Result<bool> {
        let text = self.tokenizer.decode(draft.session.generated())?;
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
