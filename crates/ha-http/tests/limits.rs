//! What callers cannot use up: time, connections, memory. Time is tokio's, and jumps when nothing else can happen.

mod support;

use ha_http::Config;
use ha_http::limits::{HEAD_BYTES_MAX, HEAD_READ_TIME_MAX, REQUEST_TIME_MAX};
use ha_runtime::testing::{Puppet, healthy};
use support::{Caller, stage};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

#[tokio::test(start_paused = true)]
async fn a_request_that_takes_too_long_is_answered_for() {
    let stage = stage(healthy()).await;
    *stage.puppet.transfer_answer.lock().unwrap() = None;
    let began = Instant::now();
    let mut stream = stage.caller.open("POST", "/v1/cluster/transfer", &[], "").await;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 504 ") && answer.contains("\"timed_out\""), "{answer}");
    assert!(began.elapsed() >= REQUEST_TIME_MAX);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_not_waited_for_for_ever() {
    let stage = stage(healthy()).await;
    let mut stream = TcpStream::connect(stage.caller.to).await.unwrap();
    stream
        .write_all(b"POST /v1/cluster/transfer HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{")
        .await
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 504 "), "{answer}");
    assert!(stage.puppet.transfers.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_head_that_does_not_come_ends_its_connection() {
    let stage = stage(healthy()).await;
    for begun in ["", "GET /health HTTP/1.1\r\nHost:"] {
        let began = Instant::now();
        let mut stream = TcpStream::connect(stage.caller.to).await.unwrap();
        stream.write_all(begun.as_bytes()).await.unwrap();
        // The server may say that it timed out, or only hang up.
        let _ = stream.read_to_end(&mut Vec::new()).await;
        assert!(began.elapsed() >= HEAD_READ_TIME_MAX && began.elapsed() < HEAD_READ_TIME_MAX * 2, "{begun:?}");
    }
}

#[tokio::test]
async fn a_head_that_is_too_long_is_refused() {
    let stage = stage(healthy()).await;
    let header = format!("X-Long: {}", "x".repeat(HEAD_BYTES_MAX));
    let answer = stage.caller.call("GET", "/health", &[&header], "").await;
    assert_eq!(answer.status, 431, "{answer:?}");
}

#[tokio::test]
async fn what_is_no_http_ends_its_connection_and_nothing_else() {
    let stage = stage(healthy()).await;
    for noise in [&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..], b"\0\0\0\0\r\n\r\n", b"GET\r\n\r\n"] {
        let mut stream = TcpStream::connect(stage.caller.to).await.unwrap();
        stream.write_all(noise).await.unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 400 "), "{}", String::from_utf8_lossy(&answer));
    }
    assert_eq!(stage.caller.get("/health/live").await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn connections_beyond_the_cap_wait_for_a_place() {
    let puppet = Puppet::new(healthy());
    let config = Config { listen: ([127, 0, 0, 1], 0).into(), connections_max: 2, ..Config::default() };
    let server = ha_http::listen(config).await.unwrap().serve(puppet.node());
    let caller = Caller { to: server.local_addr() };
    let idle = [TcpStream::connect(caller.to).await.unwrap(), TcpStream::connect(caller.to).await.unwrap()];
    let began = Instant::now();
    let mut waiting = caller.open("GET", "/health/live", &[], "").await;
    // Idle connections end when their time is up, and the one that waited is served.
    let mut answer = String::new();
    waiting.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(began.elapsed() >= HEAD_READ_TIME_MAX, "{:?}", began.elapsed());
    drop(idle);
}
