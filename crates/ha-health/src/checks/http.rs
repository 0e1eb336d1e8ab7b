//! A web service answers.

use std::ops::RangeInclusive;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::check::{Boxed, Check};
use crate::{RegisterError, Verdict};

/// Longest status line that is read.
const STATUS_LINE_BYTES_MAX: usize = 4096;

/// Longest URL.
const URL_BYTES_MAX: usize = 2048;

const EXPECTED: &str = "http://HOST[:PORT][/PATH]";

/// Passes when a GET is answered with a status code that is accepted: 200 to 299, unless said otherwise.
///
/// Speaks as much HTTP/1.1 (RFC 9112) as it takes to read the status line; redirections are not followed, and there is
/// no TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpCheck {
    /// As it stands in the `Host` header.
    authority: String,
    /// What is dialled.
    dial: String,
    path: String,
    accepted: RangeInclusive<u16>,
}

impl HttpCheck {
    /// Asks `http://HOST[:PORT][/PATH]`.
    pub fn new(url: &str) -> Result<Self, RegisterError> {
        let refuse = || RegisterError::Target { target: url.chars().take(100).collect(), expected: EXPECTED };
        let rest = url.strip_prefix("http://").ok_or_else(refuse)?;
        // Whatever cannot stand in a request line must not reach it.
        if url.len() > URL_BYTES_MAX || !url.bytes().all(|byte| byte.is_ascii_graphic()) || url.contains('#') {
            return Err(refuse());
        }
        let split = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(split);
        if authority.contains('@') {
            return Err(refuse());
        }
        let in_brackets = authority.strip_prefix('[').and_then(|host| host.split_once(']'));
        let (host, port) = match in_brackets {
            Some((host, port)) => (host, port),
            None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
        };
        let port = match port.strip_prefix(':') {
            None if port.is_empty() => 80,
            None => return Err(refuse()),
            Some(port) => port.parse::<u16>().ok().filter(|port| *port > 0).ok_or_else(refuse)?,
        };
        if host.is_empty() {
            return Err(refuse());
        }
        let dial = if in_brackets.is_some() { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Self { authority: authority.to_owned(), dial, path, accepted: 200..=299 })
    }

    /// The host that it asks, without brackets.
    pub fn host(&self) -> &str {
        let host = self.dial.rsplit_once(':').map_or(&*self.dial, |(host, _)| host);
        host.trim_start_matches('[').trim_end_matches(']')
    }

    /// Accepts other status codes.
    pub fn accept(self, accepted: RangeInclusive<u16>) -> Self {
        Self { accepted, ..self }
    }

    async fn ask(&self) -> std::io::Result<Verdict> {
        let mut stream = TcpStream::connect(&self.dial).await?;
        let request = format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: ha-health/{}\r\nAccept: */*\r\nConnection: close\r\n\r\n",
            self.path,
            self.authority,
            env!("CARGO_PKG_VERSION"),
        );
        stream.write_all(request.as_bytes()).await?;
        let mut read = Vec::new();
        let mut stream = stream.take(STATUS_LINE_BYTES_MAX as u64);
        while !read.contains(&b'\n') {
            if stream.read_buf(&mut read).await? == 0 {
                return Ok(Verdict::failed("the connection ended before the status line did"));
            }
        }
        let line = read.split(|byte| *byte == b'\n').next().unwrap_or_default();
        Ok(self.judge(&String::from_utf8_lossy(line)))
    }

    fn judge(&self, line: &str) -> Verdict {
        let mut words = line.trim_end().splitn(3, ' ');
        let version = words.next().unwrap_or_default();
        let status = words.next().and_then(|code| code.parse::<u16>().ok());
        match status.filter(|_| version.starts_with("HTTP/1.")) {
            Some(status) if self.accepted.contains(&status) => Verdict::HEALTHY,
            Some(status) => Verdict::Failed(format!("it answered {status} {}", words.next().unwrap_or_default())),
            None => Verdict::failed("what answers there does not speak HTTP/1"),
        }
    }
}

impl Check for HttpCheck {
    fn check(&self) -> Boxed<Verdict> {
        let check = self.clone();
        Box::pin(async move {
            let asked = check.ask().await;
            asked.unwrap_or_else(|error| Verdict::Failed(format!("cannot ask {}: {error}", check.dial)))
        })
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// Answers one request with a text, and returns what was asked.
    async fn serve(answer: &'static str, path: &str, accepted: RangeInclusive<u16>) -> (Verdict, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}{path}", listener.local_addr().unwrap());
        let served = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = Vec::new();
            while !asked.ends_with(b"\r\n\r\n") {
                assert_ne!(stream.read_buf(&mut asked).await.unwrap(), 0);
            }
            // Whoever has read enough hangs up.
            let _ = stream.write_all(answer.as_bytes()).await;
            String::from_utf8(asked).unwrap()
        });
        let verdict = HttpCheck::new(&url).unwrap().accept(accepted).check().await;
        (verdict, served.await.unwrap())
    }

    #[tokio::test]
    async fn the_status_code_decides() {
        let (verdict, asked) = serve("HTTP/1.1 204 No Content\r\n\r\n", "/health?deep=1", 200..=299).await;
        assert_eq!(verdict, Verdict::HEALTHY);
        assert!(asked.starts_with("GET /health?deep=1 HTTP/1.1\r\nHost: 127.0.0.1:"), "{asked}");
        let (verdict, _) = serve("HTTP/1.0 503 Service Unavailable\r\n\r\n", "", 200..=299).await;
        assert_eq!(verdict, Verdict::Failed("it answered 503 Service Unavailable".to_owned()));
        assert_eq!(serve("HTTP/1.1 404\r\n\r\n", "/", 404..=404).await.0, Verdict::HEALTHY);
    }

    #[tokio::test]
    async fn what_is_no_http_fails_and_is_not_read_for_ever() {
        let failed = |reason: &str| Verdict::Failed(reason.to_owned());
        let no_http = failed("what answers there does not speak HTTP/1");
        assert_eq!(serve("SSH-2.0-x 200\r\n", "/", 200..=299).await.0, no_http);
        assert_eq!(serve("HTTP/1.1 many\r\n", "/", 200..=299).await.0, no_http);
        let ended = failed("the connection ended before the status line did");
        assert_eq!(serve("", "/", 200..=299).await.0, ended);
        let endless: &'static str = "x".repeat(3 * STATUS_LINE_BYTES_MAX).leak();
        assert_eq!(serve(endless, "/", 200..=299).await.0, ended);
    }

    #[test]
    fn a_url_is_taken_apart() {
        for (url, dial, path) in [
            ("http://a", "a:80", "/"),
            ("http://a:8000/x", "a:8000", "/x"),
            ("http://a?x=1", "a:80", "/?x=1"),
            ("http://[::1]:81/", "[::1]:81", "/"),
            ("http://[::1]", "[::1]:80", "/"),
        ] {
            let check = HttpCheck::new(url).unwrap();
            assert_eq!((check.dial.as_str(), check.path.as_str()), (dial, path), "{url}");
        }
        for url in
            ["https://a", "a", "http://", "http://:80", "http://a:0", "http://a:x", "http://u@a", "http://a/\r\nX: y"]
        {
            assert!(HttpCheck::new(url).is_err(), "{url}");
        }
    }
}
