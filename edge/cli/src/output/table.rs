//! Tables for people.

use std::fmt;

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{ContentArrangement, Table as Drawn};

/// Rows under headings, as wide as the terminal allows.
#[derive(Debug)]
pub(crate) struct Table(Drawn);

impl Table {
    /// An empty table.
    pub(crate) fn new(headings: &[&str]) -> Self {
        let mut drawn = Drawn::new();
        // A serial console does not know how wide it is, and says 0.
        let arrangement = if drawn.width() == Some(0) { ContentArrangement::Disabled } else { ContentArrangement::Dynamic };
        drawn.load_style(UTF8_FULL_CONDENSED).set_content_arrangement(arrangement).set_header(headings.to_vec());
        Self(drawn)
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.0.add_row(cells.into_iter().collect::<Vec<String>>());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}
