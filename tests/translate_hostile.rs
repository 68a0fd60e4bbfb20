//! Whatever comes, nothing panics, every object is one that APISIX takes, nothing refers to what is not there, and
//! what was wrong is listed.
//!
//! `SEED` and `MUTATIONS` choose how many broken messages there are, and which.

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

use apisix_mesh::{
    apisix::{Directory, Key},
    pb::envoy::config::{cluster::v3::Cluster, listener::v3::Listener},
    translate::{Delta, Issue, Translator},
    xds::{Change, Resource, ResourceType, Snapshot},
};
use bytes::Bytes;
use prost::Message;
use serde_json::Value;
use support::{
    load,
    mutate::{HOSTILE, Random, mutate},
    schema,
};

type Resources = Vec<(ResourceType, Resource)>;

/// A translation that goes on, with its objects.
#[derive(Default)]
struct World {
    snapshot: Snapshot,
    translator: Translator,
    objects: BTreeMap<Key, Bytes>,
    /// The upstreams that each object names.
    named: BTreeMap<Key, BTreeSet<String>>,
}

impl World {
    fn new(resources: &Resources) -> Self {
        let mut world = Self { snapshot: load::snapshot(resources.clone()), ..Self::default() };
        world.apply(&resources.iter().map(load::change).collect::<Vec<_>>());
        world
    }

    fn put(&mut self, kind: ResourceType, resource: Resource) {
        let change = Change { kind, name: resource.name.clone() };
        self.snapshot.insert(kind, resource);
        self.apply(&[change]);
    }

    fn take(&mut self, kind: ResourceType, name: &str) {
        self.snapshot.remove(kind, name);
        self.apply(&[Change { kind, name: name.into() }]);
    }

    /// For as long as it takes to see what comes of it.
    fn replace(&mut self, (kind, good): &(ResourceType, Resource), (_, bad): (ResourceType, Resource)) {
        let name = bad.name.clone();
        if name != good.name {
            self.take(*kind, &good.name);
        }
        self.put(*kind, bad);
        self.issues();
        if name != good.name {
            self.take(*kind, &name);
        }
        self.put(*kind, good.clone());
    }

    fn apply(&mut self, changes: &[Change]) {
        let Delta { puts, deletes } = self.translator.apply(&self.snapshot, changes);
        for (key, bytes) in puts {
            self.named.insert(key.clone(), schema::names(&key, &bytes));
            self.objects.insert(key, bytes);
        }
        for key in deletes {
            self.objects.remove(&key).expect("only what is there is deleted");
            self.named.remove(&key);
        }
        for (key, ids) in &self.named {
            for upstream in ids.iter().map(|id| Key::new(Directory::Upstreams, id)) {
                assert!(self.objects.contains_key(&upstream), "{key}: there is no {upstream}");
            }
        }
    }

    fn issues(&self) -> Vec<Issue> {
        self.translator.issues()
    }
}

fn environment(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}: {text}")))
}

fn golden() -> Vec<(String, Value)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut cases: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .filter_map(|entry| {
            let path = entry.unwrap().path();
            let text = fs::read_to_string(path.join("in.yaml")).ok()?;
            Some((path.file_name()?.to_str()?.to_owned(), serde_saphyr::from_str(&text).unwrap()))
        })
        .collect();
    cases.sort_by(|a, b| a.0.cmp(&b.0));
    cases
}

/// Each case of another control plane's corpus; none, said out loud, where it is not there.
fn corpus() -> Vec<(String, Resources)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpora/envoy-gateway");
    let Ok(entries) = fs::read_dir(&folder) else {
        eprintln!("skipped: {} is not there", folder.display());
        return Vec::new();
    };
    let mut cases: BTreeMap<String, Resources> = BTreeMap::new();
    for path in entries.map(|entry| entry.unwrap().path()) {
        let file = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        for kind in ResourceType::ALL {
            let Some(case) = file.strip_suffix(&format!(".{}s.yaml", kind.noun())) else { continue };
            let text = fs::read_to_string(&path).unwrap();
            let Ok(Value::Array(items)) = serde_saphyr::from_str(&text) else { continue };
            let typed = items.into_iter().filter_map(|mut item: Value| {
                item["@type"] = kind.type_url().into();
                load::try_resource(&item).ok()
            });
            cases.entry(case.to_owned()).or_default().extend(typed);
        }
    }
    cases.into_iter().collect()
}

/// Of a route configuration, each virtual host alone is read; an assignment that no cluster uses is not.
fn is_read_whole(kind: ResourceType) -> bool {
    matches!(kind, ResourceType::Cluster | ResourceType::Listener)
}

fn is_whole(kind: ResourceType, bytes: &[u8]) -> bool {
    match kind {
        ResourceType::Cluster => Cluster::decode(bytes).is_ok(),
        _ => Listener::decode(bytes).is_ok(),
    }
}

