//! Reads the parameters of `http_call` and says which effect class they ask for. Sends nothing, resolves nothing.

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Url};
use runproof_engine::skill::{EffectClass, ParamFinding};
use serde_json::Value;

use super::MAX_INPUT_BYTES;
use crate::params::{Reader, Stage};

/// Longest URL.
pub(super) const MAX_URL_BYTES: usize = 8192;
/// Most headers.
pub(super) const MAX_HEADERS: usize = 64;
/// Most status codes in `expect`.
pub(super) const MAX_EXPECTED: usize = 64;
/// Deepest nesting of the parameters.
const MAX_DEPTH: usize = 32;

/// Headers that HTTP or this skill sets itself. A second opinion about where a message ends or whom it is for is how
/// requests are smuggled.
pub(super) const REFUSED_HEADERS: &[&str] = &[
    "connection",
    "content-length",
    "expect",
    "host",
    "idempotency-key",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// A request whose parameters are right.
pub(super) struct Request {
    pub(super) method: Method,
    pub(super) url: Url,
    /// The caller's headers, with the body's content type.
    pub(super) headers: HeaderMap,
    pub(super) body: Option<Vec<u8>>,
    /// `None` expects 200 to 399.
    pub(super) expect: Option<Vec<u16>>,
    pub(super) follow_redirects: bool,
    pub(super) probe_url: Option<Url>,
}

const METHODS: &[(&str, Method)] = &[
    ("GET", Method::GET),
    ("PUT", Method::PUT),
    ("POST", Method::POST),
    ("PATCH", Method::PATCH),
    ("DELETE", Method::DELETE),
    ("HEAD", Method::HEAD),
    ("OPTIONS", Method::OPTIONS),
];

/// The effect class that the parameters ask for. What is not known yet counts as unsafe.
pub(super) fn effect(params: &Value) -> EffectClass {
    let method = match params.get("method") {
        None => "GET",
        Some(method) => method.as_str().unwrap_or_default(),
    };
    match method {
        "GET" | "HEAD" | "OPTIONS" => EffectClass::Read,
        "PUT" | "DELETE" => EffectClass::Idempotent,
        "POST" | "PATCH" if params.get("idempotent") == Some(&Value::Bool(true)) => EffectClass::Idempotent,
        "POST" | "PATCH" if params.get("probe_url").is_some() => EffectClass::Probeable,
        _ => EffectClass::Unsafe,
    }
}

/// Whether a call with this method only reads.
pub(super) fn is_read(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// Reads the parameters. There is a request only at [`Stage::Resolved`], and only when nothing was found.
pub(super) fn read(params: &Value, stage: Stage) -> (Option<Request>, Vec<ParamFinding>) {
    let mut reader = Reader::new(params, stage);
    reader.within(params, MAX_DEPTH, MAX_INPUT_BYTES);
    reader.need("url");
    let target = url(&mut reader, "url");
    let method = method(&mut reader);
    let headers = headers(&mut reader);
    let content = content(&mut reader);
    let expect = expect(&mut reader);
    let follow = reader.boolean("follow_redirects");
    reader.boolean("idempotent");
    let probe_url = url(&mut reader, "probe_url");
    if let Some(method) = &method {
        judge_together(&mut reader, method, follow);
    }
    let findings = reader.finish();
    if stage == Stage::Planned || !findings.is_empty() {
        return (None, findings);
    }
    let request = target.zip(method).map(|(url, method)| {
        let follow_redirects = follow.unwrap_or(true) && matches!(method, Method::GET | Method::HEAD);
        let (headers, body) = with_content(headers, content);
        Request { method, url, headers, body, expect, follow_redirects, probe_url }
    });
    (request, findings)
}

fn method(reader: &mut Reader<'_>) -> Option<Method> {
    let given = reader.has("method");
    let method = reader.word("method", METHODS);
    if given { method } else { Some(Method::GET) }
}

/// A parameter that would have no effect with this method is refused rather than ignored.
fn judge_together(reader: &mut Reader<'_>, method: &Method, follow: Option<bool>) {
    let reads_one = matches!(*method, Method::GET | Method::HEAD);
    for name in ["body", "text"] {
        if reads_one && reader.has(name) {
            reader.find(name, format!("is not sent with {method}"));
        }
    }
    if follow == Some(true) && !reads_one {
        reader.find("follow_redirects", "is for GET and HEAD only");
    }
    if is_read(method) && reader.has("probe_url") {
        reader.find("probe_url", format!("{method} has no effect to ask about"));
    }
}

fn url(reader: &mut Reader<'_>, name: &'static str) -> Option<Url> {
    let text = reader.text(name)?;
    match parse_url(text) {
        Ok(url) => Some(url),
        Err(problem) => {
            reader.find(name, problem);
            None
        }
    }
}

/// Stricter than the URL standard, which repairs white space, backslashes and missing slashes: what is judged here and
/// shown to people is then the text that was written.
fn parse_url(text: &str) -> Result<Url, &'static str> {
    if text.len() > MAX_URL_BYTES {
        return Err("is longer than 8192 bytes");
    }
    if text.chars().any(|c| c.is_whitespace() || c.is_control() || c == '\\') {
        return Err("holds white space, a control character or a backslash");
    }
    let (scheme, rest) = text.split_once("://").ok_or("is not an http or https URL")?;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return Err("is not an http or https URL");
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') {
        return Err("holds a user name or password: send an `authorization` header instead");
    }
    if authority.is_empty() {
        return Err("has no host");
    }
    let mut url = Url::parse(text).map_err(|_| "is not a URL")?;
    url.set_fragment(None);
    Ok(url)
}

