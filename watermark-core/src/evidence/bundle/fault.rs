use std::fmt;

/// Which step of `verify/FORMAT.md`, section 7, found a fault, in the order of the steps. The words are stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "one table for all languages")]
pub enum Code {
    Envelope,
    Signature,
    Schema,
    Registration,
    Profile,
    Head,
    Proof,
    Beacon,
    Opening,
    Registered,
    Prompts,
    Time,
    Subject,
    Tally,
    Tail,
    Verdict,
    TimeStamp,
    Trust,
    Data,
    Records,
    Recomputed,
}

impl Code {
    /// The code in output.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Envelope => "E-ENVELOPE",
            Self::Signature => "E-SIGNATURE",
            Self::Schema => "E-SCHEMA",
            Self::Registration => "E-REGISTRATION",
            Self::Profile => "E-PROFILE",
            Self::Head => "E-HEAD",
            Self::Proof => "E-PROOF",
            Self::Beacon => "E-BEACON",
            Self::Opening => "E-OPENING",
            Self::Registered => "E-REGISTERED",
            Self::Prompts => "E-PROMPTS",
            Self::Time => "E-TIME",
            Self::Subject => "E-SUBJECT",
            Self::Tally => "E-TALLY",
            Self::Tail => "E-TAIL",
            Self::Verdict => "E-VERDICT",
            Self::TimeStamp => "E-TIMESTAMP",
            Self::Trust => "E-TRUST",
            Self::Data => "E-DATA",
            Self::Records => "E-RECORDS",
            Self::Recomputed => "E-RECOMPUTED",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Something that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The step that found it.
    pub code: Code,
    /// What, for people.
    pub what: String,
}

pub(in crate::evidence) fn fault(code: Code, what: impl Into<String>) -> Fault {
    Fault { code, what: what.into() }
}
