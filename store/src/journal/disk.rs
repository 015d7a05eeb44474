//! A disk for tests: until it is told to sync, it may lose, tear and reorder what it was given, and forget a new name; it
//! fails or stops at a call that is chosen before.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Cursor, Read};
use std::sync::{Arc, Mutex, MutexGuard};

use super::storage::{Segment, Storage};

/// Written whole or not at all, mostly. Far smaller than a real one, so that a record lies in several.
const SECTOR: usize = 48;
/// As Linux calls a full disk.
const NO_SPACE: i32 = 28;

/// What happens at the chosen call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It fails and does nothing.
    Fails,
    /// An append leaves half of its bytes; a sync writes half of the sectors and forgets the others, as Linux does.
    Half,
    /// The process ends before the call.
    EndsBefore,
    /// The process ends when the call was done, before it could know.
    EndsAfter,
}

impl Fault {
    pub(crate) const ALL: [Fault; 4] = [Fault::Fails, Fault::Half, Fault::EndsBefore, Fault::EndsAfter];
}

/// A negative control: what a disk must not do, to see that the tests notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lie {
    None,
    /// It confirms what it did not sync.
    Files,
    /// The same of names.
    Folder,
}

#[derive(Clone)]
pub(crate) struct Disk {
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    files: BTreeMap<String, File>,
    calls: usize,
    fault: Option<(usize, Fault)>,
    has_ended: bool,
    is_full: bool,
    lie: Lie,
}

#[derive(Debug, Clone, Default)]
struct File {
    /// As the kernel has it.
    kernel: Vec<u8>,
    /// As a power cut would leave it at the least.
    disk: Vec<u8>,
    dirty: BTreeSet<usize>,
    /// As it is called now; whoever has it open shares this.
    name: Arc<Mutex<String>>,
    /// Its name is on disk.
    is_named: bool,
    /// Removed in the kernel, and not yet on disk.
    is_removed: bool,
}

/// Small and the same everywhere: a seed replays.
pub(crate) struct Random(pub u64);

impl Random {
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % bound.max(1) as u64) as usize
    }
}

impl Disk {
    pub(crate) fn new(lie: Lie) -> Disk {
        let inner = Inner { files: BTreeMap::new(), calls: 0, fault: None, has_ended: false, is_full: false, lie };
        Disk { inner: Arc::new(Mutex::new(inner)) }
    }

    pub(crate) fn with(files: BTreeMap<String, Vec<u8>>) -> Disk {
        let disk = Disk::new(Lie::None);
        let file = |bytes: Vec<u8>| File { kernel: bytes.clone(), disk: bytes, is_named: true, ..File::default() };
        disk.lock().files = files.into_iter().map(|(name, bytes)| (name, file(bytes))).collect();
        disk
    }

