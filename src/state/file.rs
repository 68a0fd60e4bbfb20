//! The log as a file.
//!
//! In: records. Out: a file that begins with this format's name and version, and at the next start what it holds. A new
//! file gets its name when it is whole and on the disk; what is appended is on the disk when the system gets to it, which
//! a kill of the process does not hinder.

use std::{
    fs::{DirBuilder, File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::Path,
};

use bytes::Bytes;

use super::record::{self, Record};
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
    /// A new log that begins with this record, in place of the one before.
    pub fn begin(path: &Path, first: &Record) -> io::Result<Self> {
        let new = path.with_extension("new");
        let mut file = options().create(true).truncate(true).write(true).open(&new)?;
        let mut bytes = [NAME, &[FORMAT]].concat();
        bytes.extend(first.encode());
        file.write_all(&bytes)?;
        file.sync_all()?;
        std::fs::rename(&new, path)?;
        let len = bytes.len() as u64;
        Ok(Self { file, revision: first.revision, base: len, len })
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

/// What a log holds.
#[derive(Debug)]
pub struct Read {
    pub life: Life,
    /// Where it ends early, in a record that is not whole.
    pub torn_at: Option<usize>,
    /// Where the next record will be.
    pub tail: Tail,
}

/// How far a log has been read. While it is open, no other file can be taken for it.
#[derive(Debug)]
pub struct Tail {
    file: File,
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
    let start = len - rest.len();
    let (records, read) = whole_records(rest);
    let end = start + read;
    let torn_at = (end < len).then_some(end);
    Ok(Some(Read { life: record::life(first, records), torn_at, tail: Tail { file, at: end as u64 } }))
}

/// Makes the directory, for its owner alone.
pub fn make_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// For files of their owner alone.
pub fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(0o600);
    options
}
