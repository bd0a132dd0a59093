//! The interface: what is asked, what is refused, and how an answer is sent.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use watermark_core::mark::{Change, Raised, Sampling};
use watermark_toolkit::files::random;

use crate::accounts::Accounts;
use crate::writing::{Begun, Order, Writer, Written};

/// Longer requests are refused.
const MAX_BODY: usize = 1 << 20;
/// Requests that wait for the model at most; more are told to come back.
const MAX_WAITING: usize = 1024;
/// Longest answer in tokens, and what is written where the request does not say.
const MAX_TOKENS: usize = 128;
/// Pieces that wait for a slow client at most; then the model waits.
const PIECES: usize = 64;

const MODEL: &str = "teacher";

struct Shared {
    writer: Arc<Writer>,
    accounts: Accounts,
    /// A permit per answer that may be written at the same time.
    cores: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
}

pub(crate) fn router(writer: Arc<Writer>, accounts: Accounts) -> anyhow::Result<Router> {
    let cores = std::thread::available_parallelism()?.get();
    let (cores, waiting) = (Arc::new(Semaphore::new(cores)), Arc::new(Semaphore::new(MAX_WAITING)));
    Ok(Router::new()
        .route("/v1/models", get(models))
        .route("/v1/chat/completions", post(chat))
        .route("/v1/completions", post(completions))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(Arc::new(Shared { writer, accounts, cores, waiting })))
}

/// The fields of both kinds of request. What would change the answer and is not done here is refused, not ignored.
#[derive(Deserialize)]
struct Request {
    model: String,
    messages: Option<Vec<Message>>,
    prompt: Option<String>,
    #[serde(default)]
    stream: bool,
    temperature: Option<f32>,
    top_k: Option<usize>,
    top_p: Option<f64>,
    min_p: Option<f64>,
    max_tokens: Option<usize>,
    max_completion_tokens: Option<usize>,
    seed: Option<u64>,
    /// `false` asks for an unmarked answer.
    watermark: Option<bool>,
    n: Option<u32>,
    stop: Option<Value>,
    logprobs: Option<Value>,
    tools: Option<Value>,
    response_format: Option<Value>,
}

#[derive(Deserialize)]
struct Message {
    role: String,
    content: String,
}

/// An error in the interface's form.
struct Refusal(StatusCode, String);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let kind = if self.0.is_server_error() { "server_error" } else { "invalid_request_error" };
        let body = Json(json!({"error": {"message": self.1, "type": kind, "code": self.0.as_u16()}}));
        let mut response = (self.0, body).into_response();
        if self.0 == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static("1"));
        }
        response
    }
}

fn bad(message: impl Into<String>) -> Refusal {
    Refusal(StatusCode::BAD_REQUEST, message.into())
}

#[derive(Clone, Copy)]
enum Kind {
    Chat,
    Completion,
}

async fn models() -> Json<Value> {
    Json(json!({"object": "list", "data": [{"id": MODEL, "object": "model", "owned_by": "watermark"}]}))
}

async fn chat(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: String) -> Result<Response, Refusal> {
    answer(&shared, Kind::Chat, &headers, &body).await
}

async fn completions(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: String) -> Result<Response, Refusal> {
    answer(&shared, Kind::Completion, &headers, &body).await
}

/// Who asks, for what, and whether that may be had.
fn order(shared: &Shared, kind: Kind, headers: &HeaderMap, body: &str) -> Result<(Order, bool), Refusal> {
    let token = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    let account = token.and_then(|token| shared.accounts.by_token(token)).ok_or_else(|| {
        Refusal(StatusCode::UNAUTHORIZED, "send a known token: Authorization: Bearer TOKEN".to_owned())
    })?;
    let request: Request = serde_json::from_str(body).map_err(|error| bad(format!("the request: {error}")))?;
    if request.model != MODEL {
        return Err(Refusal(StatusCode::NOT_FOUND, format!("this server has one model, {MODEL}")));
    }
    if request.n.is_some_and(|n| n != 1) {
        return Err(bad("one answer a request: n is 1"));
    }
    let truthy = |value: &Option<Value>| !matches!(value, None | Some(Value::Null | Value::Bool(false)));
    for (name, value) in [
        ("stop", &request.stop),
        ("logprobs", &request.logprobs),
        ("tools", &request.tools),
        ("response_format", &request.response_format),
    ] {
        if truthy(value) {
            return Err(bad(format!("{name} is not offered here")));
        }
    }
    let prompt = match (kind, request.messages, request.prompt) {
        (Kind::Chat, Some(messages), None) => {
            // The teacher was trained on single questions.
            let last = messages.into_iter().rev().find(|message| message.role == "user");
            last.map(|message| message.content).ok_or_else(|| bad("no message of the role user"))?
        }
        (Kind::Completion, None, Some(prompt)) => prompt,
        (Kind::Chat, ..) => return Err(bad("give messages, and no prompt")),
        (Kind::Completion, ..) => return Err(bad("give prompt, a string, and no messages")),
    };
    let marked = request.watermark.unwrap_or(true);
    if !marked && !account.may_opt_out {
        return Err(Refusal(StatusCode::FORBIDDEN, "this account may not opt out of watermarking".to_owned()));
    }
    let temperature = request.temperature.unwrap_or(0.8);
    if marked && temperature <= 0.0 && !shared.writer.marker.marks_greedy() {
        return Err(bad("temperature 0 would leave the answer unmarked; use a higher one"));
    }
    let sampling = Sampling { temperature, top_k: request.top_k, top_p: request.top_p, min_p: request.min_p };
    let max_tokens = request.max_tokens.or(request.max_completion_tokens).unwrap_or(MAX_TOKENS);
    if !(1..=MAX_TOKENS).contains(&max_tokens) {
        return Err(bad(format!("max_tokens is {max_tokens}; it must be in 1..={MAX_TOKENS}")));
    }
    let seed = match request.seed {
        Some(seed) => seed,
        None => random().map(|bytes| u64::from_le_bytes(*bytes)).map_err(|error| internal(&error))?,
    };
    let account = account.account.clone();
    Ok((Order { prompt, account, marked, max_tokens, sampling, seed }, request.stream))
}

