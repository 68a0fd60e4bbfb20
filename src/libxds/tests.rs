//! The mirror against dictionaries that refuse as nginx's do, die at any write, and are written by two at once.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
};

use bytes::Bytes;
use proptest::prelude::*;

use super::mirror::{Dict, Mirror, Problem, is_awaited};
use crate::{
    apisix::{Directory, Key},
    store::{Delta, Options, Revision, Store},
};

type Entries = BTreeMap<String, Bytes>;

/// Both dictionaries, and what was seen of them.
#[derive(Default)]
struct World {
    objects: RefCell<Entries>,
    versions: RefCell<Entries>,
    /// Bytes that fit into the objects' dictionary.
    capacity: Cell<usize>,
    /// Each version with the objects that were there when it came.
    published: RefCell<Vec<(Revision, Entries)>>,
    /// Writes until the process dies; what it writes after that, it does not.
    left: Cell<usize>,
    /// Done just before a write, once so many writes were.
    meanwhile: RefCell<Option<(usize, Meanwhile)>>,
    /// Whether a write of another process has come between.
    is_mixed: Cell<bool>,
}

type Meanwhile = Box<dyn FnOnce()>;

impl World {
    fn new(capacity: usize) -> Rc<Self> {
        let world = Self::default();
        world.capacity.set(capacity);
        world.left.set(usize::MAX);
        Rc::new(world)
    }

    /// What readers find: the objects, and `version`.
    fn seen(&self) -> (Entries, Option<Bytes>) {
        let mut objects = self.objects.borrow().clone();
        objects.retain(|name, _| name.starts_with('/'));
        (objects, self.versions.borrow().get("version").cloned())
    }

    /// What must hold after every single write.
    fn check(&self) {
        let objects = self.objects.borrow();
        let listed: Vec<&str> = objects
            .iter()
            .filter(|(name, _)| name.starts_with("!apisix-mesh/"))
            .flat_map(|(_, text)| std::str::from_utf8(text).unwrap().lines())
            .collect();
        for name in objects.keys().filter(|name| name.starts_with('/')) {
            assert!(listed.contains(&name.as_str()), "{name} is in no manifest");
        }
        let has_version = self.versions.borrow().contains_key("version");
        assert!(!has_version || objects.contains_key("!apisix-mesh"), "the sentinel is gone");
    }
}

fn size(name: &str, value: &Bytes) -> usize {
    name.len() + value.len()
}

struct FakeDict {
    world: Rc<World>,
    is_version: bool,
}

impl FakeDict {
    fn entries(&self) -> &RefCell<Entries> {
        if self.is_version { &self.world.versions } else { &self.world.objects }
    }
}

impl Dict for FakeDict {
    fn get(&self, key: &str) -> Option<Bytes> {
        self.entries().borrow().get(key).cloned()
    }

    fn set(&self, key: &str, value: Option<&[u8]>) -> Result<(), String> {
        let meanwhile = self.world.meanwhile.take();
        match meanwhile {
            Some((0, meanwhile)) => {
                meanwhile();
                self.world.is_mixed.set(true);
            }
            later => *self.world.meanwhile.borrow_mut() = later.map(|(writes, then)| (writes - 1, then)),
        }
        let Some(left) = self.world.left.get().checked_sub(1) else { return Ok(()) };
        self.world.left.set(left);
        let mut entries = self.entries().borrow_mut();
        entries.remove(key);
        if let Some(value) = value.map(Bytes::copy_from_slice) {
            let used: usize = entries.iter().map(|(name, value)| size(name, value)).sum();
            if !self.is_version && used + size(key, &value) > self.world.capacity.get() {
                // What was there is put back by the next call: nobody dies in between.
                self.world.left.set(left.saturating_add(1));
                return Err("no memory".to_owned());
            }
            entries.insert(key.to_owned(), value);
        }
        drop(entries);
        if self.is_version && key == "version" {
            let (objects, version) = self.world.seen();
            let version = std::str::from_utf8(&version.unwrap()).unwrap().parse().unwrap();
            self.world.published.borrow_mut().push((version, objects));
        }
        if !self.world.is_mixed.get() {
            self.world.check();
        }
        Ok(())
    }

    fn room(&self) -> (Option<usize>, Option<usize>) {
        (Some(self.world.capacity.get()), None)
    }
}

