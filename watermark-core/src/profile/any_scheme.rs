use crate::engine::Engine;
use crate::scheme::{NullLaw, Scheme};

/// What a layer marks with: a scheme on our PRF, or the format of another engine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum AnyScheme {
    /// A scheme on our PRF.
    Own(Scheme),
    /// What another engine or library serves, bit for bit.
    Engine(Engine),
}

impl AnyScheme {
    /// The name in profiles, in the PRF key derivation and in output.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Own(scheme) => scheme.name(),
            Self::Engine(engine) => engine.name(),
        }
    }

    /// Whether the layer draws the token, and so comes last, instead of changing the distribution that it is drawn
    /// from. Every engine draws.
    #[must_use]
    pub fn chooses(&self) -> bool {
        self.own().is_none_or(|scheme| scheme.chooses())
    }

    /// Whether the layer adds a bonus to logits or forbids tokens, which can be done before the temperature too. The other reweighting
    /// schemes keep the distribution that they are given, token by token, in the mean over keys.
    #[must_use]
    pub fn boosts(&self) -> bool {
        self.own().is_some_and(|scheme| !scheme.chooses() && !scheme.spec().distortion_free)
    }

    /// Whether marking needs a proxy's probabilities at every position ([`crate::mark::Session::set_proxy`]).
    #[must_use]
    pub fn needs_proxy(&self) -> bool {
        self.own().is_some_and(|scheme| scheme.needs_proxy())
    }

    /// Whether the layer draws under two keys, of which a fair coin chooses: with paired draws, each key draws a candidate.
    #[must_use]
    pub fn draws_pairs(&self) -> bool {
        matches!(self, Self::Own(Scheme::GumbelDualKey(scheme)) if scheme.is_fair())
    }

    /// The law of a pair's score over keys.
    #[must_use]
    pub fn null_law(&self) -> NullLaw {
        match self {
            Self::Own(scheme) => scheme.null_law(),
            Self::Engine(engine) => engine.null_law(),
        }
    }

    /// The scheme on our PRF, if it is one.
    #[must_use]
    pub fn own(&self) -> Option<Scheme> {
        match self {
            Self::Own(scheme) => Some(*scheme),
            Self::Engine(_) => None,
        }
    }
}

impl From<Scheme> for AnyScheme {
    fn from(scheme: Scheme) -> Self {
        Self::Own(scheme)
    }
}

impl From<Engine> for AnyScheme {
    fn from(engine: Engine) -> Self {
        Self::Engine(engine)
    }
}
