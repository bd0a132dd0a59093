use super::*;
use crate::{Error, ErrorKind, Result};

macro_rules! declare {
    ($($module:ident $Type:ident,)*) => {
        /// A scheme with its parameters. [`Scheme::SPECS`] lists all schemes.
        #[derive(Clone, Copy, Debug, PartialEq)]
        pub enum Scheme {
            $(#[doc = concat!("The scheme of [`", stringify!($Type), "`].")] $Type($Type),)*
        }

        impl Scheme {
            /// Every scheme on our PRF.
            pub const SPECS: &'static [Spec] = &[$(<$Type as Entry>::SPEC),*];

            /// A scheme on our PRF by its name.
            ///
            /// # Errors
            /// [`ErrorKind::InvalidParameter`] for an unknown name, a parameter that is missing, does not apply or lies outside its
            /// domain.
            pub fn from_name(name: &str, parameters: &Parameters) -> Result<Self> {
                $(if name == <$Type as Entry>::SPEC.name {
                    return <$Type as Entry>::build(&<$Type as Entry>::SPEC.given(parameters)?).map(Self::$Type);
                })*
                Err(unknown(name))
            }

            /// The name in profiles, in the PRF key derivation and in output.
            #[must_use]
            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$Type(_) => <$Type as Entry>::SPEC.name,)*
                }
            }

            /// The spec of the scheme: its name, source, parameters and examples.
            #[must_use]
            pub fn spec(&self) -> &'static Spec {
                match self {
                    $(Self::$Type(_) => &<$Type as Entry>::SPEC,)*
                }
            }

            /// The parameters that [`Scheme::from_name`] needs to make this scheme again.
            #[must_use]
            pub fn parameters(&self) -> Parameters {
                match self {
                    $(Self::$Type(scheme) => Entry::parameters(scheme),)*
                }
            }

            /// The law of a pair's score over keys.
            #[must_use]
            pub fn null_law(&self) -> NullLaw {
                match self {
                    $(Self::$Type(scheme) => Entry::null_law(scheme),)*
                }
            }

            pub(crate) fn second_word(&self) -> SecondWord {
                match self {
                    $(Self::$Type(_) => <$Type as Entry>::SECOND_WORD,)*
                }
            }

            /// The integer score of a pair on our PRF from its word; sums are u128. `second` is the word of key B or word 0 of the
            /// context where a scheme needs one, and ignored by the others.
            #[must_use]
            pub fn score(&self, word: u32, second: u32) -> u64 {
                match self {
                    $(Self::$Type(scheme) => Entry::score(scheme, word, second),)*
                }
            }

            /// Marking half of a reweighting scheme.
            pub(crate) fn reweight(&self, position: &mut Position<'_>) {
                match self {
                    $(Self::$Type(scheme) => Entry::reweight(scheme, position),)*
                }
            }

            /// Marking half of a choosing scheme: index of the drawn entry. Shapes: both [n], aligned.
            pub(crate) fn choose(&self, logits: &[f32], words: &[u32]) -> Option<usize> {
                match self {
                    $(Self::$Type(scheme) => Entry::choose(scheme, logits, words),)*
                }
            }

            /// Whether a public uniform word gives the position to the second of two keys.
            pub(crate) fn uses_second_key(&self, coin: u32) -> bool {
                match self {
                    $(Self::$Type(scheme) => Entry::uses_second_key(scheme, coin),)*
                }
            }
        }
    };
}

catalogue!(declare);

fn unknown(name: &str) -> Error {
    let known: Vec<&str> = Scheme::SPECS.iter().map(|spec| spec.name).collect();
    Error::new(ErrorKind::InvalidParameter, format!("unknown scheme {name:?}; known are {}", known.join(", ")))
}

impl Scheme {
    /// The spec of that name.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidParameter`] for an unknown name, naming the known ones.
    pub fn spec_of(name: &str) -> Result<&'static Spec> {
        Self::SPECS.iter().find(|spec| spec.name == name).ok_or_else(|| unknown(name))
    }

    /// As [`Scheme::from_name`] with the names that parameters have on the command line and in Python ([`Parameter::option`]).
    ///
    /// # Errors
    /// As [`Scheme::from_name`], and for a parameter that is given under two names.
    pub fn from_options(name: &str, given: &Parameters) -> Result<Self> {
        let spec = Self::spec_of(name)?;
        let mut parameters = Parameters::new();
        for (option, value) in given.iter() {
            let option = option.replace('_', "-");
            let known = spec.parameters.iter().find(|parameter| parameter.option == option);
            // An option that the scheme does not take is named in the error as the caller wrote it.
            let name = known.map_or_else(|| option.replace('-', "_"), |parameter| parameter.name.to_owned());
            // Else the last one would win, and nobody would know which that is.
            if parameters.get(&name).is_some() {
                let option = spec.parameter(&name).map_or(&*name, |parameter| parameter.option).replace('-', "_");
                let what = format!("{} takes {option} once, and {name} is the same parameter", spec.name);
                return Err(Error::new(ErrorKind::InvalidParameter, what));
            }
            parameters = parameters.with(name, value);
        }
        Self::from_name(name, &parameters)
    }

    /// Whether the scheme draws the token (and so comes last), instead of changing the distribution it is drawn from.
    #[must_use]
    pub fn chooses(&self) -> bool {
        self.spec().kind.chooses()
    }

    /// Whether marking needs a proxy's probabilities at every position ([`crate::mark::Session::set_proxy`]).
    #[must_use]
    pub fn needs_proxy(&self) -> bool {
        self.spec().kind.needs_proxy()
    }
}
