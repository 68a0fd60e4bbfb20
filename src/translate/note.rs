//! Issues while they are collected: relative to the unit that found them.

use crate::pb::{
    path::Path,
    unread::{self, Finding},
};

use super::{Severity, extension};

/// An issue without its resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Note {
    pub path: String,
    pub severity: Severity,
    pub detail: String,
    /// It guards something, and `detail` says all that becomes of that: the policy changes nothing.
    pub told: bool,
}

/// The notes of one unit.
#[derive(Debug, Default)]
pub(super) struct Notes(Vec<Note>);

impl Notes {
    pub fn add(&mut self, severity: Severity, path: &Path<'_>, detail: impl Into<String>) {
        self.0.push(Note { path: path.to_string(), severity, detail: detail.into(), told: false });
    }

    pub fn approximated(&mut self, path: &Path<'_>, detail: impl Into<String>) {
        self.add(Severity::Approximated, path, detail);
    }

    pub fn traffic(&mut self, path: &Path<'_>, detail: impl Into<String>) {
        self.add(Severity::Traffic, path, detail);
    }

    /// A part of a guard that is taken for the worse, so that nobody passes for it.
    pub fn guard_told(&mut self, path: &Path<'_>, detail: impl Into<String>) {
        let severity = Severity::Security;
        self.0.push(Note { path: path.to_string(), severity, detail: detail.into(), told: true });
    }

    /// Adds what was noted apart.
    pub fn take(&mut self, notes: Notes) {
        self.0.extend(notes.0);
    }

    /// Notes everything in an encoded message that nothing reads. What is merely ignored stands once for all
    /// elements of a list, what touches traffic or security stands for each.
    pub fn unread(&mut self, message: &str, bytes: &[u8]) {
        unread::walk(message, bytes, &mut |path, finding| {
            let Some((severity, detail)) = grade(finding) else { return };
            let path = if severity == Severity::Ignored { path.without_indexes() } else { path.to_string() };
            let note = Note { path, severity, detail, told: false };
            if severity != Severity::Ignored || !self.0.contains(&note) {
                self.0.push(note);
            }
        });
    }

    /// Whether something that guards the chain of the connection manager at `path` has been noted as not honoured:
    /// of the chain or the whole listener, but of none of its HTTP filters, which routes may turn off.
    pub fn guards_chain(&self, path: &Path<'_>) -> bool {
        let path = path.to_string();
        let chain = path.split('.').next().unwrap_or_default();
        let of_others = |note: &Note| {
            (note.path.starts_with("filter_chains[") || note.path.starts_with("default_filter_chain"))
                && !is_below(&note.path, chain)
        };
        self.0.iter().any(|note| {
            note.severity == Severity::Security
                && !note.path.contains(".http_filters[")
                && !note.path.contains(".route_config.")
                && !of_others(note)
        })
    }

    /// Everything from the `start`-th on.
    pub fn since(&self, start: usize) -> &[Note] {
        &self.0[start.min(self.0.len())..]
    }

    /// Leaves each note from the `start`-th on but once.
    pub fn once_since(&mut self, start: usize) {
        let new = self.0.split_off(start.min(self.0.len()));
        let first = self.0.len();
        for note in new {
            if !self.0[first..].contains(&note) {
                self.0.push(note);
            }
        }
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn into_vec(self) -> Vec<Note> {
        self.0
    }
}

fn is_below(path: &str, place: &str) -> bool {
    path.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// What a finding is worth, and what to say of it; `None` where somebody else reads it.
pub(super) fn grade(finding: Finding<'_>) -> Option<(Severity, String)> {
    match finding {
        Finding::Field(severity) => Some((field_severity(severity), "not supported".to_owned())),
        Finding::UnknownField(number) => {
            Some((Severity::Traffic, format!("field {number} is newer than this library")))
        }
        Finding::Extension { type_url, in_words, optional } => {
            let severity = extension::severity(type_url).or(in_words.then_some(Severity::Traffic))?;
            let (severity, word) = if optional { (Severity::Ignored, "optional, ") } else { (severity, "") };
            Some((severity, format!("{word}not supported: {type_url}")))
        }
    }
}

fn field_severity(severity: unread::Severity) -> Severity {
    match severity {
        unread::Severity::Ignored => Severity::Ignored,
        unread::Severity::Traffic => Severity::Traffic,
        unread::Severity::Security => Severity::Security,
    }
}
