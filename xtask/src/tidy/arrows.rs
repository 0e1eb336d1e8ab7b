//! Who may depend on whom: the picture in the architecture page, as code.

use std::collections::BTreeSet;

use toml::{Table, Value};

use super::{Finding, SourceFile, Tree};

/// Each room of the house and the rooms that it may build on. From the ground up: a room stands after all that it
/// builds on.
const ROOMS: [(&str, &[&str]); 10] = [
    ("ha-config", &[]),
    ("ha-health", &[]),
    ("ha-net", &[]),
    ("ha-cluster", &["ha-net"]),
    ("ha-state", &["ha-cluster"]),
    ("ha-replication", &["ha-cluster"]),
    ("ha-failover", &["ha-cluster", "ha-health"]),
    ("ha-runtime", &["ha-config", "ha-health", "ha-net", "ha-cluster", "ha-state", "ha-replication", "ha-failover"]),
    ("ha-http", &["ha-runtime"]),
    ("ha-cli", &["ha-config", "ha-runtime", "ha-http"]),
];

/// Packages beside the house: those of the tests may know every room, the house commands none. `base2histogram` stands
/// in for a crate of that name (`docs/decisions/008-histograms.md`).
const OUTBUILDINGS: [&str; 5] = ["ha-tests", "ha-bench-node", "ha-fuzz", "xtask", "base2histogram"];

pub(super) fn arrows(tree: &Tree) -> Vec<Finding> {
    let manifests = manifests(tree);
    let own: BTreeSet<&str> = manifests.iter().map(|(_, name, _)| name.as_str()).collect();
    let mut found = Vec::new();
    for (file, name, manifest) in &manifests {
        let mut finding = |what: String| found.push(Finding { path: file.path.clone(), line: 0, what });
        let height = ROOMS.iter().position(|(room, _)| room == name);
        if height.is_none() && !OUTBUILDINGS.contains(&name.as_str()) {
            finding(format!("{name} is not in the picture: give it a place in xtask/src/tidy/arrows.rs"));
            continue;
        }
        for (kind, dependency) in dependencies(manifest).into_iter().filter(|(_, other)| own.contains(other.as_str())) {
            let allowed = match (height, kind) {
                (None, _) => name != "xtask" || !is_room(&dependency),
                // A test may use what stands below it or beside it, not what is built on it.
                (Some(height), Kind::Development) => {
                    ROOMS.iter().position(|(room, _)| *room == dependency).is_none_or(|other| other < height)
                }
                (Some(height), Kind::Normal) => ROOMS[height].1.contains(&dependency.as_str()),
            };
            if !allowed {
                finding(format!("{name} must not depend on {dependency}"));
            }
        }
    }
    found
}

pub(super) fn workspace_lints(tree: &Tree) -> Vec<Finding> {
    let manifests = manifests(tree);
    let inherits = |manifest: &Table| {
        manifest.get("lints").and_then(|lints| lints.get("workspace")).and_then(Value::as_bool) == Some(true)
    };
    let without = manifests.iter().filter(|(_, _, manifest)| !inherits(manifest));
    without
        .map(|(file, name, _)| Finding {
            path: file.path.clone(),
            line: 0,
            what: format!("{name} needs `[lints] workspace = true`"),
        })
        .collect()
}

fn is_room(name: &str) -> bool {
    ROOMS.iter().any(|(room, _)| *room == name)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Normal,
    Development,
}

/// The packages of the workspace: manifest file, name, content.
fn manifests(tree: &Tree) -> Vec<(&SourceFile, String, Table)> {
    let parse = |file: &'_ SourceFile| toml::from_str::<Table>(&file.text).ok();
    // What stands in for somebody else's crate is no room of this house.
    let files =
        tree.files.iter().filter(|file| file.path.ends_with("/Cargo.toml") && !file.path.starts_with(".cargo/"));
    files
        .filter_map(|file| {
            let manifest = parse(file)?;
            let name = manifest.get("package")?.get("name")?.as_str()?.to_owned();
            Some((file, name, manifest))
        })
        .collect()
}

/// All dependencies of a manifest, those for one target only included, by the names of their packages.
fn dependencies(manifest: &Table) -> Vec<(Kind, String)> {
    let targets = manifest.get("target").and_then(Value::as_table).into_iter().flat_map(|targets| targets.values());
    let tables = targets.filter_map(Value::as_table).chain([manifest]);
    let kinds =
        [("dependencies", Kind::Normal), ("build-dependencies", Kind::Normal), ("dev-dependencies", Kind::Development)];
    let mut found = Vec::new();
    for table in tables {
        for (key, kind) in kinds {
            for (name, value) in table.get(key).and_then(Value::as_table).into_iter().flatten() {
                let package = value.get("package").and_then(Value::as_str).unwrap_or(name);
                found.push((kind, package.to_owned()));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(name: &str, rest: &str) -> String {
        format!("[package]\nname = \"{name}\"\n[lints]\nworkspace = true\n{rest}")
    }

    fn found(packages: &[(&str, &str)]) -> Vec<String> {
        let texts: Vec<(String, String)> =
            packages.iter().map(|(name, rest)| (format!("crates/{name}/Cargo.toml"), manifest(name, rest))).collect();
        let files: Vec<(&str, &str)> = texts.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
        arrows(&Tree::of(&files)).into_iter().map(|finding| finding.what).collect()
    }

    #[test]
    fn only_the_arrows_of_the_picture_pass() {
        let net = ("ha-net", "");
        assert_eq!(found(&[net, ("ha-cluster", "[dependencies]\nha-net.workspace = true\ntokio = \"1\"")]), [""; 0]);
        let state = ("ha-state", "[dependencies]\nha-net.workspace = true");
        assert_eq!(found(&[net, state]), ["ha-state must not depend on ha-net"]);
        let renamed =
            ("ha-health", "[target.'cfg(unix)'.build-dependencies]\nx = { package = \"ha-net\", path = \"\" }");
        assert_eq!(found(&[net, renamed]), ["ha-health must not depend on ha-net"]);
    }

    #[test]
    fn tests_of_a_room_look_down_only() {
        let rooms =
            [("ha-net", "[dev-dependencies]\nha-cluster = \"0\""), ("ha-cluster", "[dependencies]\nha-net = \"0\"")];
        assert_eq!(found(&rooms), ["ha-net must not depend on ha-cluster"]);
        assert_eq!(found(&[("ha-config", ""), ("ha-state", "[dev-dependencies]\nha-config = \"0\"")]), [""; 0]);
    }

    #[test]
    fn a_room_must_be_in_the_picture_and_house_commands_know_no_room() {
        assert!(found(&[("ha-attic", "")])[0].contains("not in the picture"));
        assert_eq!(
            found(&[("ha-net", ""), ("xtask", "[dependencies]\nha-net = \"0\"")]),
            ["xtask must not depend on ha-net"]
        );
        assert_eq!(found(&[("ha-net", ""), ("ha-tests", "[dependencies]\nha-net = \"0\"")]), [""; 0]);
    }

    #[test]
    fn a_room_stands_after_all_that_it_builds_on() {
        for (height, (room, below)) in ROOMS.iter().enumerate() {
            for other in *below {
                assert!(ROOMS[..height].iter().any(|(name, _)| name == other), "{room} stands before {other}");
            }
        }
    }

    #[test]
    fn a_package_without_the_workspace_lints_is_found() {
        let bare = "[package]\nname = \"ha-net\"";
        assert_eq!(workspace_lints(&Tree::of(&[("crates/ha-net/Cargo.toml", bare)])).len(), 1);
    }
}
