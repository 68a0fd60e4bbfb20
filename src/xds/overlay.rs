//! Files laid over a control plane.
//!
//! In: both sources. Out: their resources as one snapshot; where both have a resource of one type and name, the file's
//! is in force. What a file's resource refers to is to be in the files as well, but for clusters: the control plane is
//! asked only for what its own resources name. Never here: how either of them is read.

use super::{Ads, Change, FileSource, Snapshot, SourceStatus, Update};

/// A control plane below, files above.
pub struct Overlay {
    below: Ads,
    above: FileSource,
    snapshot: Snapshot,
    complete: [bool; 2],
}

impl Overlay {
    /// With nothing read yet.
    pub fn new(below: Ads, above: FileSource) -> Self {
        Self { below, above, snapshot: Snapshot::default(), complete: [false; 2] }
    }

    /// The resources in force.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// A handle on the state of both.
    pub fn status(&self) -> SourceStatus {
        self.below.status().over(self.above.status())
    }

    /// The next update of either that changes something or makes the first configuration complete; may be dropped and
    /// called again without loss.
    pub async fn next(&mut self) -> Update {
        loop {
            let (place, update) = tokio::select! {
                update = self.below.next() => (0, update),
                update = self.above.next() => (1, update),
            };
            let complete_before = self.is_complete();
            self.complete[place] = update.complete;
            let changes: Vec<Change> = update.changes.into_iter().filter(|change| self.put(change)).collect();
            let complete = self.is_complete();
            if !changes.is_empty() || complete != complete_before {
                return Update { changes, complete };
            }
        }
    }

    fn is_complete(&self) -> bool {
        self.complete == [true; 2]
    }

    /// Whether it changes what is in force.
    fn put(&mut self, Change { kind, name }: &Change) -> bool {
        let above = self.above.snapshot().get(*kind, name);
        match above.or_else(|| self.below.snapshot().get(*kind, name)) {
            Some(resource) => self.snapshot.insert(*kind, resource.clone()),
            None => self.snapshot.remove(*kind, name),
        }
    }
}
