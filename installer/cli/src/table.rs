//! Rows under headings, in columns as wide as their widest cell.

use std::collections::BTreeMap;

use unicode_width::UnicodeWidthStr;

/// A table that is being filled. Columns are aligned below each heading.
#[derive(Debug, Default)]
pub(crate) struct Table {
    headings: Vec<&'static str>,
    rows: BTreeMap<&'static str, Vec<Vec<String>>>,
}

impl Table {
    /// Names the columns below a heading.
    pub(crate) fn title<const N: usize>(&mut self, heading: &'static str, names: [&str; N]) {
        self.add(heading, names.map(str::to_uppercase));
    }

    /// Adds a row.
    pub(crate) fn add<const N: usize>(&mut self, heading: &'static str, cells: [String; N]) {
        if !self.headings.contains(&heading) {
            self.headings.push(heading);
        }
        self.rows.entry(heading).or_default().push(cells.into());
    }

    /// The whole.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        for heading in &self.headings {
            text.extend(["\n", heading, "\n"]);
            let rows = self.rows.get(heading).map(Vec::as_slice).unwrap_or_default();
            let widths = widths(rows);
            for row in rows {
                let cells = row.iter().zip(&widths).map(|(cell, width)| padded(cell, *width));
                text.push_str(format!("  {}", cells.collect::<Vec<_>>().join("  ")).trim_end());
                text.push('\n');
            }
        }
        text
    }
}

fn widths(rows: &[Vec<String>]) -> Vec<usize> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| rows.iter().filter_map(|row| Some(row.get(column)?.width())).max();
    (0..columns).map(|column| width(column).unwrap_or_default()).collect()
}

fn padded(cell: &str, width: usize) -> String {
    format!("{cell}{}", " ".repeat(width.saturating_sub(cell.width())))
}

#[cfg(test)]
mod tests {
    use super::Table;

    #[test]
    fn columns_are_as_wide_as_their_cells() {
        let mut table = Table::default();
        table.title("parts", ["name", "licence"]);
        table.add("parts", ["骐骥".to_owned(), "MIT".to_owned()]);
        table.add("other", ["x".to_owned()]);
        assert_eq!(table.text(), "\nparts\n  NAME  LICENCE\n  骐骥  MIT\n\nother\n  x\n");
    }
}
