//! Secrets that stand in files of their own.

use std::path::{Path, PathBuf};

use crate::config::{Config, SECRET};
use crate::file::read_text;
use crate::problem::{Mention, Problem, ProblemKind};
use crate::secret::Secret;
use crate::source::Source;
use crate::statement::Statement;

/// Longest such file, in bytes: as many of the longest secrets as there may be fit, each with a newline.
const SECRET_FILE_BYTES_MAX: usize = 5 * 1024;
/// Secrets in one file, while one follows another.
const SECRETS_MAX: usize = 4;

/// The options that name a file, and the options that its contents stand for.
pub(crate) const SECRET_FILES: [(&str, &str); 2] =
    [("CLUSTER_SECRET_FILE", "CLUSTER_SECRET"), ("HTTP_TOKEN_FILE", "HTTP_TOKEN")];

/// Reads the files, and sets the secrets. Where the secret is set already, the file is not read: that is a
/// contradiction, which the rules report.
pub(crate) fn read(config: &mut Config, problems: &mut Vec<Problem>) {
    for (file_option, secret_option) in SECRET_FILES {
        let (path, is_set) = match file_option {
            "CLUSTER_SECRET_FILE" => (&config.cluster.secret_file, config.cluster.secret.is_some()),
            _ => (&config.http.token_file, config.http.token.is_some()),
        };
        let (Some(path), false) = (path.clone(), is_set) else { continue };
        if let Err(problem) = read_one(config, path, file_option, secret_option) {
            problems.push(*problem);
        }
    }
}

/// The secrets in a file that `CLUSTER_SECRET_FILE` names, one a line: the first is the one that is shown to others, all
/// of them are accepted. The error completes "the file …". This blocks.
pub fn read_secrets(path: &Path) -> Result<Vec<Secret>, String> {
    secrets_in(&read_text(path, SECRET_FILE_BYTES_MAX)?)
}

pub(crate) fn secrets_in(text: &str) -> Result<Vec<Secret>, String> {
    let lines = text.strip_suffix('\n').unwrap_or(text).split('\n');
    let secret = |line: &str| {
        let secret = line.strip_suffix('\r').unwrap_or(line);
        SECRET.check(secret).map(|()| Secret::new(secret)).map_err(|refusal| refusal.reason)
    };
    let mut secrets = Vec::new();
    for (index, line) in lines.enumerate() {
        if index == SECRETS_MAX {
            return Err(format!("holds more than {SECRETS_MAX} secrets"));
        }
        let whose = if index == 0 { String::new() } else { format!("holds a secret in line {} that ", index + 1) };
        secrets.push(secret(line).map_err(|reason| format!("{whose}{reason}"))?);
    }
    Ok(secrets)
}

fn read_one(
    config: &mut Config,
    path: PathBuf,
    file_option: &'static str,
    secret_option: &'static str,
) -> Result<(), Box<Problem>> {
    let refuse = |reason: String, source: Source| {
        let mention = Mention::new(file_option, Some(&path.to_string_lossy()), source);
        Box::new(Problem::new(ProblemKind::File, mention, format!("the file {reason}")).accepted(match file_option {
            "CLUSTER_SECRET_FILE" => "a readable file with the secret, or up to 4 of them, one a line",
            _ => "a readable file with the secret in it, and nothing else but a newline at its end",
        }))
    };
    let named_by = config.source(file_option);
    if file_option == "CLUSTER_SECRET_FILE" {
        let secrets = read_secrets(&path).map_err(|reason| refuse(reason, named_by.clone()))?;
        config.cluster.secret = secrets.into_iter().next();
        config.sources.insert(secret_option, Source::SecretFile { option: file_option });
        return Ok(());
    }
    let text = read_text(&path, SECRET_FILE_BYTES_MAX).map_err(|reason| refuse(reason, named_by.clone()))?;
    let secret = text.strip_suffix('\n').unwrap_or(&text);
    let secret = secret.strip_suffix('\r').unwrap_or(secret);
    Statement::known(secret_option, secret, Source::SecretFile { option: file_option })
        .apply(config)
        .map_err(|problem| refuse(problem.reason, named_by))
}
