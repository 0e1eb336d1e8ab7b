//! The little of HTTP that a client of one node on loopback needs.
//!
//! Requests are HTTP/1.0: an answer then ends where the connection does, and an event stream is not chunked.

use std::net::SocketAddr;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Longest answer that is read.
const ANSWER_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// Longest line of an event stream.
const EVENT_BYTES_MAX: u64 = 1024 * 1024;
/// How long a node on this machine may take to answer.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Asks one node. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    address: SocketAddr,
    answer_timeout: Duration,
    token: Option<String>,
}

/// What a node answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The body.
    pub body: String,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HttpError {
    /// Nobody listens there, or the connection broke.
    #[error("{address} does not answer: {source}")]
    Io {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The answer did not come in time.
    #[error("{address} did not answer within {} ms", .after.as_millis())]
    Late {
        /// Where.
        address: SocketAddr,
        /// How long was waited.
        after: Duration,
    },
    /// What came is not what was asked for.
    #[error("{address} gave an unexpected answer: {what}")]
    Unexpected {
        /// Where.
        address: SocketAddr,
        /// What came.
        what: String,
    },
}

impl Answer {
    /// The body as JSON; `Null` when it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or(Value::Null)
    }

    /// The sentence of an error answer, or else its whole body.
    pub fn error_message(&self) -> String {
        match self.json().pointer("/error/message").and_then(Value::as_str) {
            Some(message) => message.to_owned(),
            None => format!("status {}: {}", self.status, self.body.trim()),
        }
    }
}

impl Client {
    /// A client of the node whose HTTP API is there.
    pub fn new(address: SocketAddr) -> Self {
        Self { address, answer_timeout: ANSWER_TIMEOUT, token: None }
    }

    /// With another bound on how long an answer may take.
    #[must_use]
    pub fn with_timeout(mut self, answer_timeout: Duration) -> Self {
        self.answer_timeout = answer_timeout;
        self
    }

    /// With the bearer token that the node wants.
    #[must_use]
    pub fn with_token(mut self, token: Option<&str>) -> Self {
        self.token = token.map(str::to_owned);
        self
    }

    /// `GET`.
    pub async fn get(&self, path: &str) -> Result<Answer, HttpError> {
        self.ask("GET", path, None).await
    }

    /// `GET`, and the 200 answer as a value.
    pub async fn get_json<T: DeserializeOwned>(&self, path: &str) -> Result<T, HttpError> {
        let answer = self.get(path).await?;
        if answer.status != 200 {
            return Err(self.unexpected(format!("{path}: {}", answer.error_message())));
        }
        serde_json::from_str(&answer.body).map_err(|e| self.unexpected(format!("{path}: {e}: {}", answer.body)))
    }

    /// `PUT` of JSON.
    pub async fn put(&self, path: &str, body: &Value) -> Result<Answer, HttpError> {
        self.ask("PUT", path, Some(body)).await
    }

    /// `POST` of JSON.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Answer, HttpError> {
        self.ask("POST", path, Some(body)).await
    }

    /// `DELETE`.
    pub async fn delete(&self, path: &str) -> Result<Answer, HttpError> {
        self.ask("DELETE", path, None).await
    }

    async fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Answer, HttpError> {
        let exchange = async {
            let mut stream = TcpStream::connect(self.address).await?;
            stream.write_all(self.request(method, path, body).as_bytes()).await?;
            let mut bytes = Vec::new();
            stream.take(ANSWER_BYTES_MAX).read_to_end(&mut bytes).await?;
            Ok(bytes)
        };
        let bytes = match timeout(self.answer_timeout, exchange).await {
            Ok(Ok(bytes)) => bytes,
            Ok(Err(source)) => return Err(HttpError::Io { address: self.address, source }),
            Err(_) => return Err(HttpError::Late { address: self.address, after: self.answer_timeout }),
        };
        let text = String::from_utf8_lossy(&bytes);
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            return Err(self.unexpected(format!("not HTTP: {text:.200}")));
        };
        let status = self.status_of(head.lines().next().unwrap_or_default())?;
        Ok(Answer { status, body: body.to_owned() })
    }

    fn request(&self, method: &str, path: &str, body: Option<&Value>) -> String {
        let body = body.map(Value::to_string).unwrap_or_default();
        let bearer = self.token.as_ref().map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
        format!(
            "{method} {path} HTTP/1.0\r\nHost: {}\r\n{bearer}Accept: */*\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            self.address,
            body.len(),
        )
    }

    fn status_of(&self, line: &str) -> Result<u16, HttpError> {
        let status = line.strip_prefix("HTTP/1.").and_then(|rest| rest.split(' ').nth(1)).and_then(|s| s.parse().ok());
        status.ok_or_else(|| self.unexpected(format!("not HTTP: {line:.200}")))
    }

    pub(super) fn unexpected(&self, what: String) -> HttpError {
        HttpError::Unexpected { address: self.address, what }
    }

    /// Follows the events of the node from now on.
    pub async fn events(&self) -> Result<EventStream, HttpError> {
        let io = |source| HttpError::Io { address: self.address, source };
        let open = async {
            let mut stream = TcpStream::connect(self.address).await.map_err(io)?;
            stream.write_all(self.request("GET", "/v1/events", None).as_bytes()).await.map_err(io)?;
            let mut events = EventStream { reader: BufReader::new(stream) };
            let status = self.status_of(&events.line().await.map_err(io)?.unwrap_or_default())?;
            if status != 200 {
                return Err(self.unexpected(format!("/v1/events: status {status}")));
            }
            while events.line().await.map_err(io)?.is_some_and(|line| !line.is_empty()) {}
            Ok(events)
        };
        match timeout(self.answer_timeout, open).await {
            Ok(answer) => answer,
            Err(_) => Err(HttpError::Late { address: self.address, after: self.answer_timeout }),
        }
    }
}

