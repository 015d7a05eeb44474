//! The nearest valid name, for messages about names that are not known.

use std::borrow::Cow;

/// ``, did you mean `deny`?``, or nothing where no name is near.
pub fn hint<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    match nearest(wrong, known) {
        Some(name) => format!(", did you mean `{name}`?"),
        None => String::new(),
    }
}

/// Names longer than this are cut where people are told of them: a caller chooses them, and receipts keep what was told.
const SHOWN_MAX: usize = 128;

/// A name as messages show it.
pub fn shown(name: &str) -> Cow<'_, str> {
    if name.len() <= SHOWN_MAX {
        return Cow::Borrowed(name);
    }
    let end = (0..=SHOWN_MAX).rev().find(|at| name.is_char_boundary(*at)).unwrap_or(0);
    Cow::Owned(format!("{}...", &name[..end]))
}

/// The known name with the fewest edits, if they are few for its length.
pub fn nearest<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if wrong.len() > 128 {
        return None;
    }
    let wrong = wrong.to_lowercase();
    known
        .into_iter()
        .map(|name| (distance(&wrong, &name.to_lowercase()), name.len().abs_diff(wrong.len()), name))
        .min()
        .filter(|(edits, _, name)| *edits <= 1 + name.len().min(wrong.len()) / 4)
        .map(|(_, _, name)| name)
}

/// Edits (insert, delete, replace, swap of neighbours) between two words.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![vec![0usize; b.len() + 1]; a.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    rows[0] = (0..=b.len()).collect();
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let same = usize::from(a[i - 1] != b[j - 1]);
            let mut best = (rows[i - 1][j] + 1).min(rows[i][j - 1] + 1).min(rows[i - 1][j - 1] + same);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_found_and_far_ones_are_not() {
        for (wrong, known, found) in [
            ("modle", vec!["model", "mode"], Some("model")),
            ("tollgate-tenat", vec!["tollgate-tenant", "tollgate-app"], Some("tollgate-tenant")),
            ("xyz", vec!["model", "tenant"], None),
            ("", vec!["a"], Some("a")),
        ] {
            assert_eq!(nearest(wrong, known), found, "{wrong}");
        }
    }

    #[test]
    fn a_long_name_is_cut_between_letters() {
        assert_eq!(shown("model"), "model");
        let long = shown(&"ä".repeat(1_000_000)).into_owned();
        assert!(long.starts_with('ä') && long.ends_with("ä...") && long.len() <= 131, "{long}");
    }
}
