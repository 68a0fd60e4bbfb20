//! Finds the resources in a JSON or YAML document, whatever wraps them.
//!
//! In: a document. Out: `{"@type": ..., ...}` objects. Known are a resource, a list, a `DiscoveryResponse`, a bootstrap
//! with `static_resources`, and what Envoy's `/config_dump` prints.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::{pb::message_name, xds::ResourceType};

type Object = Map<String, Value>;

/// The lists of a `/config_dump`, and the way from an item to its resource.
///
/// Draining listeners are left out, and warming ones: they do not serve. A warming cluster is taken where it is new.
const DUMPED: [(&str, &[&str]); 10] = [
    ("static_listeners", &["listener"]),
    ("dynamic_listeners", &["active_state", "listener"]),
    ("static_clusters", &["cluster"]),
    ("dynamic_active_clusters", &["cluster"]),
    ("dynamic_warming_clusters", &["cluster"]),
    ("static_route_configs", &["route_config"]),
    ("dynamic_route_configs", &["route_config"]),
    ("static_endpoint_configs", &["endpoint_config"]),
    ("dynamic_endpoint_configs", &["endpoint_config"]),
    ("configs", &[]),
];

/// All resources in `document`. `type_url` is the type of those that do not tell their own.
pub fn find(document: Value, type_url: Option<&str>) -> Result<Vec<Value>, String> {
    let mut found = Vec::new();
    collect(document, type_url, &mut found)?;
    Ok(found)
}

fn collect(value: Value, type_url: Option<&str>, found: &mut Vec<Value>) -> Result<(), String> {
    match value {
        Value::Null => Ok(()),
        Value::Array(items) => items.into_iter().try_for_each(|item| collect(item, type_url, found)),
        Value::Object(object) => collect_object(object, type_url, found),
        other => Err(format!("{other} is neither a resource nor a list of resources")),
    }
}

fn collect_object(mut object: Object, type_url: Option<&str>, found: &mut Vec<Value>) -> Result<(), String> {
    let type_name = object.get("@type").and_then(Value::as_str).map(|t| message_name(t).to_owned());
    let is_dump =
        type_name.as_ref().is_some_and(|n| n.ends_with("ConfigDump")) || object.contains_key("configs");
    if is_dump {
        return collect_dump(object, found);
    }
    if let Some(resources) = take(&mut object, "static_resources") {
        return collect_bootstrap(resources, found);
    }
    let is_response = type_name.as_ref().is_none_or(|n| n.ends_with(".DiscoveryResponse"));
    if is_response && let Some(resources) = object.remove("resources") {
        let own = take(&mut object, "type_url");
        return collect(resources, own.as_ref().and_then(Value::as_str).or(type_url), found);
    }
    if type_name.is_none() {
        let type_url = type_url.ok_or(
            "an object without \"@type\", and the file's name does not tell the type either \
             (NAME.clusters.yaml, .endpoints., .listeners., .routes.)",
        )?;
        object.insert("@type".to_owned(), Value::from(type_url));
    }
    found.push(Value::Object(object));
    Ok(())
}

fn collect_dump(mut object: Object, found: &mut Vec<Value>) -> Result<(), String> {
    if let Some(Value::Object(mut bootstrap)) = object.remove("bootstrap")
        && let Some(resources) = take(&mut bootstrap, "static_resources")
    {
        collect_bootstrap(resources, found)?;
    }
    leave_out_replacements(&mut object);
    for (list, way) in DUMPED {
        let Some(Value::Array(items)) = take(&mut object, list) else { continue };
        for item in items {
            let resource = way.iter().try_fold(item, |item, step| match item {
                Value::Object(mut members) => take(&mut members, step),
                _ => None,
            });
            let mut resource = resource.unwrap_or(Value::Null);
            leave_out_zero_weights(&mut resource);
            collect(resource, None, found)?;
        }
    }
    Ok(())
}

/// Of a cluster that is being replaced the active one serves, and the warming one does not yet.
fn leave_out_replacements(dump: &mut Object) {
    const ACTIVE: &str = "dynamic_active_clusters";
    const WARMING: &str = "dynamic_warming_clusters";
    let name = |item: &Value| item["cluster"]["name"].as_str().map(str::to_owned);
    let active = take(dump, ACTIVE).unwrap_or_default();
    let mut warming = take(dump, WARMING).unwrap_or_default();
    let serving: BTreeSet<_> = active.as_array().into_iter().flatten().map(name).collect();
    if let Some(items) = warming.as_array_mut() {
        items.retain(|item| !serving.contains(&name(item)));
    }
    dump.insert(ACTIVE.to_owned(), active);
    dump.insert(WARMING.to_owned(), warming);
}