async fn answer(shared: &Arc<Shared>, kind: Kind, headers: &HeaderMap, body: &str) -> Result<Response, Refusal> {
    let (order, stream) = order(shared, kind, headers, body)?;
    // Invalid parameters are told before anything is sent.
    let begun = shared.writer.begin(order).map_err(|error| bad(format!("{error:#}")))?;
    let waiting = Arc::clone(&shared.waiting).try_acquire_owned().map_err(|_| {
        Refusal(StatusCode::SERVICE_UNAVAILABLE, "too many requests are waiting; come back in a second".to_owned())
    })?;
    let core = Arc::clone(&shared.cores).acquire_owned().await.map_err(|error| internal(&error.into()))?;
    drop(waiting);
    let id = random::<12>().map(|bytes| watermark_core::hex::encode(&*bytes)).map_err(|error| internal(&error))?;
    let frame = Frame { kind, id };
    let writer = Arc::clone(&shared.writer);
    if stream {
        return Ok(streamed(writer, begun, frame, core));
    }
    let written = tokio::task::spawn_blocking(move || {
        let _core = core;
        writer.write(begun, |_| true)
    });
    let written = written.await.map_err(|error| internal(&error.into()))?.map_err(|error| internal(&error))?;
    Ok(Json(frame.whole(&written)).into_response())
}

fn streamed(writer: Arc<Writer>, begun: Begun, frame: Frame, core: OwnedSemaphorePermit) -> Response {
    let (send, receive) = mpsc::channel::<String>(PIECES);
    tokio::task::spawn_blocking(move || {
        let _core = core;
        let written = writer.write(begun, |piece| send.blocking_send(frame.piece(piece).to_string()).is_ok());
        // A client that has gone misses nothing by these.
        let _ = match written {
            // Only now is the answer in the ledger.
            Ok(written) => send
                .blocking_send(frame.last(&written).to_string())
                .and_then(|()| send.blocking_send("[DONE]".to_owned())),
            Err(error) => send.blocking_send(json!({"error": {"message": format!("{error:#}")}}).to_string()),
        };
    });
    let events = ReceiverStream::new(receive).map(|data| Ok::<_, Infallible>(Event::default().data(data)));
    Sse::new(events).into_response()
}

/// The details stay in the server; a client learns that it was not at fault.
fn internal(error: &anyhow::Error) -> Refusal {
    #[expect(clippy::print_stderr, reason = "a command line program")]
    {
        eprintln!("error: {error:#}");
    }
    Refusal(StatusCode::INTERNAL_SERVER_ERROR, "the answer could not be written".to_owned())
}

/// The form of an answer.
struct Frame {
    kind: Kind,
    id: String,
}

impl Frame {
    fn object(&self, chunk: bool) -> &'static str {
        match (self.kind, chunk) {
            (Kind::Chat, false) => "chat.completion",
            (Kind::Chat, true) => "chat.completion.chunk",
            (Kind::Completion, _) => "text_completion",
        }
    }

    fn around(&self, chunk: bool, choice: Value) -> Value {
        json!({"id": self.id, "object": self.object(chunk), "model": MODEL, "choices": [choice]})
    }

    fn whole(&self, written: &Written) -> Value {
        let mut choice = json!({"index": 0, "finish_reason": finish(written)});
        match self.kind {
            Kind::Chat => choice["message"] = json!({"role": "assistant", "content": written.text}),
            Kind::Completion => choice["text"] = json!(written.text),
        }
        let mut whole = self.around(false, choice);
        whole["usage"] = json!({
            "prompt_tokens": written.prompt_tokens,
            "completion_tokens": written.tokens,
            "total_tokens": written.prompt_tokens + written.tokens,
        });
        tell_raised(&mut whole, &written.raised);
        whole
    }

    fn piece(&self, text: &str) -> Value {
        let choice = match self.kind {
            Kind::Chat => json!({"index": 0, "delta": {"role": "assistant", "content": text}, "finish_reason": null}),
            Kind::Completion => json!({"index": 0, "text": text, "finish_reason": null}),
        };
        self.around(true, choice)
    }

    fn last(&self, written: &Written) -> Value {
        let mut choice = json!({"index": 0, "finish_reason": finish(written)});
        match self.kind {
            Kind::Chat => choice["delta"] = json!({}),
            Kind::Completion => choice["text"] = json!(""),
        }
        let mut last = self.around(true, choice);
        tell_raised(&mut last, &written.raised);
        last
    }
}

/// What the profile's sampling policy raised in the request, if anything: `{"raised": {"temperature": {"from": 0.0, "to": 0.5}}}`.
fn tell_raised(answer: &mut Value, raised: &Raised) {
    if let Some(Change { from, to }) = raised.temperature {
        answer["raised"]["temperature"] = json!({"from": from, "to": to});
    }
    if let Some(Change { from, to }) = raised.top_p {
        answer["raised"]["top_p"] = json!({"from": from, "to": to});
    }
}

fn finish(written: &Written) -> &'static str {
    if written.ended { "stop" } else { "length" }
}
