//! What callers cannot use up: time, connections, memory. Time is tokio's, and jumps when nothing else can happen.

mod support;

use std::time::Duration;

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

#[tokio::test]
async fn connections_that_wait_give_way_to_new_ones() {
    let puppet = Puppet::new(healthy());
    let config = Config { listen: ([127, 0, 0, 1], 0).into(), connections_max: 4, silent_max: 4, ..Config::default() };
    let server = ha_http::listen(config).await.unwrap().serve(puppet.node());
    let caller = Caller { to: server.local_addr() };
    let mut idle = Vec::new();
    for begun in
        ["", "GET /health HTTP/1.1\r\nHost:", "POST /v1/cluster/transfer HTTP/1.1\r\nContent-Length: 9\r\n\r\n{"]
    {
        for _ in 0..20 {
            let mut stream = TcpStream::connect(caller.to).await.unwrap();
            stream.write_all(begun.as_bytes()).await.unwrap();
            idle.push(stream);
            assert_eq!(caller.get("/health/live").await.status, 200);
        }
    }
    let ended = ended(idle).await;
    assert!(ended >= 57, "{ended} of 60 have given way");
}

/// How many of these connections were ended by the server.
async fn ended(streams: Vec<TcpStream>) -> usize {
    let mut ended = 0;
    for mut stream in streams {
        let read = tokio::time::timeout(Duration::from_millis(20), stream.read(&mut [0; 1])).await;
        ended += usize::from(read.is_ok_and(|read| read.is_err() || read.is_ok_and(|count| count == 0)));
    }
    ended
}

#[tokio::test]
async fn those_that_say_nothing_take_no_place_of_those_that_speak() {
    let puppet = Puppet::new(healthy());
    let config =
        Config { listen: ([127, 0, 0, 1], 0).into(), connections_max: 4, silent_max: 100, ..Config::default() };
    let server = ha_http::listen(config).await.unwrap().serve(puppet.node());
    let caller = Caller { to: server.local_addr() };
    let mut silent = Vec::new();
    for _ in 0..70 {
        silent.push(TcpStream::connect(caller.to).await.unwrap());
    }
    let mut first = silent.remove(0);
    first.write_all(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    support::read_until(&mut first, "200 OK").await;
    for _ in 0..20 {
        assert_eq!(caller.get("/health/live").await.status, 200);
    }
    assert_eq!(ended(silent).await, 0);
}

#[tokio::test]
async fn a_connection_that_is_answered_is_left_alone() {
    let puppet = Puppet::new(healthy());
    let config = Config { listen: ([127, 0, 0, 1], 0).into(), connections_max: 4, ..Config::default() };
    let server = ha_http::listen(config).await.unwrap().serve(puppet.node());
    let caller = Caller { to: server.local_addr() };
    let mut followers = Vec::new();
    for _ in 0..3 {
        let mut stream = caller.open("GET", "/v1/events", &[], "").await;
        support::read_until(&mut stream, "200 OK").await;
        followers.push(stream);
    }
    // All that one address may have is taken by calls that are being answered.
    let answer = caller.get("/health/live").await;
    assert_eq!((answer.status, answer.code().as_str()), (503, "too_many_connections"));
    drop(followers.pop());
    let freed = async {
        while caller.get("/health/live").await.status != 200 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(support::PATIENCE, freed).await.unwrap();
}

#[tokio::test]
async fn every_answer_carries_the_id_of_its_request() {
    let stage = stage(healthy()).await;
    let answer = stage.caller.call("GET", "/v1/cluster", &["X-Request-Id: order-7"], "").await;
    assert!(answer.head.contains("x-request-id: order-7"), "{}", answer.head);
    let mut given = Vec::new();
    for wrong in ["X-Request-Id: a b", &format!("X-Request-Id: {}", "x".repeat(65)), "X-Other: 1"] {
        let answer = stage.caller.call("GET", "/no-such-place", &[wrong], "").await;
        let id = answer.head.split("x-request-id: ").nth(1).unwrap().lines().next().unwrap().to_owned();
        assert!(id.len() > 16 && !given.contains(&id), "{id}");
        given.push(id);
    }
}

#[tokio::test]
async fn too_many_headers_are_refused() {
    let stage = stage(healthy()).await;
    let headers: Vec<String> = (0..100).map(|number| format!("X-{number}: 1")).collect();
    let answer = stage.caller.call("GET", "/health", &headers.iter().map(String::as_str).collect::<Vec<_>>(), "").await;
    assert_eq!(answer.status, 431, "{answer:?}");
}
