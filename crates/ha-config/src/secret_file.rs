//! Secrets that stand in files of their own.

use std::path::PathBuf;

use crate::config::Config;
use crate::file::read_text;
use crate::problem::{Mention, Problem, ProblemKind};
use crate::source::Source;
use crate::statement::Statement;

/// Longest such file, in bytes: the longest secret and a newline fit.
const SECRET_FILE_BYTES_MAX: usize = 4096;

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

fn read_one(
    config: &mut Config,
    path: PathBuf,
    file_option: &'static str,
    secret_option: &'static str,
) -> Result<(), Box<Problem>> {
    let refuse = |reason: String, source: Source| {
        let mention = Mention::new(file_option, Some(&path.to_string_lossy()), source);
        Box::new(
            Problem::new(ProblemKind::File, mention, format!("the file {reason}"))
                .accepted("a readable file with the secret in it, and nothing else but a newline at its end"),
        )
    };
    let named_by = config.source(file_option);
    let text = read_text(&path, SECRET_FILE_BYTES_MAX).map_err(|reason| refuse(reason, named_by.clone()))?;
    let secret = text.strip_suffix('\n').unwrap_or(&text);
    let secret = secret.strip_suffix('\r').unwrap_or(secret);
    Statement::known(secret_option, secret, Source::SecretFile { option: file_option })
        .apply(config)
        .map_err(|problem| refuse(problem.reason, named_by))
}
