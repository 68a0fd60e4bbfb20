//! One store's objects in APISIX's two dictionaries, whoever wrote there before and whenever that one died.
//!
//! In: a [`Snapshot`] of the store, and what the dictionaries hold. Out: the writes that make them equal, keys first and
//! `version` last. Never here: nginx, a clock, a thread.
//!
//! Readers poll `version` and, when it is another, read all keys. So it rises when what the keys hold has changed, once
//! all of that is written, and at no other time.
//!
//! **Nobody lists a dictionary from outside.** Its keys stand in a manifest beside them, cut into parts by hash so that a
//! change rewrites little. A name is in the manifest before its key is written and until after its key is deleted, so
//! that whoever comes next finds everything, at whichever write this process dies. While `version` does not stand for
//! what the keys hold, a mark says so, and whoever finds it moves `version` on.
//!
//! **One writer.** At a reload the old and the new process overlap. The new one writes its name into the dictionary of
//! the version, then reads what is there; each looks for its own name before every write and stops for good when it finds
//! another. What remains is the one write that was under way, and `look_again` after a while heals it.
//!
//! **All or nothing.** A dictionary without room refuses a write and has by then removed the value that was to be
//! replaced, so the next call puts that back. Then all is taken back, the latest write first, and done again in the order that
//! needs the least room: what goes or changes is deleted, then the rest is written. If that is refused too, the last
//! configuration stands again.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use rpds::RedBlackTreeMapSync;
use xxhash_rust::xxh3::xxh3_64;

use crate::{
    apisix::{Directory, Key},
    store::{Revision, Snapshot},
};

/// The key that readers poll.
const VERSION: &str = "version";
/// The process that writes, in the version's dictionary.
const OWNER: &str = "!owner";
/// There while `version` does not stand for what the keys hold, in the version's dictionary.
const UNFINISHED: &str = "!unfinished";
/// Always there: a reader that finds no key at all keeps routes to upstreams that are gone. No directory has a key of
/// this form.
const SENTINEL: &str = "!apisix-mesh";
const LAYOUT: &[u8] = b"1";
const MANIFEST_PARTS: u64 = 32;

/// A shared dictionary of nginx, as much of it as this takes.
pub trait Dict {
    /// What a key holds.
    fn get(&self, key: &str) -> Option<Bytes>;
    /// Sets what a key holds, or deletes it. A value that is refused is not there, and nor is the one before it.
    fn set(&self, key: &str, value: Option<&[u8]>) -> Result<(), String>;
    /// How large the dictionary is, and how much of that is free in whole pages; where nginx tells.
    fn room(&self) -> (Option<usize>, Option<usize>);
}

/// Why a configuration is not in force.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// This process must not write any more.
    #[error("another process writes the dictionaries now")]
    Lost,
    /// A dictionary has no room; what was in force still is.
    #[error("{0}")]
    Refused(Refusal),
}

/// What had no room.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{key} ({bytes} bytes): {problem} in a dictionary of {} bytes with {} free in whole pages; enlarge \
     lua_shared_dict {dictionary}, in APISIX nginx_config.http.custom_lua_shared_dict",
    known(.room.0), known(.room.1)
)]
pub struct Refusal {
    key: String,
    bytes: usize,
    problem: String,
    room: (Option<usize>, Option<usize>),
    dictionary: &'static str,
}

fn known(size: Option<usize>) -> String {
    size.map_or("unknown".to_owned(), |size| size.to_string())
}

/// A key of the dictionary and what it shall hold.
type Write = (String, Option<Bytes>);

/// Whether readers still wait for their first version.
pub fn is_awaited(versions: &impl Dict) -> bool {
    versions.get(VERSION).is_none()
}

/// The right to write the dictionaries, and what is in them.
pub struct Mirror<D> {
    objects: D,
    versions: D,
    name: String,
    /// All that the dictionary of the objects holds, as this process knows it.
    held: RedBlackTreeMapSync<String, Bytes>,
    /// The life and the revision of the store that `held` comes from, if it is from a store of this process.
    mirrored: Option<(Revision, Revision)>,
    /// As this process found or wrote it.
    version: Option<Bytes>,
    /// Whether `version` stands for what the keys hold.
    is_settled: bool,
    /// Names that were there at the beginning.
    found: BTreeSet<String>,
}

impl<D: Dict> Mirror<D> {
    /// Takes the right to write from whoever has it, under a name that no other process has or had.
    pub fn claim(objects: D, versions: D, name: String) -> Result<Self, Problem> {
        let mut mirror = Self {
            objects,
            versions,
            name,
            held: RedBlackTreeMapSync::default(),
            mirrored: None,
            version: None,
            is_settled: false,
            found: BTreeSet::new(),
        };
        mirror.set_version(OWNER, Some(mirror.name.clone().into()))?;
        mirror.version = mirror.versions.get(VERSION);
        mirror.is_settled = mirror.is_version_good();
        mirror.found = mirror.look(BTreeSet::new());
        Ok(mirror)
    }

