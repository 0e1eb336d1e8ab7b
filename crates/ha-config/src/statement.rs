//! What one layer says about one option, before anything judges it.

use crate::config::Config;
use crate::names::find;
use crate::problem::{Mention, Problem, ProblemKind};
use crate::secret::MASK;
use crate::setting::Given;
use crate::source::Source;
use crate::table::OptionInfo;

/// What one layer says about one option.
#[derive(Debug)]
pub(crate) struct Statement {
    pub(crate) option: &'static OptionInfo,
    pub(crate) given: Given,
    pub(crate) source: Source,
}

impl Statement {
    /// A statement of a preset, a profile, or this crate itself.
    ///
    /// # Panics
    ///
    /// When no option has the name: every such name stands in this crate, and a test tries each of them.
    pub(crate) fn known(name: &'static str, value: impl Into<String>, source: Source) -> Self {
        let option = find(name).unwrap_or_else(|| panic!("{name} stands in the table of options"));
        Self { option, given: Given::Text(value.into()), source }
    }

    /// Puts the value where it belongs, and remembers where it came from.
    pub(crate) fn apply(&self, config: &mut Config) -> Result<(), Box<Problem>> {
        match (self.option.assign)(config, &self.given) {
            Ok(()) => {
                config.sources.insert(self.option.name, self.source.clone());
                Ok(())
            }
            Err(refusal) => {
                let mut reason = refusal.reason;
                if let (Source::Environment { variable }, Given::Text(text)) = (&self.source, &self.given)
                    && variable.ends_with("_PORT")
                    && text.contains("://")
                {
                    reason.push_str(
                        "; Kubernetes sets such a variable for a service of that name: \
                         rename the service, or set enableServiceLinks to false for the pod",
                    );
                }
                let shown = if self.option.secret { MASK.to_owned() } else { self.given.to_string() };
                let mention = Mention::new(self.option.name, Some(&shown), self.source.clone());
                Err(Box::new(
                    Problem::new(ProblemKind::Value, mention, reason)
                        .accepted(self.option.accepted())
                        .nearest(refusal.nearest),
                ))
            }
        }
    }
}
