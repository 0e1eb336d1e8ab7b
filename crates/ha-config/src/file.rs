//! The layer of a TOML file: one table per component, each value with its line.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::config::OPTIONS;
use crate::names::{nearest_key, tables};
use crate::nearest::nearest;
use crate::problem::{Mention, Problem, ProblemKind};
use crate::secret::MASK;
use crate::setting::Given;
use crate::source::Source;
use crate::statement::Statement;
use crate::table::OptionInfo;

/// Longest settings file, in bytes.
pub const FILE_BYTES_MAX: usize = 1024 * 1024;

/// Reads a text file of at most `bytes_max`; the error completes "the file …".
pub(crate) fn read_text(path: &Path, bytes_max: usize) -> Result<String, String> {
    let unreadable = |error: std::io::Error| format!("cannot be read: {error}");
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(bytes_max as u64 + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() > bytes_max {
        return Err(format!("is longer than {bytes_max} bytes"));
    }
    String::from_utf8(bytes).map_err(|_| "is not valid UTF-8".to_owned())
}

/// Sorts out what a file says.
pub(crate) fn read(path: &Path, text: &str, statements: &mut Vec<Statement>, problems: &mut Vec<Problem>) {
    let mut reader = Reader { path: path.to_owned(), text, broken_lines: Vec::new(), statements, problems };
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let line = reader.line(error.span().map_or(0, |span| span.start));
        // One mistake can make the parser complain several times.
        if !reader.broken_lines.contains(&line) {
            reader.broken_lines.push(line);
            let mention = Mention::new("the file", None, reader.source(line));
            reader.problems.push(Problem::new(
                ProblemKind::Syntax,
                mention,
                format!("is not TOML here: {}", error.message().replace('\n', ", ")),
            ));
        }
    }
    let mut entries: Vec<_> = document.get_ref().iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    for (key, value) in entries {
        reader.top(key, value);
    }
}

struct Reader<'a> {
    path: PathBuf,
    text: &'a str,
    broken_lines: Vec<usize>,
    statements: &'a mut Vec<Statement>,
    problems: &'a mut Vec<Problem>,
}

type Key<'i> = Spanned<std::borrow::Cow<'i, str>>;

impl Reader<'_> {
    fn line(&self, offset: usize) -> usize {
        1 + self.text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
    }

    fn source(&self, line: usize) -> Source {
        Source::File { path: self.path.clone(), line }
    }

    /// Notes a problem, unless the line is broken anyway: what the parser made of such a line is a guess.
    fn complain(&mut self, line: usize, problem: Problem) {
        if !self.broken_lines.contains(&line) {
            self.problems.push(problem);
        }
    }

    fn top(&mut self, key: &Key<'_>, value: &Spanned<DeValue<'_>>) {
        let table = key.get_ref().as_ref();
        let line = self.line(key.span().start);
        let is_known = tables().contains(&table);
        match value.get_ref() {
            DeValue::Table(entries) if is_known => {
                let mut entries: Vec<_> = entries.iter().collect();
                entries.sort_by_key(|(key, _)| key.span().start);
                for (key, value) in entries {
                    self.entry(table, key, value);
                }
            }
            DeValue::Table(_) => {
                let mention = Mention::new(format!("[{table}]"), None, self.source(line));
                let problem = Problem::new(ProblemKind::Unknown, mention, "no table has this name")
                    .nearest(nearest(table, tables()).map(|name| format!("[{name}]")))
                    .accepted(format!("the tables {}", tables().join(", ")));
                self.complain(line, problem);
            }
            _ => {
                let mention = Mention::new(table, None, self.source(line));
                let meant = OPTIONS.iter().find(|option| option.name == table || option.key == table);
                let problem = if is_known {
                    Problem::new(ProblemKind::Syntax, mention, "is a table, not a value")
                        .accepted(format!("[{table}] on a line of its own, and options under it"))
                } else {
                    Problem::new(ProblemKind::Unknown, mention, "no option stands outside a table")
                        .nearest(meant.map(OptionInfo::dotted))
                };
                self.complain(line, problem);
            }
        }
    }

    fn entry(&mut self, table: &str, key: &Key<'_>, value: &Spanned<DeValue<'_>>) {
        let name = key.get_ref().as_ref();
        let line = self.line(key.span().start);
        let source = self.source(line);
        let Some(option) = OPTIONS.iter().find(|option| option.table == table && option.key == name) else {
            let shown = given(value.get_ref()).map_or_else(str::to_owned, |given| given.to_string());
            let nearest = nearest_key(table, name);
            let problem = Problem::unknown(&format!("{table}.{name}"), &shown, source, nearest.as_deref());
            let problem = problem.accepted_unless_nearest(|| format!("under [{table}]: {}", keys(table)));
            return self.complain(line, problem);
        };
        match given(value.get_ref()) {
            Ok(_) if self.broken_lines.contains(&line) => {}
            Ok(given) => self.statements.push(Statement { option, given, source }),
            Err(what) => {
                let shown = if option.secret { MASK } else { what };
                let mention = Mention::new(option.name, Some(shown), source);
                let problem =
                    Problem::new(ProblemKind::Value, mention, format!("is {what}")).accepted(option.accepted());
                self.complain(line, problem);
            }
        }
    }
}

fn keys(table: &str) -> String {
    let keys = OPTIONS.iter().filter(|option| option.table == table).map(|option| option.key);
    keys.collect::<Vec<_>>().join(", ")
}

/// The value in the words of the environment, or what else it is.
fn given(value: &DeValue<'_>) -> Result<Given, &'static str> {
    match value {
        DeValue::Array(items) => {
            let item = |item: &Spanned<DeValue<'_>>| match given(item.get_ref())? {
                Given::Text(text) => Ok(text),
                Given::List(_) => Err("a list of lists"),
            };
            items.iter().map(item).collect::<Result<_, _>>().map(Given::List)
        }
        DeValue::String(text) => Ok(Given::Text(text.as_ref().to_owned())),
        DeValue::Integer(number) => {
            let decimal = i128::from_str_radix(number.as_str(), number.radix());
            Ok(Given::Text(decimal.map_or_else(|_| number.as_str().to_owned(), |number| number.to_string())))
        }
        DeValue::Float(number) => Ok(Given::Text(number.as_str().to_owned())),
        DeValue::Boolean(value) => Ok(Given::Text(value.to_string())),
        DeValue::Datetime(_) => Err("a date or time of day"),
        DeValue::Table(_) => Err("a table"),
    }
}
