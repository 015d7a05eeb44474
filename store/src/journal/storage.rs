//! The disk beneath a journal: a folder of files that only grow.
//!
//! Tests have another that loses, tears and reorders what was not synced, and fails when it is told to.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A folder of segments.
pub trait Storage: Send + Sync {
    /// The names of all files.
    fn list(&self) -> io::Result<Vec<String>>;

    /// A new file. That it is there survives a power cut after `sync_folder`.
    fn create(&self, name: &str) -> io::Result<Arc<dyn Segment>>;

    /// Another name for a file; whoever has it open goes on with it. It survives a power cut as a new file's does.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// From its first byte.
    fn read(&self, name: &str) -> io::Result<Box<dyn Read + Send>>;

    fn remove(&self, name: &str) -> io::Result<()>;

    fn sync_folder(&self) -> io::Result<()>;
}

/// One file. Its methods may be called from several threads.
pub trait Segment: Send + Sync {
    /// Hands all bytes to the kernel, behind those that are there; on an error a part may be there.
    fn append(&self, bytes: &[u8]) -> io::Result<()>;

    /// After an error nothing is known of what was appended since the last success: it must not be asked again.
    fn sync(&self) -> io::Result<()>;

    /// Cuts the file to so many bytes.
    fn cut(&self, bytes: u64) -> io::Result<()>;
}

/// Real files, for their owner only.
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// Makes the folder where it is not there.
    pub fn make(path: impl Into<PathBuf>) -> io::Result<Folder> {
        let path = path.into();
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&path)?;
        // The folder's own name must survive as well; a folder that stands at the root has nothing above it.
        if let Some(above) = path.parent().filter(|above| !above.as_os_str().is_empty()) {
            sync_folder(above)?;
        }
        Ok(Folder { path })
    }

    /// For readers: a folder that is not there is an empty one.
    pub fn at(path: impl Into<PathBuf>) -> Folder {
        Folder { path: path.into() }
    }
}

impl Storage for Folder {
    fn list(&self) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(&self.path) {
            Ok(entries) => entries,
            Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(why) => return Err(why),
        };
        // A name that is no UTF-8 is none of ours.
        let name = |entry: io::Result<fs::DirEntry>| entry.map(|e| e.file_name().into_string().ok()).transpose();
        entries.filter_map(name).collect()
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn Segment>> {
        let mut options = File::options();
        options.append(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        Ok(Arc::new(options.open(self.path.join(name))?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path.join(from), self.path.join(to))
    }

    fn read(&self, name: &str) -> io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(File::open(self.path.join(name))?))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    fn sync_folder(&self) -> io::Result<()> {
        sync_folder(&self.path)
    }
}

impl Segment for File {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        let mut file = self;
        file.write_all(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()?;
        match is_there(self) {
            true => Ok(()),
            // Nobody could read what goes on to be written there.
            false => Err(io::Error::new(io::ErrorKind::NotFound, "the file was deleted while it was written")),
        }
    }

    fn cut(&self, bytes: u64) -> io::Result<()> {
        self.set_len(bytes)
    }
}

/// Has an open file a name still?
#[cfg(unix)]
pub(crate) fn is_there(file: &File) -> bool {
    use std::os::unix::fs::MetadataExt;
    file.metadata().is_ok_and(|m| m.nlink() > 0)
}

#[cfg(not(unix))]
pub(crate) fn is_there(_file: &File) -> bool {
    true
}

/// The name of a new file survives a power cut only when its folder is synced.
pub(crate) fn sync_folder(path: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(path)?.sync_all() } else { Ok(()) }
}
