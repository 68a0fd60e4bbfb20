//! The settings: one name each, in three places.
//!
//! A setting is a key of the configuration file (`etcd_listen`), an environment variable (`APISIX_MESH_ETCD_LISTEN`)
//! and a flag (`--etcd-listen`); a flag wins over a variable, a variable over the file. In: those. Out: a checked
//! [`Config`]. Never here: what a setting does, and the environment itself, which comes through [`Vars`].

mod settings;

use std::time::Duration;

use serde_json::{Map, Value};

use crate::{error::Error, log::Level};

pub use settings::{SETTINGS, Setting};

/// Where environment variables come from: the process, or a test.
pub trait Vars {
    /// The value of a variable, if it is set.
    fn get(&self, name: &str) -> Option<String>;
    /// The names of all variables.
    fn names(&self) -> Vec<String>;
}

/// The variables of this process.
pub struct ProcessVars;

impl Vars for ProcessVars {
    fn get(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn names(&self) -> Vec<String> {
        std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()).collect()
    }
}

/// A variant of the aggregated discovery protocol.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum XdsMode {
    /// Incremental: what changed, and what went.
    #[default]
    Delta,
    /// State of the world: all there is of a type, or all that was asked for and changed.
    Sotw,
}

impl XdsMode {
    /// All variants, by the names they have in settings.
    pub const ALL: [(&str, Self); 2] = [("delta", Self::Delta), ("sotw", Self::Sotw)];

    /// The name in settings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Delta => "delta",
            Self::Sotw => "sotw",
        }
    }
}

/// What becomes of a resource that asks for what APISIX cannot do. It is in `status` in any case.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnUnsupported {
    /// Where security depends on it the affected routes answer 403; the rest is served as well as can be.
    #[default]
    Closed,
    /// All is served as well as can be.
    Serve,
    /// As closed, and a resource that asks for anything that touches traffic or security is refused (NACK).
    Strict,
}

impl OnUnsupported {
    /// All policies, by the names they have in settings.
    pub const ALL: [(&str, Self); 3] =
        [("closed", Self::Closed), ("serve", Self::Serve), ("strict", Self::Strict)];
}

/// What becomes of clusters that ask for TLS to their endpoints.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum UpstreamTls {
    /// It is unsupported, and a matter of security.
    #[default]
    Off,
    /// They are served over TLS, and nobody checks who answers: APISIX cannot.
    Unverified,
}

impl UpstreamTls {
    /// All of them, by the names they have in settings.
    pub const ALL: [(&str, Self); 2] = [("off", Self::Off), ("unverified", Self::Unverified)];
}

/// The value of `etcd_listen` for no etcd endpoint.
pub const NO_ENDPOINT: &str = "off";

/// The prefix of the environment variables.
const VARIABLE_PREFIX: &str = "APISIX_MESH_";

