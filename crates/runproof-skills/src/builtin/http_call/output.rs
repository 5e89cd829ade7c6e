//! Reads the body of a response and writes the output of `http_call`. Judges no status.

use data_encoding::BASE64;
use reqwest::Response;
use reqwest::header::{CONTENT_TYPE, HeaderMap};
use serde_json::{Map, Value, json};

use super::{MAX_BODY_BYTES, MAX_OUTPUT_BYTES};
use crate::params::size;
use crate::strict_json::{take, without_nul};
use crate::transport::Fault;

/// Headers that go into the output. Others differ with every answer or belong to the connection.
pub(super) const KEPT_HEADERS: &[&str] =
    &["content-type", "etag", "last-modified", "location", "retry-after", "x-request-id"];
/// Deepest JSON body that is taken as JSON.
const MAX_BODY_DEPTH: usize = 12;

/// Why there is no output.
pub(super) enum NoOutput {
    /// The body, or the output with it, is beyond its limit.
    TooLarge,
    /// The connection failed while the body was read.
    Fault(Fault),
}

/// Reads the rest of a response into an output.
pub(super) async fn of(mut response: Response) -> Result<Value, NoOutput> {
    let host = response.url().host_str().unwrap_or_default().to_owned();
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| NoOutput::Fault(Fault::body(&error, &host)))? {
        if bytes.len() + chunk.len() > MAX_BODY_BYTES {
            return Err(NoOutput::TooLarge);
        }
        bytes.extend_from_slice(&chunk);
    }
    let body = Body::of(bytes, is_json(response.headers()));
    let mut output = Map::new();
    output.insert("status".to_owned(), response.status().as_u16().into());
    output.insert("address".to_owned(), response.remote_addr().map(|address| address.to_string()).into());
    output.insert("url".to_owned(), response.url().as_str().into());
    output.insert("headers".to_owned(), kept_headers(response.headers()));
    output.insert("body".to_owned(), body.value);
    output.insert("body_kind".to_owned(), body.kind.into());
    if body.numbers_as_text {
        output.insert("numbers_as_text".to_owned(), json!(true));
    }
    let output = Value::Object(output);
    // Escapes can make a body many times as long as it was on the wire.
    if size(&output) > MAX_OUTPUT_BYTES {
        return Err(NoOutput::TooLarge);
    }
    Ok(output)
}

struct Body {
    kind: &'static str,
    value: Value,
    numbers_as_text: bool,
}

impl Body {
    fn of(bytes: Vec<u8>, is_json: bool) -> Self {
        let plain = |kind, value| Self { kind, value, numbers_as_text: false };
        if bytes.is_empty() {
            return plain("none", Value::Null);
        }
        let Ok(text) = std::str::from_utf8(&bytes) else {
            return plain("base64", BASE64.encode(&bytes).into());
        };
        match is_json.then(|| take(text, MAX_BODY_DEPTH)).flatten() {
            Some(taken) => Self { kind: "json", value: taken.value, numbers_as_text: taken.numbers_as_text },
            None => plain("text", without_nul(text).into()),
        }
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let Some(content_type) = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()) else {
        return false;
    };
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    matches!(essence.as_str(), "application/json" | "text/json") || essence.ends_with("+json")
}

/// Several values of one header are joined as HTTP would.
fn kept_headers(headers: &HeaderMap) -> Value {
    let mut kept = Map::new();
    for name in KEPT_HEADERS {
        let values: Vec<_> = headers.get_all(*name).iter().map(|v| String::from_utf8_lossy(v.as_bytes())).collect();
        if !values.is_empty() {
            kept.insert((*name).to_owned(), values.join(", ").into());
        }
    }
    Value::Object(kept)
}
