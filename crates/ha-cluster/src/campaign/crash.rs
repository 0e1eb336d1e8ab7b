//! The crash hint.

use std::cmp::Reverse;
use std::time::Duration;

use ha_net::NodeId;

use crate::{Role, Term};

/// Before the first campaign, so that the other voters notice the crash too and give their own lease up.
const FIRST_AFTER: Duration = Duration::from_millis(2);
/// The fastest pace: several round trips of a machine room.
const EVERY_MIN: Duration = Duration::from_millis(25);
/// The slowest pace: a round trip around the world.
const EVERY_MAX: Duration = Duration::from_millis(250);
/// Campaigns at that pace before the timers are left to do it: half a second at the fastest.
const CAMPAIGNS: u32 = 20;
/// A node that had rather not lead waits until half of them failed.
const RELUCTANT_AFTER: u32 = CAMPAIGNS / 2;
/// A vote takes a sync on both sides. Who has seen it begin leaves it this many campaigns' time to end: another
/// pre-vote meanwhile would only replace the election that is about to succeed.
const ELECTION_TAKES: u32 = 4;

/// How fast to campaign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pace {
    every: Duration,
}

impl Pace {
    /// The pace that fits a heartbeat, which is chosen by how far apart the nodes are.
    pub(crate) fn for_heartbeat(heartbeat: Duration) -> Self {
        Self { every: (heartbeat / 2).clamp(EVERY_MIN, EVERY_MAX) }
    }

    /// Between two voters, a little longer than one campaign takes.
    fn stagger(self) -> Duration {
        self.every * 6 / 5
    }

    fn window(self) -> Duration {
        self.every * CAMPAIGNS
    }
}

/// A voter, as this node knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Voter {
    /// Who.
    pub(crate) node: NodeId,
    /// Its priority.
    pub(crate) priority: u16,
    /// Member or witness.
    pub(crate) role: Role,
    /// Whether it may be counted on to campaign.
    pub(crate) alive: bool,
}

/// The connection to the leader ended, and dialling it again was refused: its process is gone, not its network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hint {
    /// Who led.
    pub(crate) leader: NodeId,
    /// In this term.
    pub(crate) term: Term,
    /// All voters, this node among them if it is one.
    pub(crate) voters: Vec<Voter>,
}

/// What happens.
#[derive(Clone, Debug)]
pub(crate) enum Input {
    /// A crash is likely.
    LeaderCrashed(Hint),
    /// A leader was heard: a new one, or the one that was thought dead.
    LeaderHeard {
        /// Who.
        leader: NodeId,
        /// In which term.
        term: Term,
    },
    /// The term of this node, which rises when somebody's election begins here.
    Term(Term),
    /// The deadline may have passed.
    Tick,
}

/// What the driver does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// Give up the lease for which this node refuses votes, by telling the engine that another node shall lead. Only
    /// if the engine still follows that leader in that term.
    DropOwnLease {
        /// Who led.
        leader: NodeId,
        /// In this term.
        term: Term,
        /// The other node to name.
        naming: NodeId,
    },
    /// Campaign, always with a pre-vote.
    Elect,
    /// For the log.
    Say(String),
}

#[derive(Clone, Debug)]
struct Run {
    leader: NodeId,
    term: Term,
    elect_at: Duration,
    ends_at: Duration,
}

/// One node's answer to the crash of its leader.
#[derive(Clone, Debug)]
pub(crate) struct Campaign {
    me: NodeId,
    pace: Pace,
    run: Option<Run>,
    /// The last hint that was acted on.
    last: Option<(NodeId, Term, Duration)>,
}

impl Campaign {
    /// Nothing is going on.
    pub(crate) fn new(me: NodeId, pace: Pace) -> Self {
        Self { me, pace, run: None, last: None }
    }

