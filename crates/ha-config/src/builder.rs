//! Layers become one configuration: default < preset < profile < file < environment < command line.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::choice::{Consistency, Preset, Profile, Role};
use crate::config::Config;
use crate::names::{find, nearest_name};
use crate::print::Explained;
use crate::problem::{Mention, Problem, ProblemKind, Problems};
use crate::setting::Given;
use crate::source::Source;
use crate::statement::Statement;
use crate::{environment, file, rules, secret_file};

/// Collects the layers of a configuration. The order of the calls does not matter, the precedence of the layers is
/// fixed: default, preset, profile, file, environment, `set`. Of two files or two `set`s of one option, the later
/// one counts.
///
/// Nothing is read or judged before [`Builder::build`], which then reports every problem at once.
#[derive(Clone, Debug, Default)]
#[must_use = "a builder does nothing before `build`"]
pub struct Builder {
    preset: Option<Preset>,
    profile: Option<Profile>,
    files: Vec<(PathBuf, Option<String>)>,
    variables: Vec<(OsString, OsString)>,
    flags: Vec<Flag>,
}

#[derive(Clone, Debug)]
struct Flag {
    flag: String,
    /// `None` where a `--set` has no equals sign.
    name: Option<String>,
    value: String,
}

impl Config {
    /// Starts from the defaults.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Starts from a preset. A file, the environment or the command line may still choose another one.
    pub fn preset(preset: Preset) -> Builder {
        Self::builder().preset(preset)
    }
}

impl Builder {
    /// Chooses the preset, where no other layer chooses one.
    pub fn preset(mut self, preset: Preset) -> Self {
        self.preset = Some(preset);
        self
    }

    /// Chooses the profile, where no other layer chooses one.
    pub fn profile(mut self, profile: Profile) -> Self {
        self.profile = Some(profile);
        self
    }

