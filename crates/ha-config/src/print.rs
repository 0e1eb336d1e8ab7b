//! A configuration as text again.

use serde::Serialize;

use crate::config::{Config, OPTIONS};
use crate::names::tables;
use crate::source::Source;
use crate::table::OptionInfo;
use crate::value::Value;

/// One row of `ha config show`. Secrets are masked however it is printed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Explained {
    /// The name of the option.
    pub name: &'static str,
    /// Its value; in JSON a time is a number of seconds.
    pub value: Value,
    /// Where the value came from, as text.
    pub source: Source,
}

impl Config {
    /// Every option with its value and where that came from, in the order of the guide.
    pub fn explain(&self) -> Vec<Explained> {
        let row = |option: &OptionInfo| Explained {
            name: option.name,
            value: option.value(self),
            source: self.source(option.name),
        };
        OPTIONS.iter().map(row).collect()
    }

    /// Every option that is set, as a TOML file. A secret is only mentioned, in a comment.
    pub fn to_toml(&self) -> String {
        self.print_toml(|option| {
            format!("# {} = …  # not shown; it came from: {}", option.key, self.source(option.name))
        })
    }

    /// Every option that is set, secrets included, as a TOML file that reads back equal. Keep it as the secrets.
    pub fn to_toml_with_secrets(&self) -> String {
        self.print_toml(|option| match option.value(self) {
            Value::Secret(secret) => format!("{} = {}", option.key, toml_text(secret.expose())),
            _ => String::new(),
        })
    }

    fn print_toml(&self, print_secret: impl Fn(&OptionInfo) -> String) -> String {
        let mut text = String::new();
        for table in tables() {
            let lines: Vec<String> = OPTIONS
                .iter()
                .filter(|option| option.table == table)
                // What stands in a secret file is printed as that file's name.
                .filter(|option| !matches!(self.source(option.name), Source::SecretFile { .. }))
                .filter_map(|option| match option.value(self) {
                    Value::None => None,
                    Value::Secret(_) => Some(print_secret(option)),
                    value => Some(format!("{} = {}", option.key, toml_value(&value))),
                })
                .collect();
            if !lines.is_empty() {
                let separator = if text.is_empty() { "" } else { "\n" };
                text.push_str(&format!("{separator}[{table}]\n{}\n", lines.join("\n")));
            }
        }
        text
    }
}

fn toml_value(value: &Value) -> String {
    match value {
        Value::List(items) => {
            let items: Vec<String> = items.iter().map(|item| toml_text(item)).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Boolean(_) | Value::Number(_) => value.to_string(),
        other => toml_text(&other.to_string()),
    }
}

fn toml_text(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}
