//! Claims about connections: what is reached, what is refused, and what a failure says about the effect.

use std::time::Duration;

use runproof_engine::skill::{Attempt, Probe};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

use crate::calls::{call, dispatch, dispatch_with, failure, http, line, output, skill};
use crate::server::{Reply, Server, closed_port, response};

async fn call_with(egress: &str, url: String) -> Attempt {
    skill("http_call", egress).invoke(&dispatch("http_call", json!({"url": url}))).await
}

#[tokio::test]
async fn the_loopback_is_denied_by_default_however_it_is_written() {
    let server = Server::answering(response(200, "", "")).await;
    let port = server.address().port();
    let hosts = [
        "localhost",
        "LOCALHOST",
        "127.0.0.1",
        "127.0.0.1.",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "0177.0.0.1",
        "017700000001",
        "0",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "[::]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "\u{ff11}27.0.0.1",
        "%31%32%37.0.0.1",
        "169.254.169.254",
    ];
    for host in hosts {
        let attempt = call_with("", format!("http://{host}:{port}/")).await;
        assert_eq!(line(&attempt), "not done: http.egress_denied Policy final", "{host}");
        assert_eq!(attempt.cost_microcents, 0, "{host}");
    }
    assert_eq!(server.requests().len(), 0);
}

#[tokio::test]
async fn an_allowed_host_or_network_is_reached_and_the_address_is_the_one_connected_to() {
    let server = Server::answering(response(200, "", "")).await;
    let port = server.address().port();
    let named = format!("http://localhost:{port}/");
    for egress in ["localhost", "127.0.0.0/8", "127.0.0.1", "LOCALHOST", &format!("localhost:{port}")] {
        let attempt = call_with(egress, named.clone()).await;
        assert_eq!(output(&attempt)["address"], json!(server.address().to_string()), "{egress}");
    }
    let other_port = format!("localhost:{}", port.wrapping_add(1).max(1));
    assert_eq!(line(&call_with(&other_port, named).await), "not done: http.egress_denied Policy final");
    let by_address = call_with("localhost", server.url("/")).await;
    assert_eq!(line(&by_address), "not done: http.egress_denied Policy final", "a name allows only that name");
}

#[tokio::test]
async fn a_refused_connection_is_not_done_in_every_class() {
    let url = format!("http://127.0.0.1:{}/?token=s3cret", closed_port().await);
    for method in ["GET", "PUT", "POST"] {
        let attempt = call(json!({"url": url, "method": method})).await;
        assert_eq!(line(&attempt), "not done: http.connect_refused Network retryable");
        assert_eq!(failure(&attempt).message, "host `127.0.0.1` refused the connection");
        assert_eq!(attempt.cost_microcents, 0);
    }
}

#[tokio::test]
async fn a_name_without_address_is_not_done() {
    // A label beyond 63 bytes has no address in any resolver, and none is asked.
    let attempt = call(json!({"url": format!("http://{}.invalid/", "a".repeat(64)), "method": "POST"})).await;
    assert_eq!(line(&attempt), "not done: http.dns_failed Network retryable");
    assert_eq!(attempt.cost_microcents, 0);
}

#[tokio::test]
async fn a_connection_that_does_not_come_about_in_time_is_not_done() {
    // A queue of one is full with two connections; the system then leaves the next one waiting.
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a port");
    let listener = socket.listen(1).expect("a listener");
    let address = listener.local_addr().expect("an address");
    let first = tokio::net::TcpStream::connect(address).await.expect("the first connection");
    let second = tokio::net::TcpStream::connect(address).await.expect("the second connection");
    let params = json!({"url": format!("http://{address}/"), "method": "POST"});
    let attempt = http().invoke(&dispatch_with("http_call", params, 1, Duration::from_millis(200))).await;
    assert_eq!(line(&attempt), "not done: http.connect_timeout Timeout retryable");
    assert_eq!(attempt.cost_microcents, 0);
    drop((first, second, listener));
}

#[tokio::test]
async fn a_peer_that_does_not_speak_tls_is_not_done_and_not_retried() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a client");
        stream.write_all(b"HTTP/1.1 400 X\r\n\r\n").await.expect("sent");
        // Held open until the client has read what makes no sense to it.
        stream.read_to_end(&mut Vec::new()).await.ok();
    });
    let attempt = call(json!({"url": format!("https://{address}/"), "method": "POST"})).await;
    assert_eq!(line(&attempt), "not done: http.tls_failed Network final", "{attempt:?}");
    assert_eq!(attempt.cost_microcents, 0);
}

