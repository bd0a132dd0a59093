//! The shipped tokenizer and models, embedded in the program.

use anyhow::Result;

use crate::model::Model;

/// Id of `<|endoftext|>`, which begins and ends every document.
pub const EOS: u32 = 0;

/// The shipped `tokenizer.json`: byte-level BPE.
#[must_use]
pub fn tokenizer_json() -> &'static [u8] {
    watermark_toolkit::tokenizer::EMBEDDED
}

/// The teacher: answers word problems.
///
/// # Errors
/// Never in a build that passed its tests.
pub fn teacher() -> Result<Model> {
    Model::from_safetensors(include_bytes!("../models/teacher.safetensors"))
}

/// The clean base of students: a smaller model of the same data that has seen no generated answer.
///
/// # Errors
/// Never in a build that passed its tests.
pub fn base() -> Result<Model> {
    Model::from_safetensors(include_bytes!("../models/base.safetensors"))
}
