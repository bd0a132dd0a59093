/// Makes room for `n` elements in all.
pub(super) fn reserve<T>(vector: &mut Vec<T>, n: usize) {
    vector.reserve(n.saturating_sub(vector.len()));
}
