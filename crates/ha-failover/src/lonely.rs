//! One of two nodes whose peer is gone: without a vote of anybody else, only a fence can say that it may go on, unless a
//! person has said beforehand that it may anyway.

use std::time::Duration;

use ha_cluster::{Member, MemberRole, MemberState, NodeId, View};

use crate::config::{Config, Mode};

/// What one of two nodes waits for.
#[derive(Debug, Default)]
pub(crate) struct Lonely {
    /// A fence, or the order to go on, is on its way.
    acting: bool,
    not_before: Duration,
}

impl Lonely {
    /// The peer without which this node may go on alone, once that is fenced where there is a fence; once per call of
    /// [`Self::ended`].
    ///
    /// When a cut wire makes both sides believe that they are alone, the one of the higher priority, or of the lesser
    /// id, has a lease's length of advance with a fence: the other is switched off before its turn comes.
    pub(crate) fn look<'a>(
        &mut self,
        now: Duration,
        config: &Config,
        view: &'a View,
        (paused, leaderless_for): (bool, Duration),
    ) -> Option<&'a Member> {
        let has_fence = config.fence_command.is_some();
        let may = config.takes_part && config.mode == Mode::Automatic && !paused;
        let may = may && (has_fence || config.goes_on_alone);
        let mut voters = view.members.iter().filter(|member| member.voter);
        let (Some(one), Some(other), None) = (voters.next(), voters.next(), voters.next()) else { return None };
        let (me, peer) = if one.node_id == view.node_id { (one, other) } else { (other, one) };
        let are_a_pair = me.node_id == view.node_id && peer.role != MemberRole::Witness && me.priority > 0;
        // Whoever said goodbye keeps its vote, and is waited for like one that is silent.
        let gone = matches!(peer.state, MemberState::Failed | MemberState::Left) && !view.leader_is_live;
        if !may || !are_a_pair || !gone || self.acting {
            return None;
        }
        let goes_first = !has_fence || (me.priority, &peer.node_id) > (peer.priority, &me.node_id);
        let advance = if goes_first { Duration::ZERO } else { config.lease };
        if leaderless_for < config.lease + config.lease / 8 + advance || now < self.not_before {
            return None;
        }
        self.acting = true;
        Some(peer)
    }

    /// What was begun has ended. What could not be done is tried again, a lease later.
    pub(crate) fn ended(&mut self, now: Duration, config: &Config) {
        self.acting = false;
        self.not_before = now + config.lease;
    }

    /// What the survivor says that it waits for.
    pub(crate) fn order(node: &NodeId, is_certain: bool) -> String {
        if is_certain {
            format!("{node} is certainly stopped, says the fence: this node goes on alone")
        } else {
            format!(
                "{node} is silent, and this node goes on alone whether it lives or not (SPLIT_BRAIN_PREVENTION=false): \
                 when they meet again, one of them sets its data aside"
            )
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use ha_cluster::{Epoch, Incarnation, Node, Term, Votes};

    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn member(node: &str, state: MemberState, role: MemberRole) -> Member {
        let node_id = node.parse().unwrap();
        Member { node_id, address: "10.0.0.1".to_owned(), port: 1, state, role, priority: 100, voter: true, fit: true }
    }

    fn view(me: &str, members: Vec<Member>) -> View {
        View {
            cluster_id: None,
            cluster_name: "default".to_owned(),
            node_id: me.parse().unwrap(),
            incarnation: Incarnation(1),
            address: "10.0.0.1:1".parse().unwrap(),
            role: Some(MemberRole::Follower),
            term: Term(1),
            epoch: Epoch(1),
            leader: None::<Node>,
            leader_is_live: false,
            members,
            votes: Votes { have: 1, need: 2 },
            waiting_for: None,
            stopped: None,
        }
    }

    fn pair(me: &str) -> View {
        let state = |node: &str| if node == me { MemberState::Alive } else { MemberState::Failed };
        view(me, ["a", "b"].map(|node| member(node, state(node), MemberRole::Follower)).to_vec())
    }

    /// Two nodes under a leader.
    pub(crate) fn led_by(leader: &str) -> View {
        let node = Node { node_id: leader.parse().unwrap(), address: "10.0.0.1".to_owned(), port: 1 };
        View { leader: Some(node), leader_is_live: true, ..pair("a") }
    }

    fn config() -> Config {
        Config { lease: seconds(8), fence_command: Some("fence".to_owned()), ..Config::default() }
    }

    #[test]
    fn one_of_two_fences_the_other_once_every_lease_is_over_and_one_goes_first() {
        let config = config();
        let (mut a, mut b) = (Lonely::default(), Lonely::default());
        let (of_a, of_b) = (pair("a"), pair("b"));
        let look = |lonely: &mut Lonely, view: &View, at: u64| {
            lonely.look(seconds(at), &config, view, (false, seconds(at))).map(|peer| peer.node_id.to_string())
        };
        assert_eq!(look(&mut a, &of_a, 8), None);
        assert_eq!(look(&mut a, &of_a, 9), Some("b".to_owned()));
        assert_eq!(look(&mut a, &of_a, 10), None, "it is being fenced");
        assert_eq!(look(&mut b, &of_b, 16), None, "the other goes first");
        assert_eq!(look(&mut b, &of_b, 17), Some("a".to_owned()));
        a.ended(seconds(20), &config);
        let mut look = |at: u64| a.look(seconds(at), &config, &of_a, (false, seconds(at))).is_some();
        assert!(!look(27) && look(28));
    }

    #[test]
    fn who_may_go_on_anyway_waits_until_every_lease_is_over() {
        let config = Config { fence_command: None, goes_on_alone: true, ..config() };
        for me in ["a", "b"] {
            let (mut lonely, view) = (Lonely::default(), pair(me));
            let mut look = |at: u64| lonely.look(seconds(at), &config, &view, (false, seconds(at))).is_some();
            assert!(!look(8) && look(9) && !look(10));
        }
    }

    #[test]
    fn who_said_goodbye_is_succeeded_like_one_that_is_silent() {
        let anyway = Config { fence_command: None, goes_on_alone: true, ..config() };
        for config in [config(), anyway] {
            let (mut lonely, mut view) = (Lonely::default(), pair("a"));
            view.members[1].state = MemberState::Left;
            let mut look = |at: u64| lonely.look(seconds(at), &config, &view, (false, seconds(at))).is_some();
            assert!(!look(8) && look(9) && !look(10));
        }
    }

    #[test]
    fn nobody_is_fenced_for_less() {
        let never = |config: &Config, view: &View, paused: bool| {
            Lonely::default().look(seconds(100), config, view, (paused, seconds(100))).is_none()
        };
        assert!(never(&Config { fence_command: None, ..config() }, &pair("a"), false));
        assert!(never(&Config { mode: Mode::Manual, ..config() }, &pair("a"), false));
        assert!(never(&config(), &pair("a"), true));
        let mut led = pair("a");
        led.leader_is_live = true;
        assert!(never(&config(), &led, false));
        let mut three = pair("a");
        three.members.push(member("w", MemberState::Failed, MemberRole::Witness));
        assert!(never(&config(), &three, false), "with a witness, a majority decides");
        let mut suspect = pair("a");
        suspect.members[1].state = MemberState::Suspect;
        assert!(never(&config(), &suspect, false));
    }
}