fn headers(reader: &mut Reader<'_>) -> HeaderMap {
    let mut map = HeaderMap::new();
    let Some(members) = reader.object("headers") else {
        return map;
    };
    if members.len() > MAX_HEADERS {
        reader.find("headers", format!("has more than {MAX_HEADERS} members"));
        return map;
    }
    for (name, value) in members {
        let path = format!("headers.{name}");
        let Ok(header) = HeaderName::from_bytes(name.as_bytes()) else {
            reader.find(path, "is not a header name");
            continue;
        };
        if REFUSED_HEADERS.contains(&header.as_str()) {
            reader.find(path, "is set by runproof");
            continue;
        }
        // Visible ASCII only: other bytes mean different things to different receivers, and CR or LF begin a header.
        let plain = |text: &&str| text.bytes().all(|byte| matches!(byte, b'\t' | b' '..=b'~'));
        let header_value = value.as_str().filter(plain).and_then(|text| HeaderValue::from_str(text).ok());
        match header_value {
            Some(header_value) => {
                if map.insert(header, header_value).is_some() {
                    reader.find(path, "is there twice");
                }
            }
            None if reader.is_open(value) => {}
            None => reader.find(path, "must be a string of visible ASCII"),
        }
    }
    map
}

/// What is sent.
enum Content<'a> {
    Json(&'a Value),
    Text(&'a str),
}

fn content<'a>(reader: &mut Reader<'a>) -> Option<Content<'a>> {
    let json = reader.any("body");
    let text = reader.text("text");
    if reader.has("body") && reader.has("text") {
        reader.find("text", "cannot be sent together with `body`");
    }
    json.map(Content::Json).or(text.map(Content::Text))
}

fn with_content(mut headers: HeaderMap, content: Option<Content<'_>>) -> (HeaderMap, Option<Vec<u8>>) {
    let (bytes, content_type) = match content {
        None => return (headers, None),
        Some(Content::Json(json)) => (serde_json::to_vec(json).unwrap_or_default(), "application/json"),
        Some(Content::Text(text)) => (text.as_bytes().to_vec(), "text/plain; charset=utf-8"),
    };
    headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static(content_type));
    (headers, Some(bytes))
}

fn expect(reader: &mut Reader<'_>) -> Option<Vec<u16>> {
    let items = reader.list("expect")?;
    if items.is_empty() || items.len() > MAX_EXPECTED {
        reader.find("expect", format!("must hold 1 to {MAX_EXPECTED} status codes"));
    }
    let mut codes = Vec::with_capacity(items.len().min(MAX_EXPECTED));
    for (position, item) in items.iter().enumerate().take(MAX_EXPECTED) {
        match item.as_u64().and_then(|code| u16::try_from(code).ok()).filter(|code| (200..=599).contains(code)) {
            Some(code) => codes.push(code),
            None if reader.is_open(item) => {}
            None => reader.find(format!("expect[{position}]"), "must be a status code from 200 to 599"),
        }
    }
    Some(codes)
}
