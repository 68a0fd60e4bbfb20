//! Policies: what is allowed, to whom, under which condition.

use std::collections::HashMap;

use super::{permission, principal};
use crate::{
    pb::{
        envoy::config::rbac::v3::{Policy, rbac::Action},
        path::Path,
    },
    translate::{bounds::Bounds, note::Notes},
};

/// At least one of the policies applies.
pub(super) fn any(
    policies: &HashMap<String, Policy>,
    action: Action,
    path: &Path<'_>,
    notes: &mut Notes,
) -> Bounds {
    // Sorted, so that the result is the same every time.
    let mut policies: Vec<_> = policies.iter().collect();
    policies.sort_by_key(|(name, _)| *name);
    let parts: Vec<_> = policies
        .into_iter()
        .map(|(name, policy)| {
            let here = path.entry("policies", name);
            let unknown = Unknown::of_policy(action, name);
            applies(policy, &unknown, &here, notes)
        })
        .collect();
    Bounds::any(parts)
}

fn applies(policy: &Policy, unknown: &Unknown, path: &Path<'_>, notes: &mut Notes) -> Bounds {
    let permissions =
        policy.permissions.iter().enumerate().map(|(at, permission)| {
            permission::test(permission, unknown, &path.item("permissions", at), notes)
        });
    let permitted = Bounds::any(permissions.collect::<Vec<_>>());
    let principals = policy
        .principals
        .iter()
        .enumerate()
        .map(|(at, id)| principal::test(id, unknown, &path.item("principals", at), notes));
    let meant = Bounds::any(principals.collect::<Vec<_>>());
    let conditions = [
        ("condition", policy.condition.is_some()),
        ("checked_condition", policy.checked_condition.is_some()),
    ];
    let conditions = conditions
        .into_iter()
        .filter(|(_, present)| *present)
        .map(|(field, _)| unknown.part(&path.field(field), "has no counterpart", notes));
    let conditions: Vec<_> = conditions.collect();
    Bounds::all([permitted, meant].into_iter().chain(conditions))
}

/// What becomes of rules with a part that APISIX cannot tell.
pub(super) struct Unknown {
    consequence: String,
}

impl Unknown {
    fn of_policy(action: Action, name: &str) -> Self {
        let consequence = match action {
            Action::Deny => format!("policy {name:?} refuses whatever its other parts fit"),
            _ => format!("policy {name:?} allows nothing that depends on it"),
        };
        Self { consequence }
    }

    /// Of a matcher.
    pub fn of_tree() -> Self {
        Self { consequence: "what depends on it is refused".to_owned() }
    }

    /// A part that is not known to hold or not.
    pub fn part(&self, path: &Path<'_>, why: &str, notes: &mut Notes) -> Bounds {
        notes.guard_told(path, format!("{why}: {}", self.consequence));
        Bounds::unknown()
    }
}
