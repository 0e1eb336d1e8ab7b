//! What people see: colours where a terminal shows them, and progress that stays quiet for short work.

use std::io::{IsTerminal, stderr, stdout};
use std::path::PathBuf;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::time::Instant;
use xtask::local_cluster::binary::{self, BuildError, Program};

/// Work shorter than this shows no bar.
const QUIET_FOR: Duration = Duration::from_secs(2);
/// Without a terminal, a line as often as this says how far long work is.
const LINE_EVERY: Duration = Duration::from_secs(10);
/// How often a spinner turns.
const TICK: Duration = Duration::from_millis(120);

/// A colour, by what it means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    /// All is well.
    Good,
    /// Worth a look.
    Warning,
    /// Broken.
    Bad,
    /// Less important.
    Faint,
    /// A heading.
    Strong,
}

/// A text in a tone, for standard output; plain where no terminal is, or `NO_COLOR` is set.
pub(crate) fn paint(tone: Tone, text: &str) -> String {
    paint_for(stdout().is_terminal(), tone, text)
}

fn paint_for(terminal: bool, tone: Tone, text: &str) -> String {
    if !terminal || std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()) {
        return text.to_owned();
    }
    let code = match tone {
        Tone::Good => "32",
        Tone::Warning => "33",
        Tone::Bad => "31",
        Tone::Faint => "2",
        Tone::Strong => "1",
    };
    format!("\u{1b}[{code}m{text}\u{1b}[0m")
}

/// One line about what failed, on standard error.
pub(crate) fn error(text: &str) {
    eprintln!("{}: {text}", paint_for(stderr().is_terminal(), Tone::Bad, "error"));
}

/// One line about what is not as it should be, on standard error.
pub(crate) fn warning(text: &str) {
    eprintln!("{}: {text}", paint_for(stderr().is_terminal(), Tone::Warning, "warning"));
}

/// A step that may take long: a bar or spinner on a terminal after [`QUIET_FOR`], a line now and then elsewhere.
pub(crate) struct Step {
    bar: ProgressBar,
    name: String,
    began: Instant,
    last_line: Instant,
    shown: bool,
}

impl Step {
    /// Begins a step.
    pub(crate) fn begin(name: &str) -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        let now = Instant::now();
        Self { bar, name: name.to_owned(), began: now, last_line: now, shown: false }
    }

    /// Tells how far it is; `total` 0 when nobody knows.
    pub(crate) fn update(&mut self, done: usize, total: usize, detail: &str) {
        let now = Instant::now();
        if now - self.began < QUIET_FOR {
            return;
        }
        if !stderr().is_terminal() {
            if now - self.last_line >= LINE_EVERY || !self.shown {
                self.shown = true;
                self.last_line = now;
                eprintln!("{}: {}", self.name, plain(done, total, detail));
            }
            return;
        }
        if !self.shown {
            self.shown = true;
            let template = if total > 0 {
                "{spinner} {prefix} [{bar:30}] {pos}/{len} {wide_msg}"
            } else {
                "{spinner} {prefix} {elapsed} {wide_msg}"
            };
            if let Ok(style) = ProgressStyle::with_template(template) {
                self.bar.set_style(style.progress_chars("=> "));
            }
            self.bar.set_prefix(self.name.clone());
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
            self.bar.enable_steady_tick(TICK);
        }
        if total > 0 {
            self.bar.set_length(total as u64);
            self.bar.set_position(done as u64);
        }
        self.bar.set_message(detail.to_owned());
    }

    /// Ends it, and says so when it took long enough for anyone to wonder.
    pub(crate) fn end(self, result: &str) {
        self.bar.finish_and_clear();
        if self.shown {
            eprintln!("{}: {result} ({})", self.name, seconds(self.began.elapsed()));
        }
    }

    /// Ends it without a word: the caller has an error to tell.
    pub(crate) fn abandon(self) {
        self.bar.finish_and_clear();
    }
}

fn plain(done: usize, total: usize, detail: &str) -> String {
    if total > 0 { format!("{done} of {total}, {detail}") } else { detail.to_owned() }
}

/// Builds a program, and shows how far it is.
pub(crate) fn build(program: Program, release: bool) -> Result<PathBuf, BuildError> {
    let mut step = Step::begin(&format!("building {}", program.name));
    let built = binary::build(program, release, |p| step.update(p.done, p.total, &p.package));
    match &built {
        Ok(_) => step.end("done"),
        Err(_) => step.abandon(),
    }
    built
}

/// A duration for people.
pub(crate) fn seconds(duration: Duration) -> String {
    match duration.as_secs() {
        0..60 => format!("{:.1} s", duration.as_secs_f64()),
        whole => format!("{} min {} s", whole / 60, whole % 60),
    }
}

/// Rows under a heading, in columns as wide as they need to be.
pub(crate) struct Table {
    rows: Vec<Vec<(Option<Tone>, String)>>,
}

impl Table {
    /// With this heading.
    pub(crate) fn new(heading: &[&str]) -> Self {
        Self { rows: vec![heading.iter().map(|text| (Some(Tone::Strong), (*text).to_owned())).collect()] }
    }

    /// Adds a row of cells, each with a tone or plain.
    pub(crate) fn row(&mut self, cells: Vec<(Option<Tone>, String)>) {
        self.rows.push(cells);
    }

    /// Prints it on standard output.
    pub(crate) fn print(&self) {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width =
            |column: usize| self.rows.iter().filter_map(|r| r.get(column)).map(|(_, t)| t.chars().count()).max();
        let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
        for row in &self.rows {
            let cells = row.iter().zip(&widths).map(|((tone, text), width)| {
                let padded = format!("{text:width$}");
                tone.map_or(padded.clone(), |tone| paint(tone, &padded))
            });
            println!("{}", cells.collect::<Vec<_>>().join("  ").trim_end());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_stay_out_of_files() {
        assert_eq!(paint_for(false, Tone::Bad, "x"), "x");
    }

    #[test]
    fn long_times_are_told_in_minutes() {
        assert_eq!(seconds(Duration::from_millis(1_540)), "1.5 s");
        assert_eq!(seconds(Duration::from_secs(125)), "2 min 5 s");
    }
}
