//! From settings and the pod's environment to the renewal of the workload's certificate.

use tokio::sync::watch;

use crate::{
    config::{Config, Vars},
    error::Error,
    grpc::{Peer, Security},
    identity::{Renewal, Workload},
    xds::SourceOptions,
};

/// The renewal, if there is to be one; what it gets is shown to the control plane and, for the next, to the authority.
pub fn renewal(
    config: &Config,
    vars: &dyn Vars,
    options: &mut SourceOptions,
) -> Result<Option<Renewal>, Error> {
    if !config.workload_certificates {
        return Ok(None);
    }
    let (identity, identities) = watch::channel(None);
    options.security.identity = Some(identities);
    let (uri, peer) = authority(config, options.security.clone())?;
    let peer = peer.in_cluster(options.cluster()).polling(options.poll_interval);
    let workload = workload(config, vars, options);
    Renewal::new(uri, peer, &workload, options.backoff, identity).map(Some)
}

/// The authority is the first control plane, unless it has an address of its own, and then a name of its own.
fn authority(config: &Config, security: Security) -> Result<(&str, Peer), Error> {
    let (setting, uri, security) = match &config.ca_address {
        Some(uri) => ("ca_address", uri.as_str(), Security { server_name: None, ..security }),
        None => ("xds", config.xds.split(',').next().unwrap_or_default().trim(), security),
    };
    if !uri.starts_with("grpcs://") {
        let problem = match setting {
            "xds" => {
                format!("not set, and xds {uri:?} cannot certify: give it grpcs://HOST:PORT of the authority")
            }
            _ => format!("{uri:?} is not grpcs://HOST:PORT: certificates are not asked for in the clear"),
        };
        return Err(Error::config("ca_address", problem));
    }
    Ok((uri, Peer::new(setting, uri, &security)?))
}

fn workload(config: &Config, vars: &dyn Vars, options: &SourceOptions) -> Workload {
    let domain = config.trust_domain.clone().or_else(|| vars.get("TRUST_DOMAIN").filter(|d| !d.is_empty()));
    let account = options.node.metadata.get("SERVICE_ACCOUNT").and_then(|account| account.as_str());
    Workload {
        trust_domain: domain.unwrap_or_else(|| "cluster.local".to_owned()),
        namespace: options.node.namespace.clone(),
        service_account: account.unwrap_or("default").to_owned(),
        lifetime: config.workload_certificate_ttl,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ProcessVars;

    fn started(settings: &str) -> Result<(Option<Renewal>, SourceOptions), Error> {
        let config = Config::from_text(settings)?;
        let mut options = crate::agent::source::options(&config, &ProcessVars);
        renewal(&config, &ProcessVars, &mut options).map(|renewal| (renewal, options))
    }

    #[test]
    fn nobody_is_asked_unless_it_is_set() {
        let (renewal, options) = started("{xds: 'grpcs://a:1', xds_ca_file: /ca}").unwrap();
        assert!(renewal.is_none() && options.security.identity.is_none());
    }

    #[test]
    fn the_authority_is_the_control_plane_or_has_its_own_address() {
        let base = "workload_certificates: true, xds_ca_file: /ca, xds_token_file: /t, trust_domain: td";
        for (address, authority) in [
            ("xds: 'grpcs://a:1'", "grpcs://a:1"),
            ("xds: 'grpcs://a:1', ca_address: 'grpcs://b:2'", "grpcs://b:2"),
            ("xds: file:///x, ca_address: 'grpcs://b:2'", "grpcs://b:2"),
        ] {
            let (renewal, options) = started(&format!("{{{base}, {address}}}")).unwrap();
            assert_eq!(renewal.unwrap().status().get().authority, authority);
            assert!(options.security.identity.is_some());
        }
    }

    #[test]
    fn what_cannot_certify_is_refused() {
        let base = "workload_certificates: true, xds_ca_file: /ca";
        for (more, wanted) in [
            ("xds: file:///x", "setting ca_address: not set"),
            ("xds: 'grpc://a:1'", "setting ca_address: not set"),
            ("xds: file:///x, ca_address: 'grpc://a:1'", "setting ca_address: \"grpc://a:1\""),
            ("xds: file:///x, ca_address: 'grpcs://a'", "setting ca_address: \"grpcs://a\" has no port"),
            ("xds: 'grpcs://a:1', trust_domain: a/b", "setting trust_domain: \"a/b\""),
            ("xds: 'grpcs://a:1', pod_namespace: ''", "setting pod_namespace: \"\""),
            ("xds: 'grpcs://a:1', node_metadata: {SERVICE_ACCOUNT: 'a b'}", "setting node_metadata: \"a b\""),
        ] {
            let error = started(&format!("{{{base}, {more}}}")).err().unwrap().to_string();
            assert!(error.starts_with(wanted), "{more}: {error}");
        }
    }
}
