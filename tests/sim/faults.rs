//! What a scene can do to the world.

use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use ha_cluster::disk::faulty::{Operation, Survival};
use rand::RngExt as _;

use super::invariants::Seen;
use super::network::Machine;
use super::node::Pace;
use super::{Mutant, Name, SimDisk, Who, World};

/// How much more clocks drift that are broken on purpose.
const WILDNESS: i32 = 60;

/// Processes and machines.
impl World {
    /// Kills processes, as `kill -9` does: sockets close, and what was written stays written.
    pub fn kill(&mut self, who: impl Who) {
        for name in who.among(self) {
            if self.runs(name) {
                self.act(format_args!("{name} is killed"));
                self.end_process(name, Survival::All);
            }
        }
    }

    /// Takes the power away: nobody is told, and of what was not synced only some blocks survive.
    pub fn cut_power(&mut self, who: impl Who) {
        let seed = self.rng.random();
        self.cut_power_and_keep(who, Survival::Scattered(seed));
    }

    /// As [`Self::cut_power`], and says what survives.
    pub fn cut_power_and_keep(&mut self, who: impl Who, survival: Survival) {
        for name in who.among(self) {
            if !self.runs(name) {
                continue;
            }
            self.act(format_args!("{name} loses power, and of what was not synced {survival:?} survives"));
            // No goodbye gets out of a machine without power, and nothing that was under way arrives.
            for other in self.names().into_iter().filter(|other| *other != name) {
                self.sim.partition(name.to_string(), other.to_string());
            }
            self.end_process(name, survival);
            self.set_machine(name, Machine::Off);
            self.apply_links(name);
        }
    }

    pub(super) fn end_process(&mut self, name: Name, survival: Survival) {
        self.set_machine(name, Machine::ProcessGone);
        let Some(host) = self.hosts.get_mut(&name) else { return };
        host.body.clear();
        self.sim.crash(name.to_string());
        host.disk = host.disk.crash(survival);
        self.history.lock().abandon(name);
        if let Some(seen) = self.seen.get_mut(&name) {
            let cluster = seen.cluster;
            let runs = Default::default();
            *seen = Seen { up: false, leads: false, live: false, cluster, runs, ..std::mem::take(seen) };
        }
    }

    fn set_machine(&mut self, name: Name, machine: Machine) {
        self.network.set_machine(name, machine);
        if let Some(host) = self.hosts.get_mut(&name) {
            host.machine = machine;
        }
    }

    /// Kills nodes for good: they belong to the cluster no more.
    pub fn dismiss(&mut self, who: impl Who) {
        let names = who.among(self);
        self.kill(names.clone());
        for name in names {
            if let Some(host) = self.hosts.get_mut(&name) {
                host.dismissed = true;
            }
        }
    }

    /// Starts nodes that do not run, with the data they had.
    pub fn restart(&mut self, who: impl Who) {
        for name in who.among(self) {
            if !self.runs(name) {
                self.act(format_args!("{name} restarts"));
                self.begin_life(name);
                self.sim.bounce(name.to_string());
            }
        }
    }
}

/// Links.
impl World {
    /// Nothing passes between two groups, in either direction; connections on it are lost.
    pub fn cut(&mut self, one: impl Who, other: impl Who) {
        let (one, other) = (one.among(self), other.among(self));
        self.act(format_args!("nothing passes between {one:?} and {other:?}"));
        self.change_links(&one, &other, |world, a, b| {
            world.network.set_cut(a, b, true);
            world.network.set_cut(b, a, true);
        });
    }

    /// Nothing that the first group sends reaches the other.
    pub fn cut_one_way(&mut self, from: impl Who, to: impl Who) {
        let (from, to) = (from.among(self), to.among(self));
        self.act(format_args!("nothing passes from {from:?} to {to:?}"));
        self.change_links(&from, &to, |world, a, b| world.network.set_cut(a, b, true));
    }

    /// Nothing passes between any two of these groups.
    pub fn split(&mut self, groups: &[&[Name]]) {
        for (at, one) in groups.iter().enumerate() {
            for other in &groups[at + 1..] {
                self.cut(*one, *other);
            }
        }
    }

