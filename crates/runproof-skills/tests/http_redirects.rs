//! Claims about redirects: what is followed, what goes along, what is refused.

use serde_json::{Value, json};

use crate::calls::{call, dispatch, failure, line, output, skill};
use crate::server::{Reply, Server, response};

fn to(status: u16, location: &str) -> Vec<u8> {
    response(status, &format!("location: {location}\r\n"), "")
}

async fn redirecting(status: u16, location: &str) -> Server {
    Server::answering(to(status, location)).await
}

#[tokio::test]
async fn a_read_follows_redirects_to_the_final_answer() {
    let server = Server::start(|request| {
        Reply::Bytes(match request.split(' ').nth(1) {
            Some("/a") => to(301, "/b"),
            Some("/b") => to(307, "c?x=1#f"),
            Some("/c?x=1") => to(303, "/d"),
            _ => response(200, "", "end"),
        })
    })
    .await;
    let attempt = call(json!({"url": server.url("/a"), "headers": {"authorization": "Bearer t"}})).await;
    assert_eq!((&output(&attempt)["body"], &output(&attempt)["url"]), (&json!("end"), &json!(server.url("/d"))));
    assert_eq!(attempt.cost_microcents, 1_000, "one attempt, whatever it took");
    let requests = server.requests();
    assert_eq!(requests.len(), 4);
    assert!(
        requests.iter().all(|request| request.contains("authorization: Bearer t")),
        "the same origin keeps headers"
    );
}

#[tokio::test]
async fn more_than_three_redirects_are_a_failure() {
    let server = redirecting(302, "/again").await;
    let attempt = call(json!({"url": server.url("/")})).await;
    assert_eq!(line(&attempt), "failed: http.too_many_redirects Client final");
    assert_eq!(server.requests().len(), 4);
}

#[tokio::test]
async fn a_redirect_to_a_denied_address_is_refused_before_anything_is_sent_there() {
    let inside = Server::answering(response(200, "", "inside")).await;
    let port = inside.address().port();
    for host in ["127.0.0.1", "localhost", "2130706433", "[::ffff:127.0.0.1]", "0x7f.1"] {
        let server = redirecting(302, &format!("http://{host}:{port}/latest/meta-data")).await;
        let allowed = skill("http_call", &server.address().to_string());
        let attempt = allowed.invoke(&dispatch("http_call", json!({"url": server.url("/")}))).await;
        assert_eq!(line(&attempt), "not done: http.egress_denied Policy final", "{host}");
        assert_eq!(attempt.cost_microcents, 1_000, "the first hop was dispatched");
        let message = &failure(&attempt).message;
        assert!(message.contains("127.0.0.1") || message.contains("::1"), "{message}");
        assert!(message.contains("RUNPROOF_EGRESS_ALLOW") && !message.contains("meta-data"), "{message}");
    }
    assert_eq!(inside.requests().len(), 0);
}

#[tokio::test]
async fn only_harmless_headers_go_along_to_another_origin() {
    let other = Server::answering(response(200, "", "")).await;
    let server = redirecting(302, &other.url("/")).await;
    let headers = json!({"authorization": "s3cret", "cookie": "s3cret", "x-api-key": "s3cret", "accept": "text/plain"});
    assert_eq!(line(&call(json!({"url": server.url("/"), "headers": headers})).await), "done");
    assert!(server.requests()[0].contains("x-api-key: s3cret"));
    let request = &other.requests()[0];
    assert!(!request.contains("s3cret") && !request.to_lowercase().contains("referer"), "{request}");
    assert!(request.contains("accept: text/plain\r\n") && request.contains("user-agent: runproof/"), "{request}");
}

#[tokio::test]
async fn dropped_headers_do_not_come_back_with_the_first_origin() {
    let home = Server::start(|_| Reply::Bytes(response(200, "", ""))).await;
    let back = redirecting(302, &home.url("/end")).await;
    let location = back.url("/");
    let first = Server::start(move |_| Reply::Bytes(to(302, &location))).await;
    let params = json!({"url": first.url("/"), "headers": {"authorization": "s3cret"}});
    assert_eq!(line(&call(params).await), "done");
    assert!(!home.requests()[0].contains("s3cret"));
}

#[tokio::test]
async fn an_effect_is_never_redirected() {
    for method in ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
        for status in [301, 302, 303, 307, 308] {
            let server = redirecting(status, "/elsewhere").await;
            let attempt = call(json!({"url": server.url("/"), "method": method})).await;
            assert_eq!(line(&attempt), "failed: http.redirect_refused Client final", "{method} {status}");
            assert_eq!(server.requests().len(), 1);
        }
    }
}

#[tokio::test]
async fn a_redirect_that_is_not_to_be_followed_is_the_answer() {
    let server = redirecting(302, "/next").await;
    let attempt = call(json!({"url": server.url("/"), "follow_redirects": false})).await;
    assert_eq!((&output(&attempt)["status"], &output(&attempt)["headers"]["location"]), (&json!(302), &json!("/next")));
    let server = Server::answering(response(302, "", "")).await;
    assert_eq!(output(&call(json!({"url": server.url("/")})).await)["status"], 302, "it leads nowhere");
    let server = Server::answering("HTTP/1.1 304 X\r\nlocation: /x\r\n\r\n").await;
    assert_eq!(output(&call(json!({"url": server.url("/")})).await)["status"], 304, "it is not a redirect");
}

#[tokio::test]
async fn a_location_that_is_no_plain_http_url_is_refused() {
    let check = async |location: &str, expected: &str| {
        let server = redirecting(302, location).await;
        let attempt = call(json!({"url": server.url("/")})).await;
        assert_eq!(line(&attempt), "failed: http.redirect_refused Client final", "{location}");
        assert_eq!(failure(&attempt).message, format!("host `127.0.0.1` answered 302 {expected}"));
    };
    check("ftp://s3cret/", "to a URL that is not http or https").await;
    check("file:///etc/passwd", "to a URL that is not http or https").await;
    check("http://u:s3cret@127.0.0.1/", "to a URL with a user name or password").await;
    check("http://[/", "with a location that is not a URL").await;
    check("/\u{e9}", "with a location that is not text").await;
}

#[tokio::test]
async fn a_head_stays_a_head() {
    let other = Server::answering("HTTP/1.1 200 X\r\n\r\n").await;
    let server = redirecting(303, &other.url("/")).await;
    let attempt = call(json!({"url": server.url("/"), "method": "HEAD"})).await;
    assert_eq!(output(&attempt)["body"], Value::Null);
    assert!(other.requests()[0].starts_with("HEAD / "));
}
