use std::{io::Read, sync::Arc};

use super::{BadRecord, BadRecordKind, Body, Location, ReadError, Record, container::Content, error::Flaw};

/// The whole of `content` as one text.
pub(super) fn read(content: Content, source: &Arc<str>, limit: usize) -> Result<Result<Record, BadRecord>, ReadError> {
    let mut bytes = Vec::new();
    content
        .stream
        .take((limit as u64).saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(|error| ReadError::from_io(source, content.compression, &error))?;
    let location = Location::new(source, 1, Some((content.skipped as u64, (content.skipped + bytes.len()) as u64)));
    if bytes.len() > limit {
        return Ok(Err(Flaw::too_long("the text", limit).at(location)));
    }
    if let Some(offset) = bytes.iter().position(|&byte| byte == 0) {
        let offset = content.skipped + offset;
        let message =
            format!("a NUL byte at {offset} (counted from 0): no text; if it is UTF-16 or UTF-32, convert it");
        return Ok(Err(Flaw::new(BadRecordKind::NulBytes, message).at(location)));
    }
    Ok(match String::from_utf8(bytes) {
        Ok(text) => {
            let body = Body::Text { prompt: None, text };
            Ok(Record { location, id: None, schema: "plain text", continues: false, body, issued: None })
        }
        Err(error) => {
            let offset = content.skipped + error.utf8_error().valid_up_to();
            Err(Flaw::new(
                BadRecordKind::InvalidUtf8,
                format!("not UTF-8 at byte {offset} (counted from 0); convert it to UTF-8, for example with `iconv`"),
            )
            .at(location))
        }
    })
}
