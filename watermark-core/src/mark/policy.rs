use super::sampling::{Sampling, Support};
use crate::profile::{Boost, SamplingPolicy};

/// What the profile's sampling policy raised in the request that a session was opened for; `None` is left as it was. Where the policy
/// has a floor for top-p, top-k and min-p are held to it too, row by row, which is not in here.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Raised {
    /// The temperature.
    pub temperature: Option<Change<f32>>,
    /// The top-p.
    pub top_p: Option<Change<f64>>,
}

/// A parameter that was raised.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Change<T> {
    /// What was asked for.
    pub from: T,
    /// What it became.
    pub to: T,
}

/// A request's sampling parameters under a policy.
#[derive(Clone, Copy)]
pub(super) struct Admitted {
    pub(super) sampling: Sampling,
    pub(super) raised: Raised,
    pub(super) boost: Boost,
    pub(super) min_top_p: Option<f64>,
}

impl Admitted {
    pub(super) fn new(asked: Sampling, policy: &SamplingPolicy) -> Self {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "temperatures are single precision; 0 and infinity are none"
        )]
        let coldest = policy.min_temperature.map(|floor| (floor as f32).clamp(f32::MIN_POSITIVE, f32::MAX));
        let raised = Raised {
            temperature: raise(Some(asked.temperature), coldest),
            top_p: raise(asked.top_p, policy.min_top_p),
        };
        let sampling = Sampling {
            temperature: raised.temperature.map_or(asked.temperature, |change| change.to),
            top_p: raised.top_p.map_or(asked.top_p, |change| Some(change.to)),
            ..asked
        };
        Self { sampling, raised, boost: policy.boost, min_top_p: policy.min_top_p }
    }

    /// As [`Sampling::truncate`].
    pub(super) fn truncate(&self, support: &mut Support) {
        self.sampling.truncate(self.min_top_p, support);
    }
}

fn raise<T: Copy + PartialOrd>(asked: Option<T>, floor: Option<T>) -> Option<Change<T>> {
    let (from, to) = (asked?, floor?);
    (from < to).then_some(Change { from, to })
}
