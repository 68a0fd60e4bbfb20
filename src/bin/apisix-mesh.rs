//! The command: a thin shell around the library.
//!
//! In: arguments. Out: the library hosted outside nginx (`run`), a translation printed (`translate`), a pod prepared
//! (`iptables`, `cleanup-iptables`). Never here: logic that the library could have.

use std::{fmt::Display, path::PathBuf, process::ExitCode, str::FromStr};

use apisix_mesh::{
    agent::{objection, signals},
    config::{Config, ProcessVars, SETTINGS, Setting, Vars as _, variable},
    error::Error,
    instance::Instance,
    interception::{self, Options, Tables},
    status, translate, xds,
};
use clap::{Arg, ArgAction, ArgMatches, Command};
use serde_json::{Map, Value, json};

/// The settings that translation depends on.
const POLICY: [&str; 3] = ["on_unsupported", "upstream_tls", "workload_certificates"];

fn main() -> ExitCode {
    let matches = command().get_matches();
    let result = match matches.subcommand() {
        Some(("run", arguments)) => run(arguments),
        Some(("translate", arguments)) => translate_files(arguments),
        Some(("iptables", arguments)) => intercept(arguments),
        Some(("cleanup-iptables", arguments)) => cleanup(arguments),
        Some(("version", _)) => {
            println!("apisix-mesh {}", env!("CARGO_PKG_VERSION"));
            Ok(ExitCode::SUCCESS)
        }
        _ => unreachable!("clap asks for one of the above"),
    };
    result.unwrap_or_else(|error| {
        eprintln!("apisix-mesh: {error}");
        ExitCode::FAILURE
    })
}

fn command() -> Command {
    Command::new("apisix-mesh")
        .about("A service-mesh sidecar for Apache APISIX: xDS in, etcd out")
        .version(env!("CARGO_PKG_VERSION"))
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(run_command())
        .subcommand(
            Command::new("translate")
                .about("Print the APISIX objects and the issues for xDS resources in files")
                .arg(
                    Arg::new("path")
                        .value_name("PATH")
                        .help("A file or folder of JSON or YAML: a DiscoveryResponse, resources, an Envoy /config_dump")
                        .required(true)
                        .num_args(1..)
                        .value_parser(clap::value_parser!(PathBuf)),
                )
                .args(SETTINGS.iter().filter(|s| POLICY.contains(&s.name)).map(flag)),
        )
        .subcommand(
            Command::new("iptables")
                .about("Send this network namespace's TCP connections through the sidecar")
                .args(interception_flags())
                .arg(dry_run()),
        )
        .subcommand(
            Command::new("cleanup-iptables").about("Take away what `iptables` set, and nothing else").arg(dry_run()),
        )
        .subcommand(Command::new("version").about("Print the version"))
}

/// Every setting is a flag of `run`.
fn run_command() -> Command {
    let config = Arg::new("config").long("config").value_name("FILE").help("A JSON or YAML file of settings");
    Command::new("run").about("Host the library outside nginx").arg(config).args(SETTINGS.iter().map(flag))
}

/// The flag of a setting.
fn flag(setting: &Setting) -> Arg {
    let default =
        if setting.default.is_empty() { String::new() } else { format!(", default {}", setting.default) };
    Arg::new(setting.name)
        .long(setting.name.replace('_', "-"))
        .value_name("VALUE")
        .action(ArgAction::Set)
        .help(format!("{} [{}{default}]", setting.doc, variable(setting.name)))
}

/// The flags of the Go agent's command, so that init containers need no change.
fn interception_flags() -> Vec<Arg> {
    const FLAGS: [(&str, &str, &str); 7] = [
        ("apisix-user", "nobody", "name or id of the user nginx runs as; what it sends is never captured"),
        ("apisix-port", "9080", "where captured outbound connections go"),
        ("apisix-inbound-capture-port", "9081", "where captured inbound connections go"),
        ("inbound-ports", "", "inbound ports to capture: a list such as 80,9080, or * for all"),
        ("inbound-exclude-ports", "", "inbound ports left alone, whatever --inbound-ports says"),
        ("outbound-ports", "", "outbound ports to capture: a list, or * for all"),
        ("outbound-exclude-ports", "", "outbound ports left alone, whatever --outbound-ports says"),
    ];
    let flag = |(name, default, help)| {
        Arg::new(name).long(name).value_name("VALUE").default_value(default).help(help)
    };
    FLAGS.map(flag).to_vec()
}

