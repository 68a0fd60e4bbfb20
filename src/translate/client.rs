//! Who the client of a request is, as a connection manager is told to find out.
//!
//! In: the connection manager's rules about X-Forwarded-For. Out: conditions on the client's address (mapping rows 77
//! and 139). Guards are read before it is known which connection manager serves them, so they ask for the variable
//! [`CLIENT`], which is replaced here. Never here: what a guard does with it.

use crate::{
    apisix::{Condition, Operand, Operator},
    pb::{
        envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager, path::Path,
    },
};

use super::{
    Severity,
    effect::Case,
    network::{IPV4, IPV6, Network},
    note::Notes,
};

/// Stands for the client's address until the connection manager is known. No nginx variable has a name like it.
const CLIENT: &str = "(client)";
/// The address that a connection comes from, whatever headers say.
pub(super) const PEER: &str = "realip_remote_addr";
const FORWARDED_FOR: &str = "http_x_forwarded_for";
const MAX_HOPS: u32 = 100;

/// How the client's address is found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum ClientAddress {
    /// It is where the connection comes from.
    #[default]
    Peer,
    /// It is in X-Forwarded-For, with so many addresses behind it, or else where the connection comes from.
    Forwarded { behind: u32 },
    /// An extension finds it.
    Unknown,
}

/// The client's address belongs to the network.
pub(super) fn is_within(network: Network) -> Condition {
    network.contains(CLIENT)
}

impl ClientAddress {
    /// Reads the rules of the connection manager at `path`.
    pub fn read(manager: &HttpConnectionManager, path: &Path<'_>, notes: &mut Notes) -> Self {
        let from_connection = manager.use_remote_address == Some(true);
        if from_connection {
            let detail = "honoured by guards alone: APISIX says of itself who the client is";
            notes.approximated(&path.field("use_remote_address"), detail);
        }
        let hops = manager.xff_num_trusted_hops;
        if hops > 0 {
            let detail =
                "honoured by guards alone: the upstream and everything else see the connection's address";
            notes.traffic(&path.field("xff_num_trusted_hops"), detail);
        }
        if !manager.original_ip_detection_extensions.is_empty() || hops > MAX_HOPS {
            return Self::Unknown;
        }
        match (from_connection, hops) {
            (true, 0) => Self::Peer,
            (true, hops) => Self::Forwarded { behind: hops - 1 },
            (false, hops) => Self::Forwarded { behind: hops },
        }
    }

    /// Puts the client's address into the conditions of all cases of the route at `path`. Where it cannot be told, the
    /// route is unguarded.
    pub fn resolve(self, cases: &mut [Case], path: &Path<'_>, notes: &mut Notes) {
        let mut told = true;
        for case in cases.iter_mut() {
            let when: Option<Vec<_>> = case.when.iter().map(|c| self.replace(c)).collect();
            match when {
                Some(when) => case.when = when,
                None => told = false,
            }
        }
        if !told {
            let detail = "a guard asks for the client's address, which no condition finds";
            notes.add(Severity::Security, path, detail);
            cases.iter_mut().for_each(|case| case.effect.unguarded = true);
        }
    }

    fn replace(self, condition: &Condition) -> Option<Condition> {
        let all = |parts: &[Condition]| parts.iter().map(|c| self.replace(c)).collect::<Option<Vec<_>>>();
        Some(match condition {
            Condition::All(parts) => Condition::All(all(parts)?),
            Condition::Any(parts) => Condition::Any(all(parts)?),
            Condition::NotAll(parts) => Condition::NotAll(all(parts)?),
            Condition::Test { variable, negated, operator, operand } if variable == CLIENT => {
                let test = self.test(*operator, operand)?;
                if *negated { !test } else { test }
            }
            other => other.clone(),
        })
    }

    fn test(self, operator: Operator, operand: &Operand) -> Option<Condition> {
        let peer = Condition::test(PEER, operator, operand.clone());
        let behind = match self {
            Self::Peer => return Some(peer),
            Self::Unknown => return None,
            Self::Forwarded { behind } => behind,
        };
        let place = |address: &str| {
            Condition::matches(
                FORWARDED_FOR,
                format!(r"(?:^|,)[ \t]*{address}[ \t]*(?:,[^,]*){{{behind}}}\z"),
            )
        };
        let named = place(&text_pattern(operator, operand)?);
        let somebody = place(&format!("(?:{IPV4}|{IPV6})"));
        Some(Condition::Any(vec![named, Condition::All(vec![!somebody, peer])]))
    }
}

/// The same test on text.
fn text_pattern(operator: Operator, operand: &Operand) -> Option<String> {
    match (operator, operand) {
        (Operator::IpMatch, Operand::List(networks)) => {
            let patterns: Option<Vec<_>> =
                networks.iter().map(|text| Network::parse(text).and_then(Network::pattern)).collect();
            Some(format!("(?:{})", patterns?.join("|")))
        }
        (_, Operand::Text(text)) if text == ":" => Some(IPV6.to_owned()),
        _ => Some(IPV4.to_owned()),
    }
}
