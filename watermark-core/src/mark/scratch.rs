use std::cell::RefCell;

use super::choosing::Words;
use super::reserve::reserve;
use super::sampling::Support;
use crate::scheme::Buffers;

/// Working memory of one step, of vocabulary size. Each thread has one, so that a session is as large as its sequence and
/// a fork copies nothing else.
#[derive(Default)]
pub(super) struct Scratch {
    pub(super) support: Support,
    pub(super) words: Words,
    pub(super) proxy_words: Words,
    pub(super) buffers: Buffers,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

impl Scratch {
    /// Runs a step in this thread's memory, after making room for the whole vocabulary. So later steps allocate
    /// nothing, however many tokens their truncation keeps. Pages that are never written cost no memory.
    pub(super) fn with<T>(vocab_size: usize, step: impl FnOnce(&mut Self) -> T) -> T {
        SCRATCH.with_borrow_mut(|scratch| {
            scratch.reserve(vocab_size);
            step(scratch)
        })
    }

    fn reserve(&mut self, n: usize) {
        self.support.reserve(n);
        self.words.reserve(n);
        let Buffers { probabilities, work, .. } = &mut self.buffers;
        reserve(probabilities, n);
        reserve(&mut work.numbers, n);
        reserve(&mut work.order, n);
    }
}
