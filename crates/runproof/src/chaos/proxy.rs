//! The network between workers and database: forwards bytes, and cuts or delays them when it is told to.

mod wire;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::{failed, lock};
use crate::error::AppError;

/// What it does to the bytes.
#[derive(Default)]
struct Shared {
    /// Connections that are open, by number.
    open: Mutex<BTreeMap<u64, Arc<Notify>>>,
    numbers: AtomicU64,
    /// COMMITs whose reply is to be lost.
    lose_replies: AtomicU64,
    /// COMMITs that are not to be forwarded.
    lose_commits: AtomicU64,
    /// How much longer each piece takes, and until when.
    slow: Mutex<Option<(Duration, Instant)>>,
    /// What really happened.
    happened: Mutex<BTreeMap<&'static str, u64>>,
}

/// A running proxy; it stops, and every connection with it, when this is dropped.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
        self.cut_all();
    }
}

impl Proxy {
    /// Listens on loopback, and forwards to `HOST:PORT`.
    ///
    /// # Errors
    /// [`AppError`] when it cannot listen.
    pub async fn start(upstream: String) -> Result<Self, AppError> {
        let cannot = |error: std::io::Error| failed(format!("the proxy cannot listen on loopback: {error}"));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(cannot)?;
        let address = listener.local_addr().map_err(cannot)?;
        let shared = Arc::new(Shared::default());
        let accepting = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            loop {
                let Ok((client, _)) = listener.accept().await else { continue };
                tokio::spawn(link(client, upstream.clone(), Arc::clone(&accepting)));
            }
        });
        Ok(Self { address, shared, task })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Cuts one of the connections; true when there was one.
    pub fn cut(&self, pick: u64) -> bool {
        let open = lock(&self.shared.open);
        let place = pick.checked_rem(open.len() as u64).and_then(|place| usize::try_from(place).ok());
        let Some(link) = place.and_then(|place| open.values().nth(place)) else { return false };
        link.notify_one();
        true
    }

    /// Cuts every connection.
    pub fn cut_all(&self) {
        for link in lock(&self.shared.open).values() {
            link.notify_one();
        }
    }

    /// Forwards the next COMMIT and loses its reply.
    pub fn lose_reply(&self) {
        self.shared.lose_replies.fetch_add(1, Ordering::SeqCst);
    }

    /// Cuts the connection on which the next COMMIT comes, and does not forward it.
    pub fn lose_commit(&self) {
        self.shared.lose_commits.fetch_add(1, Ordering::SeqCst);
    }

    /// Takes longer for a while.
    pub fn slow(&self, delay: Duration, lasts: Duration) {
        *lock(&self.shared.slow) = Some((delay, Instant::now() + lasts));
    }

    /// Only forwards from now on.
    pub fn calm(&self) {
        self.shared.lose_replies.store(0, Ordering::SeqCst);
        self.shared.lose_commits.store(0, Ordering::SeqCst);
        *lock(&self.shared.slow) = None;
    }

    /// COMMITs that were lost, and replies: only what really happened.
    pub fn happened(&self) -> BTreeMap<&'static str, u64> {
        lock(&self.shared.happened).clone()
    }
}

/// Forwards one connection until it ends, or is cut.
async fn link(client: TcpStream, upstream: String, shared: Arc<Shared>) {
    let number = shared.numbers.fetch_add(1, Ordering::SeqCst);
    let cut = Arc::new(Notify::new());
    lock(&shared.open).insert(number, Arc::clone(&cut));
    if let Ok(server) = TcpStream::connect(&upstream).await {
        // What is small is sent at once, as without a proxy; a socket that cannot do that is only slower.
        client.set_nodelay(true).ok();
        server.set_nodelay(true).ok();
        let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
        let swallow = AtomicBool::new(false);
        tokio::select! {
            () = cut.notified() => {}
            _ = up(from_client, to_server, &shared, &swallow) => {}
            _ = down(from_server, to_client, &shared, &swallow) => {}
        }
    }
    lock(&shared.open).remove(&number);
}

