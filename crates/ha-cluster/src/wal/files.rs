//! The names of the files of a log.

use std::path::Path;

/// A file that is kept for later: freed, or not yet filled with zeros.
pub(super) const SPARE: &str = "spare.wal";

const SUFFIX: &str = ".wal";
const DIGITS: usize = 20;

/// The file of a segment. Names sort as their sequences do.
pub(super) fn name_of(sequence: u64) -> String {
    format!("{sequence:0DIGITS$}{SUFFIX}")
}

/// The sequence of a segment from the name of its file; `None` for other files.
pub(super) fn sequence_of(name: &Path) -> Option<u64> {
    let digits = name.to_str()?.strip_suffix(SUFFIX)?;
    let plain = digits.len() == DIGITS && digits.bytes().all(|digit| digit.is_ascii_digit());
    if plain { digits.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_segments_have_sequences() {
        assert_eq!(sequence_of(Path::new(&name_of(42))), Some(42));
        assert_eq!(sequence_of(Path::new(&name_of(u64::MAX))), Some(u64::MAX));
        for other in [SPARE, "42.wal", "00000000000000000042.wal.new", "+0000000000000000042.wal"] {
            assert_eq!(sequence_of(Path::new(other)), None, "{other}");
        }
    }
}
