//! Envoy's commands for values, and the variables that APISIX has for them.

use crate::pb::path::Path;

use super::{
    Side,
    format::{Command, Part},
};
use crate::translate::note::Notes;

/// What APISIX replaces by what the command stands for; `None` where there is nothing, or where Envoy knows no such
/// command.
pub(super) fn parts(
    side: Side,
    command: &Command<'_>,
    path: &Path<'_>,
    notes: &mut Notes,
) -> Option<Vec<Part>> {
    let parts = match command.argument {
        Some(argument) => with_argument(side, command.name, argument, path, notes)?,
        None => alone(side, command.name, path, notes)?,
    };
    if command.length.is_some() {
        notes.approximated(path, format!("%{}% is not cut", command.name));
    }
    Some(parts)
}

fn with_argument(
    side: Side,
    name: &str,
    argument: &str,
    path: &Path<'_>,
    notes: &mut Notes,
) -> Option<Vec<Part>> {
    match name {
        "REQ" | "REQUEST_HEADER" => {
            let part = request_header(side, either(argument, path, notes)?, path, notes)?;
            Some(vec![part])
        }
        "RESP" | "RESPONSE_HEADER" => match (side, either(argument, path, notes)?) {
            // No answer is there yet.
            (Side::Request, _) => Some(Vec::new()),
            (Side::Response, ":status") => Some(vec![Part::Variable("status")]),
            (Side::Response, header) => Some(vec![Part::Header(variable_part(header)?)]),
        },
        // Trailers come after the headers.
        "TRAILER" | "RESPONSE_TRAILER" => Some(Vec::new()),
        "QUERY_PARAM" => Some(vec![Part::Optional(format!("arg_{}", variable_part(argument)?))]),
        "PATH" if argument == "NQ" => {
            notes.approximated(path, "the path is decoded and normalised");
            Some(vec![Part::Variable("uri")])
        }
        "PATH" => request_path(side, path, notes),
        _ => None,
    }
}

fn alone(side: Side, name: &str, path: &Path<'_>, notes: &mut Notes) -> Option<Vec<Part>> {
    let variable = |name| Some(vec![Part::Variable(name)]);
    let address =
        |host, port| Some(vec![Part::Variable(host), Part::Text(":".to_owned()), Part::Variable(port)]);
    match name {
        "DOWNSTREAM_REMOTE_ADDRESS" => address("remote_addr", "remote_port"),
        "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT" => variable("remote_addr"),
        "DOWNSTREAM_REMOTE_PORT" => variable("remote_port"),
        "DOWNSTREAM_DIRECT_REMOTE_ADDRESS" => address("realip_remote_addr", "realip_remote_port"),
        "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT" => variable("realip_remote_addr"),
        "DOWNSTREAM_DIRECT_REMOTE_PORT" => variable("realip_remote_port"),
        "DOWNSTREAM_LOCAL_ADDRESS" => variable("connection_original_dst"),
        "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT" | "DOWNSTREAM_LOCAL_PORT" => {
            notes.approximated(path, format!("%{name}% is APISIX's own, not where the connection was going"));
            variable(if name == "DOWNSTREAM_LOCAL_PORT" { "server_port" } else { "server_addr" })
        }
        "PATH" => request_path(side, path, notes),
        "PROTOCOL" => variable("server_protocol"),
        "HOSTNAME" => variable("hostname"),
        "CONNECTION_ID" => variable("connection"),
        "ROUTE_NAME" => Some(vec![Part::Route]),
        "UPSTREAM_CLUSTER" | "UPSTREAM_CLUSTER_RAW" => Some(vec![Part::Cluster]),
        "UPSTREAM_REQUEST_ATTEMPT_COUNT" => {
            notes.approximated(path, "attempts are not counted: always 1");
            Some(vec![Part::Text("1".to_owned())])
        }
        "REQUESTED_SERVER_NAME" => Some(vec![Part::Optional("ssl_server_name".to_owned())]),
        "RESPONSE_CODE" => match side {
            Side::Request => Some(vec![Part::Text("0".to_owned())]),
            Side::Response => variable("status"),
        },
        "UPSTREAM_HOST" | "UPSTREAM_REMOTE_ADDRESS" => match side {
            // No upstream is chosen yet.
            Side::Request => Some(Vec::new()),
            Side::Response => Some(vec![Part::Optional("upstream_addr".to_owned())]),
        },
        _ => None,
    }
}

fn request_path(side: Side, path: &Path<'_>, notes: &mut Notes) -> Option<Vec<Part>> {
    if side == Side::Response {
        notes.approximated(path, "the path as the client sent it, not as it was rewritten");
    }
    Some(vec![Part::Variable("request_uri")])
}

fn request_header(side: Side, name: &str, path: &Path<'_>, notes: &mut Notes) -> Option<Part> {
    match name.to_ascii_lowercase().as_str() {
        ":path" => request_path(side, path, notes)?.pop(),
        ":method" => Some(Part::Variable("request_method")),
        ":authority" | "host" => Some(Part::Variable("http_host")),
        ":scheme" => Some(Part::Variable("scheme")),
        _ => match side {
            Side::Request => Some(Part::Header(variable_part(name)?)),
            Side::Response => {
                Some(Part::Optional(format!("http_{}", variable_part(name)?.replace('-', "_"))))
            }
        },
    }
}

/// Of `name?alternative` the one that can be read.
fn either<'a>(argument: &'a str, path: &Path<'_>, notes: &mut Notes) -> Option<&'a str> {
    let Some((name, alternative)) = argument.split_once('?') else {
        return (!argument.is_empty()).then_some(argument);
    };
    if name.is_empty() || alternative.is_empty() || alternative.contains('?') {
        return None;
    }
    // Only Envoy sets it, when it has rewritten the path.
    if name.eq_ignore_ascii_case("x-envoy-original-path") {
        return Some(alternative);
    }
    notes.approximated(path, format!("without {name:?} the value is empty, not that of {alternative:?}"));
    Some(name)
}

/// What may stand in the name of a variable.
fn variable_part(name: &str) -> Option<String> {
    let name = name.to_ascii_lowercase();
    let is_part = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    (!name.is_empty() && name.bytes().all(is_part)).then_some(name)
}
