//! The known name that a misspelt one probably meant.

/// Longest text that is compared; what is longer is no misspelling of any name here.
const COMPARED_CHARS_MAX: usize = 80;

/// The fewest insertions, deletions, replacements and swaps of neighbours that turn one text into the other
/// (optimal string alignment distance). Two texts of more than 80 characters are simply far apart.
pub(crate) fn distance(from: &str, to: &str) -> usize {
    let from: Vec<char> = from.chars().take(COMPARED_CHARS_MAX + 1).collect();
    let to: Vec<char> = to.chars().take(COMPARED_CHARS_MAX + 1).collect();
    if from.len() > COMPARED_CHARS_MAX || to.len() > COMPARED_CHARS_MAX {
        return usize::MAX;
    }
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=to.len()).collect();
    for i in 1..=from.len() {
        let mut row = vec![i];
        for j in 1..=to.len() {
            let replaced = above[j - 1] + usize::from(from[i - 1] != to[j - 1]);
            let mut best = replaced.min(above[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1] {
                best = best.min(before[j - 2] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[to.len()]
}

/// The closest of the known names, when it is close enough to be worth suggesting: at most a third of it differs.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let name = name.to_lowercase();
    known
        .into_iter()
        .map(|candidate| (distance(&name, &candidate.to_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.len() / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_single_mistakes() {
        for (from, to, expected) in [
            ("", "", 0),
            ("port", "port", 0),
            ("", "port", 4),
            ("prot", "port", 1),
            ("prt", "port", 1),
            ("pport", "port", 1),
            ("part", "port", 1),
            ("hartbeat_intervall", "heartbeat_interval", 2),
        ] {
            assert_eq!(distance(from, to), expected, "{from} {to}");
            assert_eq!(distance(to, from), expected, "{to} {from}");
        }
    }

    #[test]
    fn suggests_only_what_is_close() {
        let known = ["development", "simple_failover", "full_ha", "distributed"];
        assert_eq!(nearest("ful_ha", known), Some("full_ha"));
        assert_eq!(nearest("FULL_HA", known), Some("full_ha"));
        assert_eq!(nearest("production", known), None);
        assert_eq!(nearest(&"x".repeat(100_000), known), None);
    }
}
