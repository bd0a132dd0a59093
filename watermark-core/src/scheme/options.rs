use super::{Adfp, Dipmark, Greenlist, Gumbel, GumbelDualKey, Mcmark, PermuteAndFlip, Scheme, Tournament};
use crate::{Error, ErrorKind, Result};

/// Parameters of a scheme by name, as profiles and command lines give them. `None` where a scheme does not take one.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SchemeOptions {
    /// Share of green tokens (`greenlist`, `adfp`), of a block (`mcmark`), or where the upper part begins (`dipmark`).
    pub gamma: Option<f64>,
    /// `greenlist`: logit boost in nats; scoring does not need it (then 0).
    pub delta: Option<f64>,
    /// `greenlist`: forbid the other tokens instead of boosting the green ones.
    pub hard: bool,
    /// `greenlist`: the favoured block, if it is not block 0.
    pub block: Option<u32>,
    /// `tournament`: layers.
    pub depth: Option<u32>,
    /// `tournament`: score with falling weights.
    pub weighted: bool,
    /// `gumbel_dual_key`: share of key B; `dipmark`: strength.
    pub alpha: Option<f64>,
    /// `adfp`: strength; scoring does not need it (then 0).
    pub lambda: Option<f64>,
}

/// `DiPmark`'s usual strength; scoring does not depend on it.
const DIPMARK_ALPHA: f64 = 0.45;

impl SchemeOptions {
    fn given(&self) -> [(&'static str, bool); 8] {
        [
            ("gamma", self.gamma.is_some()),
            ("delta", self.delta.is_some()),
            ("hard", self.hard),
            ("block", self.block.is_some()),
            ("depth", self.depth.is_some()),
            ("weighted", self.weighted),
            ("alpha", self.alpha.is_some()),
            ("lambda", self.lambda.is_some()),
        ]
    }
}

impl Scheme {
    /// The names of [`Scheme::from_name`].
    pub const NAMES: [&'static str; 8] =
        ["greenlist", "gumbel", "gumbel_dual_key", "permute_and_flip", "tournament", "mcmark", "dipmark", "adfp"];

    /// A scheme on our PRF by its name.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidParameter`] for an unknown name, a parameter that is missing, does not apply or lies outside its
    /// domain.
    pub fn from_name(name: &str, options: &SchemeOptions) -> Result<Self> {
        let invalid = |message: String| Error::new(ErrorKind::InvalidParameter, message);
        let takes: &[&str] = match name {
            "greenlist" => &["gamma", "delta", "hard", "block"],
            "gumbel" | "permute_and_flip" => &[],
            "gumbel_dual_key" => &["alpha"],
            "tournament" => &["depth", "weighted"],
            "mcmark" => &["gamma"],
            "dipmark" => &["gamma", "alpha"],
            "adfp" => &["gamma", "lambda"],
            _ => return Err(invalid(format!("unknown scheme {name:?}; known are {}", Self::NAMES.join(", ")))),
        };
        if let Some((option, _)) =
            options.given().into_iter().find(|&(option, given)| given && !takes.contains(&option))
        {
            return Err(invalid(format!("{name} does not take {option}")));
        }
        if options.hard && options.delta.is_some() {
            return Err(invalid("a hard list has no delta".to_owned()));
        }
        let missing = |option: &str| invalid(format!("{name} needs {option}"));
        let gamma = || options.gamma.ok_or_else(|| missing("gamma"));
        Ok(match name {
            "greenlist" => {
                let delta = if options.hard { f64::INFINITY } else { options.delta.unwrap_or(0.0) };
                let list = Greenlist::new(gamma()?, delta)?;
                Self::Greenlist(options.block.map_or(Ok(list), |block| list.with_block(block))?)
            }
            "gumbel" => Self::Gumbel(Gumbel),
            "permute_and_flip" => Self::PermuteAndFlip(PermuteAndFlip),
            "gumbel_dual_key" => Self::GumbelDualKey(GumbelDualKey::new(
                options.alpha.ok_or_else(|| missing("alpha, the share of the second key (key_b_share)"))?,
            )?),
            "tournament" => {
                let scheme = Tournament::new(options.depth.ok_or_else(|| missing("depth"))?)?;
                Self::Tournament(if options.weighted { scheme.weighted() } else { scheme })
            }
            "mcmark" => Self::Mcmark(Mcmark::new(gamma()?)?),
            "adfp" => Self::Adfp(Adfp::new(gamma()?, options.lambda.unwrap_or(0.0))?),
            _ => Self::Dipmark(Dipmark::new(options.alpha.unwrap_or(DIPMARK_ALPHA), gamma()?)?),
        })
    }

    /// The parameters that [`Scheme::from_name`] needs to make this scheme again; all `None` for an engine's.
    #[must_use]
    pub fn options(&self) -> SchemeOptions {
        let none = SchemeOptions::default();
        match self {
            Self::Greenlist(scheme) => SchemeOptions {
                gamma: Some(scheme.gamma()),
                delta: scheme.delta().is_finite().then(|| scheme.delta()),
                hard: scheme.delta().is_infinite(),
                block: (scheme.block() > 0).then(|| scheme.block()),
                ..none
            },
            Self::GumbelDualKey(scheme) => SchemeOptions { alpha: Some(scheme.alpha()), ..none },
            Self::Tournament(scheme) => {
                SchemeOptions { depth: Some(scheme.depth()), weighted: scheme.is_weighted(), ..none }
            }
            Self::Mcmark(scheme) => SchemeOptions { gamma: Some(scheme.blocks().gamma()), ..none },
            Self::Dipmark(scheme) => SchemeOptions { gamma: Some(scheme.gamma()), alpha: Some(scheme.alpha()), ..none },
            Self::Adfp(scheme) => SchemeOptions { gamma: Some(scheme.gamma()), lambda: Some(scheme.lambda()), ..none },
            Self::Gumbel(_) | Self::PermuteAndFlip(_) | Self::Engine(_) => none,
        }
    }
}