/// Checked settings. The fields are [`SETTINGS`], by name.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct Config {
    pub xds: String,
    pub xds_overlay: Option<String>,
    pub xds_mode: XdsMode,
    pub xds_ca_file: Option<String>,
    pub xds_server_name: Option<String>,
    pub xds_token_file: Option<String>,
    pub xds_cert_file: Option<String>,
    pub xds_key_file: Option<String>,
    pub workload_certificates: bool,
    pub workload_certificate_ttl: Duration,
    pub ca_address: Option<String>,
    pub trust_domain: Option<String>,
    pub xds_max_message_size: usize,
    pub initial_fetch_timeout: Duration,
    pub etcd_listen: String,
    pub etcd_allow_remote: bool,
    pub etcd_cert_file: Option<String>,
    pub etcd_key_file: Option<String>,
    pub etcd_trusted_ca_file: Option<String>,
    pub etcd_user: Option<String>,
    pub etcd_password_file: Option<String>,
    pub etcd_prefix: String,
    pub state_dir: String,
    pub on_unsupported: OnUnsupported,
    pub upstream_tls: UpstreamTls,
    pub log_level: Level,
    pub node_id: Option<String>,
    pub node_type: String,
    pub node_ip: Option<String>,
    pub pod_name: Option<String>,
    pub pod_namespace: Option<String>,
    pub node_domain: Option<String>,
    pub node_metadata: Map<String, Value>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            xds: String::new(),
            xds_overlay: None,
            xds_mode: XdsMode::default(),
            xds_ca_file: None,
            xds_server_name: None,
            xds_token_file: None,
            xds_cert_file: None,
            xds_key_file: None,
            workload_certificates: false,
            workload_certificate_ttl: Duration::from_secs(86400),
            ca_address: None,
            trust_domain: None,
            xds_max_message_size: 0,
            initial_fetch_timeout: Duration::from_secs(15),
            etcd_listen: "127.0.0.1:2379".to_owned(),
            etcd_allow_remote: false,
            etcd_cert_file: None,
            etcd_key_file: None,
            etcd_trusted_ca_file: None,
            etcd_user: None,
            etcd_password_file: None,
            etcd_prefix: "/apisix".to_owned(),
            state_dir: String::new(),
            on_unsupported: OnUnsupported::default(),
            upstream_tls: UpstreamTls::default(),
            log_level: Level::Info,
            node_id: None,
            node_type: "sidecar".to_owned(),
            node_ip: None,
            pod_name: None,
            pod_namespace: None,
            node_domain: None,
            node_metadata: Map::new(),
        }
    }
}

impl Config {
    /// Reads a configuration text: a JSON or YAML object of settings.
    pub fn from_text(text: &str) -> Result<Self, Error> {
        Self::from_settings(parse("text", text)?)
    }

    /// The settings of the file, laid over by the environment's, laid over by the flags'.
    pub fn load(file: Option<&str>, vars: &dyn Vars, flags: Map<String, Value>) -> Result<Self, Error> {
        let mut settings = match file {
            Some(path) => {
                let text = std::fs::read_to_string(path)
                    .map_err(|e| Error::ConfigSyntax { what: path.to_owned(), problem: e.to_string() })?;
                parse(path, &text)?
            }
            None => Map::new(),
        };
        for setting in SETTINGS {
            if let Some(value) = vars.get(&variable(setting.name)) {
                settings.insert(setting.name.to_owned(), Value::String(value));
            }
        }
        settings.extend(flags);
        Self::from_settings(settings)
    }

    /// Checks settings by name. Values may be of their own type or text, as variables and nginx directives are.
    pub fn from_settings(settings: Map<String, Value>) -> Result<Self, Error> {
        let mut config = Self::default();
        for (name, value) in settings {
            config.set(&name, &value)?;
        }
        config.check()?;
        Ok(config)
    }

