use super::record::{InputFormat, Select};

/// What to do with a record's JSON.
#[derive(Clone, Debug)]
pub(super) struct Reading {
    pub(super) tokens: bool,
    pub(super) select: Select,
}

impl Reading {
    pub(super) fn new(format: InputFormat, select: &Select) -> Self {
        Self { tokens: format == InputFormat::Tokens, select: select.clone() }
    }
}
