//! Times as text: `5`, `0.2`, `200ms`, `1m`, `2h`.

use std::fmt;
use std::time::Duration;

/// Most digits before and after the decimal point: enough for a nanosecond and for thirty years.
const DIGITS_MAX: usize = 9;

const UNITS: [(&str, u64); 4] =
    [("ms", 1_000_000), ("s", 1_000_000_000), ("m", 60_000_000_000), ("h", 3_600_000_000_000)];

/// Reads a time: a number of seconds, or a number with the unit `ms`, `s`, `m` or `h`. The reading is exact.
pub fn parse_seconds(text: &str) -> Result<Duration, SecondsError> {
    let text = text.trim();
    if text.starts_with('-') {
        return Err(SecondsError::Negative);
    }
    let unit_start = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_start);
    let unit = match unit.trim() {
        "" => "s",
        unit => unit,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let is_digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if !is_digits(whole) || !is_digits(fraction) {
        return Err(SecondsError::NotATime);
    }
    let unit_nanos = UNITS.iter().find(|(name, _)| *name == unit).ok_or(SecondsError::Unit)?.1;
    let fraction = fraction.trim_end_matches('0');
    if whole.len() > DIGITS_MAX || fraction.len() > DIGITS_MAX {
        return Err(SecondsError::Digits);
    }
    let whole: u128 = whole.parse().map_err(|_| SecondsError::NotATime)?;
    let scale = 10u128.pow(fraction.len() as u32);
    let fraction: u128 = if fraction.is_empty() { 0 } else { fraction.parse().map_err(|_| SecondsError::NotATime)? };
    let scaled = (whole * scale + fraction) * u128::from(unit_nanos);
    if !scaled.is_multiple_of(scale) {
        return Err(SecondsError::Digits);
    }
    u64::try_from(scaled / scale).map(Duration::from_nanos).map_err(|_| SecondsError::Digits)
}

/// Prints a time in the largest unit that holds it in whole numbers, or else with a decimal point (`1.5s`);
/// [`parse_seconds`] reads it back equal.
pub fn print_seconds(time: Duration) -> String {
    let nanos = time.as_nanos();
    if nanos == 0 {
        return "0s".to_owned();
    }
    let from = if time.as_secs() > 0 { 1 } else { 0 };
    for (unit, unit_nanos) in UNITS[from..].iter().rev() {
        if nanos.is_multiple_of(u128::from(*unit_nanos)) {
            return format!("{}{unit}", nanos / u128::from(*unit_nanos));
        }
    }
    let (text, unit) = match from {
        0 => (format!("{}.{:06}", nanos / 1_000_000, nanos % 1_000_000), "ms"),
        _ => (format!("{}.{:09}", time.as_secs(), time.subsec_nanos()), "s"),
    };
    format!("{}{unit}", text.trim_end_matches('0'))
}

/// Why a text is not a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SecondsError {
    /// No number stands there.
    NotATime,
    /// A unit that is not known.
    Unit,
    /// Less than nothing.
    Negative,
    /// Too large, or finer than a nanosecond.
    Digits,
}

impl fmt::Display for SecondsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotATime => "is not a number of seconds",
            Self::Unit => "has a unit that is not ms, s, m or h",
            Self::Negative => "is negative",
            Self::Digits => "has too many digits",
        })
    }
}

impl std::error::Error for SecondsError {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_every_spelling() {
        for (text, millis) in [
            ("5", 5000),
            ("0.2", 200),
            ("200ms", 200),
            ("1m", 60_000),
            ("2h", 7_200_000),
            (" 1.5 s ", 1500),
            ("0.5m", 30_000),
            ("0", 0),
            ("5.000", 5000),
        ] {
            assert_eq!(parse_seconds(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_not_a_time() {
        for (text, error) in [
            ("", SecondsError::NotATime),
            ("fast", SecondsError::NotATime),
            (".", SecondsError::NotATime),
            ("1.", SecondsError::NotATime),
            (".5", SecondsError::NotATime),
            ("1.2.3", SecondsError::NotATime),
            ("inf", SecondsError::NotATime),
            ("-5", SecondsError::Negative),
            ("5 days", SecondsError::Unit),
            ("1e3", SecondsError::Unit),
            ("9999999999", SecondsError::Digits),
            ("0.0000000001", SecondsError::Digits),
            ("0.0000001ms", SecondsError::Digits),
        ] {
            assert_eq!(parse_seconds(text), Err(error), "{text}");
        }
    }

    #[test]
    fn prints_the_largest_whole_unit() {
        for (millis, text) in
            [(0, "0s"), (200, "200ms"), (5000, "5s"), (90_000, "90s"), (60_000, "1m"), (7_200_000, "2h")]
        {
            assert_eq!(print_seconds(Duration::from_millis(millis)), text);
        }
        assert_eq!(print_seconds(Duration::from_micros(10_500)), "10.5ms");
        assert_eq!(print_seconds(Duration::from_millis(15_900)), "15.9s");
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_back_equal(nanos in 0..=999_999_999u64 * 1_000_000) {
            let time = Duration::from_nanos(nanos);
            prop_assert_eq!(parse_seconds(&print_seconds(time)), Ok(time));
        }

        #[test]
        fn no_text_panics(text in ".*") {
            let _ = parse_seconds(&text);
        }
    }
}
