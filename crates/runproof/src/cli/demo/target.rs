//! The HTTP target of the demo: a few fixed answers on a loopback port, for as long as the demo runs.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::error::{AppError, Code};

/// A running target; it stops when this is dropped.
pub(super) struct Target {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Target {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Target {
    pub(super) async fn start() -> Result<Self, AppError> {
        let failed =
            |error: std::io::Error| AppError::new(Code::DemoFailed, format!("cannot listen on loopback: {error}"));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let stock_calls = Arc::new(AtomicU32::new(0));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, Arc::clone(&stock_calls)));
            }
        });
        Ok(Self { address, task })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Answers one request and closes: what the demo sends fits into one read of the head.
async fn answer(mut stream: TcpStream, stock_calls: Arc<AtomicU32>) -> std::io::Result<()> {
    let mut head = Vec::new();
    let mut buffer = [0; 4096];
    while !head.windows(4).any(|window| window == b"\r\n\r\n") && head.len() < 64 * 1024 {
        match stream.read(&mut buffer).await? {
            0 => return Ok(()),
            count => head.extend_from_slice(&buffer[..count]),
        }
    }
    let text = String::from_utf8_lossy(&head);
    let (status, body) = match text.split(' ').nth(1).unwrap_or_default() {
        "/prices" => ("200 OK", r#"{"lamp":1990,"chair":4950}"#),
        "/stock" if stock_calls.fetch_add(1, Ordering::Relaxed) == 0 => {
            ("503 Service Unavailable", r#"{"error":"warming up"}"#)
        }
        "/stock" => ("200 OK", r#"{"lamp":3,"shelf":"B7"}"#),
        "/reservations/lamp" => ("201 Created", r#"{"id":"r-1","item":"lamp","state":"reserved"}"#),
        _ => ("404 Not Found", r#"{"error":"nobody here"}"#),
    };
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}
