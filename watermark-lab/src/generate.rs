//! Batched generation with a key-value cache.

use anyhow::{Result, bail, ensure};
use candle_core::{Device, Tensor};
use rayon::prelude::*;

use crate::model::{Config, Model, Positions};
use crate::ops::{inverse_rms, softmax, sum_of_products};
use crate::rotary::{angles, turn};

/// How to generate.
#[derive(Clone, Copy, Debug)]
pub struct Generate {
    /// Longest completion in tokens.
    pub max_new_tokens: usize,
    /// Sequences side by side.
    pub batch_size: usize,
    /// Ends a sequence; not part of the completion.
    pub eos_token_id: u32,
}

/// Completes `prompts`. `pick` turns a row of logits [vocab_size] and the sequence's own state into a token; rows are
/// picked in parallel. Shapes: `states` [n] like `prompts`; the result has one completion per prompt, in order.
/// `progress` is told of every batch step's new tokens.
///
/// A sequence stops at the end of the model's context if that comes before `max_new_tokens`.
///
/// # Errors
/// If a prompt is empty or fills the model's context, or `pick` fails.
pub fn generate<S: Send>(
    model: &Model,
    prompts: &[Vec<u32>],
    states: &mut [S],
    options: &Generate,
    pick: impl Fn(&mut S, &[f32]) -> Result<u32> + Sync,
    progress: impl FnMut(usize),
) -> Result<Vec<Vec<u32>>> {
    generate_beside([model], prompts, states, options, |state, [row]: [&[f32]; 1]| pick(state, row), progress)
}

/// As [`generate`] with several models of one vocabulary that read the same tokens: `pick` gets a row of each, in order.
///
/// # Errors
/// As [`generate`]; also if the models' vocabularies differ in size.
pub fn generate_beside<const N: usize, S: Send>(
    models: [&Model; N],
    prompts: &[Vec<u32>],
    states: &mut [S],
    options: &Generate,
    pick: impl Fn(&mut S, [&[f32]; N]) -> Result<u32> + Sync,
    mut progress: impl FnMut(usize),
) -> Result<Vec<Vec<u32>>> {
    let vocab_size = models.first().map_or(0, |model| model.config().vocab_size);
    ensure!(models.iter().all(|model| model.config().vocab_size == vocab_size), "models of different vocabularies");
    let context_len = models.iter().map(|model| model.config().context_len).min().unwrap_or(0);
    ensure!(prompts.len() == states.len(), "{} prompts but {} states", prompts.len(), states.len());
    ensure!(options.batch_size > 0, "batch_size is 0");
    for (i, prompt) in prompts.iter().enumerate() {
        if prompt.is_empty() || prompt.len() >= context_len {
            bail!("prompt {i} has {} tokens; the model takes 1 to {}", prompt.len(), context_len - 1);
        }
        if let Some(id) = prompt.iter().find(|&&id| id as usize >= vocab_size) {
            bail!("prompt {i} has token id {id}, which the model does not know");
        }
    }
    // Prompts of like length side by side: all sequences of a batch are at the same position.
    let mut order: Vec<usize> = (0..prompts.len()).collect();
    order.sort_by_key(|&i| prompts[i].len());
    let mut sequences: Vec<Option<Sequence<'_, S>>> = prompts
        .iter()
        .zip(states)
        .map(|(prompt, state)| Some(Sequence { prompt, state, completion: Vec::new() }))
        .collect();
    let mut completions = vec![Vec::new(); prompts.len()];
    for chunk in order.chunks(options.batch_size) {
        let mut live: Vec<(usize, Sequence<'_, S>)> =
            chunk.iter().filter_map(|&i| sequences[i].take().map(|sequence| (i, sequence))).collect();
        let mut caches = models.map(|model| Cache::new(model.config(), live.len()));
        let mut position = 0;
        while !live.is_empty() && position < context_len {
            let inputs: Vec<u32> = live.iter().map(|(_, sequence)| sequence.at(position)).collect();
            let mut logits = Vec::with_capacity(N);
            for (cache, model) in caches.iter_mut().zip(models) {
                logits.push(cache.step(model, &inputs)?);
            }
            position += 1;
            let finished: Vec<bool> = live
                .par_iter_mut()
                .enumerate()
                .map(|(at, (_, sequence))| {
                    if position < sequence.prompt.len() {
                        return Ok(false);
                    }
                    let rows = std::array::from_fn(|model| &logits[model][at * vocab_size..(at + 1) * vocab_size]);
                    let token = pick(sequence.state, rows)?;
                    if token == options.eos_token_id {
                        return Ok(true);
                    }
                    sequence.completion.push(token);
                    Ok(sequence.completion.len() >= options.max_new_tokens)
                })
                .collect::<Result<_>>()?;
            progress(live.iter().filter(|(_, sequence)| position >= sequence.prompt.len()).count());
            if finished.contains(&true) {
                let keep: Vec<bool> = finished.iter().map(|done| !done).collect();
                caches.iter_mut().for_each(|cache| cache.keep(&keep));
                let mut done = finished.into_iter();
                for (i, sequence) in live.extract_if(.., |_| done.next().unwrap_or(false)) {
                    completions[i] = sequence.completion;
                }
            }
        }
        for (i, sequence) in live {
            completions[i] = sequence.completion;
        }
    }
    Ok(completions)
}

struct Sequence<'a, S> {
    prompt: &'a [u32],
    state: &'a mut S,
    completion: Vec<u32>,
}