fn dry_run() -> Arg {
    Arg::new("dry-run").long("dry-run").action(ArgAction::SetTrue).help("Print the rules and change nothing")
}

type Outcome = Result<ExitCode, Box<dyn std::error::Error>>;

fn run(arguments: &ArgMatches) -> Outcome {
    let flags: Map<String, Value> = SETTINGS
        .iter()
        .filter_map(|s| Some((s.name.to_owned(), Value::from(arguments.get_one::<String>(s.name)?.as_str()))))
        .collect();
    let file = arguments.get_one::<String>("config").map(String::as_str);
    let config = Config::load(file, &ProcessVars, flags)?;
    let termination = signals::Termination::block();
    let instance = Instance::start(config)?;
    termination.wait();
    instance.stop();
    Ok(ExitCode::SUCCESS)
}

fn intercept(arguments: &ArgMatches) -> Outcome {
    let options = Options {
        apisix_user: parsed(arguments, "apisix-user")?,
        apisix_port: parsed(arguments, "apisix-port")?,
        apisix_inbound_capture_port: parsed(arguments, "apisix-inbound-capture-port")?,
        inbound_ports: parsed(arguments, "inbound-ports")?,
        inbound_exclude_ports: parsed(arguments, "inbound-exclude-ports")?,
        outbound_ports: parsed(arguments, "outbound-ports")?,
        outbound_exclude_ports: parsed(arguments, "outbound-exclude-ports")?,
    };
    hand_over(&interception::rules(&options, &interception::present()?), arguments)
}

fn cleanup(arguments: &ArgMatches) -> Outcome {
    hand_over(&interception::removal(&interception::present()?), arguments)
}

fn hand_over(tables: &Tables, arguments: &ArgMatches) -> Outcome {
    if arguments.get_flag("dry-run") {
        print!("# iptables-restore --noflush\n{}# ip6tables-restore --noflush\n{}", tables.v4, tables.v6);
    } else {
        interception::restore(tables)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn parsed<T: FromStr<Err: Display>>(arguments: &ArgMatches, flag: &str) -> Result<T, String> {
    let text = arguments.get_one::<String>(flag).map(String::as_str).unwrap_or_default();
    text.parse().map_err(|error| format!("--{flag} {text:?}: {error}"))
}

/// The policy of `translate`: its flags, else their variables, else the defaults.
fn policy(arguments: &ArgMatches) -> Result<Config, Error> {
    let mut config = Config::default();
    for name in POLICY {
        let flag = arguments.get_one::<String>(name).cloned();
        if let Some(value) = flag.or_else(|| ProcessVars.get(&variable(name))) {
            config.set(name, &Value::from(value))?;
        }
    }
    Ok(config)
}

fn translate_files(arguments: &ArgMatches) -> Outcome {
    let paths: Vec<_> = arguments.get_many::<PathBuf>("path").into_iter().flatten().cloned().collect();
    let policy = policy(arguments)?;
    let (loaded, problems) = xds::file::refuse(
        xds::file::merge(paths.iter().map(|path| xds::file::load(path))),
        &objection(policy.on_unsupported),
    );
    let mut snapshot = xds::Snapshot::default();
    for resource in loaded {
        snapshot.insert(resource.kind, resource.resource);
    }
    for problem in &problems {
        eprintln!("apisix-mesh: {problem}");
    }
    let translation = translate::translate_under(&policy, &snapshot);
    let mut objects = Map::new();
    for (key, object) in &translation.objects {
        objects.insert(key.to_string(), serde_json::from_slice(object)?);
    }
    let shown = json!({"objects": objects, "issues": status::shown(&translation.issues), "routing": translation.routing});
    println!("{}", serde_json::to_string_pretty(&shown)?);
    Ok(if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