    /// Mends the links between two groups, in both directions.
    pub fn mend(&mut self, one: impl Who, other: impl Who) {
        let (one, other) = (one.among(self), other.among(self));
        self.act(format_args!("{one:?} and {other:?} hear each other again"));
        self.change_links(&one, &other, |world, a, b| {
            world.network.set_cut(a, b, false);
            world.network.set_cut(b, a, false);
            world.frozen.remove(&(a.min(b), a.max(b)));
        });
    }

    /// Mends every link.
    pub fn heal(&mut self) {
        let all = self.names();
        self.mend(all.clone(), all);
    }

    /// Holds everything between two groups back; [`Self::mend`] delivers it all at once, as a TCP connection does that
    /// outlives the interruption.
    pub fn freeze(&mut self, one: impl Who, other: impl Who) {
        let (one, other) = (one.among(self), other.among(self));
        self.act(format_args!("everything between {one:?} and {other:?} is held back"));
        self.change_links(&one, &other, |world, a, b| {
            world.frozen.insert((a.min(b), a.max(b)));
            // To the judges, and for new connections, it is as good as cut.
            world.network.set_cut(a, b, true);
            world.network.set_cut(b, a, true);
        });
    }

    /// Every message takes between these times.
    pub fn set_latency(&mut self, longest: Duration) {
        self.act(format_args!("messages take up to {longest:?}"));
        self.sim.set_max_message_latency(longest);
    }

    /// This share of all packets is lost, and sent again later, as TCP does.
    pub fn lose_packets(&mut self, share: f64) {
        self.act(format_args!("{:.0} % of packets are lost", share * 100.0));
        self.network.set_loss(share);
    }

    fn change_links(&mut self, one: &[Name], other: &[Name], change: impl Fn(&mut Self, Name, Name)) {
        for a in one {
            for b in other.iter().filter(|b| *b != a) {
                change(self, *a, *b);
                self.apply_link(*a, *b);
            }
        }
    }

    /// Tells turmoil about all links of a host.
    pub(super) fn apply_links(&mut self, name: Name) {
        for other in self.names().into_iter().filter(|other| *other != name) {
            self.apply_link(name, other);
        }
    }

    fn apply_link(&mut self, a: Name, b: Name) {
        let (one, other) = (a.to_string(), b.to_string());
        if self.frozen.contains(&(a.min(b), a.max(b))) {
            self.sim.hold(&*one, &*other);
            return;
        }
        // Delivers what was held, and repairs both directions.
        self.sim.release(&*one, &*other);
        match (self.network.is_cut(a, b), self.network.is_cut(b, a)) {
            (true, true) => self.sim.partition(&*one, &*other),
            (true, false) => self.sim.partition_oneway(&*one, &*other),
            (false, true) => self.sim.partition_oneway(&*other, &*one),
            (false, false) => {}
        }
    }
}

/// Disks and clocks.
impl World {
    /// Every operation of these disks takes that long.
    pub fn stall_disk(&mut self, who: impl Who, time: Duration) {
        for name in who.among(self) {
            self.act(format_args!("the disk of {name} stalls for {time:?}"));
            let until = self.now() + time;
            self.hosts[&name].disk.stall_until(until);
        }
    }

    /// The next sync of a file fails, once.
    pub fn fail_next_sync(&mut self, who: impl Who) {
        for name in who.among(self) {
            self.act(format_args!("the next sync of {name} fails"));
            if let Some(host) = self.hosts.get_mut(&name) {
                host.disk.files().fail(Operation::Sync, 1, ErrorKind::Other);
                host.sync_fails = true;
            }
        }
    }

    /// No space is left on these disks.
    pub fn fill_disk(&mut self, who: impl Who) {
        for name in who.among(self) {
            self.act(format_args!("the disk of {name} is full"));
            self.set_disk_full(name, true);
        }
    }

    /// There is space again.
    pub fn empty_disk(&mut self, who: impl Who) {
        for name in who.among(self) {
            self.act(format_args!("the disk of {name} has space again"));
            self.set_disk_full(name, false);
        }
    }

