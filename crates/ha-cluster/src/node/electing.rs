//! What a voter does when its leader's process is gone, and what one does that had rather not lead.

use ha_net::NodeId;

use super::driver::{Done, Driver};
use crate::campaign::{Hint, Input, Output, Reluctant, Voter};
use crate::cluster::PriorityError;
use crate::{MemberState, Role};

impl Driver {
    /// The connection to a node was reset, and nobody listens there any more.
    pub(super) fn crashed(&mut self, node: &NodeId) {
        self.cx.status = self.cx.engine.status();
        let status = &self.cx.status;
        // The one that this node voted for just now may be the one that died: then nobody leads.
        let led = status.leader.as_ref().or(status.candidate.as_ref()) == Some(node);
        if !led || status.is_leader() {
            return;
        }
        let hint = Hint { leader: node.clone(), term: status.term, voters: self.voters() };
        self.campaign(Input::LeaderCrashed(hint));
    }

    fn voters(&self) -> Vec<Voter> {
        let opinions = self.meeting.gossip.members();
        let voter = |node: &NodeId| {
            let record = self.cx.status.nodes.get(node)?;
            let opinion = opinions.get(node);
            let traits = opinion.and_then(|o| o.traits.as_ref());
            Some(Voter {
                node: node.clone(),
                priority: traits.map_or(record.priority, |t| t.priority),
                role: record.role,
                alive: *node == self.cx.me.node_id || opinion.is_some_and(|o| o.state == MemberState::Alive),
            })
        };
        self.cx.status.voters.iter().filter_map(voter).collect()
    }

    /// Tells the campaign the term, which rises when somebody's election begins here.
    pub(super) fn campaign_notice(&mut self) {
        let term = self.cx.status.term;
        self.campaign(Input::Term(term));
    }

    /// Everything that is due.
    pub(super) fn campaign_on_time(&mut self) {
        if let Some(leader) = self.cx.status.leader.clone().filter(|_| self.campaign.deadline().is_some())
            && (self.cx.status.is_leader() || self.cx.engine.leader_heard().is_some())
        {
            // Since the lease was dropped, so it lives.
            let term = self.cx.status.term;
            self.campaign(Input::LeaderHeard { leader, term });
        }
        self.campaign(Input::Tick);
        let leader_heard = self.cx.status.is_leader()
            || self.cx.engine.leader_heard().is_some_and(|at| at.elapsed() < self.cx.engine.election_max());
        let now = self.cx.now();
        let member = self.cx.status.voters.contains(&self.cx.me.node_id);
        if let Some(reluctant) = &mut self.reluctant
            && reluctant.step(now, leader_heard || !member || self.failed.is_some())
        {
            let witness = self.cx.config.role == Role::Witness;
            let who = if witness { "a witness" } else { "a node of priority 0" };
            self.cx.events.happened("campaign", format!("nobody leads: even {who} campaigns, to hand over at once"));
            self.elect();
        }
    }

    /// Another priority, until this node starts again. The election timer keeps the shortest time of the first one:
    /// priority moves leadership by the controller's hand.
    pub(super) fn set_priority(&mut self, priority: u16) -> Result<(), PriorityError> {
        if self.cx.config.role == Role::Witness {
            return Err(PriorityError::Witness);
        }
        let before = std::mem::replace(&mut self.cx.config.priority, priority);
        if before == priority {
            return Ok(());
        }
        self.choose_to_elect();
        match (&self.reluctant, priority) {
            (None, 0) => {
                let random = self.cx.me.disk ^ self.cx.me.incarnation.0;
                self.reluctant = Some(Reluctant::new(self.cx.now(), self.cx.engine.election_max(), random));
            }
            (Some(_), 1..) => self.reluctant = None,
            _ => {}
        }
        self.tell_traits();
        self.look_soon();
        self.cx.events.happened("priority", format!("the priority of this node is {priority} now, it was {before}"));
        Ok(())
    }

    /// Lets this node's election timer make it campaign, or not: never for a witness and with priority 0, nor before the
    /// log names this node with the disk that it has.
    pub(super) fn choose_to_elect(&mut self) {
        let config = &self.cx.config;
        let elects = config.role == Role::Member && config.priority > 0 && self.cx.me.is_named_by(&self.cx.status);
        if std::mem::replace(&mut self.elects, elects) != elects {
            self.cx.engine.elect_by_choice(elects);
        }
    }

    fn campaign(&mut self, input: Input) {
        let mut out = Vec::new();
        self.campaign.step(self.cx.now(), input, &mut out);
        for output in out {
            match output {
                Output::DropOwnLease { leader, term, naming } => self.drop_lease(&leader, term, naming),
                Output::Elect => self.elect(),
                Output::Say(sentence) => self.cx.events.happened("campaign", sentence),
            }
        }
    }

    fn drop_lease(&self, leader: &NodeId, term: crate::Term, naming: NodeId) {
        let status = self.cx.engine.status();
        if status.leader.as_ref() != Some(leader) || status.term != term {
            return;
        }
        let engine = self.cx.engine.clone();
        // At once, not in the task: the next look at the clock would take what the dead leader said for a sign of life.
        engine.forget_heard();
        self.cx.begin(async move {
            engine.drop_lease(&naming).await;
            Done::Nothing
        });
    }

    fn elect(&self) {
        if !self.cx.me.is_named_by(&self.cx.status) {
            return;
        }
        let engine = self.cx.engine.clone();
        self.cx.begin(async move {
            engine.campaign().await;
            Done::Nothing
        });
    }
}