impl<S> Sequence<'_, S> {
    fn at(&self, position: usize) -> u32 {
        match position.checked_sub(self.prompt.len()) {
            None => self.prompt[position],
            Some(i) => self.completion[i],
        }
    }
}

/// Keys and values of the sequences of one batch, all at the same position.
struct Cache {
    config: Config,
    length: usize,
    /// Per sequence and layer: keys then values, each [context_len, d_model].
    sequences: Vec<Vec<f32>>,
}

impl Cache {
    fn new(config: &Config, batch: usize) -> Self {
        let floats = 2 * config.n_layers * config.context_len * config.d_model;
        Self { config: *config, length: 0, sequences: (0..batch).map(|_| vec![0.0; floats]).collect() }
    }

    fn keep(&mut self, keep: &[bool]) {
        let mut keep = keep.iter();
        self.sequences.retain(|_| keep.next().copied().unwrap_or(false));
    }

    /// Logits [B * vocab_size] after one more token per sequence.
    fn step(&mut self, model: &Model, inputs: &[u32]) -> Result<Vec<f32>> {
        let Config { d_model, n_heads, context_len, positions, .. } = self.config;
        let head = self.config.head_len();
        let batch = inputs.len();
        let ids = Tensor::from_slice(inputs, batch, &Device::Cpu)?;
        let mut x = model.embedding.as_detached_tensor().index_select(&ids, 0)?;
        if let Some(positions) = &model.positions {
            x = x.broadcast_add(&positions.as_detached_tensor().narrow(0, self.length, 1)?)?;
        }
        let angles = angles(self.length, head);
        let mut x: Vec<f32> = x.flatten_all()?.to_vec1()?;
        let tensor = |values: Vec<f32>| Tensor::from_vec(values, (batch, d_model), &Device::Cpu);
        for (layer, block) in model.blocks.iter().enumerate() {
            let qkv = tensor(normalised(&x, d_model))?.matmul(&block.qkv.as_detached_tensor())?;
            let mut qkv: Vec<f32> = qkv.flatten_all()?.to_vec1()?;
            let mut attended = vec![0.0; batch * d_model];
            let at = self.length;
            attended.par_chunks_mut(d_model).zip(qkv.par_chunks_mut(3 * d_model)).zip(&mut self.sequences).for_each(
                |((out, qkv), cache)| {
                    if positions == Positions::Rotary {
                        qkv[..2 * d_model].chunks_mut(head).for_each(|vector| turn(vector, &angles));
                    }
                    let size = context_len * d_model;
                    let (keys, values) = cache[2 * layer * size..2 * (layer + 1) * size].split_at_mut(size);
                    keys[at * d_model..(at + 1) * d_model].copy_from_slice(&qkv[d_model..2 * d_model]);
                    values[at * d_model..(at + 1) * d_model].copy_from_slice(&qkv[2 * d_model..]);
                    attend(out, &qkv[..d_model], keys, values, at + 1, n_heads);
                },
            );
            add(&mut x, &tensor(attended)?.matmul(&block.attention_out.as_detached_tensor())?)?;
            let hidden = tensor(normalised(&x, d_model))?.matmul(&block.up.as_detached_tensor())?.relu()?.sqr()?;
            add(&mut x, &hidden.matmul(&block.down.as_detached_tensor())?)?;
        }
        self.length += 1;
        let logits = tensor(normalised(&x, d_model))?.matmul(&model.embedding.as_detached_tensor().t()?)?;
        Ok(logits.flatten_all()?.to_vec1()?)
    }
}

