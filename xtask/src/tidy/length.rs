//! No Rust file grows beyond what a reader holds in mind.

use super::{Finding, Tree};

/// Most lines of a Rust file.
const LINES_MAX: usize = 500;

pub(super) fn file_length(tree: &Tree) -> Vec<Finding> {
    let long = tree.ending(".rs").map(|file| (file, file.text.lines().count())).filter(|(_, lines)| *lines > LINES_MAX);
    long.map(|(file, lines)| Finding {
        path: file.path.clone(),
        line: lines,
        what: format!("{lines} lines are more than {LINES_MAX}: which two things is it?"),
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_long_rust_is_found() {
        let (long, fits) = ("\n".repeat(501), "\n".repeat(500));
        let tree = Tree::of(&[("a.rs", &long), ("b.rs", &fits), ("c.md", &long)]);
        let found = file_length(&tree);
        assert_eq!(found.iter().map(|f| f.path.as_str()).collect::<Vec<_>>(), ["a.rs"]);
    }
}
