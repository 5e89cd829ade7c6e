//! The world that the runs act on: an HTTP server outside of every process that dies, which counts what reaches it.
//!
//! What it does with a request is decided by the seed, the path, and how often the path was called before: it acts and
//! answers, acts and drops the connection, does not act and drops it, answers 503, or takes its time.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::dice::Dice;
use super::{failed, lock};
use crate::error::AppError;
use crate::runtime;

/// Longest request; the plans of a trial send far less.
const MAX_REQUEST: usize = 64 * 1024;

/// What one step of one run did to the receiver.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Requests that arrived as a whole.
    pub arrivals: u64,
    /// When it took effect, in microseconds since 1970. An idempotent call takes effect once for each key.
    pub effects: Vec<u64>,
    /// Idempotency keys that it arrived with.
    pub keys: BTreeSet<String>,
}

/// Tallies by class, number of the run, and step: `unsafe/17/s3`.
pub type Tallies = BTreeMap<String, Tally>;

/// How a request is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// Acts, and answers after so many milliseconds.
    Answer(u64),
    /// Acts, and drops the connection.
    LoseReply,
    /// Drops the connection and does not act.
    Drop,
    /// Does not act, answers 503, and says when to come back.
    Busy,
    /// Does not act and answers 503.
    Down,
}

impl Manner {
    fn of(seed: u64, path: &str, arrival: u64) -> Self {
        let mut dice = Dice::named(seed, &format!("{path} {arrival}"));
        match dice.below(100) {
            0..=7 => Self::LoseReply,
            8..=13 => Self::Drop,
            14..=17 => Self::Busy,
            18..=20 => Self::Down,
            21..=26 => Self::Answer(dice.between(300, 900)),
            _ => Self::Answer(dice.between(5, 120)),
        }
    }

    fn acts(self) -> bool {
        matches!(self, Self::Answer(_) | Self::LoseReply)
    }

    fn word(self) -> &'static str {
        match self {
            Self::Answer(0..=199) => "answered",
            Self::Answer(_) => "receiver slow",
            Self::LoseReply => "receiver's reply lost",
            Self::Drop => "receiver dropped the call",
            Self::Busy => "receiver busy (503, retry-after)",
            Self::Down => "receiver down (503)",
        }
    }
}

struct Shared {
    seed: u64,
    tallies: Mutex<Tallies>,
    /// How often it answered in which manner.
    manners: Mutex<BTreeMap<&'static str, u64>>,
}

/// A running receiver; it stops when this is dropped.
pub struct Receiver {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Receiver {
    /// Starts it on loopback.
    ///
    /// # Errors
    /// [`AppError`] when it cannot listen.
    pub async fn start(seed: u64) -> Result<Self, AppError> {
        let cannot = |error: std::io::Error| failed(format!("the receiver cannot listen on loopback: {error}"));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(cannot)?;
        let address = listener.local_addr().map_err(cannot)?;
        let shared = Arc::new(Shared { seed, tallies: Mutex::default(), manners: Mutex::default() });
        let serving = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            loop {
                // Out of files for a moment, or the like: the caller sees a connection that fails, and tries again.
                let Ok((stream, _)) = listener.accept().await else { continue };
                let shared = Arc::clone(&serving);
                // A caller that was killed reads no answer.
                tokio::spawn(async move { answer(stream, &shared).await.ok() });
            }
        });
        Ok(Self { address, shared, task })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What was counted.
    pub fn tallies(&self) -> Tallies {
        lock(&self.shared.tallies).clone()
    }

    /// Whether a step of a run took effect. It does so as soon as its request has arrived, before it is answered.
    pub fn took_effect(&self, path: &str) -> bool {
        lock(&self.shared.tallies).get(path).is_some_and(|tally| !tally.effects.is_empty())
    }

    /// How often it answered in each manner that is a fault.
    pub fn faults(&self) -> BTreeMap<&'static str, u64> {
        let mut manners = lock(&self.shared.manners).clone();
        manners.remove(Manner::Answer(0).word());
        manners
    }
}

/// A request, as far as it matters.
struct Request {
    path: String,
    key: String,
}

async fn answer(mut stream: TcpStream, shared: &Shared) -> std::io::Result<()> {
    let Some(request) = read(&mut stream).await? else { return Ok(()) };
    if let Some(path) = request.path.strip_prefix("probe/") {
        return respond(&mut stream, shared.probe(path, &request.key)).await;
    }
    match shared.act(&request) {
        Manner::Answer(after_ms) => {
            tokio::time::sleep(Duration::from_millis(after_ms)).await;
            respond(&mut stream, "200 OK").await
        }
        Manner::Busy => respond(&mut stream, "503 Service Unavailable\r\nretry-after: 1").await,
        Manner::Down => respond(&mut stream, "503 Service Unavailable").await,
        Manner::LoseReply | Manner::Drop => Ok(()),
    }
}

