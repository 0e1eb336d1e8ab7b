//! What callers send, to be fed with anything: see the package `ha-fuzz`.

use std::cell::OnceCell;
use std::sync::Arc;

use ha_runtime::testing::{Puppet, healthy};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::access::Access;
use crate::conversation::conversation;
use crate::limits::REQUEST_TIME_MAX;
use crate::request_id::Ids;
use crate::router::{Shared, Snapshots, Streams, router};
use crate::short::Ways;
use crate::{Metrics, Token};

/// A name, valid inputs to begin with, and what takes an input.
pub type Target = (&'static str, Vec<Vec<u8>>, fn(&[u8]));

/// All of this crate.
pub fn targets() -> Vec<Target> {
    vec![("http", requests(), http)]
}

/// What a caller must know; no seed says it.
const TOKEN: &str = "a-token-that-nobody-guesses";

fn requests() -> Vec<Vec<u8>> {
    let get = [
        "/health",
        "/metrics",
        "/v1/state/a",
        "/v1/state?prefix=a&limit=5",
        "/v1/cluster/members",
        "/v1/replication/task?after=x",
    ];
    let post = [
        ("POST", "/v1/cluster/transfer", "{\"to\": \"node-1\"}"),
        ("PUT", "/v1/state/a", "{\"value\": 1, \"if_revision\": 0}"),
        ("PUT", "/v1/state/a%2Fb", "{\"value\": [1], \"ttl_seconds\": 3}"),
        ("POST", "/v1/locks/nightly", "{\"ttl_seconds\": 30, \"timeout_seconds\": 0}"),
        ("PUT", "/v1/replication/task/1", "{\"a\": {\"b\": []}}"),
        ("DELETE", "/v1/locks/nightly/7", ""),
    ];
    let plain = get.map(|path| format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
    let bodies = post.map(|(method, path, body)| {
        let length = body.len();
        format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Authorization: Bearer wrong\r\nIdempotency-Key: k\r\nContent-Length: {length}\r\n\r\n{body}"
        )
    });
    let chunked = "PUT /v1/state/a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n0\r\n\r\n".to_owned();
    plain.into_iter().chain(bodies).chain([chunked]).map(String::into_bytes).collect()
}

struct Served {
    runtime: tokio::runtime::Runtime,
    puppet: Arc<Puppet>,
    ways: Ways,
    _end: watch::Sender<bool>,
}

thread_local! {
    static SERVED: OnceCell<Option<Served>> = const { OnceCell::new() };
}

fn serve() -> Option<Served> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().ok()?;
    let puppet = Puppet::new(healthy());
    let (end, ended) = watch::channel(false);
    let listen = ([127, 0, 0, 1], 8080).into();
    let ha = puppet.node();
    let access = Arc::new(Access::new(Token::new(TOKEN).ok(), listen));
    let shared = Shared {
        ha,
        metrics: Metrics::new(),
        log: None,
        access,
        streams: Streams::new(ended),
        snapshots: Snapshots::new(),
        ids: Ids::new(),
    };
    Some(Served { runtime, puppet, ways: Ways::new(shared.clone(), router(shared)), _end: end })
}

/// A whole connection of a caller without the token. Nothing is changed, and the token is never shown. Time is tokio's,
/// and jumps when nothing else can happen.
fn http(input: &[u8]) {
    SERVED.with(|served| {
        let Some(Served { runtime, puppet, ways, .. }) = served.get_or_init(serve) else { return };
        let heard = runtime.block_on(async {
            let (near, mut far) = tokio::io::duplex(256 * 1024);
            let asking = async {
                let mut heard = Vec::new();
                let _ = far.write_all(input).await;
                let _ = far.read_to_end(&mut heard).await;
                heard
            };
            let both = async { tokio::join!(conversation(near, ways.clone()), asking).1 };
            timeout(REQUEST_TIME_MAX * 2, both).await.unwrap_or_default()
        });
        let shown = heard.windows(TOKEN.len()).any(|part| part == TOKEN.as_bytes());
        assert!(!shown, "an answer shows the token");
        let changes = puppet.transfers.lock().map(|transfers| transfers.len()).unwrap_or_default();
        assert_eq!(changes, 0, "somebody without the token has moved the leader");
    });
}
