//! Claims about what becomes of a response's body.

use serde_json::{Value, json};

use crate::calls::{call, line, output};
use crate::server::{Reply, Server, response};

const JSON: &str = "content-type: application/json\r\n";

async fn get(response: Vec<u8>) -> runproof_engine::skill::Attempt {
    let server = Server::answering(response).await;
    call(json!({"url": server.url("/")})).await
}

async fn check(headers: &str, body: impl AsRef<[u8]>, kind: &str, expected: Value, numbers_as_text: bool) {
    let attempt = get(response(200, headers, body)).await;
    let output = output(&attempt);
    assert_eq!((&output["body_kind"], &output["body"]), (&json!(kind), &expected));
    assert_eq!(output.get("numbers_as_text"), numbers_as_text.then_some(&json!(true)));
}

#[tokio::test]
async fn json_is_taken_as_json_when_the_receiver_says_so() {
    let value = json!({"a": [1, true, null, "x"]});
    for kind in ["application/json", "Application/JSON; charset=utf-8", "application/problem+json", "text/json"] {
        check(&format!("content-type: {kind}\r\n"), value.to_string(), "json", value.clone(), false).await;
    }
    for headers in ["", "content-type: text/html\r\n", "content-type: application/jsonx\r\n"] {
        check(headers, "{\"a\":1}", "text", json!("{\"a\":1}"), false).await;
    }
}

#[tokio::test]
async fn numbers_that_are_not_integers_become_text_and_the_output_says_so() {
    let body = r#"{"price": 0.10, "big": 9007199254740993, "n": -5, "list": [1e400]}"#;
    let expected = json!({"price": "0.10", "big": "9007199254740993", "n": -5, "list": ["1e400"]});
    check(JSON, body, "json", expected, true).await;
}

#[tokio::test]
async fn nul_becomes_the_replacement_character_in_json_and_in_text() {
    check(JSON, r#"{"t": "a\u0000b"}"#, "json", json!({"t": "a\u{fffd}b"}), false).await;
    check("", "a\0b", "text", json!("a\u{fffd}b"), false).await;
}

#[tokio::test]
async fn json_that_has_no_single_meaning_stays_text() {
    let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    for body in ["{\"a\":1,\"a\":2}".to_owned(), "{not json".to_owned(), "\"\\ud800\"".to_owned(), deep(13), deep(5000)]
    {
        check(JSON, &body, "text", json!(body), false).await;
    }
    check(JSON, deep(12), "json", serde_json::from_str(&deep(12)).expect("JSON"), false).await;
}

#[tokio::test]
async fn bytes_that_are_not_utf_8_become_base64() {
    check(JSON, [0xff, 0xfe, 0x00], "base64", json!("//4A"), false).await;
}

#[tokio::test]
async fn an_empty_body_is_none() {
    check(JSON, "", "none", Value::Null, false).await;
    let attempt = get(b"HTTP/1.1 204 X\r\n\r\n".to_vec()).await;
    assert_eq!(output(&attempt)["body_kind"], "none");
    let server = Server::answering("HTTP/1.1 200 X\r\ncontent-length: 99999999\r\n\r\n").await;
    let attempt = call(json!({"url": server.url("/"), "method": "HEAD"})).await;
    assert_eq!(output(&attempt)["body_kind"], "none");
}

#[tokio::test]
async fn an_answer_beyond_what_can_be_recorded_is_a_final_failure_in_every_class() {
    let limit = 1024 * 1024;
    let attempt = get(response(200, "", "x".repeat(limit - 1024))).await;
    assert_eq!(output(&attempt)["body"].as_str().map(str::len), Some(limit - 1024));
    let server = Server::answering(response(200, "", "x".repeat(limit))).await;
    for method in ["GET", "PUT", "POST"] {
        let attempt = call(json!({"url": server.url("/"), "method": method})).await;
        assert_eq!(line(&attempt), "failed: http.body_too_large Client final");
        assert_eq!(attempt.cost_microcents, 1_000);
    }
}

#[tokio::test]
async fn an_endless_body_is_read_only_to_the_limit() {
    let mut bytes = b"HTTP/1.1 200 X\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    for _ in 0..200 {
        bytes.extend_from_slice(b"4000\r\n");
        bytes.resize(bytes.len() + 0x4000, b'x');
        bytes.extend_from_slice(b"\r\n");
    }
    assert_eq!(line(&get(bytes).await), "failed: http.body_too_large Client final");
}

#[tokio::test]
async fn a_body_that_grows_beyond_the_output_limit_is_too_large() {
    let attempt = get(response(200, "", "\u{1}".repeat(300_000))).await;
    assert_eq!(line(&attempt), "failed: http.body_too_large Client final");
}

#[tokio::test]
async fn a_body_that_breaks_off_is_retried_where_repeating_is_harmless_and_unknown_where_it_is_not() {
    let cut = "HTTP/1.1 200 X\r\ncontent-length: 100\r\n\r\nonly this";
    let reset = Server::start(move |_| Reply::Reset(cut.as_bytes().to_vec())).await;
    for server in [Server::answering(cut).await, reset] {
        let method = async |method: &str| line(&call(json!({"url": server.url("/"), "method": method})).await);
        assert_eq!(method("GET").await, "failed: http.connection_lost Network retryable");
        assert_eq!(method("PUT").await, "failed: http.connection_lost Network retryable");
        assert_eq!(method("POST").await, "unknown: http.connection_lost Network final");
    }
}
