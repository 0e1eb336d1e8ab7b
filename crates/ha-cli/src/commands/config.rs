//! `ha config`: what a node would run with, whether it could, and how long a failover would take then.

use std::path::PathBuf;

use ha_config::{Config, Explained, Problems, Source, Warning, print_seconds, timing};
use serde_json::json;

use super::config_set;
use crate::failure::Failure;
use crate::output::{print, print_json};
use crate::settings::SettingsArgs;
use crate::table::{Cell, DOUBTFUL, GOOD, PLAIN, QUIET, STRONG, list, table};

/// What can be asked of a configuration.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum ConfigCommand {
    /// Print every option, its value, and where that came from.
    Show(ShowArgs),
    /// Check a file of settings, without the environment; exits with 2 and all problems when there are any.
    Check(CheckArgs),
    /// Print the worst-case times of detection and failover, term by term.
    Timing(TimingArgs),
    /// Change a running node, until it starts again.
    Set(config_set::Args),
}

/// What `show` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct ShowArgs {
    #[command(flatten)]
    settings: SettingsArgs,

    /// Print JSON.
    #[arg(long)]
    json: bool,

    /// Print a settings file; secrets are left out.
    #[arg(long, conflicts_with = "json")]
    toml: bool,
}

/// What `check` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct CheckArgs {
    /// The TOML file.
    file: PathBuf,

    /// The preset that the node will be started with, where the file names none.
    #[arg(long, value_name = "PRESET")]
    preset: Option<String>,

    /// The profile that the node will be started with, where the file names none.
    #[arg(long, value_name = "PROFILE")]
    profile: Option<String>,

    /// One option that the node will be started with. May be repeated.
    #[arg(long, value_name = "OPTION=VALUE")]
    set: Vec<String>,

    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// What `timing` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct TimingArgs {
    #[command(flatten)]
    settings: SettingsArgs,

    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl ConfigCommand {
    /// Does it.
    pub(crate) fn run(self) -> Result<(), Failure> {
        match self {
            Self::Show(args) => show(&args),
            Self::Check(args) => check(&args),
            Self::Timing(args) => timing(&args),
            Self::Set(args) => super::ask(config_set::run(args)),
        }
    }
}

/// Where something is wrong, the options are shown all the same: who mends it wants to see where each came from.
fn show(args: &ShowArgs) -> Result<(), Failure> {
    if args.toml {
        return print(&args.settings.load()?.to_toml());
    }
    let (rows, verdict) = args.settings.explain();
    if args.json {
        print_json(&rows)?;
    } else {
        print(&options(&rows))?;
    }
    verdict
}

/// What somebody chose stands out from what nobody did.
fn options(rows: &[Explained]) -> String {
    let row = |row: &Explained| {
        let style = match row.source {
            Source::Default => QUIET,
            _ if row.source.is_explicit() => STRONG,
            _ => PLAIN,
        };
        [row.name.into(), Cell::new(&row.value, style), Cell::new(&row.source, style)]
    };
    table(["OPTION", "VALUE", "FROM"], &rows.iter().map(row).collect::<Vec<_>>())
}

fn check(args: &CheckArgs) -> Result<(), Failure> {
    let loaded = load(args);
    if args.json {
        let problems = loaded.as_ref().err().map_or(json!([]), |problems| json!(problems));
        let warnings = loaded.as_ref().map_or_else(|_| vec![], Config::warnings);
        print_json(&json!({"ok": loaded.is_ok(), "problems": problems, "warnings": warnings}))?;
    }
    let config = loaded.map_err(|problems| Failure::usage(refusal(args, &problems)))?;
    if !args.json {
        print(&verdict(args, &config.warnings()))?;
    }
    Ok(())
}

fn load(args: &CheckArgs) -> Result<Config, Problems> {
    let mut builder = Config::builder().with_file(&args.file);
    for (flag, option, value) in [("--preset", "HA_PRESET", &args.preset), ("--profile", "HA_PROFILE", &args.profile)] {
        if let Some(value) = value {
            builder = builder.flag(flag, option, value);
        }
    }
    args.set.iter().fold(builder, |builder, pair| builder.set_pair(pair)).build()
}

/// One line for each problem; where they are printed already, as JSON, one that says how many there are.
fn refusal(args: &CheckArgs, problems: &Problems) -> String {
    let (file, count) = (args.file.display(), problems.count());
    let head = format!("{file} has {count} problem{}", if count == 1 { "" } else { "s" });
    if args.json {
        return head;
    }
    let lines = problems.iter().map(|problem| format!("\n  {problem}"));
    format!("{head}:{}", lines.collect::<String>())
}

