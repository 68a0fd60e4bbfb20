//! Who this client says it is: the node of every first request.
//!
//! In: settings and the pod's environment. Out: Envoy's `Node`. istiod reads the id as `TYPE~IP~ID~DOMAIN` and refuses
//! the stream otherwise; selectors and `sourceLabels` need the metadata, and silently match nothing without it.

use serde_json::{Map, Value, json};

use crate::{
    config::Vars,
    pb::{
        envoy::config::core::v3::{Node, node::UserAgentVersionType},
        google::protobuf::{self, ListValue, Struct, value::Kind},
    },
};

/// Where istiod's injector mounts the labels of the pod.
pub const LABELS_FILE: &str = "/etc/istio/pod/labels";

/// What the node is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeConfig {
    /// `sidecar` or `router`.
    pub node_type: String,
    /// The pod's address.
    pub ip: String,
    /// The pod's name.
    pub name: String,
    /// The pod's namespace.
    pub namespace: String,
    /// The DNS domain of the node; `<namespace>.svc.cluster.local` when empty.
    pub domain: String,
    /// The whole id, for control planes that are not istiod.
    pub node_id: Option<String>,
    /// Goes over what is derived.
    pub metadata: Map<String, Value>,
}

impl Default for NodeConfig {
    fn default() -> Self {
        Self {
            node_type: "sidecar".to_owned(),
            ip: "127.0.0.1".to_owned(),
            name: "apisix-mesh".to_owned(),
            namespace: "default".to_owned(),
            domain: String::new(),
            node_id: None,
            metadata: Map::new(),
        }
    }
}

impl NodeConfig {
    /// What the pod tells of itself, as istio-agent reads it. `labels` is the content of [`LABELS_FILE`].
    pub fn from_pod(vars: &dyn Vars, labels: Option<&str>) -> Self {
        let mut config = Self::default();
        let first = |names: &[&str]| names.iter().find_map(|n| vars.get(n).filter(|v| !v.is_empty()));
        if let Some(ip) = first(&["INSTANCE_IP", "POD_IP"]) {
            config.ip = ip;
        }
        if let Some(name) = first(&["POD_NAME", "HOSTNAME"]) {
            config.name = name;
        }
        if let Some(namespace) = first(&["POD_NAMESPACE"]) {
            config.namespace = namespace;
        }
        if let Some(account) = first(&["SERVICE_ACCOUNT"]) {
            config.metadata.insert("SERVICE_ACCOUNT".to_owned(), Value::String(account));
        }
        if let Some(labels) = labels {
            config.metadata.insert("LABELS".to_owned(), Value::Object(parse_labels(labels)));
        }
        config.read_istio_meta(vars);
        config
    }

    /// `ISTIO_META_X=text` sets X; the members of the object in `ISTIO_METAJSON_*` are set one by one.
    fn read_istio_meta(&mut self, vars: &dyn Vars) {
        let mut names = vars.names();
        names.sort();
        for name in names {
            let Some(value) = vars.get(&name) else { continue };
            if let Some(key) = name.strip_prefix("ISTIO_META_") {
                self.metadata.insert(key.to_owned(), Value::String(value));
            } else if name.starts_with("ISTIO_METAJSON_") {
                match serde_json::from_str::<Map<String, Value>>(&value) {
                    Ok(members) => self.metadata.extend(members),
                    Err(e) => tracing::warn!("{name}: a JSON object is expected: {e}; ignored"),
                }
            }
        }
    }

    /// The node as it is sent.
    pub fn node(&self) -> Node {
        let mut metadata = json!({
            "NAMESPACE": self.namespace,
            "INSTANCE_IPS": self.ip,
        });
        let members = metadata.as_object_mut().expect("made as an object");
        members.extend(self.metadata.clone());
        let labels = self.metadata.get("LABELS");
        Node {
            id: self.node_id.clone().unwrap_or_else(|| self.istio_id()),
            cluster: self.cluster(labels),
            metadata: Some(to_struct(members)),
            locality: None,
            user_agent_name: env!("CARGO_PKG_NAME").to_owned(),
            user_agent_version_type: Some(UserAgentVersionType::UserAgentVersion(
                env!("CARGO_PKG_VERSION").to_owned(),
            )),
            client_features: vec![
                "envoy.lb.does_not_support_overprovisioning".to_owned(),
                "xds.config.resource-in-sotw".to_owned(),
            ],
        }
    }

