//! What the watcher hands to the directories since 3.4: a list of messages, and for each directory where it is in it
//! (`watch_ctx.res` and `watch_ctx.idx`, read by `http_waitdir`).
//!
//! In: messages and calls for a resync. Out: to each directory, in order, what concerns it. Never here: a wait.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
};

use super::{
    client::Pair,
    directory::{Directory, Failure},
    tally::{self, Tally},
};

/// A list is cut down when all directories have read so much of it.
const READ_ENOUGH: usize = 100;

#[derive(Default)]
pub struct Queue {
    entries: RefCell<Vec<Rc<Entry>>>,
    /// The next entry of each directory that has ever read, counted from 0.
    next: RefCell<BTreeMap<String, usize>>,
    /// Entries that were taken away, as long as there are directories that have not read yet.
    gone: RefCell<Vec<Rc<Entry>>>,
    /// Whether a directory missed any of these.
    pub has_lost: Cell<bool>,
}

struct Entry {
    notice: Notice,
    cleared: Cell<bool>,
}

pub enum Notice {
    Message {
        revision: i64,
        /// Nothing if the message has no list of events.
        events: Option<Vec<Pair>>,
    },
    /// All is to be read again.
    Resync,
}

/// What a directory finds.
pub enum Found {
    Applied,
    Resync,
    Nothing,
}

impl Queue {
    pub fn push(&self, notice: Notice) {
        self.entries.borrow_mut().push(Rc::new(Entry { notice, cleared: Cell::new(false) }));
    }

    /// Clears what all directories have read that have read at all, before a message is added.
    pub fn clear_read(&self, directories: usize) {
        let mut next = self.next.borrow_mut();
        let mut entries = self.entries.borrow_mut();
        let Some(&least) = next.values().min() else { return };
        for entry in &entries[..least.min(entries.len())] {
            if !entry.cleared.replace(true) && next.len() < directories {
                self.gone.borrow_mut().push(entry.clone());
            }
        }
        if least >= READ_ENOUGH {
            next.values_mut().for_each(|next| *next -= least);
            entries.drain(..least);
        }
    }

    /// Takes a directory to its next event.
    pub fn read(&self, directory: &Directory, tally: &Tally) -> Result<Found, Failure> {
        let is_new = !self.next.borrow().contains_key(&directory.key);
        if is_new {
            self.count_what_is_gone(directory, tally);
            self.next.borrow_mut().insert(directory.key.clone(), 0);
        }
        loop {
            let at = self.next.borrow()[&directory.key];
            let Some(entry) = self.entries.borrow().get(at).cloned() else { return Ok(Found::Nothing) };
            self.next.borrow_mut().insert(directory.key.clone(), at + 1);
            if entry.cleared.get() {
                continue;
            }
            match &entry.notice {
                Notice::Resync => return Ok(Found::Resync),
                Notice::Message { revision, events } if *revision > directory.seen() => {
                    let Some(events) = events else {
                        return Err(Failure::LuaError("a message without events".to_owned()));
                    };
                    let own: Vec<&Pair> = events.iter().filter(|event| directory.has(&event.key)).collect();
                    if !own.is_empty() {
                        directory.apply(&own);
                        return Ok(Found::Applied);
                    }
                }
                Notice::Message { .. } => {}
            }
        }
    }

    /// A directory whose first list came late has missed what was cleared while the list was on its way: APISIX asks
    /// those only that have begun to read.
    fn count_what_is_gone(&self, directory: &Directory, tally: &Tally) {
        let is_missed = |entry: &Rc<Entry>| match &entry.notice {
            Notice::Message { revision, events: Some(events) } => {
                *revision > directory.seen() && events.iter().any(|event| directory.has(&event.key))
            }
            Notice::Message { .. } => false,
            // What it calls for is unknown; the list may have been made before it or after.
            Notice::Resync => true,
        };
        if self.gone.borrow().iter().any(is_missed) {
            tally::count(&tally.lost_windows);
            self.has_lost.set(true);
        }
    }
}
