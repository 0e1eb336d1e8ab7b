//! What the program takes for a node: it gives the answers that it was told, one for each request, and then is frozen.

use std::collections::VecDeque;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::{PATIENCE, ha};

/// One answer.
pub struct Answer {
    pub after: Duration,
    pub status: u16,
    pub body: String,
}

impl Answer {
    pub fn new(status: u16, body: &str) -> Self {
        Self { after: Duration::ZERO, status, body: body.to_owned() }
    }
}

pub struct Fake {
    pub url: String,
    asked: Arc<Mutex<Vec<String>>>,
    runtime: tokio::runtime::Runtime,
}

impl Fake {
    pub fn new(answers: Vec<Answer>) -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::default();
        runtime.spawn(serve(listener, answers.into(), Arc::clone(&asked)));
        Self { url, asked, runtime }
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = ha(arguments);
        command.env("HA_URL", &self.url);
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command
    }

    /// What it was asked so far: methods and paths.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    /// Waits until something holds.
    pub fn wait_until(&self, mut holds: impl FnMut() -> bool) {
        let wait = async {
            while !holds() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        self.runtime.block_on(async { tokio::time::timeout(PATIENCE, wait).await }).unwrap();
    }
}

async fn serve(listener: TcpListener, mut answers: VecDeque<Answer>, asked: Arc<Mutex<Vec<String>>>) {
    let mut frozen = Vec::new();
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        let Some(answer) = answers.pop_front() else {
            // What came before is heard, so that a test can say that something was not asked.
            frozen.push(tokio::spawn(hear(stream, Arc::clone(&asked))));
            continue;
        };
        stream = hear(stream, Arc::clone(&asked)).await;
        tokio::time::sleep(answer.after).await;
        let Answer { status, body, .. } = answer;
        let text = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        // Whoever asked may have gone.
        let _ = stream.write_all(text.as_bytes()).await;
    }
}

/// Reads a request to its end.
async fn hear(stream: TcpStream, asked: Arc<Mutex<Vec<String>>>) -> TcpStream {
    let mut reader = BufReader::new(stream);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let start = head.len();
        if reader.read_line(&mut head).await.unwrap_or(0) == 0 {
            return reader.into_inner();
        }
        let line = head[start..].trim_end().to_ascii_lowercase();
        if let Some(bytes) = line.strip_prefix("content-length:") {
            length = bytes.trim().parse().unwrap();
        }
        if line.is_empty() {
            break;
        }
    }
    let words: Vec<&str> = head.split_whitespace().take(2).collect();
    asked.lock().unwrap().push(words.join(" "));
    // What is cut off was given up.
    let _ = reader.read_exact(&mut vec![0; length]).await;
    reader.into_inner()
}
