//! How each type of value is read from text, printed, and described.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use crate::address::{Endpoint, Seed};
use crate::component::{ComponentName, HealthCheck, RecoveryCommand};
use crate::nearest::nearest;
use crate::problem::shorten;
use crate::seconds::{parse_seconds, print_seconds};
use crate::secret::Secret;
use crate::value::Value;

/// Most places to look for other nodes.
pub const SEEDS_MAX: usize = 256;

/// Most components that options may name.
pub const CHECKS_MAX: usize = 64;

/// What one layer says about one option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Given {
    /// A variable, a `--set`, or any single value of a file, in the words of the environment.
    Text(String),
    /// A TOML array.
    List(Vec<String>),
}

impl Given {
    fn text(&self) -> Result<&str, Refusal> {
        match self {
            Self::Text(text) => Ok(text.trim()),
            Self::List(_) => Err(Refusal::because("is a list")),
        }
    }
}

impl fmt::Display for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::List(items) => write!(f, "[{}]", items.join(", ")),
        }
    }
}

/// Why a text is not a value of the option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// Goes on from "the value", such as "is out of range".
    pub(crate) reason: String,
    /// The known word that was probably meant.
    pub(crate) nearest: Option<&'static str>,
}

impl Refusal {
    fn because(reason: impl fmt::Display) -> Self {
        Self { reason: reason.to_string(), nearest: None }
    }
}

/// A type that an option can have.
pub(crate) trait Setting: Sized {
    /// What narrows the type down for one option.
    type Bounds;

    /// Whether values must be masked.
    const SECRET: bool = false;

    fn read(given: &Given, bounds: &Self::Bounds) -> Result<Self, Refusal>;

    fn value(&self) -> Value;

    /// Completes "accepted: ".
    fn accepted(bounds: &Self::Bounds) -> String;
}

impl<T: Setting> Setting for Option<T> {
    type Bounds = T::Bounds;

    const SECRET: bool = T::SECRET;

    /// An empty text means none, so that a variable can take back what a file says. A secret is never taken back by
    /// an empty text: it is more likely that its source failed to deliver it.
    fn read(given: &Given, bounds: &T::Bounds) -> Result<Self, Refusal> {
        if !T::SECRET && given.text()?.is_empty() {
            return Ok(None);
        }
        T::read(given, bounds).map(Some)
    }

    fn value(&self) -> Value {
        self.as_ref().map_or(Value::None, T::value)
    }

    fn accepted(bounds: &T::Bounds) -> String {
        T::accepted(bounds)
    }
}

impl Setting for bool {
    type Bounds = ();

    fn read(given: &Given, (): &()) -> Result<Self, Refusal> {
        match given.text()?.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => Ok(true),
            "false" | "0" | "no" | "off" => Ok(false),
            _ => Err(Refusal::because("is neither true nor false")),
        }
    }

    fn value(&self) -> Value {
        Value::Boolean(*self)
    }

    fn accepted((): &()) -> String {
        "`true` or `false`".to_owned()
    }
}

macro_rules! numbers {
    ($($number:ty),+) => { $(
        impl Setting for $number {
            type Bounds = RangeInclusive<$number>;

            fn read(given: &Given, bounds: &Self::Bounds) -> Result<Self, Refusal> {
                let text = given.text()?;
                let digits = text.strip_prefix('-').unwrap_or(text);
                if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
                    return Err(Refusal::because("is not a whole number"));
                }
                text.parse().ok().filter(|n| bounds.contains(n)).ok_or_else(|| Refusal::because("is out of range"))
            }

            fn value(&self) -> Value {
                Value::Number(*self as u64)
            }

            fn accepted(bounds: &Self::Bounds) -> String {
                format!("a whole number from {} to {}", bounds.start(), bounds.end())
            }
        }
    )+ };
}

numbers!(u16, u32, usize);

impl Setting for Duration {
    type Bounds = RangeInclusive<Duration>;

    fn read(given: &Given, bounds: &Self::Bounds) -> Result<Self, Refusal> {
        let time = parse_seconds(given.text()?).map_err(Refusal::because)?;
        if bounds.contains(&time) { Ok(time) } else { Err(Refusal::because("is out of range")) }
    }

    fn value(&self) -> Value {
        Value::Time(*self)
    }

    fn accepted(bounds: &Self::Bounds) -> String {
        let (from, to) = (print_seconds(*bounds.start()), print_seconds(*bounds.end()));
        format!("a time from {from} to {to}: seconds (`5`, `0.2`), or with a unit (`200ms`, `1m`)")
    }
}

/// One of a few words.
pub(crate) trait Choice: Copy + FromStr + fmt::Display {
    fn words() -> Vec<&'static str>;
}

impl<T: Choice> Setting for T {
    type Bounds = ();

    fn read(given: &Given, (): &()) -> Result<Self, Refusal> {
        let text = given.text()?;
        text.parse().map_err(|_| {
            let reason = if text.is_empty() { "is empty" } else { "is not one of the words" }.to_owned();
            Refusal { reason, nearest: nearest(text, T::words()) }
        })
    }

    fn value(&self) -> Value {
        Value::Text(self.to_string())
    }

    fn accepted((): &()) -> String {
        let words: Vec<String> = T::words().iter().map(|word| format!("`{word}`")).collect();
        match words.split_last() {
            Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
            _ => words.concat(),
        }
    }
}

/// Which texts an option takes.
pub(crate) struct TextRule {
    pub(crate) accepted: &'static str,
    pub(crate) bytes_max: usize,
    pub(crate) allowed: fn(char) -> bool,
}