/// The events of one node, as they happen.
#[derive(Debug)]
pub struct EventStream {
    reader: BufReader<TcpStream>,
}

/// One server-sent event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerEvent {
    /// Its kind; empty when the node gave none.
    pub kind: String,
    /// Its data, JSON in this API.
    pub data: String,
}

impl EventStream {
    /// The next event, or `None` when the node ended the stream. Not cancel-safe: part of an event may be lost.
    pub async fn next(&mut self) -> std::io::Result<Option<ServerEvent>> {
        let mut event = ServerEvent::default();
        while let Some(line) = self.line().await? {
            if line.is_empty() {
                if event != ServerEvent::default() {
                    return Ok(Some(event));
                }
                continue;
            }
            let (field, value) = line.split_once(':').unwrap_or((&line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "event" => event.kind = value.to_owned(),
                "data" if event.data.is_empty() => event.data = value.to_owned(),
                "data" => event.data = format!("{}\n{value}", event.data),
                // Comments keep the connection alive; ids are not needed, since nothing is resumed.
                _ => {}
            }
        }
        Ok(None)
    }

    async fn line(&mut self) -> std::io::Result<Option<String>> {
        let mut line = String::new();
        let read = (&mut self.reader).take(EVENT_BYTES_MAX).read_line(&mut line).await?;
        if read == 0 {
            return Ok(None);
        }
        line.truncate(line.trim_end_matches(['\r', '\n']).len());
        Ok(Some(line))
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// Serves one connection: reads the request's head, answers with this text, and hangs up.
    async fn serve_once(text: &'static str) -> Client {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = [0; 4096];
            let _ = stream.read(&mut head).await.unwrap();
            stream.write_all(text.as_bytes()).await.unwrap();
        });
        Client::new(address)
    }

    #[tokio::test]
    async fn an_answer_is_read_to_its_end() {
        let client = serve_once("HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n{\"a\": 1}").await;
        assert_eq!(client.get_json::<Value>("/x").await.unwrap(), serde_json::json!({"a": 1}));
    }

    #[tokio::test]
    async fn an_error_is_told_in_the_nodes_own_words() {
        let client = serve_once("HTTP/1.1 503 Unavailable\r\n\r\n{\"error\": {\"code\": \"no_leader\", \"message\": \"there is no leader\"}}").await;
        let error = client.get_json::<Value>("/x").await.unwrap_err();
        assert!(error.to_string().ends_with("/x: there is no leader"), "{error}");
    }

    #[tokio::test]
    async fn something_else_than_http_is_an_error() {
        let client = serve_once("hello\r\n\r\n").await;
        assert!(matches!(client.get("/").await, Err(HttpError::Unexpected { .. })));
    }

    #[tokio::test]
    async fn silence_has_a_bound() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = Client::new(listener.local_addr().unwrap()).with_timeout(Duration::from_millis(20));
        assert!(matches!(client.get("/").await, Err(HttpError::Late { .. })));
    }

    #[tokio::test]
    async fn events_are_cut_at_blank_lines() {
        let client = serve_once(
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n: ping\n\nevent: leader_changed\ndata: {\ndata: }\n\ndata: 2\n\n",
        )
        .await;
        let mut events = client.events().await.unwrap();
        let first = events.next().await.unwrap().unwrap();
        assert_eq!(first, ServerEvent { kind: "leader_changed".into(), data: "{\n}".into() });
        assert_eq!(events.next().await.unwrap().unwrap().data, "2");
        assert_eq!(events.next().await.unwrap(), None);
    }
}
