//! How a real etcd is started to be held beside ours.
#![allow(dead_code)] // Each user includes this file and needs a part of it.

use std::{
    env,
    ffi::OsString,
    path::Path,
    process::{Command, Stdio},
};

/// The directories that APISIX's command line makes in an etcd, and that ours has by itself.
pub const DIRECTORIES: [&str; 13] = [
    "consumer_groups",
    "consumers",
    "global_rules",
    "plugin_configs",
    "plugin_metadata",
    "plugins",
    "protos",
    "routes",
    "secrets",
    "services",
    "ssls",
    "stream_routes",
    "upstreams",
];

/// The program that `ETCD` names, else `etcd`.
pub fn program() -> OsString {
    env::var_os("ETCD").filter(|path| !path.is_empty()).unwrap_or_else(|| "etcd".into())
}

/// It alone, at an address, with its data in a folder; it says nothing and does not wait for the disk.
pub fn command(address: &str, peer: &str, folder: &Path) -> Command {
    let mut command = Command::new(program());
    command
        .arg("--data-dir")
        .arg(folder)
        .args(["--listen-client-urls", &format!("http://{address}")])
        .args(["--advertise-client-urls", &format!("http://{address}")])
        .args(["--listen-peer-urls", &format!("http://{peer}")])
        .args(["--initial-advertise-peer-urls", &format!("http://{peer}")])
        .args(["--initial-cluster", &format!("default=http://{peer}")])
        .args(["--unsafe-no-fsync", "--log-level", "error"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}