fn claim(world: &Rc<World>, name: impl ToString) -> Mirror<FakeDict> {
    let dict = |is_version| FakeDict { world: world.clone(), is_version };
    Mirror::claim(dict(false), dict(true), name.to_string()).unwrap()
}

fn store() -> Store {
    Store::new(Options::default())
}

fn put(store: &Store, id: &str, value: &str) {
    let key = Key::new(Directory::Routes, id);
    store.commit(&Delta { puts: vec![(key, Bytes::copy_from_slice(value.as_bytes()))], deletes: vec![] });
}

fn objects(store: &Store) -> Entries {
    let snapshot = store.snapshot();
    snapshot.objects_from("").map(|(key, kv)| (key.as_str().to_owned(), kv.value.clone())).collect()
}

fn versions(world: &World) -> Vec<Revision> {
    world.published.borrow().iter().map(|(version, _)| *version).collect()
}

fn any_delta() -> impl Strategy<Value = Delta> {
    let key = || {
        let directory = prop_oneof![Just(Directory::Upstreams), Just(Directory::Routes)];
        (directory, 0..8u8).prop_map(|(directory, id)| Key::new(directory, &id.to_string()))
    };
    let put =
        (key(), "[ab]", 0..30usize).prop_map(|(key, text, length)| (key, Bytes::from(text.repeat(length))));
    (prop::collection::vec(put, 0..5), prop::collection::vec(key(), 0..4))
        .prop_map(|(puts, deletes)| Delta { puts, deletes })
}

/// What happens to the process that writes.
#[derive(Debug, Clone)]
enum Step {
    Change(Delta),
    Sync,
    LookAgain,
    /// Killed after so many writes of a sync, and another takes its place.
    Die(usize),
    /// The same, and the next one has another store, with other objects.
    Move(usize, Delta),
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => any_delta().prop_map(Step::Change),
        4 => Just(Step::Sync),
        1 => Just(Step::LookAgain),
        2 => (0..12usize).prop_map(Step::Die),
        1 => (0..12usize, any_delta()).prop_map(|(writes, delta)| Step::Move(writes, delta)),
    ]
}

proptest! {
    #[test]
    fn whatever_happens_a_version_comes_after_its_keys_and_rises(
        steps in prop::collection::vec(any_step(), 1..40),
        capacity in prop_oneof![Just(usize::MAX), 300..900usize],
    ) {
        let world = World::new(capacity);
        let (mut store, mut life) = (store(), 0);
        let mut mirror = claim(&world, life);
        for step in steps {
            let before = world.seen();
            match step {
                Step::Change(delta) => {
                    store.commit(&delta);
                }
                Step::LookAgain => mirror.look_again(),
                Step::Sync => match mirror.sync(&store.snapshot()) {
                    Ok(version) => {
                        let (now, text) = world.seen();
                        prop_assert_eq!(&now, &objects(&store));
                        prop_assert_eq!(version.is_some(), text != before.1);
                    }
                    Err(Problem::Refused(_)) => prop_assert_eq!(world.seen(), before),
                    Err(lost) => prop_assert!(false, "{lost}"),
                },
                Step::Die(writes) | Step::Move(writes, _) => {
                    world.left.set(writes);
                    let _ = mirror.sync(&store.snapshot());
                    world.left.set(usize::MAX);
                    if let Step::Move(_, delta) = step {
                        store = self::store();
                        store.commit(&delta);
                    }
                    life += 1;
                    mirror = claim(&world, life);
                }
            }
        }
        // Everything fits in the end.
        world.capacity.set(usize::MAX);
        mirror.sync(&store.snapshot()).unwrap();
        prop_assert_eq!(world.seen().0, objects(&store));
        prop_assert_eq!(world.published.borrow().last().map(|(_, objects)| objects.clone()), Some(objects(&store)));
        prop_assert!(versions(&world).is_sorted_by(|a, b| a < b), "{:?}", versions(&world));
    }

    /// The old process has looked for its own name and is about to write; the new one comes, reads and writes all it
    /// has; then that one write happens.
    #[test]
    fn the_last_write_of_the_process_before_is_healed(
        common in any_delta(), old in any_delta(), new in any_delta(), writes in 0..20usize,
    ) {
        let world = World::new(usize::MAX);
        let (old_store, new_store) = (store(), Rc::new(store()));
        for store in [&old_store, &*new_store] {
            store.commit(&common);
        }
        let mut first = claim(&world, "old");
        first.sync(&old_store.snapshot()).unwrap();
        old_store.commit(&old);
        new_store.commit(&new);

        let second = Rc::new(RefCell::new(None));
        let comes = {
            let (world, second, new_store) = (world.clone(), second.clone(), new_store.clone());
            move || {
                let mut mirror = claim(&world, "new");
                mirror.sync(&new_store.snapshot()).unwrap();
                *second.borrow_mut() = Some(mirror);
            }
        };
        *world.meanwhile.borrow_mut() = Some((writes, Box::new(comes)));
        let end = first.sync(&old_store.snapshot());
        let Some(mut second) = second.take() else { return Ok(()) };
        prop_assert!(end.is_err() || first.sync(&old_store.snapshot()) == Err(Problem::Lost));
        second.look_again();
        second.sync(&new_store.snapshot()).unwrap();
        world.check();
        prop_assert_eq!(world.seen().0, objects(&new_store));
        let published = world.published.borrow();
        let (version, last) = published.last().unwrap();
        prop_assert_eq!(last, &objects(&new_store));
        prop_assert!(published.iter().all(|(other, _)| other <= version));
    }
}

