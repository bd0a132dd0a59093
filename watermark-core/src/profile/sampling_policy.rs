#[cfg(feature = "profile")]
use serde::{Deserialize, Serialize};

#[cfg(feature = "profile")]
use super::given::given;

/// Where reweighting layers that boost (`greenlist`, `adfp`) act.
///
/// In logits before the temperature T, a boost of delta after it is worth `T delta`, and one before it delta. So after the
/// temperature the mark fades as T goes to 0, where the most likely token is taken whatever its colour. Before it, greedy decoding
/// still takes a green token that is less than delta behind, and truncation keeps green tokens. Without truncation both are the same at
/// T = 1, and above it the boost before the temperature is the weaker one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "profile", derive(Serialize, Deserialize), serde(rename_all = "snake_case"))]
pub enum Boost {
    /// On what temperature and truncation leave. What a profile without a policy means.
    #[default]
    AfterTemperature,
    /// On the model's own logits, so that temperature and truncation follow. The words of the whole vocabulary are computed for every
    /// token.
    BeforeTemperature,
}

/// What a deployment holds its clients' sampling parameters to (`"sampling"` in a profile). A client who may choose temperature and
/// top-p may otherwise switch marks off. Only marked sessions are held to it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[cfg_attr(feature = "profile", derive(Serialize, Deserialize), serde(deny_unknown_fields))]
pub struct SamplingPolicy {
    /// Where the boost of reweighting layers is applied.
    pub boost: Boost,
    /// Lower temperatures are raised to this one, greedy decoding too. Positive and finite.
    #[cfg_attr(
        feature = "profile",
        serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")
    )]
    pub min_temperature: Option<f64>,
    /// A lower top-p is raised to this one, in (0, 1], and neither top-k nor min-p leaves fewer tokens than it would. It says nothing of
    /// greedy decoding, which `min_temperature` forbids.
    #[cfg_attr(
        feature = "profile",
        serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")
    )]
    pub min_top_p: Option<f64>,
}

impl SamplingPolicy {
    /// What is wrong with the numbers, if anything.
    pub(super) fn check(&self) -> Result<(), String> {
        match (self.min_temperature, self.min_top_p) {
            (Some(floor), _) if !(floor > 0.0 && floor.is_finite()) => {
                Err(format!("sampling.min_temperature is {floor}; it must be above 0 and finite"))
            }
            (_, Some(floor)) if !(floor > 0.0 && floor <= 1.0) => {
                Err(format!("sampling.min_top_p is {floor}; it must be in (0, 1]"))
            }
            _ => Ok(()),
        }
    }
}
