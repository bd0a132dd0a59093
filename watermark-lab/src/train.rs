//! Training with AdamW (1711.05101): warm-up, cosine decay, clipped gradients.

use anyhow::{Context, Result, anyhow, bail, ensure};
use candle_core::backprop::GradStore;
use candle_nn::{AdamW, Optimizer, ParamsAdamW};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::model::Model;
use crate::ops::cross_entropy;

/// Largest Euclidean norm of a step's gradient.
const CLIP: f64 = 1.0;
/// The learning rate ends at this share of its peak.
const FINAL_SHARE: f64 = 0.1;

/// A stream of tokens, each with the weight of predicting it.
#[derive(Clone, Debug, Default)]
pub struct Examples {
    tokens: Vec<u32>,
    weights: Vec<f32>,
    /// Start of each document in the stream.
    starts: Vec<usize>,
}

/// How long and how fast to train.
#[derive(Clone, Copy, Debug)]
pub struct TrainOptions {
    /// Passes over the examples.
    pub epochs: f64,
    /// Rows per step; a row has `row_len` predicted tokens.
    pub batch_rows: usize,
    /// Tokens per row, at most the model's context.
    pub row_len: usize,
    /// Peak learning rate.
    pub learning_rate: f64,
    /// Share of the steps spent warming up.
    pub warmup: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Seed of the order of documents.
    pub seed: u64,
}

/// Where training stands.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// Steps done, from 1.
    pub done: usize,
    /// Steps in all.
    pub total: usize,
    /// Training loss of this step in nats per weighted token.
    pub loss: f32,
}

impl Examples {
    /// Appends a document; only tokens from position `first` on are learned, as in an answer after its prompt.
    pub fn push(&mut self, document: &[u32], first: usize) {
        self.starts.push(self.tokens.len());
        self.tokens.extend(document);
        self.weights.extend((0..document.len()).map(|i| if i >= first { 1.0 } else { 0.0 }));
    }

    /// Tokens in all.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether there is nothing to learn from.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// The documents in a new order.
    fn shuffled(&self, rng: &mut ChaCha20Rng) -> Self {
        let mut order: Vec<usize> = (0..self.starts.len()).collect();
        for i in (1..order.len()).rev() {
            order.swap(i, (rng.next_u64() % (i as u64 + 1)) as usize);
        }
        let mut shuffled = Self::default();
        for i in order {
            let end = self.starts.get(i + 1).copied().unwrap_or(self.len());
            shuffled.starts.push(shuffled.len());
            shuffled.tokens.extend(&self.tokens[self.starts[i]..end]);
            shuffled.weights.extend(&self.weights[self.starts[i]..end]);
        }
        shuffled
    }
}

impl TrainOptions {
    /// Number of steps over so many tokens.
    #[must_use]
    #[expect(clippy::cast_sign_loss, reason = "a negative number of epochs saturates to no step, and one is taken")]
    pub fn steps(&self, tokens: usize) -> usize {
        ((self.epochs * tokens as f64 / (self.batch_rows * self.row_len) as f64).round() as usize).max(1)
    }

    fn learning_rate(&self, step: usize, steps: usize) -> f64 {
        let warmup = (self.warmup * steps as f64).max(1.0);
        let at = step as f64;
        if at < warmup {
            return self.learning_rate * (at + 1.0) / warmup;
        }
        let progress = (at - warmup) / (steps as f64 - warmup).max(1.0);
        let cosine = 0.5 * (1.0 + (std::f64::consts::PI * progress).cos());
        self.learning_rate * (FINAL_SHARE + (1.0 - FINAL_SHARE) * cosine)
    }
}

/// Trains `model` in place. Documents are shuffled every epoch and joined; every row starts with a document, as
/// generation does, and the rest of a document that a row cuts off is left out until the next order. The same seed and
/// machine give the same weights. `on_step` may stop training by returning an error.
///
/// # Errors
/// If there are fewer tokens than one row, or the loss is no longer finite.
pub fn train(
    model: &Model,
    examples: &Examples,
    options: &TrainOptions,
    mut on_step: impl FnMut(&Step) -> Result<()>,
) -> Result<()> {
    let row = options.row_len;
    ensure!(row > 0 && row <= model.config().context_len, "row_len {row} exceeds the model's context");
    ensure!(options.batch_rows >= 2, "batch_rows is {}; at least 2", options.batch_rows);
    if let Some(id) = examples.tokens.iter().find(|&&id| id as usize >= model.config().vocab_size) {
        bail!("token id {id} is not below the model's vocab_size {}", model.config().vocab_size);
    }
    ensure!(examples.len() > row, "{} tokens are fewer than one row of {row}", examples.len());
    let mut optimizer = AdamW::new(
        model.vars(),
        ParamsAdamW { lr: 0.0, beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: options.weight_decay },
    )?;
    let mut rng = ChaCha20Rng::seed_from_u64(options.seed);
    let steps = options.steps(examples.len());
    let mut stream = examples.shuffled(&mut rng);
    let mut at = 0;
    let threads = [one_thread()?, one_thread()?];
    for step in 0..steps {
        let capacity = options.batch_rows * row;
        let (mut inputs, mut targets, mut target_weights) =
            (Vec::with_capacity(capacity), Vec::with_capacity(capacity), Vec::with_capacity(capacity));
        for _ in 0..options.batch_rows {
            if at + row + 1 > stream.len() {
                stream = examples.shuffled(&mut rng);
                at = 0;
            }
            inputs.extend(&stream.tokens[at..at + row]);
            targets.extend(&stream.tokens[at + 1..at + row + 1]);
            target_weights.extend(&stream.weights[at + 1..at + row + 1]);
            let next = stream.starts.partition_point(|&start| start < at + row);
            at = stream.starts.get(next).copied().unwrap_or(stream.len());
        }
        // Weights that average over the batch, so that the shards' losses and gradients add up.
        let scale = 1.0 / target_weights.iter().sum::<f32>().max(1e-6);
        target_weights.iter_mut().for_each(|weight| *weight *= scale);
        let (value, mut grads) = gradient(model, &threads, row, &inputs, &targets, &target_weights)?;
        ensure!(value.is_finite(), "the loss is {value} at step {step}; lower the learning rate");
        clip(model, &mut grads)?;
        optimizer.set_learning_rate(options.learning_rate(step, steps));
        optimizer.step(&grads)?;
        on_step(&Step { done: step + 1, total: steps, loss: value })?;
    }
    Ok(())
}

