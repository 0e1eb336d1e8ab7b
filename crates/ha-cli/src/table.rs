//! Tables and lists for people.

use std::fmt::Write;

use anstyle::{AnsiColor, Style};

/// Something good.
pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
/// Something that needs attention.
pub(crate) const DOUBTFUL: Style = AnsiColor::Yellow.on_default();
/// Something bad.
pub(crate) const BAD: Style = AnsiColor::Red.on_default();
/// Something that stands out.
pub(crate) const STRONG: Style = Style::new().bold();
/// Something said in passing.
pub(crate) const QUIET: Style = Style::new().dimmed();
/// Everything else.
pub(crate) const PLAIN: Style = Style::new();

/// Widest value that is shown whole in a table.
const VALUE_COLUMNS: usize = 60;

/// One cell.
#[derive(Clone, Debug)]
pub(crate) struct Cell {
    text: String,
    style: Style,
}

impl Cell {
    pub(crate) fn new(text: impl ToString, style: Style) -> Self {
        // What a node sends must not move the cursor of whoever reads it.
        let text = text.to_string().chars().map(|c| if c.is_control() { '?' } else { c }).collect();
        Self { text, style }
    }

    fn width(&self) -> usize {
        self.text.chars().count()
    }

    fn write(&self, out: &mut String, width: usize) {
        let Self { text, style } = self;
        // Padding stands outside of the style, so that nothing is coloured that is not there.
        let padding = " ".repeat(width.saturating_sub(self.width()));
        // Writing to a string cannot fail.
        let _ = write!(out, "{style}{text}{style:#}{padding}");
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::new(text, PLAIN)
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::new(text, PLAIN)
    }
}

/// Rows below a head, in columns as wide as their widest cell.
pub(crate) fn table<const N: usize>(head: [&str; N], rows: &[[Cell; N]]) -> String {
    let head = head.map(|text| Cell::new(text, QUIET));
    let mut widths = [0; N];
    for row in std::iter::once(&head).chain(rows) {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.width());
        }
    }
    std::iter::once(&head).chain(rows).map(|row| line(row, &widths)).collect()
}

/// Names and what they are, one to a line.
pub(crate) fn list(entries: &[(&str, Cell)]) -> String {
    let width = entries.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    entries.iter().map(|(name, cell)| line(&[Cell::new(name, QUIET), cell.clone()], &[width, 0])).collect()
}

/// A value, as far as it fits into a table.
pub(crate) fn shortened(text: &str) -> String {
    if text.chars().count() <= VALUE_COLUMNS {
        return text.to_owned();
    }
    text.chars().take(VALUE_COLUMNS - 1).chain(['…']).collect()
}

/// JSON without its line breaks: they stand between its words and never within.
pub(crate) fn one_line(json: &str) -> String {
    let lines = json.split(['\n', '\r', '\t']).map(|line| line.trim_matches(' '));
    lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}

fn line(cells: &[Cell], widths: &[usize]) -> String {
    let mut line = String::new();
    for (column, (cell, width)) in cells.iter().zip(widths).enumerate() {
        if column > 0 {
            line.push_str("  ");
        }
        let last = column + 1 == cells.len();
        cell.write(&mut line, if last { 0 } else { *width });
    }
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: &str) -> String {
        anstream::adapter::strip_str(text).to_string()
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["node-1".into(), Cell::new("alive", GOOD)], ["n2".into(), Cell::new("left", QUIET)]];
        assert_eq!(plain(&table(["NODE", "STATE"], &rows)), "NODE    STATE\nnode-1  alive\nn2      left\n");
    }

    #[test]
    fn a_list_aligns_what_the_names_are() {
        assert_eq!(plain(&list(&[("id", "a".into()), ("leader", "b".into())])), "id      a\nleader  b\n");
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(plain(&table(["NODE"], &[["\u{1b}[2Jx\r".into()]])), "NODE\n?[2Jx?\n");
    }

    #[test]
    fn json_is_one_line_of_a_table() {
        assert_eq!(one_line("{\r\n\t\"a  b\": 1,\n\n  \"c\": [2]\n}"), "{ \"a  b\": 1, \"c\": [2] }");
    }

    #[test]
    fn styles_do_not_count_as_width() {
        let text = table(["A", "B"], &[[Cell::new("x", BAD), "y".into()]]);
        assert!(text.contains("\u{1b}[31mx\u{1b}[0m  y"), "{text:?}");
    }
}
