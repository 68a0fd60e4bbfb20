//! Never silently open: whatever is graded as security, wherever it can stand, closes what it guards and is listed.
//!
//! Fields and extensions come from the generated tables: one that is added is tested by being there.

mod support;

use std::collections::BTreeSet;

use apisix_mesh::{
    pb::{
        json::descriptors,
        unread::{Kind, MESSAGES, Severity as Grade},
    },
    translate::{Severity, guarding_extensions, translate},
    xds::{Resource, ResourceType},
};
use prost_reflect::{
    DynamicMessage, FieldDescriptor, Kind as FieldKind, MapKey, ReflectMessage as _, Value as Field,
    prost::Message as _,
};
use serde_json::{Value, json};
use support::{
    apisix::Apisix,
    exchange::{Outcome, Request},
    load,
};

const TYPE: &str = "type.googleapis.com/";

/// A listener, a route configuration and a cluster with all that the marked fields can stand in.
fn base() -> Vec<Value> {
    let of = |name: &str| format!("{TYPE}envoy.{name}");
    vec![
        json!({"@type": of("config.cluster.v3.Cluster"), "name": "a", "type": "STATIC",
            "loadAssignment": {"endpoints": [{"lbEndpoints": [{"endpoint": {"address":
                {"socketAddress": {"address": "10.1.0.1", "portValue": 80}}}}]}]}}),
        json!({"@type": of("config.listener.v3.Listener"), "name": "l",
            "address": {"socketAddress": {"address": "0.0.0.0", "portValue": 80}},
            "filterChains": [{"filters": [{"name": "hcm", "typedConfig": {
                "@type": of("extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"),
                "rds": {"routeConfigName": "r"},
                "httpFilters": [
                    {"name": "guard", "typedConfig": {"@type": of("extensions.filters.http.rbac.v3.RBAC")}},
                    {"name": "for routes", "typedConfig": {"@type": of("extensions.filters.http.rbac.v3.RBAC")}},
                    {"name": "jwt", "typedConfig": {"@type": of("extensions.filters.http.jwt_authn.v3.JwtAuthentication")}},
                    {"name": "router", "typedConfig": {"@type": of("extensions.filters.http.router.v3.Router")}}]}}]}]}),
        json!({"@type": of("config.route.v3.RouteConfiguration"), "name": "r",
            "virtualHosts": [{"name": "h", "domains": ["*"], "routes": [
                {"match": {"prefix": "/"},
                 "route": {"weightedClusters": {"clusters": [{"name": "a", "weight": 1}, {"name": "a", "weight": 1}]}},
                 "typedPerFilterConfig": {"for routes": {
                    "@type": of("extensions.filters.http.jwt_authn.v3.PerRouteConfig"), "disabled": true}}}]}]}),
    ]
}

fn marked() -> BTreeSet<String> {
    let of = |m: &apisix_mesh::pb::unread::Message| {
        let fields = m.fields.iter().filter(|f| matches!(f.kind, Kind::Unread(Grade::Security)));
        fields.map(|f| format!("{}.{}", m.name, f.name)).collect::<Vec<_>>()
    };
    MESSAGES.iter().flat_map(of).collect()
}

fn resources(documents: &[Value]) -> Vec<(ResourceType, Resource)> {
    documents.iter().map(load::resource).collect()
}

/// Nothing gets to the cluster, and the list says why.
fn is_closed(resources: Vec<(ResourceType, Resource)>, what: &str) {
    let translation = translate(&load::snapshot(resources));
    let request =
        Request { remote_addr: "10.0.0.9".to_owned(), ..Request::get("10.0.0.1:80", "a.com", "/x") };
    let outcome = Apisix::new(&translation.objects).answer(&request);
    assert!(matches!(outcome, Outcome::Answer(_)), "{what}: {outcome:?}");
    let listed = translation.issues.iter().any(|issue| issue.severity == Severity::Security);
    assert!(listed, "{what}: {:?}", translation.issues);
}

#[test]
fn the_base_is_open() {
    let translation = translate(&load::snapshot(resources(&base())));
    let outcome = Apisix::new(&translation.objects).answer(&Request::get("10.0.0.1:80", "a.com", "/x"));
    assert!(matches!(&outcome, Outcome::Forward(to) if to.clusters.contains("a")), "{outcome:?}");
}

#[test]
fn every_marked_field_closes() {
    let all = resources(&base());
    let marked = marked();
    let mut seen = BTreeSet::new();
    for (at, (kind, resource)) in all.iter().enumerate() {
        let name = kind.type_url().trim_start_matches(TYPE);
        let descriptor = descriptors().get_message_by_name(name).unwrap();
        let message = DynamicMessage::decode(descriptor, resource.bytes.clone()).unwrap();
        plant(&message, &marked, &mut |changed, field| {
            let mut all = all.clone();
            all[at].1 = Resource::new(&resource.name, &changed.encode_to_vec());
            is_closed(all, field);
            seen.insert(field.to_owned());
        });
    }
    let missed: Vec<_> = marked.difference(&seen).collect();
    assert!(missed.is_empty(), "the base has no place for {missed:?}");
}

