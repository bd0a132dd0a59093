//! Responses of time-stamp authorities. What reads them is the program `openssl`, which the fuzzer cannot see into; this looks
//! for what becomes of its answers.

use std::cell::OnceCell;
use std::path::PathBuf;

use watermark_toolkit::timestamp::{TimeStamp, verify_bytes};

use crate::folder::Folder;

/// A response of a throw-away authority over the digest, and the authority's certificate, valid until 2126.
const RESPONSE: &[u8] = include_bytes!("../seeds/response.tsr");
const AUTHORITY: &[u8] = include_bytes!("../seeds/authority.pem");
const DIGEST: &str = "ca2fe80680584cc13ea8288c0ca1db7159e62f523c73775ef7ceecd062bf15a1";
const TIME: &str = "2026-11-25T04:22:20Z";

thread_local! {
    static AUTHORITY_FILE: OnceCell<(Folder, PathBuf)> = const { OnceCell::new() };
}

/// A response, and ones with words of somebody else beside the signed part.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let texts = ["granted", "x\nTime stamp: Jan  1 00:00:00 2020 GMT\n", "\u{1b}[2J", ""];
    let told = texts.iter().map(|text| with_status_text(text.as_bytes()));
    std::iter::once(RESPONSE.to_vec()).chain(told).collect()
}

/// The response with a `statusString`, which no signature covers.
fn with_status_text(text: &[u8]) -> Vec<u8> {
    let [0x30, 0x82, _, _, 0x30, status, rest @ ..] = RESPONSE else { panic!("another kind of response") };
    let (status, token) = rest.split_at(usize::from(*status));
    let text = der(0x30, &der(0x0c, text));
    der(0x30, &[der(0x30, &[status, &text].concat()), token.to_vec()].concat())
}

fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap().to_be_bytes();
    [&[tag, 0x82], &length[..], content].concat()
}

/// The bytes as a response. Where it holds, the time is the one that the authority signed.
pub fn run(bytes: &[u8]) {
    let found = AUTHORITY_FILE.with(|file| {
        let (_, authority) = file.get_or_init(|| {
            let folder = Folder::new();
            let path = folder.write("authority.pem", AUTHORITY);
            (folder, path)
        });
        verify_bytes(bytes, DIGEST, authority)
    });
    match found.expect("openssl verifies and shows what it verified") {
        TimeStamp::Holds(time) => assert_eq!(time, TIME, "a time that nobody signed"),
        TimeStamp::DoesNotHold(why) => {
            assert!(!why.contains(char::is_control) && why.chars().count() <= 210, "{why:?}");
        }
    }
}