    /// When [`Input::Tick`] is due at the latest.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        self.run.as_ref().map(|run| run.elect_at.min(run.ends_at))
    }

    /// Takes one input in.
    pub(crate) fn step(&mut self, now: Duration, input: Input, outputs: &mut Vec<Output>) {
        match input {
            Input::LeaderCrashed(hint) => self.begin(now, &hint, outputs),
            Input::LeaderHeard { leader, term } => self.heard(&leader, term, outputs),
            Input::Term(term) => self.term(now, term),
            Input::Tick => {}
        }
        let Some(run) = &mut self.run else { return };
        if run.ends_at <= now {
            outputs.push(Output::Say("no leader came of the crash hint; leaves it to the timers".to_owned()));
            self.run = None;
        } else if run.elect_at <= now {
            run.elect_at = now + self.pace.every;
            outputs.push(Output::Elect);
        }
    }

    fn begin(&mut self, now: Duration, hint: &Hint, outputs: &mut Vec<Output>) {
        let Hint { leader, term, voters } = hint;
        let stale = self.run.as_ref().is_some_and(|run| *term <= run.term);
        let repeated = self.last.as_ref().is_some_and(|(node, known, at)| {
            // A link that comes and goes must not make this node campaign without end.
            node == leader && known == term && now.saturating_sub(*at) < self.pace.window()
        });
        let votes = voters.iter().any(|voter| voter.node == self.me);
        if *leader == self.me || !votes || stale || repeated {
            return;
        }
        self.last = Some((leader.clone(), *term, now));
        let naming = naming(voters, leader, &self.me).unwrap_or(leader).clone();
        outputs.push(Output::DropOwnLease { leader: leader.clone(), term: *term, naming });
        let after = self.delay(hint);
        outputs.push(Output::Say(format!(
            "{leader} seems to have crashed: campaigns in {} ms unless somebody leads",
            after.as_millis()
        )));
        let (elect_at, ends_at) = (now + after, now + self.pace.window());
        self.run = Some(Run { leader: leader.clone(), term: *term, elect_at, ends_at });
    }

    /// How long this node lets better ones go first.
    fn delay(&self, hint: &Hint) -> Duration {
        let ranked = ranked(&hint.voters, &hint.leader, &self.me);
        let place = ranked.iter().position(|voter| voter.node == self.me).unwrap_or(0);
        let eager = ranked.iter().filter(|voter| !reluctant(voter)).count();
        let step = |places: usize| self.pace.stagger() * u32::try_from(places).unwrap_or(CAMPAIGNS);
        let delay = match place.checked_sub(eager) {
            Some(place) => FIRST_AFTER + self.pace.every * RELUCTANT_AFTER + step(place),
            None => FIRST_AFTER + step(place),
        };
        // However many voters there are, each gets its turn.
        delay.min(self.pace.window() - self.pace.every)
    }

    fn heard(&mut self, leader: &NodeId, term: Term, outputs: &mut Vec<Output>) {
        let Some(run) = self.run.take_if(|run| term > run.term || (term == run.term && *leader == run.leader)) else {
            return;
        };
        let sentence = if *leader == run.leader && term == run.term {
            format!("{leader} lives: the crash hint was false")
        } else {
            format!("{leader} leads after the crash of {}", run.leader)
        };
        outputs.push(Output::Say(sentence));
    }

    /// An election has begun, here or elsewhere: it needs some time to itself.
    fn term(&mut self, now: Duration, term: Term) {
        if let Some(run) = self.run.as_mut().filter(|run| run.term < term) {
            run.term = term;
            run.elect_at = run.elect_at.max(now + self.pace.every * ELECTION_TAKES);
        }
    }
}

fn reluctant(voter: &Voter) -> bool {
    voter.role == Role::Witness || voter.priority == 0
}

/// Who campaigns, in order: those who should lead before those who had rather not, by priority, then by id.
fn ranked<'a>(voters: &'a [Voter], leader: &NodeId, me: &NodeId) -> Vec<&'a Voter> {
    let mut ranked: Vec<_> =
        voters.iter().filter(|voter| voter.node != *leader && (voter.alive || voter.node == *me)).collect();
    ranked.sort_by_key(|voter| (reluctant(voter), Reverse(voter.priority), &voter.node));
    ranked
}

fn naming<'a>(voters: &'a [Voter], leader: &NodeId, me: &NodeId) -> Option<&'a NodeId> {
    ranked(voters, leader, me).into_iter().map(|voter| &voter.node).find(|node| *node != me)
}
