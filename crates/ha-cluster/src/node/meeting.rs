//! Meeting others: seeds are looked up and greeted, founders agree on a cluster, gossip keeps count of who is there.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use ha_net::{Address, ClusterId, Introduction, NodeId, Peer, Refusal};
use tokio::time::Instant;

use super::driver::{Context, Done, Driver};
use crate::discovery::{self, Discovery, Greeting};
use crate::formation::{self, Charter, Formation, Message};
use crate::gossip::{self, Gossip};
use crate::lines::Lines;
use crate::raft::PeerRecord;
use crate::{codec, service};

/// Discovery, formation and gossip of one node.
pub(super) struct Meeting {
    pub(super) discovery: Discovery,
    /// Kept for life: later, it tells late askers what was agreed on.
    pub(super) formation: Formation,
    pub(super) gossip: Gossip,
    /// Who turned this node away, and why.
    pub(super) turned_away: BTreeMap<Address, Refusal>,
    /// What gossip brings, of nodes that may be invented.
    pub(super) lines: Lines,
}

impl Meeting {
    pub(super) fn deadline(&self) -> Option<Duration> {
        let deadlines = [self.discovery.deadline(), self.formation.deadline(), self.gossip.deadline()];
        deadlines.into_iter().flatten().min()
    }
}

/// How long the first voter of a new cluster waits before it campaigns, each time, and how often it does.
const FIRST_CAMPAIGN_AFTER: Duration = Duration::from_millis(100);
const FIRST_CAMPAIGNS: usize = 3;

impl Driver {
    /// Everything that is due.
    pub(super) async fn meet_on_time(&mut self) {
        self.discover(discovery::Input::Timer).await;
        self.gossip(gossip::Input::Timer);
        self.form(formation::Input::Tick).await;
    }

    /// Gives discovery an input and performs what it puts out.
    pub(super) async fn discover(&mut self, input: discovery::Input) {
        let mut out = Vec::new();
        self.meeting.discovery.step(self.cx.now(), input, &mut out);
        self.perform_discovery(out);
        if self.cx.doorman.cluster_id().is_none() {
            let found = self.found_so_far();
            self.form(formation::Input::Discovered(found)).await;
        }
    }

    fn perform_discovery(&mut self, out: Vec<discovery::Output>) {
        for output in out {
            match output {
                discovery::Output::Resolve(seed) => resolve(&self.cx, seed),
                discovery::Output::Greet(address) => greet(&self.cx, address),
                discovery::Output::Say(sentence) => tracing::info!("{sentence}"),
            }
        }
    }

    /// A greeting has ended.
    pub(super) async fn greeted(&mut self, address: Address, result: Result<Introduction, ha_net::GreetError>) {
        if let Ok(peer) = &result {
            self.meeting.turned_away.remove(&address);
            self.met(peer).await;
        }
        self.discover(discovery::Input::Greeted { address, result: Greeting::from(result) }).await;
    }

    /// Who is behind the listed seeds, and who else has come by.
    fn found_so_far(&self) -> formation::Discovery {
        let listed = self.meeting.discovery.listed();
        let me = &self.cx.me.node_id;
        let node = |behind: &discovery::Behind| match behind {
            discovery::Behind::Myself => Some(me.clone()),
            other => other.node_id().cloned(),
        };
        let behind: BTreeMap<Address, NodeId> =
            listed.addresses.iter().filter_map(|(address, who)| Some((address.clone(), node(who)?))).collect();
        let alive = |(node, opinion): (&NodeId, &gossip::Opinion)| {
            (opinion.state == crate::MemberState::Alive && *node != self.cx.me.node_id).then(|| node.clone())
        };
        let others = self.meeting.gossip.members().iter().filter_map(alive);
        let others = others.filter(|node| !behind.values().any(|listed| listed == node)).collect();
        formation::Discovery { listed: listed.addresses.len() + listed.unresolved, behind, others }
    }

    /// A node answered at a seed's address.
    async fn met(&mut self, peer: &Introduction) {
        let (node_id, incarnation, address) = (peer.node_id.clone(), peer.incarnation, peer.address.clone());
        if let Some(cluster_id) = peer.cluster_id {
            self.form(formation::Input::ClusterExists { node: node_id.clone(), cluster_id }).await;
        }
        self.gossip(gossip::Input::Learn(Peer { node_id, incarnation, address }));
    }

