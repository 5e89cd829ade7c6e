//! Claims about the parameters of `http_call` and the effect class that they ask for.

use runproof_engine::skill::EffectClass;
use serde_json::{Value, json};

use crate::calls::{call, http};
use crate::contract::{accepted, contract, refused, refused_beyond_schema};
use crate::server::{Server, response};

#[tokio::test]
async fn http_call_holds_the_contract() {
    let json = "content-type: application/json\r\n";
    let server = Server::answering(response(200, json, r#"{"price": 1.5, "n": 3, "t": "a\u0000b"}"#)).await;
    let missing = Server::answering(response(404, "", "")).await;
    let url = server.url("/");
    let cases = [
        accepted(json!({"url": url})),
        accepted(json!({"url": url, "method": "HEAD"})),
        accepted(json!({"url": url, "method": "OPTIONS", "body": {}})),
        accepted(json!({"url": url, "method": "POST", "body": null, "idempotent": true})),
        accepted(json!({"url": url, "method": "PATCH", "text": "t", "probe_url": url, "follow_redirects": false})),
        accepted(json!({"url": url, "method": "DELETE", "expect": [200, 204], "headers": {"X-A": "b\tc"}})),
        accepted(json!({"url": url, "expect": [204]})),
        accepted(json!({"url": missing.url("/x?y=1#z")})),
        accepted(json!({"url": "HTTP://10.0.0.1:1/"})),
        accepted(json!({"url": "https://{{steps.a.host}}/", "method": "{{steps.b}}", "expect": ["{{c}}", 200]})),
        accepted(json!({"url": "secret://HOOK", "headers": {"authorization": "Bearer secret://T\u{e9}"}})),
        accepted(json!({"url": url, "headers": "{{steps.a}}", "expect": "{{steps.b}}", "idempotent": "{{c}}"})),
    ];
    contract(&http(), &cases.into_iter().chain(refusals(&url)).collect::<Vec<_>>()).await;
    let sent = server.requests().len();
    assert_eq!(sent, 7, "one request for each accepted call, none for a refused one");
}

fn refusals(url: &str) -> Vec<crate::contract::Case> {
    let headers = |headers: Value| refused(json!({"url": url, "headers": headers}));
    vec![
        refused(json!("https://example.com")),
        refused(json!({})),
        refused(json!({"url": 5})),
        refused(json!({"url": ""})),
        refused(json!({"url": "/relative"})),
        refused(json!({"url": "ftp://example.com/"})),
        refused(json!({"url": "file:///etc/passwd"})),
        refused(json!({"url": "http:/example.com"})),
        refused(json!({"url": "http://"})),
        refused(json!({"url": "http:///path"})),
        refused(json!({"url": "https://user:pass@example.com/"})),
        refused(json!({"url": "https://@example.com/"})),
        refused(json!({"url": "https://example.com\\@evil.example/"})),
        refused(json!({"url": " https://example.com/"})),
        refused(json!({"url": "https://exa\nmple.com/"})),
        refused(json!({"url": "https://example.com/a\u{7f}b"})),
        refused(json!({"url": format!("https://example.com/{}", "a".repeat(8192))})),
        refused_beyond_schema(json!({"url": "https://999.1.1.1/"})),
        refused_beyond_schema(json!({"url": "https://example.com:99999/"})),
        refused(json!({"url": url, "method": "get"})),
        refused(json!({"url": url, "method": "TRACE"})),
        refused(json!({"url": url, "method": null})),
        refused(json!({"url": url, "body": {}})),
        refused(json!({"url": url, "method": "HEAD", "text": ""})),
        refused(json!({"url": url, "method": "POST", "text": "t", "body": 1})),
        refused(json!({"url": url, "method": "POST", "text": 1})),
        refused(json!({"url": url, "method": "POST", "follow_redirects": true})),
        refused(json!({"url": url, "probe_url": url})),
        refused(json!({"url": url, "method": "POST", "probe_url": "ftp://x/"})),
        refused(json!({"url": url, "expect": []})),
        refused(json!({"url": url, "expect": [199]})),
        refused(json!({"url": url, "expect": [600]})),
        refused(json!({"url": url, "expect": ["200"]})),
        refused(json!({"url": url, "expect": vec![200; 65]})),
        refused(json!({"url": url, "idempotent": "yes"})),
        headers(json!({"Host": "a"})),
        headers(json!({"content-length": "1"})),
        headers(json!({"TRANSFER-Encoding": "chunked"})),
        headers(json!({"connection": "close"})),
        headers(json!({"Idempotency-Key": "k"})),
        headers(json!({"x": "a\r\nb: c"})),
        headers(json!({"x": "a\nb"})),
        headers(json!({"x": "\u{e9}"})),
        headers(json!({"x": 1})),
        headers(json!({"": "a"})),
        headers(json!({"a b": "c"})),
        headers(json!({"a:": "c"})),
        headers(json!(["a"])),
        headers((0..65).map(|n| (format!("x-{n}"), json!("v"))).collect()),
        refused_beyond_schema(json!({"url": url, "headers": {"X-A": "1", "x-a": "2"}})),
        refused_beyond_schema(json!({"url": url, "method": "POST", "text": "t".repeat(1024 * 1024)})),
    ]
}

#[test]
fn every_finding_is_reported_at_once_and_none_quotes_a_value() {
    let params =
        json!({"url": "ftp://s3cret", "method": "s3cret", "headers": {"x": "s3cret\n", "Host": "s3cret"}, "q": 1});
    let findings = http().check(&params);
    let paths: Vec<_> = findings.iter().map(|finding| finding.path.as_str()).collect();
    assert_eq!(paths, ["url", "method", "headers.Host", "headers.x", "q"]);
    assert!(findings.iter().all(|finding| !finding.message.contains("s3cret")), "{findings:?}");
}

#[test]
fn the_effect_class_follows_the_method_and_what_the_receiver_promises() {
    let check = |params: Value, expected| assert_eq!(http().effect(&params), expected, "{params}");
    check(json!({}), EffectClass::Read);
    for method in ["GET", "HEAD", "OPTIONS"] {
        check(json!({"method": method}), EffectClass::Read);
    }
    for method in ["PUT", "DELETE"] {
        check(json!({"method": method}), EffectClass::Idempotent);
        check(json!({"method": method, "probe_url": "http://a/"}), EffectClass::Idempotent);
    }
    for method in ["POST", "PATCH"] {
        check(json!({"method": method}), EffectClass::Unsafe);
        check(json!({"method": method, "idempotent": false}), EffectClass::Unsafe);
        check(json!({"method": method, "idempotent": "{{steps.a}}"}), EffectClass::Unsafe);
        check(json!({"method": method, "idempotent": true}), EffectClass::Idempotent);
        check(json!({"method": method, "probe_url": "http://a/"}), EffectClass::Probeable);
        check(json!({"method": method, "idempotent": true, "probe_url": "http://a/"}), EffectClass::Idempotent);
    }
    for method in [json!("{{steps.a}}"), json!("get"), json!(null), json!(1)] {
        check(json!({"method": method}), EffectClass::Unsafe);
    }
}

#[tokio::test]
async fn a_request_says_who_sends_it_and_carries_the_key_when_it_may_act() {
    let server = Server::answering(response(200, "", "")).await;
    for method in ["GET", "HEAD", "OPTIONS"] {
        call(json!({"url": server.url("/"), "method": method})).await;
    }
    for method in ["PUT", "POST", "PATCH", "DELETE"] {
        call(json!({"url": server.url("/"), "method": method})).await;
    }
    let requests = server.requests();
    let keyed: Vec<_> = requests.iter().map(|request| request.contains("idempotency-key: MZXW6YTBOI\r\n")).collect();
    assert_eq!(keyed, [false, false, false, true, true, true, true]);
    assert!(requests.iter().all(|request| request.contains("user-agent: runproof/")), "{requests:?}");
}

#[tokio::test]
async fn a_body_is_sent_as_json_or_text_unless_a_header_names_another_type() {
    let server = Server::answering(response(200, "", "")).await;
    let post = async |mut params: Value| {
        params["url"] = server.url("/p?q=1").into();
        params["method"] = "POST".into();
        call(params).await;
        server.requests().last().expect("a request").clone()
    };
    let request = post(json!({"body": {"b": 1, "a": [true]}})).await;
    assert!(request.starts_with("POST /p?q=1 HTTP/1.1\r\n"), "{request}");
    assert!(
        request.contains("content-type: application/json\r\n") && request.ends_with("\r\n\r\n{\"a\":[true],\"b\":1}")
    );
    let request = post(json!({"text": "h\u{e9}"})).await;
    assert!(request.contains("content-type: text/plain; charset=utf-8\r\n") && request.ends_with("\r\n\r\nh\u{e9}"));
    let request = post(json!({"text": "a,b", "headers": {"Content-Type": "text/csv"}})).await;
    assert!(request.contains("content-type: text/csv\r\n") && !request.contains("text/plain"), "{request}");
    let request = post(json!({"body": null})).await;
    assert!(request.ends_with("\r\n\r\nnull"), "{request}");
    let request = post(json!({})).await;
    assert!(!request.contains("content-type") && request.ends_with("\r\n\r\n"), "{request}");
}
