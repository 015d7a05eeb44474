//! Reads a trail from its beginning to its end, one line at a time: for sums over all of it, in bounded memory.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use super::names;

const BUFFER_BYTES: usize = 256 << 10;
/// A longer line is no receipt of ours.
const LINE_BYTES_MAX: u64 = 32 << 20;

/// What was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Passed {
    pub lines: u64,
    /// Lines that are longer than any receipt.
    pub too_long: u64,
}

/// Gives every line of all files, oldest file first, without its end. The last one may be torn, or half written at this moment.
pub fn each(dir: &Path, mut give: impl FnMut(&[u8])) -> io::Result<Passed> {
    let mut passed = Passed::default();
    let mut line = Vec::new();
    for name in names::list(dir)? {
        let file = match File::open(dir.join(name)) {
            Ok(file) => file,
            // Retention took it meanwhile.
            Err(why) if why.kind() == io::ErrorKind::NotFound => continue,
            Err(why) => return Err(why),
        };
        let mut reader = BufReader::with_capacity(BUFFER_BYTES, file);
        loop {
            line.clear();
            if (&mut reader).take(LINE_BYTES_MAX).read_until(b'\n', &mut line)? == 0 {
                break;
            }
            let is_whole = line.last() == Some(&b'\n');
            if !is_whole && line.len() as u64 == LINE_BYTES_MAX {
                reader.skip_until(b'\n')?;
                line = Vec::new();
                passed.too_long += 1;
                continue;
            }
            passed.lines += 1;
            give(if is_whole { &line[..line.len() - 1] } else { &line });
        }
    }
    Ok(passed)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn lines_come_in_order_and_one_without_an_end_is_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| fs::write(dir.path().join(name), bytes).unwrap();
        let mut long = vec![b'x'; LINE_BYTES_MAX as usize + 5];
        long.extend(b"\nc\n\nd");
        write("trail-20261124-000000-000000.jsonl", &long);
        write("trail-20261123-000000-000000.jsonl", b"a\nb\n");
        write("acts-2026-11.jsonl", b"no receipt\n");
        let mut lines = Vec::new();
        let passed = each(dir.path(), |line| lines.push(String::from_utf8(line.to_vec()).unwrap())).unwrap();
        assert_eq!(lines, ["a", "b", "c", "", "d"]);
        assert_eq!(passed, Passed { lines: 5, too_long: 1 });
        assert_eq!(each(&dir.path().join("none"), |_| ()).unwrap(), Passed::default());
    }
}
