//! Nearly two hundred features of another control plane's output: nothing panics, everything fits APISIX's schemas.
//!
//! The corpus lies beside the repository, in `../shared/corpora/envoy-gateway`; without it the test says so and passes.

mod support;

use std::{collections::BTreeSet, fs, path::Path};

use apisix_mesh::{
    translate::{Severity, translate},
    xds::ResourceType,
};
use serde_json::Value;
use support::{load, schema};

#[test]
fn every_case_gives_valid_objects() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpora/envoy-gateway");
    let Ok(entries) = fs::read_dir(&folder) else {
        eprintln!("skipped: {} is not there", folder.display());
        return;
    };
    let names: BTreeSet<String> = entries
        .filter_map(|e| Some(e.ok()?.file_name().to_str()?.strip_suffix(".clusters.yaml")?.to_owned()))
        .collect();
    let mut objects = 0;
    for name in &names {
        let resources = ResourceType::ALL.into_iter().flat_map(|kind| read(&folder, name, kind));
        let translation = translate(&load::snapshot(resources));
        schema::check(&translation.objects);
        objects += translation.objects.len();
        let count = |severity| translation.issues.iter().filter(|issue| issue.severity == severity).count();
        let [ignored, approximated, traffic, security] =
            [Severity::Ignored, Severity::Approximated, Severity::Traffic, Severity::Security].map(count);
        println!(
            "{name}: {} objects; issues: {ignored} ignored, {approximated} approximated, {traffic} traffic, {security} security",
            translation.objects.len()
        );
    }
    assert!(objects > names.len(), "{objects} objects of {} cases", names.len());
    eprintln!("{objects} objects of {} cases", names.len());
}

fn read(folder: &Path, case: &str, kind: ResourceType) -> Vec<(ResourceType, apisix_mesh::xds::Resource)> {
    let file = format!("{case}.{}s.yaml", kind.noun());
    let Ok(text) = fs::read_to_string(folder.join(&file)) else { return Vec::new() };
    let Ok(Value::Array(items)) = serde_saphyr::from_str::<Value>(&text) else {
        eprintln!("{file} is no list that can be read");
        return Vec::new();
    };
    let typed = |mut item: Value| {
        item["@type"] = kind.type_url().into();
        match load::try_resource(&item) {
            Ok(resource) => Some(resource),
            Err(problem) => {
                eprintln!("{file}: {problem}");
                None
            }
        }
    };
    items.into_iter().filter_map(typed).collect()
}
