//! Commands that are run when a role comes and goes: in order, once each, and what happens when they hang, fail, or say
//! late that they worked.

use std::fs;
use std::time::Duration;

use serde_json::json;
use tokio::time::sleep;
use xtask::local_cluster::{LEADER_TIMEOUT, LocalCluster, Settings, wait_for};

use crate::support::Outcome;

/// Says so after it has waited for as long as a file beside the nodes says.
const PROMOTE: &str = "test ! -e ../fails-$HA_NODE_ID || exit 3; \
                       sleep $(cat ../slow-$HA_NODE_ID 2>/dev/null || echo 0); \
                       echo promote $HA_NODE_ID $HA_EPOCH >> ../hooks";
const DEMOTE: &str = "echo demote $HA_NODE_ID $HA_EPOCH >> ../hooks";

/// One line of what the commands wrote down.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    what: String,
    node: String,
    epoch: u64,
}

struct Play {
    cluster: LocalCluster,
}

impl Play {
    async fn begin() -> Outcome<(Self, Line)> {
        let settings = Settings::new(3)
            .with("FAILOVER_ENABLED", "true")
            .with("FAILOVER_TIMEOUT", "1")
            .with("FAILOVER_MAX_ATTEMPTS", "1")
            .with("FAILOVER_PROMOTE_COMMAND", PROMOTE)
            .with("FAILOVER_DEMOTE_COMMAND", DEMOTE);
        let play = Self { cluster: LocalCluster::start(settings).await? };
        play.cluster.wait_formed().await?;
        let first = play.promoted_after(0).await?;
        Ok((play, first))
    }

    fn lines(&self) -> Vec<Line> {
        let text = fs::read_to_string(self.cluster.directory().join("hooks")).unwrap_or_default();
        let parse = |line: &str| {
            let words: Vec<&str> = line.split(' ').collect();
            let [what, node, epoch] = words[..] else { return None };
            Some(Line { what: what.to_owned(), node: node.to_owned(), epoch: epoch.parse().ok()? })
        };
        text.lines().filter_map(parse).collect()
    }

    async fn promoted_after(&self, epoch: u64) -> Outcome<Line> {
        let promoted = wait_for("the command of a promotion", LEADER_TIMEOUT, async || {
            let lines = self.lines();
            let newer = lines.iter().find(|line| line.what == "promote" && line.epoch > epoch);
            newer.cloned().ok_or_else(|| format!("{lines:?}"))
        });
        Ok(promoted.await?)
    }

    fn number(&self, line: &Line) -> Outcome<usize> {
        self.cluster.number_of(&line.node).ok_or_else(|| format!("{} is no node", line.node).into())
    }

    fn write(&self, name: &str, text: &str) -> Outcome {
        Ok(fs::write(self.cluster.directory().join(name), text)?)
    }
}

#[tokio::test]
async fn what_stops_has_stopped_before_anything_starts() -> Outcome {
    let (play, first) = Play::begin().await?;
    let primary = play.number(&first)?;
    // Each node first ended what a life before it may have left.
    let former = |line: &&Line| line.what == "demote" && line.epoch == 0;
    assert_eq!(play.lines().iter().filter(former).count(), 3, "{:?}", play.lines());
    let to = play.cluster.node(primary % 3 + 1).spec.node_id.clone();
    let answer = play.cluster.http(primary).post("/v1/failover/switchover", &json!({"to": to})).await?;
    assert_eq!(answer.status, 200, "{}", answer.error_message());
    let next = play.promoted_after(first.epoch).await?;
    assert_eq!(next.node, to);
    let since: Vec<Line> = play.lines().into_iter().filter(|line| line.epoch > 0).collect();
    let stopped = Line { what: "demote".to_owned(), ..first.clone() };
    assert_eq!(since, [first, stopped, next]);
    Ok(())
}

/// T18: one that hangs, and one that fails. Neither counts, and neither is heard when it says later that it worked.
#[tokio::test]
async fn a_promotion_that_hangs_or_fails_goes_to_the_next_node() -> Outcome {
    let (mut play, first) = Play::begin().await?;
    let primary = play.number(&first)?;
    let (one, other) = (primary % 3 + 1, (primary + 1) % 3 + 1);
    let id = |number: usize| format!("node-{number}");
    // Whoever comes first does not succeed; then the other one does.
    play.write(&format!("slow-{}", id(one)), "3")?;
    play.write(&format!("fails-{}", id(primary)), "")?;
    play.cluster.kill9(primary).await?;
    let next = play.promoted_after(first.epoch).await?;
    assert_eq!(play.number(&next)?, other, "{:?}", play.lines());
    // Longer than the one that hangs would have taken.
    sleep(Duration::from_secs(4)).await;
    let late = play.lines().into_iter().filter(|line| line.what == "promote" && line.node == id(one)).count();
    assert_eq!(late, 0, "a command that was given up finished all the same");
    assert_eq!(play.cluster.http(other).get("/health/primary").await?.status, 200);
    // Where it fails it is tried, and goes back to where it works.
    play.cluster.restart(primary)?;
    play.cluster.wait_formed().await?;
    let asked = play.cluster.http(other);
    let tried = wait_for("a switchover that cannot succeed", LEADER_TIMEOUT, async || {
        let answer = asked.post("/v1/failover/switchover", &json!({"to": id(primary)})).await;
        let answer = answer.map_err(|error| error.to_string())?;
        let is_known = answer.error_message().contains("could not take") || answer.status == 200;
        if is_known { Ok(answer) } else { Err(answer.error_message()) }
    });
    let answer = tried.await?;
    assert_ne!(answer.status, 200, "{}", answer.body);
    let back = play.promoted_after(next.epoch).await?;
    assert_eq!(play.number(&back)?, other, "{:?}", play.lines());
    Ok(())
}
