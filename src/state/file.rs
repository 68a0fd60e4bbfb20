//! The log as a file.
//!
//! In: records. Out: a file that begins with this format's name and version, and at the next start what it holds. A new
//! file gets its name when it is whole and on the disk; what is appended is on the disk when the system gets to it, which
//! a kill of the process does not hinder. Files belong to whom the directory belongs to, whoever makes them: nginx's
//! privileged agent is root, the workers that follow it are not.

use std::{
    fs::{DirBuilder, File, OpenOptions, Permissions},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use bytes::Bytes;

use super::record::Record;
use crate::store::{Life, Revision};

/// What a file begins with, before the number of its format.
const NAME: &[u8] = b"apisix-mesh objects ";
const FORMAT: u8 = 1;
/// The name and the format.
const HEAD: usize = NAME.len() + 1;
/// A log that is this many times as long as all its objects is written anew.
const OVERGROWN: u64 = 4;
/// But not one of less than this.
const SMALL: u64 = 1 << 20;

/// Who may read and write a file, and who may not.
const OWNER: u32 = 0o600;
const OTHERS: u32 = 0o077;

/// A log that is being written.
#[derive(Debug)]
pub struct Log {
    file: File,
    /// Of the last record.
    pub revision: Revision,
    /// Bytes of all objects, at the beginning.
    base: u64,
    len: u64,
}

impl Log {
    /// A new log that begins with this record. It has no name that anybody looks for.
    pub fn begin(path: &Path, first: &Record) -> io::Result<Self> {
        let new = new_name(path);
        // Another process may have been killed over it, or be writing it still: that one's file is no longer this.
        match std::fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = open(&new)?;
        let head = [NAME, &[FORMAT]].concat();
        let record = first.encode();
        file.write_all(&head)?;
        file.write_all(&record)?;
        file.sync_all()?;
        let len = (head.len() + record.len()) as u64;
        Ok(Self { file, revision: first.revision, base: len, len })
    }

    /// Puts it in place of the one before.
    pub fn publish(&self, path: &Path) -> io::Result<()> {
        std::fs::rename(new_name(path), path)
    }

    /// Adds a record.
    pub fn append(&mut self, record: &Record) -> io::Result<()> {
        let bytes = record.encode();
        self.file.write_all(&bytes)?;
        self.len += bytes.len() as u64;
        self.revision = record.revision;
        Ok(())
    }

    /// Whether most of it is of the past.
    pub fn is_overgrown(&self) -> bool {
        self.len > SMALL.max(self.base * OVERGROWN)
    }
}

fn new_name(path: &Path) -> PathBuf {
    path.with_extension("new")
}

/// What a log holds.
#[derive(Debug)]
pub struct Read {
    /// What it begins with.
    pub life: Life,
    /// What came after.
    pub records: Vec<Record>,
    /// Where the next record will be.
    pub tail: Tail,
}

/// How far a log has been read. While it is open, no other file can be taken for it.
#[derive(Debug)]
pub struct Tail {
    file: File,
    base: u64,
    at: u64,
}

impl Tail {
    /// The records that have come; `None` if there is another log now.
    pub fn read_on(&mut self, path: &Path) -> io::Result<Option<Vec<Record>>> {
        let (open, named) = (self.file.metadata()?, std::fs::metadata(path)?);
        if (open.dev(), open.ino()) != (named.dev(), named.ino()) {
            return Ok(None);
        }
        self.file.seek(SeekFrom::Start(self.at))?;
        let mut bytes = Vec::new();
        self.file.read_to_end(&mut bytes)?;
        let (records, len) = whole_records(Bytes::from(bytes));
        self.at += len as u64;
        Ok(Some(records))
    }

    /// The log that goes on from here, at the revision that was read last; and where it was torn.
    pub fn resume(self, path: &Path, revision: Revision) -> io::Result<(Log, Option<u64>)> {
        let Self { base, at, .. } = self;
        let mut file = open(path)?;
        let torn_at = (file.metadata()?.len() > at).then_some(at);
        file.set_len(at)?;
        file.seek(SeekFrom::End(0))?;
        Ok((Log { file, revision, base, len: at }, torn_at))
    }
}

/// The records up to the first that is not whole, and how long they are.
fn whole_records(bytes: Bytes) -> (Vec<Record>, usize) {
    let mut rest = bytes.clone();
    let records = std::iter::from_fn(|| Record::decode(&mut rest)).collect();
    (records, bytes.len() - rest.len())
}

/// Reads a log; `None` if there is none. An error says why it cannot be served.
pub fn read(path: &Path, origin: &str) -> Result<Option<Read>, String> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    let bytes = Bytes::from(bytes);
    let len = bytes.len();
    if !bytes.starts_with(NAME) || len < HEAD {
        return Err("not a file of this library".to_owned());
    }
    if bytes[NAME.len()] != FORMAT {
        return Err(format!("in format {}, this version reads {FORMAT}", bytes[NAME.len()]));
    }
    let mut rest = bytes.slice(HEAD..);
    let first = Record::decode(&mut rest).ok_or("damaged at its beginning")?;
    if first.origin != origin {
        return Err(format!("made from {:?}, these settings say {origin:?}", first.origin));
    }
    let base = len - rest.len();
    let (records, read) = whole_records(rest);
    let tail = Tail { file, base: base as u64, at: (base + read) as u64 };
    Ok(Some(Read { life: first.life(), records, tail }))
}

/// Makes the directory, for its owner alone.
pub fn make_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Opens a file to read and write; made if it is not there, for the directory's owner alone, and never cut. One that
/// others may read, as it comes back from a backup, is closed to them: objects may hold keys.
pub fn open(path: &Path) -> io::Result<File> {
    let file =
        OpenOptions::new().create(true).truncate(false).read(true).write(true).mode(OWNER).open(path)?;
    let owner = std::fs::metadata(path.parent().unwrap_or(path))?;
    let made = file.metadata()?;
    if (made.uid(), made.gid()) != (owner.uid(), owner.gid()) {
        // Only root may; anybody else who could open it can go on with it as it is.
        let _ = std::os::unix::fs::fchown(&file, Some(owner.uid()), Some(owner.gid()));
    }
    if made.mode() & OTHERS != 0 {
        // Only the owner may, and root.
        let _ = file.set_permissions(Permissions::from_mode(OWNER));
    }
    Ok(file)
}
