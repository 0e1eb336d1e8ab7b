//! The house rules as code: `cargo test -p xtask` and `cargo xtask check` hold every tracked file against them.
//!
//! A rule is a function from the tree to the places that break it. What must break a rule is listed in
//! `allowed.toml` beside this file, with the reason; an entry that nothing needs any more is itself a broken rule.

mod allowed;
mod arrows;
mod length;
mod links;
mod rooms;
mod signs;
mod tree;
mod words;

use std::io;
use std::path::Path;

pub use tree::{SourceFile, Tree};

/// A place that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The file, from the root of the project.
    pub path: String,
    /// The line, from 1; 0 for the file as a whole.
    pub line: usize,
    /// What is wrong, and what would be right.
    pub what: String,
}

/// One house rule.
pub struct Rule {
    /// Its name in `allowed.toml`.
    pub name: &'static str,
    /// Finds what breaks it.
    pub find: fn(&Tree) -> Vec<Finding>,
}

/// All rules.
pub const RULES: [Rule; 12] = [
    Rule { name: "arrows", find: arrows::arrows },
    Rule { name: "workspace-lints", find: arrows::workspace_lints },
    Rule { name: "file-length", find: length::file_length },
    Rule { name: "unfinished", find: words::unfinished },
    Rule { name: "ignored-tests", find: words::ignored_tests },
    Rule { name: "allow-with-reason", find: words::allow_with_reason },
    Rule { name: "machine-paths", find: words::machine_paths },
    Rule { name: "openraft-room", find: rooms::openraft },
    Rule { name: "foca-file", find: rooms::foca },
    Rule { name: "bincode-module", find: rooms::bincode },
    Rule { name: "links", find: links::links },
    Rule { name: "signs", find: signs::signs },
];

/// Holds every tracked file of a project against every rule; returns one line per broken place.
pub fn check(root: &Path) -> io::Result<Vec<String>> {
    Ok(check_tree(&Tree::read(root)?))
}

/// Holds a tree against every rule; returns one line per broken place.
pub fn check_tree(tree: &Tree) -> Vec<String> {
    let mut allowed = match allowed::Allowed::read(tree) {
        Ok(allowed) => allowed,
        Err(reason) => return vec![reason],
    };
    let mut broken = Vec::new();
    for rule in &RULES {
        for finding in (rule.find)(tree) {
            if !allowed.allows(rule.name, &finding.path) {
                broken.push(format!("{}:{}: {} [{}]", finding.path, finding.line, finding.what, rule.name));
            }
        }
    }
    broken.extend(allowed.unused());
    broken
}
