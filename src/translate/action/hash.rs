//! Hash policies to the key that a hashing upstream reads. Mapping rows 57 and 58.

use crate::{
    apisix::HashOn,
    pb::{
        envoy::config::route::v3::route_action::{HashPolicy, hash_policy::PolicySpecifier},
        path::Path,
    },
    translate::{cluster::HashKey, note::Notes},
};

/// The key of the policies of the action at `path`; `None` where there is nothing to hash.
pub(super) fn key(policies: &[HashPolicy], path: &Path<'_>, notes: &mut Notes) -> Option<HashKey> {
    let mut keys = Vec::new();
    for (at, policy) in policies.iter().enumerate() {
        let path = path.item("hash_policy", at);
        keys.extend(one(policy, &path, notes));
        if policy.terminal && !keys.is_empty() {
            if at + 1 < policies.len() {
                notes.approximated(&path.field("terminal"), "ends the list also for requests that lack it");
            }
            break;
        }
    }
    if keys.len() < 2 {
        return keys.pop();
    }
    notes.approximated(&path.field("hash_policy"), "several are one key together");
    let names: Vec<String> = keys.iter().map(|key| format!("${{{}}}", key.variable())).collect();
    Some(HashKey { on: HashOn::VarsCombinations, key: names.join(" ") })
}

fn one(policy: &HashPolicy, path: &Path<'_>, notes: &mut Notes) -> Option<HashKey> {
    let missing = "requests without it go by the client's address";
    let (field, on, name) = match policy.policy_specifier.as_ref()? {
        PolicySpecifier::Header(header) if header.header_name.eq_ignore_ascii_case(":path") => {
            return Some(HashKey { on: HashOn::VarsCombinations, key: "${real_request_uri}".to_owned() });
        }
        PolicySpecifier::Header(header) if header.header_name.eq_ignore_ascii_case(":authority") => {
            ("header", HashOn::Header, "host".to_owned())
        }
        PolicySpecifier::Header(header) => {
            ("header", HashOn::Header, header.header_name.to_ascii_lowercase())
        }
        PolicySpecifier::Cookie(cookie) => {
            if cookie.ttl.as_ref().is_some_and(|ttl| ttl.seconds >= 0) {
                notes.traffic(&path.field("cookie").field("ttl"), "no cookie is made for who has none");
            }
            ("cookie", HashOn::Cookie, cookie.name.clone())
        }
        PolicySpecifier::ConnectionProperties(properties) if properties.source_ip => {
            return Some(HashKey { on: HashOn::Vars, key: "remote_addr".to_owned() });
        }
        PolicySpecifier::ConnectionProperties(_) => return None,
        PolicySpecifier::QueryParameter(parameter) => {
            ("query_parameter", HashOn::Vars, format!("arg_{}", parameter.name))
        }
    };
    let path = path.field(field);
    // What APISIX takes for the name of a header, a cookie or an argument.
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)) {
        notes.traffic(&path, format!("{name:?} has no counterpart: not hashed"));
        return None;
    }
    notes.approximated(&path, missing);
    Some(HashKey { on, key: name })
}

impl HashKey {
    fn variable(&self) -> String {
        match self.on {
            HashOn::Header => format!("http_{}", self.key.replace('-', "_")),
            HashOn::Cookie => format!("cookie_{}", self.key),
            HashOn::Vars => self.key.clone(),
            HashOn::VarsCombinations => self.key.trim_start_matches("${").trim_end_matches('}').to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pb::envoy::config::route::v3::route_action::hash_policy::{
        ConnectionProperties, Cookie, Header, QueryParameter,
    };

    fn policy(specifier: PolicySpecifier, terminal: bool) -> HashPolicy {
        HashPolicy { policy_specifier: Some(specifier), terminal }
    }

    fn header(name: &str) -> PolicySpecifier {
        PolicySpecifier::Header(Header { header_name: name.to_owned() })
    }

    fn address() -> PolicySpecifier {
        PolicySpecifier::ConnectionProperties(ConnectionProperties { source_ip: true })
    }

    fn of(policies: &[HashPolicy]) -> Option<(HashOn, String)> {
        key(policies, &Path::ROOT, &mut Notes::default()).map(|key| (key.on, key.key))
    }

    #[test]
    fn each_kind_has_its_key() {
        let cookie = PolicySpecifier::Cookie(Cookie { name: "c".to_owned(), ttl: None });
        let parameter = PolicySpecifier::QueryParameter(QueryParameter { name: "q".to_owned() });
        assert_eq!(of(&[policy(header("X-A"), false)]), Some((HashOn::Header, "x-a".to_owned())));
        assert_eq!(of(&[policy(cookie, false)]), Some((HashOn::Cookie, "c".to_owned())));
        assert_eq!(of(&[policy(parameter, false)]), Some((HashOn::Vars, "arg_q".to_owned())));
        assert_eq!(of(&[policy(address(), false)]), Some((HashOn::Vars, "remote_addr".to_owned())));
        assert_eq!(of(&[policy(header("a b"), false)]), None);
        assert_eq!(of(&[]), None);
    }

    #[test]
    fn several_are_one_key_and_a_terminal_one_is_the_last() {
        let both = |terminal| [policy(header("X-A"), terminal), policy(address(), false)];
        let combined = (HashOn::VarsCombinations, "${http_x_a} ${remote_addr}".to_owned());
        assert_eq!(of(&both(false)), Some(combined));
        assert_eq!(of(&both(true)), Some((HashOn::Header, "x-a".to_owned())));
    }
}