    /// Gives formation an input and performs what it puts out, in order: what it wants durable is, before it is said.
    pub(super) async fn form(&mut self, input: formation::Input) {
        let mut out = Vec::new();
        self.meeting.formation.step(self.cx.now(), input, &mut out);
        for output in out {
            match output {
                formation::Output::Persist(ledger) => {
                    if let Err(error) = self.identity.write_slot(super::LEDGER, ledger.into()).await {
                        return self.fail(format!("cannot write to the data directory: {error}"));
                    }
                }
                formation::Output::Send { to, message } => {
                    self.cx.tell(&to, service::FORMATION, codec::record(&message));
                }
                formation::Output::Formed { charter, sentence } => {
                    self.belong(charter.cluster_id, sentence).await;
                    self.found(&charter).await;
                }
                formation::Output::Join { cluster_id, sentence, .. } => self.belong(cluster_id, sentence).await,
                formation::Output::Say(sentence) => tracing::info!("{sentence}"),
            }
        }
    }

    /// From now on, and after every restart, this node is of that cluster.
    async fn belong(&mut self, cluster_id: ClusterId, sentence: String) {
        let lineage = match self.identity.lineage().await {
            // A node that belongs to a cluster keeps to it; a higher one that it meets overtakes it.
            Ok(own) if self.identity.cluster_id().is_some() => own,
            _ => self.cx.doorman.lineage_to_join(cluster_id),
        };
        let saved = self.identity.save_lineage(&lineage).await.map_err(|error| error.to_string());
        let generation = lineage.generation;
        let saved = match saved {
            Ok(()) => self.identity.save_cluster(cluster_id, generation).await.map_err(|error| error.to_string()),
            failed => failed,
        };
        if let Err(error) = saved {
            return self.fail(format!("cannot write to the data directory: {error}"));
        }
        let mut quiet = Vec::new();
        self.meeting.discovery.step(self.cx.now(), discovery::Input::Member(true), &mut quiet);
        self.perform_discovery(quiet);
        for foreign in self.cx.doorman.belong(cluster_id, lineage) {
            self.part_with(&foreign);
        }
        self.cx.doorman.introduced().iter().for_each(|peer| self.say_belonging(peer));
        self.inbox.open_engine(self.cx.engine.clone());
        self.cx.events.happened("cluster_joined", sentence);
    }

    /// Tells a peer where this node belongs: it may have been admitted before that was decided.
    pub(super) fn say_belonging(&self, peer: &NodeId) {
        if let Some(cluster_id) = self.cx.doorman.cluster_id() {
            self.cx.tell(peer, service::BELONGING, codec::record(&(cluster_id, self.cx.doorman.lineage())));
        }
    }

    /// A leader adds those who say that they belong to its cluster; one of these messages may be lost.
    pub(super) fn ask_to_join(&self) {
        if !self.cx.status.settled.contains(&self.cx.me.node_id) {
            self.cx.doorman.introduced().iter().for_each(|peer| self.say_belonging(peer));
        }
    }

    /// A peer belongs to another cluster. Gossip finds out by itself that nobody reaches it, and hears of it when it
    /// comes again as a new one.
    fn part_with(&self, peer: &NodeId) {
        if !self.cx.status.nodes.contains_key(peer) {
            self.cx.net.forget(peer);
        }
    }

    /// Writes the first membership into the log.
    pub(super) async fn found(&mut self, charter: &Charter) {
        let voters: BTreeMap<NodeId, PeerRecord> = charter
            .founders
            .iter()
            .filter(|founder| founder.voter)
            .map(|founder| (founder.node_id.clone(), record_of(founder)))
            .collect();
        for founder in &charter.founders {
            self.cx.net.learn(&founder.node_id, &founder.profile.address);
        }
        let me = &self.cx.me;
        // With another disk it would found again what it has forgotten.
        if charter.founder(&me.node_id).is_none_or(|founder| founder.profile.disk != me.disk) {
            return;
        }
        let first = voters.keys().next() == Some(&me.node_id);
        if voters.contains_key(&me.node_id)
            && let Err(error) = self.cx.engine.initialize(voters).await
        {
            return self.fail(format!("the first membership was not written: {error}"));
        }
        if first && self.reluctant.is_none() {
            self.campaign_first();
        }
    }