/// From the client to the server.
async fn up(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    shared: &Shared,
    swallow: &AtomicBool,
) -> std::io::Result<()> {
    let mut scanner = wire::Scanner::default();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let count = from.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        shared.delay().await;
        if scanner.push(&buffer[..count]) {
            if take_one(&shared.lose_commits) {
                shared.happened("commit lost");
                return Ok(());
            }
            swallow.store(take_one(&shared.lose_replies), Ordering::SeqCst);
        }
        to.write_all(&buffer[..count]).await?;
    }
}

/// From the server to the client.
async fn down(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    shared: &Shared,
    swallow: &AtomicBool,
) -> std::io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let count = from.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        if swallow.load(Ordering::SeqCst) {
            shared.happened("commit reply lost");
            return Ok(());
        }
        shared.delay().await;
        to.write_all(&buffer[..count]).await?;
    }
}

/// Takes one of what was asked for, if there is any.
fn take_one(wanted: &AtomicU64) -> bool {
    wanted.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |count| count.checked_sub(1)).is_ok()
}

impl Shared {
    fn happened(&self, what: &'static str) {
        *lock(&self.happened).entry(what).or_default() += 1;
    }

    async fn delay(&self) {
        let slow = *lock(&self.slow);
        if let Some((delay, until)) = slow
            && Instant::now() < until
        {
            tokio::time::sleep(delay).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: &[u8] = b"\0\0\0\x08\0\x03\0\0";
    const COMMIT: &[u8] = b"Q\0\0\0\x0bCOMMIT\0";

    /// A server that answers every piece with `ok` and tells what it got.
    async fn server() -> (String, Arc<Mutex<Vec<u8>>>) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let got = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&got);
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let kept = Arc::clone(&kept);
                tokio::spawn(async move {
                    let mut buffer = [0; 64];
                    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
                        lock(&kept).extend_from_slice(&buffer[..count]);
                        stream.write_all(b"ok").await.unwrap();
                    }
                });
            }
        });
        (address, got)
    }

    async fn ask(stream: &mut TcpStream, bytes: &[u8]) -> Vec<u8> {
        let mut buffer = [0; 2];
        if stream.write_all(bytes).await.is_err() {
            return Vec::new();
        }
        let count = stream.read(&mut buffer).await.unwrap_or(0);
        buffer[..count].to_vec()
    }

    #[tokio::test]
    async fn a_commit_whose_reply_is_lost_has_reached_the_server() {
        let (upstream, got) = server().await;
        let proxy = Proxy::start(upstream).await.unwrap();
        let mut client = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(ask(&mut client, START).await, b"ok");
        proxy.lose_reply();
        assert_eq!(ask(&mut client, COMMIT).await, b"");
        assert_eq!(*lock(&got), [START, COMMIT].concat());
        assert_eq!(proxy.happened(), BTreeMap::from([("commit reply lost", 1)]));
    }

    #[tokio::test]
    async fn a_commit_that_is_lost_has_not_reached_the_server() {
        let (upstream, got) = server().await;
        let proxy = Proxy::start(upstream).await.unwrap();
        let mut client = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(ask(&mut client, START).await, b"ok");
        proxy.lose_commit();
        assert_eq!(ask(&mut client, COMMIT).await, b"");
        assert_eq!(*lock(&got), START);
        let mut other = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(ask(&mut other, START).await, b"ok", "only that connection ended");
        assert_eq!(ask(&mut other, COMMIT).await, b"ok", "only one commit was to be lost");
    }

    #[tokio::test]
    async fn a_connection_that_is_cut_ends() {
        let (upstream, _) = server().await;
        let proxy = Proxy::start(upstream).await.unwrap();
        assert!(!proxy.cut(7), "there is none yet");
        let mut client = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(ask(&mut client, START).await, b"ok");
        assert!(proxy.cut(7));
        assert_eq!(ask(&mut client, START).await, b"");
    }
}
