//! Errands between nodes: handing leadership over, removing a member, wherever the leader is.

use std::time::Duration;

use bytes::Bytes;
use ha_net::{Fault, Lane, NodeId, Service};
use tokio::sync::oneshot;

use super::driver::{Context, Done, Driver};
use super::leading::{LEAVING_MAX, LeaveAnswer, TransferAnswer};
use crate::cluster::{LeaveError, TransferError};
use crate::controller::TransferRefusal;
use crate::controller::transfer::{self, Transfer};
use crate::view::Node;
use crate::{codec, service};

/// How long another node may take to carry out what it was asked.
const ERRAND_TIMEOUT: Duration = Duration::from_secs(15);

impl Driver {
    /// Hands leadership over, here or by asking the leader.
    pub(super) fn transfer(&mut self, to: Option<NodeId>, answer: TransferAnswer) {
        if self.cx.status.is_leader() {
            return self.begin_transfer(to, Some(answer));
        }
        let unheard =
            TransferError::Failed { reason: "the leader did not answer; leadership may still move".to_owned() };
        self.errand(service::TRANSFER, codec::record(&to), answer, TransferError::NoLeader, unheard);
    }

    /// Removes a member, here or by asking the leader.
    pub(super) fn remove(&mut self, node: NodeId, answer: LeaveAnswer) {
        if self.removed && node == self.cx.me.node_id {
            let _ = answer.send(Ok(()));
            return;
        }
        if !self.cx.status.is_leader() {
            let unknown = |reason: &str| LeaveError::Unknown { reason: reason.to_owned() };
            let (nobody, unheard) = (unknown("there is no leader now"), unknown("the leader did not answer"));
            return self.errand(service::REMOVE, codec::record(&node), answer, nobody, unheard);
        }
        let refusal = if !self.cx.status.nodes.contains_key(&node) {
            Some(LeaveError::NotAMember { node: node.clone() })
        } else if let Err(reason) = self.leading.controller.check_removal(&self.facts(), &node) {
            Some(LeaveError::Refused { reason })
        } else if self.leading.leaving.len() >= LEAVING_MAX {
            Some(LeaveError::Refused { reason: "too many removals are on their way".to_owned() })
        } else {
            None
        };
        match refusal {
            // Whoever asked may have given up.
            Some(error) => drop(answer.send(Err(error))),
            None => drop(self.leading.leaving.insert(node, Some(answer))),
        }
        self.look_soon();
    }

    /// Asks the leader to do something, and passes its answer on; `nobody` when there is none, `unheard` when it may
    /// have been done all the same.
    fn errand<T, E>(&self, service: Service, body: Bytes, answer: oneshot::Sender<Result<T, E>>, nobody: E, unheard: E)
    where
        T: serde::de::DeserializeOwned + Send + 'static,
        E: serde::de::DeserializeOwned + Send + 'static,
    {
        let Some(leader) = self.cx.status.leader.clone() else {
            let _ = answer.send(Err(nobody));
            return;
        };
        let net = self.cx.net.clone();
        self.cx.begin(async move {
            let told = net.ask(&leader, Lane::Control, service, body, ERRAND_TIMEOUT).await;
            let result = told.ok().and_then(|told| codec::decode::<Result<T, E>>(&told).ok());
            let _ = answer.send(result.unwrap_or(Err(unheard)));
            Done::Nothing
        });
    }

    /// Another node asks this one to do something.
    pub(super) fn asked(
        &mut self,
        from: NodeId,
        service: Service,
        body: Bytes,
        answer: oneshot::Sender<Result<Bytes, Fault>>,
    ) {
        let fault = |message: String| Err(Fault { message });
        match service {
            service::LEASE => self.renew(from, &body, answer),
            service::TRANSFER | service::REMOVE if !self.cx.status.is_leader() => {
                let _ = answer.send(fault("this node does not lead".to_owned()));
            }
            service::TRANSFER => match codec::decode::<Option<NodeId>>(&body) {
                Ok(to) => self.begin_transfer(to, Some(relay(&self.cx, answer))),
                Err(error) => drop(answer.send(fault(error.to_string()))),
            },
            service::REMOVE => match codec::decode::<NodeId>(&body) {
                Ok(node) => {
                    let answer = relay(&self.cx, answer);
                    self.remove(node, answer);
                }
                Err(error) => drop(answer.send(fault(error.to_string()))),
            },
            other => drop(answer.send(fault(format!("this version has no service {}", other.0)))),
        }
    }

