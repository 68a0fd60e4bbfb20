//! Routes: which requests, and what happens to them.

use serde::Serialize;

use super::{
    Condition, InlineUpstream, Plugins, Timeout, canonical,
    check::{
        Checked, MAX_INTEGER, Within, demand, each, host, id, if_there, name, not_empty, timeout, unique,
    },
};

/// The longest `uri` that APISIX accepts.
pub const MAX_URI: usize = 4096;

/// An object under `/routes`.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Route {
    /// The tail of the key.
    pub id: String,
    /// 1 to 256 characters.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Paths, a `*` at the end for any tail; no two the same.
    pub uris: Vec<String>,
    /// Lower-case host names, `*` before a suffix; none for every host.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// Higher goes first among routes of the same host and path text.
    pub priority: i64,
    /// All must hold.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub vars: Vec<Condition>,
    /// Instead of the upstream's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Timeout>,
    /// Where requests go, unless a plugin answers or chooses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream_id: Option<String>,
    /// In place of `upstream_id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream: Option<InlineUpstream>,
    /// What is done to requests.
    #[serde(skip_serializing_if = "Plugins::is_empty")]
    pub plugins: Plugins,
    /// `Upgrade: websocket` passes.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub enable_websocket: bool,
}

impl Route {
    /// The canonical JSON.
    pub fn to_bytes(&self) -> bytes::Bytes {
        canonical(self)
    }

    /// The first rule of APISIX that it breaks.
    pub fn check(&self) -> Checked {
        id(&self.id).within("id")?;
        if !self.name.is_empty() {
            name(&self.name).within("name")?;
        }
        self.check_place()?;
        if_there(&self.timeout, timeout).within("timeout")?;
        if_there(&self.upstream_id, |text| id(text)).within("upstream_id")?;
        if_there(&self.upstream, InlineUpstream::check).within("upstream")?;
        let both = self.upstream_id.is_some() && self.upstream.is_some();
        demand(!both, &self.upstream_id, "must not stand beside upstream").within("upstream_id")?;
        let neither = self.upstream_id.is_none() && self.upstream.is_none();
        demand(!neither || !self.plugins.is_empty(), "", "must be there, or an upstream")
            .within("plugins")?;
        self.plugins.check().within("plugins")
    }

    /// Which requests.
    fn check_place(&self) -> Checked {
        not_empty(&self.uris)
            .and_then(|()| each(&self.uris, |text| uri(text)))
            .and_then(|()| unique(&self.uris))
            .within("uris")?;
        each(&self.hosts, |text| {
            host(text)?;
            demand(!text.bytes().any(|b| b.is_ascii_uppercase()), text, "must be in lower case")
        })
        .and_then(|()| unique(&self.hosts))
        .within("hosts")?;
        demand(self.priority.unsigned_abs() <= MAX_INTEGER, self.priority, "is more than Lua can count")
            .within("priority")?;
        each(&self.vars, Condition::check).within("vars")
    }
}

/// A `*` elsewhere than at the end makes a pattern of the path.
fn uri(text: &str) -> Checked {
    demand(text.starts_with('/'), text, "must begin with /")?;
    demand(text.len() <= MAX_URI, text, "must be 4096 bytes at most: put it into vars")?;
    demand(
        text.find('*').is_none_or(|at| at + 1 == text.len()),
        text,
        "must have no * but at its end: put it into vars",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> Route {
        Route {
            id: "a".to_owned(),
            name: "a".to_owned(),
            uris: vec!["/*".to_owned(), "/a".to_owned()],
            hosts: vec!["a.com".to_owned(), "*.a.com".to_owned()],
            vars: vec![Condition::equals("host", "$secret://a")],
            timeout: Some(Timeout { connect: 1.0, send: 1.0, read: 1.0 }),
            upstream_id: Some("a".to_owned()),
            plugins: Plugins::answer(200, None),
            ..Route::default()
        }
    }

    #[track_caller]
    fn broken(place: &str, change: impl FnOnce(&mut Route)) {
        let mut route = full();
        change(&mut route);
        let text = route.check().expect_err(place).to_string();
        assert!(text.starts_with(&format!("{place}: ")), "{text}");
    }

    #[test]
    fn one_in_full_passes() {
        assert_eq!(full().check(), Ok(()));
        assert_eq!(Route { name: String::new(), upstream_id: None, ..full() }.check(), Ok(()));
    }

    #[test]
    fn each_rule_is_kept_to() {
        broken("id", |r| r.id = "a/b".to_owned());
        broken("name", |r| r.name = "a".repeat(257));
        broken("uris", |r| r.uris.clear());
        for uri in ["", "a", "*", "/a*b", "/*/", &"/a".repeat(2049)] {
            broken("uris[1]", |r| r.uris[1] = uri.to_owned());
        }
        broken("uris", |r| r.uris[1] = "/*".to_owned());
        for host in ["", "A.com", "a.*", "a b"] {
            broken("hosts[0]", |r| r.hosts[0] = host.to_owned());
        }
        broken("hosts", |r| r.hosts[0] = "*.a.com".to_owned());
        broken("priority", |r| r.priority = i64::MAX);
        broken(r#"vars[0]["uri"]"#, |r| r.vars[0] = Condition::matches("uri", "("));
        broken("timeout.read", |r| r.timeout.as_mut().unwrap().read = 0.0);
        broken("upstream_id", |r| r.upstream_id = Some(String::new()));
        broken("upstream_id", |r| r.upstream = Some(InlineUpstream::without_nodes()));
        broken("upstream.retry_timeout", |r| {
            let upstream = InlineUpstream { retry_timeout: Some(-1.0), ..InlineUpstream::default() };
            (r.upstream_id, r.upstream) = (None, Some(upstream));
        });
        broken("plugins", |r| (r.upstream_id, r.plugins) = (None, Plugins::default()));
        broken("plugins.fault-injection.abort.http_status", |r| r.plugins = Plugins::answer(100, None));
    }
}