/// Envoy prints the weight 0 for a locality that has none, and would refuse it if it were sent.
fn leave_out_zero_weights(assignment: &mut Value) {
    let Some(localities) = assignment.get_mut("endpoints").and_then(Value::as_array_mut) else { return };
    for locality in localities.iter_mut().filter_map(Value::as_object_mut) {
        if locality.get("load_balancing_weight").and_then(Value::as_u64) == Some(0) {
            locality.remove("load_balancing_weight");
        }
    }
}

fn collect_bootstrap(resources: Value, found: &mut Vec<Value>) -> Result<(), String> {
    let Value::Object(mut resources) = resources else { return Ok(()) };
    for (list, kind) in [("clusters", ResourceType::Cluster), ("listeners", ResourceType::Listener)] {
        collect(resources.remove(list).unwrap_or(Value::Null), Some(kind.type_url()), found)?;
    }
    Ok(())
}

/// Takes a member by its snake_case or camelCase name.
fn take(object: &mut Object, snake: &str) -> Option<Value> {
    object.remove(snake).or_else(|| object.remove(&camel_case(snake)))
}

fn camel_case(snake: &str) -> String {
    let mut words = snake.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |name, word| name + &word[..1].to_uppercase() + &word[1..])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const CLUSTER: &str = "type.googleapis.com/envoy.config.cluster.v3.Cluster";

    fn names(document: Value) -> Vec<String> {
        let found = find(document, None).unwrap();
        found.iter().map(|v| v["name"].as_str().unwrap_or("-").to_owned()).collect()
    }

    #[test]
    fn every_wrapping_is_opened() {
        let cluster = json!({"@type": CLUSTER, "name": "a"});
        for document in [
            cluster.clone(),
            json!([cluster]),
            json!({"resources": [cluster]}),
            json!({"typeUrl": CLUSTER, "resources": [{"name": "a"}]}),
            json!({"static_resources": {"clusters": [{"name": "a"}]}}),
            json!({"configs": [{"@type": "x/envoy.admin.v3.ClustersConfigDump",
                "dynamic_active_clusters": [{"version_info": "1", "cluster": cluster}]}]}),
            json!({"@type": "x/envoy.admin.v3.BootstrapConfigDump",
                "bootstrap": {"staticResources": {"clusters": [{"name": "a"}]}}}),
            json!({"configs": [{"@type": "x/envoy.admin.v3.ListenersConfigDump", "dynamicListeners":
                [{"name": "a", "activeState": {"listener": cluster}}, {"name": "b", "draining_state": {}}]}]}),
        ] {
            assert_eq!(names(document.clone()), ["a"], "{document}");
        }
    }

    #[test]
    fn a_cluster_that_is_being_replaced_is_the_active_one() {
        let item =
            |name, timeout| json!({"cluster": {"@type": CLUSTER, "name": name, "connect_timeout": timeout}});
        let dump = json!({"configs": [{"@type": "x/envoy.admin.v3.ClustersConfigDump",
            "dynamic_active_clusters": [item("a", "1s")],
            "dynamic_warming_clusters": [item("a", "2s"), item("b", "2s")]}]});
        let found = find(dump, None).unwrap();
        let seen: Vec<_> = found
            .iter()
            .map(|c| (c["name"].as_str().unwrap(), c["connect_timeout"].as_str().unwrap()))
            .collect();
        assert_eq!(seen, [("a", "1s"), ("b", "2s")]);
    }

    #[test]
    fn a_dumped_locality_without_weight_has_none() {
        let assignment = json!({"@type": "x/envoy.config.endpoint.v3.ClusterLoadAssignment",
            "endpoints": [{"load_balancing_weight": 0}, {"load_balancing_weight": 2}]});
        let dump = json!({"configs": [{"@type": "x/envoy.admin.v3.EndpointsConfigDump",
            "dynamic_endpoint_configs": [{"endpoint_config": assignment}]}]});
        let found = find(dump, None).unwrap();
        assert_eq!(found[0]["endpoints"], json!([{}, {"load_balancing_weight": 2}]));
    }

    #[test]
    fn an_object_of_unknown_type_is_refused() {
        assert!(find(json!({"name": "a"}), None).unwrap_err().contains("@type"));
        assert!(find(json!("text"), None).is_err());
    }
}
