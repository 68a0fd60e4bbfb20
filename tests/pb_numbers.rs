//! Every name, number and type in `src/pb/proto` is Envoy's.
//!
//! The judge is the descriptor set inside the package `envoy-types`, compiled from Envoy's own files.

use std::{collections::BTreeSet, fs, path::PathBuf, process::Command};

use apisix_mesh::pb::json::descriptors;
use prost_reflect::{DescriptorPool, EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor};

#[test]
fn our_descriptors_are_envoys() {
    let envoy = envoy_descriptors();
    let mut wrong = BTreeSet::new();
    let is_envoys = |package: &str| package.starts_with("envoy.") || package == "google.rpc";
    let messages: Vec<_> = descriptors().all_messages().filter(|m| is_envoys(m.package_name())).collect();
    assert!(messages.len() > 50, "only {} messages", messages.len());
    for ours in messages {
        match envoy.get_message_by_name(ours.full_name()) {
            Some(theirs) => compare_fields(&ours, &theirs, &mut wrong),
            None => drop(wrong.insert(format!("{}: no such message", ours.full_name()))),
        }
    }
    for ours in descriptors().all_enums().filter(|e| is_envoys(e.package_name())) {
        match envoy.get_enum_by_name(ours.full_name()) {
            Some(theirs) => compare_values(&ours, &theirs, &mut wrong),
            None => drop(wrong.insert(format!("{}: no such enum", ours.full_name()))),
        }
    }
    assert!(
        wrong.is_empty(),
        "{} differences:\n{}",
        wrong.len(),
        wrong.into_iter().collect::<Vec<_>>().join("\n")
    );
}

fn envoy_descriptors() -> DescriptorPool {
    // For this platform alone: what other platforms need may never have been downloaded.
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let metadata = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--offline", "--filter-platform", &platform])
        .arg("--manifest-path")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
        .output()
        .expect("cargo metadata runs");
    let metadata: serde_json::Value = serde_json::from_slice(&metadata.stdout).expect("JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    let package = packages.iter().find(|p| p["name"] == "envoy-types").expect("a dev-dependency");
    let manifest = PathBuf::from(package["manifest_path"].as_str().expect("a path"));
    let set = manifest.with_file_name("src").join("generated/types.bin");
    DescriptorPool::decode(fs::read(set).expect("the package holds it").as_slice()).expect("a descriptor set")
}

fn compare_fields(ours: &MessageDescriptor, theirs: &MessageDescriptor, wrong: &mut BTreeSet<String>) {
    for our_field in ours.fields() {
        let name = our_field.full_name().to_owned();
        let Some(field) = theirs.get_field_by_name(our_field.name()) else {
            let held = theirs.get_field(our_field.number()).map(|f| f.name().to_owned());
            wrong.insert(format!("{name}: no such field; {} is {held:?}", our_field.number()));
            continue;
        };
        for (what, a, b) in [
            ("number", our_field.number().to_string(), field.number().to_string()),
            ("cardinality", format!("{:?}", our_field.cardinality()), format!("{:?}", field.cardinality())),
            ("type", type_name(&our_field, &field), type_name(&field, &field)),
            ("oneof", oneof(&our_field), oneof(&field)),
        ] {
            if a != b {
                wrong.insert(format!("{name}: {what} is {a}, Envoy's is {b}"));
            }
        }
    }
}

/// `Unread` stands for any message.
fn type_name(field: &FieldDescriptor, theirs: &FieldDescriptor) -> String {
    match (field.kind(), theirs.kind()) {
        (Kind::Message(ours), Kind::Message(theirs)) if ours.full_name() == "apisix_mesh.Unread" => {
            theirs.full_name().to_owned()
        }
        (Kind::Message(ours), Kind::Message(theirs)) if ours.is_map_entry() && theirs.is_map_entry() => {
            format!(
                "map<{}, {}>",
                type_name(&ours.map_entry_key_field(), &theirs.map_entry_key_field()),
                type_name(&ours.map_entry_value_field(), &theirs.map_entry_value_field()),
            )
        }
        (Kind::Message(message), _) => message.full_name().to_owned(),
        (Kind::Enum(of), _) => of.full_name().to_owned(),
        (kind, _) => format!("{kind:?}"),
    }
}

fn oneof(field: &FieldDescriptor) -> String {
    field.containing_oneof().map(|o| o.name().to_owned()).unwrap_or_default()
}

fn compare_values(ours: &EnumDescriptor, theirs: &EnumDescriptor, wrong: &mut BTreeSet<String>) {
    for value in ours.values() {
        let number = theirs.get_value_by_name(value.name()).map(|v| v.number());
        if number != Some(value.number()) {
            wrong.insert(format!("{}: {} here, {number:?} there", value.full_name(), value.number()));
        }
    }
}
