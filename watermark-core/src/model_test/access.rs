//! What a suspect model shows, and who collected it.

use super::ModelSample;
use crate::detect::LayerDetector;

/// What a suspect model shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum Access {
    /// Its answers.
    Answers,
    /// Its answers with next-token log-probabilities: the largest at each position, or as many as it shows.
    Logprobs,
    /// Its answers with whole next-token distributions, as its weights give them.
    Weights,
    /// Its choices while it reads marked texts of ours.
    Reading,
}

impl Access {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Answers, Self::Logprobs, Self::Weights, Self::Reading];

    /// The word in output and on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Answers => "answers",
            Self::Logprobs => "logprobs",
            Self::Weights => "weights",
            Self::Reading => "reading",
        }
    }

    /// A sample with nothing counted yet: answers weigh pairs by their counts, everything else by probabilities.
    #[must_use]
    pub fn sample(self, layer: &LayerDetector) -> ModelSample {
        match self {
            Self::Answers => ModelSample::of_answers(layer),
            Self::Logprobs | Self::Weights | Self::Reading => ModelSample::of_probabilities(layer),
        }
    }
}

/// Who collected what a model showed. Formats spell it as their readers expect; in serde as [`Collection::as_str`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Collection {
    /// Whoever runs the test and holds the key, as far as the data can tell.
    #[default]
    #[cfg_attr(feature = "serde", serde(rename = "not independently witnessed"))]
    NotWitnessed,
    /// A second party without the key.
    #[cfg_attr(feature = "serde", serde(rename = "replicated without the key"))]
    Replicate,
}

impl Collection {
    /// The words in output.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotWitnessed => "not independently witnessed",
            Self::Replicate => "replicated without the key",
        }
    }
}