    pub(crate) fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let there = |(name, file): (&String, &File)| (!file.is_removed).then(|| (name.clone(), file.kernel.clone()));
        self.lock().files.iter().filter_map(there).collect()
    }

    pub(crate) fn calls(&self) -> usize {
        self.lock().calls
    }

    /// Counted from now on.
    pub(crate) fn fault_at(&self, call: usize, fault: Fault) {
        let mut inner = self.lock();
        inner.fault = Some((inner.calls + call, fault));
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.lock().has_ended
    }

    /// No fault is to come any more.
    pub(crate) fn heal(&self) {
        self.lock().fault = None;
    }

    /// Is there no room for another byte?
    pub(crate) fn fill(&self, is_full: bool) {
        self.lock().is_full = is_full;
    }

    /// The process ends here: it calls nothing any more.
    pub(crate) fn end(&self) {
        self.lock().has_ended = true;
    }

    /// The process is gone; the kernel keeps what it has.
    pub(crate) fn restart(&self) {
        let mut inner = self.lock();
        (inner.has_ended, inner.fault) = (false, None);
    }

    /// What the disk was told to sync is there; of all else, anything may be.
    pub(crate) fn power_cut(&self, seed: u64) {
        let mut random = Random(seed);
        let mut inner = self.lock();
        inner.files.retain(|_, file| {
            let is_there = match (file.is_named, file.is_removed) {
                (true, false) => true,
                (true, true) | (false, false) => random.below(2) == 0,
                (false, true) => false,
            };
            file.cut(&mut random);
            is_there
        });
        drop(inner);
        self.restart();
    }

    /// One call: it is done, or fails, or the process has ended.
    fn call<T>(&self, done: impl FnOnce(&mut Inner) -> io::Result<T>, half: impl FnOnce(&mut Inner)) -> io::Result<T> {
        let mut inner = self.lock();
        if inner.has_ended {
            return Err(io::Error::other("the process has ended"));
        }
        let fault = inner.fault.filter(|(at, _)| *at == inner.calls).map(|(_, fault)| fault);
        inner.calls += 1;
        match fault {
            None => done(&mut inner),
            Some(Fault::Fails) => Err(io::Error::other("it fails")),
            Some(Fault::Half) => {
                half(&mut inner);
                Err(io::Error::other("it fails half done"))
            }
            Some(Fault::EndsBefore) => {
                inner.has_ended = true;
                Err(io::Error::other("the process ends"))
            }
            Some(Fault::EndsAfter) => {
                let _ = done(&mut inner);
                inner.has_ended = true;
                Err(io::Error::other("the process ends"))
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }
}

impl File {
    fn append(&mut self, bytes: &[u8]) {
        let begin = self.kernel.len();
        self.kernel.extend_from_slice(bytes);
        self.dirty.extend(begin / SECTOR..self.kernel.len().div_ceil(SECTOR));
    }

    /// Writes sectors to the disk that `chosen` names; all are clean then.
    fn sync(&mut self, chosen: impl Fn(usize) -> bool) {
        if chosen(usize::MAX) {
            self.disk.resize(self.kernel.len(), 0);
        }
        for sector in std::mem::take(&mut self.dirty) {
            if chosen(sector) {
                self.write(sector, SECTOR);
            }
        }
    }

    /// The first bytes of a sector reach the disk.
    fn write(&mut self, sector: usize, bytes: usize) {
        let begin = sector * SECTOR;
        let end = (begin + bytes).min(self.kernel.len());
        if begin < end {
            self.disk.resize(self.disk.len().max(end), 0);
            self.disk[begin..end].copy_from_slice(&self.kernel[begin..end]);
        }
    }

    fn cut(&mut self, random: &mut Random) {
        let (least, most) = (self.disk.len().min(self.kernel.len()), self.disk.len().max(self.kernel.len()));
        let is_grown = !self.dirty.is_empty();
        for sector in std::mem::take(&mut self.dirty) {
            match random.below(4) {
                0 => {}
                1 => self.write(sector, random.below(SECTOR)),
                _ => self.write(sector, SECTOR),
            }
        }
        if is_grown {
            // The length is written by itself: before its bytes, or after them.
            let length = [least, most, least + random.below(most - least + 1)][random.below(3)];
            self.disk.resize(length, 0);
        }
        self.kernel = self.disk.clone();
        (self.is_named, self.is_removed) = (true, false);
    }
}

impl Storage for Disk {
    fn list(&self) -> io::Result<Vec<String>> {
        let there = |(name, file): (&String, &File)| (!file.is_removed).then(|| name.clone());
        self.call(|inner| Ok(inner.files.iter().filter_map(there).collect()), |_| ())
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn Segment>> {
        let shared = Arc::new(Mutex::new(name.to_owned()));
        let made = |inner: &mut Inner| match inner.files.get(name) {
            Some(file) if !file.is_removed => Err(io::Error::other("it is there")),
            Some(_) | None => {
                inner.files.insert(name.to_owned(), File { name: shared.clone(), ..File::default() });
                Ok(())
            }
        };
        self.call(made, |inner| {
            // The file is made, and who asked for it does not know.
            let _ = made(inner);
        })?;
        Ok(Arc::new(Handle { disk: self.clone(), name: shared }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let named = |inner: &mut Inner| {
            let file = inner.files.remove(from).filter(|file| !file.is_removed).ok_or(io::ErrorKind::NotFound)?;
            to.clone_into(&mut file.name.lock().unwrap());
            inner.files.insert(to.to_owned(), File { is_named: false, ..file });
            Ok(())
        };
        self.call(named, |_| ())
    }

    fn read(&self, name: &str) -> io::Result<Box<dyn Read + Send>> {
        let bytes = |inner: &mut Inner| inner.files.get(name).map(|f| f.kernel.clone()).ok_or(io::ErrorKind::NotFound);
        Ok(Box::new(Cursor::new(self.call(|inner| Ok(bytes(inner)?), |_| ())?)))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let gone = |inner: &mut Inner| {
            inner.files.get_mut(name).map(|file| file.is_removed = true).ok_or(io::ErrorKind::NotFound.into())
        };
        self.call(gone, |_| ())
    }

    fn sync_folder(&self) -> io::Result<()> {
        let synced = |inner: &mut Inner| {
            if inner.lie != Lie::Folder {
                inner.files.retain(|_, file| !file.is_removed);
                inner.files.values_mut().for_each(|file| file.is_named = true);
            }
            Ok(())
        };
        self.call(synced, |_| ())
    }
}

struct Handle {
    disk: Disk,
    name: Arc<Mutex<String>>,
}

impl Handle {
    fn call(&self, done: impl FnOnce(&mut File), half: impl FnOnce(&mut File)) -> io::Result<()> {
        let name = self.name.lock().unwrap().clone();
        let of = |inner: &mut Inner, change: &mut dyn FnMut(&mut File)| match inner.files.get_mut(&name) {
            Some(file) => {
                change(file);
                Ok(())
            }
            None => Err(io::ErrorKind::NotFound.into()),
        };
        let (mut done, mut half) = (Some(done), Some(half));
        self.disk.call(
            |inner| of(inner, &mut |file| done.take().into_iter().for_each(|done| done(file))),
            |inner| drop(of(inner, &mut |file| half.take().into_iter().for_each(|half| half(file)))),
        )
    }
}

impl Segment for Handle {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        if self.disk.lock().is_full {
            return Err(io::Error::from_raw_os_error(NO_SPACE));
        }
        self.call(|file| file.append(bytes), |file| file.append(&bytes[..bytes.len() / 2]))
    }

    fn sync(&self) -> io::Result<()> {
        let lies = self.disk.lock().lie == Lie::Files;
        self.call(
            |file| match lies {
                true => {}
                false => file.sync(|_| true),
            },
            |file| file.sync(|sector| sector % 2 == 0),
        )
    }

    fn cut(&self, bytes: u64) -> io::Result<()> {
        let bytes = bytes as usize;
        let cut = |file: &mut File| {
            file.kernel.truncate(bytes);
            // A cut reaches the disk whenever the disk likes, at the latest with the next sync: the last sector is dirty.
            file.dirty.retain(|sector| sector * SECTOR < bytes);
            file.dirty.extend(bytes.checked_sub(1).map(|last| last / SECTOR));
        };
        self.call(cut, |_| ())
    }
}
