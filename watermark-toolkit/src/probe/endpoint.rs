//! Where to ask, and the secret that opens it.

use std::fmt;
use std::net::IpAddr;

use anyhow::{Result, bail};
use ureq::http::Uri;
use zeroize::Zeroizing;

use crate::transcript::Api;

/// The base address of an endpoint, without credentials: what a transcript may name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    base: String,
    encrypted: bool,
    local: bool,
}

impl Endpoint {
    /// Parses an address such as `https://host/v1`.
    ///
    /// # Errors
    /// If it is not an http or https address, or carries a user, a password, a query or a fragment: these may hold
    /// secrets, and the address is written to the transcript.
    pub fn parse(address: &str) -> Result<Self> {
        if address.contains('@') || address.contains('?') || address.contains('#') {
            bail!(
                "the endpoint must not contain a user, a password, a query or a fragment, because it is written to the \
                 transcript; give the API token in WATERMARK_API_KEY or with --api-key-file"
            );
        }
        let Ok(uri) = address.parse::<Uri>() else { bail!("endpoint {address:?} is not an address") };
        let (Some(scheme @ ("http" | "https")), Some(host)) = (uri.scheme_str(), uri.host()) else {
            bail!("endpoint {address:?} must begin with http:// or https://, for example http://127.0.0.1:8080/v1");
        };
        let base = address.trim_end_matches('/');
        if base.ends_with("/completions") {
            bail!("endpoint {address:?} must be the base address without /completions, for example https://host/v1");
        }
        let local = host == "localhost"
            || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        Ok(Self { base: base.to_owned(), encrypted: scheme == "https", local })
    }

    /// The address as the transcript names it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.base
    }

    /// Whether an API token would travel over a network unencrypted.
    #[must_use]
    pub fn is_unprotected(&self) -> bool {
        !self.encrypted && !self.local
    }

    /// Whether it is this machine, which no proxy serves.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.local
    }

    /// The address to post to.
    #[must_use]
    pub fn url(&self, api: Api) -> String {
        match api {
            Api::Chat => format!("{}/chat/completions", self.base),
            Api::Completions => format!("{}/completions", self.base),
        }
    }
}

/// An API token. It occurs in the Authorization header only.
#[derive(Clone)]
pub struct ApiToken(Zeroizing<String>);

impl fmt::Debug for ApiToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiToken([redacted])")
    }
}

/// What stands in place of the token.
const REDACTED: &str = "[redacted]";

/// A shorter token would occur in ordinary text, and redacting it would destroy answers.
const MIN_TOKEN: usize = 8;

impl ApiToken {
    /// Takes a token; white space around it is dropped.
    ///
    /// # Errors
    /// If it is shorter than 8 or longer than 4096 bytes, or cannot stand in an HTTP header. Messages never repeat it.
    pub fn parse(text: &str) -> Result<Self> {
        let token = text.trim();
        if !(MIN_TOKEN..=4096).contains(&token.len()) || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            bail!("the API token must be one word of 8 to 4096 visible ASCII characters");
        }
        Ok(Self(Zeroizing::new(token.to_owned())))
    }

    /// Value of the Authorization header.
    pub(super) fn bearer(&self) -> Zeroizing<String> {
        Zeroizing::new(format!("Bearer {}", self.0.as_str()))
    }

    /// Whether `text` contains the token, plainly or in JSON's escapes.
    #[must_use]
    pub fn occurs_in(&self, text: &str) -> bool {
        (0..text.len()).any(|at| self.match_at(text.as_bytes(), at).is_some())
    }

    /// `text` with every occurrence of the token replaced, also one written with JSON's escapes. A server that wants to
    /// hide the token in its answer can still do so (base64, spread over a stream's events).
    #[must_use]
    pub fn redact(&self, text: String) -> String {
        if !self.occurs_in(&text) {
            return text;
        }
        let (mut out, mut from, mut at) = (String::with_capacity(text.len()), 0, 0);
        while at < text.len() {
            match self.match_at(text.as_bytes(), at) {
                Some(end) => {
                    out += &text[from..at];
                    out += REDACTED;
                    (from, at) = (end, end);
                }
                None => at += 1,
            }
        }
        out + &text[from..]
    }

    /// Where an occurrence that starts at `at` ends. Both ends lie beside ASCII characters, so they are char boundaries.
    fn match_at(&self, text: &[u8], mut at: usize) -> Option<usize> {
        for &wanted in self.0.as_bytes() {
            at += unit_length(text.get(at..)?, wanted)?;
        }
        Some(at)
    }
}

/// Length of the character, or JSON escape, at the start of `text`, if it stands for `wanted`.
fn unit_length(text: &[u8], wanted: u8) -> Option<usize> {
    match *text {
        // Before the plain case: a backslash of the token occurs in JSON as two.
        [b'\\', escaped, ..] if escaped == wanted && matches!(wanted, b'\\' | b'/' | b'"') => Some(2),
        [b'\\', b'u', a, b, c, d, ..] => {
            let digits = [a, b, c, d];
            let code = u32::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?;
            (code == u32::from(wanted)).then_some(6)
        }
        [first, ..] if first == wanted => Some(1),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn addresses() {
        let url = |address: &str| Endpoint::parse(address).map(|endpoint| endpoint.url(Api::Chat));
        assert_eq!(url("http://127.0.0.1:8080/v1/").unwrap(), "http://127.0.0.1:8080/v1/chat/completions");
        for bad in [
            "http://user:secret@host/v1",
            "https://host/v1?key=secret",
            "host/v1",
            "ftp://host/v1",
            "https://host/v1/chat/completions",
            "",
        ] {
            let error = url(bad).unwrap_err().to_string();
            assert!(!error.contains("secret"), "{error}");
        }
        let unprotected = |address: &str| Endpoint::parse(address).unwrap().is_unprotected();
        assert!(unprotected("http://example.org/v1") && !unprotected("https://example.org/v1"));
        assert!(!unprotected("http://[::1]:80/v1") && !unprotected("http://localhost/v1"));
    }

    #[test]
    fn a_token_is_redacted_however_json_writes_it() {
        let token = ApiToken::parse(" sk-/ab\\cd\n").unwrap();
        assert_eq!(format!("{token:?}"), "ApiToken([redacted])");
        for echoed in ["sk-/ab\\cd", r"sk-/ab\\cd", r"sk-\/ab\\cd", r"\u0073k-\u002Fab\u005ccd"] {
            assert_eq!(token.redact(format!("é{echoed}é{echoed}")), "é[redacted]é[redacted]", "{echoed}");
        }
        for other in ["sk-/ab", "sk-/ab\\ce", "é", "", r"\u00"] {
            assert_eq!(token.redact(other.to_owned()), other);
        }
        assert!(ApiToken::parse("short").is_err() && ApiToken::parse("with a space").is_err());
        assert_eq!(token.bearer().as_str(), "Bearer sk-/ab\\cd");
    }
}