    pub(super) fn set_disk_full(&mut self, name: Name, full: bool) {
        if let Some(host) = self.hosts.get_mut(&name) {
            host.disk.files().set_capacity(full.then_some(0));
            host.disk_is_full = full;
        }
    }

    /// Gives a node that does not run another disk: an empty one, or the copy of an earlier moment.
    ///
    /// # Panics
    ///
    /// When the node runs.
    pub fn replace_disk(&mut self, who: impl Who, with: Option<SimDisk>) {
        for name in who.among(self) {
            assert!(!self.runs(name), "{name} runs: its disk cannot be replaced");
            let what = if with.is_some() { "an older copy of its disk" } else { "an empty disk" };
            self.act(format_args!("{name} gets {what}"));
            let disk = with.clone().unwrap_or_else(|| SimDisk::new(self.trace.clone(), Default::default()));
            if let Some(host) = self.hosts.get_mut(&name) {
                host.disk = disk;
            }
            if let Some(seen) = self.seen.get_mut(&name) {
                seen.disk += 1;
            }
            self.network.set_machine(name, Machine::ProcessGone);
        }
    }

    /// A copy of a node's disk as it is now.
    pub fn copy_disk(&self, name: Name) -> SimDisk {
        self.hosts[&name].disk.copy()
    }

    /// Damages every file of a node that the filter chooses, by the change.
    pub fn damage(&mut self, name: Name, mut change: impl FnMut(&Path, &mut Vec<u8>) -> bool) {
        let files = self.hosts[&name].disk.files().clone();
        for path in files.paths() {
            let Some(mut content) = files.content(&path) else { continue };
            if change(&path, &mut content) {
                self.act(format_args!("{} of {name} is damaged", path.display()));
                files.set_content(&path, content);
            }
        }
    }

    /// Removes every file of a node that the filter chooses.
    pub fn erase(&mut self, name: Name, chosen: impl Fn(&Path) -> bool) {
        let files = self.hosts[&name].disk.files().clone();
        for path in files.paths().into_iter().filter(|path| chosen(path)) {
            self.act(format_args!("{} of {name} is lost", path.display()));
            files.erase(&path);
        }
    }

    /// Sets the time of day of nodes ahead of the truth; zero sets it right.
    pub fn step_wall(&mut self, who: impl Who, ahead: Duration) {
        for name in who.among(self) {
            self.act(format_args!("the time of day of {name} is {ahead:?} ahead"));
            self.hosts[&name].wall.step_ahead(ahead);
        }
    }

    /// Sets the time of day of nodes behind the truth.
    pub fn step_wall_back(&mut self, who: impl Who, behind: Duration) {
        for name in who.among(self) {
            self.act(format_args!("the time of day of {name} is {behind:?} behind"));
            self.hosts[&name].wall.step_back(behind);
        }
    }

    /// Whether the time of day of a node is right.
    pub fn wall_is_right(&self, name: Name) -> bool {
        self.hosts[&name].wall.is_right()
    }

    /// The lease clock of these nodes jumps ahead.
    pub fn jump_clock(&mut self, who: impl Who, ahead: Duration) {
        for name in who.among(self) {
            self.act(format_args!("the clock of {name} jumps by {ahead:?}"));
            self.hosts[&name].clock.jump(ahead);
        }
    }

    /// The lease clock of these nodes gains so many microseconds per second from now on.
    pub fn drift_clock(&mut self, who: impl Who, parts_per_million: i32) {
        let wild = self.settings.mutant == Some(Mutant::WildClocks);
        let parts_per_million = if wild { parts_per_million * WILDNESS } else { parts_per_million };
        for name in who.among(self) {
            self.act(format_args!("the clock of {name} drifts by {parts_per_million} ppm"));
            self.hosts[&name].clock.set_drift(parts_per_million);
        }
    }
}

/// Clients.
impl World {
    /// Clients on every node write, and read now and then, one after another, about this far apart.
    pub fn load(&mut self, interval: Duration) {
        self.trace.line("*", format_args!("clients ask every {interval:?}"));
        self.load.set(Some(Pace { interval, reads: 0.2 }));
    }

    /// Clients stop asking.
    pub fn stop_load(&mut self) {
        self.trace.line("*", "clients stop");
        self.load.set(None);
    }
}