/// Sets each marked field, one at a time, in `message` and in all that is in it.
fn plant(message: &DynamicMessage, marked: &BTreeSet<String>, visit: &mut dyn FnMut(DynamicMessage, &str)) {
    for field in message.descriptor().fields().filter(|f| marked.contains(f.full_name())) {
        let mut changed = message.clone();
        changed.set_field(&field, sample(&field));
        visit(changed, field.full_name());
    }
    if message.descriptor().full_name() == "google.protobuf.Any" {
        return plant_any(message, marked, visit);
    }
    for (field, value) in message.fields() {
        match value {
            Field::Message(inner) => plant(inner, marked, &mut |changed, name| {
                let mut outer = message.clone();
                outer.set_field(&field, Field::Message(changed));
                visit(outer, name);
            }),
            Field::List(list) => {
                for (at, inner) in list.iter().enumerate().filter_map(|(at, v)| Some((at, v.as_message()?))) {
                    plant(inner, marked, &mut |changed, name| {
                        let (mut outer, mut list) = (message.clone(), list.clone());
                        list[at] = Field::Message(changed);
                        outer.set_field(&field, Field::List(list));
                        visit(outer, name);
                    });
                }
            }
            Field::Map(map) => {
                for (key, inner) in map.iter().filter_map(|(key, v)| Some((key, v.as_message()?))) {
                    plant(inner, marked, &mut |changed, name| {
                        let (mut outer, mut map) = (message.clone(), map.clone());
                        map.insert(MapKey::clone(key), Field::Message(changed));
                        outer.set_field(&field, Field::Map(map));
                        visit(outer, name);
                    });
                }
            }
            _ => {}
        }
    }
}

fn plant_any(any: &DynamicMessage, marked: &BTreeSet<String>, visit: &mut dyn FnMut(DynamicMessage, &str)) {
    let url = any.get_field_by_name("type_url").unwrap();
    let name = url.as_str().unwrap().trim_start_matches(TYPE);
    let Some(descriptor) = descriptors().get_message_by_name(name) else { return };
    let bytes = any.get_field_by_name("value").unwrap().as_bytes().unwrap().clone();
    let message = DynamicMessage::decode(descriptor, bytes).unwrap();
    plant(&message, marked, &mut |changed, field| {
        let mut any = any.clone();
        any.set_field_by_name("value", Field::Bytes(changed.encode_to_vec().into()));
        visit(any, field);
    });
}

fn sample(field: &FieldDescriptor) -> Field {
    let one = match field.kind() {
        FieldKind::Message(message) => Field::Message(DynamicMessage::new(message)),
        FieldKind::Bool => Field::Bool(true),
        FieldKind::Enum(_) => Field::EnumNumber(1),
        FieldKind::Uint32 => Field::U32(1),
        FieldKind::String => Field::String("x".to_owned()),
        other => panic!("a sample of {other:?} is needed"),
    };
    if field.is_list() { Field::List(vec![one]) } else { one }
}

/// Puts an extension where `place` leads.
fn put(documents: &mut [Value], place: &str, value: Value) {
    let (document, pointer) = place.split_once(' ').unwrap();
    let at: usize = document.parse().unwrap();
    match documents[at].pointer_mut(pointer) {
        Some(Value::Array(list)) => list.insert(0, value),
        Some(Value::Object(members)) => members.extend(value.as_object().unwrap().clone()),
        other => panic!("{place}: {other:?}"),
    }
}

#[test]
fn every_guarding_extension_closes() {
    let manager = "/filterChains/0/filters/0/typedConfig";
    let mut tried = 0;
    for beginning in guarding_extensions() {
        let any = json!({"@type": format!("{TYPE}{beginning}v3.Anything")});
        let wrapped = json!({"@type": format!("{TYPE}envoy.config.route.v3.FilterConfig"), "config": any});
        let mut places: Vec<(String, Value)> = Vec::new();
        if beginning.contains("transport_sockets.") {
            let socket = json!({"transportSocket": {"name": "x", "typedConfig": any}});
            places.push(("1 /filterChains/0".to_owned(), socket.clone()));
            places.push(("0 ".to_owned(), socket));
        } else if beginning.contains("filters.network.") {
            places.push(("1 /filterChains/0/filters".to_owned(), json!({"name": "x", "typedConfig": any})));
        } else {
            places.push((format!("1 {manager}/httpFilters"), json!({"name": "x", "typedConfig": any})));
            for level in ["2 ", "2 /virtualHosts/0", "2 /virtualHosts/0/routes/0"] {
                for config in [&any, &wrapped] {
                    places.push((level.to_owned(), json!({"typedPerFilterConfig": {"guard": config}})));
                }
            }
            // The cluster that all requests go to says it, the other does not.
            for config in [&any, &wrapped] {
                let guarded = json!({"name": "a", "weight": 1, "typedPerFilterConfig": {"guard": config}});
                let clusters = json!({"clusters": [guarded, {"name": "a", "weight": 0}]});
                let route = "2 /virtualHosts/0/routes/0/route".to_owned();
                places.push((route, json!({"weightedClusters": clusters})));
            }
        }
        for (place, value) in places {
            let mut documents = base();
            put(&mut documents, &place, value);
            is_closed(resources(&documents), &format!("{beginning} at {place}"));
            tried += 1;
        }
    }
    assert!(tried > 50, "only {tried}");
}
