//! A small decoder-only transformer.
//!
//! Pre-normalised blocks (RMS norm without gain, 1910.07467), learned or rotary positions, causal attention, a
//! feed-forward part with squared ReLU (2109.08668), no biases, output tied to the embedding.

use std::collections::HashMap;

use anyhow::{Context, Result, bail, ensure};
use candle_core::{D, Device, Tensor, Var};
use half::f16;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};

use crate::ops::{causal_softmax, rms_norm};
use crate::rotary::rotary;

/// Key of the configuration in the safetensors metadata.
const METADATA: &str = "watermark-lab/1";
/// A laboratory model is a few megabytes; larger files are refused before they are parsed.
const MAX_FILE: usize = 256 << 20;

/// The shape of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Length of a logits row.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub d_model: usize,
    /// Number of blocks.
    pub n_layers: usize,
    /// Attention heads; divides `d_model`.
    pub n_heads: usize,
    /// Width of the feed-forward part.
    pub d_ff: usize,
    /// Longest sequence in tokens.
    pub context_len: usize,
    /// How the model knows where a token stands.
    #[serde(default)]
    pub positions: Positions,
}

/// How a model knows where a token stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Positions {
    /// A trained vector per position is added to the embedding.
    #[default]
    Learned,
    /// Queries and keys are turned by their position (2104.09864); heads have an even width.
    Rotary,
}

/// Weights of one block, each [inputs, outputs].
pub(crate) struct Block {
    pub(crate) qkv: Var,
    pub(crate) attention_out: Var,
    pub(crate) up: Var,
    pub(crate) down: Var,
}

/// A model in f32 on the CPU.
pub struct Model {
    pub(crate) config: Config,
    /// [vocab_size, d_model], also the output projection.
    pub(crate) embedding: Var,
    /// [context_len, d_model], unless they are rotary.
    pub(crate) positions: Option<Var>,
    pub(crate) blocks: Vec<Block>,
}

impl Config {
    fn validate(&self) -> Result<()> {
        let within = |name: &str, value: usize, max: usize| {
            ensure!((1..=max).contains(&value), "model config: {name} is {value}, outside 1..={max}");
            Ok(())
        };
        within("vocab_size", self.vocab_size, 1 << 20)?;
        within("d_model", self.d_model, 1 << 13)?;
        within("n_layers", self.n_layers, 256)?;
        within("n_heads", self.n_heads, 256)?;
        within("d_ff", self.d_ff, 1 << 15)?;
        within("context_len", self.context_len, 1 << 16)?;
        ensure!(self.d_model.is_multiple_of(self.n_heads), "model config: n_heads does not divide d_model");
        let even = self.head_len().is_multiple_of(2);
        ensure!(even || self.positions == Positions::Learned, "model config: rotary positions need an even head width");
        Ok(())
    }

    /// Width of an attention head.
    #[must_use]
    pub fn head_len(&self) -> usize {
        self.d_model / self.n_heads
    }

    /// Name and shape of every tensor, in file order.
    fn shapes(&self) -> Vec<(String, [usize; 2])> {
        let d = self.d_model;
        let mut shapes = vec![("embedding".to_owned(), [self.vocab_size, d])];
        if self.positions == Positions::Learned {
            shapes.push(("positions".to_owned(), [self.context_len, d]));
        }
        for i in 0..self.n_layers {
            shapes.push((format!("block.{i}.qkv"), [d, 3 * d]));
            shapes.push((format!("block.{i}.attention_out"), [d, d]));
            shapes.push((format!("block.{i}.up"), [d, self.d_ff]));
            shapes.push((format!("block.{i}.down"), [self.d_ff, d]));
        }
        shapes
    }
}