/// Matrix products and row operations split themselves over the current pool; one thread each for the two halves of a
/// batch wastes less than two threads within every operation.
fn one_thread() -> Result<ThreadPool> {
    Ok(ThreadPoolBuilder::new().num_threads(1).build()?)
}

/// Loss and gradients of a batch. Its two halves are computed side by side and added in order, whatever the machine.
fn gradient(
    model: &Model,
    threads: &[ThreadPool; 2],
    row: usize,
    inputs: &[u32],
    targets: &[u32],
    weights: &[f32],
) -> Result<(f32, GradStore)> {
    let half = |inputs: &[u32], targets: &[u32], weights: &[f32]| -> Result<(f32, GradStore)> {
        let logits = model.forward(inputs, inputs.len() / row)?;
        let loss = cross_entropy(&logits, targets.to_vec(), weights.to_vec())?;
        Ok((loss.to_scalar::<f32>()?, loss.backward()?))
    };
    let middle = inputs.len() / row / 2 * row;
    let (first, second) = std::thread::scope(|scope| {
        let second =
            scope.spawn(|| threads[1].install(|| half(&inputs[middle..], &targets[middle..], &weights[middle..])));
        let first = threads[0].install(|| half(&inputs[..middle], &targets[..middle], &weights[..middle]));
        (first, second.join())
    });
    let (mut loss, mut grads) = first?;
    let (second_loss, second_grads) = second.map_err(|_| anyhow!("a training thread panicked"))??;
    loss += second_loss;
    for var in model.vars() {
        let sum = match (grads.remove(&var), second_grads.get(&var)) {
            (Some(first), Some(second)) => (first + second)?,
            _ => bail!("a weight has no gradient"),
        };
        grads.insert(&var, sum);
    }
    Ok((loss, grads))
}

fn clip(model: &Model, grads: &mut GradStore) -> Result<()> {
    let vars = model.vars();
    let mut square = 0.0;
    for var in &vars {
        let grad = grads.get(var).context("a weight has no gradient")?;
        square += f64::from(grad.sqr()?.sum_all()?.to_scalar::<f32>()?);
    }
    let norm = square.sqrt();
    if norm > CLIP {
        for var in &vars {
            let grad = grads.remove(var).context("a weight has no gradient")?;
            grads.insert(var, (grad * (CLIP / norm))?);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::model::{Config, Positions};

    const CONFIG: Config = Config {
        vocab_size: 32,
        d_model: 32,
        n_layers: 2,
        n_heads: 2,
        d_ff: 64,
        context_len: 16,
        positions: Positions::Rotary,
    };

    /// Documents that count up from a random start.
    fn counting() -> Examples {
        let mut examples = Examples::default();
        for start in 0..200u32 {
            let document: Vec<u32> = (0..12).map(|i| (start * 7 + i) % 32).collect();
            examples.push(&document, 1);
        }
        examples
    }

    fn options() -> TrainOptions {
        TrainOptions {
            epochs: 6.0,
            batch_rows: 8,
            row_len: 16,
            learning_rate: 5e-3,
            warmup: 0.1,
            weight_decay: 0.01,
            seed: 1,
        }
    }

    #[test]
    fn a_toy_language_is_learned_and_repeatably() {
        let run = || {
            let model = Model::new(&CONFIG, 3).unwrap();
            let mut losses = Vec::new();
            train(&model, &counting(), &options(), |step| {
                losses.push(step.loss);
                Ok(())
            })
            .unwrap();
            (losses, model.to_safetensors_f16().unwrap())
        };
        let (losses, weights) = run();
        assert!(losses[0] > 3.0 && losses[losses.len() - 1] < 0.3, "{:?}", losses.last());
        assert_eq!(run(), (losses, weights));
    }

    #[test]
    fn only_weighted_tokens_are_learned() {
        let mut examples = Examples::default();
        examples.push(&[1; 40], 40);
        examples.push(&[1; 40], 40);
        let model = Model::new(&CONFIG, 3).unwrap();
        let before = model.to_safetensors_f16().unwrap();
        let options = TrainOptions { epochs: 1.0, batch_rows: 2, weight_decay: 0.0, ..options() };
        train(&model, &examples, &options, |step| {
            assert!(step.loss.abs() < 1e-6);
            Ok(())
        })
        .unwrap();
        assert_eq!(model.to_safetensors_f16().unwrap(), before);
    }
}
