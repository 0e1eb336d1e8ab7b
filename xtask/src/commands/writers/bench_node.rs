//! Talks to `ha-bench-node`: a node that proposes, on request, from inside its own process, since a user of the Rust
//! API has no network between himself and his node. One line of JSON goes in, one comes out.

use std::os::fd::OwnedFd;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::unix::pipe;
use tokio::time::timeout;
use xtask::local_cluster::Node;
use xtask::local_cluster::binary::Program;

/// The program.
pub(crate) const BENCH_NODE: Program = Program { package: "ha-bench-node", name: "ha-bench-node" };

/// How much longer than the work that was asked for an answer may take.
const ANSWER_GRACE: Duration = Duration::from_secs(20);

/// A conversation with one life of one bench node.
pub(crate) struct BenchNode {
    input: pipe::Sender,
    output: Lines<BufReader<pipe::Receiver>>,
}

impl BenchNode {
    /// Takes up the conversation with a node that was started with [`Node::talk`].
    pub(crate) fn attach(node: &mut Node) -> Result<Self, Box<dyn std::error::Error>> {
        let (stdin, stdout) = node.pipes().ok_or("this node does not talk")?;
        let input = pipe::Sender::from_owned_fd(OwnedFd::from(stdin))?;
        let output = pipe::Receiver::from_owned_fd(OwnedFd::from(stdout))?;
        Ok(Self { input, output: BufReader::new(output).lines() })
    }

    /// Asks for something that takes `work`.
    pub(crate) async fn ask(&mut self, request: Value, work: Duration) -> Result<Value, Box<dyn std::error::Error>> {
        let line = format!("{request}\n");
        let exchange = async {
            self.input.write_all(line.as_bytes()).await?;
            self.output.next_line().await
        };
        let answer = timeout(work + ANSWER_GRACE, exchange).await.map_err(|_| format!("no answer to {request}"))??;
        let answer: Value = serde_json::from_str(&answer.ok_or_else(|| format!("the node ended during {request}"))?)?;
        match answer.get("error") {
            Some(error) => Err(format!("{request}: {error}").into()),
            None => Ok(answer),
        }
    }
}