    /// Begins a hand-over. Without an answer, it is this node's own decision.
    pub(super) fn begin_transfer(&mut self, to: Option<NodeId>, answer: Option<TransferAnswer>) {
        self.cx.status = self.cx.engine.status();
        let facts = self.facts();
        match Transfer::new(&facts, to.as_ref(), self.leading.patience) {
            Ok(transfer) => {
                self.leading.transfer = Some((transfer, answer));
                self.step_transfer(transfer::Input::Look);
            }
            Err(TransferRefusal::LeadsAlready { node }) => {
                // What was asked for is so.
                if let (Some(answer), Some(record)) = (answer, self.cx.status.nodes.get(&node)) {
                    let _ = answer.send(Ok(Node::new(node, &record.address)));
                }
            }
            Err(refusal) => {
                tracing::info!("leadership stays: {refusal}");
                if let Some(answer) = answer {
                    let _ = answer.send(Err(refused(refusal)));
                }
            }
        }
    }

    /// A hand-over whose time has come is moved on, also between two looks.
    pub(super) fn transfer_on_time(&mut self) {
        if self.leading.deadline().is_some_and(|due| due <= self.cx.now()) {
            self.step_transfer(transfer::Input::Look);
        }
    }

    /// Moves the hand-over on that is on its way.
    pub(super) fn step_transfer(&mut self, input: transfer::Input) {
        if self.leading.transfer.is_none() {
            return;
        }
        self.cx.status = self.cx.engine.status();
        let facts = self.facts();
        let mut out = Vec::new();
        if let Some((transfer, _)) = &mut self.leading.transfer {
            transfer.step(&facts, input, &mut out);
        }
        for output in out {
            match output {
                transfer::Output::Trigger { to, sentence } => {
                    self.cx.events.happened("leadership_transfer", sentence);
                    let engine = self.cx.engine.clone();
                    self.cx.begin(async move {
                        engine.transfer_to(&to).await;
                        Done::Nothing
                    });
                }
                transfer::Output::Report(result) => self.report_transfer(result),
                transfer::Output::Over => self.leading.transfer = None,
            }
        }
    }

    fn report_transfer(&mut self, result: Result<NodeId, String>) {
        let nodes = &self.cx.status.nodes;
        let Some((_, answer)) = &mut self.leading.transfer else { return };
        let result = result.map_err(|reason| TransferError::Failed { reason }).and_then(|node| {
            let gone = TransferError::NotAMember { node: node.clone() };
            nodes.get(&node).map(|record| Node::new(node, &record.address)).ok_or(gone)
        });
        if let Err(error) = &result {
            tracing::warn!("{error}");
        }
        if let Some(answer) = answer.take() {
            // Whoever asked may have given up.
            let _ = answer.send(result);
        }
    }
}

/// Passes a typed answer on as bytes.
fn relay<T: serde::Serialize + Send + 'static>(
    cx: &Context,
    to: oneshot::Sender<Result<Bytes, Fault>>,
) -> oneshot::Sender<T> {
    let (answer, answered) = oneshot::channel::<T>();
    cx.begin(async move {
        let result = match answered.await {
            Ok(value) => Ok(codec::record(&value)),
            Err(_) => Err(Fault { message: "the node is stopping".to_owned() }),
        };
        let _ = to.send(result);
        Done::Nothing
    });
    answer
}

fn refused(refusal: TransferRefusal) -> TransferError {
    match refusal {
        TransferRefusal::NotAMember { node } => TransferError::NotAMember { node },
        TransferRefusal::NotEligible { node, reason } => TransferError::NotEligible { node, reason },
        TransferRefusal::NotReady { node, reason } => TransferError::NotReady { node, reason },
        other => TransferError::Failed { reason: other.to_string() },
    }
}
