//! Reads files of resources, each on its own.
//!
//! In: the path of a file or folder. Out: the well-formed resources and one [`Problem`] for each of the others.
//! A folder is read as Kubernetes mounts one: its JSON and YAML files, links followed, dot files left out.

use std::{
    collections::BTreeMap,
    fmt, fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde_json::Value;
use tracing::debug;

use super::document;
use crate::{
    pb::{google::protobuf::Any, json::any_from_json, message_name},
    xds::{
        Objection, Resource, ResourceType,
        validate::{self, Carried},
    },
};

const MAX_YAML_NODES: usize = 100_000_000;

/// A well-formed resource and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// Its type.
    pub kind: ResourceType,
    /// Itself.
    pub resource: Resource,
    /// The file it stands in.
    pub file: Arc<Path>,
}

/// Why a file or a resource in it was not taken.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The file.
    pub file: PathBuf,
    /// The resource's type and name; none when the whole file is meant.
    pub resource: Option<(ResourceType, String)>,
    /// The field and what is wrong with it.
    pub error: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.file.display())?;
        if let Some((kind, name)) = &self.resource {
            write!(f, "{} {name:?}: ", kind.noun())?;
        }
        f.write_str(&self.error)
    }
}

/// All resources in a file, or in the files of a folder. Of two with one name the first stays.
pub fn load(path: &Path) -> (Vec<Loaded>, Vec<Problem>) {
    match list(path) {
        Ok(files) => merge(files.iter().map(|file| load_file(file))),
        Err(problem) => (Vec::new(), vec![problem]),
    }
}

/// The files behind `path`, sorted.
pub fn list(path: &Path) -> Result<Vec<PathBuf>, Problem> {
    let refuse = |e: std::io::Error| Problem { file: path.into(), resource: None, error: e.to_string() };
    if !fs::metadata(path).map_err(refuse)?.is_dir() {
        return Ok(vec![path.into()]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path).map_err(refuse)? {
        let file = entry.map_err(refuse)?.path();
        let hidden = file.file_name().is_some_and(|n| n.as_encoded_bytes().starts_with(b"."));
        let known = file.extension().is_some_and(|e| ["json", "yaml", "yml"].iter().any(|k| e == *k));
        if known && !hidden && file.is_file() {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

/// Puts the files together; a resource that stands in two with different content is a problem of the later one.
pub fn merge(files: impl Iterator<Item = (Vec<Loaded>, Vec<Problem>)>) -> (Vec<Loaded>, Vec<Problem>) {
    let mut kept: BTreeMap<(ResourceType, Arc<str>), Loaded> = BTreeMap::new();
    let mut problems = Vec::new();
    for (resources, more) in files {
        problems.extend(more);
        for loaded in resources {
            let key = (loaded.kind, loaded.resource.name.clone());
            let Some(first) = kept.get(&key) else {
                kept.insert(key, loaded);
                continue;
            };
            // A config dump shows its static resources twice.
            if first.resource.hash != loaded.resource.hash {
                let error = format!("stands in {} already, with other content", first.file.display());
                let resource = Some((loaded.kind, loaded.resource.name.to_string()));
                problems.push(Problem { file: loaded.file.to_path_buf(), resource, error });
            }
        }
    }
    (kept.into_values().collect(), problems)
}

/// The resources of one file.
pub fn load_file(path: &Path) -> (Vec<Loaded>, Vec<Problem>) {
    let file: Arc<Path> = path.into();
    let problem = |resource, error| Problem { file: path.into(), resource, error };
    let (mut resources, mut problems) = (Vec::new(), Vec::new());
    let found = match read(path).and_then(|documents| find_all(documents, type_by_name(path))) {
        Ok(found) => found,
        Err(error) => return (resources, vec![problem(None, error)]),
    };
    for value in found {
        match read_resource(&value) {
            Ok(Some((kind, resource))) => resources.push(Loaded { kind, resource, file: file.clone() }),
            Ok(None) => debug!("{}: {} is not read", path.display(), value["@type"]),
            Err(error) => problems.push(problem(name_of(&value), error)),
        }
    }
    (resources, problems)
}

/// What was loaded without what `objection` refuses: that is a problem of its file.
pub fn refuse(
    (resources, mut problems): (Vec<Loaded>, Vec<Problem>),
    objection: &Objection,
) -> (Vec<Loaded>, Vec<Problem>) {
    let mut accepted =
        |loaded: &Loaded| match objection.to(loaded.kind, &loaded.resource.name, &loaded.resource.bytes) {
            Ok(()) => true,
            Err(error) => {
                let resource = Some((loaded.kind, loaded.resource.name.to_string()));
                problems.push(Problem { file: loaded.file.to_path_buf(), resource, error });
                false
            }
        };
    let resources = resources.into_iter().filter(&mut accepted).collect();
    (resources, problems)
}

fn read(path: &Path) -> Result<Vec<Value>, String> {
    let text = fs::read_to_string(path).map_err(|e| e.to_string())?;
    if path.extension().is_some_and(|e| e == "json") {
        return serde_json::from_str(&text).map(|v| vec![v]).map_err(|e| e.to_string());
    }
    // A dump of a large mesh is over the parser's limits for size; those for aliases stay.
    let budget = serde_saphyr::budget! {
        max_events: MAX_YAML_NODES,
        max_nodes: MAX_YAML_NODES,
        max_documents: MAX_YAML_NODES,
        max_total_scalar_bytes: usize::MAX,
    };
    let options = serde_saphyr::options! { budget: budget };
    serde_saphyr::from_multiple_with_options(&text, options).map_err(|e| e.to_string())
}

fn find_all(documents: Vec<Value>, type_url: Option<&str>) -> Result<Vec<Value>, String> {
    let mut found = Vec::new();
    for document in documents {
        found.extend(document::find(document, type_url)?);
    }
    Ok(found)
}

/// `NAME.clusters.yaml` and the like hold resources without `@type`.
fn type_by_name(path: &Path) -> Option<&'static str> {
    let stem = path.file_stem()?.to_str()?;
    match stem.rsplit('.').next()? {
        "clusters" => Some(ResourceType::Cluster.type_url()),
        "endpoints" => Some(ResourceType::ClusterLoadAssignment.type_url()),
        "listeners" => Some(ResourceType::Listener.type_url()),
        "routes" => Some(ResourceType::RouteConfiguration.type_url()),
        "secrets" => Some("type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"),
        _ => None,
    }
}

/// `None` for a type that is none of ours.
fn read_resource(value: &Value) -> Result<Option<(ResourceType, Resource)>, String> {
    let any = any_from_json(value)?;
    let Some(kind) = kind_of(&any) else { return Ok(None) };
    match validate::unwrap(kind, &any).map_err(|e| e.to_string())? {
        Carried::Heartbeat(..) => Ok(None),
        Carried::Message(message, _) => {
            let checked = validate::check(kind, &message).map_err(|e| e.to_string())?;
            Ok(Some((kind, Resource::new(&checked.name, &message))))
        }
    }
}

fn kind_of(any: &Any) -> Option<ResourceType> {
    ResourceType::ALL.into_iter().find(|kind| any.type_url == kind.type_url() || validate::wraps(*kind, any))
}

fn name_of(value: &Value) -> Option<(ResourceType, String)> {
    let value = value.get("resource").unwrap_or(value);
    let url = message_name(value.get("@type")?.as_str()?);
    let kind = ResourceType::ALL.into_iter().find(|k| message_name(k.type_url()) == url)?;
    let name = ["name", "cluster_name", "clusterName"].iter().find_map(|m| value.get(m)?.as_str())?;
    Some((kind, name.to_owned()))
}
