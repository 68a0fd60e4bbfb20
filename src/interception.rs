//! Traffic interception: the iptables rules that send a pod's TCP connections through its sidecar.
//!
//! In: [`Options`], and what the nat tables hold now ([`present`]). Out: text for `iptables-restore --noflush` and
//! its IPv6 twin ([`rules`], [`removal`]), which [`restore`] hands to the kernel. Each family is one transaction: all
//! of it is in force or none of it.
//!
//! It never touches a chain whose name does not start with `APISIX_MESH_`, save for its own jumps out of `OUTPUT` and
//! `PREROUTING`; it never captures what the sidecar itself sends (that would loop); it captures TCP only. Only the
//! command uses it: the library inside nginx starts no process.

mod ports;
mod rules;
mod system;

pub use ports::{ParseError, PortList, Ports, User};
pub use rules::{removal, rules};
pub use system::{Error, present, restore};

use std::num::NonZeroU16;

/// What to capture and where to send it. The fields are the command's flags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Whom nginx runs as; what this user sends is never captured.
    pub apisix_user: User,
    /// Where captured outbound connections go.
    pub apisix_port: NonZeroU16,
    /// Where captured inbound connections go.
    pub apisix_inbound_capture_port: NonZeroU16,
    /// The ports whose inbound connections are captured.
    pub inbound_ports: Ports,
    /// Inbound ports left alone, whatever `inbound_ports` says.
    pub inbound_exclude_ports: PortList,
    /// The ports whose outbound connections are captured.
    pub outbound_ports: Ports,
    /// Outbound ports left alone, whatever `outbound_ports` says.
    pub outbound_exclude_ports: PortList,
}

impl Default for Options {
    /// Captures nothing.
    fn default() -> Self {
        Self {
            apisix_user: User::default(),
            apisix_port: NonZeroU16::new(9080).expect("not 0"),
            apisix_inbound_capture_port: NonZeroU16::new(9081).expect("not 0"),
            inbound_ports: Ports::default(),
            inbound_exclude_ports: PortList::default(),
            outbound_ports: Ports::default(),
            outbound_exclude_ports: PortList::default(),
        }
    }
}

/// The nat table of both families, as text of `iptables-save` or for `iptables-restore`. Empty: nothing there, or
/// nothing to do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tables {
    /// For `iptables`.
    pub v4: String,
    /// For `ip6tables`.
    pub v6: String,
}
