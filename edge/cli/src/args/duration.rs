//! Durations on flags: a number, with or without a unit.

use std::time::Duration;

/// Parses a duration whose bare numbers are milliseconds.
pub(crate) fn milliseconds(text: &str) -> Result<Duration, String> {
    parse(text, 1)
}

/// Parses a duration whose bare numbers are seconds.
pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    parse(text, 1_000)
}

fn parse(text: &str, bare_ms: u64) -> Result<Duration, String> {
    let digits = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit_ms = match unit.trim() {
        "" => bare_ms,
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err("use a number, or a number with ms, s, m, h or d".to_owned()),
    };
    match number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit_ms)) {
        Some(0) | None => Err("must be a positive number".to_owned()),
        Some(ms) => Ok(Duration::from_millis(ms)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_number_takes_the_unit_of_its_flag() {
        assert_eq!(milliseconds("250"), Ok(Duration::from_millis(250)));
        assert_eq!(seconds("250"), Ok(Duration::from_secs(250)));
        assert_eq!(seconds("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(milliseconds("2m"), Ok(Duration::from_mins(2)));
    }

    #[test]
    fn refuses_what_is_no_duration() {
        for text in ["", "0", "-1", "x", "1y", "1.5s", "99999999999999999999", "99999999999999999d"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }
}
