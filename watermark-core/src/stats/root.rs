//! Where a rising function crosses zero: a bracket by doubling, then bisection.

/// Doublings before a bracket is taken as it is.
const DOUBLINGS: u32 = 200;

/// Moves `far` away from zero until it is `past` the root; `near` is left where it was not yet. Returns `(near, far)`.
pub(super) fn bracket(mut near: f64, mut far: f64, past: impl Fn(f64) -> bool) -> (f64, f64) {
    for _ in 0..DOUBLINGS {
        if past(far) {
            break;
        }
        near = far;
        far *= 2.0;
    }
    (near, far)
}

/// The root of `rising` between `low` and `high`, as near as so many halvings bring it.
pub(super) fn bisect(mut low: f64, mut high: f64, halvings: u32, rising: impl Fn(f64) -> f64) -> f64 {
    for _ in 0..halvings {
        let middle = 0.5 * (low + high);
        if rising(middle) > 0.0 {
            high = middle;
        } else {
            low = middle;
        }
    }
    0.5 * (low + high)
}
