//! The numbers of the C API. They are never reused.

use crate::{error::Error, log::Level};

/// How a call ended.
#[repr(C)]
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MeshResult {
    /// It did what it says.
    Ok = 0,
    /// The caller broke a rule of this header.
    Argument = 1,
    /// A setting is unknown, missing or bad.
    Config = 2,
    /// The etcd endpoint's socket cannot be opened.
    Listen = 3,
    /// The system refused a thread or a descriptor.
    System = 4,
    /// An instance runs in this process already.
    AlreadyRunning = 5,
    /// No instance runs in this process, or not the one asked for.
    NotRunning = 6,
    /// The handle was made by the parent, before the fork.
    Forked = 7,
    /// The first configuration has not come yet.
    NotReady = 8,
    /// There is no such object.
    NotFound = 9,
    /// A fault of the library; the process goes on.
    Panic = 10,
    /// What happened after this revision is not known any more.
    Compacted = 11,
}

impl From<&Error> for MeshResult {
    fn from(error: &Error) -> Self {
        match error {
            Error::Argument { .. } => Self::Argument,
            Error::Config { .. } | Error::ConfigSyntax { .. } => Self::Config,
            Error::Listen { .. } => Self::Listen,
            Error::System { .. } => Self::System,
            Error::AlreadyRunning => Self::AlreadyRunning,
            Error::NotRunning => Self::NotRunning,
            Error::Forked { .. } => Self::Forked,
            Error::NotReady => Self::NotReady,
            Error::NotFound { .. } => Self::NotFound,
            Error::Compacted { .. } => Self::Compacted,
        }
    }
}

/// How much a log line matters.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLevel {
    /// Something is lost or refused.
    Error = 0,
    /// Something is wrong and the library goes on.
    Warn = 1,
    /// A change of state.
    Info = 2,
    /// Single events.
    Debug = 3,
}

impl From<Level> for LogLevel {
    fn from(level: Level) -> Self {
        match level {
            Level::Error => Self::Error,
            Level::Warn => Self::Warn,
            Level::Info => Self::Info,
            Level::Debug => Self::Debug,
        }
    }
}
