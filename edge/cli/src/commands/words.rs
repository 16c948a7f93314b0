//! How numbers read.

pub(super) use crate::output::span as duration;

/// Words an age; a row that never was has none.
pub(super) fn age(ms: Option<i64>) -> String {
    ms.map_or_else(|| "-".to_owned(), |ms| format!("{} ago", duration(ms)))
}

/// Words a count of something.
pub(super) fn count(number: i64, thing: &str) -> String {
    if number == 1 { format!("1 {thing}") } else { format!("{number} {thing}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_read_well() {
        for (ms, expected) in [(-5, "0s"), (59_999, "59s"), (61_000, "1m 1s"), (3_660_000, "1h 1m"), (90_000_000, "1d 1h")] {
            assert_eq!(duration(ms), expected);
        }
        assert_eq!((count(1, "session"), count(2, "session")), ("1 session".to_owned(), "2 sessions".to_owned()));
    }
}
