//! The table of settings, as the README and the command show it.

/// One setting as the documentation shows it.
pub struct Setting {
    /// The key in the file.
    pub name: &'static str,
    /// The default, as one would write it; empty when there is none.
    pub default: &'static str,
    /// What it does, in one line.
    pub doc: &'static str,
}

/// All settings, in the order of the README's table.
pub const SETTINGS: &[Setting] = &[
    Setting {
        name: "xds",
        default: "",
        doc: "where configuration comes from: `grpcs://HOST:PORT` (ADS over TLS), `grpc://HOST:PORT` (plaintext) or `file:///PATH` (a file or folder); several control planes, with commas between them, are tried in order",
    },
    Setting {
        name: "xds_overlay",
        default: "",
        doc: "files laid over the control plane's resources: `file:///PATH`; one of theirs takes the place of the control plane's of the same type and name",
    },
    Setting {
        name: "xds_mode",
        default: "delta",
        doc: "the variant of ADS to ask for: `delta`, or `sotw` (state of the world); a control plane without delta is asked for the latter at once",
    },
    Setting {
        name: "xds_ca_file",
        default: "",
        doc: "PEM file of the roots that the certificate of `grpcs://` must chain to, which needs it; in a pod of Istio `/var/run/secrets/istio/root-cert.pem`; read, like the files below, at each connection, so that they can be renewed while it runs",
    },
    Setting {
        name: "xds_server_name",
        default: "",
        doc: "DNS name or IP address that the certificate of `grpcs://` must name instead of HOST; sent as SNI too",
    },
    Setting {
        name: "xds_token_file",
        default: "",
        doc: "file of the bearer token for the control plane, read for each call; in a pod of Istio `/var/run/secrets/tokens/istio-token`; only over `grpcs://`",
    },
    Setting {
        name: "xds_cert_file",
        default: "",
        doc: "PEM file of this client's certificate and those between it and its root, for `grpcs://`; with `xds_key_file`",
    },
    Setting { name: "xds_key_file", default: "", doc: "PEM file of the key of `xds_cert_file`" },
    Setting {
        name: "workload_certificates",
        default: "false",
        doc: "get the workload's certificate from Istio's certificate authority and keep it renewed, in memory alone unless `upstream_tls` hands it to APISIX; shown to the control plane where `xds_cert_file` is not set",
    },
    Setting {
        name: "workload_certificate_ttl",
        default: "86400",
        doc: "seconds that certificate is asked to be good for; 0 leaves it to the authority, which may refuse what is too long for it",
    },
    Setting {
        name: "ca_address",
        default: "",
        doc: "`grpcs://HOST:PORT` of that authority, which the certificate must name; the control plane of `xds` when not set",
    },
    Setting {
        name: "trust_domain",
        default: "",
        doc: "the first part of the SPIFFE id that is asked for; `TRUST_DOMAIN` when not set, else `cluster.local`",
    },
    Setting {
        name: "xds_max_message_size",
        default: "0",
        doc: "largest response taken, in bytes; 0 is no limit",
    },
    Setting {
        name: "initial_fetch_timeout",
        default: "15",
        doc: "seconds to wait for a resource that another refers to, before the first configuration is served without it",
    },
    Setting {
        name: "etcd_listen",
        default: "127.0.0.1:2379",
        doc: "the etcd endpoint: `HOST:PORT`, `unix:PATH`, `fd:N` for a listening socket inherited from the parent, or `off`",
    },
    Setting {
        name: "etcd_allow_remote",
        default: "false",
        doc: "let `etcd_listen` be an address other than loopback; whoever reaches it reads the whole configuration, unless `etcd_user` or `etcd_trusted_ca_file` keeps them out",
    },
    Setting {
        name: "etcd_cert_file",
        default: "",
        doc: "PEM file of the endpoint's certificate and those between it and its root: makes it TLS (`https` in APISIX); with `etcd_key_file`; renewed files count from the next connection on",
    },
    Setting { name: "etcd_key_file", default: "", doc: "PEM file of the key of `etcd_cert_file`" },
    Setting {
        name: "etcd_trusted_ca_file",
        default: "",
        doc: "PEM file of the roots that clients' certificates must chain to (APISIX's `deployment.etcd.tls`); empty asks for none",
    },
    Setting {
        name: "etcd_user",
        default: "",
        doc: "the only user (APISIX's `deployment.etcd.user`), who must log in before anything is answered; empty lets in all who reach the endpoint, under any name and password; with `etcd_password_file`",
    },
    Setting {
        name: "etcd_password_file",
        default: "",
        doc: "file with the password of `etcd_user`, read at the start",
    },
    Setting {
        name: "etcd_prefix",
        default: "/apisix",
        doc: "the prefix of all keys; APISIX's `deployment.etcd.prefix`",
    },
    Setting {
        name: "state_dir",
        default: "",
        doc: "a directory of this library's own, shared by the processes of which one hosts: the others follow it there and take its place; the last known good configuration is kept in it, to be served after a restart until the control plane answers; empty keeps and shares nothing",
    },
    Setting {
        name: "on_unsupported",
        default: "closed",
        doc: "what becomes of routes that ask for what APISIX cannot do: `closed` answers 403 where security depends on it and serves the rest, `serve` serves all, `strict` refuses such resources (NACK)",
    },
    Setting {
        name: "upstream_tls",
        default: "off",
        doc: "what becomes of clusters that ask for TLS to their endpoints: `off` leaves them to `on_unsupported`; `unverified` serves them over TLS, with the certificate of `workload_certificates` where they ask for the workload's (APISIX gets it as an `ssl` object, and whoever reaches `etcd_listen` can read its key), but APISIX checks no endpoint's certificate or SPIFFE name: whoever answers in an endpoint's place reads all that is sent to it",
    },
    Setting { name: "log_level", default: "info", doc: "`error`, `warn`, `info` or `debug`" },
    Setting {
        name: "node_id",
        default: "",
        doc: "the whole node id, instead of `TYPE~IP~NAME.NAMESPACE~DOMAIN`",
    },
    Setting {
        name: "node_type",
        default: "sidecar",
        doc: "the first part of the node id: `sidecar` or `router`",
    },
    Setting {
        name: "node_ip",
        default: "",
        doc: "the pod's address; `INSTANCE_IP` or `POD_IP` when not set",
    },
    Setting { name: "pod_name", default: "", doc: "`POD_NAME` when not set" },
    Setting { name: "pod_namespace", default: "", doc: "`POD_NAMESPACE` when not set, else `default`" },
    Setting {
        name: "node_domain",
        default: "",
        doc: "the last part of the node id, instead of `NAMESPACE.svc.cluster.local`",
    },
    Setting {
        name: "node_metadata",
        default: "{}",
        doc: "a JSON object, laid over the metadata made from the environment",
    },
];
