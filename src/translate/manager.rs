//! An HttpConnectionManager: what it does to every request, whatever its route.
//!
//! In: the message. Out: its filters, ready to be applied to routes, and its other rules. Never here: which
//! connections it serves, and its routes.

use xxhash_rust::xxh3::xxh3_64;

use crate::pb::{
    envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager, path::Path,
};

use super::{client::ClientAddress, filter::Filters, note::Notes};

/// The rules of one connection manager.
#[derive(Debug, Default)]
pub(super) struct Manager {
    /// Of all that its routes come from: two of the same are one.
    pub hash: u64,
    pub filters: Filters,
    /// Whom guards take for the client.
    pub client: ClientAddress,
    /// Something that guards the whole chain is not honoured.
    pub unguarded: bool,
}

impl Manager {
    /// Reads the message at `path`, encoded as `bytes`. Everything that nothing reads must have been noted.
    pub fn read(
        manager: &HttpConnectionManager,
        unguarded: bool,
        path: &Path<'_>,
        notes: &mut Notes,
    ) -> Self {
        for (at, upgrade) in manager.upgrade_configs.iter().enumerate() {
            if !upgrade.upgrade_type.eq_ignore_ascii_case("websocket") && upgrade.enabled != Some(false) {
                let path = path.item("upgrade_configs", at);
                notes.traffic(&path, format!("upgrade {:?} is not passed on", upgrade.upgrade_type));
            }
        }
        let filters = Filters::read(&manager.http_filters, path, notes);
        let client = ClientAddress::read(manager, path, notes);
        // Of the filters as they came, not as they were read: what does nothing today may do something tomorrow.
        let text = format!("{:?} {client:?} {unguarded}", manager.http_filters);
        Self { hash: xxh3_64(text.as_bytes()), filters, client, unguarded }
    }
}
