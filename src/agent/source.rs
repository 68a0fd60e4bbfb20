//! From settings and the pod's environment to the options of the xDS source.

use crate::{
    config::{Config, OnUnsupported, Vars},
    grpc::Security,
    translate,
    xds::{
        Objection, SourceOptions,
        node::{LABELS_FILE, NodeConfig},
    },
};

/// A setting wins over what the environment says.
pub fn options(config: &Config, vars: &dyn Vars) -> SourceOptions {
    let labels = std::fs::read_to_string(LABELS_FILE).ok();
    let mut node = NodeConfig::from_pod(vars, labels.as_deref());
    node.node_type.clone_from(&config.node_type);
    node.node_id.clone_from(&config.node_id);
    for (setting, part) in [
        (&config.node_ip, &mut node.ip),
        (&config.pod_name, &mut node.name),
        (&config.pod_namespace, &mut node.namespace),
        (&config.node_domain, &mut node.domain),
    ] {
        if let Some(setting) = setting {
            part.clone_from(setting);
        }
    }
    node.metadata.extend(config.node_metadata.clone());
    SourceOptions {
        node,
        mode: config.xds_mode,
        security: security(config),
        initial_fetch_timeout: config.initial_fetch_timeout,
        max_response_bytes: config.xds_max_message_size,
        objection: objection(config.on_unsupported),
        overlay: config.xds_overlay.clone(),
        ..SourceOptions::default()
    }
}

fn security(config: &Config) -> Security {
    Security {
        ca_file: config.xds_ca_file.clone(),
        server_name: config.xds_server_name.clone(),
        token_file: config.xds_token_file.clone(),
        cert_file: config.xds_cert_file.clone(),
        key_file: config.xds_key_file.clone(),
        identity: None,
    }
}

/// Reasons named in one refusal.
const MAX_REASONS: usize = 3;

/// Under `strict`, what asks for anything that touches traffic or security and is not honoured is refused.
pub fn objection(policy: OnUnsupported) -> Objection {
    if policy != OnUnsupported::Strict {
        return Objection::default();
    }
    Objection::new(|kind, resource| {
        let issues = translate::unsupported(kind, resource);
        if issues.is_empty() {
            return Ok(());
        }
        let mut reasons: Vec<String> =
            issues.iter().take(MAX_REASONS).map(|i| format!("{}: {}", i.path, i.detail)).collect();
        if issues.len() > MAX_REASONS {
            reasons.push(format!("and {} more", issues.len() - MAX_REASONS));
        }
        Err(reasons.join("; "))
    })
}
