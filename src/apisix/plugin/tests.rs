//! Every plugin in full passes; each rule is broken once.

use std::collections::BTreeMap;

use super::*;
use crate::apisix::{Condition, InlineUpstream};

fn text(text: &str) -> String {
    text.to_owned()
}

fn texts(list: &[&str]) -> Vec<String> {
    list.iter().copied().map(text).collect()
}

fn filter() -> Option<Meta> {
    Some(Meta::filter(vec![Condition::equals("host", "a")]))
}

fn fault() -> FaultInjection {
    let vars = vec![vec![Condition::equals("uri", "/")]];
    let headers = BTreeMap::from([(text("a"), text("$host"))]);
    FaultInjection {
        abort: Some(Abort {
            http_status: 503,
            body: Some(text("a\nb")),
            headers,
            percentage: Some(100),
            vars: vars.clone(),
        }),
        delay: Some(Delay { duration: 0.5, percentage: Some(0), vars }),
        meta: filter(),
    }
}

fn cors() -> Cors {
    Cors {
        allow_origins: Some(text("https://a,http://b:8080")),
        allow_origins_by_regex: texts(&["^https://.*a$"]),
        allow_methods: Some(text("GET,POST")),
        allow_headers: Some(text("**")),
        expose_headers: Some(text("x-a")),
        max_age: Some(-1),
        allow_credential: true,
        meta: filter(),
    }
}

fn rewrite() -> ProxyRewrite {
    let headers = || BTreeMap::from([(text("x-a"), texts(&["1", "$host"]))]);
    ProxyRewrite {
        target: RewriteTarget::Sent,
        uri: Some(text("/a")),
        regex_uri: vec![[text("^/a(.*)"), text("/b$1")]],
        host: Some(text("a.com:80")),
        method: Some(text("GET")),
        headers: Some(RequestHeaders { add: headers(), set: headers(), remove: texts(&["x-b"]) }),
        meta: filter(),
    }
}

fn response() -> ResponseRewrite {
    let headers = ResponseHeaders {
        add: texts(&["x-a: 1"]),
        set: BTreeMap::from([(text("x-b"), text("http://a/"))]),
        remove: texts(&["x-c"]),
    };
    ResponseRewrite { headers, meta: filter() }
}

fn count() -> LimitCount {
    LimitCount {
        count: 1,
        time_window: 1,
        key: text("remote_addr"),
        rejected_code: 429,
        rejected_msg: Some(text("a")),
        group: Some(text("a")),
        ..LimitCount::default()
    }
}

fn req() -> LimitReq {
    LimitReq { rate: 0.5, burst: 0.0, key: text("uri"), rejected_code: 503, ..LimitReq::default() }
}

fn split() -> TrafficSplit {
    let share = |target| WeightedUpstream { target, weight: 1 };
    let weighted_upstreams = vec![
        share(SplitTarget::UpstreamId(text("a"))),
        share(SplitTarget::Upstream(Box::new(InlineUpstream::without_nodes()))),
    ];
    TrafficSplit { rules: [SplitRule { weighted_upstreams }], meta: filter() }
}

fn redirect(uri: &str) -> Redirect {
    Redirect {
        to: RedirectTo::Uri(text(uri)),
        ret_code: 301,
        append_query_string: false,
        encode_uri: false,
        meta: filter(),
    }
}

fn mirror(host: &str) -> ProxyMirror {
    ProxyMirror { host: text(host), sample_ratio: Some(MIN_SAMPLE_RATIO), meta: Some(Meta::priority(1)) }
}

fn all() -> Plugins {
    Plugins {
        client_control: Some(ClientControl { max_body_size: 0, meta: filter() }),
        cors: Some(cors()),
        fault_injection: Some(fault()),
        gzip: Some(Gzip {
            types: texts(&["text/html"]),
            min_length: Some(1),
            comp_level: Some(9),
            vary: true,
            meta: filter(),
        }),
        limit_conn: Some(LimitConn {
            conn: 1,
            burst: 0,
            default_conn_delay: 0.1,
            key: text("uri"),
            key_type: LimitKey::Var,
            rejected_code: 503,
            meta: filter(),
        }),
        limit_count: Some(count()),
        limit_req: Some(req()),
        proxy_mirror: Some(mirror("http://a:80")),
        proxy_rewrite: Some(rewrite()),
        redirect: Some(redirect("$scheme://a$request_uri")),
        response_rewrite: Some(response()),
        traffic_split: Some(split()),
    }
}

/// What is wrong with all plugins after `change`.
#[track_caller]
fn broken(place: &str, change: impl FnOnce(&mut Plugins)) {
    let mut plugins = all();
    change(&mut plugins);
    let text = plugins.check().expect_err(place).to_string();
    assert!(text.starts_with(&format!("{place}: ")), "{text}");
}

