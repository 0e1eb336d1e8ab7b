//! What people want.

use std::time::Duration;

use ha_cluster::NodeId;

use super::facts::Facts;
use super::{Controller, Subject, Wanted};
use crate::role::RoleId;
use crate::roster::{Ask, Cause, Command, Phase, RequestId, Role};

impl Controller {
    /// Begins, refuses or waits with each request.
    pub(super) fn requests(&self, now: Duration, facts: &Facts, wanted: &mut Vec<Wanted>) {
        for (request, ask) in &facts.roster.requests {
            let Some(role) = facts.roster.roles.get(ask.role()) else {
                wanted.push(refuse(*request, format!("there is no role {} any more", ask.role())));
                continue;
            };
            // Already on its way.
            if role.request == Some(*request) {
                if role.phase == Phase::Vacant && self.candidates(now, facts, role).is_empty() {
                    wanted.push(refuse(*request, format!("no node can run it: {}", self.nobody(facts, role))));
                }
                continue;
            }
            wanted.extend(match ask {
                Ask::Switchover { role: id, to } => self.switch_over(now, facts, (id, role), to.as_ref(), *request),
                Ask::Failback { role: id } => self.go_back(facts, (id, role), *request),
            });
        }
    }

    fn switch_over(
        &self,
        now: Duration,
        facts: &Facts,
        (id, role): (&RoleId, &Role),
        to: Option<&NodeId>,
        request: RequestId,
    ) -> Option<Wanted> {
        let holder = match &role.phase {
            Phase::Vacant => None,
            Phase::Active(holder) => Some(&holder.node),
            // Another move is on its way: one after another.
            Phase::Starting(_) | Phase::Stopping(_) => return None,
        };
        if to.is_some() && to == holder {
            return Some(Wanted::commit(Subject::Request(request), Command::Met { request }));
        }
        let target = match to {
            Some(to) => self.check(facts, role, to).map(|()| to).map_err(|why| format!("{to} {why}")),
            None => {
                let mut others = self.candidates(now, facts, role).into_iter().filter(|node| Some(*node) != holder);
                others.next().ok_or_else(|| format!("no other node can run {id}: {}", self.nobody(facts, role)))
            }
        };
        Some(match (target, holder) {
            (Err(why), _) => refuse(request, why),
            (Ok(to), Some(from)) => {
                let sentence = format!("moves {id} from {from} to {to}, as a person wants");
                self.hand_over(id, role, Some(to), Cause::Switchover, (Some(request), sentence))
            }
            (Ok(to), None) => return self.assign(facts, id, role, to, (Cause::Switchover, Some(request))),
        })
    }

    fn go_back(&self, facts: &Facts, (id, role): (&RoleId, &Role), request: RequestId) -> Option<Wanted> {
        let holder = match &role.phase {
            Phase::Vacant => return Some(refuse(request, format!("nobody runs {id}: `ha failover switchover`"))),
            Phase::Active(holder) => &holder.node,
            Phase::Starting(_) | Phase::Stopping(_) => return None,
        };
        let others = facts.members.iter().filter(|(_, member)| !member.witness);
        let highest = others.max_by_key(|(node, member)| (member.priority, *node == holder, std::cmp::Reverse(*node)));
        let Some((to, _)) = highest else { return Some(refuse(request, "there is no other node".to_owned())) };
        if to == holder {
            return Some(Wanted::commit(Subject::Request(request), Command::Met { request }));
        }
        if let Err(why) = self.check(facts, role, to) {
            return Some(refuse(request, format!("{to}, which has the highest priority, {why}")));
        }
        let sentence = format!("returns {id} from {holder} to {to}, as a person wants");
        Some(self.hand_over(id, role, Some(to), Cause::Failback, (Some(request), sentence)))
    }
}

fn refuse(request: RequestId, reason: String) -> Wanted {
    Wanted::commit(Subject::Request(request), Command::Refuse { request, reason })
}
