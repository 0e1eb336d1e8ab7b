//! The identity file and small states, to be fed with anything.

use std::path::Path;

use ha_net::{ClusterId, Incarnation};

use super::slot;
use super::text::Content;
use crate::fuzzing::{Target, node};

const SLOT: &str = "slot-vote";

pub(crate) fn targets() -> Vec<Target> {
    let slots = slot::seal(SLOT, b"a promise").into_iter().collect();
    vec![("identity", identities(), identity), ("slot", slots, small)]
}

fn identities() -> Vec<Vec<u8>> {
    let content = Content {
        node_id: node("n1"),
        cluster_name: "shop".to_owned(),
        cluster_id: Some(ClusterId(5)),
        incarnation: Incarnation(7),
        generation: 1,
    };
    vec![content.encode(), Content { cluster_id: None, ..content }.encode()]
}

/// As it is, and with a right checksum.
fn identity(input: &[u8]) {
    let file = Path::new("identity");
    let _ = Content::decode(file, input);
    let Some((body, _)) = std::str::from_utf8(input).ok().and_then(|text| text.rsplit_once("checksum = ")) else {
        return;
    };
    let mended = format!("{body}checksum = {:08x}\n", crc32c::crc32c(body.as_bytes()));
    if let Ok(content) = Content::decode(file, mended.as_bytes()) {
        assert!(Content::decode(file, &content.encode()).is_ok_and(|again| again == content));
    }
}

fn small(input: &[u8]) {
    let _ = slot::open(Path::new(SLOT), SLOT, input.to_vec());
    let sealed = slot::seal(SLOT, input).ok();
    let opened = sealed.and_then(|sealed| slot::open(Path::new(SLOT), SLOT, sealed).ok());
    assert!(opened.is_none_or(|content| content == input));
}