/// A change to one plugin of all.
macro_rules! broken {
    ($place:literal, $plugin:ident, |$p:ident| $change:expr) => {
        broken($place, |plugins| {
            let $p = plugins.$plugin.as_mut().unwrap();
            $change;
        })
    };
}

#[test]
fn all_plugins_in_full_pass() {
    assert_eq!(all().check(), Ok(()));
    assert_eq!(Plugins::answer(200, Some(text("$x"))).check(), Ok(()));
    assert_eq!(serde_json::to_value(all()).unwrap().as_object().unwrap().len(), 12);
}

#[test]
fn fault_injection() {
    broken!("fault-injection", fault_injection, |p| *p = FaultInjection::default());
    broken!("fault-injection.abort.http_status", fault_injection, |p| p
        .abort
        .as_mut()
        .unwrap()
        .http_status = 199);
    broken!("fault-injection.abort.percentage", fault_injection, |p| p.abort.as_mut().unwrap().percentage =
        Some(101));
    broken!("fault-injection.abort.body", fault_injection, |p| p.abort.as_mut().unwrap().body =
        Some(text("$env://A")));
    let headers = |name, value| BTreeMap::from([(text(name), text(value))]);
    broken!(r#"fault-injection.abort.headers["a\nb"]"#, fault_injection, |p| {
        p.abort.as_mut().unwrap().headers = headers("a\nb", "")
    });
    broken!(r#"fault-injection.abort.headers["a"]"#, fault_injection, |p| {
        p.abort.as_mut().unwrap().headers = headers("a", "b\r\nc: d")
    });
    broken!("fault-injection.abort.vars", fault_injection, |p| {
        let abort = p.abort.as_mut().unwrap();
        abort.vars = vec![abort.vars[0].clone(); 21];
    });
    broken!("fault-injection.delay.vars[0]", fault_injection, |p| p.delay.as_mut().unwrap().vars[0].clear());
    broken!("fault-injection.delay.duration", fault_injection, |p| p.delay.as_mut().unwrap().duration = -1.0);
    broken!("fault-injection._meta.filter", fault_injection, |p| p.meta.as_mut().unwrap().filter.clear());
    broken!("fault-injection._meta.filter[0]", fault_injection, |p| {
        p.meta.as_mut().unwrap().filter = vec![Condition::equals("host", "$secret://a")]
    });
}

#[test]
fn limit_conn() {
    broken!("limit-conn.conn", limit_conn, |p| p.conn = 0);
    broken!("limit-conn.default_conn_delay", limit_conn, |p| p.default_conn_delay = 0.0);
    broken!("limit-conn.key", limit_conn, |p| p.key.clear());
    broken!("limit-conn.key", limit_conn, |p| p.key_type = LimitKey::Constant);
    broken!("limit-conn.rejected_code", limit_conn, |p| p.rejected_code = 600);
}

#[test]
fn proxy_mirror() {
    for host in
        ["a", "ftp://a", "http://", "http://a_b", "http://a:", "http://a/", "http://[::1", "http://[x]:1"]
    {
        broken!("proxy-mirror.host", proxy_mirror, |p| p.host = text(host));
    }
    for host in ["http://a.b-c", "grpc://127.0.0.1:80", "https://[::1]", "grpcs://[fe80::1]:65535"] {
        assert_eq!(mirror(host).check(), Ok(()), "{host}");
    }
    broken!("proxy-mirror.sample_ratio", proxy_mirror, |p| p.sample_ratio = Some(0.0));
    broken!("proxy-mirror.sample_ratio", proxy_mirror, |p| p.sample_ratio = Some(1.5));
    broken!("proxy-mirror._meta.filter", proxy_mirror, |p| p.meta = Some(Meta::filter(Vec::new())));
}

#[test]
fn cors_and_credentials() {
    for field in ["*", "a", "http://", "http://a,b", "http://a\n", ""] {
        broken!("cors.allow_origins", cors, |p| p.allow_origins = Some(text(field)));
    }
    broken!("cors.allow_origins", cors, |p| p.allow_origins = None);
    broken!("cors.allow_methods", cors, |p| p.allow_methods = None);
    broken!("cors.allow_headers", cors, |p| p.allow_headers = Some(text("*")));
    broken!("cors.expose_headers", cors, |p| p.expose_headers = Some(text("*")));
    broken!("cors.expose_headers", cors, |p| p.expose_headers = Some(text("a\r\nb")));
    broken!("cors.allow_origins_by_regex[0]", cors, |p| p.allow_origins_by_regex = texts(&["("]));
    broken!("cors.allow_origins_by_regex[0]", cors, |p| p.allow_origins_by_regex = texts(&[""]));
    broken!("cors.allow_origins_by_regex", cors, |p| p.allow_origins_by_regex = texts(&["a", "a"]));
    let open = Cors { allow_credential: false, ..Cors::default() };
    assert_eq!(open.check(), Ok(()));
}