/// The largest message that is mutated: time goes into many, not into long ones.
const MAX_MESSAGE: usize = 3000;

#[test]
fn broken_messages() {
    let seed = environment("SEED", 1);
    let mutations = environment("MUTATIONS", 50_000);
    eprintln!("SEED={seed} MUTATIONS={mutations}");
    let mut cases: Vec<(String, Resources)> = corpus();
    cases.extend(golden().into_iter().map(|(name, document)| (name, load::resources(&document))));
    let all: Resources = cases.iter().flat_map(|(_, resources)| resources.clone()).collect();
    let cases: Vec<_> =
        cases.iter().filter(|(_, r)| r.iter().any(|(_, r)| r.bytes.len() <= MAX_MESSAGE)).collect();

    let threads = 2;
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let (cases, all) = (&cases, &all);
            scope.spawn(move || {
                let mine: Vec<_> = cases.iter().skip(thread).step_by(threads).collect();
                let each = mutations as usize / threads / mine.len() + 1;
                for (name, resources) in mine {
                    broken_messages_of(
                        name,
                        resources,
                        all,
                        each,
                        Random::new(seed ^ Resource::hash_of(name.as_bytes())),
                    );
                }
            });
        }
    });
}

fn broken_messages_of(name: &str, resources: &Resources, all: &Resources, count: usize, mut random: Random) {
    let mut world = World::new(resources);
    let (objects, issues) = (world.objects.clone(), world.issues());
    let small: Resources = resources.iter().filter(|(_, r)| r.bytes.len() <= MAX_MESSAGE).cloned().collect();
    for _ in 0..count {
        let (kind, resource) = random.pick(&small);
        let others: Vec<_> = all.iter().filter(|(k, _)| k == kind).collect();
        let broken = mutate(&resource.bytes, &random.pick(&others).1.bytes.clone(), &mut random);
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            world.put(*kind, Resource::new(&resource.name, &broken));
            if is_read_whole(*kind) && !is_whole(*kind, &broken) {
                let of_it = |issue: &Issue| issue.resource == resource.name;
                assert!(world.issues().iter().any(of_it), "a message that cannot be decoded is no issue");
            }
            world.put(*kind, resource.clone());
            assert_eq!(world.objects, objects, "the good message again gives other objects");
        }));
        assert!(outcome.is_ok(), "{name}: {kind:?} {}: {}", resource.name, hexadecimal(&broken));
    }
    assert_eq!(world.issues(), issues, "{name}: the good messages again give other issues");
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[test]
fn hostile_texts_in_every_field() {
    let (mut texts, mut tried) = (0, 0);
    let mut elsewhere: BTreeSet<String> = BTreeSet::new();
    for (name, document) in golden() {
        let resources = load::resources(&document);
        let mut world = World::new(&resources);
        let objects = world.objects.clone();
        for place in places(&document, &mut Vec::new()) {
            let (at, inside) = place.split_first().expect("a document is a list");
            let at: usize = at.parse().expect("of resources");
            // Most cases share their listener and cluster.
            if elsewhere.contains(&document[at].to_string()) {
                continue;
            }
            texts += 1;
            for hostile in HOSTILE.iter().map(|&text| text.to_owned()).chain(["a".repeat(300)]) {
                let mut changed = document[at].clone();
                *field(&mut changed, inside) = Value::String(hostile.clone());
                // Where the text stands for something else, an enum or a number, it cannot be read.
                let Ok(changed) = load::try_resource(&changed) else { continue };
                tried += 1;
                let outcome = catch_unwind(AssertUnwindSafe(|| world.replace(&resources[at], changed)));
                assert!(outcome.is_ok(), "{name}: {place:?}: {hostile:?}");
            }
        }
        elsewhere.extend(document.as_array().into_iter().flatten().map(Value::to_string));
        assert_eq!(world.objects, objects, "{name}: the good texts again give other objects");
    }
    eprintln!("{texts} texts, {tried} hostile ones");
}

/// The ways to all texts of a document.
fn places(value: &Value, way: &mut Vec<String>) -> Vec<Vec<String>> {
    let children: Vec<(String, &Value)> = match value {
        Value::String(_) => return vec![way.clone()],
        Value::Array(items) => items.iter().enumerate().map(|(at, item)| (at.to_string(), item)).collect(),
        Value::Object(fields) => fields.iter().map(|(name, value)| (name.clone(), value)).collect(),
        _ => return Vec::new(),
    };
    let mut found = Vec::new();
    for (name, child) in children.into_iter().filter(|(name, _)| name != "@type") {
        way.push(name);
        found.extend(places(child, way));
        way.pop();
    }
    found
}

fn field<'a>(document: &'a mut Value, place: &[String]) -> &'a mut Value {
    place.iter().fold(document, |value, name| match value {
        Value::Array(items) => &mut items[name.parse::<usize>().unwrap()],
        value => &mut value[name.as_str()],
    })
}