impl Model {
    /// Random weights from `seed`: normal, standard deviation 0.02 for embeddings, 1/sqrt(inputs) for projections, and
    /// smaller for those that write to the residual stream.
    ///
    /// # Errors
    /// If the configuration is out of range.
    pub fn new(config: &Config, seed: u64) -> Result<Self> {
        config.validate()?;
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let residual = 1.0 / (2.0 * config.n_layers as f64).sqrt();
        let tensors = config.shapes().into_iter().map(|(name, [rows, columns])| {
            let deviation = match name.rsplit('.').next() {
                Some("embedding" | "positions") => 0.02,
                Some("attention_out" | "down") => residual / (rows as f64).sqrt(),
                _ => 1.0 / (rows as f64).sqrt(),
            };
            let values: Vec<f32> = (0..rows * columns).map(|_| (normal(&mut rng) * deviation) as f32).collect();
            Ok((name, Tensor::from_vec(values, (rows, columns), &Device::Cpu)?))
        });
        let tensors = tensors.collect::<Result<_>>()?;
        Self::from_tensors(*config, tensors)
    }

    fn from_tensors(config: Config, mut tensors: HashMap<String, Tensor>) -> Result<Self> {
        let mut vars = Vec::new();
        for (name, shape) in config.shapes() {
            let tensor = tensors.remove(&name).with_context(|| format!("model: tensor {name} is missing"))?;
            ensure!(tensor.dims() == shape, "model: tensor {name} is {:?}, expected {shape:?}", tensor.dims());
            vars.push(Var::from_tensor(&tensor)?);
        }
        let mut vars = vars.into_iter();
        let mut next = || vars.next().context("model: a tensor is missing");
        Ok(Self {
            embedding: next()?,
            positions: if config.positions == Positions::Learned { Some(next()?) } else { None },
            blocks: (0..config.n_layers)
                .map(|_| Ok(Block { qkv: next()?, attention_out: next()?, up: next()?, down: next()? }))
                .collect::<Result<_>>()?,
            config,
        })
    }

    /// Reads safetensors with f16, bf16 or f32 tensors and the configuration in the metadata.
    ///
    /// # Errors
    /// If the bytes are not such a file; no input panics.
    pub fn from_safetensors(bytes: &[u8]) -> Result<Self> {
        ensure!(bytes.len() <= MAX_FILE, "model: {} bytes; at most {MAX_FILE} are read", bytes.len());
        let (_, metadata) = SafeTensors::read_metadata(bytes).context("not a safetensors file")?;
        let json = metadata.metadata().as_ref().and_then(|map| map.get(METADATA));
        let json =
            json.with_context(|| format!("model: the metadata has no {METADATA:?}; not a model of this laboratory"))?;
        let config: Config = serde_json::from_str(json).context("model config")?;
        config.validate()?;
        let file = SafeTensors::deserialize(bytes).context("not a safetensors file")?;
        let mut tensors = HashMap::new();
        for (name, shape) in config.shapes() {
            let view = file.tensor(&name).with_context(|| format!("model: tensor {name}"))?;
            ensure!(view.shape() == shape, "model: tensor {name} is {:?}, expected {shape:?}", view.shape());
            let values = to_f32(&view)?;
            tensors.insert(name, Tensor::from_vec(values, &shape, &Device::Cpu)?);
        }
        Self::from_tensors(config, tensors)
    }

    /// The weights rounded to f16, in a deterministic order.
    ///
    /// # Errors
    /// If a weight is not finite.
    pub fn to_safetensors_f16(&self) -> Result<Vec<u8>> {
        let mut data = Vec::new();
        for ((name, shape), var) in self.config.shapes().into_iter().zip(self.vars()) {
            let values: Vec<f32> = var.flatten_all()?.to_vec1()?;
            ensure!(values.iter().all(|x| f16::from_f32(*x).is_finite()), "model: {name} holds values beyond f16");
            let bytes: Vec<u8> = values.iter().flat_map(|&x| f16::from_f32(x).to_le_bytes()).collect();
            data.push((name, shape, bytes));
        }
        let views = data
            .iter()
            .map(|(name, shape, bytes)| Ok((name.as_str(), TensorView::new(Dtype::F16, shape.to_vec(), bytes)?)))
            .collect::<Result<Vec<_>>>()?;
        let metadata = HashMap::from([(METADATA.to_owned(), serde_json::to_string(&self.config)?)]);
        Ok(safetensors::serialize(views, Some(metadata))?)
    }