    fn istio_id(&self) -> String {
        let Self { node_type, ip, name, namespace, .. } = self;
        let domain = match self.domain.as_str() {
            "" => format!("{namespace}.svc.cluster.local"),
            domain => domain.to_owned(),
        };
        format!("{node_type}~{ip}~{name}.{namespace}~{domain}")
    }

    /// `app.namespace`, as istio-agent names the service that a proxy stands for.
    fn cluster(&self, labels: Option<&Value>) -> String {
        let app = labels.and_then(|l| l.get("app")).and_then(Value::as_str).unwrap_or(&self.name);
        format!("{app}.{}", self.namespace)
    }
}

/// The downward API's `key="value"` lines; the value is quoted as Go quotes strings.
fn parse_labels(text: &str) -> Map<String, Value> {
    let mut labels = Map::new();
    for line in text.lines() {
        let Some((key, quoted)) = line.split_once('=') else { continue };
        let value =
            serde_json::from_str::<String>(quoted).unwrap_or_else(|_| quoted.trim_matches('"').to_owned());
        labels.insert(key.trim().to_owned(), Value::String(value));
    }
    labels
}

fn to_struct(members: &Map<String, Value>) -> Struct {
    Struct { fields: members.iter().map(|(key, value)| (key.clone(), to_value(value))).collect() }
}

fn to_value(value: &Value) -> protobuf::Value {
    let kind = match value {
        Value::Null => Kind::NullValue(0),
        Value::Bool(b) => Kind::BoolValue(*b),
        Value::Number(n) => Kind::NumberValue(n.as_f64().unwrap_or_default()),
        Value::String(s) => Kind::StringValue(s.clone()),
        Value::Array(items) => Kind::ListValue(ListValue { values: items.iter().map(to_value).collect() }),
        Value::Object(members) => Kind::StructValue(to_struct(members)),
    };
    protobuf::Value { kind: Some(kind) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    struct Pod(BTreeMap<&'static str, &'static str>);

    impl Vars for Pod {
        fn get(&self, name: &str) -> Option<String> {
            self.0.get(name).map(|v| (*v).to_owned())
        }
        fn names(&self) -> Vec<String> {
            self.0.keys().map(|n| (*n).to_owned()).collect()
        }
    }

    fn text(node: &Node, key: &str) -> Option<String> {
        match node.metadata.as_ref()?.fields.get(key)?.kind.as_ref()? {
            Kind::StringValue(s) => Some(s.clone()),
            other => Some(format!("{other:?}")),
        }
    }

    #[test]
    fn a_pod_is_named_as_istiod_wants_it() {
        let pod = Pod(BTreeMap::from([
            ("INSTANCE_IP", "10.0.0.7"),
            ("POD_IP", "10.0.0.8"),
            ("POD_NAME", "web-1"),
            ("POD_NAMESPACE", "shop"),
            ("SERVICE_ACCOUNT", "web"),
            ("ISTIO_META_CLUSTER_ID", "Kubernetes"),
            ("ISTIO_METAJSON_X", r#"{"A": {"b": [1, true, null]}}"#),
            ("ISTIO_METAJSON_BAD", "["),
        ]));
        let config = NodeConfig::from_pod(&pod, Some("app=\"web\"\nnote=\"a\\\"b\"\n"));
        let node = config.node();
        assert_eq!(node.id, "sidecar~10.0.0.7~web-1.shop~shop.svc.cluster.local");
        assert_eq!(node.cluster, "web.shop");
        for (key, value) in [
            ("NAMESPACE", "shop"),
            ("INSTANCE_IPS", "10.0.0.7"),
            ("SERVICE_ACCOUNT", "web"),
            ("CLUSTER_ID", "Kubernetes"),
        ] {
            assert_eq!(text(&node, key).as_deref(), Some(value), "{key}");
        }
        assert!(text(&node, "LABELS").unwrap().contains("a\\\"b"));
        assert!(text(&node, "A").unwrap().contains("BoolValue(true)"));
    }

    #[test]
    fn an_id_of_ones_own_goes_over_the_derived_one() {
        let config = NodeConfig { node_id: Some("edge-1".to_owned()), ..Default::default() };
        assert_eq!(config.node().id, "edge-1");
    }
}
