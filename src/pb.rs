//! Protobuf: the types that `build.rs` makes of `src/pb/proto`, and their JSON form.
//!
//! In: bytes from the wire, or JSON/YAML documents. Out: prost messages, or the same bytes a control plane would
//! have sent. Fields that nothing reads are not in the Rust types; [`unread`] finds them in the bytes.
//! Never here: what a message means.

#[allow(clippy::all, clippy::pedantic, missing_docs, rustdoc::all)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/pb.rs"));
}

pub mod json;
pub mod path;
pub mod unread;
pub mod wire;

pub use generated::*;

/// The prefix of every type URL in xDS.
pub const TYPE_URL_PREFIX: &str = "type.googleapis.com/";

/// The message name behind a type URL: what follows the last slash.
pub fn message_name(type_url: &str) -> &str {
    type_url.rsplit('/').next().unwrap_or(type_url)
}
