//! A scripted HTTP server: the faults of servers are what it is for.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) at: Instant,
    pub(crate) path: String,
    /// All header lines.
    pub(crate) head: String,
    pub(crate) body: Value,
    pub(crate) prompt: String,
    /// How often this prompt was asked before.
    pub(crate) before: usize,
}

/// What the server does with a request.
pub(crate) enum Reply {
    /// Status, further header lines (each with CRLF), body.
    Whole(u16, String, String),
    /// Half of the body, then the connection is cut.
    Cut(String),
    /// Half of the body, then nothing for so long.
    Stall(String, Duration),
    /// The connection is closed without a byte.
    Nothing,
}

/// Runs until the test process ends.
pub(crate) struct Server {
    pub(crate) base: String,
    log: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    pub(crate) fn start(script: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("http://{}/v1", listener.local_addr().unwrap());
        let log = Arc::new(Mutex::new(Vec::new()));
        let (script, shared) = (Arc::new(script), Arc::clone(&log));
        let seen = Arc::new(Mutex::new(HashMap::<String, usize>::new()));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (script, shared, seen) = (Arc::clone(&script), Arc::clone(&shared), Arc::clone(&seen));
                std::thread::spawn(move || {
                    let mut stream = stream.unwrap();
                    // A client that was killed sends nothing.
                    let Some(mut request) = read(&stream) else { return };
                    {
                        let mut seen = seen.lock().unwrap();
                        let before = seen.entry(request.prompt.clone()).or_default();
                        request.before = *before;
                        *before += 1;
                    }
                    shared.lock().unwrap().push(request.clone());
                    let _ = write(&mut stream, script(&request));
                    let _ = stream.shutdown(Shutdown::Both);
                });
            }
        });
        Self { base, log }
    }

    /// Every request so far, in order of arrival.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.log.lock().unwrap().clone()
    }
}

fn read(stream: &TcpStream) -> Option<Request> {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let length = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok())?;
    let mut bytes = vec![0; length];
    reader.read_exact(&mut bytes).ok()?;
    let body: Value = serde_json::from_slice(&bytes).ok()?;
    let prompt = body["prompt"].as_str().or(body["messages"][0]["content"].as_str())?.to_owned();
    let path = head.split(' ').nth(1)?.to_owned();
    Some(Request { at: Instant::now(), path, head, body, prompt, before: 0 })
}

fn write(stream: &mut TcpStream, reply: Reply) -> std::io::Result<()> {
    let start = |status: u16, headers: &str, length: usize| {
        format!("HTTP/1.1 {status} Status\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n")
    };
    match reply {
        Reply::Nothing => Ok(()),
        Reply::Whole(status, headers, body) => {
            stream.write_all((start(status, &headers, body.len()) + &body).as_bytes())
        }
        Reply::Cut(body) => stream.write_all((start(200, "", body.len()) + &body[..body.len() / 2]).as_bytes()),
        Reply::Stall(body, time) => {
            stream.write_all((start(200, "", body.len()) + &body[..body.len() / 2]).as_bytes())?;
            std::thread::sleep(time);
            stream.write_all(&body.as_bytes()[body.len() / 2..])
        }
    }
}

/// A chat answer. Its `usage` lies.
pub(crate) fn chat(text: &str) -> String {
    json!({"id": "x", "object": "chat.completion", "usage": {"prompt_tokens": -7, "completion_tokens": 1e9, "total_tokens": "?"},
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}]})
    .to_string()
}

pub(crate) fn ok(body: String) -> Reply {
    Reply::Whole(200, "Content-Type: application/json\r\n".to_owned(), body)
}
