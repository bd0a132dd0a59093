use anyhow::{Context, Error, Result, anyhow};
use watermark_core::profile::TokenizerInfo;

use super::ByteRange;
use super::fast::Fast;
use super::ranks::Ranks;

/// What does the work of a [`Tokenizer`](super::Tokenizer).
pub(super) enum Kind {
    Json {
        library: Box<tokenizers::Tokenizer>,
        /// The fast path, where it is known to give the same ids.
        fast: Option<Box<Fast>>,
    },
    Ranks(Box<Ranks>),
}

/// What a file is that lies beside a model and is no `tokenizer.json`.
fn other_file(bytes: &[u8]) -> Option<&'static str> {
    // A field of pieces begins every SentencePiece model: tag, length, tag of the piece.
    if let [0x0a, _, 0x0a, ..] = bytes {
        return Some("a SentencePiece model (tokenizer.model)");
    }
    let tree: serde_json::Value = serde_json::from_slice(bytes).ok()?;
    let has = |names: &[&str]| names.iter().all(|name| tree.get(name).is_some());
    if has(&["config", "vocab", "special_tokens"]) {
        return Some("a tekken.json of Mistral");
    }
    if has(&["tokenizer_class"]) && !has(&["model"]) {
        return Some("a tokenizer_config.json, which has no vocabulary");
    }
    let flat = tree.as_object()?;
    (!flat.is_empty() && flat.values().all(serde_json::Value::is_u64)).then_some("a vocab.json, which has no merges")
}

impl Kind {
    pub(super) fn open(bytes: &[u8], sha256: &[u8; 32], name: &str) -> Result<Self> {
        if Ranks::sniff(bytes) {
            return Ok(Self::Ranks(Box::new(Ranks::open(bytes, sha256).with_context(|| name.to_owned())?)));
        }
        let unreadable = |error: tokenizers::Error| match other_file(bytes) {
            None => anyhow!("{name} is not a tokenizer.json that can be read: {error}"),
            Some(what) => anyhow!(
                "{name} is {what}, which is not read; give the model's tokenizer.json (transformers writes one: save_pretrained)"
            ),
        };
        // `from_bytes` is generic, so it would compile the library's whole parser once more here.
        let text = std::str::from_utf8(bytes).map_err(|error| unreadable(error.into()))?;
        let mut library: tokenizers::Tokenizer = text.parse().map_err(unreadable)?;
        // A file may ask for both; they would hide text from a test, or add tokens to it.
        library.with_truncation(None).map_err(|error| anyhow!("{name}: {error}"))?;
        library.with_padding(None);
        // Special tokens are never added; all that is left of a post-processor is that it trims spaces off the offsets.
        library.with_post_processor(None::<tokenizers::PostProcessorWrapper>);
        Ok(Self::Json { fast: Fast::new(&library).map(Box::new), library: Box::new(library) })
    }

    pub(super) fn info(&self, sha256: [u8; 32]) -> Result<TokenizerInfo> {
        let library = match self {
            Self::Ranks(ranks) => return ranks.info(sha256),
            Self::Json { library, .. } => library,
        };
        let largest = library.get_vocab(true).into_values().max().context("the tokenizer has no tokens")?;
        let mut special_token_ids: Vec<u32> = library
            .get_added_tokens_decoder()
            .into_iter()
            .filter(|(_, token)| token.special)
            .map(|(id, _)| id)
            .collect();
        special_token_ids.sort_unstable();
        let vocab_size = largest.checked_add(1).context("a token id does not fit 32 bits")?;
        Ok(TokenizerInfo { sha256, vocab_size, special_token_ids })
    }

    pub(super) fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let (library, fast) = match self {
            Self::Ranks(ranks) => return ranks.encode(text),
            Self::Json { library, fast } => (library, fast),
        };
        if let Some(ids) = fast.as_ref().and_then(|fast| fast.encode(library, text)) {
            return Ok(ids);
        }
        Ok(library.encode_fast(text, false).map_err(cannot("encode"))?.get_ids().to_vec())
    }

    pub(super) fn encode_with_offsets(&self, text: &str) -> Result<(Vec<u32>, Vec<ByteRange>)> {
        match self {
            Self::Ranks(ranks) => ranks.encode_with_offsets(text),
            Self::Json { library, .. } => {
                let encoding = library.encode(text, false).map_err(cannot("encode"))?;
                Ok((encoding.get_ids().to_vec(), encoding.get_offsets().to_vec()))
            }
        }
    }

    pub(super) fn decode(&self, ids: &[u32]) -> Result<String> {
        match self {
            Self::Ranks(ranks) => Ok(ranks.decode(ids)),
            Self::Json { library, .. } => library.decode(ids, true).map_err(cannot("decode")),
        }
    }
}

fn cannot(what: &str) -> impl Fn(tokenizers::Error) -> Error {
    move |error| anyhow!("cannot {what}: {error}")
}