#[test]
fn the_same_content_again_has_no_new_version_whoever_writes_it() {
    let (world, store) = (World::new(usize::MAX), store());
    put(&store, "a", "1");
    let mut mirror = claim(&world, "first");
    assert_eq!(mirror.sync(&store.snapshot()), Ok(Some(store.snapshot().revision())));
    assert_eq!(mirror.sync(&store.snapshot()), Ok(None));
    let mut mirror = claim(&world, "second");
    assert_eq!(mirror.sync(&store.snapshot()), Ok(None));
}

#[test]
fn versions_rise_also_where_the_clock_stands_still_or_goes_back() {
    let world = World::new(usize::MAX);
    for (life, clock) in [9_000, 9_000, 10, 10, 9_001].into_iter().enumerate() {
        let store = Store::with_clock(Options::default(), move || clock);
        let mut mirror = claim(&world, life);
        for change in 0..3 {
            put(&store, "a", &format!("{life} {change}"));
            assert!(mirror.sync(&store.snapshot()).unwrap().is_some());
        }
    }
    assert!(versions(&world).is_sorted_by(|a, b| a < b), "{:?}", versions(&world));
    assert_eq!(versions(&world)[..3], [9_000, 9_001, 9_002]);
}

#[test]
fn the_last_object_goes_and_the_sentinel_stays() {
    let (world, store) = (World::new(usize::MAX), store());
    put(&store, "a", "1");
    let mut mirror = claim(&world, "first");
    mirror.sync(&store.snapshot()).unwrap();
    store.commit(&Delta { puts: vec![], deletes: vec![Key::new(Directory::Routes, "a")] });
    mirror.sync(&store.snapshot()).unwrap();
    assert_eq!(world.objects.borrow().keys().collect::<Vec<_>>(), ["!apisix-mesh"]);
}

#[test]
fn a_refusal_names_the_key_the_sizes_and_the_directive() {
    let (world, store) = (World::new(100), store());
    let readers = FakeDict { world: world.clone(), is_version: true };
    put(&store, "a", &"x".repeat(200));
    let mut mirror = claim(&world, "first");
    let problem = mirror.sync(&store.snapshot()).unwrap_err().to_string();
    let wanted = "/routes/a (200 bytes): no memory in a dictionary of 100 bytes with unknown free in whole pages; \
                  enlarge lua_shared_dict xds-config, in APISIX nginx_config.http.custom_lua_shared_dict";
    assert_eq!(problem, wanted);
    assert!(world.objects.borrow().is_empty() && world.published.borrow().is_empty());
    assert!(is_awaited(&readers));
    mirror.let_readers_start().unwrap();
    assert!(!is_awaited(&readers));
    assert_eq!(world.published.take(), [(1, Entries::new())]);
}

#[test]
fn what_grows_fits_where_something_else_goes() {
    let (world, store) = (World::new(200), store());
    put(&store, "a", &"x".repeat(80));
    let mut mirror = claim(&world, "first");
    mirror.sync(&store.snapshot()).unwrap();
    let key = |id| Key::new(Directory::Routes, id);
    let puts = vec![(key("b"), Bytes::from("y".repeat(90)))];
    store.commit(&Delta { puts, deletes: vec![key("a")] });
    mirror.sync(&store.snapshot()).unwrap();
    assert_eq!(world.seen().0, objects(&store));
}
