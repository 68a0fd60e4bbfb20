//! The header operations of one level, read and checked.

use crate::pb::{
    envoy::config::{
        core::v3::{HeaderValueOption, header_value_option::HeaderAppendAction},
        route::v3::{Route, RouteConfiguration, VirtualHost, weighted_cluster::ClusterWeight},
    },
    path::Path,
};

use super::{
    Side,
    format::{self, Part},
};
use crate::translate::{Severity, note::Notes};

/// Request headers that nginx writes itself, whatever a plugin did to them.
const OF_NGINX: &[&str] = &[
    "connection",
    "content-length",
    "keep-alive",
    "proxy-connection",
    "te",
    "transfer-encoding",
    "upgrade",
    "x-forwarded-for",
    "x-real-ip",
];
/// The same of answers.
const OF_ANSWERS: &[&str] = &["connection", "content-length", "keep-alive", "transfer-encoding", "upgrade"];
/// Envoy writes them itself, after these operations.
const OVERWRITTEN: &[&str] = &["date", "server"];

/// What one level does, in both directions.
#[derive(Debug, Clone, Default)]
pub(in crate::translate) struct Level {
    pub(super) request: Operations,
    pub(super) response: Operations,
}

/// The operations of one direction: what is removed goes before what is added.
#[derive(Debug, Clone, Default)]
pub(super) struct Operations {
    /// In lower case.
    pub remove: Vec<String>,
    pub add: Vec<Add>,
}

#[derive(Debug, Clone)]
pub(super) struct Add {
    /// In lower case.
    pub name: String,
    pub value: Vec<Part>,
    pub action: HeaderAppendAction,
    pub keep_empty: bool,
}

/// The four lists of a level.
pub(in crate::translate) struct Lists<'a> {
    request_add: &'a [HeaderValueOption],
    request_remove: &'a [String],
    response_add: &'a [HeaderValueOption],
    response_remove: &'a [String],
}

impl Lists<'_> {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.request_add.is_empty()
            && self.request_remove.is_empty()
            && self.response_add.is_empty()
            && self.response_remove.is_empty()
    }
}

/// Every level has its lists under the same names.
macro_rules! level {
    ($message:ty) => {
        impl<'a> From<&'a $message> for Lists<'a> {
            fn from(message: &'a $message) -> Self {
                Self {
                    request_add: &message.request_headers_to_add,
                    request_remove: &message.request_headers_to_remove,
                    response_add: &message.response_headers_to_add,
                    response_remove: &message.response_headers_to_remove,
                }
            }
        }
    };
}
level!(RouteConfiguration);
level!(VirtualHost);
level!(Route);
level!(ClusterWeight);

impl Level {
    /// Reads the lists of the message at `path`.
    pub fn read<'a>(lists: impl Into<Lists<'a>>, path: &Path<'_>, notes: &mut Notes) -> Self {
        let lists = lists.into();
        let mut read = |side, add, remove| Operations::read(side, add, remove, path, notes);
        Self {
            request: read(Side::Request, lists.request_add, lists.request_remove),
            response: read(Side::Response, lists.response_add, lists.response_remove),
        }
    }

    /// Whether it does anything to answers.
    pub fn changes_answers(&self) -> bool {
        !(self.response.remove.is_empty() && self.response.add.is_empty())
    }

    /// Whether a value has the cluster's name in it.
    pub fn names_cluster(&self) -> bool {
        let mut adds = self.request.add.iter().chain(&self.response.add);
        adds.any(|add| add.value.contains(&Part::Cluster))
    }

    /// Also removes a request header; what is no header is on no request.
    pub fn remove_from_requests(&mut self, name: &str) {
        if is_token(name) {
            self.request.remove.push(name.to_ascii_lowercase());
        }
    }

    /// Also overwrites a request header.
    pub fn set_in_requests(&mut self, name: &str, value: &str) {
        self.request.add.push(Add::overwrite(name, value));
    }

    /// Also overwrites a header of answers.
    pub fn set_in_answers(&mut self, name: &str, value: &str) {
        self.response.add.push(Add::overwrite(name, value));
    }
}

impl Operations {
    fn read(
        side: Side,
        add: &[HeaderValueOption],
        remove: &[String],
        path: &Path<'_>,
        notes: &mut Notes,
    ) -> Self {
        let (adds, removes) = match side {
            Side::Request => ("request_headers_to_add", "request_headers_to_remove"),
            Side::Response => ("response_headers_to_add", "response_headers_to_remove"),
        };
        let remove = remove
            .iter()
            .enumerate()
            .filter(|(at, name)| may_change(side, name, &path.item(removes, *at), notes))
            .map(|(_, name)| name.to_ascii_lowercase())
            .collect();
        let add = add
            .iter()
            .enumerate()
            .filter_map(|(at, option)| Add::read(side, option, &path.item(adds, at), notes))
            .collect();
        Self { remove, add }
    }
}

impl Add {
    fn overwrite(name: &str, value: &str) -> Self {
        Self {
            name: name.to_owned(),
            value: vec![Part::Text(value.to_owned())],
            action: HeaderAppendAction::OverwriteIfExistsOrAdd,
            keep_empty: false,
        }
    }

    fn read(side: Side, option: &HeaderValueOption, path: &Path<'_>, notes: &mut Notes) -> Option<Self> {
        let header = option.header.as_ref()?;
        let place = path.field("header");
        if !may_change(side, &header.key, &place.field("key"), notes) {
            return None;
        }
        // Envoy makes the header from `value` alone, even where only `raw_value` is set.
        let value = format::parse(side, &header.value, &place.field("value"), notes)?;
        let add = Self {
            name: header.key.to_ascii_lowercase(),
            value,
            action: action(option),
            keep_empty: option.keep_empty_value,
        };
        if add.value.iter().all(Part::may_be_empty) && (add.keep_empty || !add.value.is_empty()) {
            let detail = format!("{:?}: where the value is empty, there is no such header", header.key);
            notes.approximated(&place, detail);
        }
        Some(add)
    }
}

fn action(option: &HeaderValueOption) -> HeaderAppendAction {
    match option.append {
        Some(true) => HeaderAppendAction::AppendIfExistsOrAdd,
        Some(false) => HeaderAppendAction::OverwriteIfExistsOrAdd,
        None => HeaderAppendAction::try_from(option.append_action)
            .unwrap_or(HeaderAppendAction::AppendIfExistsOrAdd),
    }
}

/// Whether operations on this header can be done; notes why not.
fn may_change(side: Side, name: &str, path: &Path<'_>, notes: &mut Notes) -> bool {
    let lower = name.to_ascii_lowercase();
    let of_nginx = match side {
        Side::Request => OF_NGINX,
        Side::Response => OF_ANSWERS,
    };
    if lower.starts_with(':') || lower == "host" {
        // Envoy refuses such a configuration.
        notes.traffic(path, format!("{name:?} may not be changed here: left out"));
    } else if !is_token(name) {
        notes.traffic(path, format!("{name:?} is no header name: left out"));
    } else if of_nginx.contains(&lower.as_str()) {
        notes.traffic(path, format!("{name:?} is nginx's own: left out"));
    } else if side == Side::Response && OVERWRITTEN.contains(&lower.as_str()) {
        notes.add(Severity::Ignored, path, format!("{name:?} is the proxy's own: left out"));
    } else {
        return true;
    }
    false
}

/// A `token` of RFC 9110.
fn is_token(name: &str) -> bool {
    let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    !name.is_empty() && name.bytes().all(is_token)
}
