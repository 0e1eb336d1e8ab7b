//! Reads server-sent events.

use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::{Duration, timeout};

use super::NodeUrl;
use crate::failure::Failure;

/// Silence after which a stream is taken for dead: a node sends a comment each ten seconds.
const SILENCE_MAX: Duration = Duration::from_secs(35);

/// Longest event that is read: a value of 1 MiB has up to six times as many bytes as JSON, when each is an escape.
const EVENT_BYTES_MAX: usize = 8 * 1024 * 1024;

/// The data of events, one after the other.
#[derive(Debug)]
pub(crate) struct EventStream {
    url: NodeUrl,
    body: Incoming,
    reader: Reader,
}

impl EventStream {
    pub(super) fn new(url: NodeUrl, body: Incoming) -> Self {
        Self { url, body, reader: Reader::default() }
    }

    /// The data of the next event, or `None` once the node has ended the stream.
    pub(crate) async fn next(&mut self) -> Result<Option<String>, Failure> {
        loop {
            if let Some(data) = self.reader.next() {
                return Ok(Some(data));
            }
            if self.reader.pending() > EVENT_BYTES_MAX {
                return Err(Failure::failed(format_args!("{} sent an event that is too long", self.url)));
            }
            match timeout(SILENCE_MAX, self.body.frame()).await {
                Err(_) => {
                    let seconds = SILENCE_MAX.as_secs();
                    return Err(Failure::failed(format_args!("{} was silent for {seconds} seconds", self.url)));
                }
                Ok(None) => return Ok(None),
                Ok(Some(Err(error))) => return Err(Failure::failed(format_args!("{} broke off: {error}", self.url))),
                Ok(Some(Ok(frame))) => self.reader.push(frame.data_ref().map_or(&[], |bytes| bytes)),
            }
        }
    }
}

/// Takes a byte stream apart into events, as in the HTML standard, "Server-sent events"; only `data` is kept.
#[derive(Debug, Default)]
struct Reader {
    bytes: Vec<u8>,
    /// So many of them hold no end of a line.
    searched: usize,
    data: Option<String>,
}

impl Reader {
    fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Bytes held for an event that is not complete.
    fn pending(&self) -> usize {
        self.bytes.len() + self.data.as_ref().map_or(0, String::len)
    }

    /// The data of the next complete event.
    fn next(&mut self) -> Option<String> {
        while let Some(end) = self.bytes[self.searched..].iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.bytes.drain(..=self.searched + end).collect();
            self.searched = 0;
            let line = String::from_utf8_lossy(&line);
            let line = line.trim_end_matches(['\n', '\r']);
            if line.is_empty() {
                if let Some(data) = self.data.take() {
                    return Some(data);
                }
            } else if let Some(text) = line.strip_prefix("data:") {
                let text = text.strip_prefix(' ').unwrap_or(text);
                match &mut self.data {
                    Some(data) => {
                        data.push('\n');
                        data.push_str(text);
                    }
                    None => self.data = Some(text.to_owned()),
                }
            }
        }
        self.searched = self.bytes.len();
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(chunks: &[&str]) -> Vec<String> {
        let mut reader = Reader::default();
        let mut events = Vec::new();
        for chunk in chunks {
            reader.push(chunk.as_bytes());
            events.extend(std::iter::from_fn(|| reader.next()));
        }
        events
    }

    #[test]
    fn events_are_found_however_they_are_cut() {
        let text =
            "id: 1\nevent: a\ndata: {\"n\":1}\n\n: comment\n\nid: 2\r\ndata:one\r\ndata: two\r\n\r\ndata: cut off";
        let whole = read(&[text]);
        assert_eq!(whole, ["{\"n\":1}", "one\ntwo"]);
        let bytes: Vec<String> = text.chars().map(String::from).collect();
        assert_eq!(read(&bytes.iter().map(String::as_str).collect::<Vec<_>>()), whole);
    }

    #[test]
    fn events_without_data_are_passed_over() {
        assert_eq!(read(&["event: nothing\n\n\n\ndata: x\n\n"]), ["x"]);
    }
}
