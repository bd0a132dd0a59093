//! Export to GGUF, so that llama.cpp serves a laboratory model with the same next-token distribution.
//!
//! llama.cpp's `arcee` architecture is this laboratory's transformer with rotary positions: RMS norm, squared ReLU
//! without a gate, no biases, output tied to the embedding. Its norms have a gain, here 1. Weights are written as f32:
//! with f16 ones llama.cpp would round activations too.

use std::collections::HashMap;
use std::io::Cursor;

use anyhow::{Context, Result, bail, ensure};
use candle_core::quantized::gguf_file::{Value, write};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{DType, Device, Tensor};
use serde::Deserialize;

use crate::model::{Model, Positions};
use crate::ops::NORM_EPSILON;
use crate::rotary::THETA;
use crate::shipped::EOS;

/// The last user message in the format of the training data, as [`crate::prompts::prompt_text`] does it; the server puts
/// the end-of-text token before it.
const CHAT_TEMPLATE: &str =
    "Question: {{ (messages | selectattr('role', 'equalto', 'user') | list | last).content }}\nAnswer:";

/// llama.cpp's token types.
const NORMAL: i32 = 1;
const CONTROL: i32 = 3;

/// The parts of a `tokenizer.json` that GGUF carries, and those that must be as GPT-2's.
#[derive(Deserialize)]
struct TokenizerFile {
    added_tokens: Vec<AddedToken>,
    normalizer: Option<serde_json::Value>,
    pre_tokenizer: PreTokenizer,
    model: Bpe,
}

#[derive(Deserialize)]
struct AddedToken {
    id: u32,
}

#[derive(Deserialize)]
struct PreTokenizer {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    add_prefix_space: bool,
    #[serde(default)]
    use_regex: bool,
}

#[derive(Deserialize)]
struct Bpe {
    #[serde(rename = "type")]
    kind: String,
    vocab: HashMap<String, u32>,
    merges: Vec<(String, String)>,
}

/// `model` and its tokenizer as the bytes of a GGUF file; `name` is shown by the server.
///
/// # Errors
/// If the positions of the model are not rotary, or the tokenizer is not byte-level BPE with GPT-2's splitting and one
/// token for every row of the embedding.
pub fn to_gguf(model: &Model, tokenizer_json: &[u8], name: &str) -> Result<Vec<u8>> {
    let config = model.config();
    ensure!(
        config.positions == Positions::Rotary,
        "gguf: this model has learned positions, for which llama.cpp has no architecture; train one with rotary positions"
    );
    let text = |text: &str| Value::String(text.to_owned());
    let size = |size: usize| Ok::<_, anyhow::Error>(Value::U32(u32::try_from(size)?));
    let mut metadata = vec![
        ("general.architecture", text("arcee")),
        ("general.name", text(name)),
        ("general.file_type", Value::U32(0)),
        ("arcee.vocab_size", size(config.vocab_size)?),
        ("arcee.context_length", size(config.context_len)?),
        ("arcee.embedding_length", size(config.d_model)?),
        ("arcee.block_count", size(config.n_layers)?),
        ("arcee.feed_forward_length", size(config.d_ff)?),
        ("arcee.attention.head_count", size(config.n_heads)?),
        ("arcee.attention.head_count_kv", size(config.n_heads)?),
        ("arcee.attention.layer_norm_rms_epsilon", Value::F32(NORM_EPSILON)),
        ("arcee.rope.dimension_count", size(config.head_len())?),
        ("arcee.rope.freq_base", Value::F32(THETA as f32)),
    ];
    metadata.extend(tokenizer(tokenizer_json, config.vocab_size)?);
    metadata.push(("tokenizer.chat_template", text(CHAT_TEMPLATE)));
    let tensors = tensors(model)?;

    let mut file = Cursor::new(Vec::new());
    let metadata: Vec<_> = metadata.iter().map(|(key, value)| (*key, value)).collect();
    let tensors: Vec<_> = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    write(&mut file, &metadata, &tensors)?;
    Ok(file.into_inner())
}

fn tokenizer(json: &[u8], vocab_size: usize) -> Result<Vec<(&'static str, Value)>> {
    let file: TokenizerFile = serde_json::from_slice(json).context("gguf: not a tokenizer.json with byte-level BPE")?;
    let split = &file.pre_tokenizer;
    let as_gpt2 = split.kind == "ByteLevel" && !split.add_prefix_space && split.use_regex && file.normalizer.is_none();
    ensure!(
        file.model.kind == "BPE" && as_gpt2,
        "gguf: only byte-level BPE that splits text as GPT-2 does (no normalizer, no prefix space) can be exported"
    );
    let mut tokens = vec![None; vocab_size];
    for (token, &id) in &file.model.vocab {
        let Some(slot) = tokens.get_mut(id as usize) else {
            bail!("gguf: the tokenizer has id {id}, the model's vocab_size is {vocab_size}");
        };
        *slot = Some(Value::String(token.clone()));
    }
    let tokens =
        tokens.into_iter().enumerate().map(|(id, token)| token.with_context(|| format!("gguf: no token {id}")));
    let tokens = tokens.collect::<Result<Vec<_>>>()?;
    let special = |id| file.added_tokens.iter().any(|token| token.id == id);
    let types = (0u32..).take(vocab_size).map(|id| Value::I32(if special(id) { CONTROL } else { NORMAL })).collect();
    let merges = file.model.merges.iter().map(|(left, right)| Value::String(format!("{left} {right}"))).collect();
    Ok(vec![
        ("tokenizer.ggml.model", Value::String("gpt2".to_owned())),
        ("tokenizer.ggml.pre", Value::String("gpt-2".to_owned())),
        ("tokenizer.ggml.tokens", Value::Array(tokens)),
        ("tokenizer.ggml.token_type", Value::Array(types)),
        ("tokenizer.ggml.merges", Value::Array(merges)),
        ("tokenizer.ggml.bos_token_id", Value::U32(EOS)),
        ("tokenizer.ggml.eos_token_id", Value::U32(EOS)),
        ("tokenizer.ggml.add_bos_token", Value::Bool(true)),
        ("tokenizer.ggml.add_eos_token", Value::Bool(false)),
    ])
}

