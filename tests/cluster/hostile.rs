//! T53: whatever is sent to the ports of real nodes costs its connection, and nothing else.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use xtask::local_cluster::{LocalCluster, Settings, Siege, make_room_for};

use crate::support::Outcome;

/// How long a node may keep somebody who has said nothing that makes sense.
const PATIENCE: Duration = Duration::from_secs(10);
/// Lines that all of it together may add to a node's log: so many in each second, and a few more.
const LINES_PER_SECOND_MAX: f64 = 20.0;
const LINES_MORE: f64 = 100.0;

#[tokio::test]
async fn noise_on_both_ports_costs_its_connection_and_nothing_else() -> Outcome {
    let settings = Settings::new(3).with("STATE_ENABLED", "true").with("CLUSTER_SECRET", "correct horse battery");
    let mut cluster = LocalCluster::start(settings).await?;
    cluster.wait_formed().await?;
    let leader = cluster.wait_leader().await?;
    let (term, lines) = (term(&cluster, leader).await?, lines(&cluster, leader));
    let began = Instant::now();
    make_room_for(2_200)?;
    let spec = &cluster.node(leader).spec;
    let (nodes, callers) = (spec.cluster_address(), spec.http_address());
    for noise in noises() {
        for port in [nodes, callers] {
            let answer = say(port, &noise).await?;
            assert!(port == callers || answer.len() < 400, "a stranger is told {} bytes", answer.len());
        }
    }
    for (request, expected) in requests() {
        let answer = say(callers, &request).await?;
        let told = String::from_utf8_lossy(&answer).into_owned();
        let status = told.split(' ').nth(1).unwrap_or_default();
        assert!(expected.contains(&status), "{} was answered {told}", String::from_utf8_lossy(&request[..60]));
    }
    // By the hundred at once, too: the node answers others meanwhile.
    let sieges =
        [Siege::lay(nodes, 400, 40, b"\0\0\x20\0HANT"), Siege::lay(callers, 1500, 100, b"GET / HTTP/1.1\r\nA: b")];
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(sieges.iter().all(|siege| siege.made() > 400), "the siege was never laid");
    for number in 0..20 {
        let answer = cluster.http(leader).put("/v1/state/a", &json!({"value": number})).await?;
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
    let other = leader % 3 + 1;
    cluster.kill9(other).await?;
    cluster.restart(other)?;
    cluster.wait_formed().await?;
    drop(sieges);
    assert_eq!(cluster.wait_leader().await?, leader, "the leader moved");
    assert_eq!(self::term(&cluster, leader).await?, term, "the leader was elected anew");
    for number in 1..=3 {
        assert!(!cluster.node(number).log_text().contains("panicked"), "{}", cluster.node(number).log_tail());
    }
    let (added, seconds) = (self::lines(&cluster, leader) - lines, began.elapsed().as_secs_f64());
    assert!(added as f64 <= LINES_PER_SECOND_MAX * seconds + LINES_MORE, "{added} lines were logged in {seconds} s");
    Ok(())
}

/// Says something, hangs up its own side, and returns all that is answered; the other side must end it in time.
async fn say(port: SocketAddr, bytes: &[u8]) -> Outcome<Vec<u8>> {
    let mut stream = TcpStream::connect(port).await?;
    // It may be turned away before it has said all.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let mut read = timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
    if read.is_err() {
        stream.shutdown().await?;
        read = timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
    }
    assert!(read.is_ok(), "{:?} is still kept after {PATIENCE:?}", &bytes[..bytes.len().min(40)]);
    Ok(answer)
}

fn noises() -> Vec<Vec<u8>> {
    let random = |bytes: usize| {
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let next = |_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        };
        (0..bytes).map(next).collect::<Vec<u8>>()
    };
    let greeting =
        |body: Vec<u8>| [&(13 + body.len() as u32).to_be_bytes()[..], b"HANT\x01\0\x01\0\x01\0\0\0\0", &body].concat();
    vec![
        // Oversize, and a length that nothing follows.
        [&u32::MAX.to_be_bytes()[..], b"HANT"].concat(),
        (16 * 1024 + 1_u32).to_be_bytes().to_vec(),
        greeting(vec![0xfd; 12_000]),
        // Truncated.
        b"\0\0\0\x2bHANT\x01\0\x01".to_vec(),
        greeting(b"\x04shop\x01\x05".to_vec())[..20].to_vec(),
        // Random.
        random(10),
        random(70_000),
        greeting(random(300)),
        // Of other protocols.
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        b"SSH-2.0-x\r\n".to_vec(),
        // A whole greeting that was heard elsewhere, answers included, said again.
        b"\0\0\0\x2bHANT\x01\0\x01\0\x01\x81\xb6\x3d\xc1\x04shop\x01\x05\x01\x02n1\x02\x06h:7946\x01\x03ttl\x019\x01\x03\x07\0"
            .to_vec(),
    ]
}

fn requests() -> Vec<(Vec<u8>, &'static [&'static str])> {
    let put = |body: &str, more: &str| {
        let length = body.len();
        let head =
            "PUT /v1/state/a HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n";
        format!("{head}{more}Content-Length: {length}\r\n\r\n{body}").into_bytes()
    };
    let deep = |depth: usize| format!("{{\"value\": {}{}}}", "[".repeat(depth), "]".repeat(depth));
    vec![
        (put(&deep(100_000), ""), &["400"]),
        (put(&"[".repeat(1_000_000), ""), &["400"]),
        (put(&format!("{{\"value\": \"{}\"}}", "x".repeat(2_000_000)), ""), &["413"]),
        (put("{}", &format!("X-Long: {}\r\n", "x".repeat(40_000))), &["431"]),
        (put("{}", &(0..200).map(|number| format!("X-{number}: 1\r\n")).collect::<String>()), &["431"]),
        (put("{}", "Transfer-Encoding: chunked\r\n"), &["400"]),
        (put("{\"value\": 1", ""), &["400"]),
        (b"GET /v1/state/%ff%fe%00 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".to_vec(), &["400"]),
        (
            b"GET /v1/state?limit=99999999999999999999 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
                .to_vec(),
            &["400"],
        ),
        (
            b"GET /../../etc/passwd HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nX: aaaaaaaaaaaaaaaa\r\n\r\n"
                .to_vec(),
            &["404"],
        ),
    ]
}

async fn term(cluster: &LocalCluster, node: usize) -> Outcome<u64> {
    let health = cluster.http(node).get("/health").await?.json();
    Ok(health.pointer("/ha_details/cluster_info/term").and_then(serde_json::Value::as_u64).ok_or("no term is told")?)
}

fn lines(cluster: &LocalCluster, node: usize) -> usize {
    cluster.node(node).log_text().lines().count()
}
