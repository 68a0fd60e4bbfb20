//! Compressors: answers get smaller on their way down. Mapping row 89.
//!
//! In: the filter's configuration. Out: gzip, where that is the library. Never here: other libraries, and requests.

use std::sync::Arc;

use super::Filter;
use crate::{
    apisix::Gzip,
    pb::{envoy::extensions::filters::http::compressor::v3::Compressor, message_name, path::Path},
    translate::{effect::Case, note::Notes},
};

const GZIP: &str = "envoy.extensions.compression.gzip.compressor.";
/// Envoy's defaults.
const MIN_LENGTH: u32 = 30;
const TYPES: [&str; 8] = [
    "application/javascript",
    "application/json",
    "application/xhtml+xml",
    "image/svg+xml",
    "text/css",
    "text/html",
    "text/plain",
    "text/xml",
];

/// Reads the filter of a chain.
pub(super) fn read(bytes: &[u8], path: &Path<'_>, notes: &mut Notes) -> Option<Arc<dyn Filter>> {
    let config: Compressor = super::decode(bytes, path, notes)?;
    let common =
        config.response_direction_config.as_ref().and_then(|response| response.common_config.as_ref());
    let enabled = match common {
        Some(common) => common.enabled.as_ref(),
        None => config.runtime_enabled.as_ref(),
    };
    if enabled.is_some_and(|flag| flag.default_value == Some(false)) {
        return None;
    }
    let library = config.compressor_library.as_ref().and_then(|library| library.typed_config.as_ref());
    let library = library.map(|any| message_name(&any.type_url)).unwrap_or_default();
    if !library.starts_with(GZIP) {
        let detail = format!("{library:?} is not supported: nothing is compressed");
        notes.traffic(&path.field("compressor_library"), detail);
        return None;
    }
    notes.approximated(path, "compresses as nginx does, at its own level");
    let (types, min_length) = match common {
        Some(common) => (&common.content_type, common.min_content_length),
        None => (&config.content_type, config.content_length),
    };
    let types = if types.is_empty() { TYPES.map(str::to_owned).to_vec() } else { types.clone() };
    let min_length = min_length.unwrap_or(MIN_LENGTH).max(1);
    Some(Arc::new(Compressed(Gzip { types, min_length: Some(min_length), vary: true, ..Gzip::default() })))
}

/// Reads what a route says: it only ever turns the filter off here.
pub(super) fn read_route(_: &[u8], _: &Path<'_>, _: &mut Notes) -> Option<Arc<dyn Filter>> {
    None
}

/// Answers are compressed.
#[derive(Debug)]
struct Compressed(Gzip);

impl Filter for Compressed {
    fn apply(&self, cases: &mut Vec<Case>) {
        for case in cases {
            case.effect.plugins.gzip = Some(self.0.clone());
        }
    }
}
