//! Principals: who asks.

use super::{policy::Unknown, test};
use crate::{
    apisix::Condition,
    pb::{
        envoy::config::{
            core::v3::CidrRange,
            rbac::v3::{Principal, principal::Identifier},
        },
        path::Path,
    },
    translate::{bounds::Bounds, client, network::Network, note::Notes},
};

/// The request comes from it.
pub(super) fn test(principal: &Principal, unknown: &Unknown, path: &Path<'_>, notes: &mut Notes) -> Bounds {
    let mut each = |ids: &[Principal], field: &str| -> Vec<Bounds> {
        let path = path.field(field);
        ids.iter().enumerate().map(|(at, id)| test(id, unknown, &path.item("ids", at), notes)).collect()
    };
    let peer = |network: Network| network.contains(client::PEER);
    let field = match &principal.identifier {
        Some(Identifier::AndIds(set)) => return Bounds::all(each(&set.ids, "and_ids")),
        Some(Identifier::OrIds(set)) => return Bounds::any(each(&set.ids, "or_ids")),
        Some(Identifier::NotId(id)) => return !test(id, unknown, &path.field("not_id"), notes),
        Some(Identifier::Any(any)) => return Bounds::constant(*any),
        Some(Identifier::Header(header)) => {
            return test::header(header, unknown, &path.field("header"), notes);
        }
        Some(Identifier::UrlPath(matcher)) => {
            return test::path(matcher, unknown, &path.field("url_path"), notes);
        }
        Some(Identifier::SourceIp(range)) => {
            return address(range, peer, unknown, &path.field("source_ip"), notes);
        }
        Some(Identifier::RemoteIp(range)) => {
            return address(range, client::is_within, unknown, &path.field("remote_ip"), notes);
        }
        Some(Identifier::DirectRemoteIp(range)) => {
            return address(range, peer, unknown, &path.field("direct_remote_ip"), notes);
        }
        Some(Identifier::Authenticated(_)) => "authenticated",
        Some(Identifier::Metadata(_)) => "metadata",
        Some(Identifier::FilterState(_)) => "filter_state",
        Some(Identifier::SourcedMetadata(_)) => "sourced_metadata",
        Some(Identifier::Custom(_)) => "custom",
        None => return unknown.part(path, "no known principal", notes),
    };
    unknown.part(&path.field(field), "has no counterpart", notes)
}

fn address(
    range: &CidrRange,
    within: impl Fn(Network) -> Condition,
    unknown: &Unknown,
    path: &Path<'_>,
    notes: &mut Notes,
) -> Bounds {
    match Network::of(range) {
        Some(network) => Bounds::when(within(network)),
        None => unknown.part(path, test::NO_NETWORK, notes),
    }
}
