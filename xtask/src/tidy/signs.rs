//! A crate's `lib.rs` is its sign: a sentence, an example, re-exports, no logic.

use super::tree::has_word;
use super::{Finding, SourceFile, Tree};

/// Most lines of a sign besides its documentation.
const LINES_MAX: usize = 60;

pub(super) fn signs(tree: &Tree) -> Vec<Finding> {
    let is_sign = |file: &&SourceFile| {
        file.path
            .strip_prefix("crates/")
            .and_then(|path| path.split_once('/'))
            .is_some_and(|(_, rest)| rest == "src/lib.rs")
    };
    tree.files.iter().filter(is_sign).flat_map(judge).collect()
}

fn judge(file: &SourceFile) -> Vec<Finding> {
    let finding = |line, what: &str| Finding { path: file.path.clone(), line, what: what.to_owned() };
    let mut found = Vec::new();
    let is_doc = |line: &str| line.trim_start().starts_with("//!");
    if !file.text.lines().any(|line| {
        line.trim() == "//! ```" || line.trim().starts_with("//! ```rust") || line.trim() == "//! ```no_run"
    }) {
        found.push(finding(1, "a sign shows the crate in a doc-test"));
    }
    if file.lines().filter(|(_, line)| !is_doc(line)).count() > LINES_MAX {
        found.push(finding(LINES_MAX, "a sign is short: move code to a module"));
    }
    let logic = file.code_lines().find(|(_, line)| !is_doc(line) && (has_word(line, "fn") || has_word(line, "impl")));
    found.extend(logic.map(|(line, _)| finding(line, "a sign holds no logic: move it to a module")));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sign_has_an_example_and_no_logic() {
        let good = "//! Does one thing.\n//!\n//! ```\n//! fn main() {}\n//! ```\n\nmod a;\npub use a::A;\n";
        assert_eq!(signs(&Tree::of(&[("crates/x/src/lib.rs", good)])), []);
        let bare = "//! Does one thing.\npub fn run() {}\n";
        let found = signs(&Tree::of(&[("crates/x/src/lib.rs", bare), ("crates/x/src/b/lib.rs", bare)]));
        assert_eq!(found.iter().map(|f| f.line).collect::<Vec<_>>(), [1, 2]);
    }
}