    /// Sets one setting.
    pub fn set(&mut self, name: &str, value: &Value) -> Result<(), Error> {
        match name {
            "xds" => self.xds = list(name, value)?,
            "xds_overlay" => self.xds_overlay = text_if_any(name, value)?,
            "xds_mode" => self.xds_mode = one_of(name, value, &XdsMode::ALL)?,
            "xds_ca_file" => self.xds_ca_file = text_if_any(name, value)?,
            "xds_server_name" => self.xds_server_name = text_if_any(name, value)?,
            "xds_token_file" => self.xds_token_file = text_if_any(name, value)?,
            "xds_cert_file" => self.xds_cert_file = text_if_any(name, value)?,
            "xds_key_file" => self.xds_key_file = text_if_any(name, value)?,
            "workload_certificates" => self.workload_certificates = boolean(name, value)?,
            "workload_certificate_ttl" => self.workload_certificate_ttl = seconds(name, value)?,
            "ca_address" => self.ca_address = text_if_any(name, value)?,
            "trust_domain" => self.trust_domain = text_if_any(name, value)?,
            "xds_max_message_size" => self.xds_max_message_size = number(name, value)? as usize,
            "initial_fetch_timeout" => self.initial_fetch_timeout = seconds(name, value)?,
            // An `off` without quotes, to YAML.
            "etcd_listen" if *value == Value::Bool(false) => self.etcd_listen = NO_ENDPOINT.to_owned(),
            "etcd_listen" => self.etcd_listen = text(name, value)?,
            "etcd_allow_remote" => self.etcd_allow_remote = boolean(name, value)?,
            "etcd_cert_file" => self.etcd_cert_file = text_if_any(name, value)?,
            "etcd_key_file" => self.etcd_key_file = text_if_any(name, value)?,
            "etcd_trusted_ca_file" => self.etcd_trusted_ca_file = text_if_any(name, value)?,
            "etcd_user" => self.etcd_user = text_if_any(name, value)?,
            "etcd_password_file" => self.etcd_password_file = text_if_any(name, value)?,
            "etcd_prefix" => self.etcd_prefix = text(name, value)?,
            "state_dir" => self.state_dir = text(name, value)?,
            "on_unsupported" => self.on_unsupported = one_of(name, value, &OnUnsupported::ALL)?,
            "upstream_tls" if *value == Value::Bool(false) => self.upstream_tls = UpstreamTls::Off,
            "upstream_tls" => self.upstream_tls = one_of(name, value, &UpstreamTls::ALL)?,
            "log_level" => self.log_level = level(name, value)?,
            "node_id" => self.node_id = Some(text(name, value)?),
            "node_type" => self.node_type = text(name, value)?,
            "node_ip" => self.node_ip = Some(text(name, value)?),
            "pod_name" => self.pod_name = Some(text(name, value)?),
            "pod_namespace" => self.pod_namespace = Some(text(name, value)?),
            "node_domain" => self.node_domain = Some(text(name, value)?),
            "node_metadata" => self.node_metadata = object(name, value)?,
            _ => {
                let known: Vec<&str> = SETTINGS.iter().map(|s| s.name).collect();
                return Err(Error::config(name, format!("unknown; the settings are {}", known.join(", "))));
            }
        }
        Ok(())
    }

    fn check(&self) -> Result<(), Error> {
        if self.xds.is_empty() {
            return Err(Error::config(
                "xds",
                "not set; give it grpcs://HOST:PORT, grpc://HOST:PORT or file:///PATH",
            ));
        }
        if !["grpcs://", "grpc://", "file:///"].iter().any(|scheme| self.xds.starts_with(scheme)) {
            let problem =
                format!("{:?} is none of grpcs://HOST:PORT, grpc://HOST:PORT, file:///PATH", self.xds);
            return Err(Error::config("xds", problem));
        }
        let prefix = &self.etcd_prefix;
        if !prefix.starts_with('/') || prefix.ends_with('/') {
            let problem = format!("{prefix:?} must start with a slash and not end with one, such as /apisix");
            return Err(Error::config("etcd_prefix", problem));
        }
        if !["sidecar", "router"].contains(&self.node_type.as_str()) {
            return Err(Error::config(
                "node_type",
                format!("{:?} is neither sidecar nor router", self.node_type),
            ));
        }
        self.check_etcd_security()?;
        self.check_upstream_tls()
    }

    /// What of the endpoint's settings is of no use alone would leave it more open than it looks.
    fn check_etcd_security(&self) -> Result<(), Error> {
        let needs = [
            ("etcd_cert_file", &self.etcd_cert_file, "etcd_key_file", &self.etcd_key_file),
            ("etcd_key_file", &self.etcd_key_file, "etcd_cert_file", &self.etcd_cert_file),
            ("etcd_trusted_ca_file", &self.etcd_trusted_ca_file, "etcd_cert_file", &self.etcd_cert_file),
            ("etcd_user", &self.etcd_user, "etcd_password_file", &self.etcd_password_file),
            ("etcd_password_file", &self.etcd_password_file, "etcd_user", &self.etcd_user),
        ];
        for (one, value, other, other_value) in needs {
            if value.is_some() && other_value.is_none() {
                return Err(Error::config(other, format!("not set, and {one} is of no use without it")));
            }
        }
        Ok(())
    }

    fn check_upstream_tls(&self) -> Result<(), Error> {
        if self.upstream_tls == UpstreamTls::Off {
            return Ok(());
        }
        if self.on_unsupported == OnUnsupported::Strict {
            let problem = "unverified is less than clusters ask for, which on_unsupported: strict refuses; set that to closed";
            return Err(Error::config("upstream_tls", problem));
        }
        if self.publishes_key() && self.etcd_allow_remote {
            let problem = "true would hand the workload's private key, which upstream_tls: unverified publishes for APISIX, \
                           to whoever reaches etcd_listen; keep it false";
            return Err(Error::config("etcd_allow_remote", problem));
        }
        Ok(())
    }

