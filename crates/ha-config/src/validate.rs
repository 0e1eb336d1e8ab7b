//! Checking a configuration whose fields a program has changed.

use crate::config::{Config, OPTIONS};
use crate::problem::Problems;
use crate::rules;
use crate::setting::Given;
use crate::source::Source;
use crate::statement::Statement;
use crate::value::Value;

impl Config {
    /// Checks every value and every pair of values again.
    ///
    /// What [`crate::Builder::build`] returns has passed; a program that sets fields itself can ask here.
    pub fn validate(&self) -> Result<(), Problems> {
        let mut scratch = self.clone();
        let mut problems = Vec::new();
        for option in OPTIONS {
            let given = match option.value(self) {
                Value::None => continue,
                Value::List(items) => Given::List(items),
                Value::Secret(secret) => Given::Text(secret.expose().to_owned()),
                value => Given::Text(value.to_string()),
            };
            let source = match self.source(option.name) {
                // The text of a default is not what is wrong: somebody has changed the field.
                Source::Default => Source::Program,
                source => source,
            };
            if let Err(problem) = (Statement { option, given, source }).apply(&mut scratch) {
                problems.push(*problem);
            }
        }
        problems.extend(rules::contradictions(self));
        Problems::of(problems).map_or(Ok(()), Err)
    }
}
