use serde::{Deserialize, Serialize};

/// The two OpenAI interfaces that servers share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Api {
    /// `/chat/completions`: the server puts the prompt into the model's chat template.
    Chat,
    /// `/completions`: the model continues the prompt as it stands.
    Completions,
}
