//! One request on one connection: the program asks seldom, and a pool would be more to know than to gain.

use std::time::Duration;

use http::{HeaderValue, Method, Request, Response, header};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::{Client, Content, NodeUrl};
use crate::failure::Failure;

/// How long a connection may take to be made.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);

/// Sends one request and reads the head of its answer; the body can be read for as long as it comes.
pub(super) async fn send(
    client: &Client,
    method: Method,
    path: &str,
    body: Content,
    name: Option<&str>,
) -> Result<Response<Incoming>, Failure> {
    let url = &client.url;
    let request = request(client, method, path, body, name)?;
    let stream = dial(url).await?;
    let broken = |error: hyper::Error| Failure::failed(format_args!("{url} broke off: {error}"));
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    // It ends with the body; its error, if any, is also the body's.
    tokio::spawn(connection);
    sender.send_request(request).await.map_err(broken)
}

fn request(
    client: &Client,
    method: Method,
    path: &str,
    body: Content,
    name: Option<&str>,
) -> Result<Request<Full<Bytes>>, Failure> {
    let mut request = Request::builder()
        .method(method)
        .uri(client.url.path(path))
        .header(header::HOST, client.url.authority())
        .header(header::USER_AGENT, concat!("ha/", env!("CARGO_PKG_VERSION")));
    if let Some(token) = &client.token {
        let mut value = HeaderValue::try_from(format!("Bearer {token}"))
            .map_err(|_| Failure::usage("the token has characters that cannot be sent (--token, HA_HTTP_TOKEN)"))?;
        value.set_sensitive(true);
        request = request.header(header::AUTHORIZATION, value);
    }
    if let Some(name) = name {
        request = request.header("idempotency-key", name);
    }
    let (kind, body) = match body {
        Content::Nothing => (None, Bytes::new()),
        Content::Json(json) => (Some("application/json"), json),
        Content::Bytes(bytes) => (Some("application/octet-stream"), bytes),
    };
    if let Some(kind) = kind {
        request = request.header(header::CONTENT_TYPE, kind);
    }
    request.body(Full::new(body)).map_err(Failure::usage)
}

async fn dial(url: &NodeUrl) -> Result<TcpStream, Failure> {
    let unreachable = |reason: &str| {
        Failure::failed(format_args!("cannot reach {url}: {reason}; is `ha run` running there? (--url)"))
    };
    match tokio::time::timeout(CONNECT_TIME_MAX, TcpStream::connect(url.socket())).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(unreachable(&reason(&error))),
        Err(_) => Err(unreachable(&format!("no connection within {} seconds", CONNECT_TIME_MAX.as_secs()))),
    }
}

/// An I/O error in words, without the number of the system's error.
fn reason(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        std::io::ErrorKind::HostUnreachable => "no route to that host".to_owned(),
        std::io::ErrorKind::NetworkUnreachable => "no route to that network".to_owned(),
        std::io::ErrorKind::ConnectionReset => "connection reset".to_owned(),
        _ => error.to_string(),
    }
}
