//! A cache of the token ids of words.

use std::hash::BuildHasher;

use hashbrown::DefaultHashBuilder;

/// Words per cache: 4 MiB for each thread that encodes. Text has far more distinct words, but few that come often.
const SLOTS: usize = 1 << 16;
/// Bytes of the longest word that is kept, and its most tokens: a slot is one cache line.
const BYTES: usize = 30;
const IDS: usize = 8;

#[derive(Clone, Copy)]
#[repr(align(64))]
struct Slot {
    ids: [u32; IDS],
    bytes: [u8; BYTES],
    /// 0 in an empty slot: no word is empty.
    n_bytes: u8,
    n_ids: u8,
}

/// A direct-mapped cache: a word replaces what was in its slot, so the size is fixed whatever the text.
pub(super) struct Words {
    slots: Vec<Slot>,
    hasher: DefaultHashBuilder,
}

impl Words {
    pub(super) fn new() -> Self {
        let empty = Slot { ids: [0; IDS], bytes: [0; BYTES], n_bytes: 0, n_ids: 0 };
        Self { slots: vec![empty; SLOTS], hasher: DefaultHashBuilder::default() }
    }

    /// Appends the ids of `word` to `ids`; from `encode`, which appends them itself, if they are not here.
    /// `None` if `encode` returned it.
    pub(super) fn ids(
        &mut self,
        word: &str,
        ids: &mut Vec<u32>,
        encode: impl FnOnce(&str, &mut Vec<u32>) -> Option<()>,
    ) -> Option<()> {
        let n = word.len();
        if n == 0 || n > BYTES {
            return encode(word, ids);
        }
        let index = self.hasher.hash_one(word.as_bytes()) as usize % SLOTS;
        let slot = self.slots.get_mut(index)?;
        if usize::from(slot.n_bytes) == n && slot.bytes.get(..n)? == word.as_bytes() {
            ids.extend_from_slice(slot.ids.get(..usize::from(slot.n_ids))?);
            return Some(());
        }
        let before = ids.len();
        encode(word, ids)?;
        let new = ids.get(before..)?;
        if let Some(kept) = slot.ids.get_mut(..new.len()) {
            kept.copy_from_slice(new);
            slot.n_ids = u8::try_from(new.len()).ok()?;
            slot.bytes.get_mut(..n)?.copy_from_slice(word.as_bytes());
            slot.n_bytes = u8::try_from(n).ok()?;
        }
        Some(())
    }
}
