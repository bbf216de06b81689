//! Tables for people.

use crate::primitives;

/// Lines of columns, the first of them the heading.
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these columns and nothing in it.
    pub fn new(heading: &[&str]) -> Self {
        Self { rows: vec![heading.iter().map(|name| (*name).to_owned()).collect()] }
    }

    /// Adds a line; it has as many cells as the heading.
    pub fn row(&mut self, cells: Vec<String>) {
        debug_assert_eq!(cells.len(), self.rows[0].len(), "every line fits the heading");
        self.rows.push(cells.into_iter().map(|cell| printable(&cell)).collect());
    }

    /// The text of it: columns as wide as their widest cell, two spaces apart.
    pub fn render(&self) -> String {
        let width = |column: usize| self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
        let widths: Vec<usize> = (0..self.rows[0].len()).map(width).collect();
        let mut text = String::new();
        for row in &self.rows {
            let line: Vec<String> =
                row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}", width = *width)).collect();
            text.push_str(line.join("  ").trim_end());
            text.push('\n');
        }
        text
    }
}

/// A cell that cannot steer the terminal, and that is there even when it is empty.
pub fn printable(cell: &str) -> String {
    if cell.is_empty() {
        return "-".to_owned();
    }
    primitives::printable(cell, usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(&["NAME", "STATUS"]);
        table.row(vec!["a-long-name".to_owned(), "up".to_owned()]);
        table.row(vec!["é".to_owned(), String::new()]);
        assert_eq!(table.render(), "NAME         STATUS\na-long-name  up\né            -\n");
    }

    #[test]
    fn a_cell_cannot_steer_the_terminal() {
        let mut table = Table::new(&["NAME"]);
        table.row(vec!["a\u{1b}[31m\nb".to_owned()]);
        assert_eq!(table.render(), "NAME\na\\u{1b}[31m\\nb\n");
    }
}
