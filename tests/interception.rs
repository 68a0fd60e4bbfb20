//! Guarantee: interception rules can be set twice and taken away twice, and leave other people's rules alone, in a
//! real kernel. Works in a network namespace of its own, so it needs root; without it, it says so and passes.

use apisix_mesh::interception::{Options, Tables, present, removal, restore, rules};
use std::{
    io::Write,
    process::{Command, Stdio},
};

const FOREIGN: &str = "*nat\n:SOMEONE_ELSE - [0:0]\n-A OUTPUT -p udp -j SOMEONE_ELSE\nCOMMIT\n";

#[test]
fn set_twice_and_removed_twice_leaves_nothing_behind() {
    if !enter_new_network_namespace() {
        eprintln!("skipped: making a network namespace needs root");
        return;
    }
    restore(&Tables { v4: FOREIGN.into(), v6: FOREIGN.into() }).unwrap();
    let untouched = present().unwrap();

    let options = Options {
        inbound_ports: "*".parse().unwrap(),
        inbound_exclude_ports: (1..=40).map(|n| n.to_string()).collect::<Vec<_>>().join(",").parse().unwrap(),
        outbound_ports: "80,9080".parse().unwrap(),
        ..Options::default()
    };
    set(&options);
    let once = present().unwrap();
    assert!(once.v4.contains("-A APISIX_MESH_TO_OUTBOUND -p tcp -j REDIRECT --to-ports 9080"), "{}", once.v4);
    assert!(once.v6.contains("-A PREROUTING -p tcp -j APISIX_MESH_INBOUND"), "{}", once.v6);
    set(&options);
    assert_eq!(lines(&present().unwrap()), lines(&once), "a second run changes nothing");

    let narrower = Options { inbound_ports: "8080".parse().unwrap(), ..Options::default() };
    set(&narrower);
    let changed = present().unwrap();
    assert!(!changed.v4.contains("80,9080"), "what is no longer asked for is gone: {}", changed.v4);

    remove();
    assert_eq!(lines(&present().unwrap()), lines(&untouched));
    remove();
    assert_eq!(lines(&present().unwrap()), lines(&untouched));
}

#[test]
fn a_refused_rule_changes_nothing_and_says_why() {
    if !enter_new_network_namespace() {
        eprintln!("skipped: making a network namespace needs root");
        return;
    }
    let options = Options { apisix_user: "no-such-user-here".parse().unwrap(), ..Options::default() };
    let error = restore(&rules(&options, &present().unwrap())).unwrap_err().to_string();
    assert!(error.starts_with("iptables-restore: "), "{error}");
    assert!(error.contains("no-such-user-here"), "{error}");
    assert!(!present().unwrap().v4.contains("APISIX_MESH_"));
}

/// The rules as the older kernel interface has them: same text, other program.
#[test]
fn the_text_also_suits_the_legacy_programs() {
    if !enter_new_network_namespace() || Command::new("iptables-legacy-restore").arg("-V").output().is_err() {
        eprintln!("skipped: needs root and iptables-legacy-restore");
        return;
    }
    let text =
        rules(&Options { inbound_ports: "*".parse().unwrap(), ..Options::default() }, &Tables::default()).v4;
    let mut child = Command::new("iptables-legacy-restore")
        .args(["--noflush", "--test"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
}

fn set(options: &Options) {
    restore(&rules(options, &present().unwrap())).unwrap();
}

fn remove() {
    restore(&removal(&present().unwrap())).unwrap();
}

/// The tables without comments, which carry the time, and without counters.
fn lines(tables: &Tables) -> Vec<String> {
    let text = tables.v4.lines().chain(tables.v6.lines());
    text.filter(|line| !line.starts_with('#'))
        .map(|line| line.split(" [").next().unwrap().to_owned())
        .collect()
}

/// For this test's thread and the programs it starts.
fn enter_new_network_namespace() -> bool {
    // SAFETY: unshare takes a flag and touches no memory of ours.
    unsafe { libc::unshare(libc::CLONE_NEWNET) == 0 }
}