    /// Nobody leads a new cluster, and its timers may be long: one of its nodes campaigns without waiting for them, as
    /// soon as the others will have founded it too. When they have not, the timers decide.
    fn campaign_first(&self) {
        let engine = self.cx.engine.clone();
        self.cx.begin(async move {
            for _ in 0..FIRST_CAMPAIGNS {
                tokio::time::sleep(FIRST_CAMPAIGN_AFTER).await;
                if engine.status().leader.is_some() {
                    break;
                }
                engine.campaign().await;
            }
            Done::Nothing
        });
    }

    /// Gives gossip an input and performs what it puts out.
    pub(super) fn gossip(&mut self, input: gossip::Input) {
        let mut out = Vec::new();
        if let Err(error) = self.meeting.gossip.step(self.cx.now(), input, &mut out) {
            tracing::debug!("a gossip packet was refused: {error}");
        }
        for output in out {
            match output {
                gossip::Output::Send { to, address, bytes } => {
                    self.cx.net.learn(&to, &address);
                    self.cx.tell(&to, service::GOSSIP, bytes);
                }
                gossip::Output::Changed { node_id, opinion } => self.opinion_changed(node_id, &opinion),
                // A member stays known: the log has its address, and it may come back.
                gossip::Output::Dropped { node_id } if !self.cx.status.nodes.contains_key(&node_id) => {
                    self.cx.net.forget(&node_id);
                }
                gossip::Output::Dropped { .. } => {}
                gossip::Output::Superseded { by } => {
                    let node = &self.cx.me.node_id;
                    self.fail(format!("a later start of {node} (incarnation {}) runs elsewhere: this one stops", by.0));
                }
                gossip::Output::Say(sentence) if self.meeting.lines.allow(Instant::now()) => {
                    tracing::info!("{sentence}");
                }
                gossip::Output::Say(_) => {}
            }
        }
    }

    fn opinion_changed(&mut self, node: NodeId, opinion: &gossip::Opinion) {
        let state = match opinion.state {
            crate::MemberState::Alive => "alive",
            crate::MemberState::Suspect => "suspect",
            crate::MemberState::Failed => "failed",
            crate::MemberState::Left => "left",
        };
        let is_member = self.cx.status.nodes.contains_key(&node);
        if node != self.cx.me.node_id && (is_member || self.meeting.lines.allow(Instant::now())) {
            self.cx.events.happened("member_changed", format!("{node} is {state}"));
        }
        self.look_soon();
    }

    /// A one-way message came.
    pub(super) async fn told(&mut self, from: NodeId, service: ha_net::Service, body: Bytes) {
        match service {
            service::GOSSIP => self.gossip(gossip::Input::Received { from, bytes: body }),
            service::FORMATION => match codec::decode::<Message>(&body) {
                Ok(message) => self.form(formation::Input::Received { from, message }).await,
                Err(error) => tracing::debug!("{from} sent a formation message that cannot be read: {error}"),
            },
            service::BELONGING => match codec::decode(&body) {
                Ok(theirs) if self.cx.doorman.belongs(&from, &theirs) => self.look_soon(),
                Ok(_) => self.part_with(&from),
                Err(error) => tracing::debug!("{from} sent a cluster id that cannot be read: {error}"),
            },
            other => tracing::debug!("{from} sent a message for service {}, which this version does not have", other.0),
        }
    }
}

fn record_of(founder: &formation::Founder) -> PeerRecord {
    let profile = &founder.profile;
    PeerRecord { address: profile.address.clone(), priority: profile.priority, role: profile.role, disk: profile.disk }
}

fn resolve(cx: &Context, seed: crate::Seed) {
    let wire = cx.wire.clone();
    cx.begin(async move { Done::Resolved(discovery::lookup(&*wire, seed).await) });
}

fn greet(cx: &Context, address: Address) {
    let net = cx.net.clone();
    cx.begin(async move {
        let result = net.greet(&address).await;
        Done::Greeted { address, result }
    });
}
