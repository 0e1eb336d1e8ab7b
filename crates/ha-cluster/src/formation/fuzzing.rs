//! What founding nodes say, to be fed with anything.

use ha_net::ClusterId;

use super::charter::{Ballot, Charter, Founder, Profile};
use super::message::{Body, Message, SCHEMA, SeedList};
use crate::Role;
use crate::codec;
use crate::fuzzing::{Target, address, node};

pub(crate) fn targets() -> Vec<Target> {
    vec![("formation", messages(), message)]
}

fn messages() -> Vec<Vec<u8>> {
    let ballot = Ballot { round: 7, node: node("n1") };
    let profile = Profile { address: address(), priority: 100, role: Role::Member, disk: 9 };
    let founder = Founder { node_id: node("n1"), profile: profile.clone(), voter: true };
    let charter = Charter { cluster_id: ClusterId(5), founders: vec![founder] };
    let bodies = [
        Body::Prepare { ballot: ballot.clone() },
        Body::Promise { ballot: ballot.clone(), accepted: Some((ballot.clone(), charter.clone())), profile },
        Body::Refuse { ballot: ballot.clone(), promised: ballot.clone() },
        Body::Accept { ballot: ballot.clone(), charter: charter.clone() },
        Body::Accepted { ballot },
        Body::Ask,
        Body::Chosen { charter },
    ];
    let message = |body| Message { schema: SCHEMA, seeds: SeedList::new(["a:1", "b:2"]), body };
    bodies.into_iter().map(|body| codec::record(&message(body)).into()).collect()
}

fn message(input: &[u8]) {
    if let Ok(message) = codec::decode::<Message>(input) {
        let _ = message.body.is_sound(0);
        assert_eq!(codec::decode(&codec::record(&message)).as_ref(), Ok(&message));
    }
}
