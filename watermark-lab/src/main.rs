//! Makes the shipped tokenizer and models, measures and exports them.
#![allow(clippy::print_stdout, reason = "a command line program")]

use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, anyhow};
use clap::{Parser, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use tokenizers::models::bpe::{BPE, BpeTrainerBuilder};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, Tokenizer, TokenizerBuilder};
use watermark_lab::data::{Corpus, encode};
use watermark_lab::generate::{Generate, generate};
use watermark_lab::gguf::to_gguf;
use watermark_lab::model::{Config, Model, Positions};
use watermark_lab::prompts::{prompt_text, word_problems};
use watermark_lab::shipped::EOS;
use watermark_lab::train::{Examples, TrainOptions, train};

/// Make and measure the laboratory models
#[derive(Parser)]
#[command(name = "watermark-lab", version)]
enum Command {
    /// Train the byte-level BPE tokenizer
    Tokenizer {
        /// Folder with gsm8k_train.jsonl, rust_book.jsonl.gz, peps.jsonl.gz
        #[arg(long)]
        corpus: PathBuf,
        #[arg(long)]
        out: PathBuf,
        #[arg(long, default_value_t = 2048)]
        vocab_size: usize,
    },
    /// Train a model from random weights
    Train {
        #[arg(long)]
        model: Kind,
        #[arg(long)]
        corpus: PathBuf,
        #[arg(long)]
        tokenizer: PathBuf,
        #[arg(long)]
        out: PathBuf,
        /// Passes over the corpus
        #[arg(long)]
        epochs: f64,
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Peak learning rate
        #[arg(long, default_value_t = 3e-3)]
        learning_rate: f64,
        /// Write the model so far every so many steps
        #[arg(long, default_value_t = 200)]
        save_every: usize,
    },
    /// Measure held-out loss and the entropy of the model's own samples
    Measure {
        #[arg(long)]
        model: PathBuf,
        #[arg(long)]
        corpus: PathBuf,
        #[arg(long)]
        tokenizer: PathBuf,
    },
    /// Write a model with rotary positions and its tokenizer as GGUF, for llama.cpp
    Export {
        #[arg(long)]
        model: PathBuf,
        #[arg(long)]
        tokenizer: PathBuf,
        #[arg(long)]
        out: PathBuf,
    },
    /// Next-token log-probabilities: JSON strings in, one a line; {"tokens": [...], "log_probs": [vocab_size]} out
    Logprobs {
        #[arg(long)]
        model: PathBuf,
        #[arg(long)]
        tokenizer: PathBuf,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    Teacher,
    Base,
    /// A quarter of the base's weights, for a student of another size.
    Small,
}

impl Kind {
    fn config(self, vocab_size: usize) -> Config {
        let (d_model, n_layers, n_heads, positions) = match self {
            Self::Teacher => (192, 4, 4, Positions::Learned),
            // Rotary, so that other engines can serve it: see `export`.
            Self::Base => (128, 3, 4, Positions::Rotary),
            Self::Small => (64, 2, 4, Positions::Rotary),
        };
        Config { vocab_size, d_model, n_layers, n_heads, d_ff: 4 * d_model, context_len: ROW, positions }
    }
}

/// Share of the training bytes that are not word problems.
const PROSE_SHARE: f64 = 0.25;
const ROW: usize = 192;

fn main() -> Result<()> {
    match Command::parse() {
        Command::Tokenizer { corpus, out, vocab_size } => train_tokenizer(&corpus, &out, vocab_size),
        Command::Train { model, corpus, tokenizer, out, epochs, seed, learning_rate, save_every } => {
            let tokenizer = open(&tokenizer)?;
            let corpus = Corpus::read(&corpus, PROSE_SHARE)?;
            let mut examples = Examples::default();
            for ids in encode(&tokenizer, &corpus.training, usize::MAX)? {
                examples.push(&ids, 0);
            }
            let model = Model::new(&model.config(tokenizer.get_vocab_size(true)), seed)?;
            let options = TrainOptions {
                epochs,
                batch_rows: 20,
                row_len: ROW,
                learning_rate,
                warmup: 0.02,
                weight_decay: 0.1,
                seed,
            };
            let steps = options.steps(examples.len());
            println!("{} parameters, {} tokens an epoch, {steps} steps", model.parameters(), examples.len());
            let bar = ProgressBar::new(steps as u64)
                .with_style(ProgressStyle::with_template("[{bar:40}] {pos}/{len} {msg} {elapsed} (ETA {eta})")?);
            let start = Instant::now();
            train(&model, &examples, &options, |step| {
                let rate = (step.done * options.batch_rows * ROW) as f64 / start.elapsed().as_secs_f64();
                bar.inc(1);
                bar.set_message(format!("loss {:.3}, {rate:.0} tokens/s", step.loss));
                if step.done % 50 == 0 {
                    println!("step {} loss {:.4} {rate:.0} tokens/s", step.done, step.loss);
                }
                if step.done % save_every == 0 || step.done == step.total {
                    std::fs::write(&out, model.to_safetensors_f16()?)?;
                }
                Ok(())
            })?;
            let held_out = encode(&tokenizer, &corpus.held_out, ROW)?;
            println!("held-out loss {:.4} nats per token", model.loss(&held_out)?);
            println!("{:.0} s", start.elapsed().as_secs_f64());
            Ok(())
        }
        Command::Measure { model, corpus, tokenizer } => {
            let tokenizer = open(&tokenizer)?;
            let model = open_model(&model)?;
            let corpus = Corpus::read(&corpus, PROSE_SHARE)?;
            println!("parameters {}", model.parameters());
            let held_out = encode(&tokenizer, &corpus.held_out, ROW)?;
            println!("held-out loss {:.4} nats per token", model.loss(&held_out)?);
            measure_samples(&model, &tokenizer)
        }
        Command::Export { model, tokenizer, out } => {
            let json = std::fs::read(&tokenizer).with_context(|| format!("tokenizer {}", tokenizer.display()))?;
            let name = model.file_stem().unwrap_or_default().to_string_lossy();
            let bytes = to_gguf(&open_model(&model)?, &json, &name)?;
            std::fs::write(&out, bytes).with_context(|| format!("writing {}", out.display()))
        }
        Command::Logprobs { model, tokenizer } => log_probs(&open_model(&model)?, &open(&tokenizer)?),
    }
}

fn open(path: &PathBuf) -> Result<Tokenizer> {
    Tokenizer::from_file(path).map_err(|error| anyhow!("tokenizer {}: {error}", path.display()))
}

fn open_model(path: &Path) -> Result<Model> {
    let bytes = std::fs::read(path).with_context(|| format!("model {}", path.display()))?;
    Model::from_safetensors(&bytes).with_context(|| format!("model {}", path.display()))
}

/// For every text on standard input: its ids after the end-of-text token, and what may follow.
fn log_probs(model: &Model, tokenizer: &Tokenizer) -> Result<()> {
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let text: String = serde_json::from_str(&line?).context("standard input: one JSON string a line is read")?;
        let encoding = tokenizer.encode(text, false).map_err(|error| anyhow!("tokenizer: {error}"))?;
        let tokens = [&[EOS], encoding.get_ids()].concat();
        let logits = model.forward(&tokens, 1)?.get(tokens.len() - 1)?;
        let log_probs: Vec<f32> = candle_nn::ops::log_softmax(&logits, 0)?.to_vec1()?;
        writeln!(out, "{}", serde_json::json!({ "tokens": tokens, "log_probs": log_probs }))?;
    }
    Ok(())
}