#[test]
fn rewrites() {
    broken!("proxy-rewrite", proxy_rewrite, |p| *p =
        ProxyRewrite { meta: filter(), ..ProxyRewrite::default() });
    for uri in ["", "a", "/\n", "$secret://a", &"/a".repeat(2049)] {
        broken!("proxy-rewrite.uri", proxy_rewrite, |p| p.uri = Some(text(uri)));
    }
    broken!("proxy-rewrite.regex_uri[0]", proxy_rewrite, |p| p.regex_uri[0][0] = text("("));
    broken!("proxy-rewrite.regex_uri[0]", proxy_rewrite, |p| p.regex_uri[0][1] = text("$a"));
    for host in ["", "a_b", "a:", "a:123456", "[::1]", "ü"] {
        broken!("proxy-rewrite.host", proxy_rewrite, |p| p.host = Some(text(host)));
    }
    broken!("proxy-rewrite.method", proxy_rewrite, |p| p.method = Some(text("CONNECT")));
    broken!("proxy-rewrite.headers", proxy_rewrite, |p| p.headers = Some(RequestHeaders::default()));
    broken!(r#"proxy-rewrite.headers.add["a:b"]"#, proxy_rewrite, |p| {
        p.headers.as_mut().unwrap().add.insert(text("a:b"), texts(&["c"]))
    });
    broken!(r#"proxy-rewrite.headers.set["a"][1]"#, proxy_rewrite, |p| {
        p.headers.as_mut().unwrap().set.insert(text("a"), texts(&["c", "\0"]))
    });
    broken!(r#"proxy-rewrite.headers.set["a"]"#, proxy_rewrite, |p| {
        p.headers.as_mut().unwrap().set.insert(text("a"), vec![])
    });
    broken!("proxy-rewrite.headers.remove[0]", proxy_rewrite, |p| p.headers.as_mut().unwrap().remove[0]
        .clear());
    broken!("response-rewrite.headers", response_rewrite, |p| p.headers = ResponseHeaders::default());
    for line in ["a", "a:", ": b", "a: b:c", "a: b/", "a b: c", "a: b\nc"] {
        broken!("response-rewrite.headers.add[0]", response_rewrite, |p| p.headers.add = texts(&[line]));
    }
    broken!(r#"response-rewrite.headers.set["a"]"#, response_rewrite, |p| {
        p.headers.set.insert(text("a"), text("$secret://b"))
    });
    broken!("response-rewrite.headers.remove[0]", response_rewrite, |p| p.headers.remove[0] = text("a:"));
}

#[test]
fn other_places() {
    for uri in ["", "/", "/a\r\nb", "$secret://a"] {
        broken!("redirect.uri", redirect, |p| p.to = RedirectTo::Uri(text(uri)));
    }
    broken!("redirect.regex_uri", redirect, |p| p.to = RedirectTo::RegexUri([text("("), text("a")]));
    broken!("redirect.regex_uri", redirect, |p| p.to = RedirectTo::RegexUri([text("a"), text("$")]));
    broken!("redirect.ret_code", redirect, |p| p.ret_code = 199);
    broken!("traffic-split.rules[0].weighted_upstreams", traffic_split, |p| {
        p.rules[0].weighted_upstreams.clear()
    });
    broken!("traffic-split.rules[0].weighted_upstreams", traffic_split, |p| {
        let first = p.rules[0].weighted_upstreams[0].clone();
        p.rules[0].weighted_upstreams.push(first);
    });
    broken!("traffic-split.rules[0].weighted_upstreams", traffic_split, |p| {
        let inline = p.rules[0].weighted_upstreams[1].clone();
        p.rules[0].weighted_upstreams = vec![inline; 21];
    });
    broken!("traffic-split.rules[0].weighted_upstreams[0].upstream_id", traffic_split, |p| {
        p.rules[0].weighted_upstreams[0].target = SplitTarget::UpstreamId(text("a/b"))
    });
}

#[test]
fn bounds() {
    broken!("limit-count.count", limit_count, |p| p.count = 0);
    broken!("limit-count.time_window", limit_count, |p| p.time_window = 0);
    broken!("limit-count.group", limit_count, |p| p.group = Some(text("")));
    broken!("limit-count.key", limit_count, |p| p.key = text("$secret://a"));
    broken!("limit-count.rejected_code", limit_count, |p| p.rejected_code = 600);
    broken!("limit-count.rejected_msg", limit_count, |p| p.rejected_msg = Some(text("")));
    broken!("limit-req.rate", limit_req, |p| p.rate = 0.0);
    broken!("limit-req.burst", limit_req, |p| p.burst = f64::INFINITY);
    broken!("limit-req.key", limit_req, |p| p.key_type = LimitKey::Constant);
    broken!("client-control.max_body_size", client_control, |p| p.max_body_size = u64::MAX);
    broken!("gzip.types[0]", gzip, |p| p.types = texts(&[""]));
    broken!("gzip.min_length", gzip, |p| p.min_length = Some(0));
    broken!("gzip.comp_level", gzip, |p| p.comp_level = Some(10));
}
