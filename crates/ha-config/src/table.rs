//! What is known about each option, and the macro that makes sections, defaults and table from one listing.

use std::fmt;

use crate::config::Config;
use crate::setting::{Given, Refusal};
use crate::value::Value;

/// One option of the table: its names, meaning, type and range. Everything that reads or prints options goes by it.
pub struct OptionInfo {
    /// The name: what the environment calls it.
    pub name: &'static str,
    /// The TOML table, and the field of [`Config`].
    pub table: &'static str,
    /// The TOML key, and the field of the section.
    pub key: &'static str,
    /// Whether values must be masked.
    pub secret: bool,
    pub(crate) doc: &'static [&'static str],
    pub(crate) accepted: fn() -> String,
    pub(crate) assign: fn(&mut Config, &Given) -> Result<(), Refusal>,
    pub(crate) value: fn(&Config) -> Value,
}

impl OptionInfo {
    /// What it means, in Markdown.
    pub fn meaning(&self) -> String {
        let lines: Vec<&str> = self.doc.iter().map(|line| line.trim()).collect();
        lines.join(" ")
    }

    /// Which values it takes, in Markdown.
    pub fn accepted(&self) -> String {
        (self.accepted)()
    }

    /// Its value in a configuration.
    pub fn value(&self, config: &Config) -> Value {
        (self.value)(config)
    }

    /// Its TOML name with the table: `cluster.port`.
    pub fn dotted(&self) -> String {
        format!("{}.{}", self.table, self.key)
    }
}

impl fmt::Debug for OptionInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OptionInfo").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Declares the sections of the configuration. One entry is:
///
/// ```text
/// /// What it means.
/// "ENVIRONMENT_NAME" field: Type = default, within bounds;
/// ```
///
/// `within` narrows a type that needs it.
macro_rules! options {
    ($(
        $(#[doc = $section_doc:literal])+
        $table:ident: $Section:ident {
            $( $(#[doc = $doc:literal])+
               $name:literal $key:ident: $type:ty = $default:expr $(, within $bounds:expr)?; )+
        }
    )+) => {
        $(
            $(#[doc = $section_doc])+
            #[derive(Clone, Debug, PartialEq, Eq)]
            pub struct $Section { $( $(#[doc = $doc])+ pub $key: $type, )+ }

            impl Default for $Section {
                fn default() -> Self {
                    Self { $( $key: $default, )+ }
                }
            }
        )+

        /// All settings of one node, and where each came from.
        ///
        /// Two are equal when their values are, wherever those came from.
        #[derive(Clone, Debug, Default)]
        pub struct Config {
            $( $(#[doc = $section_doc])+ pub $table: $Section, )+
            pub(crate) sources: BTreeMap<&'static str, Source>,
        }

        impl PartialEq for Config {
            fn eq(&self, other: &Self) -> bool {
                $( self.$table == other.$table )&&+
            }
        }

        impl Eq for Config {}

        /// The sections, each with what it is about, in the order of the guide.
        pub(crate) static SECTIONS: &[(&str, &str)] =
            &[ $( (stringify!($table), concat!($($section_doc),+)) ),+ ];

        /// Every option there is, in the order of the guide.
        pub static OPTIONS: &[OptionInfo] = &[ $( $( OptionInfo {
            name: $name,
            table: stringify!($table),
            key: stringify!($key),
            secret: <$type as Setting>::SECRET,
            doc: &[$($doc),+],
            accepted: || <$type as Setting>::accepted(&options!(@bounds $($bounds)?)),
            assign: |config, given| {
                config.$table.$key = <$type as Setting>::read(given, &options!(@bounds $($bounds)?))?;
                Ok(())
            },
            value: |config| Setting::value(&config.$table.$key),
        }, )+ )+ ];
    };
    (@bounds) => { () };
    (@bounds $bounds:expr) => { $bounds };
}

pub(crate) use options;
