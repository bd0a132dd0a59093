//! One HTTP request.

use std::fmt;
use std::time::{Duration, SystemTime};

use anyhow::Result;
use ureq::http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use ureq::{Agent, http};

use super::endpoint::{ApiToken, Endpoint};
use crate::transcript::{Api, FaultKind, MAX_RESPONSE_BYTES};

/// A server that does not even accept a connection in this time is not there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A request that got no complete HTTP response.
#[derive(Clone, Debug)]
pub struct Fault {
    /// The kind.
    pub kind: FaultKind,
    /// In words, without the API token.
    pub message: String,
}

/// A complete HTTP response, without the API token.
#[derive(Clone, Debug)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// How long the server asks to wait.
    pub retry_after: Option<Duration>,
    /// The body; `None` if it is not UTF-8.
    pub body: Option<String>,
}

/// Posts JSON to one endpoint. Follows no redirects, so that the API token and the prompts reach nobody else.
#[derive(Clone)]
pub struct Client {
    agent: Agent,
    url: String,
    token: Option<ApiToken>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("url", &self.url).field("token", &self.token).finish_non_exhaustive()
    }
}

impl Client {
    /// `timeout` bounds a whole exchange, from the connection to the last byte of the answer.
    #[must_use]
    pub fn new(endpoint: &Endpoint, api: Api, token: Option<ApiToken>, timeout: Duration) -> Self {
        let mut config = Agent::config_builder();
        if endpoint.is_local() {
            config = config.proxy(None);
        }
        let agent = config
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_global(Some(timeout))
            .timeout_connect(Some(timeout.min(CONNECT_TIMEOUT)))
            // A kept connection may be closed by the server just as it is used again; that would look like a failed request.
            .max_idle_connections(0)
            .user_agent(concat!("watermark/", env!("CARGO_PKG_VERSION")))
            .build()
            .new_agent();
        Self { agent, url: endpoint.url(api), token }
    }

    /// Whether `text` holds the API token, which must stand in no request but for its header.
    #[must_use]
    pub fn leaks_token(&self, text: &str) -> bool {
        self.token.as_ref().is_some_and(|token| token.occurs_in(text))
    }

    /// Sends one JSON body.
    ///
    /// # Errors
    /// If there is no complete response within the time and size limits.
    pub fn post(&self, body: &str) -> Result<Reply, Fault> {
        self.exchange(body).map_err(|error| {
            let kind = match &error {
                ureq::Error::Timeout(_) => FaultKind::Timeout,
                ureq::Error::BodyExceedsLimit(_) | ureq::Error::LargeResponseHeader(..) => FaultKind::TooLarge,
                _ => FaultKind::Connection,
            };
            Fault { kind, message: self.redact(error.to_string()).chars().take(300).collect() }
        })
    }

    fn exchange(&self, body: &str) -> Result<Reply, ureq::Error> {
        let mut request = self.agent.post(&self.url).header(CONTENT_TYPE, "application/json");
        if let Some(token) = &self.token {
            let mut value = HeaderValue::from_str(&token.bearer()).map_err(http::Error::from)?;
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        let response = request.send(body)?;
        let (parts, body) = response.into_parts();
        let bytes = body.into_with_config().limit(MAX_RESPONSE_BYTES).read_to_vec()?;
        let body = String::from_utf8(bytes).ok().map(|body| self.redact(body));
        Ok(Reply {
            status: parts.status.as_u16(),
            retry_after: retry_after(&parts.headers, SystemTime::now()),
            // Redaction may lengthen a text.
            body: body.filter(|body| body.len() as u64 <= MAX_RESPONSE_BYTES),
        })
    }

    fn redact(&self, text: String) -> String {
        match &self.token {
            Some(token) => token.redact(text),
            None => text,
        }
    }
}

/// RFC 9110 section 10.2.3: seconds, or a date.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    match value.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        // A date in the past means now.
        Err(_) => Some(httpdate::parse_http_date(value).ok()?.duration_since(now).unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn retry_after_in_both_forms() {
        let now = httpdate::parse_http_date("Mon, 23 Nov 2026 10:00:00 GMT").unwrap();
        let parsed = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, HeaderValue::from_str(text).unwrap());
            retry_after(&headers, now).map(|wait| wait.as_secs())
        };
        assert_eq!(parsed("7"), Some(7));
        assert_eq!(parsed("Mon, 23 Nov 2026 10:00:30 GMT"), Some(30));
        assert_eq!(parsed("Mon, 23 Nov 2026 09:00:30 GMT"), Some(0));
        assert_eq!([parsed("-7"), parsed("soon"), parsed("99999999999999999999999")], [None; 3]);
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }
}