    /// The shape of the model.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Number of weights.
    #[must_use]
    pub fn parameters(&self) -> usize {
        self.config.shapes().iter().map(|(_, [rows, columns])| rows * columns).sum()
    }

    /// Every weight tensor, in file order.
    pub(crate) fn vars(&self) -> Vec<Var> {
        let mut vars = vec![self.embedding.clone()];
        vars.extend(self.positions.clone());
        for block in &self.blocks {
            vars.extend([&block.qkv, &block.attention_out, &block.up, &block.down].map(Clone::clone));
        }
        vars
    }

    /// Logits [B * T, vocab_size] of token ids [B, T] (row-major), every position seeing itself and what is before it.
    ///
    /// # Errors
    /// If T exceeds the context or an id the vocabulary.
    pub fn forward(&self, ids: &[u32], batch: usize) -> Result<Tensor> {
        let Config { d_model, n_heads, vocab_size, context_len, .. } = self.config;
        let t = ids.len() / batch.max(1);
        ensure!(batch > 0 && t * batch == ids.len() && t > 0, "{} ids do not fill {batch} rows", ids.len());
        ensure!(t <= context_len, "a sequence of {t} tokens; the model reads {context_len}");
        if let Some(id) = ids.iter().find(|&&id| id as usize >= vocab_size) {
            bail!("token id {id} is not below the model's vocab_size {vocab_size}");
        }
        let head = self.config.head_len();
        let scale = 1.0 / (head as f32).sqrt();
        let ids = Tensor::from_slice(ids, ids.len(), &Device::Cpu)?;
        let mut x = self.embedding.index_select(&ids, 0)?;
        if let Some(positions) = &self.positions {
            let by_row = x.reshape((batch, t, d_model))?;
            x = by_row.broadcast_add(&positions.narrow(0, 0, t)?)?.reshape((batch * t, d_model))?;
        }
        for block in &self.blocks {
            let qkv = rms_norm(&x)?.matmul(block.qkv.as_tensor())?.reshape((batch, t, 3, n_heads, head))?;
            let part = |i: usize| qkv.narrow(2, i, 1)?.squeeze(2)?.transpose(1, 2)?.contiguous();
            let (mut q, mut k, v) = (part(0)?, part(1)?, part(2)?);
            if self.config.positions == Positions::Rotary {
                (q, k) = (rotary(&q)?, rotary(&k)?);
            }
            let attention = causal_softmax(&q.matmul(&k.t()?)?, scale)?.matmul(&v)?;
            let attention = attention.transpose(1, 2)?.reshape((batch * t, d_model))?;
            x = (x + attention.matmul(block.attention_out.as_tensor())?)?;
            let hidden = rms_norm(&x)?.matmul(block.up.as_tensor())?.relu()?.sqr()?;
            x = (x + hidden.matmul(block.down.as_tensor())?)?;
        }
        Ok(rms_norm(&x)?.matmul(&self.embedding.t()?)?)
    }

    /// Mean negative log-likelihood in nats per token of every next token in `rows`, each of at most context_len + 1.
    ///
    /// # Errors
    /// As [`Self::forward`].
    pub fn loss(&self, rows: &[Vec<u32>]) -> Result<f64> {
        let (mut sum, mut n) = (0.0, 0usize);
        for row in rows.iter().filter(|row| row.len() > 1) {
            let logits = self.forward(&row[..row.len() - 1], 1)?.detach();
            let log_p = candle_nn::ops::log_softmax(&logits, D::Minus1)?;
            let targets = Tensor::from_slice(&row[1..], (row.len() - 1, 1), &Device::Cpu)?;
            sum -= f64::from(log_p.gather(&targets, 1)?.sum_all()?.to_scalar::<f32>()?);
            n += row.len() - 1;
        }
        ensure!(n > 0, "no tokens to measure the loss on");
        Ok(sum / n as f64)
    }
}

