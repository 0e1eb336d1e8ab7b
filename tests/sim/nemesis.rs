//! Chaos by a seed: a fault every now and then, of every kind, alone or on top of others. Most faults go away after a
//! while, so that a run has many moments in which something works and something else does not.

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
    /// How long a fault lasts at most.
    pub lasting: Duration,
    /// Processes die, machines lose power.
    pub deaths: bool,
    /// Links are cut, in both directions or one.
    pub cuts: bool,
    /// Disks stall, fail and fill up.
    pub disks: bool,
    /// Packets are lost and late, clocks drift.
    pub weather: bool,
    /// The time of day of a machine jumps by an hour; it is set right, and its node restarted, later.
    pub walls: bool,
    /// Leadership is handed over, by whoever happens to be asked, to whoever happens to be named.
    pub orders: bool,
}

impl Chaos {
    /// All of them.
    pub fn everything(time: Duration) -> Self {
        let (interval, lasting) = (ms(1000), ms(3000));
        Self {
            time,
            interval,
            lasting,
            deaths: true,
            cuts: true,
            disks: true,
            weather: true,
            walls: false,
            orders: true,
        }
    }

    /// Deaths only, close together: for what must survive a loss of power.
    pub fn deaths(time: Duration) -> Self {
        let (interval, lasting) = (ms(600), ms(800));
        Self {
            time,
            interval,
            lasting,
            deaths: true,
            cuts: false,
            disks: false,
            weather: false,
            walls: false,
            orders: false,
        }
    }
}

/// What takes a fault away again.
type Remedy = Box<dyn FnOnce(&mut World)>;
/// Does something to the world, and says what takes it away.
type Deed = fn(&mut World) -> Remedy;

impl World {
    /// How long chaos lasts: so long, unless whoever runs the scene says otherwise.
    pub fn chaos_time(&self, usual: Duration) -> Duration {
        self.settings.chaos.unwrap_or(usual)
    }

    /// Lets chaos reign.
    pub fn endure(&mut self, chaos: Chaos) {
        let deeds = deeds(chaos);
        let end = self.now() + chaos.time;
        let mut next = self.now();
        let mut remedies: Vec<(Duration, Remedy)> = Vec::new();
        while self.now() < end {
            let now = self.now();
            if let Some(due) = remedies.iter().position(|(at, _)| *at <= now) {
                let (_, remedy) = remedies.remove(due);
                remedy(self);
            } else if next <= now {
                next = now + chaos.interval.mul_f64(self.rng.random_range(0.1..2.0));
                if let Some(deed) = deeds.choose(&mut self.rng).copied() {
                    let remedy = deed(self);
                    let lasting = chaos.lasting.mul_f64(self.rng.random_range(0.0..1.0));
                    remedies.push((now + lasting, remedy));
                }
            } else {
                self.step();
            }
        }
    }

