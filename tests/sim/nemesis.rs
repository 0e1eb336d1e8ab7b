//! Chaos by a seed: a fault every now and then, of every kind, alone or on top of others.

use std::time::Duration;

use rand::RngExt as _;
use rand::seq::{IndexedRandom as _, SliceRandom as _};

use super::{Name, World, ms};

/// Which faults a run may have.
#[derive(Clone, Copy, Debug)]
pub struct Chaos {
    /// How long it goes on.
    pub time: Duration,
    /// Mean time between two faults.
    pub interval: Duration,
    /// Processes die, machines lose power.
    pub deaths: bool,
    /// Links are cut, in both directions or one.
    pub cuts: bool,
    /// Disks stall, fail and fill up.
    pub disks: bool,
    /// Packets are lost and late.
    pub weather: bool,
}

impl Chaos {
    /// All of them.
    pub fn everything(time: Duration) -> Self {
        Self { time, interval: ms(1500), deaths: true, cuts: true, disks: true, weather: true }
    }

    /// Deaths only, close together: for what must survive a loss of power.
    pub fn deaths(time: Duration) -> Self {
        Self { time, interval: ms(700), deaths: true, cuts: false, disks: false, weather: false }
    }
}

/// One thing that can be done to the world.
type Deed = fn(&mut World);

impl World {
    /// Lets chaos reign.
    pub fn endure(&mut self, chaos: Chaos) {
        let deeds = deeds(chaos);
        let until = self.now() + chaos.time;
        while self.now() < until {
            let wait = chaos.interval.mul_f64(self.rng.random_range(0.1..2.0));
            self.run(wait.min(until.saturating_sub(self.now())));
            if let Some(deed) = deeds.choose(&mut self.rng).copied() {
                deed(self);
            }
        }
    }

    fn anybody(&mut self) -> Name {
        let names = self.names();
        *names.choose(&mut self.rng).expect("chaos needs nodes")
    }

    fn running(&self) -> Vec<Name> {
        self.names().into_iter().filter(|name| self.runs(*name)).collect()
    }

    /// The names in a random order, cut in two groups that are not empty.
    fn two_groups(&mut self) -> (Vec<Name>, Vec<Name>) {
        let mut names = self.names();
        names.shuffle(&mut self.rng);
        let at = self.rng.random_range(1..names.len().max(2));
        let rest = names.split_off(at.min(names.len()));
        (names, rest)
    }
}

fn deeds(chaos: Chaos) -> Vec<Deed> {
    let mut deeds: Vec<Deed> = vec![wait];
    if chaos.deaths {
        deeds.extend::<[Deed; 9]>([
            kill,
            kill_leader,
            cut_power,
            cut_power_of_all,
            restart,
            restart,
            restart_all,
            restart_all,
            bounce,
        ]);
    }
    if chaos.cuts {
        deeds.extend::<[Deed; 8]>([cut_off, cut_one_way, split, bridge, ring, freeze, heal, heal]);
    }
    if chaos.disks {
        deeds.extend::<[Deed; 4]>([stall, fail_sync, fill, replace_full_disks]);
    }
    if chaos.weather {
        deeds.extend::<[Deed; 4]>([lose, slow, calm, calm]);
    }
    deeds
}

fn wait(_: &mut World) {}

fn kill(world: &mut World) {
    let name = world.anybody();
    world.kill(name);
}

fn kill_leader(world: &mut World) {
    if let Some(leader) = world.leader() {
        world.kill(leader);
    }
}

fn cut_power(world: &mut World) {
    let name = world.anybody();
    world.cut_power(name);
}

fn cut_power_of_all(world: &mut World) {
    let all = world.running();
    world.cut_power(all);
}

fn bounce(world: &mut World) {
    let name = world.anybody();
    world.kill(name);
    let down = ms(world.rng.random_range(1..300));
    world.run(down);
    world.restart(name);
}

fn restart(world: &mut World) {
    let name = world.anybody();
    world.restart(name);
}

fn restart_all(world: &mut World) {
    let all = world.names();
    world.restart(all);
}

fn cut_off(world: &mut World) {
    let name = world.anybody();
    world.cut(name, world.names());
}

fn cut_one_way(world: &mut World) {
    let (from, to) = world.two_groups();
    world.cut_one_way(from, to);
}

fn split(world: &mut World) {
    let (one, other) = world.two_groups();
    world.cut(one, other);
}

/// Two groups that meet in one node only.
fn bridge(world: &mut World) {
    let (mut one, other) = world.two_groups();
    if one.len() > 1 {
        one.pop();
        world.cut(one, other);
    }
}

/// Each node hears its neighbours only.
fn ring(world: &mut World) {
    let mut names = world.names();
    names.shuffle(&mut world.rng);
    let count = names.len();
    for one in 0..count {
        for other in one + 2..count {
            if (one, other) != (0, count - 1) {
                world.cut(names[one], names[other]);
            }
        }
    }
}

fn freeze(world: &mut World) {
    let (one, other) = world.two_groups();
    world.freeze(one, other);
}

fn heal(world: &mut World) {
    world.heal();
}

fn stall(world: &mut World) {
    let name = world.anybody();
    let time = ms(world.rng.random_range(50..3000));
    world.stall_disk(name, time);
}

fn fail_sync(world: &mut World) {
    let name = world.anybody();
    world.fail_next_sync(name);
}

fn fill(world: &mut World) {
    let name = world.anybody();
    world.fill_disk(name);
}

fn replace_full_disks(world: &mut World) {
    let all = world.names();
    world.empty_disk(all);
}

fn lose(world: &mut World) {
    let share = *[0.01, 0.1, 0.3].choose(&mut world.rng).expect("there are three");
    world.lose_packets(share);
}

fn slow(world: &mut World) {
    let longest = ms(world.rng.random_range(5..150));
    world.set_latency(longest);
}

fn calm(world: &mut World) {
    world.lose_packets(0.0);
    world.set_latency(ms(5));
}
