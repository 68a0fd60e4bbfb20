//! `ctx.var`: the variables of a request (`apisix/core/ctx.lua`), by name or by number.
//!
//! Names that stand in objects are numbered when those are prepared, so that a request looks up no text. As in APISIX a
//! value is remembered once it has been read, nil never is.

use std::{cell::RefCell, collections::HashMap};

use super::{super::exchange::Request, nginx};

/// What a variable may hold; nil is `None` around it.
#[derive(Debug, Clone, PartialEq)]
pub enum Val {
    Text(String),
    /// An argument without `=`.
    True,
}

impl Val {
    /// `tostring`.
    pub fn text(&self) -> &str {
        match self {
            Self::Text(text) => text,
            Self::True => "true",
        }
    }

    /// `tonumber`, as LuaJIT reads decimal and hexadecimal numbers.
    pub fn number(&self) -> Option<f64> {
        let Self::Text(text) = self else { return None };
        let text = text.trim();
        let (sign, digits) = match text.as_bytes().first()? {
            b'-' => (-1.0, &text[1..]),
            b'+' => (1.0, &text[1..]),
            _ => (1.0, text),
        };
        if let Some(hex) = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
            return u64::from_str_radix(hex, 16).ok().map(|n| sign * n as f64);
        }
        digits
            .starts_with(|c: char| c.is_ascii_digit() || c == '.')
            .then(|| digits.parse::<f64>().ok())
            .flatten()
            .map(|n| sign * n)
    }
}

/// A numbered variable.
#[derive(Debug, Clone, Copy)]
pub struct Variable(usize);

#[derive(Debug, Clone)]
enum Kind {
    Uri,
    RequestUri,
    RealRequestUri,
    Args,
    IsArgs,
    Host,
    HttpHost,
    Method,
    Scheme,
    RemoteAddr,
    ServerAddr,
    ServerPort,
    OriginalDst,
    RequestId,
    UpstreamUri,
    RouteId,
    RouteName,
    Header(String),
    Arg(String),
    Cookie(String),
    ResponseHeader(String),
    Nothing,
}

impl Kind {
    fn of(name: &str) -> Self {
        let folded = |rest: &str| rest.to_ascii_lowercase().replace('-', "_");
        match name {
            "uri" | "document_uri" => Self::Uri,
            "request_uri" => Self::RequestUri,
            "real_request_uri" => Self::RealRequestUri,
            "args" | "query_string" => Self::Args,
            "is_args" => Self::IsArgs,
            "host" => Self::Host,
            "http_host" => Self::HttpHost,
            "request_method" | "method" => Self::Method,
            "scheme" => Self::Scheme,
            "remote_addr" | "realip_remote_addr" | "binary_remote_addr" => Self::RemoteAddr,
            "server_addr" => Self::ServerAddr,
            "server_port" => Self::ServerPort,
            "connection_original_dst" => Self::OriginalDst,
            "request_id" => Self::RequestId,
            "upstream_uri" => Self::UpstreamUri,
            "route_id" => Self::RouteId,
            "route_name" => Self::RouteName,
            "_" => Self::Nothing,
            _ if name.bytes().all(|b| b.is_ascii_digit()) => Self::Nothing,
            _ => {
                let prefixed = |prefix| name.strip_prefix(prefix);
                if let Some(rest) = prefixed("cookie_") {
                    Self::Cookie(rest.to_owned())
                } else if let Some(rest) = prefixed("arg_") {
                    Self::Arg(rest.to_owned())
                } else if let Some(rest) = prefixed("http_") {
                    Self::Header(folded(rest))
                } else if let Some(rest) = prefixed("upstream_http_").or_else(|| prefixed("sent_http_")) {
                    Self::ResponseHeader(folded(rest))
                } else {
                    panic!("not modelled: variable {name:?}")
                }
            }
        }
    }
}

/// The variables that the objects name.
#[derive(Debug, Default)]
pub struct Names {
    numbers: HashMap<String, usize>,
    kinds: Vec<Kind>,
}

impl Names {
    /// The number of a name.
    pub fn variable(&mut self, name: &str) -> Variable {
        if let Some(number) = self.numbers.get(name) {
            return Variable(*number);
        }
        self.kinds.push(Kind::of(name));
        self.numbers.insert(name.to_owned(), self.kinds.len() - 1);
        Variable(self.kinds.len() - 1)
    }
}

/// A request inside nginx.
pub struct Context<'a> {
    pub request: &'a Request,
    pub host: String,
    pub uri: String,
    pub args: String,
    /// Without Host; names in lower case.
    pub headers: RefCell<Vec<(String, String)>>,
    /// Of the response, once there is one.
    pub response: RefCell<Vec<(String, String)>>,
    pub route: RefCell<(String, String)>,
    /// Empty until a plugin says it.
    pub upstream_uri: RefCell<String>,
    names: &'a Names,
    read: RefCell<Vec<Option<Val>>>,
}

