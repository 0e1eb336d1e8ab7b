//! Words that a finished file does not hold. They are written in two halves here, so that this file passes.

use super::{Finding, SourceFile, Tree};

const UNFINISHED: [&str; 5] = [
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X:"),
    concat!("todo", "!("),
    concat!("unimplemented", "!("),
];

pub(super) fn unfinished(tree: &Tree) -> Vec<Finding> {
    let holds = |line: &str| UNFINISHED.iter().find(|word| line.contains(**word)).copied();
    find(tree, |_| true, |_, _, line| holds(line).map(|word| format!("{word} is left: finish it, or open an issue")))
}

pub(super) fn ignored_tests(tree: &Tree) -> Vec<Finding> {
    let holds = |line: &str| line.trim_start().starts_with(concat!("#[", "ignore"));
    find(tree, is_rust, |_, _, line| {
        holds(line).then(|| "a test that does not run proves nothing: fix or delete it".to_owned())
    })
}

/// Most lines that an attribute is read for.
const ATTRIBUTE_LINES_MAX: usize = 12;

pub(super) fn allow_with_reason(tree: &Tree) -> Vec<Finding> {
    const OPENINGS: [&str; 4] =
        [concat!("#[", "allow("), concat!("#![", "allow("), concat!("#[", "expect("), concat!("#![", "expect(")];
    find(tree, is_rust, |file, number, line| {
        let opening = OPENINGS.iter().find(|opening| line.trim_start().starts_with(**opening))?;
        // The attribute may go on over several lines.
        let rest: Vec<&str> = file.text.lines().skip(number - 1).take(ATTRIBUTE_LINES_MAX).collect();
        let rest = rest.join("\n");
        let attribute = rest.split(")]").next().unwrap_or_default();
        (!attribute.contains("reason")).then(|| format!("{opening}...) needs a `reason = \"...\"`"))
    })
}

/// Beginnings of absolute paths that exist on one machine only.
const MACHINE_PATHS: [&str; 4] =
    [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/fa", "rm/"), concat!("/ho", "me/")];

pub(super) fn machine_paths(tree: &Tree) -> Vec<Finding> {
    let absolute = |line: &str, path: &str| {
        let continues = |c: char| c.is_alphanumeric() || "._-}~".contains(c);
        line.match_indices(path).any(|(at, _)| !line[..at].ends_with(continues))
    };
    let holds = move |line: &str| MACHINE_PATHS.iter().find(|path| absolute(line, path)).copied();
    let tracked = |file: &SourceFile| !file.path.ends_with("Cargo.lock");
    find(tree, tracked, move |_, _, line| holds(line).map(|path| format!("{path}... exists on one machine only")))
}

fn is_rust(file: &SourceFile) -> bool {
    file.path.ends_with(".rs")
}

fn find(
    tree: &Tree,
    concerns: impl Fn(&SourceFile) -> bool,
    judge: impl Fn(&SourceFile, usize, &str) -> Option<String>,
) -> Vec<Finding> {
    let mut found = Vec::new();
    for file in tree.files.iter().filter(|file| concerns(file)) {
        for (number, line) in file.lines() {
            if let Some(what) = judge(file, number, line) {
                found.push(Finding { path: file.path.clone(), line: number, what });
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(found: Vec<Finding>) -> Vec<usize> {
        found.into_iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn unfinished_work_is_found_anywhere() {
        let text = format!("fine\n// {}: later\n", concat!("TO", "DO"));
        assert_eq!(lines(unfinished(&Tree::of(&[("a.sh", &text)]))), [2]);
    }

    #[test]
    fn ignored_tests_are_found() {
        let text = format!("#[test]\n{}]\nfn a() {{}}\n", concat!("#[", "ignore"));
        assert_eq!(lines(ignored_tests(&Tree::of(&[("a.rs", &text)]))), [2]);
    }

    #[test]
    fn an_allow_needs_a_reason() {
        let allow = concat!("#[", "allow(");
        let text = format!(
            "{allow}dead_code)]\n{allow}\n    unused,\n    reason = \"why\"\n)]\n{allow}unused, reason = \"x\")]\n"
        );
        assert_eq!(lines(allow_with_reason(&Tree::of(&[("a.rs", &text)]))), [1]);
    }

    #[test]
    fn paths_of_one_machine_are_found() {
        let (here, below) = (concat!("/wo", "rk/x"), concat!("docs/wo", "rk/x"));
        let text = format!("see {here}\nsee {below}\n\"{here}\"\n");
        assert_eq!(lines(machine_paths(&Tree::of(&[("a.md", &text)]))), [1, 3]);
    }
}
