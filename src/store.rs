//! The revisioned store: what is published, and how it came to be.
//!
//! In: a [`Delta`] at a time, from one writer. Out: snapshots and commits, to any number of readers, none of which the
//! writer ever waits for. Never here: the etcd prefix, the wire.

/// A revision: `max(last + 1, unix time in ms)`, always below 1e14.
pub type Revision = i64;
