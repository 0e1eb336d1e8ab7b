//! Components of the service that are checked: what stands in `HEALTH_CHECKS` and the options beside it.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use crate::address::Endpoint;
use crate::seconds::{parse_seconds, print_seconds};

/// Longest name of a component.
const NAME_BYTES_MAX: usize = 64;

/// The name of a component.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ComponentName(String);

impl ComponentName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ComponentName {
    type Err = ComponentError;

    fn from_str(text: &str) -> Result<Self, ComponentError> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if text.is_empty() || text.len() > NAME_BYTES_MAX || !text.chars().all(allowed) {
            return Err(ComponentError::Name);
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for ComponentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One component and how it is checked: `NAME=KIND:TARGET`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// Its name.
    pub name: ComponentName,
    /// How it is checked.
    pub target: CheckTarget,
}

/// How a component is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckTarget {
    /// Somebody listens: `tcp:HOST:PORT`.
    Tcp(Endpoint),
    /// A web service answers with a status from 200 to 299: `http://HOST[:PORT][/PATH]`.
    Http(String),
    /// A line for `/bin/sh -c` exits with 0: `command:LINE`.
    Command(String),
    /// A file system has room: `disk:PATH:PERCENT`.
    Disk {
        /// Anything that it holds.
        path: PathBuf,
        /// The least part that must be free, in percent, from 0 to 99.
        free_percent: u8,
    },
    /// It reports by itself, at least this often: `heartbeat:TIME`.
    Heartbeat(Duration),
}

impl FromStr for HealthCheck {
    type Err = ComponentError;

    fn from_str(text: &str) -> Result<Self, ComponentError> {
        let (name, target) = text.split_once('=').ok_or(ComponentError::Form)?;
        Ok(Self { name: name.trim().parse()?, target: target.trim().parse()? })
    }
}

impl FromStr for CheckTarget {
    type Err = ComponentError;

    fn from_str(text: &str) -> Result<Self, ComponentError> {
        let (kind, target) = text.split_once(':').ok_or(ComponentError::Kind)?;
        match kind {
            "tcp" => match target.parse::<Endpoint>() {
                Ok(endpoint) if endpoint.port.is_some() => Ok(Self::Tcp(endpoint)),
                _ => Err(ComponentError::Address),
            },
            "http" if target.starts_with("//") && target.len() > 2 => Ok(Self::Http(text.to_owned())),
            "command" if !target.trim().is_empty() && !target.contains('\0') => {
                Ok(Self::Command(target.trim().to_owned()))
            }
            "disk" => {
                let (path, percent) = target.rsplit_once(':').ok_or(ComponentError::Disk)?;
                let percent = percent.trim_end_matches('%').trim().parse().ok().filter(|percent| *percent < 100);
                match percent {
                    Some(free_percent) if !path.is_empty() => {
                        Ok(Self::Disk { path: PathBuf::from(path), free_percent })
                    }
                    _ => Err(ComponentError::Disk),
                }
            }
            "heartbeat" => match parse_seconds(target.trim()) {
                Ok(within) if !within.is_zero() => Ok(Self::Heartbeat(within)),
                _ => Err(ComponentError::Time),
            },
            _ => Err(ComponentError::Kind),
        }
    }
}

impl fmt::Display for HealthCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}=", self.name)?;
        match &self.target {
            CheckTarget::Tcp(endpoint) => write!(f, "tcp:{endpoint}"),
            CheckTarget::Http(url) => f.write_str(url),
            CheckTarget::Command(line) => write!(f, "command:{line}"),
            CheckTarget::Disk { path, free_percent } => write!(f, "disk:{}:{free_percent}", path.display()),
            CheckTarget::Heartbeat(within) => write!(f, "heartbeat:{}", print_seconds(*within)),
        }
    }
}

/// What is tried when a component turns unhealthy: `NAME=LINE`, for `/bin/sh -c`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveryCommand {
    /// Which component.
    pub name: ComponentName,
    /// The line.
    pub line: String,
}

impl FromStr for RecoveryCommand {
    type Err = ComponentError;

    fn from_str(text: &str) -> Result<Self, ComponentError> {
        let (name, line) = text.split_once('=').ok_or(ComponentError::Form)?;
        let line = line.trim();
        if line.is_empty() || line.contains('\0') {
            return Err(ComponentError::Kind);
        }
        Ok(Self { name: name.trim().parse()?, line: line.to_owned() })
    }
}

impl fmt::Display for RecoveryCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.name, self.line)
    }
}

/// Why a text is no component.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ComponentError {
    /// No name and no `=`.
    Form,
    /// The name cannot be used.
    Name,
    /// Neither kind of check, or an empty one.
    Kind,
    /// No host and port.
    Address,
    /// No path and percentage.
    Disk,
    /// No time.
    Time,
}

impl fmt::Display for ComponentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Form => "has no `NAME=` at its beginning",
            Self::Name => "has a name that is not 1 to 64 letters, digits, `.`, `_` and `-`",
            Self::Kind => "says nothing that can be done",
            Self::Address => "has no `HOST:PORT`",
            Self::Disk => "has no `PATH:PERCENT`, from 0 to 99",
            Self::Time => "has no time above zero",
        })
    }
}

impl std::error::Error for ComponentError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn components_are_read_and_printed() {
        for text in [
            "database=tcp:db.example:5432",
            "web=http://127.0.0.1:8000/health?deep=1",
            "worker=command:/usr/bin/check --port=1 a:b",
            "data=disk:/var/lib:10",
            "bot=heartbeat:30s",
        ] {
            assert_eq!(text.parse::<HealthCheck>().unwrap().to_string(), text);
        }
        assert_eq!(" d = disk:/a:b:5% ".trim().parse::<HealthCheck>().unwrap().to_string(), "d=disk:/a:b:5");
        let recovery = "bot=systemctl restart bot";
        assert_eq!(recovery.parse::<RecoveryCommand>().unwrap().to_string(), recovery);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, error) in [
            ("tcp:a:1", ComponentError::Form),
            ("=tcp:a:1", ComponentError::Name),
            ("a b=tcp:a:1", ComponentError::Name),
            ("a=udp:a:1", ComponentError::Kind),
            ("a=https://x", ComponentError::Kind),
            ("a=http:x", ComponentError::Kind),
            ("a=command:", ComponentError::Kind),
            ("a=tcp:a", ComponentError::Address),
            ("a=disk:/x", ComponentError::Disk),
            ("a=disk:/x:100", ComponentError::Disk),
            ("a=heartbeat:0", ComponentError::Time),
        ] {
            assert_eq!(text.parse::<HealthCheck>(), Err(error), "{text}");
        }
        assert_eq!("bot=".parse::<RecoveryCommand>(), Err(ComponentError::Kind));
    }
}
