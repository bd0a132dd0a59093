//! The formats that are known. A new one is a file of its own and its lines here.

use super::format::Format;

pub mod hf_kgw;
pub mod sbw;
pub mod sglang;
pub mod synthid;
pub mod textseal;
pub mod three_bricks;
pub mod vllm;

/// All formats, in the order of lists and help texts.
pub(super) static CATALOGUE: &[&Format] = &[
    &vllm::VLLM,
    &vllm::VLLM_DUAL,
    &sglang::SGLANG,
    &textseal::TEXTSEAL_2025,
    &textseal::TEXTSEAL_2026,
    &synthid::DEEPMIND,
    &synthid::HF,
    &hf_kgw::LEFT_HASH,
    &hf_kgw::SELF_HASH,
    &three_bricks::THREE_BRICKS,
    &sbw::SELF_HASH,
    &sbw::SIMPLE,
];
