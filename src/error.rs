//! Every error this library gives, and its stable number in the C API.
//!
//! A message names the thing, the value and the cure. Numbers are never reused.

/// What can go wrong outside of the data itself. Bad resources are not here: they are rejected and reported one by
/// one, and the rest goes on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting is unknown, missing or has a bad value.
    #[error("setting {setting}: {problem}")]
    Config {
        /// The setting's name.
        setting: String,
        /// The value met and what is expected.
        problem: String,
    },
    /// The configuration text or file cannot be read.
    #[error("configuration {what}: {problem}")]
    ConfigSyntax {
        /// The file, or `text`.
        what: String,
        /// The parser's or the system's words.
        problem: String,
    },
    /// The etcd endpoint's socket cannot be opened.
    #[error("etcd_listen {address}: {source}")]
    Listen {
        /// As configured.
        address: String,
        /// The system's words.
        source: std::io::Error,
    },
    /// The system refused something that every process may do.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// The system's words.
        source: std::io::Error,
    },
    /// The library already runs in this process.
    #[error("already running in this process; stop it first")]
    AlreadyRunning,
    /// The library does not run in this process.
    #[error("not running in this process; start it first")]
    NotRunning,
    /// The handle was made before a fork, by the parent.
    #[error("the handle belongs to process {owner}, this is {this}; start anew after the fork")]
    Forked {
        /// The process that started it.
        owner: u32,
        /// The calling process.
        this: u32,
    },
    /// The first configuration is not complete yet.
    #[error("the first configuration has not come yet; see status")]
    NotReady,
    /// What happened after this revision is not known any more.
    #[error(
        "changes after revision {asked} are not known any more, the oldest is {oldest}; list everything anew"
    )]
    Compacted {
        /// As asked for.
        asked: i64,
        /// The oldest that is.
        oldest: i64,
    },
    /// No object has this key.
    #[error("no object {key:?}")]
    NotFound {
        /// As asked for.
        key: String,
    },
    /// A C caller passed something the header forbids.
    #[error("argument {argument}: {problem}")]
    Argument {
        /// The parameter's name.
        argument: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
}

impl Error {
    /// A setting's error.
    pub fn config(setting: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Config { setting: setting.into(), problem: problem.into() }
    }
}
