//! The peer: LMDB, as `heed` gives it. One key holds the revision, a value begins with that of its last change. There is
//! no history and nothing that wakes a reader.

use std::path::Path;

use apisix_mesh::apisix::Key;
use bytes::Bytes;
use heed::{
    CommitOrAbort, Env, EnvFlags, EnvOpenOptions, RoTxn, RwTxn, WithTls,
    types::{Bytes as Raw, Str},
};

use crate::carrier;

const MAP_SIZE: usize = 1 << 30;
const REVISION: &str = "revision";
const HEAD: usize = size_of::<i64>();

type Database = heed::Database<'static, Str, Raw>;

/// What is on the disk when a commit returns.
#[derive(Debug, Clone, Copy)]
pub enum Sync {
    /// What the system got to, as with the log. A crash of the machine may damage all of it.
    Never,
    /// All but the last commit's root.
    Data,
    /// All.
    Always,
}

impl Sync {
    fn flags(self) -> EnvFlags {
        match self {
            Self::Never => EnvFlags::NO_SYNC,
            Self::Data => EnvFlags::NO_META_SYNC,
            Self::Always => EnvFlags::empty(),
        }
    }
}

/// For the rest of the process: a database borrows its environment.
fn environment(directory: &Path, flags: EnvFlags) -> &'static Env {
    std::fs::create_dir_all(directory).expect("a directory");
    let mut options = EnvOpenOptions::new();
    options.map_size(MAP_SIZE);
    // SAFETY: the files are the benchmark's own, and nobody cuts them.
    let environment = unsafe { options.flags(flags).open(directory) };
    Box::leak(Box::new(environment.expect("an environment")))
}

pub struct Host {
    environment: &'static Env,
    database: Database,
    revision: i64,
}

impl Host {
    pub fn new(directory: &Path, objects: &[(Key, Bytes)], sync: Sync) -> Self {
        let environment = environment(directory, sync.flags());
        let made = environment.create_databases_and_commit(begin(environment), |databases, transaction| {
            databases.create_database(transaction, None).map(CommitOrAbort::<Database, ()>::Commit)
        });
        let database = made.expect("a database").unwrap_commit();
        let mut host = Self { environment, database, revision: 0 };
        host.put(objects);
        host
    }

    fn put(&mut self, objects: &[(Key, Bytes)]) {
        self.revision += 1;
        let revision = self.revision.to_ne_bytes();
        let mut transaction = begin(self.environment);
        for (key, value) in objects {
            let value = [&revision, value.as_ref()].concat();
            self.database.put(&mut transaction, key.as_str(), &value).expect("room for it");
        }
        self.database.put(&mut transaction, REVISION, &revision).expect("room for it");
        transaction.commit().expect("room for it");
    }
}

fn begin(environment: &Env) -> RwTxn<'_> {
    environment.write_txn().expect("one writer")
}

impl carrier::Writer for Host {
    fn commit(&mut self, key: &Key, value: Bytes) {
        self.put(&[(key.clone(), value)]);
    }
}

pub struct Reader {
    environment: &'static Env,
    database: Database,
}

impl Reader {
    pub fn new(directory: &Path) -> Self {
        let environment = environment(directory, EnvFlags::READ_ONLY);
        let transaction = environment.read_txn().expect("a slot");
        let opened = environment.open_databases_and_commit(transaction, |databases, transaction| {
            databases.open_database(transaction, None).map(CommitOrAbort::<Option<Database>, ()>::Commit)
        });
        let database = opened.expect("a database").unwrap_commit().expect("the unnamed one");
        Self { environment, database }
    }

    fn transaction(&self) -> RoTxn<'_, WithTls> {
        self.environment.read_txn().expect("a slot")
    }
}

impl carrier::Reader for Reader {
    fn get(&self, key: &str) -> usize {
        let transaction = self.transaction();
        let found = self.database.get(&transaction, key).expect("a whole database").expect("the object");
        let copy: Box<[u8]> = found[HEAD..].into();
        drop(transaction);
        std::hint::black_box(copy).len()
    }

    fn revision(&self) -> i64 {
        let transaction = self.transaction();
        let found = self.database.get(&transaction, REVISION).expect("a whole database").expect("a revision");
        i64::from_ne_bytes(found.try_into().expect("a number"))
    }

    fn changes(&self, after: i64) -> usize {
        usize::from(self.revision() != after)
    }

    fn everything(&self) -> usize {
        let transaction = self.transaction();
        let all = self.database.iter(&transaction).expect("a whole database");
        all.map(|entry| entry.expect("a whole database").1.len()).sum()
    }
}