    /// Whether the workload's certificate and key are among the objects.
    pub fn publishes_key(&self) -> bool {
        self.workload_certificates && self.upstream_tls == UpstreamTls::Unverified
    }
}

/// The environment variable of a setting.
pub fn variable(setting: &str) -> String {
    format!("{VARIABLE_PREFIX}{}", setting.to_uppercase())
}

fn parse(what: &str, text: &str) -> Result<Map<String, Value>, Error> {
    let syntax = |problem: String| Error::ConfigSyntax { what: what.to_owned(), problem };
    match serde_saphyr::from_str(text).map_err(|e| syntax(first_line(&e.to_string())))? {
        Value::Object(settings) => Ok(settings),
        Value::Null => Ok(Map::new()),
        other => Err(syntax(format!("an object of settings is expected, not {other}"))),
    }
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned()
}

fn text(name: &str, value: &Value) -> Result<String, Error> {
    value.as_str().map(str::to_owned).ok_or_else(|| Error::config(name, format!("{value} is not text")))
}

/// Empty is as if it were not set.
fn text_if_any(name: &str, value: &Value) -> Result<Option<String>, Error> {
    text(name, value).map(|text| (!text.is_empty()).then_some(text))
}

/// A list, or its items with commas between them.
fn list(name: &str, value: &Value) -> Result<String, Error> {
    let Value::Array(items) = value else { return text(name, value) };
    let items: Vec<String> = items.iter().map(|item| text(name, item)).collect::<Result<_, _>>()?;
    Ok(items.join(","))
}

fn number(name: &str, value: &Value) -> Result<f64, Error> {
    let number = match value {
        Value::String(s) => s.parse().ok(),
        other => other.as_f64(),
    };
    number
        .filter(|n| (0.0..1e12).contains(n))
        .ok_or_else(|| Error::config(name, format!("{value} is not a number of 0 or more")))
}

fn seconds(name: &str, value: &Value) -> Result<Duration, Error> {
    number(name, value).map(Duration::from_secs_f64)
}

fn boolean(name: &str, value: &Value) -> Result<bool, Error> {
    match value {
        Value::Bool(b) => Ok(*b),
        Value::String(s) if s == "true" => Ok(true),
        Value::String(s) if s == "false" => Ok(false),
        _ => Err(Error::config(name, format!("{value} is neither true nor false"))),
    }
}

fn level(name: &str, value: &Value) -> Result<Level, Error> {
    let text = text(name, value)?;
    Level::from_name(&text)
        .ok_or_else(|| Error::config(name, format!("{text:?} is none of error, warn, info, debug")))
}

fn one_of<T: Copy>(name: &str, value: &Value, known: &[(&str, T)]) -> Result<T, Error> {
    let text = text(name, value)?;
    let meant = known.iter().find_map(|(word, meant)| (*word == text).then_some(*meant));
    meant.ok_or_else(|| {
        let words: Vec<&str> = known.iter().map(|(word, _)| *word).collect();
        Error::config(name, format!("{text:?} is none of {}", words.join(", ")))
    })
}

