//! A store behind the etcd endpoint, changed from outside: what tests of other languages' clients talk to.
//!
//! ```text
//! cargo run --example etcd_store -- [--listen ADDRESS:PORT] [--state-dir DIR] [--max-commits N]
//!     [--progress-interval SECONDS] [--clock-behind SECONDS] [--login USER:PASSWORD] [--tls CERTIFICATE,KEY[,ROOTS]]
//! ```
//!
//! The first line of the output tells the address, and the revision that was found in the directory (0: nothing; requests
//! then wait for the first commit). After that each line of the input is a command, and is answered by one line:
//!
//! ```text
//! {"commit": {"puts": {"/routes/1": "{}"}, "deletes": ["/routes/2"]}}
//! {"commit_all": {"/routes/1": "{}"}}
//! ```
//!
//! The answer is `{"revision": N}`, the present one where nothing changed. With a directory, what is answered was kept, as
//! in the product: the program may be killed at any time and started again. It ends with its input.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, Write as _},
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use apisix_mesh::{
    apisix::Key,
    etcd::{self, Listener, Login, Reach, Tls, TlsFiles},
    state::{Follower, Hold, State},
    store::{self, Delta, Revision, Store},
};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;

const USAGE: &str = "usage: etcd_store [--listen ADDRESS:PORT] [--state-dir DIR] [--max-commits N] \
                     [--progress-interval SECONDS] [--clock-behind SECONDS] [--login USER:PASSWORD] \
                     [--tls CERTIFICATE,KEY[,ROOTS]]";

#[derive(Default)]
struct Arguments {
    listen: Option<String>,
    state_dir: Option<PathBuf>,
    store: store::Options,
    endpoint: etcd::Options,
    clock_behind: Duration,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Command {
    Commit(Changes),
    CommitAll(BTreeMap<String, String>),
}

#[derive(Deserialize)]
struct Changes {
    #[serde(default)]
    puts: BTreeMap<String, String>,
    #[serde(default)]
    deletes: Vec<String>,
}

fn arguments() -> Result<Arguments, String> {
    let mut arguments = Arguments::default();
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let value = words.next().ok_or(USAGE)?;
        let seconds = || {
            let number = value.parse().ok();
            number
                .and_then(|number| Duration::try_from_secs_f64(number).ok())
                .ok_or(format!("{word}: no seconds"))
        };
        match word.as_str() {
            "--listen" => arguments.listen = Some(value),
            "--state-dir" => arguments.state_dir = Some(value.into()),
            "--max-commits" => {
                arguments.store.max_commits = value.parse().map_err(|_| format!("{word}: no number"))?;
            }
            "--progress-interval" => arguments.endpoint.progress_interval = seconds()?,
            "--login" => {
                let (user, password) = value.split_once(':').ok_or(format!("{word}: no USER:PASSWORD"))?;
                arguments.endpoint.login = Some(Login::new(user.to_owned(), password.to_owned()));
            }
            "--tls" => arguments.endpoint.tls = Some(Arc::new(tls(&value)?)),
            "--clock-behind" => arguments.clock_behind = seconds()?,
            _ => return Err(USAGE.to_owned()),
        }
    }
    Ok(arguments)
}

fn tls(files: &str) -> Result<Tls, String> {
    let mut files = files.split(',').map(str::to_owned);
    let (cert, key, trusted_ca) = (files.next(), files.next(), files.next());
    let (Some(cert), Some(key)) = (cert, key) else { return Err("--tls: no CERTIFICATE,KEY".to_owned()) };
    Tls::open(TlsFiles { cert, key, trusted_ca }).map_err(|error| error.to_string())
}

/// The store, and the right to write into its directory.
fn open(arguments: &Arguments) -> Result<(Arc<Store>, Option<Hold>), String> {
    let Some(directory) = &arguments.state_dir else {
        let behind = arguments.clock_behind;
        let clock = move || {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            since.saturating_sub(behind).as_millis() as Revision
        };
        return Ok((Arc::new(Store::with_clock(arguments.store.clone(), clock)), None));
    };
    let state = State::new(directory, "etcd_store");
    let kept = || {
        let hold = state.hold()?;
        let (store, _) = Follower::new(state)?.take_over(&hold)?;
        Ok((store, Some(hold)))
    };
    kept().map_err(|error: std::io::Error| format!("{}: {error}", directory.display()))
}

fn key(text: &str) -> Result<Key, String> {
    Key::parse(text).ok_or(format!("{text}: no key of an object"))
}

fn put((text, value): (String, String)) -> Result<(Key, Bytes), String> {
    Ok((key(&text)?, value.into()))
}

fn perform(store: &Store, line: &str) -> Result<Revision, String> {
    match serde_json::from_str(line).map_err(|error| error.to_string())? {
        Command::Commit(Changes { puts, deletes }) => store.commit(&Delta {
            puts: puts.into_iter().map(put).collect::<Result<_, _>>()?,
            deletes: deletes.iter().map(|text| key(text)).collect::<Result<_, _>>()?,
        }),
        Command::CommitAll(objects) => store.commit_all(Delta {
            puts: objects.into_iter().map(put).collect::<Result<_, _>>()?,
            deletes: vec![],
        }),
    };
    Ok(store.snapshot().revision())
}

/// Performs the commands of the input until it ends.
fn follow_orders(store: &Store) -> Result<(), String> {
    for line in std::io::stdin().lock().lines() {
        let line = line.map_err(|error| error.to_string())?;
        let answer = match perform(store, &line) {
            Ok(revision) => json!({ "revision": revision }),
            Err(error) => json!({ "error": error }),
        };
        tell(&answer)?;
    }
    Ok(())
}

fn tell(answer: &serde_json::Value) -> Result<(), String> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{answer}").and_then(|()| out.flush()).map_err(|error| error.to_string())
}

#[tokio::main]
async fn main() -> Result<(), String> {
    let arguments = arguments()?;
    let (store, _hold) = open(&arguments)?;
    let address = arguments.listen.as_deref().unwrap_or("127.0.0.1:0");
    let listener = Listener::open(address, Reach::Loopback).map_err(|error| error.to_string())?;
    if let Listener::Tcp(tcp) = &listener {
        let address = tcp.local_addr().map_err(|error| error.to_string())?.to_string();
        tell(&json!({ "address": address, "revision": store.snapshot().revision() }))?;
    }
    let orders = {
        let store = store.clone();
        tokio::task::spawn_blocking(move || follow_orders(&store))
    };
    let until_the_end = async {
        if let Ok(Err(error)) = orders.await {
            eprintln!("{error}");
        }
    };
    etcd::serve(listener, store, arguments.endpoint, until_the_end).await.map_err(|error| error.to_string())
}
