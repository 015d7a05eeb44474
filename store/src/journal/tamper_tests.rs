//! A journal that somebody changed: every change, drop and reordering is found, and the first bad record is named.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::damage::{ReadError, Wrong};
use super::disk::{Disk, Lie, Random};
use super::log::Log;
use super::record::{HEAD_BYTES, Head, Parsed, digest, parse, push};
use super::segment::HEADER_BYTES;
use super::{Bounds, Storage, Verified, verify};

const RECORDS: usize = 60;
const PLACES: usize = 10_000;

type Files = BTreeMap<String, Vec<u8>>;

/// Some segments, with a record of each length; synced now and then, so that few records at the end are unproven.
fn journal() -> (Files, Head) {
    let disk = Disk::new(Lie::None);
    let bounds = Bounds { segment_bytes: 2_000, ..Bounds::default() };
    let (log, _) = Log::open(Arc::new(disk.clone()), bounds, Arc::new(|| 0), None).unwrap();
    for n in 0..RECORDS {
        log.append(&vec![n as u8; n * 3]).unwrap();
        if n % 4 == 3 {
            log.sync().unwrap();
        }
        if log.standing().is_replacing_due {
            log.replace().unwrap();
        }
    }
    log.sync().unwrap();
    (disk.files(), log.synced_head())
}

fn check(files: &Files, known: Option<Head>) -> Result<Verified, ReadError> {
    let storage: Arc<dyn Storage> = Arc::new(Disk::with(files.clone()));
    verify(storage, known)
}

/// The sequence and the wrong of what was found.
fn found(files: &Files, known: Head, why: &str) -> (u64, Wrong) {
    match check(files, Some(known)) {
        Err(ReadError::Damage(damage)) => (damage.sequence, damage.wrong),
        Err(ReadError::Disk { why: disk, .. }) => panic!("{why}: told of the disk: {disk}"),
        Ok(verified) => panic!("{why}: went by unseen: {verified:?}"),
    }
}

/// Where each record lies: file, begin, end, sequence.
fn places(files: &Files) -> Vec<(String, usize, usize, u64)> {
    let mut places = Vec::new();
    for (name, bytes) in files {
        let mut at = HEADER_BYTES;
        while let Parsed::Whole(framed) = parse(&bytes[at..]) {
            places.push((name.clone(), at, at + framed.bytes(), framed.sequence));
            at += framed.bytes();
        }
        assert_eq!(at, bytes.len());
    }
    places
}

#[test]
fn a_sound_journal_is_called_sound() {
    let (files, head) = journal();
    assert!(files.len() >= 3, "{} segments", files.len());
    let verified = check(&files, Some(head)).unwrap();
    assert_eq!((verified.records, verified.first, verified.head), (RECORDS as u64, 0, head));
    assert_eq!(places(&files).len(), RECORDS);
}

#[test]
fn any_changed_bit_is_found_and_the_record_is_named() {
    let (files, head) = journal();
    let places = places(&files);
    let names: Vec<&String> = files.keys().collect();
    let mut random = Random(11);
    for _ in 0..PLACES {
        let name = names[random.below(names.len())];
        let at = random.below(files[name].len());
        let mut changed = files.clone();
        changed.get_mut(name).unwrap()[at] ^= 1 << random.below(8);
        let why = format!("byte {at} of {name}");
        let (sequence, wrong) = found(&changed, head, &why);
        match places.iter().find(|(file, begin, end, _)| file == name && (*begin..*end).contains(&at)) {
            Some((.., changed)) => assert_eq!(sequence, *changed, "{why}: {wrong:?}"),
            // A head names no record of its own: the first of its segment is named, or the first that is missing.
            None => assert!(at < HEADER_BYTES, "{why}"),
        }
    }
}

#[test]
fn dropped_and_moved_and_inserted_pieces_are_found() {
    let (files, head) = journal();
    let places = places(&files);
    let names: Vec<&String> = files.keys().collect();
    let mut random = Random(13);
    let mut behind = 0;
    for n in 0..PLACES {
        let mut changed = files.clone();
        let name = names[random.below(names.len())];
        let bytes = changed.get_mut(name).unwrap();
        let (at, length) = (random.below(bytes.len()), 1 + random.below(200));
        let end = (at + length).min(bytes.len());
        let why = match n % 3 {
            0 => {
                bytes.drain(at..end);
                "dropped"
            }
            1 => {
                let piece = bytes[at..end].to_vec();
                let to = random.below(bytes.len());
                bytes.splice(to..to, piece);
                "copied"
            }
            _ => {
                bytes.truncate(at);
                "cut off"
            }
        };
        // What is added behind an end changes no record, and is told.
        let is_told = check(&changed, Some(head)).is_ok_and(|v| v.behind > 0 || v.cut.is_some());
        if !is_told {
            found(&changed, head, &format!("{why}: {at}..{end} of {name}"));
        }
        behind += usize::from(is_told);
    }
    assert!(behind < PLACES / 20, "{behind} of {PLACES} only lay behind an end");
    // Whole records, whose checksums are right wherever they stand.
    for pair in places.windows(2).filter(|pair| pair[0].0 == pair[1].0) {
        let [(name, begin, middle, sequence), (_, _, end, _)] = pair else { unreachable!() };
        let mut moved = files.clone();
        moved.get_mut(name).unwrap()[*begin..*end].rotate_left(middle - begin);
        assert_eq!(found(&moved, head, "moved").0, *sequence);
        let mut dropped = files.clone();
        dropped.get_mut(name).unwrap().drain(*begin..*middle);
        assert_eq!(found(&dropped, head, "dropped").0, *sequence);
    }
    for name in names {
        let mut dropped = files.clone();
        dropped.remove(name);
        found(&dropped, head, "a whole segment");
    }
}

/// Somebody who knows the format makes the checksum right as well.
#[test]
fn a_record_with_a_right_checksum_and_another_content_is_found() {
    let (files, head) = journal();
    for (name, begin, end, sequence) in places(&files) {
        let mut changed = files.clone();
        let bytes = changed.get_mut(&name).unwrap();
        let Parsed::Whole(framed) = parse(&bytes[begin..]) else { unreachable!() };
        let mut forged = Vec::new();
        // The chain before the record is not known from the record: zeros stand for any guess.
        let payload = vec![0xee; framed.payload.len() + 1];
        let before = Head { next: framed.sequence, chain: [0; 32] };
        push(&mut forged, before, framed.synced, &digest(&payload), &payload);
        bytes.splice(begin..end, forged);
        let (named, wrong) = found(&changed, head, "forged");
        // Before the very first record the chain is known to be zeros: the record behind it tells.
        assert_eq!(named, sequence.max(1), "{wrong:?}");
        assert!(matches!(wrong, Wrong::Chain | Wrong::Torn), "{wrong:?}");
    }
}

/// Without a head from before, what is missing at the very end was perhaps never there. This says how much that is.
#[test]
fn without_a_known_head_only_the_last_group_is_unproven() {
    let (files, head) = journal();
    let (newest, bytes) = files.last_key_value().unwrap();
    let (.., last_begin, _, _) = places(&files).pop().unwrap();
    let mut cut = files.clone();
    cut.insert(newest.clone(), bytes[..last_begin + HEAD_BYTES].to_vec());
    let verified = check(&cut, None).unwrap();
    assert_eq!(verified.records, RECORDS as u64 - 1);
    assert!(verified.cut.is_some(), "it is told all the same");
    assert_eq!(found(&cut, head, "with a head"), (RECORDS as u64 - 1, Wrong::Anchor { known: RECORDS as u64 }));
}