/// Names and tensors in llama.cpp's order; a projection is [outputs, inputs] there.
fn tensors(model: &Model) -> Result<Vec<(String, QTensor)>> {
    let d = model.config().d_model;
    let gain = || Tensor::ones(d, DType::F32, &Device::Cpu);
    let mut tensors = vec![("token_embd.weight".to_owned(), model.embedding.as_detached_tensor())];
    for (i, block) in model.blocks.iter().enumerate() {
        let qkv = block.qkv.as_detached_tensor();
        let mut push = |part: &str, tensor: Tensor| tensors.push((format!("blk.{i}.{part}.weight"), tensor));
        push("attn_norm", gain()?);
        push("attn_q", qkv.narrow(1, 0, d)?.t()?);
        push("attn_k", qkv.narrow(1, d, d)?.t()?);
        push("attn_v", qkv.narrow(1, 2 * d, d)?.t()?);
        push("attn_output", block.attention_out.as_detached_tensor().t()?);
        push("ffn_norm", gain()?);
        push("ffn_up", block.up.as_detached_tensor().t()?);
        push("ffn_down", block.down.as_detached_tensor().t()?);
    }
    tensors.push(("output_norm.weight".to_owned(), gain()?));
    let stored =
        |(name, tensor): (String, Tensor)| Ok((name, QTensor::quantize(&tensor.contiguous()?, GgmlDType::F32)?));
    tensors.into_iter().map(stored).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use candle_core::quantized::gguf_file::Content;

    use super::*;
    use crate::model::Config;
    use crate::shipped::tokenizer_json;

    const CONFIG: Config = Config {
        vocab_size: 2048,
        d_model: 8,
        n_layers: 2,
        n_heads: 2,
        d_ff: 16,
        context_len: 24,
        positions: Positions::Rotary,
    };

    #[test]
    fn candles_reader_finds_the_weights_and_the_tokenizer() {
        let model = Model::new(&CONFIG, 1).unwrap();
        let bytes = to_gguf(&model, tokenizer_json(), "a name").unwrap();
        assert_eq!(to_gguf(&model, tokenizer_json(), "a name").unwrap(), bytes);
        let mut file = Cursor::new(&bytes);
        let content = Content::read(&mut file).unwrap();
        assert_eq!(content.tensor_infos.len(), 2 + 8 * CONFIG.n_layers);
        let mut matrix = |name: &str| {
            let tensor = content.tensor(&mut file, name, &Device::Cpu).unwrap().dequantize(&Device::Cpu).unwrap();
            tensor.to_vec2::<f32>().unwrap()
        };
        let block = &model.blocks[1];
        let qkv: Vec<Vec<f32>> = block.qkv.t().unwrap().to_vec2().unwrap();
        assert_eq!(matrix("blk.1.attn_q.weight"), qkv[..8]);
        assert_eq!(matrix("blk.1.attn_k.weight"), qkv[8..16]);
        assert_eq!(matrix("blk.1.attn_v.weight"), qkv[16..]);
        assert_eq!(matrix("blk.1.ffn_down.weight"), block.down.t().unwrap().to_vec2::<f32>().unwrap());
        assert_eq!(matrix("token_embd.weight"), model.embedding.to_vec2::<f32>().unwrap());

        let value = |key: &str| &content.metadata[key];
        assert_eq!(value("general.architecture").to_string().unwrap(), "arcee");
        assert_eq!(value("arcee.rope.dimension_count").to_u32().unwrap(), 4);
        let (tokens, merges) = (value("tokenizer.ggml.tokens").to_vec().unwrap(), value("tokenizer.ggml.merges"));
        assert_eq!(tokens.len(), 2048);
        assert_eq!(tokens[EOS as usize].to_string().unwrap(), "<|endoftext|>");
        assert_eq!(merges.to_vec().unwrap()[0].to_string().unwrap(), "Ġ t");
        let types: Vec<i32> =
            value("tokenizer.ggml.token_type").to_vec().unwrap().iter().map(|kind| kind.to_i32().unwrap()).collect();
        assert_eq!((types[0], types[1..].iter().all(|&kind| kind == NORMAL)), (CONTROL, true));
    }

    #[test]
    fn what_llama_cpp_cannot_serve_is_refused_with_the_reason() {
        let rotary = Model::new(&CONFIG, 1).unwrap();
        let refused = |model: &Model, tokenizer: &[u8], reason: &str| {
            let error = format!("{:#}", to_gguf(model, tokenizer, "name").err().unwrap());
            assert!(error.contains(reason), "{error}");
        };
        let learned = Model::new(&Config { positions: Positions::Learned, ..CONFIG }, 1).unwrap();
        refused(&learned, tokenizer_json(), "learned positions");
        let small = Model::new(&Config { vocab_size: 2000, ..CONFIG }, 1).unwrap();
        refused(&small, tokenizer_json(), "vocab_size is 2000");
        let large = Model::new(&Config { vocab_size: 2049, ..CONFIG }, 1).unwrap();
        refused(&large, tokenizer_json(), "no token 2048");
        refused(&rotary, b"{}", "tokenizer.json");
        let other = str::from_utf8(tokenizer_json()).unwrap().replace("\"use_regex\":true", "\"use_regex\":false");
        refused(&rotary, other.as_bytes(), "as GPT-2 does");
    }
}
