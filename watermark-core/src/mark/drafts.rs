/// Draft tokens that wait for the target model. Under a scheme of two keys, every token that was drawn here is kept
/// with the distribution that it was drawn from, because the rule of acceptance compares it with the target's.
#[derive(Clone, Default)]
pub(super) struct Drafts {
    pub(super) tokens: Vec<u32>,
    /// For each token, where its distribution ends in `ids` and `probabilities`.
    ends: Vec<usize>,
    pub(super) ids: Vec<u32>,
    pub(super) probabilities: Vec<f64>,
}

impl Drafts {
    pub(super) fn len(&self) -> usize {
        self.tokens.len()
    }

    pub(super) fn truncate(&mut self, n: usize) {
        self.tokens.truncate(n);
        self.ends.truncate(n);
        let end = self.ends.last().copied().unwrap_or(0);
        self.ids.truncate(end);
        self.probabilities.truncate(end);
    }

    pub(super) fn push(&mut self, token: u32) {
        self.tokens.push(token);
        self.ends.push(self.ids.len());
    }

    /// The distribution that draft `at` was drawn from, ids ascending; empty if nobody needs it.
    pub(super) fn distribution(&self, at: usize) -> (&[u32], &[f64]) {
        let range = at.checked_sub(1).map_or(0, |before| self.ends[before])..self.ends[at];
        (&self.ids[range.clone()], &self.probabilities[range])
    }
}