fn verdict(args: &CheckArgs, warnings: &[Warning]) -> String {
    let mut text = list(&[(&args.file.display().to_string(), Cell::new("ok", GOOD))]);
    text.extend(warnings.iter().map(|warning| list(&[("warning", Cell::new(warning, DOUBTFUL))])));
    text
}

fn timing(args: &TimingArgs) -> Result<(), Failure> {
    let timing = args.settings.load()?.timing();
    if args.json { print_json(&timing) } else { print(&times(&timing)) }
}

fn times(timing: &timing::Timing) -> String {
    let row = |term: &timing::Term, style| {
        [Cell::new(term.name, style), Cell::new(print_seconds(term.time), style), Cell::new(&term.formula, QUIET)]
    };
    let terms = timing.terms.iter().map(|term| row(term, PLAIN));
    let totals = timing.totals.iter().map(|term| row(term, STRONG));
    table(["AT WORST", "TIME", "MADE UP OF"], &terms.chain(totals).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: &str) -> String {
        anstream::adapter::strip_str(text).to_string()
    }

    fn args(file: impl Into<PathBuf>) -> CheckArgs {
        CheckArgs { file: file.into(), preset: None, profile: None, set: vec![], json: false }
    }

    #[test]
    fn every_option_has_its_row_and_a_secret_is_masked() {
        let config =
            Config::builder().set("CLUSTER_SECRET", "open sesame").set("cluster.port", "7000").build().unwrap();
        let text = plain(&options(&config.explain()));
        assert_eq!(text.lines().count(), 1 + ha_config::OPTIONS.len());
        let row = |name: &str| {
            let line = text.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap();
            line.split_whitespace().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(row("CLUSTER_PORT"), "CLUSTER_PORT 7000 --set");
        assert_eq!(row("CLUSTER_NAME"), "CLUSTER_NAME default default");
        assert_eq!(row("CLUSTER_SECRET"), "CLUSTER_SECRET ******** --set");
        assert!(!text.contains("sesame"));
    }

    fn written(text: &str) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("ha.toml");
        std::fs::write(&file, text).unwrap();
        (directory, file)
    }

    #[test]
    fn five_mistakes_are_five_lines() {
        let text = "[ha]\npreset = 'ful_ha'\n[cluster]\nenabled = 'maybe'\nport = 70000\nnode_timeout = 3\nnam = 'x'\n";
        let (_directory, file) = written(text);
        let problems = load(&args(&file)).unwrap_err();
        let text = refusal(&args(&file), &problems);
        assert!(text.lines().count() == 6 && text.contains("ha.toml has 5 problems:\n  "), "{text}");
        assert!(refusal(&CheckArgs { json: true, ..args(&file) }, &problems).ends_with("ha.toml has 5 problems"));
        assert!(check(&args(&file)).is_err());
    }

    #[test]
    fn what_the_node_is_started_with_counts_too() {
        let (_directory, file) = written("[ha]\nmin_nodes = 5\n");
        assert!(load(&args(&file)).is_err());
        assert!(load(&CheckArgs { set: vec!["HA_QUORUM_SIZE=3".to_owned()], ..args(&file) }).is_ok());
        assert!(load(&CheckArgs { preset: Some("distributed".to_owned()), ..args(&file) }).is_ok());
        assert!(load(&CheckArgs { profile: Some("x".to_owned()), ..args(&file) }).is_err());
    }

    #[test]
    fn a_file_that_is_not_there_is_a_problem() {
        let problems = load(&args("/nowhere/ha.toml")).unwrap_err();
        assert!(problems.to_string().contains("cannot be read"), "{problems}");
    }

    #[test]
    fn a_good_file_is_ok_with_warnings() {
        let config = Config::builder().set("SPLIT_BRAIN_PREVENTION", "false").build().unwrap();
        let text = plain(&verdict(&args("ha.toml"), &config.warnings()));
        assert!(text.starts_with("ha.toml  ok\nwarning  CLUSTER_ENABLED: "), "{text}");
        assert!(
            text.contains("\nwarning  SPLIT_BRAIN_PREVENTION: when the network between two nodes is cut"),
            "{text}"
        );
    }

    #[test]
    fn every_term_has_its_row() {
        let timing = Config::default().timing();
        let text = plain(&times(&timing));
        assert_eq!(text.lines().count(), 1 + timing.terms.len() + timing.totals.len());
        assert!(text.contains("15.9s"), "{text}");
    }
}