async fn check_lost(reply: fn() -> Reply) {
    let server = Server::start(move |_| reply()).await;
    let url = server.url("/?token=s3cret");
    let check = async |params: Value, expected: &str| {
        let attempt = call(params).await;
        assert_eq!(line(&attempt), expected);
        assert_eq!(attempt.cost_microcents, 1_000);
        assert!(!failure(&attempt).message.contains("s3cret"), "{attempt:?}");
    };
    check(json!({"url": url}), "failed: http.connection_lost Network retryable").await;
    check(json!({"url": url, "method": "PUT"}), "failed: http.connection_lost Network retryable").await;
    let promised = json!({"url": url, "method": "POST", "idempotent": true});
    check(promised, "failed: http.connection_lost Network retryable").await;
    let probeable = json!({"url": url, "method": "POST", "probe_url": url});
    check(probeable, "unknown: http.connection_lost Network final").await;
    check(json!({"url": url, "method": "POST"}), "unknown: http.connection_lost Network final").await;
    assert_eq!(server.requests().len(), 5, "nothing was sent twice");
}

#[tokio::test]
async fn a_reset_after_sending_a_post_is_unknown() {
    check_lost(|| Reply::Reset(Vec::new())).await;
}

#[tokio::test]
async fn a_connection_closed_without_an_answer_to_a_post_is_unknown() {
    check_lost(|| Reply::Bytes(Vec::new())).await;
}

#[tokio::test]
async fn an_answer_that_is_not_http_to_a_post_is_unknown() {
    check_lost(|| Reply::Bytes(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec())).await;
}

#[tokio::test]
async fn a_call_that_is_dropped_closes_its_connection() {
    let (told, mut news) = mpsc::unbounded_channel();
    let server = Server::start(move |_| Reply::Hang(told.clone())).await;
    let (skill, dispatch) = (http(), dispatch("http_call", json!({"url": server.url("/"), "method": "POST"})));
    tokio::select! {
        attempt = skill.invoke(&dispatch) => panic!("answered: {attempt:?}"),
        received = news.recv() => assert_eq!(received, Some("request received")),
    }
    assert_eq!(news.recv().await, Some("client gone"));
}

#[tokio::test]
async fn a_probe_asks_with_the_key_and_takes_only_a_clear_answer() {
    let check = async |status: u16, expected: fn(&Probe) -> bool| {
        let server = Server::answering(response(status, "location: /x\r\n", "receipt")).await;
        let params = json!({
            "url": server.url("/pay"), "method": "POST", "body": 1, "probe_url": server.url("/paid"),
            "headers": {"authorization": "t"}
        });
        let probe = http().probe(&dispatch("http_call", params)).await;
        assert!(expected(&probe), "{status}: {probe:?}");
        let requests = server.requests();
        assert_eq!(requests.len(), 1);
        assert!(requests[0].starts_with("GET /paid ") && requests[0].contains("idempotency-key: MZXW6YTBOI\r\n"));
        assert!(requests[0].contains("authorization: t\r\n") && !requests[0].contains("content-type"));
    };
    let done = |probe: &Probe| matches!(probe, Probe::Done { output } if output["body"] == "receipt");
    check(200, done).await;
    check(202, done).await;
    check(404, |probe| *probe == Probe::NotDone).await;
    for status in [302, 400, 401, 410, 429, 500, 503] {
        check(status, |probe| *probe == Probe::Unknown).await;
    }
}

#[tokio::test]
async fn a_probe_that_cannot_be_made_is_no_answer_and_tells_another_origin_nothing() {
    let probe = async |params: Value| http().probe(&dispatch("http_call", params)).await;
    let closed = format!("http://127.0.0.1:{}/", closed_port().await);
    assert_eq!(probe(json!({"url": closed, "method": "POST", "probe_url": closed})).await, Probe::Unknown);
    assert_eq!(probe(json!({"url": closed, "method": "POST"})).await, Probe::Unknown);
    assert_eq!(probe(json!({"url": closed, "method": "POST", "probe_url": "http://10.0.0.1/"})).await, Probe::Unknown);
    assert_eq!(probe(json!({"url": "nonsense"})).await, Probe::Unknown);
    let server = Server::answering(response(404, "", "")).await;
    let headers = json!({"authorization": "s3cret"});
    let params = json!({"url": closed, "method": "POST", "probe_url": server.url("/"), "headers": headers});
    assert_eq!(probe(params).await, Probe::NotDone);
    assert!(!server.requests()[0].contains("s3cret"));
}

#[tokio::test]
async fn a_probe_that_is_not_answered_in_time_is_no_answer() {
    let (told, mut news) = mpsc::unbounded_channel();
    let server = Server::start(move |_| Reply::Hang(told.clone())).await;
    let params = json!({"url": server.url("/"), "method": "POST", "probe_url": server.url("/")});
    let dispatch = dispatch_with("http_call", params, 1, Duration::from_millis(200));
    assert_eq!(http().probe(&dispatch).await, Probe::Unknown);
    assert_eq!(news.recv().await, Some("request received"));
}
