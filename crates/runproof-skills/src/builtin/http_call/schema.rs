//! The JSON Schemas of `http_call`. They say what `params.rs` accepts, as far as a schema can; a contract test compares.

use serde_json::{Value, json};

use super::params::{MAX_EXPECTED, MAX_HEADERS, MAX_URL_BYTES, REFUSED_HEADERS};

/// Schema of the parameters.
pub(super) fn input() -> Value {
    let reads_one = json!({"properties": {"method": {"enum": ["GET", "HEAD"]}}});
    let reads = json!({"properties": {"method": {"enum": ["GET", "HEAD", "OPTIONS"]}}});
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "additionalProperties": false,
        "required": ["url"],
        "properties": {
            "url": url("Where the request goes."),
            "method": {"enum": ["GET", "PUT", "POST", "PATCH", "DELETE", "HEAD", "OPTIONS"], "default": "GET"},
            "headers": headers(),
            "body": {"description": "Any JSON, sent as application/json unless `headers` names another content type."},
            "text": {"type": "string", "description": "Sent as text/plain unless `headers` names a content type."},
            "expect": {
                "description": "Acceptable status codes; without it 200 to 399 after redirects.",
                "type": "array",
                "minItems": 1,
                "maxItems": MAX_EXPECTED,
                "items": {"type": "integer", "minimum": 200, "maximum": 599}
            },
            "follow_redirects": {"type": "boolean", "default": true, "description": "For GET and HEAD only, three hops."},
            "idempotent": {
                "type": "boolean",
                "default": false,
                "description": "The receiver honours the Idempotency-Key header: repeating the call does nothing more."
            },
            "probe_url": url("Answers 2xx to a GET with the same Idempotency-Key when the call took effect, else 404.")
        },
        "not": {"required": ["body", "text"]},
        "allOf": [
            {"if": reads_one, "then": {"not": {"anyOf": [{"required": ["body"]}, {"required": ["text"]}]}}},
            {"if": reads, "then": {"not": {"required": ["probe_url"]}}},
            {
                "if": {"not": reads_one},
                "then": {"properties": {"follow_redirects": {"const": false}}}
            }
        ]
    })
}

/// Schema of the output.
pub(super) fn output() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "additionalProperties": false,
        "required": ["status", "address", "url", "headers", "body", "body_kind"],
        "properties": {
            "status": {"type": "integer", "minimum": 100, "maximum": 999},
            "address": {"type": ["string", "null"], "description": "Address and port that the connection went to."},
            "url": {"type": "string", "description": "Where the answer came from, after redirects."},
            "headers": {
                "type": "object",
                "propertyNames": {"enum": super::output::KEPT_HEADERS},
                "additionalProperties": {"type": "string"}
            },
            "body": {"description": "By `body_kind`: a JSON value, text, base64, or null."},
            "body_kind": {"enum": ["json", "text", "base64", "none"]},
            "numbers_as_text": {
                "const": true,
                "description": "Numbers in `body` that are not integers up to 2^53 - 1 are strings with their digits."
            }
        },
        "allOf": [
            {"if": {"properties": {"body_kind": {"enum": ["text", "base64"]}}}, "then": {"properties": {"body": {"type": "string"}}}},
            {"if": {"properties": {"body_kind": {"const": "none"}}}, "then": {"properties": {"body": {"type": "null"}}}}
        ]
    })
}

fn url(description: &str) -> Value {
    json!({
        "type": "string",
        "maxLength": MAX_URL_BYTES,
        "pattern": r"^[Hh][Tt][Tt][Pp][Ss]?://[^/?#@\\\s\x00-\x1f\x7f]+([/?#][^\\\s\x00-\x1f\x7f]*)?$",
        "description": description
    })
}

fn headers() -> Value {
    json!({
        "type": "object",
        "maxProperties": MAX_HEADERS,
        "propertyNames": {"pattern": "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$", "not": {"pattern": refused_headers()}},
        "additionalProperties": {"type": "string", "pattern": "^[\\t -~]*$"}
    })
}

/// A pattern for the refused names in any case: JSON Schema's patterns have no flag for that.
fn refused_headers() -> String {
    let either_case = |c: char| match c {
        'a'..='z' => format!("[{}{c}]", c.to_ascii_uppercase()),
        other => other.to_string(),
    };
    let names: Vec<String> = REFUSED_HEADERS.iter().map(|name| name.chars().map(either_case).collect()).collect();
    format!("^({})$", names.join("|"))
}