fn object(name: &str, value: &Value) -> Result<Map<String, Value>, Error> {
    let parsed = match value {
        Value::String(s) => serde_json::from_str(s).ok(),
        other => Some(other.clone()),
    };
    match parsed {
        Some(Value::Object(members)) => Ok(members),
        _ => Err(Error::config(name, format!("{value} is not a JSON object"))),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    struct Fake(HashMap<&'static str, &'static str>);

    impl Vars for Fake {
        fn get(&self, name: &str) -> Option<String> {
            self.0.get(name).map(|v| v.to_string())
        }

        fn names(&self) -> Vec<String> {
            self.0.keys().map(|n| n.to_string()).collect()
        }
    }

    #[test]
    fn a_flag_wins_over_a_variable() {
        let vars = Fake([("APISIX_MESH_XDS", "grpc://a:1"), ("APISIX_MESH_ETCD_PREFIX", "/x")].into());
        let flags = Map::from_iter([("xds".to_owned(), Value::from("grpc://b:1"))]);
        let config = Config::load(None, &vars, flags).unwrap();
        assert_eq!((config.xds.as_str(), config.etcd_prefix.as_str()), ("grpc://b:1", "/x"));
    }

    #[test]
    fn control_planes_are_a_list_or_a_text_with_commas() {
        let list = Config::from_text("xds: ['grpc://a:1', 'grpc://b:2']").unwrap();
        assert_eq!(list, Config::from_text("xds: 'grpc://a:1,grpc://b:2'").unwrap());
    }

    #[test]
    fn text_and_typed_values_read_alike() {
        let typed = r#"{"xds": "grpc://a:1", "initial_fetch_timeout": 0.5, "etcd_allow_remote": true, "node_metadata": {"A": "b"}}"#;
        let text = "xds: grpc://a:1\ninitial_fetch_timeout: '0.5'\netcd_allow_remote: 'true'\nnode_metadata: '{\"A\": \"b\"}'";
        assert_eq!(Config::from_text(typed).unwrap(), Config::from_text(text).unwrap());
    }

    #[test]
    fn each_bad_setting_is_named_with_its_value() {
        for (text, wanted) in [
            ("{}", "setting xds: not set"),
            (
                "xds: http://a",
                "setting xds: \"http://a\" is none of grpcs://HOST:PORT, grpc://HOST:PORT, file:///PATH",
            ),
            ("{xds: grpc://a:1, speed: 3}", "setting speed: unknown; the settings are xds, "),
            (
                "{xds: grpc://a:1, on_unsupported: open}",
                "setting on_unsupported: \"open\" is none of closed, serve, strict",
            ),
            (
                "{xds: grpc://a:1, upstream_tls: verified}",
                "setting upstream_tls: \"verified\" is none of off, unverified",
            ),
            (
                "{xds: grpc://a:1, upstream_tls: unverified, on_unsupported: strict}",
                "setting upstream_tls: unverified is less than clusters ask for",
            ),
            (
                "{xds: grpc://a:1, upstream_tls: unverified, workload_certificates: true, etcd_allow_remote: true}",
                "setting etcd_allow_remote: true would hand the workload's private key",
            ),
            ("{xds: grpc://a:1, log_level: loud}", "setting log_level: \"loud\" is none of"),
            (
                "{xds: grpc://a:1, initial_fetch_timeout: -1}",
                "setting initial_fetch_timeout: -1 is not a number",
            ),
            ("{xds: grpc://a:1, etcd_prefix: apisix}", "setting etcd_prefix: \"apisix\" must start"),
            (
                "{xds: grpc://a:1, etcd_trusted_ca_file: /ca.pem}",
                "setting etcd_cert_file: not set, and etcd_trusted_ca_file is of no use",
            ),
            ("{xds: grpc://a:1, etcd_user: root}", "setting etcd_password_file: not set, and etcd_user is"),
            ("{xds: grpc://a:1, node_metadata: 3}", "setting node_metadata: 3 is not a JSON object"),
            ("[1]", "configuration text: an object of settings is expected"),
            ("{", "configuration text: "),
        ] {
            let error = Config::from_text(text).unwrap_err().to_string();
            assert!(error.starts_with(wanted), "{text}: {error}");
            assert_eq!(error.lines().count(), 1, "{text}: {error}");
        }
    }

    #[test]
    fn every_default_in_the_table_is_the_default() {
        let table = SETTINGS.iter().filter(|s| !s.default.is_empty());
        let mut settings: Map<String, Value> =
            table.map(|s| (s.name.to_owned(), Value::from(s.default))).collect();
        settings.insert("xds".to_owned(), Value::from("grpc://a:1"));
        let expected = Config { xds: "grpc://a:1".to_owned(), ..Config::default() };
        assert_eq!(Config::from_settings(settings).unwrap(), expected);
    }
}
