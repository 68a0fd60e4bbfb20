//! What both carriers of the host's objects can do.

use std::path::Path;

use apisix_mesh::apisix::Key;
use bytes::Bytes;

use crate::{
    lmdb::{self, Sync},
    log,
};

/// How objects get from a host to other processes.
#[derive(Debug, Clone, Copy)]
pub enum Carrier {
    /// This library's: a log that each follower repeats in its own memory.
    Log,
    /// A database in shared memory.
    Lmdb(Sync),
}

/// Where a host puts objects.
pub trait Writer {
    /// One object has changed.
    fn commit(&mut self, key: &Key, value: Bytes);
}

/// Where another process finds them. Each gives something of what it read, for `black_box`.
pub trait Reader {
    /// An object, copied out.
    fn get(&self, key: &str) -> usize;
    /// The present revision.
    fn revision(&self) -> i64;
    /// How much has changed since.
    fn changes(&self, after: i64) -> usize;
    /// All objects, in place.
    fn everything(&self) -> usize;
}

impl Carrier {
    pub const ALL: [Self; 4] =
        [Self::Log, Self::Lmdb(Sync::Never), Self::Lmdb(Sync::Data), Self::Lmdb(Sync::Always)];

    /// Its name on a command line and of its directory.
    pub fn name(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Lmdb(Sync::Never) => "lmdb-nosync",
            Self::Lmdb(Sync::Data) => "lmdb-nometasync",
            Self::Lmdb(Sync::Always) => "lmdb",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|carrier| carrier.name() == name)
    }

    /// Puts all objects there.
    pub fn host(self, directory: &Path, objects: &[(Key, Bytes)]) -> Box<dyn Writer> {
        match self {
            Self::Log => Box::new(log::Host::new(directory, objects)),
            Self::Lmdb(sync) => Box::new(lmdb::Host::new(directory, objects, sync)),
        }
    }

    /// Reads what is there.
    pub fn open(self, directory: &Path) -> Box<dyn Reader> {
        match self {
            Self::Log => Box::new(log::Reader::new(directory)),
            Self::Lmdb(_) => Box::new(lmdb::Reader::new(directory)),
        }
    }
}
