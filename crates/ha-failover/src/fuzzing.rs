//! Commands and images of the roster, to be fed with anything: see the package `ha-fuzz`.

use ha_cluster::{Applied, Epoch, Incarnation, Machine, NodeId, encoding};

use crate::roster::{Command, Roster};
use crate::{Fitness, RoleId};

/// A name, valid inputs to begin with, and what takes an input.
pub type Target = (&'static str, Vec<Vec<u8>>, fn(&[u8]));

/// All of this crate.
pub fn targets() -> Vec<Target> {
    vec![("role-command", commands(), command), ("role-image", images(), image)]
}

fn samples() -> Vec<Command> {
    let role: RoleId = "default".parse().unwrap_or_else(|_| unreachable!("a role"));
    let node: NodeId = "n1".parse().unwrap_or_else(|_| unreachable!("a node id"));
    let fitness = Fitness::default();
    vec![
        Command::Ensure(vec![role.clone()]),
        Command::Report {
            node: node.clone(),
            incarnation: Incarnation(2),
            fitness,
            draining: false,
            rules: vec!["mode=manual".to_owned()],
        },
        Command::Started { role, epoch: Epoch(3), node },
    ]
}

fn commands() -> Vec<Vec<u8>> {
    let sealed = samples().iter().filter_map(|command| encoding::encode(command).ok()).collect::<Vec<_>>();
    let others = (0..18u8).map(|variant| [&[variant, 7], &b"default"[..], &[3, 2], &b"n1"[..], &[0; 16]].concat());
    sealed.into_iter().chain(others).collect()
}

fn apply_all(commands: impl IntoIterator<Item = Command>) -> Roster {
    let mut roster = Roster::default();
    for (epoch, command) in (1..).zip(commands) {
        let _ = roster.apply(Applied { epoch: Epoch(epoch), index: epoch }, command);
    }
    roster
}

fn image_of(roster: &Roster) -> Vec<u8> {
    roster.capture().flatten().collect()
}

/// Whatever can be read must be applied without harm.
fn command(input: &[u8]) {
    if let Ok(command) = encoding::decode::<Command>(input) {
        let roster = apply_all(samples().into_iter().take(2).chain([command.clone(), command]));
        assert!(Roster::default().restore(&image_of(&roster)).is_ok(), "a roster reads back");
    }
}

fn images() -> Vec<Vec<u8>> {
    let read = commands().into_iter().filter_map(|command| encoding::decode(&command).ok());
    [Roster::default(), apply_all(samples()), apply_all(read)].iter().map(image_of).collect()
}

fn image(input: &[u8]) {
    let mut roster = Roster::default();
    if roster.restore(input).is_ok() {
        let _ = image_of(&roster);
    }
}
