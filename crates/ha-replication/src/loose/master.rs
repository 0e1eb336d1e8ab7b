//! Who takes writes where one node does, and nobody orders them: agreed on the log, so that it is one node at a time.

use std::time::Duration;

use ha_cluster::NodeId;
use serde::{Deserialize, Serialize};

/// The node that takes writes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Master {
    pub(crate) node: NodeId,
    /// The cluster's epoch when it was agreed on.
    pub(crate) epoch: u64,
}

/// What a node that takes writes no more must do before it takes part again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Lost {
    /// When another node was agreed on.
    pub(crate) epoch: u64,
    /// The latest stamp that the other node had seen then: later ones of this node are its own alone.
    pub(crate) seen: u64,
}

/// What is known of the node that is to take writes, and of the one that does.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    pub(crate) node: NodeId,
    /// Changes of the present master that it lacks, as far as it was told; `None` when it was told nothing.
    pub(crate) behind: Option<u64>,
    /// The latest stamp that it has seen.
    pub(crate) seen: u64,
    /// It has set aside what it had alone before.
    pub(crate) is_rewound: bool,
    /// The present master answers: what is under way still arrives.
    pub(crate) master_answers: bool,
    /// For how long it has been waited for that.
    pub(crate) waited: Duration,
}

/// How long a master that answers may take to hand over its last changes.
const PATIENCE: Duration = Duration::from_secs(5);

/// Whether the candidate takes over now, and else what it waits for.
pub(crate) fn may_take_over(
    present: Option<&Master>,
    candidate: &Candidate,
    lag_items_max: u64,
    is_forced: bool,
) -> Result<(), String> {
    let Some(present) = present else { return Ok(()) };
    let (node, master) = (&candidate.node, &present.node);
    if !candidate.is_rewound {
        return Err(format!("{node} first sets aside what it had alone when it was master"));
    }
    let lacks = |behind: u64| format!("{node} lacks {behind} changes of {master}");
    match candidate.behind {
        _ if is_forced => Ok(()),
        Some(0) => Ok(()),
        Some(behind) if candidate.master_answers && candidate.waited < PATIENCE => {
            Err(format!("{}, which are under way", lacks(behind)))
        }
        Some(behind) if behind <= lag_items_max => Ok(()),
        Some(behind) => Err(format!(
            "{}, and at most {lag_items_max} may be set aside: start {master} again, or take over all the same with \
             ha replication promote --force",
            lacks(behind)
        )),
        None => Err(format!(
            "how much of {master} {node} lacks is not known: start {master} again, or take over all the same with \
             ha replication promote --force"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(behind: Option<u64>, master_answers: bool) -> Candidate {
        let node = "node-2".parse().unwrap();
        Candidate { node, behind, seen: 9, is_rewound: true, master_answers, waited: Duration::ZERO }
    }

    #[test]
    fn a_lag_above_the_limit_waits_for_the_old_master_or_for_a_person() {
        let master = Master { node: "node-1".parse().unwrap(), epoch: 3 };
        let may = |candidate: &Candidate| may_take_over(Some(&master), candidate, 100, false);
        assert_eq!(may_take_over(None, &candidate(None, false), 100, false), Ok(()));
        assert_eq!(may(&candidate(Some(0), true)), Ok(()));
        assert_eq!(may(&candidate(Some(100), false)), Ok(()));
        let refused = may(&candidate(Some(101), false)).unwrap_err();
        assert!(refused.contains("node-2 lacks 101 changes of node-1") && refused.contains("--force"), "{refused}");
        assert!(may(&candidate(None, false)).unwrap_err().contains("is not known"));
        assert_eq!(may_take_over(Some(&master), &candidate(Some(101), false), 100, true), Ok(()));
    }

    #[test]
    fn a_master_that_answers_hands_over_everything_first() {
        let master = Master { node: "node-1".parse().unwrap(), epoch: 3 };
        let may = |candidate: &Candidate| may_take_over(Some(&master), candidate, 100, false);
        assert!(may(&candidate(Some(5), true)).unwrap_err().contains("under way"));
        assert_eq!(may(&Candidate { waited: PATIENCE, ..candidate(Some(5), true) }), Ok(()));
        let unready = Candidate { is_rewound: false, ..candidate(Some(0), true) };
        assert!(may(&unready).unwrap_err().contains("sets aside"));
    }
}
