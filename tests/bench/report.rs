//! The table at the end.

use serde_json::json;

/// What was measured.
#[derive(Debug, Default)]
pub(crate) struct Report {
    lines: Vec<Line>,
}

#[derive(Debug)]
struct Line {
    name: String,
    unit: &'static str,
    value: f64,
    target: Option<Target>,
}

#[derive(Debug, Clone, Copy)]
enum Target {
    AtMost(f64),
    AtLeast(f64),
}

impl Report {
    /// A number without a target.
    pub(crate) fn note(&mut self, name: &str, unit: &'static str, value: f64) {
        self.add(name, unit, value, None);
    }

    /// A number that should not be larger.
    pub(crate) fn at_most(&mut self, name: &str, unit: &'static str, value: f64, target: f64) {
        self.add(name, unit, value, Some(Target::AtMost(target)));
    }

    /// A number that should not be smaller.
    pub(crate) fn at_least(&mut self, name: &str, unit: &'static str, value: f64, target: f64) {
        self.add(name, unit, value, Some(Target::AtLeast(target)));
    }

    fn add(&mut self, name: &str, unit: &'static str, value: f64, target: Option<Target>) {
        eprintln!("{name}: {value:.2} {unit}");
        self.lines.push(Line { name: name.to_owned(), unit, value, target });
    }

    pub(crate) fn print(&self, as_json: bool) {
        if as_json {
            let lines: Vec<_> = self.lines.iter().map(Line::json).collect();
            println!("{}", json!({"results": lines}));
            return;
        }
        println!("\n{:<58} {:>12} {:<13} target", "measured", "value", "unit");
        for line in &self.lines {
            let target = line.target.map_or_else(String::new, |target| {
                format!("{} {}", target.words(), if target.met(line.value) { "met" } else { "NOT MET" })
            });
            println!("{:<58} {:>12.2} {:<13} {target}", line.name, line.value, line.unit);
        }
    }
}

impl Line {
    fn json(&self) -> serde_json::Value {
        let met = self.target.map(|target| target.met(self.value));
        json!({"name": self.name.trim(), "unit": self.unit, "value": self.value, "target": self.target.map(Target::words), "met": met})
    }
}

impl Target {
    fn words(self) -> String {
        match self {
            Self::AtMost(limit) => format!("<= {limit}"),
            Self::AtLeast(limit) => format!(">= {limit}"),
        }
    }

    fn met(self, value: f64) -> bool {
        match self {
            Self::AtMost(limit) => value <= limit,
            Self::AtLeast(limit) => value >= limit,
        }
    }
}
