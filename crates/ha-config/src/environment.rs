//! The layer of environment variables.

use std::ffi::OsString;

use crate::names::{find, nearest_variable};
use crate::problem::{Mention, Problem, ProblemKind};
use crate::setting::Given;
use crate::source::Source;
use crate::statement::Statement;

/// The environment of this process. No other place reads it.
pub(crate) fn of_this_process() -> Vec<(OsString, OsString)> {
    std::env::vars_os().collect()
}

/// Sorts out which variables are options. What is neither an option nor close to one belongs to somebody else.
pub(crate) fn read(variables: &[(OsString, OsString)], statements: &mut Vec<Statement>, problems: &mut Vec<Problem>) {
    for (name, value) in variables {
        let Some(name) = name.to_str() else { continue };
        // Only upper-case names with this character set can be options; `find` would also take the dotted spelling.
        let option = if name.contains('.') { None } else { find(name) };
        let source = Source::Environment { variable: name.to_owned() };
        match (option, value.to_str()) {
            (Some(option), Some(text)) => {
                statements.push(Statement { option, given: Given::Text(text.to_owned()), source });
            }
            (Some(option), None) => problems.push(
                Problem::new(ProblemKind::Value, Mention::new(option.name, None, source), "is not valid UTF-8")
                    .accepted(option.accepted()),
            ),
            (None, value) => {
                if let Some(nearest) = nearest_variable(name) {
                    problems.push(Problem::unknown(name, value.unwrap_or_default(), source, Some(nearest)));
                }
            }
        }
    }
}
