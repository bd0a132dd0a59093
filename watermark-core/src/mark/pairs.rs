use crate::paired::{Candidates, RequestKey};

/// The paired draws of a session.
pub(super) struct Paired {
    pub(super) key: RequestKey,
    /// What was drawn for the next position.
    drawn: Option<Candidates>,
    /// What was withheld at each position of the sequence; `None` where the token is another than the one that was drawn.
    withheld: Vec<Option<u32>>,
}

impl Paired {
    pub(super) fn new(key: RequestKey) -> Self {
        Self { key, drawn: None, withheld: Vec::new() }
    }

    /// Forgets what was drawn: a new step decides anew, and one that leaves the draw to its caller has drawn nothing.
    pub(super) fn begin(&mut self) {
        self.drawn = None;
    }

    pub(super) fn draw(&mut self, candidates: Candidates) {
        self.drawn = Some(candidates);
    }

    pub(super) fn push(&mut self, token: u32) {
        let drawn = self.drawn.take().filter(|drawn| drawn.served == token);
        self.withheld.push(drawn.map(|drawn| drawn.withheld));
    }

    pub(super) fn reserve(&mut self, tokens: usize) {
        self.withheld.reserve(tokens);
    }

    /// Keeps the first `n` positions.
    pub(super) fn truncate(&mut self, n: usize) {
        self.withheld.truncate(n);
        self.begin();
    }

    pub(super) fn withheld(&self) -> &[Option<u32>] {
        &self.withheld
    }
}
