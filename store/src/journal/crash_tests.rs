//! Every way in which a process or a machine may end while it writes a journal: what is recovered is a beginning of what
//! was appended, and holds everything that was confirmed.
//!
//! A plain kill proves little about disks, since the kernel keeps what it has. So the disk here loses, tears and reorders
//! what was not synced, and each run stops or fails at another of its calls.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::disk::{Disk, Fault, Lie, Random};
use super::log::Log;
use super::{Bounds, Reader, Retention, Storage, verify};

/// Small, so that a short life sees many segments.
const SEGMENT_BYTES: u64 = 700;
/// Seeds of power cuts for each run; a kill is tried as well.
const SEEDS: u64 = 6;

#[derive(Debug, Clone, Copy)]
enum Act {
    Append(usize),
    Sync,
    /// As the thread does it: what the old segment did not confirm goes into the next.
    Replace,
    KeepFrom(u64),
}

/// What the writer was told, over all lives of a journal.
#[derive(Default)]
struct Told {
    /// Appended, by sequence.
    written: Vec<Vec<u8>>,
    /// So many of them were confirmed.
    synced: usize,
    /// Appended last, without an answer: it may be there or not.
    unanswered: Option<Vec<u8>>,
    keep_from: u64,
}

fn bounds() -> Bounds {
    let retention = Retention { bytes_max: 2_000, age_max: Duration::from_secs(1 << 30) };
    Bounds { segment_bytes: SEGMENT_BYTES, retention, ..Bounds::default() }
}

fn open(disk: &Disk) -> Result<(Log, usize), String> {
    let storage: Arc<dyn Storage> = Arc::new(disk.clone());
    let (log, recovered) = Log::open(storage, bounds(), Arc::new(|| 0), None).map_err(|why| why.to_string())?;
    Ok((log, recovered.head.next as usize))
}

/// One life: until its acts are done, or the process ends.
fn live(disk: &Disk, acts: &[Act], told: &mut Told, random: &mut Random) -> Result<(), String> {
    let log = match open(disk) {
        Ok((log, recovered)) => {
            came_back(told, recovered)?;
            log
        }
        // It failed or ended while it opened: nothing was told to anybody.
        Err(_) => return Ok(()),
    };
    log.keep_from(told.keep_from);
    for act in acts {
        match *act {
            Act::Append(bytes) => {
                let mut payload = vec![0; bytes];
                payload.fill_with(|| random.below(256) as u8);
                append(&log, disk, payload, told)?;
            }
            Act::Sync => confirmed(&log, log.sync().is_ok(), told),
            Act::Replace => confirmed(&log, log.replace().is_ok(), told),
            Act::KeepFrom(sequence) => {
                told.keep_from = told.keep_from.max(sequence.min(told.written.len() as u64));
                log.keep_from(told.keep_from);
            }
        }
        if disk.has_ended() {
            return Ok(());
        }
    }
    Ok(())
}

fn append(log: &Log, disk: &Disk, payload: Vec<u8>, told: &mut Told) -> Result<(), String> {
    let mut answer = log.append(&payload);
    if answer.is_err() && log.standing().is_replacing_due && !disk.has_ended() {
        // As the thread does it for a segment that was left.
        confirmed(log, log.replace().is_ok(), told);
        answer = log.append(&payload);
    }
    match answer {
        Ok(sequence) if sequence as usize == told.written.len() => told.written.push(payload),
        Ok(sequence) => return Err(format!("record {} was called {sequence}", told.written.len())),
        Err(_) if disk.has_ended() => told.unanswered = Some(payload),
        Err(_) => {}
    }
    Ok(())
}

fn confirmed(log: &Log, is_confirmed: bool, told: &mut Told) {
    if is_confirmed {
        told.synced = told.synced.max(log.standing().synced as usize);
    }
}

/// After a crash: so many records are there again. The last one may be one that nobody was told of.
fn came_back(told: &mut Told, recovered: usize) -> Result<(), String> {
    if recovered < told.synced {
        return Err(format!("{} records were confirmed, {recovered} came back", told.synced));
    }
    if recovered == told.written.len() + 1
        && let Some(unanswered) = told.unanswered.take()
    {
        told.written.push(unanswered);
    }
    if recovered > told.written.len() {
        return Err(format!("{} records were written, {recovered} came back", told.written.len()));
    }
    told.unanswered = None;
    told.written.truncate(recovered);
    told.synced = recovered;
    Ok(())
}

