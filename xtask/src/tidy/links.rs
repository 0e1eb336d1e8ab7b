//! Every link between files of the project leads somewhere.

use super::{Finding, Tree};

pub(super) fn links(tree: &Tree) -> Vec<Finding> {
    let mut found = Vec::new();
    for file in &tree.files {
        for (number, line) in file.lines() {
            let in_markdown = if file.path.ends_with(".md") { markdown_targets(line) } else { Vec::new() };
            let resolved = in_markdown.into_iter().map(|target| (target, resolve(&file.path, target)));
            let names = if file.path.starts_with("xtask/src/tidy/") { Vec::new() } else { page_names(line) };
            let spoken = names.into_iter().map(|page| (page, page.to_owned()));
            let targets: Vec<(&str, String)> = resolved.chain(spoken).collect();
            for (target, path) in targets {
                // A crate may keep pages of its own, and name them from where it stands.
                if !exists(tree, &path) && !exists(tree, &resolve(&file.path, target)) {
                    found.push(Finding {
                        path: file.path.clone(),
                        line: number,
                        what: format!("{target} leads nowhere: there is no {path}"),
                    });
                }
            }
        }
    }
    found.dedup();
    found
}

/// The relative targets of `[text](target)` and `![text](target)`, without their anchors.
fn markdown_targets(line: &str) -> Vec<&str> {
    let targets = line.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let relative =
        targets.filter(|target| !target.contains("://") && !target.starts_with('#') && !target.starts_with("mailto:"));
    relative.filter_map(|target| target.split('#').next()).filter(|target| !target.is_empty()).collect()
}

/// Pages below `docs/` that a text or a comment names from the root of the project.
fn page_names(line: &str) -> Vec<&str> {
    let of_a_path = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    let words = line.split(|c| !of_a_path(c)).filter(|word| word.starts_with("docs/") && word.ends_with(".md"));
    words.collect()
}

fn resolve(from: &str, target: &str) -> String {
    let folder = from.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut parts: Vec<&str> = if target.starts_with('/') { Vec::new() } else { folder.split('/').collect() };
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            name => parts.push(name),
        }
    }
    parts.retain(|part| !part.is_empty());
    parts.join("/")
}

fn exists(tree: &Tree, path: &str) -> bool {
    let folder = format!("{path}/");
    path.is_empty() || tree.files.iter().any(|file| file.path == path || file.path.starts_with(&folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dead_links_are_found() {
        let page =
            "[a](decisions/001.md#why) [b](../README.md) [c](missing.md) [d](https://x.y/z) [e](#here) [f](decisions)";
        let tree = Tree::of(&[("README.md", ""), ("docs/a.md", page), ("docs/decisions/001.md", "")]);
        let found = links(&tree);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].what.contains("docs/missing.md"));
    }

    #[test]
    fn a_page_named_in_a_comment_must_exist() {
        let tree =
            Tree::of(&[("a.rs", concat!("// see doc", "s/gone.md")), ("b.rs", "// see docs/a.md."), ("docs/a.md", "")]);
        assert_eq!(links(&tree).iter().map(|f| f.path.as_str()).collect::<Vec<_>>(), ["a.rs"]);
    }
}
