//! What may break a rule, and why.

use serde::Deserialize;

use super::Tree;

const PATH: &str = "xtask/src/tidy/allowed.toml";

/// The list, and which of its entries were needed.
pub(super) struct Allowed {
    entries: Vec<(Entry, bool)>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    #[serde(default)]
    allow: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    rule: String,
    path: String,
    reason: String,
}

impl Allowed {
    pub(super) fn read(tree: &Tree) -> Result<Self, String> {
        let text = tree.file(PATH).map(|file| file.text.as_str()).unwrap_or_default();
        let list: List = toml::from_str(text).map_err(|error| format!("{PATH}: {error}"))?;
        match list.allow.iter().find(|entry| entry.reason.split_whitespace().count() < 4) {
            Some(entry) => Err(format!("{PATH}: the entry for {} gives no reason", entry.path)),
            None => Ok(Self { entries: list.allow.into_iter().map(|entry| (entry, false)).collect() }),
        }
    }

    pub(super) fn allows(&mut self, rule: &str, path: &str) -> bool {
        let entry = self.entries.iter_mut().find(|(entry, _)| entry.rule == rule && entry.path == path);
        entry.map(|(_, needed)| *needed = true).is_some()
    }

    pub(super) fn unused(&self) -> impl Iterator<Item = String> {
        let unused = self.entries.iter().filter(|(_, needed)| !needed);
        unused.map(|(entry, _)| format!("{PATH}: {} no longer breaks {}: delete the entry", entry.path, entry.rule))
    }
}

#[cfg(test)]
mod tests {
    use super::super::check_tree;
    use super::*;

    fn list(entry: &str) -> Vec<String> {
        let long = "\n".repeat(501);
        check_tree(&Tree::of(&[(PATH, entry), ("a.rs", &long)]))
    }

    #[test]
    fn an_entry_with_a_reason_lets_one_file_pass() {
        assert_eq!(list("").len(), 1);
        let entry = "[[allow]]\nrule = 'file-length'\npath = 'a.rs'\nreason = 'it is a generated table'";
        assert_eq!(list(entry), [""; 0]);
    }

    #[test]
    fn an_entry_needs_a_reason_and_a_use() {
        assert!(list("[[allow]]\nrule = 'file-length'\npath = 'a.rs'\nreason = ''")[0].contains("no reason"));
        let stale = "[[allow]]\nrule = 'links'\npath = 'a.rs'\nreason = 'some four words here'";
        assert!(list(stale).iter().any(|line| line.contains("delete the entry")));
    }
}