impl TextRule {
    pub(crate) fn check(&self, text: &str) -> Result<(), Refusal> {
        if text.is_empty() {
            return Err(Refusal::because("is empty"));
        }
        if text.len() > self.bytes_max {
            return Err(Refusal::because(format!("is longer than {} bytes", self.bytes_max)));
        }
        if text.chars().all(self.allowed) { Ok(()) } else { Err(Refusal::because("contains a character not allowed")) }
    }
}

impl Setting for String {
    type Bounds = TextRule;

    fn read(given: &Given, rule: &TextRule) -> Result<Self, Refusal> {
        let text = given.text()?;
        rule.check(text)?;
        Ok(text.to_owned())
    }

    fn value(&self) -> Value {
        Value::Text(self.clone())
    }

    fn accepted(rule: &TextRule) -> String {
        rule.accepted.to_owned()
    }
}

impl Setting for Secret {
    type Bounds = TextRule;

    const SECRET: bool = true;

    /// Not trimmed: every byte of a secret counts.
    fn read(given: &Given, rule: &TextRule) -> Result<Self, Refusal> {
        let Given::Text(text) = given else { return Err(Refusal::because("is a list")) };
        rule.check(text)?;
        Ok(Self::new(text))
    }

    fn value(&self) -> Value {
        Value::Secret(self.clone())
    }

    fn accepted(rule: &TextRule) -> String {
        rule.accepted.to_owned()
    }
}

impl Setting for PathBuf {
    type Bounds = ();

    fn read(given: &Given, (): &()) -> Result<Self, Refusal> {
        match given.text()? {
            "" => Err(Refusal::because("is empty")),
            text if text.contains('\0') => Err(Refusal::because("contains a character not allowed")),
            text => Ok(Self::from(text)),
        }
    }

    fn value(&self) -> Value {
        Value::Text(self.to_string_lossy().into_owned())
    }

    fn accepted((): &()) -> String {
        "a path".to_owned()
    }
}

impl Setting for IpAddr {
    type Bounds = ();

    fn read(given: &Given, (): &()) -> Result<Self, Refusal> {
        let text = given.text()?;
        if text == "localhost" {
            return Ok(Self::V4(Ipv4Addr::LOCALHOST));
        }
        let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
        bare.parse().map_err(|_| Refusal::because("is not an IP address"))
    }

    fn value(&self) -> Value {
        Value::Text(self.to_string())
    }

    fn accepted((): &()) -> String {
        "an IPv4 or IPv6 address of this machine, `0.0.0.0` or `::` for all of them, or `localhost`".to_owned()
    }
}

impl Setting for Endpoint {
    type Bounds = ();

    fn read(given: &Given, (): &()) -> Result<Self, Refusal> {
        given.text()?.parse().map_err(Refusal::because)
    }

    fn value(&self) -> Value {
        Value::Text(self.to_string())
    }

    fn accepted((): &()) -> String {
        "`host` or `host:port`; an IPv6 address with a port as `[address]:port`".to_owned()
    }
}

/// Reads a list: from the environment separated by commas, in a file also an array.
fn read_list<T>(given: &Given, items_max: usize) -> Result<Vec<T>, Refusal>
where
    T: FromStr,
    T::Err: fmt::Display,
{
    let items: Vec<&str> = match given {
        Given::Text(text) if text.trim().is_empty() => Vec::new(),
        Given::Text(text) => text.split(',').collect(),
        Given::List(items) => items.iter().map(String::as_str).collect(),
    };
    if items.len() > items_max {
        return Err(Refusal::because(format!("has more than {items_max} items")));
    }
    let read = |item: &str| {
        let refuse = |error| Refusal::because(format!("has an item {} that {error}", shorten(item.trim())));
        item.trim().parse().map_err(refuse)
    };
    items.into_iter().map(read).collect()
}

/// A type of which an option takes a list.
pub(crate) trait Item: FromStr<Err: fmt::Display> + fmt::Display {
    const ITEMS_MAX: usize;

    /// Goes on from "up to so many".
    const ACCEPTED: &'static str;
}

impl<T: Item> Setting for Vec<T> {
    type Bounds = ();

    fn read(given: &Given, (): &()) -> Result<Self, Refusal> {
        read_list(given, T::ITEMS_MAX)
    }

    fn value(&self) -> Value {
        Value::List(self.iter().map(ToString::to_string).collect())
    }

    fn accepted((): &()) -> String {
        format!("up to {} {}, separated by commas; in a file also an array of texts", T::ITEMS_MAX, T::ACCEPTED)
    }
}

impl Item for Seed {
    const ITEMS_MAX: usize = SEEDS_MAX;
    const ACCEPTED: &'static str = "of `host:port` or `dns:NAME:PORT`";
}

impl Item for HealthCheck {
    const ITEMS_MAX: usize = CHECKS_MAX;
    const ACCEPTED: &'static str = "of `NAME=tcp:HOST:PORT`, `NAME=http://HOST:PORT/PATH`, `NAME=command:LINE`, \
                                    `NAME=disk:PATH:PERCENT` or `NAME=heartbeat:TIME`";
}

impl Item for ComponentName {
    const ITEMS_MAX: usize = CHECKS_MAX;
    const ACCEPTED: &'static str = "names of `HEALTH_CHECKS`";
}

impl Item for RecoveryCommand {
    const ITEMS_MAX: usize = CHECKS_MAX;
    const ACCEPTED: &'static str = "of `NAME=LINE`";
}
