//! From options to rule text. Pure: the same input gives the same bytes.
//!
//! ```text
//! OUTPUT     -> APISIX_MESH_OUTBOUND -> APISIX_MESH_TO_OUTBOUND -> REDIRECT apisix_port
//! PREROUTING -> APISIX_MESH_INBOUND  -> APISIX_MESH_TO_INBOUND  -> REDIRECT apisix_inbound_capture_port
//! ```
//!
//! The middle chains hold what is left alone first (RETURN), then what is captured, so an exclusion always wins.

use std::num::NonZeroU16;

use super::{Options, PortList, Ports, Tables};

const PREFIX: &str = "APISIX_MESH_";

/// One direction of traffic: the chains it runs through, from the kernel's own on.
struct Direction {
    hook: &'static str,
    choice: &'static str,
    target: &'static str,
}

const OUTBOUND: Direction =
    Direction { hook: "OUTPUT", choice: "APISIX_MESH_OUTBOUND", target: "APISIX_MESH_TO_OUTBOUND" };
const INBOUND: Direction =
    Direction { hook: "PREROUTING", choice: "APISIX_MESH_INBOUND", target: "APISIX_MESH_TO_INBOUND" };

/// The text that brings the nat tables from what they hold (`present`) to what the options ask for. What an earlier
/// run left is replaced in the same transaction, so that it can be repeated and there is no moment without capture.
pub fn rules(options: &Options, present: &Tables) -> Tables {
    let render = |saved: &str| {
        let mut lines = removal_lines(saved);
        lines.extend(capture_lines(options));
        transaction(&lines)
    };
    Tables { v4: render(&present.v4), v6: render(&present.v6) }
}

/// The text that takes away every chain of ours and every jump into one, and nothing else. Empty when there is none.
pub fn removal(present: &Tables) -> Tables {
    let render = |saved: &str| match removal_lines(saved) {
        lines if lines.is_empty() => String::new(),
        lines => transaction(&lines),
    };
    Tables { v4: render(&present.v4), v6: render(&present.v6) }
}

fn transaction(lines: &[String]) -> String {
    format!("*nat\n{}\nCOMMIT\n", lines.join("\n"))
}

fn capture_lines(options: &Options) -> Vec<String> {
    let mut lines: Vec<String> = [&OUTBOUND, &INBOUND]
        .iter()
        .flat_map(|direction| [direction.choice, direction.target])
        .map(|chain| format!(":{chain} - [0:0]"))
        .collect();

    lines.push(format!("-A {} -m owner --uid-owner {} -j RETURN", OUTBOUND.choice, options.apisix_user));
    // What leaves by the loopback interface is the pod talking to itself: 127.0.0.1, ::1, or its own address.
    lines.push(format!("-A {} -o lo -j RETURN", OUTBOUND.choice));
    lines.extend(choice(&OUTBOUND, &options.outbound_ports, &options.outbound_exclude_ports));
    lines.push(redirect(&OUTBOUND, options.apisix_port));

    lines.extend(choice(&INBOUND, &options.inbound_ports, &options.inbound_exclude_ports));
    lines.push(redirect(&INBOUND, options.apisix_inbound_capture_port));

    // The jumps come last: the chains are complete when traffic enters them.
    lines.extend([&OUTBOUND, &INBOUND].map(|d| format!("-A {} -p tcp -j {}", d.hook, d.choice)));
    lines
}

fn choice(direction: &Direction, captured: &Ports, excluded: &PortList) -> Vec<String> {
    let mut lines = by_port(direction.choice, excluded, "RETURN");
    match captured {
        Ports::All => lines.push(format!("-A {} -p tcp -j {}", direction.choice, direction.target)),
        Ports::These(list) => lines.extend(by_port(direction.choice, list, direction.target)),
    }
    lines
}

fn by_port(chain: &str, list: &PortList, target: &str) -> Vec<String> {
    let rule = |ports: &String| format!("-A {chain} -p tcp -m multiport --dports {ports} -j {target}");
    list.multiports().iter().map(rule).collect()
}

fn redirect(direction: &Direction, port: NonZeroU16) -> String {
    format!("-A {} -p tcp -j REDIRECT --to-ports {port}", direction.target)
}

/// Deletes the jumps, empties every chain of ours, then deletes the chains: each step is legal after the one before.
fn removal_lines(saved: &str) -> Vec<String> {
    let chains: Vec<&str> =
        saved.lines().filter_map(declared_chain).filter(|c| c.starts_with(PREFIX)).collect();
    let jumps = saved.lines().filter_map(foreign_jump).map(|rule| format!("-D {rule}"));
    let flushes = chains.iter().map(|chain| format!("-F {chain}"));
    let deletions = chains.iter().map(|chain| format!("-X {chain}"));
    jumps.chain(flushes).chain(deletions).collect()
}

fn declared_chain(line: &str) -> Option<&str> {
    line.strip_prefix(':')?.split_whitespace().next()
}

