//! Claims about what a status means, by effect class.

use std::time::Duration;

use serde_json::{Value, json};

use crate::calls::{call, failure, line, output};
use crate::server::{Server, response};

/// Parameters of one call in each class: read, idempotent, probeable, unsafe.
fn classes(server: &Server) -> [Value; 4] {
    let url = server.url("/?token=s3cret");
    [
        json!({"url": url}),
        json!({"url": url, "method": "PUT"}),
        json!({"url": url, "method": "POST", "probe_url": server.url("/probe")}),
        json!({"url": url, "method": "POST"}),
    ]
}

async fn check(status: u16, headers: &str, expected: [&str; 4]) {
    let server = Server::answering(response(status, headers, "secret body s3cret")).await;
    for (params, expected) in classes(&server).into_iter().zip(expected) {
        let attempt = call(params).await;
        assert_eq!(line(&attempt), expected, "{status}");
        assert_eq!(attempt.cost_microcents, 1_000, "{status} was dispatched");
        if expected != "done" {
            assert_eq!(failure(&attempt).message, format!("host `127.0.0.1` answered {status}"));
        }
    }
}

#[tokio::test]
async fn a_success_is_done_in_every_class() {
    for status in [200, 201, 202, 206] {
        check(status, "", ["done"; 4]).await;
    }
}

#[tokio::test]
async fn a_client_error_is_final_in_every_class() {
    check(400, "", ["failed: http.status_4xx Client final"; 4]).await;
    check(401, "", ["failed: http.unauthorized Auth final"; 4]).await;
    check(403, "", ["failed: http.unauthorized Auth final"; 4]).await;
    check(404, "", ["failed: http.not_found NotFound final"; 4]).await;
    check(409, "", ["failed: http.status_4xx Client final"; 4]).await;
    check(422, "", ["failed: http.status_4xx Client final"; 4]).await;
}

#[tokio::test]
async fn a_request_timeout_is_retried_only_where_repeating_is_harmless() {
    let (retryable, last) =
        ("failed: http.request_timeout Timeout retryable", "failed: http.request_timeout Timeout final");
    check(408, "", [retryable, retryable, last, last]).await;
}

#[tokio::test]
async fn a_rate_limit_is_not_done_in_every_class() {
    check(429, "", ["not done: http.rate_limited RateLimit retryable"; 4]).await;
    check(429, "retry-after: 7\r\n", ["not done: http.rate_limited RateLimit retryable"; 4]).await;
}

#[tokio::test]
async fn unavailable_with_a_time_to_come_back_is_not_done_in_every_class() {
    check(503, "retry-after: 7\r\n", ["not done: http.unavailable Server retryable"; 4]).await;
}

#[tokio::test]
async fn a_server_error_is_retried_where_repeating_is_harmless_and_final_where_it_is_not() {
    let (retryable, last) = ("failed: http.status_5xx Server retryable", "failed: http.status_5xx Server final");
    for status in [500, 501] {
        check(status, "", [retryable, retryable, last, last]).await;
    }
}

#[tokio::test]
async fn a_gateway_error_after_a_post_is_unknown() {
    let (retryable, unknown) = ("failed: http.status_5xx Server retryable", "unknown: http.status_5xx Server final");
    for status in [502, 503, 504, 520, 524] {
        check(status, "", [retryable, retryable, unknown, unknown]).await;
    }
    check(503, "retry-after: soon\r\n", [retryable, retryable, unknown, unknown]).await;
}

#[tokio::test]
async fn a_status_that_http_does_not_know_is_a_failure() {
    check(799, "", ["failed: http.unexpected_status Client final"; 4]).await;
}

#[tokio::test]
async fn the_receivers_time_is_kept_and_never_beyond_an_hour() {
    let wait = async |status: u16, header: &str| {
        let server = Server::answering(response(status, header, "")).await;
        failure(&call(json!({"url": server.url("/")})).await).retry_after.map(|wait| wait.as_secs())
    };
    assert_eq!(wait(429, "").await, None);
    assert_eq!(wait(429, "retry-after: 7\r\n").await, Some(7));
    assert_eq!(wait(429, "Retry-After: 86400\r\n").await, Some(3600));
    assert_eq!(wait(503, "retry-after: Sun, 06 Nov 1994 08:49:37 GMT\r\n").await, Some(0));
    assert_eq!(wait(503, "retry-after: Thu, 31 Dec 2099 23:59:59 GMT\r\n").await, Some(3600));
    assert_eq!(wait(500, "retry-after: 5\r\n").await, Some(Duration::from_secs(5).as_secs()));
    assert_eq!(wait(400, "retry-after: 5\r\n").await, None);
}

#[tokio::test]
async fn expect_decides_what_is_a_success() {
    let check = async |status: u16, method: &str, expect: Value, expected: &str| {
        let server = Server::answering(response(status, "location: /other\r\n", "")).await;
        let attempt = call(json!({"url": server.url("/"), "method": method, "expect": expect})).await;
        assert_eq!(line(&attempt), expected, "{method} {status} {expect}");
        assert_eq!(server.requests().len(), 1);
    };
    check(404, "GET", json!([200, 404]), "done").await;
    check(503, "POST", json!([503]), "done").await;
    check(302, "GET", json!([302]), "done").await;
    check(303, "POST", json!([303]), "done").await;
    check(200, "GET", json!([201]), "failed: http.unexpected_status Client final").await;
    check(200, "POST", json!([201]), "failed: http.unexpected_status Client final").await;
    check(404, "GET", json!([200]), "failed: http.not_found NotFound final").await;
    check(304, "GET", json!([200]), "failed: http.redirect_refused Client final").await;
}

#[tokio::test]
async fn the_output_says_where_the_answer_came_from_and_keeps_few_headers() {
    let headers =
        "content-type: text/plain\r\netag: \"e\"\r\nx-request-id: r1\r\nset-cookie: s=1\r\ndate: now\r\nx-a: b\r\n";
    let server = Server::answering(response(200, headers, "hello")).await;
    let attempt = call(json!({"url": server.url("/a?b=c#d")})).await;
    let expected = json!({
        "status": 200,
        "address": server.address().to_string(),
        "url": server.url("/a?b=c"),
        "headers": {"content-type": "text/plain", "etag": "\"e\"", "x-request-id": "r1"},
        "body": "hello",
        "body_kind": "text"
    });
    assert_eq!(output(&attempt), &expected);
}
