use std::borrow::Cow;

/// Parameters of a scheme by name, as profiles, command lines and foreign languages give them. A parameter that is left
/// out has its default.
///
/// ```
/// use watermark_core::scheme::{Parameters, Scheme};
///
/// let scheme = Scheme::from_name("greenlist", &Parameters::new().with("gamma", 0.25).with("delta", 2.0))?;
/// assert_eq!(scheme.name(), "greenlist");
/// assert!(Scheme::from_name("greenlist", &Parameters::new().with("depth", 3u32)).is_err());
/// # Ok::<(), watermark_core::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parameters(Vec<(Cow<'static, str>, Value)>);

/// The value of a parameter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value {
    /// A real number.
    Real(f64),
    /// A whole number, which is a real one too.
    Whole(u32),
    /// Set or not set. A flag that is not set is the same as one that is left out.
    Flag(bool),
}

impl Value {
    /// The value as a number; `None` for a flag.
    #[must_use]
    pub fn real(self) -> Option<f64> {
        match self {
            Self::Real(real) => Some(real),
            Self::Whole(whole) => Some(whole.into()),
            Self::Flag(_) => None,
        }
    }

    /// The value as a whole number; `None` for others.
    #[must_use]
    pub fn whole(self) -> Option<u32> {
        match self {
            Self::Whole(whole) => Some(whole),
            Self::Real(_) | Self::Flag(_) => None,
        }
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Real(value)
    }
}

impl From<u32> for Value {
    fn from(value: u32) -> Self {
        Self::Whole(value)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Flag(value)
    }
}

/// As a profile writes it.
impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Real(real) => real.fmt(f),
            Self::Whole(whole) => whole.fmt(f),
            Self::Flag(flag) => flag.fmt(f),
        }
    }
}

impl Parameters {
    /// No parameters.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// These parameters with one more; a name that is there already gets the new value.
    #[must_use]
    pub fn with(mut self, name: impl Into<Cow<'static, str>>, value: impl Into<Value>) -> Self {
        let (name, value) = (name.into(), value.into());
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((name, value)),
        }
        self
    }

    /// The value of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Value> {
        self.0.iter().find(|(known, _)| known == name).map(|&(_, value)| value)
    }

    /// Names and values in the order in which they came.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Value)> {
        self.0.iter().map(|(name, value)| (name.as_ref(), *value))
    }
}
