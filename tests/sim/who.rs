//! How a scene names nodes: by role, found out at the moment it acts.

use super::{Name, World};

/// One or more nodes.
pub trait Who {
    /// The nodes meant, now.
    fn among(&self, world: &World) -> Vec<Name>;
}

/// Nodes by what they are at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The node that leads in the highest term, as it says itself.
    Leader,
    /// The first node that runs and does not lead, witness apart.
    AFollower,
    /// Every node that runs and does not lead, witness included.
    Followers,
    /// The witness.
    Witness,
    /// Every node that was ever started, whether it runs or not.
    Everyone,
}

pub use Role::{AFollower, Everyone, Followers, Leader, Witness};

impl Who for Role {
    /// # Panics
    ///
    /// When there is no such node: the play is wrong, or an expectation before it was too weak.
    fn among(&self, world: &World) -> Vec<Name> {
        let leader = world.leader();
        let running = || world.names().into_iter().filter(|name| world.runs(*name));
        let found: Vec<Name> = match self {
            Self::Leader => leader.into_iter().collect(),
            Self::AFollower => {
                running().filter(|name| Some(*name) != leader && !world.is_witness(*name)).take(1).collect()
            }
            Self::Followers => running().filter(|name| Some(*name) != leader).collect(),
            Self::Witness => world.names().into_iter().filter(|name| world.is_witness(*name)).collect(),
            Self::Everyone => world.names(),
        };
        assert!(!found.is_empty(), "the scene names {self:?}, and there is none now");
        found
    }
}

impl Who for Name {
    fn among(&self, _world: &World) -> Vec<Name> {
        vec![*self]
    }
}

impl<const N: usize> Who for [Name; N] {
    fn among(&self, _world: &World) -> Vec<Name> {
        self.to_vec()
    }
}

impl Who for Vec<Name> {
    fn among(&self, _world: &World) -> Vec<Name> {
        self.clone()
    }
}

impl Who for &[Name] {
    fn among(&self, _world: &World) -> Vec<Name> {
        self.to_vec()
    }
}

/// Every node that was ever started, but some.
pub fn everyone_but<W: Who>(who: W) -> EveryoneBut<W> {
    EveryoneBut(who)
}

/// See [`everyone_but`].
pub struct EveryoneBut<W>(W);

impl<W: Who> Who for EveryoneBut<W> {
    fn among(&self, world: &World) -> Vec<Name> {
        let but = self.0.among(world);
        world.names().into_iter().filter(|name| !but.contains(name)).collect()
    }
}