/// The rule, without its `-A`, when it leads from a chain that is not ours into one that is.
fn foreign_jump(line: &str) -> Option<&str> {
    let rule = line.strip_prefix("-A ")?;
    let mut words = rule.split_whitespace();
    let ours = |word: Option<&str>| word.is_some_and(|word| word.starts_with(PREFIX));
    let is_foreign = !ours(words.next());
    let jumps_in =
        words.any(|word| word == "-j" || word == "-g") && ours(rule.split_whitespace().next_back());
    (is_foreign && jumps_in).then_some(rule)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn everything() -> Options {
        Options {
            inbound_ports: "*".parse().unwrap(),
            inbound_exclude_ports: "22,9100".parse().unwrap(),
            outbound_ports: "80,9080".parse().unwrap(),
            outbound_exclude_ports: "9080".parse().unwrap(),
            ..Options::default()
        }
    }

    const EVERYTHING: &str = "\
*nat
:APISIX_MESH_OUTBOUND - [0:0]
:APISIX_MESH_TO_OUTBOUND - [0:0]
:APISIX_MESH_INBOUND - [0:0]
:APISIX_MESH_TO_INBOUND - [0:0]
-A APISIX_MESH_OUTBOUND -m owner --uid-owner nobody -j RETURN
-A APISIX_MESH_OUTBOUND -o lo -j RETURN
-A APISIX_MESH_OUTBOUND -p tcp -m multiport --dports 9080 -j RETURN
-A APISIX_MESH_OUTBOUND -p tcp -m multiport --dports 80,9080 -j APISIX_MESH_TO_OUTBOUND
-A APISIX_MESH_TO_OUTBOUND -p tcp -j REDIRECT --to-ports 9080
-A APISIX_MESH_INBOUND -p tcp -m multiport --dports 22,9100 -j RETURN
-A APISIX_MESH_INBOUND -p tcp -j APISIX_MESH_TO_INBOUND
-A APISIX_MESH_TO_INBOUND -p tcp -j REDIRECT --to-ports 9081
-A OUTPUT -p tcp -j APISIX_MESH_OUTBOUND
-A PREROUTING -p tcp -j APISIX_MESH_INBOUND
COMMIT
";

    #[test]
    fn both_families_get_the_golden_text() {
        let text = rules(&everything(), &Tables::default());
        assert_eq!(text.v4, EVERYTHING);
        assert_eq!(text.v6, EVERYTHING);
    }

    #[test]
    fn the_sidecars_own_traffic_returns_before_any_capture() {
        let text = rules(&everything(), &Tables::default()).v4;
        let first = text.lines().find(|line| line.starts_with("-A APISIX_MESH_OUTBOUND")).unwrap();
        assert!(first.contains("--uid-owner nobody -j RETURN"), "{first}");
    }

    #[test]
    fn no_ports_capture_nothing() {
        let text = rules(&Options::default(), &Tables::default()).v4;
        assert!(!text.contains("-j APISIX_MESH_TO_"), "{text}");
    }

    #[test]
    fn many_ports_become_several_rules() {
        let ports: Vec<String> = (1..=31).map(|n| n.to_string()).collect();
        let options = Options { inbound_ports: ports.join(",").parse().unwrap(), ..Options::default() };
        let text = rules(&options, &Tables::default()).v4;
        let into_capture = text.lines().filter(|line| line.ends_with("-j APISIX_MESH_TO_INBOUND"));
        assert_eq!(into_capture.count(), 3, "{text}");
    }

    const SAVED: &str = "\
*nat
:PREROUTING ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:APISIX_MESH_OUTBOUND - [0:0]
:APISIX_MESH_OLD - [0:0]
:NOT_APISIX_MESH_ - [0:0]
-A OUTPUT -p tcp -j APISIX_MESH_OUTBOUND
-A OUTPUT -p tcp -m comment --comment APISIX_MESH_OUTBOUND -j NOT_APISIX_MESH_
-A APISIX_MESH_OUTBOUND -o lo -j RETURN
-A APISIX_MESH_OUTBOUND -j APISIX_MESH_OLD
COMMIT
";

    #[test]
    fn removal_takes_what_is_ours_and_nothing_else() {
        let present = Tables { v4: SAVED.into(), v6: String::new() };
        let expected = "\
*nat
-D OUTPUT -p tcp -j APISIX_MESH_OUTBOUND
-F APISIX_MESH_OUTBOUND
-F APISIX_MESH_OLD
-X APISIX_MESH_OUTBOUND
-X APISIX_MESH_OLD
COMMIT
";
        assert_eq!(removal(&present), Tables { v4: expected.into(), v6: String::new() });
    }

    #[test]
    fn a_second_run_replaces_the_first_in_one_transaction() {
        let present = Tables { v4: SAVED.into(), v6: String::new() };
        let text = rules(&everything(), &present).v4;
        assert_eq!(text.matches("COMMIT").count(), 1);
        assert!(text.starts_with("*nat\n-D OUTPUT -p tcp -j APISIX_MESH_OUTBOUND\n"), "{text}");
        assert!(text.ends_with(EVERYTHING.strip_prefix("*nat\n").unwrap()), "{text}");
    }
}
