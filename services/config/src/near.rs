//! The known word that is most like an unknown one.

/// Returns the most similar word, unless none is alike.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = word.to_lowercase();
    let (distance, best) = known.into_iter().map(|candidate| (distance(&lower, &candidate.to_lowercase()), candidate)).min()?;
    (distance <= word.chars().count().div_ceil(2)).then_some(best)
}

/// How many letters to insert, remove or replace to make `right` of `left`.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (index, letter) in left.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], index + 1);
        for (column, other) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(letter != *other);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(row[column] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_a_misspelt_word_and_nothing_for_another() {
        let known = ["gateway", "agents", "env"];
        assert_eq!(nearest("gatway", known), Some("gateway"));
        assert_eq!(nearest("Agent", known), Some("agents"));
        assert_eq!(nearest("completely", known), None);
    }
}
