//! Whether a node that stopped may still be of use.

use ha_runtime::View;

/// What a node has been through in this life.
#[derive(Debug, Default)]
pub(super) struct Fate {
    took_part: bool,
    told: bool,
}

/// What follows from a view.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing.
    Runs,
    /// It took part and has stopped, as after a disk error: it stays to say so. Told once.
    Stopped(String),
    /// It stopped before it ever took part, as when its id is taken or its timers differ: it never will.
    Never(String),
}

impl Fate {
    /// Looks at the next view.
    pub(super) fn observe(&mut self, view: &View) -> Verdict {
        let Some(reason) = &view.stopped else {
            self.took_part |= view.role.is_some() && view.leader.is_some() && view.leader_is_live;
            return Verdict::Runs;
        };
        if !self.took_part {
            return Verdict::Never(reason.clone());
        }
        if std::mem::replace(&mut self.told, true) { Verdict::Runs } else { Verdict::Stopped(reason.clone()) }
    }
}

#[cfg(test)]
mod tests {
    use ha_runtime::{Address, Epoch, Incarnation, MemberRole, Node, Term, Votes};

    use super::*;

    fn view() -> View {
        let address: Address = "10.0.0.1:7946".parse().unwrap();
        View {
            cluster_id: None,
            cluster_name: "default".to_owned(),
            node_id: "node-1".parse().unwrap(),
            incarnation: Incarnation(1),
            address,
            role: None,
            term: Term(0),
            epoch: Epoch(0),
            leader: None,
            leader_is_live: false,
            members: vec![],
            votes: Votes::default(),
            waiting_for: None,
            stopped: None,
        }
    }

    fn member() -> View {
        let leader = Node::new("node-1".parse().unwrap(), &view().address);
        View { role: Some(MemberRole::Leader), leader: Some(leader), leader_is_live: true, ..view() }
    }

    fn stopped(view: View) -> View {
        View { stopped: Some("why".to_owned()), ..view }
    }

    #[test]
    fn who_stops_before_taking_part_never_runs() {
        let mut fate = Fate::default();
        assert_eq!(fate.observe(&view()), Verdict::Runs);
        // A restarted member knows its role and its last leader before it has heard from anybody.
        assert_eq!(fate.observe(&View { leader_is_live: false, ..member() }), Verdict::Runs);
        assert_eq!(fate.observe(&stopped(view())), Verdict::Never("why".to_owned()));
    }

    #[test]
    fn who_has_taken_part_stays_to_say_why_once() {
        let mut fate = Fate::default();
        assert_eq!(fate.observe(&member()), Verdict::Runs);
        assert_eq!(fate.observe(&stopped(view())), Verdict::Stopped("why".to_owned()));
        assert_eq!(fate.observe(&stopped(view())), Verdict::Runs);
    }
}