fn to_f32(view: &TensorView<'_>) -> Result<Vec<f32>> {
    let data = view.data();
    Ok(match view.dtype() {
        Dtype::F32 => data.as_chunks::<4>().0.iter().map(|&b| f32::from_le_bytes(b)).collect(),
        Dtype::F16 => data.as_chunks::<2>().0.iter().map(|&b| f16::from_le_bytes(b).to_f32()).collect(),
        Dtype::BF16 => data.as_chunks::<2>().0.iter().map(|&b| half::bf16::from_le_bytes(b).to_f32()).collect(),
        other => bail!("model: tensors of type {other:?} are not read; use f16, bf16 or f32"),
    })
}

/// A standard normal draw (Box-Muller).
fn normal(rng: &mut ChaCha20Rng) -> f64 {
    let mut uniform = || (f64::from(rng.next_u32()) + 0.5) / 4_294_967_296.0;
    (-2.0 * uniform().ln()).sqrt() * (std::f64::consts::TAU * uniform()).cos()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use proptest::prelude::*;

    use super::*;

    const CONFIG: Config = Config {
        vocab_size: 16,
        d_model: 8,
        n_layers: 1,
        n_heads: 2,
        d_ff: 8,
        context_len: 4,
        positions: Positions::Learned,
    };
    const ROTARY: Config = Config { positions: Positions::Rotary, ..CONFIG };

    #[test]
    fn a_file_gives_the_same_model() {
        for config in [CONFIG, ROTARY] {
            let bytes = Model::new(&config, 1).unwrap().to_safetensors_f16().unwrap();
            let model = Model::from_safetensors(&bytes).unwrap();
            assert_eq!(model.config(), &config);
            assert_eq!(model.to_safetensors_f16().unwrap(), bytes);
            let weights: usize = model.vars().iter().map(|var| var.elem_count()).sum();
            assert_eq!(model.parameters(), weights);
        }
    }

    #[test]
    fn a_config_without_positions_has_learned_ones() {
        let json = r#"{"vocab_size":16,"d_model":8,"n_layers":1,"n_heads":2,"d_ff":8,"context_len":4}"#;
        assert_eq!(serde_json::from_str::<Config>(json).unwrap(), CONFIG);
    }

    /// The order of the tokens before the last one matters only through positions, for a model of one block.
    #[test]
    fn rotary_positions_tell_an_order_from_another() {
        let model = Model::new(&ROTARY, 1).unwrap();
        let last = |ids: &[u32]| model.forward(ids, 1).unwrap().to_vec2::<f32>().unwrap().pop().unwrap();
        let most = last(&[1, 2, 3]).iter().zip(last(&[2, 1, 3])).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(most > 1e-3, "{most}");
    }

    #[test]
    fn ids_and_lengths_out_of_range_are_errors() {
        let model = Model::new(&CONFIG, 1).unwrap();
        for (ids, batch) in [(vec![16], 1), (vec![0; 5], 1), (vec![0; 3], 2), (vec![], 1), (vec![0], 0)] {
            assert!(model.forward(&ids, batch).is_err(), "{ids:?} {batch}");
        }
        assert!(Model::new(&Config { n_heads: 3, ..CONFIG }, 1).is_err());
        assert!(Model::new(&Config { n_heads: 8, ..ROTARY }, 1).is_err(), "heads of width 1 cannot be turned");
        assert!(Model::new(&Config { n_heads: 8, ..CONFIG }, 1).is_ok());
    }

    proptest! {
        #[test]
        fn no_panic_on_damaged_files(at in 0usize..900, byte in any::<u8>(), length in 0usize..2000) {
            let mut bytes = Model::new(&CONFIG, 1).unwrap().to_safetensors_f16().unwrap();
            let n = bytes.len();
            bytes[at % n] = byte;
            bytes.truncate(length);
            let _ = Model::from_safetensors(&bytes);
        }

        #[test]
        fn no_panic_on_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Model::from_safetensors(&bytes);
        }
    }
}
