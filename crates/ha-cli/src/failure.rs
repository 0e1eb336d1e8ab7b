//! How the program ends when it did not do what was asked.

use std::fmt::{self, Display};
use std::io;
use std::process::ExitCode;

/// What is said on standard error, and the exit code.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    code: u8,
    message: String,
}

impl Failure {
    /// It was asked and did not work: 1.
    pub(crate) fn failed(message: impl Display) -> Self {
        Self { code: 1, message: message.to_string() }
    }

    /// Wrong usage or configuration: 2.
    pub(crate) fn usage(message: impl Display) -> Self {
        Self { code: 2, message: message.to_string() }
    }

    /// The reader of the output has gone, as `head` does: nothing more to do, and nothing to say.
    fn unheard() -> Self {
        Self { code: 0, message: String::new() }
    }

    /// It was said already, or there is nothing to say.
    pub(crate) fn silent(code: u8) -> Self {
        Self { code, message: String::new() }
    }

    /// Says it.
    pub(crate) fn report(self) -> ExitCode {
        if !self.message.is_empty() {
            say(&self.message);
        }
        ExitCode::from(self.code)
    }
}

/// One line on standard error.
pub(crate) fn say(message: impl Display) {
    // A standard error that cannot be written to leaves only the exit code.
    let _ = io::Write::write_fmt(&mut io::stderr().lock(), format_args!("ha: {message}\n"));
}

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.message.fmt(f)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::unheard(),
            _ => Self::failed(format_args!("cannot write: {error}")),
        }
    }
}
