//! The guide to configuration, made from the tables that the code goes by.

use std::fmt::{self, Write};

use crate::choice::{Preset, Profile};
use crate::config::{Config, OPTIONS, SECTIONS};
use crate::rules::RULES;
use crate::seconds::print_seconds;
use crate::timing::{Term, Timing};
use crate::value::Value;

const INTRODUCTION: &str = include_str!("docs/introduction.md");

/// The text of `docs/guide/configuration.md`.
pub fn markdown() -> String {
    let mut text = INTRODUCTION.to_owned();
    let written = options(&mut text)
        .and_then(|()| {
            let columns = Preset::ALL.iter().map(|preset| (preset.as_str(), preset.settings())).collect::<Vec<_>>();
            layer(
                &mut text,
                "Presets",
                "`HA_PRESET` or `--preset`: a starting point, of which anything can be overridden.",
                &columns,
            )
        })
        .and_then(|()| {
            let columns = Profile::ALL.iter().map(|profile| (profile.as_str(), profile.settings())).collect::<Vec<_>>();
            layer(
                &mut text,
                "Profiles",
                "`HA_PROFILE` or `--profile`: settings for one purpose, laid over the preset.",
                &columns,
            )
        })
        .and_then(|()| contradictions(&mut text))
        .and_then(|()| timing(&mut text));
    written.map_or_else(|_| String::new(), |()| text)
}

fn options(text: &mut String) -> fmt::Result {
    let defaults = Config::default();
    writeln!(text, "\n## Options")?;
    for (table, about) in SECTIONS {
        writeln!(text, "\n### `[{table}]`\n\n{}\n", about.trim())?;
        writeln!(text, "| option | key | default | accepted | meaning |\n|---|---|---|---|---|")?;
        for option in OPTIONS.iter().filter(|option| option.table == *table) {
            let default = match option.value(&defaults) {
                Value::None => "none".to_owned(),
                value => format!("`{value}`"),
            };
            let (accepted, meaning) = (option.accepted(), option.meaning());
            writeln!(text, "| `{}` | `{}` | {default} | {accepted} | {meaning} |", option.name, option.key)?;
        }
    }
    Ok(())
}

/// One table of a layer: a row for each option that any of its choices sets.
fn layer(text: &mut String, title: &str, about: &str, columns: &[(&str, &[(&str, &str)])]) -> fmt::Result {
    let names: Vec<String> = columns.iter().map(|(name, _)| format!("`{name}`")).collect();
    writeln!(text, "\n## {title}\n\n{about}\n\n| option | {} |", names.join(" | "))?;
    writeln!(text, "|---|{}", "---|".repeat(columns.len()))?;
    for option in OPTIONS {
        let cell = |(_, settings): &(&str, &[(&str, &str)])| {
            let found = settings.iter().find(|(name, _)| *name == option.name);
            found.map_or_else(String::new, |(_, value)| format!("`{value}`"))
        };
        let cells: Vec<String> = columns.iter().map(cell).collect();
        if cells.iter().any(|cell| !cell.is_empty()) {
            writeln!(text, "| `{}` | {} |", option.name, cells.join(" | "))?;
        }
    }
    Ok(())
}

fn contradictions(text: &mut String) -> fmt::Result {
    writeln!(text, "\n## What cannot work together\n")?;
    for rule in RULES {
        let names: Vec<String> = rule.options.iter().map(|name| format!("`{name}`")).collect();
        writeln!(text, "- {}: {}.", names.join(" and "), rule.law)?;
    }
    Ok(())
}

fn timing(text: &mut String) -> fmt::Result {
    let lan = Config::builder().profile(Profile::Lan).build().map_err(|_| fmt::Error)?;
    let (defaults, lan): (Timing, Timing) = (Config::default().timing(), lan.timing());
    let about = "The worst case that the timers allow, as `ha config timing` prints it; a failover usually takes \
                 much less. Here for the defaults, and for the profile `lan`.";
    writeln!(text, "\n## How long a failover takes\n\n{about}\n")?;
    writeln!(text, "| time | default | `lan` | made up of |\n|---|---|---|---|")?;
    for (default, lan) in defaults.terms.iter().zip(&lan.terms) {
        let formula = match &lan.formula {
            same if *same == default.formula => same.clone(),
            other => format!("{}; `lan`: {other}", default.formula),
        };
        let (of, in_lan) = (print_seconds(default.time), print_seconds(lan.time));
        writeln!(text, "| {} | {of} | {in_lan} | {formula} |", default.name)?;
    }
    let totals = |terms: &[Term]| terms.iter().map(|term| print_seconds(term.time)).collect::<Vec<_>>();
    for ((total, of), lan) in defaults.totals.iter().zip(totals(&defaults.totals)).zip(totals(&lan.totals)) {
        writeln!(text, "| **{}** | {of} | {lan} | the sum |", total.name)?;
    }
    Ok(())
}
