//! Small trainable language models on which every claim about watermarks can be checked without a GPU or a download:
//! a decoder-only transformer on candle, batched generation with a key-value cache, training with AdamW, a byte-level
//! BPE tokenizer, a generator of word problems, and two shipped models (`models/README.md`).

pub mod answer;
pub mod data;
pub mod fine_tune;
pub mod generate;
pub mod gguf;
pub mod model;
mod ops;
pub mod prompts;
mod rotary;
pub mod shipped;
pub mod train;