/// The journal is sound and holds the records that were told, from the first that retention left.
fn is_right(disk: &Disk, told: &mut Told) -> Result<(), String> {
    let (_log, recovered) = open(disk)?;
    came_back(told, recovered)?;
    let storage: Arc<dyn Storage> = Arc::new(disk.clone());
    let verified = verify(storage.clone(), None).map_err(|why| why.to_string())?;
    if verified.first > told.keep_from {
        return Err(format!("records from {} on were to be kept, {} is the first", told.keep_from, verified.first));
    }
    let mut next = verified.first;
    for record in Reader::from(storage, 0).map_err(|why| why.to_string())? {
        let record = record.map_err(|why| why.to_string())?;
        if record.sequence != next || told.written.get(next as usize) != Some(&record.payload) {
            return Err(format!("record {} is not what was appended as {next}", record.sequence));
        }
        next += 1;
    }
    match next as usize == told.written.len() {
        true => Ok(()),
        false => Err(format!("{} of {} records were read", next, told.written.len())),
    }
}

/// A life that ends or fails at a call, a crash, a second life, another crash: after a kill the kernel shows what a disk
/// that failed does not have, and the power cut comes then.
fn run(acts: &[Act], fault: Option<(usize, Fault)>, crashes: [Option<u64>; 2], lie: Lie) -> Result<(), String> {
    let disk = Disk::new(lie);
    let mut told = Told::default();
    let mut random = Random(7);
    if let Some((call, fault)) = fault {
        disk.fault_at(call, fault);
    }
    live(&disk, acts, &mut told, &mut random)?;
    crash_now(&disk, crashes[0], &told)?;
    live(&disk, &acts[..acts.len() / 2], &mut told, &mut random)?;
    crash_now(&disk, crashes[1], &told)?;
    is_right(&disk, &mut told)
}

/// A power cut by its seed, or a kill: after a kill everything that was written is there.
fn crash_now(disk: &Disk, crash: Option<u64>, told: &Told) -> Result<(), String> {
    let Some(seed) = crash else {
        disk.restart();
        let (log, recovered) = open(disk)?;
        drop(log);
        return match recovered >= told.written.len() {
            true => Ok(()),
            false => Err(format!("killed: {} records were written, {recovered} came back", told.written.len())),
        };
    };
    disk.power_cut(seed);
    Ok(())
}

/// Some of everything, over several segments.
fn acts() -> Vec<Act> {
    let mut acts = Vec::new();
    for n in 0..12 {
        acts.extend([Act::Append(n * 17 % 90), Act::Append(n * 31 % 140), Act::Sync, Act::Append(n * 7 % 50)]);
        if n % 3 == 2 {
            acts.extend([Act::Append(5), Act::Replace]);
        }
        if n == 7 {
            acts.push(Act::KeepFrom(9));
        }
    }
    acts
}

fn calls_of(acts: &[Act]) -> usize {
    let disk = Disk::new(Lie::None);
    live(&disk, acts, &mut Told::default(), &mut Random(7)).unwrap();
    disk.calls()
}

/// All calls of a life, each with every fault, each followed by every crash.
fn all_ends(acts: &[Act], lie: Lie) -> Vec<String> {
    let mut wrong = Vec::new();
    for call in 0..calls_of(acts) {
        for fault in Fault::ALL {
            let seeds = (0..SEEDS).map(|seed| seed * 1_000 + call as u64);
            let cuts = seeds.flat_map(|seed| [[Some(seed), Some(seed + 1)], [None, Some(seed)], [Some(seed), None]]);
            for crashes in std::iter::once([None, None]).chain(cuts) {
                if let Err(why) = run(acts, Some((call, fault)), crashes, lie) {
                    wrong.push(format!("{fault:?} at call {call}, crashes {crashes:?}: {why}"));
                }
            }
        }
    }
    wrong
}

#[test]
fn after_every_crash_what_was_confirmed_is_there_and_nothing_is_wrong() {
    let acts = acts();
    assert!(calls_of(&acts) > 60, "a life has calls to fail at: {}", calls_of(&acts));
    let wrong = all_ends(&acts, Lie::None);
    assert!(
        wrong.is_empty(),
        "{} runs went wrong, among them\n{}",
        wrong.len(),
        wrong[..wrong.len().min(5)].join("\n")
    );
}

/// Without these the test above might see nothing at all.
#[test]
fn a_disk_that_confirms_what_it_did_not_sync_is_noticed() {
    for lie in [Lie::Files, Lie::Folder] {
        assert!(!all_ends(&acts()[..20], lie).is_empty(), "{lie:?} went by unseen");
    }
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => (0usize..260).prop_map(Act::Append),
        3 => Just(Act::Sync),
        1 => Just(Act::Replace),
        1 => (0u64..60).prop_map(Act::KeepFrom),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, ..ProptestConfig::default() })]

    #[test]
    fn any_life_ends_well(
        acts in proptest::collection::vec(act(), 1..60),
        call in 0usize..150,
        fault in proptest::option::weighted(0.9, (0usize..4).prop_map(|n| Fault::ALL[n])),
        first in proptest::option::weighted(0.6, 0u64..1_000_000),
        then in proptest::option::weighted(0.8, 0u64..1_000_000),
    ) {
        run(&acts, fault.map(|fault| (call, fault)), [first, then], Lie::None).map_err(TestCaseError::fail)?;
    }
}
