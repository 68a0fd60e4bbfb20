//! The kernel's side: reads and writes nat tables through the iptables programs.
//!
//! A machine without IPv6 has no twin to set, so the second family is left out there; every other refusal is an error.

use std::{
    io::{self, Write},
    path::Path,
    process::{Command, Output, Stdio},
};

use super::Tables;

/// How long to wait for another process that holds the tables' lock.
const LOCK_SECONDS: &str = "10";

/// An iptables program could not do its work.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It did not start.
    #[error("{program}: {source}; install the package iptables")]
    Start {
        /// The program.
        program: &'static str,
        /// The system's words.
        source: io::Error,
    },
    /// It started, and its input or output broke off.
    #[error("{program}: {source}")]
    Pipe {
        /// The program.
        program: &'static str,
        /// The system's words.
        source: io::Error,
    },
    /// It said no.
    #[error(
        "{program}: {reason}; this needs root, or the capability NET_ADMIN, in the pod's network namespace"
    )]
    Refused {
        /// The program.
        program: &'static str,
        /// Its own words.
        reason: String,
    },
}

/// What the nat tables hold now.
pub fn present() -> Result<Tables, Error> {
    let v4 = save("iptables-save")?;
    let v6 = if has_ipv6() { save("ip6tables-save")? } else { String::new() };
    Ok(Tables { v4, v6 })
}

/// Puts the text in force, each family in one transaction; an empty one is left out.
pub fn restore(tables: &Tables) -> Result<(), Error> {
    if !tables.v4.is_empty() {
        load("iptables-restore", &tables.v4)?;
    }
    if !tables.v6.is_empty() && has_ipv6() {
        load("ip6tables-restore", &tables.v6)?;
    }
    Ok(())
}

fn has_ipv6() -> bool {
    Path::new("/proc/net/if_inet6").exists()
}

fn save(program: &'static str) -> Result<String, Error> {
    let output = Command::new(program)
        .args(["-t", "nat"])
        .output()
        .map_err(|source| Error::Start { program, source })?;
    let output = accepted(program, output)?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn load(program: &'static str, text: &str) -> Result<(), Error> {
    let mut child = Command::new(program)
        .args(["--noflush", "--wait", LOCK_SECONDS])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|source| Error::Start { program, source })?;
    let mut input = child.stdin.take().expect("stdin is piped");
    let written = input.write_all(text.as_bytes());
    drop(input);
    let output = child.wait_with_output().map_err(|source| Error::Pipe { program, source })?;
    // A program that refuses the text may close its input early: its own words come before the broken pipe.
    accepted(program, output)?;
    written.map_err(|source| Error::Pipe { program, source })
}

fn accepted(program: &'static str, output: Output) -> Result<Output, Error> {
    if output.status.success() {
        return Ok(output);
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    let reason = stderr.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ");
    Err(Error::Refused { program, reason })
}
