//! What is wrong with a configuration: all of it at once, each with its place and what would be right.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

use crate::names::find;
use crate::source::Source;

/// Longest value that is shown.
const SHOWN_CHARS_MAX: usize = 80;

/// The kinds of problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ProblemKind {
    /// A file that cannot be read, or is too long.
    File,
    /// Text that is not TOML, or a `--set` that is not `NAME=VALUE`.
    Syntax,
    /// No option of that name.
    Unknown,
    /// A value that the option does not take.
    Value,
    /// Options that cannot work together.
    Contradiction,
}

/// One setting that a problem is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mention {
    /// The name of the option, or what stands in its place.
    pub option: String,
    /// The value, shortened, masked where secret; `None` where there is none to show.
    pub value: Option<String>,
    /// Where it came from.
    pub source: Source,
}

impl Mention {
    pub(crate) fn new(option: impl AsRef<str>, value: Option<&str>, source: Source) -> Self {
        Self { option: shorten(option.as_ref()), value: value.map(shorten), source }
    }
}

impl fmt::Display for Mention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.option)?;
        if let Some(value) = &self.value {
            write!(f, " = {value}")?;
        }
        write!(f, " ({})", self.source)
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Problem {
    /// For programs.
    pub kind: ProblemKind,
    /// The setting, or, where settings contradict one another, each of them.
    pub settings: Vec<Mention>,
    /// What is wrong with it.
    pub reason: String,
    /// What would be accepted.
    pub accepted: Option<String>,
    /// The known name or word that was probably meant.
    pub nearest: Option<String>,
}

impl Problem {
    pub(crate) fn new(kind: ProblemKind, setting: Mention, reason: impl Into<String>) -> Self {
        Self { kind, settings: vec![setting], reason: reason.into(), accepted: None, nearest: None }
    }

    pub(crate) fn accepted(mut self, accepted: impl Into<String>) -> Self {
        self.accepted = Some(accepted.into());
        self
    }

    /// For names: where there is no suggestion, says where the right ones are.
    pub(crate) fn accepted_unless_nearest(self, accepted: impl FnOnce() -> String) -> Self {
        if self.nearest.is_some() { self } else { self.accepted(accepted()) }
    }

    pub(crate) fn nearest(mut self, nearest: Option<impl Into<String>>) -> Self {
        self.nearest = nearest.map(Into::into);
        self
    }

    /// A name that no option has. The value is shown only where the option that was probably meant is no secret.
    pub(crate) fn unknown(name: &str, value: &str, source: Source, nearest: Option<&str>) -> Self {
        let is_harmless = nearest.and_then(find).is_some_and(|option| !option.secret);
        let mention = Mention::new(name, is_harmless.then_some(value), source);
        Self::new(ProblemKind::Unknown, mention, "no option has this name").nearest(nearest)
    }

    /// Where somebody would look for it: the layer, the file, the line.
    fn place(&self) -> (bool, u8, PathBuf, usize) {
        let is_contradiction = self.kind == ProblemKind::Contradiction;
        match self.settings.first().map(|setting| &setting.source) {
            Some(Source::File { path, line }) if !is_contradiction => (false, 1, path.clone(), *line),
            Some(Source::Environment { .. }) if !is_contradiction => (false, 2, PathBuf::new(), 0),
            Some(Source::CommandLine { .. }) if !is_contradiction => (false, 3, PathBuf::new(), 0),
            _ => (is_contradiction, 0, PathBuf::new(), 0),
        }
    }

    /// Whether it is about this option.
    pub fn names(&self, option: &str) -> bool {
        self.settings.iter().any(|setting| setting.option == option)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let settings: Vec<String> = self.settings.iter().map(ToString::to_string).collect();
        write!(f, "{}: {}", settings.join(" and "), self.reason)?;
        if let Some(nearest) = &self.nearest {
            write!(f, "; did you mean {nearest}?")?;
        }
        if let Some(accepted) = &self.accepted {
            write!(f, "{} accepted: {accepted}", if self.nearest.is_some() { "" } else { ";" })?;
        }
        Ok(())
    }
}

/// Everything that is wrong with a configuration; never empty. It displays as one line for each problem.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// `None` when nothing is wrong.
    pub(crate) fn of(mut problems: Vec<Problem>) -> Option<Self> {
        problems.sort_by_cached_key(Problem::place);
        if problems.is_empty() { None } else { Some(Self(problems)) }
    }

    /// Each of them, in the order of the layers and of the lines of a file; contradictions last.
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.0.iter()
    }

    /// How many there are; at least one.
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

impl<'a> IntoIterator for &'a Problems {
    type Item = &'a Problem;
    type IntoIter = std::slice::Iter<'a, Problem>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// A value on one line, without control characters, and not endless.
pub(crate) fn shorten(value: &str) -> String {
    let mut shown: String = value.chars().take(SHOWN_CHARS_MAX).flat_map(escape).collect();
    if value.chars().nth(SHOWN_CHARS_MAX).is_some() {
        shown.push('…');
    }
    if shown.is_empty() { "\"\"".to_owned() } else { shown }
}

fn escape(c: char) -> impl Iterator<Item = char> {
    let escaped = if c.is_control() { c.escape_debug().collect() } else { vec![c] };
    escaped.into_iter()
}