impl Shared {
    /// Counts a request, and what it does.
    fn act(&self, request: &Request) -> Manner {
        let mut tallies = lock(&self.tallies);
        let tally = tallies.entry(request.path.clone()).or_default();
        let manner = Manner::of(self.seed, &request.path, tally.arrivals);
        tally.arrivals += 1;
        let class = request.path.split('/').next().unwrap_or_default();
        let effect = match class {
            "read" => false,
            "idempotent" => manner.acts() && !tally.keys.contains(&request.key),
            _ => manner.acts(),
        };
        if effect {
            tally.effects.push(runtime::now());
        }
        if manner.acts() {
            tally.keys.insert(request.key.clone());
        }
        *lock(&self.manners).entry(manner.word()).or_default() += 1;
        manner
    }

    /// Whether a call with this key took effect.
    fn probe(&self, path: &str, key: &str) -> &'static str {
        let known = lock(&self.tallies).get(&format!("probeable/{path}")).is_some_and(|tally| tally.keys.contains(key));
        if known { "200 OK" } else { "404 Not Found" }
    }
}

/// Reads one request. `None` when the caller went away before its end.
async fn read(stream: &mut TcpStream) -> std::io::Result<Option<Request>> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    let head = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        let count = stream.read(&mut buffer).await?;
        if count == 0 || bytes.len() > MAX_REQUEST {
            return Ok(None);
        }
        bytes.extend_from_slice(&buffer[..count]);
    };
    let text = String::from_utf8_lossy(&bytes[..head]).into_owned();
    let header = |name: &str| {
        let mut lines = text.lines().filter_map(|line| line.split_once(':'));
        lines.find(|(given, _)| given.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().to_owned())
    };
    let length: usize = header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    while bytes.len() < head + 4 + length.min(MAX_REQUEST) {
        let count = stream.read(&mut buffer).await?;
        if count == 0 {
            return Ok(None);
        }
        bytes.extend_from_slice(&buffer[..count]);
    }
    let path = text.split(' ').nth(1).unwrap_or_default().trim_start_matches('/').to_owned();
    Ok(Some(Request { path, key: header("idempotency-key").unwrap_or_default() }))
}

async fn respond(stream: &mut TcpStream, status: &str) -> std::io::Result<()> {
    let body = r#"{"ok":true}"#;
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends a call, and answers the status line, empty when the connection ended without one.
    async fn call(address: SocketAddr, path: &str, key: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let text = format!("POST /{path} HTTP/1.1\r\nIdempotency-Key: {key}\r\ncontent-length: 2\r\n\r\nok");
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer.lines().next().unwrap_or_default().to_owned()
    }

    /// The first path of a class whose first request is met in that manner.
    fn path(class: &str, wanted: impl Fn(Manner) -> bool) -> String {
        let mut paths = (0..).map(|number| format!("{class}/{number}/s0"));
        paths.find(|path| wanted(Manner::of(1, path, 0))).unwrap()
    }

    #[tokio::test]
    async fn an_effect_whose_reply_is_lost_is_counted_and_one_that_did_not_happen_is_not() {
        let receiver = Receiver::start(1).await.unwrap();
        let lost = path("unsafe", |manner| manner == Manner::LoseReply);
        let dropped = path("unsafe", |manner| manner == Manner::Drop);
        let down = path("unsafe", |manner| manner == Manner::Down);
        assert_eq!(call(receiver.address(), &lost, "a").await, "");
        assert_eq!(call(receiver.address(), &dropped, "b").await, "");
        assert!(call(receiver.address(), &down, "c").await.contains("503"));
        let tallies = receiver.tallies();
        let effects = |path: &str| (tallies[path].arrivals, tallies[path].effects.len());
        assert_eq!((effects(&lost), effects(&dropped), effects(&down)), ((1, 1), (1, 0), (1, 0)));
    }

    #[tokio::test]
    async fn a_key_is_honoured_where_the_call_says_so_and_nowhere_else() {
        let receiver = Receiver::start(1).await.unwrap();
        for class in ["idempotent", "unsafe"] {
            let twice = (0..)
                .map(|number| format!("{class}/{number}/s0"))
                .find(|path| (0..2).all(|arrival| matches!(Manner::of(1, path, arrival), Manner::Answer(..=199))))
                .unwrap();
            assert!(call(receiver.address(), &twice, "k").await.contains("200"));
            assert!(call(receiver.address(), &twice, "k").await.contains("200"));
            let count = receiver.tallies()[&twice].effects.len();
            assert_eq!(count, if class == "idempotent" { 1 } else { 2 }, "{class}");
        }
    }

    #[tokio::test]
    async fn a_probe_says_whether_the_key_took_effect() {
        let receiver = Receiver::start(1).await.unwrap();
        let lost = path("probeable", |manner| manner == Manner::LoseReply);
        let probe = lost.replacen("probeable", "probe", 1);
        assert!(call(receiver.address(), &probe, "k").await.contains("404"));
        call(receiver.address(), &lost, "k").await;
        assert!(call(receiver.address(), &probe, "k").await.contains("200"));
        assert!(call(receiver.address(), &probe, "other").await.contains("404"));
    }
}
