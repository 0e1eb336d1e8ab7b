//! Event streams, and the end of a server that serves them.

mod support;

use ha_runtime::testing::healthy;
use support::{read_until, stage};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

#[tokio::test]
async fn events_are_followed_with_their_numbers() {
    let stage = stage(healthy()).await;
    let mut stream = stage.caller.open("GET", "/v1/events", &[], "").await;
    let head = read_until(&mut stream, "\r\n\r\n").await.to_lowercase();
    assert!(head.starts_with("http/1.1 200"), "{head}");
    assert!(head.contains("content-type: text/event-stream"), "{head}");
    stage.puppet.happen(7, "leader_changed", "node-2 leads in term 5");
    let text = read_until(&mut stream, "\n\n").await;
    for line in [
        "id: 7",
        "event: leader_changed",
        "data: {\"kind\":\"leader_changed\",\"message\":\"node-2 leads in term 5\",\"number\":7}",
    ] {
        assert!(text.lines().any(|found| found == line), "{line:?} is missing in {text:?}");
    }
}

#[tokio::test]
async fn a_slow_reader_is_told_how_much_it_missed() {
    let stage = stage(healthy()).await;
    let mut stream = stage.caller.open("GET", "/v1/events", &[], "").await;
    read_until(&mut stream, "\r\n\r\n").await;
    // The puppet keeps four events, and the server's task cannot run between these calls: the test has one thread.
    for number in 1..=6 {
        stage.puppet.happen(number, "member_failed", "node-3 is silent");
    }
    let text = read_until(&mut stream, "id: 6").await;
    assert!(text.contains("event: lagged"), "{text:?}");
    assert!(text.contains("\"missed\":2"), "{text:?}");
    assert!(!text.contains("id: 2\n") && text.contains("id: 3\n"), "{text:?}");
}

#[tokio::test]
async fn who_comes_back_is_told_what_was_missed() {
    let stage = stage(healthy()).await;
    for (seen, notice) in [("6", None), ("4", Some("\"missed\":2")), ("7", Some("started anew")), ("x", None)] {
        let header = format!("Last-Event-ID: {seen}");
        let mut stream = stage.caller.open("GET", "/v1/events", &[&header], "").await;
        read_until(&mut stream, "\r\n\r\n").await;
        stage.puppet.happen(7, "leader_changed", "node-2 leads in term 5");
        let text = read_until(&mut stream, "id: 7").await;
        assert_eq!(text.contains("event: lagged"), notice.is_some(), "{seen}: {text}");
        assert!(text.contains(notice.unwrap_or("")), "{seen}: {text}");
    }
}

#[tokio::test]
async fn the_last_events_come_first_where_they_are_wanted_and_none_comes_twice() {
    let stage = stage(healthy()).await;
    for number in 1..=3 {
        stage.puppet.stream.happened("role", format!("decision {number}"));
    }
    let mut stream = stage.caller.open("GET", "/v1/events?past=2", &["Last-Event-ID: 1"], "").await;
    let text = read_until(&mut stream, "id: 3").await;
    assert!(text.contains("id: 2\n") && !text.contains("id: 1\n") && !text.contains("lagged"), "{text}");
    stage.puppet.happen(3, "role", "decision 3");
    stage.puppet.happen(4, "role", "decision 4");
    let text = read_until(&mut stream, "id: 4").await;
    assert!(!text.contains("id: 3\n"), "{text}");
}

#[tokio::test]
async fn stopping_ends_streams_and_idle_connections_and_frees_the_port() {
    let stage = stage(healthy()).await;
    let mut stream = stage.caller.open("GET", "/v1/events", &[], "").await;
    read_until(&mut stream, "\r\n\r\n").await;
    let mut idle = TcpStream::connect(stage.caller.to).await.unwrap();
    tokio::time::timeout(support::PATIENCE, stage.server.stop()).await.expect("an end in time");
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.unwrap();
    assert!(rest.ends_with(b"0\r\n\r\n"), "the stream ends in order: {rest:?}");
    assert_eq!(idle.read(&mut [0]).await.unwrap_or(0), 0);
    let again = ha_http::Config { listen: stage.caller.to, ..ha_http::Config::default() };
    ha_http::listen(again).await.expect("the port is free again");
}

#[tokio::test]
async fn a_port_in_use_is_an_error_that_names_it() {
    let stage = stage(healthy()).await;
    let config = ha_http::Config { listen: stage.caller.to, ..ha_http::Config::default() };
    let error = ha_http::listen(config).await.unwrap_err();
    assert!(error.to_string().contains(&stage.caller.to.to_string()), "{error}");
    assert_eq!(error.source.kind(), std::io::ErrorKind::AddrInUse);
}

#[tokio::test]
async fn only_so_many_may_follow() {
    let stage = stage(healthy()).await;
    let mut streams = Vec::new();
    // One address has its share of them.
    for _ in 0..ha_http::limits::EVENT_STREAMS_MAX * 3 / 4 {
        let mut stream = stage.caller.open("GET", "/v1/events", &[], "").await;
        read_until(&mut stream, "\r\n\r\n").await;
        streams.push(stream);
    }
    let answer = stage.caller.get("/v1/events").await;
    assert_eq!((answer.status, answer.code().as_str()), (503, "too_many_streams"));
    assert_eq!(stage.caller.get("/health/live").await.status, 200);
}
