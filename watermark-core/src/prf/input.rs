use crate::{Error, ErrorKind, MAX_CONTEXT_WIDTH, Result};

/// A PRF input: the last `width` tokens (oldest first, zero-padded) and the token that followed. An engine stores
/// whatever its own function depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pair {
    context: [u32; MAX_CONTEXT_WIDTH],
    token: u32,
}

impl Pair {
    #[inline]
    pub(crate) fn new(context: &[u32], token: u32) -> Self {
        let mut padded = [0; MAX_CONTEXT_WIDTH];
        padded[..context.len()].copy_from_slice(context);
        Self { context: padded, token }
    }

    pub(crate) fn without_token(self) -> Self {
        self.with_token(0)
    }

    pub(crate) fn with_token(self, token: u32) -> Self {
        Self { token, ..self }
    }

    /// The context at its width, which the pair itself does not know.
    #[must_use]
    #[inline]
    pub(crate) fn context(&self, width: usize) -> &[u32] {
        &self.context[..width]
    }

    /// The token.
    #[must_use]
    #[inline]
    pub fn token(&self) -> u32 {
        self.token
    }

    /// A pair whose only content is a 64-bit number, for functions that depend on nothing else.
    pub(crate) fn from_number(number: u64) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "low half")]
        let low = number as u32;
        Self::new(&[low, (number >> 32) as u32], 0)
    }

    /// The number of [`Self::from_number`].
    pub(crate) fn number(&self) -> u64 {
        u64::from(self.context[0]) | u64::from(self.context[1]) << 32
    }

    /// Context and token as numbers, in the order of the canonical bytes of a tally.
    pub(crate) fn words(&self) -> impl Iterator<Item = &u32> {
        self.context.iter().chain([&self.token])
    }
}

/// What one generated position is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Position {
    /// Too few tokens before it.
    ShortContext,
    /// A special token, or one whose value does not depend on the key.
    Excluded,
    /// A PRF input.
    Input(Pair),
}

/// Which rule turned positions into PRF inputs. Two tallies can be merged or scored by a detector only if their rules agree.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct RuleId {
    /// Number of the rule, part of the canonical bytes of a tally.
    pub(crate) kind: u8,
    /// Tokens before the token itself.
    pub(crate) width: usize,
    /// Differs between keys where inputs depend on the key, else 0.
    pub(crate) key_tag: i64,
}

/// Without the tag, from which a key could be computed.
impl std::fmt::Debug for RuleId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RuleId").field("kind", &self.kind).field("width", &self.width).finish_non_exhaustive()
    }
}

impl RuleId {
    /// The last `width` generated tokens, none of them special, and the token.
    pub(crate) fn generated(width: usize) -> Self {
        Self { kind: 0, width, key_tag: 0 }
    }

    /// Refuses another rule, because its inputs would pass off dependent scores as independent ones.
    pub(crate) fn check(self, other: Self) -> Result<()> {
        if self == other {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::InvalidParameter,
            format!(
                "a tally of contexts of {} tokens was used with another context rule or key, of {} tokens",
                self.width, other.width
            ),
        ))
    }
}

/// Calls `visit` for every token in order, where contexts are `width` tokens of `tokens` that do not reach over a special
/// one. `special` is sorted. `input` makes a full window and the token after it a PRF input, or none if the value does not
/// depend on the key.
pub(crate) fn positions(
    width: usize,
    special: &[u32],
    tokens: &[u32],
    input: impl Fn(&[u32], u32) -> Option<Pair>,
    mut visit: impl FnMut(Position),
) {
    let mut usable = 0;
    for (i, &token) in tokens.iter().enumerate() {
        if special.binary_search(&token).is_ok() {
            visit(Position::Excluded);
            usable = 0;
            continue;
        }
        visit(if usable < width {
            Position::ShortContext
        } else {
            input(&tokens[i - width..i], token).map_or(Position::Excluded, Position::Input)
        });
        usable += 1;
    }
}
