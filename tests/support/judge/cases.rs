//! Where the cases come from: sets of resources as JSON, field names in snake_case.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value};

use super::generate;

/// A set of resources.
#[derive(Debug, Clone)]
pub struct Case {
    pub name: String,
    /// Each with its `@type`.
    pub resources: Vec<Value>,
}

const TYPES: [(&str, &str); 4] = [
    ("listeners", "type.googleapis.com/envoy.config.listener.v3.Listener"),
    ("routes", "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"),
    ("clusters", "type.googleapis.com/envoy.config.cluster.v3.Cluster"),
    ("endpoints", "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"),
];

/// All there are: golden cases, captures of istiod, the corpus of Envoy Gateway, generated ones, and what `CASES`
/// names. What is not there is said. `ONLY` leaves those whose names have it in them, and shows them.
pub fn all() -> Vec<Case> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut cases = golden();
    for (label, path) in [
        ("istiod-1.31", root.join("tests/fixtures/istiod-1.31")),
        ("istiod-1.14", root.join("../shared/captures/istiod-1.14")),
    ] {
        cases.extend(folder(&path, label));
    }
    cases.extend(corpus(&root.join("../shared/corpora/envoy-gateway")));
    cases.extend(generate::cases());
    if let Some(path) = std::env::var_os("CASES") {
        cases.extend(folder(Path::new(&path), "CASES"));
    }
    if let Ok(part) = std::env::var("ONLY") {
        cases.retain(|case| case.name.contains(&part));
        cases.iter().for_each(|case| println!("{}: {}", case.name, Value::Array(case.resources.clone())));
    }
    cases
}

/// The golden cases of the translation.
pub fn golden() -> Vec<Case> {
    folder(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden"), "golden")
}

/// Each folder in it is a case, and so is each file that lies in it directly.
fn folder(path: &Path, label: &str) -> Vec<Case> {
    let entries = entries(path);
    if entries.is_empty() {
        eprintln!("skipped: {} is not there", path.display());
    }
    let mut cases = Vec::new();
    for entry in entries {
        let files = if entry.is_dir() { self::entries(&entry) } else { vec![entry.clone()] };
        let name = format!("{label}/{}", entry.file_stem().unwrap().to_string_lossy());
        let resources = files.iter().filter(|f| is_input(f)).flat_map(|f| read(f)).collect();
        cases.push(Case { name, resources });
    }
    cases
}

fn entries(path: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(path).into_iter().flatten().map(|e| e.unwrap().path()).collect();
    paths.sort();
    paths
}

/// What a translation gave lies beside its input.
fn is_input(path: &Path) -> bool {
    path.extension().is_some_and(|e| ["yaml", "yml", "json"].iter().any(|known| e == *known))
        && path.file_name().is_some_and(|name| name != "out.json" && name != "input.yaml")
}

fn read(path: &Path) -> Vec<Value> {
    let Ok(text) = fs::read_to_string(path) else { return Vec::new() };
    let document: Value = match serde_saphyr::from_str(&text) {
        Ok(document) => document,
        Err(problem) => {
            eprintln!("{}: {problem}", path.display());
            return Vec::new();
        }
    };
    let items = match document {
        Value::Array(items) => items,
        Value::Object(mut response) => match response.remove("resources") {
            Some(Value::Array(items)) => items,
            _ => vec![Value::Object(response)],
        },
        _ => Vec::new(),
    };
    items.into_iter().map(snake).collect()
}

/// The kind is in the file's name there, and items carry no `@type`.
fn corpus(path: &Path) -> Vec<Case> {
    let files = entries(path);
    if files.is_empty() {
        eprintln!("skipped: {} is not there", path.display());
    }
    let names = files.iter().filter_map(|f| f.file_name()?.to_str()?.strip_suffix(".listeners.yaml"));
    let case = |name: &str| {
        let of_kind = |(kind, url): &(&str, &str)| {
            let mut items = read(&path.join(format!("{name}.{kind}.yaml")));
            items.retain(Value::is_object);
            items.iter_mut().for_each(|item| item["@type"] = (*url).into());
            items
        };
        Case { name: format!("envoy-gateway/{name}"), resources: TYPES.iter().flat_map(of_kind).collect() }
    };
    names.map(case).collect()
}

/// Field names in snake_case. Keys that are no field names have dots, dashes or blanks, or matter to nobody here.
pub fn snake(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let renamed = members.into_iter().map(|(key, value)| (snake_name(&key), snake(value)));
            Value::Object(renamed.collect::<Map<_, _>>())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(snake).collect()),
        other => other,
    }
}

fn snake_name(key: &str) -> String {
    if !key.chars().all(|c| c.is_ascii_alphanumeric()) || !key.starts_with(|c: char| c.is_ascii_lowercase()) {
        return key.to_owned();
    }
    key.chars().fold(String::new(), |mut name, c| {
        if c.is_ascii_uppercase() {
            name.push('_');
        }
        name.push(c.to_ascii_lowercase());
        name
    })
}
