//! How far the times of day of the nodes are apart, as a component. Nothing is decided by the time of day; stamps of
//! records without a leader, logs and certificates are better off when it is right.

use std::time::Duration;

use ha_cluster::{Cluster, Lane, MemberState, Room};
use ha_health::{Health, RegisterError, Verdict};
use ha_replication::{SystemWall, Wall as _};
use tokio::time::Instant;

/// Whoever asks here is told the time of day, in milliseconds since 1970.
const ROOM: Room = Room(3);
/// The component.
const CLOCK_OFFSET: &str = "ha.clock-offset";
/// The longest exchange that says anything: half of it is what the answer may be wrong by.
const ANSWER_WITHIN: Duration = Duration::from_millis(300);
/// So far apart is worth a look, and so far is wrong: stamps that are further ahead are not merged.
const DEGRADED_MS: u64 = 250;
const FAILED_MS: u64 = 500;

/// Answers others.
pub(crate) fn serve(cluster: &Cluster) {
    cluster.serve(ROOM, |_, _| {
        let now = SystemWall.milliseconds().to_le_bytes().to_vec();
        Box::pin(std::future::ready(Ok(now.into())))
    });
}

/// Registers the component.
pub(crate) fn register(health: &Health, cluster: &Cluster) -> Result<(), RegisterError> {
    let cluster = cluster.clone();
    health.register(CLOCK_OFFSET, move || look(cluster.clone()))
}

/// Another node's clock against this one's, in milliseconds: above zero when this one is ahead.
type Offset = (String, i64);

async fn look(cluster: Cluster) -> Verdict {
    let view = cluster.watch().borrow().clone();
    let others = view.members.iter().filter(|member| member.node_id != view.node_id);
    let alive = others.filter(|member| member.state == MemberState::Alive);
    let asked = alive.map(|member| offset_to(&cluster, member.node_id.clone()));
    let known: Vec<Offset> = futures::future::join_all(asked).await.into_iter().flatten().collect();
    judge(&known)
}

async fn offset_to(cluster: &Cluster, node: ha_cluster::NodeId) -> Option<Offset> {
    let sent = Instant::now();
    let answer = cluster.ask_room(&node, Lane::Control, ROOM, Default::default(), ANSWER_WITHIN).await.ok()?;
    let took = sent.elapsed();
    if took > ANSWER_WITHIN {
        return None;
    }
    let theirs = u64::from_le_bytes(<[u8; 8]>::try_from(&answer[..]).ok()?);
    // Read after the answer: theirs is as old as half of the exchange, as in NTP.
    let then = SystemWall.milliseconds().saturating_sub(u64::try_from(took.as_millis() / 2).ok()?);
    let offset = i128::from(then) - i128::from(theirs);
    Some((node.to_string(), i64::try_from(offset).unwrap_or(i64::MAX)))
}

/// One clock that is off is off against all others; where it is that of another node, this one only tells of it.
fn judge(known: &[Offset]) -> Verdict {
    let Some((node, worst)) = known.iter().max_by_key(|(_, offset)| offset.unsigned_abs()) else {
        return Verdict::HEALTHY;
    };
    let is_off = |limit: u64| known.iter().filter(|(_, offset)| offset.unsigned_abs() >= limit).count();
    let side = if *worst > 0 { "ahead of" } else { "behind" };
    let sentence = format!("the clock here is {} ms {side} that of {node}", worst.unsigned_abs());
    if is_off(FAILED_MS) * 2 > known.len() {
        Verdict::Failed(format!("{sentence}: let a time service (NTP) set both"))
    } else if is_off(DEGRADED_MS) > 0 {
        Verdict::Degraded(format!("{sentence}: let a time service (NTP) set both"))
    } else {
        Verdict::HEALTHY
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(offsets: &[i64]) -> Verdict {
        judge(
            &offsets.iter().enumerate().map(|(number, offset)| (format!("node-{number}"), *offset)).collect::<Vec<_>>(),
        )
    }

    #[test]
    fn a_clock_that_is_off_is_told_and_one_that_is_off_against_most_fails() {
        assert_eq!((judged(&[]), judged(&[20, -249])), (Verdict::HEALTHY, Verdict::HEALTHY));
        let Verdict::Degraded(told) = judged(&[3, -7000]) else { panic!("one of two others is off") };
        assert!(told.contains("7000 ms behind that of node-1"), "{told}");
        assert!(matches!(judged(&[300, 280]), Verdict::Degraded(_)));
        let Verdict::Failed(told) = judged(&[7000, 7001]) else { panic!("this one is off") };
        assert!(told.contains("7001 ms ahead of"), "{told}");
        assert!(matches!(judged(&[-500]), Verdict::Failed(_)));
    }
}
