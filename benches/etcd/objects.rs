//! What both systems hold: routes of some five hundred bytes.

use apisix_mesh::apisix::{Directory, Key};
use bytes::Bytes;

use crate::door::Span;

/// The directory of all objects.
pub fn routes() -> Span {
    Span { from: "/apisix/routes".to_owned(), to: "/apisix/routet".to_owned() }
}

/// All there is, as APISIX's master lists it at start.
pub fn everything() -> Span {
    Span { from: "/apisix".to_owned(), to: "/apisiy".to_owned() }
}

/// What APISIX watches.
pub fn watched() -> Span {
    Span { from: "/apisix/".to_owned(), to: "/apisix0".to_owned() }
}

/// The `index`th key.
pub fn key(index: usize) -> Key {
    Key::new(Directory::Routes, &format!("{index:016x}"))
}

/// The same as etcd's clients see it.
pub fn full_key(index: usize) -> String {
    format!("/apisix{}", key(index))
}

/// A value, another one for each `edition`.
pub fn value(index: usize, edition: usize) -> Bytes {
    let name = "a-service-of-the-mesh.some-namespace.svc.cluster.local";
    let text = format!(
        r#"{{"id":"{index:016x}","name":"{name}/{index}","desc":"{edition:08}","uris":["/api/v1/{index}","/api/v1/{index}/*"],"hosts":["{name}","{index}.{name}"],"methods":["GET","POST"],"priority":100,"vars":[["http_x_version","==","v{edition:08}"],["connection_original_dst","~~",":8080$"]],"plugins":{{"proxy-rewrite":{{"headers":{{"set":{{"x-service":"{name}"}}}}}}}},"upstream_id":"{index:016x}","timeout":{{"connect":10,"send":15,"read":15}},"status":1}}"#
    );
    text.into()
}
