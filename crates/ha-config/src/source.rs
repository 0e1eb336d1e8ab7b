//! Where a value came from.

use std::fmt;
use std::path::PathBuf;

use crate::choice::{Preset, Profile};
use crate::problem::shorten;

/// Where a value came from, in words that a person can follow back.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Source {
    /// Nobody said anything.
    Default,
    /// The program that embeds ha chose it, below every other layer.
    Program,
    /// Part of a preset.
    Preset(Preset),
    /// Part of a profile.
    Profile(Profile),
    /// A TOML file.
    File {
        /// As it was given.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
    },
    /// The environment variable of the option's name, or the misspelt one.
    Environment {
        /// Its name.
        variable: String,
    },
    /// The command line.
    CommandLine {
        /// `--set`, or a flag that stands for one option.
        flag: String,
    },
    /// The contents of the file that another option names.
    SecretFile {
        /// That option.
        option: &'static str,
    },
    /// Nobody said anything, and another option leaves no other choice.
    Implied {
        /// That option.
        option: &'static str,
    },
}

impl Source {
    /// Whether a person set this option itself, rather than a default, a preset or a profile.
    pub fn is_explicit(&self) -> bool {
        matches!(
            self,
            Self::File { .. } | Self::Environment { .. } | Self::CommandLine { .. } | Self::SecretFile { .. }
        )
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.pad("default"),
            Self::Program => f.pad("program"),
            Self::Preset(preset) => write!(f, "preset {preset}"),
            Self::Profile(profile) => write!(f, "profile {profile}"),
            Self::File { path, line } => write!(f, "file {} line {line}", shorten(&path.to_string_lossy())),
            Self::Environment { .. } => f.pad("environment variable"),
            Self::CommandLine { flag } => f.pad(flag),
            Self::SecretFile { option } => write!(f, "the file named by {option}"),
            Self::Implied { option } => write!(f, "implied by {option}"),
        }
    }
}

impl serde::Serialize for Source {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