fn train_tokenizer(corpus: &Path, out: &PathBuf, vocab_size: usize) -> Result<()> {
    let corpus = Corpus::read(corpus, PROSE_SHARE)?;
    let failed = |error: tokenizers::Error| anyhow!("tokenizer: {error}");
    let mut trainer = BpeTrainerBuilder::new()
        .vocab_size(vocab_size)
        .show_progress(false)
        .special_tokens(vec![AddedToken::from("<|endoftext|>", true)])
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .build();
    let bytes = ByteLevel::new(false, true, true);
    let mut tokenizer: tokenizers::TokenizerImpl<BPE, tokenizers::NormalizerWrapper, _, _, _> = TokenizerBuilder::new()
        .with_model(BPE::default())
        .with_normalizer(None)
        .with_pre_tokenizer(Some(bytes))
        .with_post_processor(Some(bytes))
        .with_decoder(Some(bytes))
        .build()
        .map_err(failed)?;
    tokenizer.train(&mut trainer, corpus.training.iter().map(String::as_str)).map_err(failed)?;
    tokenizer.save(out, false).map_err(failed)?;
    let text = corpus.held_out.join("\n");
    let ids = open(out)?.encode(text.as_str(), false).map_err(failed)?.len();
    println!("{:.2} bytes per token on held-out text", text.len() as f64 / ids as f64);
    Ok(())
}

/// Entropy of the next-token distribution at temperature 1, averaged over the model's own samples.
fn measure_samples(model: &Model, tokenizer: &Tokenizer) -> Result<()> {
    let questions = word_problems(2, 256);
    let prompts = questions.iter().map(|question| {
        let encoding = tokenizer.encode(prompt_text(question), false).map_err(|error| anyhow!("tokenizer: {error}"))?;
        Ok([&[EOS], encoding.get_ids()].concat())
    });
    let prompts = prompts.collect::<Result<Vec<Vec<u32>>>>()?;
    let mut states: Vec<(ChaCha20Rng, f64, usize)> =
        (0..256).map(|i| (ChaCha20Rng::seed_from_u64(i), 0.0, 0)).collect();
    let options = Generate { max_new_tokens: 96, batch_size: 256, eos_token_id: EOS };
    let start = Instant::now();
    let pick = |(rng, entropy, n): &mut (ChaCha20Rng, f64, usize), row: &[f32]| {
        let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let weights: Vec<f64> = row.iter().map(|&x| f64::from(x - max).exp()).collect();
        let total: f64 = weights.iter().sum();
        *entropy += weights.iter().map(|w| w / total).filter(|&p| p > 0.0).map(|p| -p * p.ln()).sum::<f64>();
        *n += 1;
        let mut target = f64::from(rng.next_u32()) / 4_294_967_296.0 * total;
        let drawn = weights.iter().position(|w| {
            target -= w;
            target < 0.0
        });
        Ok(u32::try_from(drawn.unwrap_or(row.len() - 1))?)
    };
    let completions = generate(model, &prompts, &mut states, &options, pick, |_| ())?;
    let seconds = start.elapsed().as_secs_f64();
    let n: usize = states.iter().map(|state| state.2).sum();
    let entropy: f64 = states.iter().map(|state| state.1).sum();
    println!("entropy of its own samples {:.3} nats per token over {n} tokens", entropy / n as f64);
    println!("generation {:.0} tokens/s", n as f64 / seconds);
    for (question, completion) in questions.iter().zip(completions).take(3) {
        let text = tokenizer.decode(&completion, true).map_err(|error| anyhow!("tokenizer: {error}"))?;
        println!("---\n{question}\n>{text}");
    }
    Ok(())
}
