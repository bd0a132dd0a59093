//! (key, context, token) -> 32-bit word. One file per algorithm; a changed output is a new version name.

mod chacha20;
mod kgw;
mod lanes;
mod mt19937;
mod murmur;
mod philox;
mod synthid;
mod textseal;
mod three_bricks;

pub use chacha20::{ChaCha20V1, Context};
pub use kgw::{HfSelfHash, hf_left_hash_seed};
pub use mt19937::{Mt19937, torch_in_prefix, torch_rand24, torch_randperm};
pub use murmur::{SglangMurmur, sglang_coin, sglang_context_hash};
pub use philox::{VllmPhilox, vllm_dual_keys};
pub use synthid::{SynthIdDeepMind, SynthIdHf};
pub use textseal::{TextSealVersion, textseal_input, textseal_residue, textseal_round_input};
pub use three_bricks::three_bricks_seed;
