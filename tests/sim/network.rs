//! What the simulated network is like now: who can reach whom, how much is lost, what names mean.
//!
//! Turmoil moves the bytes. This is what it does not model: a dial into a cut link hangs and is tried again, as a SYN
//! is, instead of failing at once; a dial to a machine whose process is gone is refused; and a lost packet delays a TCP
//! connection by its retransmission instead of ending it for good.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::Name;

/// First wait before a lost packet is sent again; doubles with each further loss. What Linux does.
const RETRANSMISSION: Duration = Duration::from_millis(200);
/// Losses of one packet in a row after which it goes through, so that a loss rate of 1 cannot hang the simulation.
const LOSSES_MAX: u32 = 8;

/// Whether a packet from one host would arrive at another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    /// Bytes flow in both directions, and the machine answers.
    Open,
    /// The machine is there and says that nobody listens.
    Refused,
    /// No answer comes back.
    Silent,
}

/// What has become of a host's process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machine {
    /// It runs.
    Up,
    /// The process is gone, the machine is not.
    ProcessGone,
    /// No power.
    Off,
}

/// The network of one run. Cheap to clone.
#[derive(Clone)]
pub struct Network(Arc<Mutex<State>>);

struct State {
    rng: StdRng,
    machines: BTreeMap<Name, Machine>,
    cut: BTreeSet<(Name, Name)>,
    loss: f64,
    records: BTreeMap<String, Vec<Name>>,
    recording: bool,
    recorded: Vec<Recorded>,
}

/// What one host sent to another on one connection.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// Who dialled.
    pub from: Name,
    /// Whom.
    pub to: Name,
    /// Everything the dialling side wrote.
    pub bytes: Vec<u8>,
}

/// Bytes recorded per run; more are not kept.
const RECORDED_BYTES_MAX: usize = 16 * 1024 * 1024;

impl Network {
    /// A network without faults.
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            rng: StdRng::seed_from_u64(seed),
            machines: BTreeMap::new(),
            cut: BTreeSet::new(),
            loss: 0.0,
            records: BTreeMap::new(),
            recording: false,
            recorded: Vec::new(),
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What has become of a host.
    pub fn set_machine(&self, name: Name, machine: Machine) {
        self.state().machines.insert(name, machine);
    }

    /// Cuts, or mends, one direction of a link.
    pub fn set_cut(&self, from: Name, to: Name, cut: bool) {
        let mut state = self.state();
        if cut {
            state.cut.insert((from, to));
        } else {
            state.cut.remove(&(from, to));
        }
    }

    /// Whether what `from` sends does not reach `to`.
    pub fn is_cut(&self, from: Name, to: Name) -> bool {
        self.state().cut.contains(&(from, to))
    }

    /// Whether two hosts hear each other.
    pub fn is_connected(&self, one: Name, other: Name) -> bool {
        one == other || !(self.is_cut(one, other) || self.is_cut(other, one))
    }

    /// How a dial would end.
    pub fn path(&self, from: Name, to: Name) -> Path {
        let state = self.state();
        if from != to && (state.cut.contains(&(from, to)) || state.cut.contains(&(to, from))) {
            return Path::Silent;
        }
        match state.machines.get(&to) {
            Some(Machine::Up) => Path::Open,
            Some(Machine::ProcessGone) => Path::Refused,
            Some(Machine::Off) | None => Path::Silent,
        }
    }

    /// The share of packets that are lost on every link, 0 to 1.
    pub fn set_loss(&self, loss: f64) {
        self.state().loss = loss;
    }

    /// How long the next packet is late because it, and its repetitions, were lost.
    pub fn retransmission(&self) -> Option<Duration> {
        let mut state = self.state();
        let loss = state.loss;
        if loss == 0.0 {
            return None;
        }
        let losses = (0..LOSSES_MAX).take_while(|_| state.rng.random_bool(loss)).count() as u32;
        (losses > 0).then(|| RETRANSMISSION * (2_u32.pow(losses) - 1))
    }

    /// The hosts that a name of the domain name service stands for from now on; none: there is no such name.
    pub fn set_record(&self, name: &str, hosts: Vec<Name>) {
        self.state().records.insert(name.to_owned(), hosts);
    }

    /// The hosts behind a name.
    pub fn resolve(&self, name: &str) -> Vec<Name> {
        match Name::parse(name) {
            Some(host) => vec![host],
            None => self.state().records.get(name).cloned().unwrap_or_default(),
        }
    }

    /// Starts or stops to keep what is sent.
    pub fn record(&self, on: bool) {
        self.state().recording = on;
    }

    /// What was kept so far, connection by connection.
    pub fn recorded(&self) -> Vec<Recorded> {
        self.state().recorded.clone()
    }

    /// Opens a recording for a new connection, if recording is on.
    pub(super) fn begin_recording(&self, from: Name, to: Name) -> Option<usize> {
        let mut state = self.state();
        if !state.recording {
            return None;
        }
        state.recorded.push(Recorded { from, to, bytes: Vec::new() });
        Some(state.recorded.len() - 1)
    }

    pub(super) fn add_recorded(&self, recording: usize, bytes: &[u8]) {
        let mut state = self.state();
        let kept: usize = state.recorded.iter().map(|recorded| recorded.bytes.len()).sum();
        if state.recording && kept + bytes.len() <= RECORDED_BYTES_MAX {
            state.recorded[recording].bytes.extend_from_slice(bytes);
        }
    }
}
