//! The names of the trail's files: they sort by time, also where the clock went back.

use std::io;
use std::path::Path;

use jiff::Timestamp;

const BEGINNING: &str = "trail-";
const ENDING: &str = ".jsonl";
/// `20261123-120102`
const STAMP_LEN: usize = 15;

/// All files of a trail, oldest first. A folder that is not there yet has none.
pub(crate) fn list(dir: &Path) -> io::Result<Vec<String>> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(why) => return Err(why),
    };
    let mut names = Vec::new();
    for entry in entries {
        // A name that is no UTF-8 is none of ours.
        if let Ok(name) = entry?.file_name().into_string()
            && parse(&name).is_some()
        {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// A name behind `last`: of this second, or of the last file's where the clock is not past it.
pub(crate) fn next(last: Option<&str>, now_ms: i64) -> String {
    let now = Timestamp::from_millisecond(now_ms).unwrap_or(Timestamp::UNIX_EPOCH);
    let stamp = now.strftime("%Y%m%d-%H%M%S").to_string();
    match last.and_then(parse) {
        Some((of_last, number)) if of_last >= &*stamp => format!("{BEGINNING}{of_last}-{:06}{ENDING}", number + 1),
        Some(_) | None => format!("{BEGINNING}{stamp}-000000{ENDING}"),
    }
}

fn parse(name: &str) -> Option<(&str, u32)> {
    let inner = name.strip_prefix(BEGINNING)?.strip_suffix(ENDING)?;
    let (stamp, number) = inner.split_at_checked(STAMP_LEN)?;
    let digits = number.strip_prefix('-')?;
    (stamp.bytes().all(|b| b.is_ascii_digit() || b == b'-') && digits.len() == 6)
        .then(|| digits.parse().ok())?
        .map(|number| (stamp, number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_always_behind_the_last() {
        let noon = "2026-11-23T12:00:00Z".parse::<Timestamp>().unwrap().as_millisecond();
        for (last, now_ms, name, why) in [
            (None, noon, "trail-20261123-120000-000000.jsonl", "the first"),
            (
                Some("trail-20261123-120000-000000.jsonl"),
                noon + 999,
                "trail-20261123-120000-000001.jsonl",
                "the same second",
            ),
            (
                Some("trail-20261123-120000-000007.jsonl"),
                noon + 1_000,
                "trail-20261123-120001-000000.jsonl",
                "the next",
            ),
            (
                Some("trail-20261124-000000-000000.jsonl"),
                noon,
                "trail-20261124-000000-000001.jsonl",
                "the clock went back",
            ),
        ] {
            assert_eq!(next(last, now_ms), name, "{why}");
        }
        assert_eq!(parse("trail-20261123-120000-000007.jsonl.gz"), None);
        assert_eq!(parse("notes.txt"), None);
    }
}