    /// Reads once more what the dictionaries hold, for what the last owner was just writing when this process came.
    pub fn look_again(&mut self) {
        let found = std::mem::take(&mut self.found);
        self.look(found);
        self.is_settled &= self.is_version_good();
    }

    /// Makes the dictionaries equal to a state of the store. Gives the new version, if there had to be one.
    pub fn sync(&mut self, target: &Snapshot) -> Result<Option<Revision>, Problem> {
        self.check_owner()?;
        let suspects = self.suspects(target);
        let writes = self.gently(&suspects);
        if !writes.iter().all(|(key, value)| self.holds(key, value)) {
            self.change(writes, &suspects)?;
        }
        self.mirrored = Some((target.first_revision(), target.revision()));
        if self.is_settled { Ok(None) } else { self.publish(target.revision()).map(Some) }
    }

    /// Gives readers that still wait a version without objects.
    pub fn let_readers_start(&mut self) -> Result<(), Problem> {
        if is_awaited(&self.versions) {
            self.sync(&Snapshot::default())?;
        }
        Ok(())
    }

    /// How much of the objects' dictionary is free in whole pages.
    pub fn free(&self) -> Option<usize> {
        self.objects.room().1
    }

    fn is_version_good(&self) -> bool {
        let found = self.versions.get(VERSION);
        found.is_some() && found == self.version && self.versions.get(UNFINISHED).is_none()
    }

    /// Finds what the dictionary holds under all names that the manifest, this process and `also` know, and gives them.
    fn look(&mut self, also: BTreeSet<String>) -> BTreeSet<String> {
        let mut names = also;
        names.extend(self.held.keys().cloned());
        for part in (0..MANIFEST_PARTS).map(part_name) {
            names.extend(self.objects.get(&part).iter().flat_map(listed).map(str::to_owned));
            names.insert(part);
        }
        names.insert(SENTINEL.to_owned());
        let found = |name: &String| Some((name.clone(), self.objects.get(name)?));
        self.held = names.iter().filter_map(found).collect();
        self.mirrored = None;
        names
    }

    /// Keys that may differ from a state of the store, and what it has there: those that changed since the state that is
    /// held, or all.
    fn suspects(&self, target: &Snapshot) -> Vec<Write> {
        let same_life = self.mirrored.filter(|&(first, revision)| {
            first > 0 && first == target.first_revision() && revision <= target.revision()
        });
        let names: BTreeSet<&str> =
            match same_life.and_then(|(_, revision)| target.commits_since(revision).ok()) {
                Some(commits) => {
                    commits.flat_map(|commit| &commit.events).map(|event| event.key.as_str()).collect()
                }
                None => {
                    let held = self.held.keys().map(String::as_str).filter(|name| !is_ours(name));
                    let parts = (0..MANIFEST_PARTS).filter_map(|part| self.held.get(&part_name(part)));
                    let targets = target.objects_from("").map(|(key, _)| key.as_str());
                    targets.chain(held).chain(parts.flat_map(listed)).collect()
                }
            };
        let wanted = |name: &str| target.get(name).map(|object| object.value.clone());
        let sentinel = (SENTINEL.to_owned(), Some(Bytes::from_static(LAYOUT)));
        std::iter::once(sentinel)
            .chain(names.into_iter().map(|name| (name.to_owned(), wanted(name))))
            .collect()
    }

    /// Writes what suspects shall hold, or leaves what was there.
    fn change(&mut self, gently: Vec<Write>, suspects: &[Write]) -> Result<(), Problem> {
        let (before, was_settled) = (self.held.clone(), self.is_settled);
        self.set_version(UNFINISHED, Some(self.name.clone().into()))?;
        self.is_settled = false;
        let mut done = self.write(gently);
        if let Err(Problem::Refused(_)) = done {
            done = self.write(self.in_little_room(suspects));
        }
        if done.is_err() && self.held != before {
            self.mirrored = None;
        } else if done.is_err() && was_settled {
            self.set_version(UNFINISHED, None)?;
            self.is_settled = true;
        }
        done
    }

    /// Make before break: at no time does an object refer to one that is not there.
    fn gently(&self, suspects: &[Write]) -> Vec<Write> {
        let (mut puts, mut deletes) = self.changes(suspects);
        puts.sort_by_cached_key(|(name, _)| rank(name));
        deletes.sort_by_cached_key(|(name, _)| std::cmp::Reverse(rank(name)));
        let mut writes = self.manifest(suspects, |_| true);
        writes.append(&mut puts);
        writes.append(&mut deletes);
        writes.append(&mut self.manifest(suspects, Option::is_some));
        writes
    }

    /// Nothing old is left when the first new value comes.
    fn in_little_room(&self, suspects: &[Write]) -> Vec<Write> {
        let (mut puts, mut writes) = self.changes(suspects);
        writes.extend(puts.iter().map(|(name, _)| (name.clone(), None)));
        writes.append(&mut self.manifest(suspects, |_| true));
        writes.append(&mut puts);
        writes.append(&mut self.manifest(suspects, Option::is_some));
        writes
    }

