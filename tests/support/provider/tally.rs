//! What the workers went through, in numbers.

use std::cell::{Cell, RefCell};

#[derive(Debug, Default)]
pub struct Tally {
    /// Lists read again after the first one.
    pub reloads: Cell<u64>,
    /// Events that their directory had seen before.
    pub duplicates: Cell<u64>,
    /// Times that APISIX itself skipped changes that it had not seen.
    pub lost_windows: Cell<u64>,
    /// Messages with events.
    pub messages: Cell<u64>,
    /// What would have been Lua errors, and events that the reader dropped.
    pub faults: RefCell<Vec<String>>,
}

pub fn count(counter: &Cell<u64>) {
    add(counter, 1);
}

pub fn add(counter: &Cell<u64>, number: usize) {
    counter.set(counter.get() + number as u64);
}

impl Tally {
    pub fn fault(&self, what: impl Into<String>) {
        self.faults.borrow_mut().push(what.into());
    }
}
