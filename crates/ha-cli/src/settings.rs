//! Where the configuration of a node comes from, on the command line.

use std::path::PathBuf;

use ha_config::{Builder, Config, Explained, Problems};

use crate::failure::Failure;

/// Layers over the environment and the defaults.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct SettingsArgs {
    /// A starting point: development, simple_failover, full_ha or distributed.
    #[arg(long, value_name = "PRESET")]
    preset: Option<String>,

    /// Settings for one purpose: low_latency, high_throughput, eventual or lan.
    #[arg(long, value_name = "PROFILE")]
    profile: Option<String>,

    /// A TOML file.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// One option by its name, such as CLUSTER_PORT=7000 or cluster.port=7000. May be repeated.
    #[arg(long, value_name = "OPTION=VALUE")]
    set: Vec<String>,
}

impl SettingsArgs {
    /// Lays the layers over one another. A failure has one line for each thing that is wrong.
    pub(crate) fn load(&self) -> Result<Config, Failure> {
        self.builder().build().map_err(|problems| refusal(&problems))
    }

    /// What each option would be, and what is wrong with that.
    pub(crate) fn explain(&self) -> (Vec<Explained>, Result<(), Failure>) {
        let (options, problems) = self.builder().explain();
        (options, problems.map_or(Ok(()), |problems| Err(refusal(&problems))))
    }

    fn builder(&self) -> Builder {
        let mut builder = Config::builder().with_environment();
        if let Some(file) = &self.config {
            builder = builder.with_file(file);
        }
        for (flag, option, value) in
            [("--preset", "HA_PRESET", &self.preset), ("--profile", "HA_PROFILE", &self.profile)]
        {
            if let Some(value) = value {
                builder = builder.flag(flag, option, value);
            }
        }
        self.set.iter().fold(builder, |builder, pair| builder.set_pair(pair))
    }
}

fn refusal(problems: &Problems) -> Failure {
    let head = match problems.count() {
        1 => "the configuration has a problem:".to_owned(),
        count => format!("the configuration has {count} problems:"),
    };
    let lines = problems.iter().map(|problem| format!("\n  {problem}"));
    Failure::usage(std::iter::once(head).chain(lines).collect::<String>())
}