    /// The values to put and the keys to delete.
    fn changes(&self, suspects: &[Write]) -> (Vec<Write>, Vec<Write>) {
        let changed = suspects.iter().filter(|(name, value)| !self.holds(name, value));
        changed.cloned().partition(|(_, value)| value.is_some())
    }

    /// The parts of the manifest that suspects are in, with the names of those that are to be listed.
    fn manifest(&self, suspects: &[Write], is_listed: impl Fn(&Option<Bytes>) -> bool) -> Vec<Write> {
        let mut parts: BTreeMap<u64, Vec<&Write>> = BTreeMap::new();
        for suspect in suspects.iter().filter(|(name, _)| !is_ours(name)) {
            parts.entry(xxh3_64(suspect.0.as_bytes()) % MANIFEST_PARTS).or_default().push(suspect);
        }
        let text = |(part, suspects): (u64, Vec<&Write>)| {
            let part = part_name(part);
            let mut names: BTreeSet<&str> = self.held.get(&part).into_iter().flat_map(listed).collect();
            for (name, value) in suspects {
                if is_listed(value) {
                    names.insert(name);
                } else {
                    names.remove(name.as_str());
                }
            }
            let text = names.into_iter().collect::<Vec<_>>().join("\n");
            (part, (!text.is_empty()).then(|| Bytes::from(text)))
        };
        parts.into_iter().map(text).collect()
    }

    fn holds(&self, key: &str, value: &Option<Bytes>) -> bool {
        self.held.get(key) == value.as_ref()
    }

    /// All of these, or none.
    fn write(&mut self, writes: Vec<Write>) -> Result<(), Problem> {
        let before = self.held.clone();
        for (at, (key, value)) in writes.iter().enumerate() {
            let Err(problem) = self.set(key, value.clone()) else { continue };
            for (key, _) in writes[..at].iter().rev() {
                // A key that was written twice has two chances here: the second comes when there is room for all that was.
                if self.set(key, before.get(key).cloned()) == Err(Problem::Lost) {
                    return Err(Problem::Lost);
                }
            }
            return Err(problem);
        }
        Ok(())
    }

    fn set(&mut self, key: &str, value: Option<Bytes>) -> Result<(), Problem> {
        if self.holds(key, &value) {
            return Ok(());
        }
        self.check_owner()?;
        let Err(problem) = self.objects.set(key, value.as_deref()) else {
            match value {
                Some(value) => self.held.insert_mut(key.to_owned(), value),
                None => drop(self.held.remove_mut(key)),
            }
            return Ok(());
        };
        let refused = refused("xds-config", &self.objects, key, value, problem);
        // What was there has made room for itself.
        if self.objects.set(key, self.held.get(key).map(|before| &**before)).is_err() {
            self.held.remove_mut(key);
        }
        Err(refused)
    }

    /// A version above all before it: the revision, as a rule.
    fn publish(&mut self, revision: Revision) -> Result<Revision, Problem> {
        let number = |text: &Bytes| std::str::from_utf8(text).ok()?.parse::<Revision>().ok();
        let last =
            [self.versions.get(VERSION), self.version.clone()].iter().flatten().filter_map(number).max();
        let version = revision.max(last.unwrap_or(0).saturating_add(1));
        let text = Bytes::from(version.to_string());
        self.set_version(VERSION, Some(text.clone()))?;
        self.version = Some(text);
        self.set_version(UNFINISHED, None)?;
        self.is_settled = true;
        Ok(version)
    }

    fn set_version(&self, key: &str, value: Option<Bytes>) -> Result<(), Problem> {
        if key != OWNER {
            self.check_owner()?;
        }
        let done = self.versions.set(key, value.as_deref());
        done.map_err(|problem| refused("xds-config-version", &self.versions, key, value, problem))
    }

    fn check_owner(&self) -> Result<(), Problem> {
        let is_owner = self.versions.get(OWNER).is_some_and(|owner| owner == self.name);
        if is_owner { Ok(()) } else { Err(Problem::Lost) }
    }
}

fn refused(
    dictionary: &'static str,
    dict: &impl Dict,
    key: &str,
    value: Option<Bytes>,
    problem: String,
) -> Problem {
    let bytes = value.map_or(0, |value| value.len());
    Problem::Refused(Refusal { key: key.to_owned(), bytes, problem, room: dict.room(), dictionary })
}

/// Whether a key is no object's.
fn is_ours(name: &str) -> bool {
    name.starts_with(SENTINEL)
}

fn part_name(part: u64) -> String {
    format!("{SENTINEL}/{part:02}")
}

fn listed(text: &Bytes) -> impl Iterator<Item = &str> {
    std::str::from_utf8(text).unwrap_or_default().lines()
}

/// Where an object's directory stands in the make-before-break order; what is no object's comes first.
fn rank(name: &str) -> Option<Directory> {
    Key::parse(name).map(|key| key.directory())
}