fn normalised(x: &[f32], d_model: usize) -> Vec<f32> {
    let mut out = x.to_vec();
    for row in out.chunks_mut(d_model) {
        let scale = inverse_rms(row);
        row.iter_mut().for_each(|x| *x *= scale);
    }
    out
}

fn add(x: &mut [f32], y: &Tensor) -> Result<()> {
    let y: Vec<f32> = y.flatten_all()?.to_vec1()?;
    x.iter_mut().zip(y).for_each(|(x, y)| *x += y);
    Ok(())
}

/// Attention of one query [d_model] over `length` cached positions; keys and values [context_len, d_model].
fn attend(out: &mut [f32], query: &[f32], keys: &[f32], values: &[f32], length: usize, n_heads: usize) {
    let d_model = query.len();
    let head = d_model / n_heads;
    let scale = 1.0 / (head as f32).sqrt();
    let mut scores = vec![0.0f32; length];
    for h in (0..d_model).step_by(head) {
        for (score, key) in scores.iter_mut().zip(keys.chunks_exact(d_model)) {
            *score = sum_of_products(&query[h..h + head], &key[h..h + head]) * scale;
        }
        softmax(&mut scores);
        for (&score, value) in scores.iter().zip(values.chunks_exact(d_model)) {
            for (out, value) in out[h..h + head].iter_mut().zip(&value[h..h + head]) {
                *out += score * value;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    const CONFIG: Config = Config {
        vocab_size: 40,
        d_model: 32,
        n_layers: 2,
        n_heads: 4,
        d_ff: 64,
        context_len: 24,
        positions: Positions::Learned,
    };
    const ROTARY: Config = Config { positions: Positions::Rotary, ..CONFIG };

    fn argmax(row: &[f32]) -> u32 {
        (0u32..).zip(row).max_by(|a, b| a.1.total_cmp(b.1)).unwrap().0
    }

    fn greedy(model: &Model, prompts: &[Vec<u32>], batch_size: usize) -> Vec<Vec<u32>> {
        let options = Generate { max_new_tokens: 10, batch_size, eos_token_id: 39 };
        let mut states = vec![(); prompts.len()];
        generate(model, prompts, &mut states, &options, |(), row| Ok(argmax(row)), |_| ()).unwrap()
    }

    /// The cache gives what a full forward pass gives, for any batch size and mixed prompt lengths.
    #[test]
    fn equals_the_full_forward_pass() {
        for config in [CONFIG, ROTARY] {
            let model = Model::new(&config, 5).unwrap();
            let prompts: Vec<Vec<u32>> = (1..12u32).map(|i| (0..i).map(|j| (i * 5 + j * 3) % 40).collect()).collect();
            let together = greedy(&model, &prompts, 64);
            assert_eq!(greedy(&model, &prompts, 3), together);
            for (prompt, completion) in prompts.iter().zip(&together) {
                let mut ids = prompt.clone();
                for &token in completion {
                    let logits: Vec<Vec<f32>> = model.forward(&ids, 1).unwrap().to_vec2().unwrap();
                    assert_eq!(argmax(&logits[ids.len() - 1]), token);
                    ids.push(token);
                }
                assert!(completion.len() == 10 || !completion.contains(&39));
            }
        }
    }

    #[test]
    fn stops_at_the_end_of_the_context_and_refuses_bad_prompts() {
        let model = Model::new(&CONFIG, 5).unwrap();
        let options = Generate { max_new_tokens: 100, batch_size: 2, eos_token_id: 99 };
        let run = |prompt: Vec<u32>| generate(&model, &[prompt], &mut [()], &options, |(), _| Ok(1), |_| ());
        assert_eq!(run(vec![1, 2]).unwrap()[0].len(), 23);
        for bad in [vec![], vec![1; 24], vec![40]] {
            assert!(run(bad).is_err());
        }
    }
}
