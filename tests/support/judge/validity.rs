//! Whether the clusters and assignments of the golden cases are what Envoy itself takes: as they are, but for the
//! place that assignments come from, and names that our cases leave out where they add nothing.

use std::{fs, path::Path};

use serde_json::{Value, json};

use super::{
    cases,
    envoy::{Envoy, Kind},
    prepare::{kind, text},
};

/// The clusters that Envoy refuses, with its reason.
pub fn refused(binary: &Path) -> Vec<String> {
    let mut envoy = Envoy::start(binary);
    let mut clusters = Vec::new();
    for case in cases::golden() {
        let of_kind =
            |wanted: &'static str| case.resources.iter().filter(move |r| kind(r) == wanted).cloned();
        let file = envoy.folder().join(format!("{}.json", case.name.replace('/', "-")));
        let assignments: Vec<Value> = of_kind("ClusterLoadAssignment").collect();
        fs::write(&file, json!({"resources": assignments}).to_string()).unwrap();
        for mut cluster in of_kind("Cluster") {
            if cluster["type"] == "EDS" {
                let service = cluster["eds_cluster_config"]["service_name"].as_str().unwrap_or_default();
                let service = if service.is_empty() { text(&cluster["name"]) } else { service.to_owned() };
                cluster["eds_cluster_config"] = json!({"service_name": service,
                    "eds_config": {"resource_api_version": "V3", "path_config_source": {"path": file}}});
            }
            let name = format!("{} {}", case.name, text(&cluster["name"]));
            if cluster["load_assignment"].is_object() && cluster["load_assignment"]["cluster_name"].is_null()
            {
                cluster["load_assignment"]["cluster_name"] = cluster["name"].clone();
            }
            cluster["name"] = name.clone().into();
            clusters.push((name, cluster));
        }
    }
    let refused = envoy.apply(Kind::Clusters, &clusters);
    refused.into_iter().map(|(name, reason)| format!("{name}: {reason}")).collect()
}