    /// Adds a TOML file. It is read by `build`, and it is a problem when it cannot be.
    pub fn with_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.files.push((path.into(), None));
        self
    }

    /// Adds the text of a TOML file that is already at hand; `path` is only shown.
    pub fn with_toml(mut self, path: impl Into<PathBuf>, text: impl Into<String>) -> Self {
        self.files.push((path.into(), Some(text.into())));
        self
    }

    /// Adds variables as the environment would have them.
    pub fn with_variables<N: Into<OsString>, V: Into<OsString>>(
        mut self,
        variables: impl IntoIterator<Item = (N, V)>,
    ) -> Self {
        self.variables.extend(variables.into_iter().map(|(name, value)| (name.into(), value.into())));
        self
    }

    /// Adds the environment of this process, and builds.
    pub fn with_env(self) -> Result<Config, Problems> {
        self.with_environment().build()
    }

    /// Adds the environment of this process.
    pub fn with_environment(self) -> Self {
        self.with_variables(environment::of_this_process())
    }

    /// Sets one option, above every other layer. Both `CLUSTER_PORT` and `cluster.port` are understood.
    pub fn set(self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.flag("--set", name, value)
    }

    /// Sets one option from `NAME=VALUE`, as `--set` has it.
    pub fn set_pair(mut self, pair: &str) -> Self {
        match pair.split_once('=') {
            Some((name, value)) => self.set(name.trim(), value),
            None => {
                self.flags.push(Flag { flag: "--set".to_owned(), name: None, value: pair.to_owned() });
                self
            }
        }
    }

    /// Sets one option like [`Builder::set`], through a command-line flag of its own such as `--preset`.
    pub fn flag(mut self, flag: impl Into<String>, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.flags.push(Flag { flag: flag.into(), name: Some(name.into()), value: value.into() });
        self
    }

    /// Lays the layers over one another, and checks what comes out.
    ///
    /// Reads the files, and those that `CLUSTER_SECRET_FILE` and `HTTP_TOKEN_FILE` name; this blocks.
    pub fn build(self) -> Result<Config, Problems> {
        let (config, problems) = self.draft();
        problems.map_or(Ok(config), Err)
    }

    /// Lays the layers over one another like [`Builder::build`], and tells what each option would be beside what is
    /// wrong: a contradiction is easiest to mend by somebody who sees where its values came from. An option whose
    /// value was refused keeps that of the layers below.
    pub fn explain(self) -> (Vec<Explained>, Option<Problems>) {
        let (config, problems) = self.draft();
        (config.explain(), problems)
    }

    fn draft(self) -> (Config, Option<Problems>) {
        let mut problems = Vec::new();
        let statements = self.statements(&mut problems);
        let mut config = Config::default();
        self.lay(statements, &mut config, &mut problems);
        secret_file::read(&mut config, &mut problems);
        imply(&mut config);
        let mut contradictions = rules::contradictions(&config);
        contradictions.retain(|contradiction| rules::is_certain(contradiction, &problems));
        problems.extend(contradictions);
        (config, Problems::of(problems))
    }

    /// What files, variables and flags say, lowest layer first.
    fn statements(&self, problems: &mut Vec<Problem>) -> Vec<Statement> {
        let mut statements = Vec::new();
        for (path, text) in &self.files {
            match text.clone().map_or_else(|| file::read_text(path, file::FILE_BYTES_MAX), Ok) {
                Ok(text) => file::read(path, &text, &mut statements, problems),
                Err(reason) => problems.push(unreadable(path, reason)),
            }
        }
        environment::read(&self.variables, &mut statements, problems);
        for Flag { flag, name, value } in &self.flags {
            let source = Source::CommandLine { flag: flag.clone() };
            let Some(name) = name else {
                let reason = "has no equals sign";
                problems.push(
                    Problem::new(ProblemKind::Syntax, Mention::new(value, None, source), reason)
                        .accepted("NAME=VALUE, such as CLUSTER_PORT=7000 or cluster.port=7000"),
                );
                continue;
            };
            match find(name) {
                Some(option) => statements.push(Statement { option, given: Given::Text(value.clone()), source }),
                None => {
                    let problem = Problem::unknown(name, value, source, nearest_name(name).as_deref());
                    problems.push(problem.accepted_unless_nearest(|| "a name that `ha config show` prints".to_owned()));
                }
            }
        }
        statements
    }

    /// The preset and the profile may be chosen by any layer, so they are found first and then laid below all.
    fn lay(&self, statements: Vec<Statement>, config: &mut Config, problems: &mut Vec<Problem>) {
        let mut apply = |statements: Vec<Statement>, config: &mut Config| {
            for statement in statements {
                if let Err(problem) = statement.apply(config) {
                    problems.push(*problem);
                }
            }
        };
        let (choices, others): (Vec<_>, Vec<_>) =
            statements.into_iter().partition(|statement| matches!(statement.option.name, "HA_PRESET" | "HA_PROFILE"));
        let in_code = [
            self.preset.map(|preset| Statement::known("HA_PRESET", preset.as_str(), Source::Program)),
            self.profile.map(|profile| Statement::known("HA_PROFILE", profile.as_str(), Source::Program)),
        ];
        apply(in_code.into_iter().flatten().collect(), config);
        apply(choices, config);
        let preset = config.ha.preset.map(|preset| (preset.settings(), Source::Preset(preset)));
        let profile = config.ha.profile.map(|profile| (profile.settings(), Source::Profile(profile)));
        for (settings, source) in [preset, profile].into_iter().flatten() {
            let say = |(name, value): &(&'static str, &str)| Statement::known(name, *value, source.clone());
            apply(settings.iter().map(say).collect(), config);
        }
        apply(others, config);
    }
}

fn unreadable(path: &Path, reason: String) -> Problem {
    let source = Source::File { path: path.to_owned(), line: 1 };
    Problem::new(ProblemKind::File, Mention::new("the file", None, source), reason)
        .accepted(format!("a readable TOML file of up to {} bytes", file::FILE_BYTES_MAX))
}

/// Gives the options that nobody set the only value that the others leave them.
fn imply(config: &mut Config) {
    if config.replication.consistency != Consistency::Eventual && !config.is_explicit("REPLICATION_ASYNC_WRITES") {
        config.replication.async_writes = false;
        config.sources.insert("REPLICATION_ASYNC_WRITES", Source::Implied { option: "REPLICATION_CONSISTENCY" });
    }
    if config.cluster.role == Role::Witness && !config.is_explicit("CLUSTER_NODE_PRIORITY") {
        config.cluster.node_priority = 0;
        config.sources.insert("CLUSTER_NODE_PRIORITY", Source::Implied { option: "CLUSTER_ROLE" });
    }
}