    fn anybody(&mut self) -> Name {
        let names = self.names();
        *names.choose(&mut self.rng).expect("chaos needs nodes")
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
    let mut deeds: Vec<Deed> = Vec::new();
    if chaos.deaths {
        deeds.extend::<[Deed; 5]>([kill, kill_leader, cut_power, cut_power_of_all, bounce]);
    }
    if chaos.cuts {
        deeds.extend::<[Deed; 6]>([cut_off, cut_one_way, split, bridge, ring, freeze]);
    }
    if chaos.disks {
        deeds.extend::<[Deed; 3]>([stall, fail_sync, fill]);
    }
    if chaos.weather {
        deeds.extend::<[Deed; 3]>([lose, slow, drift]);
    }
    if chaos.walls {
        deeds.extend::<[Deed; 2]>([jump, jump]);
    }
    if chaos.orders {
        deeds.push(hand_over);
    }
    deeds
}

/// One machine at a time, whose node is restarted with the wrong time.
fn jump(world: &mut World) -> Remedy {
    let name = world.anybody();
    if world.names().into_iter().any(|name| !world.wall_is_right(name)) {
        return Box::new(|_| {});
    }
    let hour = Duration::from_secs(3600);
    let ahead = world.rng.random_bool(0.5);
    if ahead {
        world.step_wall(name, hour)
    } else {
        world.step_wall_back(name, hour)
    }
    world.kill(name);
    world.restart(name);
    Box::new(move |world| {
        world.step_wall(name, Duration::ZERO);
        world.kill(name);
        world.restart(name);
    })
}

fn kill(world: &mut World) -> Remedy {
    let name = world.anybody();
    world.kill(name);
    restart(vec![name])
}

fn kill_leader(world: &mut World) -> Remedy {
    let victim = match world.leader() {
        Some(leader) => leader,
        None => world.anybody(),
    };
    world.kill(victim);
    restart(vec![victim])
}

fn cut_power(world: &mut World) -> Remedy {
    let name = world.anybody();
    world.cut_power(name);
    restart(vec![name])
}

fn cut_power_of_all(world: &mut World) -> Remedy {
    let mut all = world.names();
    world.cut_power(all.clone());
    all.shuffle(&mut world.rng);
    restart(all)
}

fn bounce(world: &mut World) -> Remedy {
    let name = world.anybody();
    world.kill(name);
    world.run_up_to(ms(100));
    world.restart(name);
    restart(vec![name])
}

fn restart(names: Vec<Name>) -> Remedy {
    Box::new(|world| {
        for name in names {
            world.run_up_to(ms(20));
            world.restart(name);
        }
    })
}

fn cut_off(world: &mut World) -> Remedy {
    let name = world.anybody();
    world.cut(name, world.names());
    heal()
}

fn cut_one_way(world: &mut World) -> Remedy {
    let (from, to) = world.two_groups();
    world.cut_one_way(from, to);
    heal()
}

fn split(world: &mut World) -> Remedy {
    let (one, other) = world.two_groups();
    world.cut(one, other);
    heal()
}

/// Two groups that meet in one node only.
fn bridge(world: &mut World) -> Remedy {
    let (mut one, other) = world.two_groups();
    if one.len() > 1 {
        one.pop();
    }
    world.cut(one, other);
    heal()
}

/// Each node hears its neighbours only.
fn ring(world: &mut World) -> Remedy {
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
    heal()
}

fn freeze(world: &mut World) -> Remedy {
    let (one, other) = world.two_groups();
    world.freeze(one, other);
    heal()
}

fn heal() -> Remedy {
    Box::new(World::heal)
}

fn stall(world: &mut World) -> Remedy {
    let name = world.anybody();
    let time = ms(world.rng.random_range(50..3000));
    world.stall_disk(name, time);
    Box::new(|_| {})
}

fn fail_sync(world: &mut World) -> Remedy {
    let name = world.anybody();
    world.fail_next_sync(name);
    Box::new(move |world| world.revive(name))
}

fn fill(world: &mut World) -> Remedy {
    let name = world.anybody();
    world.fill_disk(name);
    Box::new(move |world| {
        world.empty_disk(name);
        world.revive(name);
    })
}

fn lose(world: &mut World) -> Remedy {
    let share = *[0.01, 0.1, 0.3].choose(&mut world.rng).expect("there are three");
    world.lose_packets(share);
    Box::new(|world| world.lose_packets(0.0))
}

fn slow(world: &mut World) -> Remedy {
    let longest = ms(world.rng.random_range(5..150));
    world.set_latency(longest);
    Box::new(|world| world.set_latency(ms(5)))
}

fn drift(world: &mut World) -> Remedy {
    let name = world.anybody();
    let parts_per_million = world.rng.random_range(-5000..5000);
    world.drift_clock(name, parts_per_million);
    Box::new(move |world| world.drift_clock(name, 0))
}

fn hand_over(world: &mut World) -> Remedy {
    let (asked, target) = (world.anybody(), world.anybody());
    if world.seen(asked).up {
        world.transfer(asked, Some(target));
    }
    Box::new(|_| {})
}