impl<'a> Context<'a> {
    /// `None` when nginx answers 400.
    pub fn new(request: &'a Request, names: &'a Names) -> Option<Self> {
        let host = nginx::host(&request.authority)?;
        let (uri, args) = nginx::uri_and_args(&request.target)?;
        let kept = request.headers.iter().filter(|(name, _)| nginx::keeps_header(name)).cloned();
        Some(Self {
            request,
            host,
            uri,
            args,
            headers: RefCell::new(kept.collect()),
            response: RefCell::default(),
            route: RefCell::default(),
            upstream_uri: RefCell::default(),
            names,
            read: RefCell::new(vec![None; names.kinds.len()]),
        })
    }

    /// Calls `f` with the value of a variable.
    pub fn with<T>(&self, variable: &Variable, f: impl FnOnce(Option<&Val>) -> T) -> T {
        if self.read.borrow()[variable.0].is_none() {
            let value = self.value(&self.names.kinds[variable.0]);
            self.read.borrow_mut()[variable.0] = value;
        }
        f(self.read.borrow()[variable.0].as_ref())
    }

    /// The value of a variable by its name.
    pub fn named(&self, name: &str) -> Option<Val> {
        match self.names.numbers.get(name) {
            Some(number) => self.with(&Variable(*number), |value| value.cloned()),
            None => self.value(&Kind::of(name)),
        }
    }

    /// `$is_args`.
    pub fn is_args(&self) -> &'static str {
        if self.args.is_empty() { "" } else { "?" }
    }

    /// `core.request.set_header` and `add_header` forget what was read of just this spelling.
    pub fn forget_header(&self, name: &str) {
        if let Some(number) = self.names.numbers.get(&format!("http_{}", name.to_ascii_lowercase())) {
            self.read.borrow_mut()[*number] = None;
        }
    }

    fn value(&self, kind: &Kind) -> Option<Val> {
        let text = |text: &str| Some(Val::Text(text.to_owned()));
        match kind {
            Kind::Uri => text(&self.uri),
            Kind::RequestUri => Some(Val::Text(format!("{}{}{}", self.uri, self.is_args(), self.args))),
            Kind::RealRequestUri => text(&self.request.target),
            Kind::Args => (!self.args.is_empty()).then(|| Val::Text(self.args.clone())),
            Kind::IsArgs => text(self.is_args()),
            Kind::Host => text(&self.host),
            Kind::HttpHost => text(&self.request.authority),
            Kind::Method => text(&self.request.method),
            Kind::Scheme => text("http"),
            Kind::RemoteAddr => text(&self.request.remote_addr),
            Kind::ServerAddr => Some(Val::Text(self.server_addr())),
            Kind::ServerPort => text("9080"),
            Kind::OriginalDst => text(&self.request.original_dst),
            Kind::RequestId => text(&self.request.request_id),
            Kind::UpstreamUri => text(&self.upstream_uri.borrow()),
            Kind::RouteId => text(&self.route.borrow().0),
            Kind::RouteName => text(&self.route.borrow().1),
            Kind::Header(folded) => nginx::header(&self.headers.borrow(), folded).map(Val::Text),
            Kind::Arg(name) => {
                nginx::argument(&self.args, name).map(|value| value.map_or(Val::True, Val::Text))
            }
            Kind::Cookie(name) => self.cookie(name).map(Val::Text),
            Kind::ResponseHeader(folded) => nginx::header(&self.response.borrow(), folded).map(Val::Text),
            Kind::Nothing => None,
        }
    }

    /// A redirected connection that this pod opened ends on the loopback address.
    fn server_addr(&self) -> String {
        let (ip, _) = self.request.original_dst.rsplit_once(':').expect("ip:port");
        let ip = ip.trim_matches(['[', ']']);
        match (self.request.outbound, ip.contains(':')) {
            (false, _) => ip.to_owned(),
            (true, false) => "127.0.0.1".to_owned(),
            (true, true) => "::1".to_owned(),
        }
    }

    /// `lua-resty-cookie`: the last of several of one name.
    fn cookie(&self, name: &str) -> Option<String> {
        let header = nginx::header(&self.headers.borrow(), "cookie")?;
        let mut pairs = header.split(';').filter_map(|pair| pair.trim().split_once('='));
        let value = pairs.rfind(|(key, _)| *key == name)?.1;
        Some(value.split([' ', '\t']).next().unwrap_or_default().to_owned())
    }
}
