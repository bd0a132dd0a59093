use super::record::{InputFormat, Select};

/// Reads records from JSON: as token ids or as text, and which part of them counts as generated.
#[derive(Clone, Debug)]
pub(super) struct RecordParser {
    pub(super) tokens: bool,
    pub(super) select: Select,
}

impl RecordParser {
    pub(super) fn new(format: InputFormat, select: &Select) -> Self {
        Self { tokens: format == InputFormat::Tokens, select: select.clone() }
    }
}
