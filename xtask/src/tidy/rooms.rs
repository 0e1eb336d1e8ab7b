//! Engines stay in the rooms that hide them, so that each can be exchanged there.

use super::tree::has_word;
use super::{Finding, Tree};

pub(super) fn openraft(tree: &Tree) -> Vec<Finding> {
    named_outside(
        tree,
        "openraft",
        |path| path.starts_with("crates/ha-cluster/src/raft/"),
        "crates/ha-cluster/src/raft/",
    )
}

pub(super) fn bincode(tree: &Tree) -> Vec<Finding> {
    let codec = |path: &str| path == "crates/ha-net/src/codec.rs" || path.starts_with("crates/ha-net/src/codec/");
    named_outside(tree, "bincode", codec, "the codec module of ha-net")
}

pub(super) fn foca(tree: &Tree) -> Vec<Finding> {
    let mut files: Vec<&str> = mentions(tree, "foca").map(|(path, _)| path).collect();
    files.dedup();
    let others = files.iter().skip(1);
    others
        .map(|path| Finding {
            path: (*path).to_owned(),
            line: 0,
            what: format!("foca is named here and in {}: it belongs in one file", files[0]),
        })
        .collect()
}

fn named_outside(tree: &Tree, engine: &str, inside: impl Fn(&str) -> bool, room: &str) -> Vec<Finding> {
    let outside = mentions(tree, engine).filter(|(path, _)| !inside(path));
    outside
        .map(|(path, line)| Finding { path: path.to_owned(), line, what: format!("{engine} is known in {room} only") })
        .collect()
}

/// Where code, not a comment, names a crate.
fn mentions<'a>(tree: &'a Tree, engine: &'a str) -> impl Iterator<Item = (&'a str, usize)> {
    let rust = tree.ending(".rs").filter(|file| !file.path.starts_with("xtask/src/tidy/"));
    rust.flat_map(move |file| {
        let lines = file.code_lines().filter(move |(_, line)| has_word(line, engine));
        lines.map(move |(number, _)| (file.path.as_str(), number))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_is_named_in_its_room_and_in_comments_only() {
        let tree = Tree::of(&[
            ("crates/ha-cluster/src/raft/log.rs", "use openraft::Raft;"),
            ("crates/ha-cluster/src/a.rs", "// openraft does this\nlet openraft_like = 1;\nopenraft::run();"),
            ("crates/ha-net/src/codec.rs", "bincode::serde::encode()"),
            ("crates/ha-net/src/net.rs", "bincode::serde::encode()"),
        ]);
        assert_eq!(openraft(&tree).iter().map(|f| f.line).collect::<Vec<_>>(), [3]);
        assert_eq!(bincode(&tree)[0].path, "crates/ha-net/src/net.rs");
    }

    #[test]
    fn gossip_lives_in_one_file() {
        let one = ("a.rs", "use foca::Foca;\nfoca::x();");
        assert!(foca(&Tree::of(&[one])).is_empty());
        assert_eq!(foca(&Tree::of(&[one, ("b.rs", "foca::y()")]))[0].path, "b.rs");
    }
}
