//! One directory of a worker: its items, and how lists and events change them (`load_full_data`, `sync_data`).
//!
//! In: decoded pairs. Out: what APISIX would serve. Never here: where pairs come from.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

use serde_json::Value;

use super::{
    client::{Answer, Pair},
    tally::{self, Tally},
    version::Version,
};

/// What etcd is asked for is below this.
pub const PREFIX: &str = "/apisix";

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    pub value: Rc<str>,
    pub revision: i64,
}

pub type Items = BTreeMap<String, Item>;

pub struct Directory {
    version: &'static Version,
    /// Such as `/apisix/routes`.
    pub key: String,
    tally: Rc<Tally>,
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    items: Items,
    /// The revision up to which everything is known.
    seen: i64,
    needs_list: bool,
    listed_before: bool,
    conf_version: u64,
}

/// A list, as `get_format` gives it.
#[derive(Debug)]
pub struct List {
    pub revision: i64,
    pub pairs: Vec<Pair>,
}

/// Why there is none.
#[derive(Debug)]
pub enum Failure {
    /// What APISIX itself tells.
    Told(String),
    /// What ends in a Lua error.
    LuaError(String),
}

impl Directory {
    pub fn new(version: &'static Version, name: &str, tally: Rc<Tally>) -> Self {
        let state = RefCell::new(State { needs_list: true, ..State::default() });
        Self { version, key: format!("{PREFIX}{name}"), tally, state }
    }

    pub fn items(&self) -> Items {
        self.state.borrow().items.clone()
    }

    pub fn holds(&self, items: &Items) -> bool {
        let state = self.state.borrow();
        state.listed_before && state.items == *items
    }

    pub fn seen(&self) -> i64 {
        self.state.borrow().seen
    }

    pub fn conf_version(&self) -> u64 {
        self.state.borrow().conf_version
    }

    pub fn needs_list(&self) -> bool {
        self.state.borrow().needs_list
    }

    pub fn ask_for_list(&self) {
        self.state.borrow_mut().needs_list = true;
    }

    /// A key belongs to every directory that it begins with: no slash is asked for behind the name.
    pub fn has(&self, key: &str) -> bool {
        key.starts_with(&self.key)
    }

    /// What stands for a key in this directory; one byte behind its name is skipped, whatever it is.
    pub fn short<'a>(&self, key: &'a str) -> &'a str {
        key.get(self.key.len() + 1..).unwrap_or_default()
    }

    /// Takes a list in place of all that is there.
    pub fn load(&self, list: &List) {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        if state.listed_before {
            tally::count(&self.tally.reloads);
        }
        let before = std::mem::take(&mut state.items);
        let mut changed = false;
        let mut still_there = 0;
        for pair in &list.pairs {
            let key = self.short(&pair.key);
            let held = before.get(key).filter(|_| self.version.keeps_equal_revisions);
            still_there += usize::from(held.is_some());
            state.seen = state.seen.max(pair.mod_revision);
            match (held, &pair.value) {
                (Some(held), _) if held.revision == pair.mod_revision => {
                    state.items.insert(key.to_owned(), held.clone());
                }
                (_, Some(value)) if is_object(value) => {
                    changed = true;
                    let item = Item { value: value.clone(), revision: pair.mod_revision };
                    state.items.insert(key.to_owned(), item);
                }
                (Some(held), _) => {
                    state.items.insert(key.to_owned(), held.clone());
                }
                (None, _) => {}
            }
        }
        changed |= self.version.keeps_equal_revisions && still_there < before.len();
        state.seen =
            if self.version.reload_sets_revision { list.revision } else { state.seen.max(list.revision) };
        state.conf_version += u64::from(changed);
        state.needs_list = false;
        state.listed_before = true;
    }

    /// Applies the events of one message, which all are of this directory.
    pub fn apply(&self, events: &[&Pair]) {
        let mut state = self.state.borrow_mut();
        for event in events {
            state.seen = state.seen.max(event.mod_revision);
            let key = self.short(&event.key);
            match &event.value {
                Some(value) if !is_object(value) => continue,
                Some(value) => {
                    let item = Item { value: value.clone(), revision: event.mod_revision };
                    state.items.insert(key.to_owned(), item);
                }
                None => {
                    state.items.remove(key);
                }
            }
            state.conf_version += 1;
        }
    }
}

fn is_object(value: &str) -> bool {
    serde_json::from_str(value).is_ok_and(|value: Value| value.is_object())
}

impl List {
    /// What a range says is in a directory (`get_format`).
    pub fn of_directory(answer: Answer, version: &Version) -> Result<Self, Failure> {
        let mut list = Self::of_range(answer)?;
        match list.pairs.first() {
            // The first key is the directory's own, if its value says nothing.
            Some(first) if first.value.is_none() => drop(list.pairs.remove(0)),
            Some(_) if version.needs_markers => list.pairs.clear(),
            _ => {}
        }
        Ok(list)
    }

    /// All that a range holds.
    pub fn of_range(answer: Answer) -> Result<Self, Failure> {
        let Some(body @ Value::Object(_)) = &answer.body else {
            return Err(Failure::Told("failed to read etcd dir".to_owned()));
        };
        if let Some(error) = body.get("error") {
            return Err(Failure::Told(error.to_string()));
        }
        if body.get("kvs").is_some() && answer.pairs.is_empty() {
            return Err(Failure::LuaError(format!("kvs without a key: {body}")));
        }
        Ok(Self { revision: revision(body)?, pairs: answer.pairs })
    }

    /// What `init_by_lua` takes from a list of everything (`create_formatter`): directories that a marker opens, each
    /// with the keys that follow it.
    pub fn by_directory(self, version: &Version) -> BTreeMap<&'static str, List> {
        let mut found: BTreeMap<&'static str, List> = BTreeMap::new();
        let mut open: Option<(&'static str, String)> = None;
        for pair in self.pairs {
            if let Some((name, marker)) = &open {
                if pair.key.starts_with(marker) {
                    found.get_mut(name).expect("it was opened").pairs.push(pair);
                    continue;
                }
                open = None;
            }
            let Some(inner) = pair.key.get(PREFIX.len()..pair.key.len() - 1) else { continue };
            let Some(&name) = version.directories.iter().find(|&&name| name == inner) else { continue };
            if !found.contains_key(name) {
                found.insert(name, List { revision: self.revision, pairs: Vec::new() });
                open = Some((name, pair.key));
            }
        }
        found
    }
}

/// The revision in a header, which is always there.
pub fn revision(body: &Value) -> Result<i64, Failure> {
    let revision = body["header"]["revision"].as_str().and_then(|revision| revision.parse().ok());
    revision
        .filter(|&revision| revision > 0)
        .ok_or_else(|| Failure::LuaError(format!("no revision in the header of {body}")))
}
