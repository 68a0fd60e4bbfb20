//! Is one resource well-formed, on its own?
//!
//! In: the encoded message of one resource. Out: its name and the names it refers to, or the field that is wrong.
//! What Envoy refuses (its `validate.rules` and the checks in its code that need nothing but the resource) is
//! refused; what Envoy accepts is accepted. Never here: whether APISIX can express it, or what other resources say.

mod address;
mod cluster;
mod listener;
mod place;
mod regex;
mod route;

use std::{collections::BTreeSet, time::Duration};

use bytes::Bytes;
use prost::Message;

use super::{Change, ResourceType};
use crate::pb::{
    TYPE_URL_PREFIX,
    envoy::{
        config::{
            cluster::v3::Cluster, endpoint::v3::ClusterLoadAssignment, listener::v3::Listener,
            route::v3::RouteConfiguration,
        },
        service::discovery::v3::Resource as Wrapper,
    },
    google::protobuf::Any,
};

pub use place::FieldError;
use place::{Content, Place};

const WRAPPER: &str = "type.googleapis.com/envoy.service.discovery.v3.Resource";

/// A well-formed resource: its name, and the resources that it needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// Its own name.
    pub name: String,
    /// The assignment of a cluster, the route configurations of a listener, the clusters that routes name.
    pub refers_to: BTreeSet<Change>,
}

/// Checks the encoded message of one resource.
pub fn check(kind: ResourceType, message: &Bytes) -> Result<Checked, FieldError> {
    let content = Content::new(crate::pb::message_name(kind.type_url()), message);
    let root = Place::root(&content);
    let checked = match kind {
        ResourceType::Cluster => cluster::check(&root, &decode::<Cluster>(&root, message)?)?,
        ResourceType::ClusterLoadAssignment => {
            let assignment = decode::<ClusterLoadAssignment>(&root, message)?;
            cluster::check_endpoints(&root, &assignment)?;
            address::endpoints_are_ips(&root, &assignment)?;
            Checked { name: assignment.cluster_name, refers_to: BTreeSet::new() }
        }
        ResourceType::Listener => listener::check(&root, &decode::<Listener>(&root, message)?)?,
        ResourceType::RouteConfiguration => {
            let routes = decode::<RouteConfiguration>(&root, message)?;
            root.field("name").not_empty(&routes.name)?;
            route::check(&root, &routes)?;
            Checked { refers_to: route::clusters(&routes).collect(), name: routes.name }
        }
    };
    Ok(checked)
}

fn decode<M: Message + Default>(place: &Place<'_>, bytes: &Bytes) -> Result<M, FieldError> {
    M::decode(bytes.clone()).map_err(|e| place.error(e.to_string()))
}

/// The name of a resource that need not be well-formed, as far as its bytes still tell.
///
/// The name is field 1 of all four types and comes first in practice, so even a message that breaks off shows it.
pub fn peek_name(message: &Bytes) -> Option<String> {
    #[derive(Clone, PartialEq, prost::Message)]
    struct Named {
        #[prost(bytes = "bytes", tag = "1")]
        name: Bytes,
    }
    let mut named = Named::default();
    // What was read before the error is what is wanted.
    let _ = named.merge(message.clone());
    String::from_utf8(named.name.into()).ok().filter(|name| !name.is_empty())
}

/// The name of the resource in an `Any` that [`unwrap`] refuses.
pub fn name_in(any: &Any) -> Option<String> {
    if any.type_url != WRAPPER {
        return peek_name(&any.value);
    }
    Wrapper::decode(any.value.clone()).ok().map(|w| w.name).filter(|name| !name.is_empty())
}

/// What a resource's wrapper says of its content.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Terms {
    /// What the control plane calls the content; empty without a wrapper.
    pub version: String,
    /// How long it holds unless it is renewed; for ever if none.
    pub lives: Option<Duration>,
}

/// What one resource of a response carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Carried {
    /// The encoded message.
    Message(Bytes, Terms),
    /// A wrapper that names a resource and brings none: its time to live is extended, its content stays (3.2 point
    /// 20).
    Heartbeat(String, Terms),
}

/// Takes the resource out of its `Any` and, where there is one, its `envoy.service.discovery.v3.Resource`.
pub fn unwrap(kind: ResourceType, any: &Any) -> Result<Carried, FieldError> {
    if any.type_url != WRAPPER {
        return Ok(Carried::Message(of_type(kind, any)?, Terms::default()));
    }
    let wrapper = Wrapper::decode(any.value.clone()).map_err(|e| FieldError::new("", e.to_string()))?;
    unwrap_resource(kind, &wrapper)
}

/// Takes the resource out of its `envoy.service.discovery.v3.Resource`.
pub fn unwrap_resource(kind: ResourceType, wrapper: &Wrapper) -> Result<Carried, FieldError> {
    let lives = wrapper.ttl.as_ref().map(|ttl| {
        let whole = Duration::from_secs(u64::try_from(ttl.seconds).unwrap_or(0));
        whole + Duration::from_nanos(u64::try_from(ttl.nanos).unwrap_or(0))
    });
    let terms = Terms { version: wrapper.version.clone(), lives };
    match &wrapper.resource {
        Some(inner) => Ok(Carried::Message(of_type(kind, inner)?, terms)),
        None if wrapper.name.is_empty() => Err(FieldError::new("name", "must not be empty".to_owned())),
        None => Ok(Carried::Heartbeat(wrapper.name.clone(), terms)),
    }
}

/// Whether `any` is a wrapper around a resource of this type.
pub fn wraps(kind: ResourceType, any: &Any) -> bool {
    any.type_url == WRAPPER
        && Wrapper::decode(any.value.clone())
            .is_ok_and(|w| w.resource.is_some_and(|inner| inner.type_url == kind.type_url()))
}

fn of_type(kind: ResourceType, any: &Any) -> Result<Bytes, FieldError> {
    if any.type_url == kind.type_url() {
        return Ok(any.value.clone());
    }
    let wanted = kind.type_url().trim_start_matches(TYPE_URL_PREFIX);
    Err(FieldError::new("type_url", format!("{:?} in a response of {wanted}", any.type_url)))
}

#[cfg(test)]
mod tests;
