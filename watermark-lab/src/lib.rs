//! Small trainable language models, on which every claim about watermarks can be checked without a GPU or a download.
//!
//! The models are decoder-only transformers on candle with a byte-level BPE tokenizer. Two of them are shipped
//! (`models/README.md`): a teacher that answers word problems, and the base that students start from. A laboratory
//! experiment lets the teacher answer with a mark, trains a student on these answers, and tests the student.
//!
//! # Key types
//!
//! - [`model::Model`] holds the weights and gives logits and losses.
//! - [`generate::Generate`] and [`answer::Answering`] say how texts are sampled, and [`answer::Answer`] is one marked
//!   or unmarked answer.
//! - [`train::Examples`] are the tokens to learn from, and [`fine_tune::FineTuning`] says how a student learns answers.
//!
//! # Modules by task
//!
//! | task | modules |
//! |---|---|
//! | load the shipped tokenizer and models | [`shipped`] |
//! | make questions and training corpora | [`prompts`], [`data`] |
//! | answer questions, with or without a mark | [`answer`], [`generate`] |
//! | train a model, or a student on a teacher's answers | [`train`], [`fine_tune`] |
//! | change or serve a model | [`model`], [`gguf`] |

pub mod answer;
pub mod data;
pub mod fine_tune;
pub mod generate;
pub mod gguf;
pub mod model;
mod ops;
pub mod prompts;
mod rotary;
pub mod score;
pub mod shipped;
pub mod train;
