//! Random schedules: a server that follows the rules of its kind, a world that changes at any time, messages that
//! wait on their way for as long as they like, streams that are cut. When all is quiet the client holds the world.

use std::collections::{BTreeMap, VecDeque};

use proptest::{
    bool::ANY,
    prelude::{Just, Strategy, prop, prop_assert, prop_assert_eq, prop_oneof, proptest},
    test_runner::TestCaseError,
};

use super::*;

/// What servers do differently within the rules.
#[derive(Debug, Clone, Copy)]
struct Dialect {
    /// A request with an old nonce is dropped with its names, and names are answered by what was added only: istiod.
    sparing: bool,
    /// Resources have versions, and what the client has is not sent again.
    versions: bool,
}

/// Each resource by type and name: its content and its version.
type World = BTreeMap<(ResourceType, String), (Any, u64)>;

#[derive(Default)]
struct Watch {
    /// `None`: not subscribed. Of wildcard types what is in it does not matter.
    names: Option<BTreeSet<String>>,
    nonce: String,
    /// Name and version of what this client has.
    sent: BTreeMap<String, u64>,
}

struct Server {
    dialect: Dialect,
    mode: Mode,
    world: World,
    counter: u64,
    watches: [Watch; 4],
    outbox: VecDeque<Response>,
}

impl Server {
    fn hear(&mut self, request: Request) {
        match request {
            Request::Sotw(request) => {
                let kind = ResourceType::from_type_url(&request.type_url).unwrap();
                let watch = &mut self.watches[kind as usize];
                let stale = !request.response_nonce.is_empty() && request.response_nonce != watch.nonce;
                if (stale && self.dialect.sparing) || request.error_detail.is_some() {
                    return;
                }
                let names: BTreeSet<String> = request.resource_names.into_iter().collect();
                if names.is_empty() && !kind.is_complete() {
                    watch.names = None;
                    return;
                }
                let before = watch.names.replace(names.clone());
                let first = before.is_none() || request.response_nonce.is_empty();
                let added: BTreeSet<String> =
                    names.difference(&before.unwrap_or_default()).cloned().collect();
                if first || (!added.is_empty() && !self.dialect.sparing) {
                    self.send_sotw(kind, None);
                } else if !added.is_empty() {
                    self.send_sotw(kind, Some(added));
                }
            }
            Request::Delta(request) => {
                let kind = ResourceType::from_type_url(&request.type_url).unwrap();
                let changes_names = !(request.resource_names_subscribe.is_empty()
                    && request.resource_names_unsubscribe.is_empty());
                if !request.response_nonce.is_empty() {
                    assert!(!changes_names, "istiod drops it");
                    return;
                }
                let watch = &mut self.watches[kind as usize];
                let first = watch.names.is_none();
                assert!(first || changes_names, "a request that asks for nothing");
                let names = watch.names.get_or_insert_default();
                for name in &request.resource_names_unsubscribe {
                    names.remove(name);
                    watch.sent.remove(name);
                }
                names.extend(request.resource_names_subscribe.iter().cloned());
                let held = request.initial_resource_versions;
                for (name, version) in held {
                    let known = self.dialect.versions.then(|| version.parse().ok()).flatten();
                    watch.sent.insert(name, known.unwrap_or(0));
                }
                // Asked for by name it is sent even if it was sent before.
                if !first {
                    for name in &request.resource_names_subscribe {
                        watch.sent.insert(name.clone(), 0);
                    }
                }
                self.send_delta(kind, true);
            }
        }
    }

    fn push(&mut self, kind: ResourceType) {
        if self.watches[kind as usize].names.is_none() {
            return;
        }
        match self.mode {
            Mode::Delta => self.send_delta(kind, false),
            Mode::Sotw if kind.is_complete() => self.send_sotw(kind, None),
            Mode::Sotw => {
                let watch = &self.watches[kind as usize];
                let changed = self.present(kind).filter(|(name, _, v)| watch.sent.get(*name) != Some(v));
                let names: BTreeSet<String> = changed.map(|(name, ..)| name.clone()).collect();
                if !names.is_empty() {
                    self.send_sotw(kind, self.dialect.sparing.then_some(names));
                }
            }
        }
    }

    /// What there is of what is subscribed to.
    fn present(&self, kind: ResourceType) -> impl Iterator<Item = (&String, &Any, u64)> {
        let names = self.watches[kind as usize].names.as_ref();
        self.world.iter().filter_map(move |((k, name), (any, version))| {
            let wanted = kind.is_complete() || names.is_some_and(|names| names.contains(name));
            (*k == kind && wanted).then_some((name, any, *version))
        })
    }

    fn send_sotw(&mut self, kind: ResourceType, only: Option<BTreeSet<String>>) {
        let chosen: Vec<(String, Any, u64)> = self
            .present(kind)
            .filter(|(name, ..)| only.as_ref().is_none_or(|only| only.contains(*name)))
            .map(|(name, any, version)| (name.clone(), any.clone(), version))
            .collect();
        let nonce = self.nonce(kind);
        self.watches[kind as usize].sent.extend(chosen.iter().map(|(name, _, v)| (name.clone(), *v)));
        let resources = chosen.into_iter().rev().map(|(_, any, _)| any).collect();
        self.outbox.push_back(sotw::response(kind, &nonce, &nonce, resources));
    }

    fn send_delta(&mut self, kind: ResourceType, answers: bool) {
        let watch = &self.watches[kind as usize];
        let chosen: Vec<(String, Any, u64)> = self
            .present(kind)
            .filter(|(name, _, version)| watch.sent.get(*name) != Some(version))
            .map(|(name, any, version)| (name.clone(), any.clone(), version))
            .collect();
        let gone: Vec<String> =
            watch.sent.keys().filter(|n| !self.world.contains_key(&(kind, n.to_string()))).cloned().collect();
        if chosen.is_empty() && gone.is_empty() && !answers {
            return;
        }
        let nonce = self.nonce(kind);
        let sent = &mut self.watches[kind as usize].sent;
        sent.extend(chosen.iter().map(|(name, _, version)| (name.clone(), *version)));
        for name in &gone {
            sent.remove(name);
        }
        let version = |v: u64| if self.dialect.versions { v.to_string() } else { String::new() };
        let resources = chosen.iter().map(|(name, any, v)| delta::wrapper(name, &version(*v), any)).collect();
        let gone: Vec<&str> = gone.iter().map(String::as_str).collect();
        self.outbox.push_back(delta::response(kind, &nonce, resources, &gone));
    }

    fn nonce(&mut self, kind: ResourceType) -> String {
        self.counter += 1;
        let nonce = self.counter.to_string();
        self.watches[kind as usize].nonce.clone_from(&nonce);
        nonce
    }
}

#[derive(Debug, Clone)]
enum Step {
    /// A resource, what it refers to, and whether it is well-formed.
    Put(ResourceType, u8, u8, bool),
    Remove(ResourceType, u8),
    Push(ResourceType),
    /// One message arrives, at the client or at the server.
    Deliver(bool),
    Cut(Mode),
}

fn step(mode: Mode) -> impl Strategy<Value = Step> {
    let kind = || prop::sample::select(ResourceType::ALL.to_vec());
    prop_oneof![
        4 => (kind(), 0..4u8, 0..4u8, prop::bool::weighted(0.8)).prop_map(|(k, n, m, good)| Step::Put(k, n, m, good)),
        2 => (prop_oneof![Just(CDS), Just(LDS)], 0..4u8).prop_map(|(k, n)| Step::Remove(k, n)),
        3 => kind().prop_map(Step::Push),
        8 => ANY.prop_map(Step::Deliver),
        1 => Just(Step::Cut(mode)),
    ]
}

/// The two ends and what is under way between them.
struct Link {
    client: Client,
    server: Server,
    to_server: VecDeque<Request>,
}

impl Link {
    fn new(mode: Mode, dialect: Dialect) -> Self {
        let server = Server {
            dialect,
            mode,
            world: World::new(),
            counter: 0,
            watches: Default::default(),
            outbox: VecDeque::new(),
        };
        let mut link = Self { client: Client::new(), server, to_server: VecDeque::new() };
        link.cut(mode);
        link
    }

    fn cut(&mut self, mode: Mode) {
        self.server.watches = Default::default();
        self.server.outbox.clear();
        self.to_server = self.client.stream.open(mode, &self.client.cache).into();
        let nodes = self.to_server.iter().map(|request| match request {
            Request::Delta(request) => (request.node.is_some(), &request.response_nonce),
            Request::Sotw(request) => (request.node.is_some(), &request.response_nonce),
        });
        for (position, (node, nonce)) in nodes.enumerate() {
            assert_eq!((node, nonce.as_str()), (position == 0, ""), "the beginning of a stream");
        }
    }

    fn take(&mut self, step: Step) {
        self.server.counter += 1;
        let version = self.server.counter;
        match step {
            Step::Put(kind, n, m, good) => {
                let (name, resource) = resource(kind, n, m, version, good);
                self.server.world.insert((kind, name), (resource, version));
            }
            Step::Remove(kind, n) => {
                self.server.world.remove(&(kind, name(kind, n)));
            }
            Step::Push(kind) => self.server.push(kind),
            Step::Deliver(true) => {
                self.deliver_to_client();
            }
            Step::Deliver(false) => {
                self.deliver_to_server();
            }
            Step::Cut(mode) => self.cut(mode),
        }
    }

    fn deliver_to_client(&mut self) -> bool {
        let Some(response) = self.server.outbox.pop_front() else { return false };
        let (requests, _) = self.client.receive(&response);
        self.client.cache.complete();
        assert!(requests.len() <= 2, "{requests:?}");
        self.to_server.extend(requests);
        true
    }

    fn deliver_to_server(&mut self) -> bool {
        let Some(request) = self.to_server.pop_front() else { return false };
        self.server.hear(request);
        true
    }

    /// Mends what is broken in the world, and lets everything arrive.
    fn come_to_rest(&mut self) -> Result<(), TestCaseError> {
        for ((kind, name), (any, version)) in &mut self.server.world {
            let is_bad = crate::xds::validate::check(*kind, &any.value).is_err();
            if is_bad {
                self.server.counter += 1;
                *version = self.server.counter;
                let n = name[1..].parse().unwrap();
                *any = resource(*kind, n, n, *version, true).1;
            }
        }
        for kind in ResourceType::ALL {
            self.server.push(kind);
        }
        self.drain()?;
        // What is asked for anew may lead to another name, and what then comes into force may let another go.
        for _ in 0..3 {
            self.client.now += PATIENCE;
            let Client { stream, cache, now, .. } = &mut self.client;
            let drafts = stream.pass_time(cache, *now).requests.into_iter();
            self.to_server.extend(drafts.map(|draft| draft.with_names(cache)));
            self.drain()?;
        }
        Ok(())
    }

    fn drain(&mut self) -> Result<(), TestCaseError> {
        for _ in 0..1000 {
            if !self.deliver_to_client() && !self.deliver_to_server() {
                return Ok(());
            }
        }
        Err(TestCaseError::fail("the two never stop talking"))
    }
}

fn name(kind: ResourceType, n: u8) -> String {
    let letter = match kind {
        CDS => 'c',
        EDS => 's',
        LDS => 'l',
        RDS => 'r',
    };
    format!("{letter}{n}")
}

fn resource(kind: ResourceType, n: u8, m: u8, version: u64, good: bool) -> (String, Any) {
    let own = name(kind, n);
    let resource = match kind {
        CDS if good => cluster(&own, &name(EDS, m), i64::try_from(version).unwrap()),
        CDS => bad_cluster(&own),
        EDS => endpoints(&own, if good { u32::try_from(version % 100).unwrap() } else { 999 }),
        LDS => listener(&own, &name(RDS, m)),
        RDS => routes(&own),
    };
    (own, resource)
}

fn converges(mode: Mode, dialect: Dialect, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let mut link = Link::new(mode, dialect);
    for step in steps {
        link.take(step);
    }
    link.come_to_rest()?;
    let Link { client, server, .. } = link;
    for kind in ResourceType::ALL {
        let wanted: BTreeSet<String> = client.cache.names(kind).into_iter().collect();
        let expected: BTreeMap<&String, &bytes::Bytes> = server
            .world
            .iter()
            .filter(|((k, name), _)| *k == kind && (kind.is_complete() || wanted.contains(name)))
            .map(|((_, name), (any, _))| (name, &any.value))
            .collect();
        let held: BTreeMap<String, &bytes::Bytes> =
            client.cache.snapshot().iter(kind).map(|r| (r.name.to_string(), &r.bytes)).collect();
        prop_assert_eq!(held.keys().collect::<Vec<_>>(), expected.keys().copied().collect::<Vec<_>>());
        prop_assert!(held.values().eq(expected.values()), "{kind:?}");
        prop_assert_eq!(client.cache.rejected(kind).count(), 0);
    }
    Ok(())
}

proptest! {
    #[test]
    fn any_schedule_of_state_of_the_world_ends_in_the_world(
        sparing in ANY, steps in prop::collection::vec(step(Mode::Sotw), 1..60)
    ) {
        converges(Mode::Sotw, Dialect { sparing, versions: false }, steps)?;
    }

    #[test]
    fn any_schedule_of_delta_ends_in_the_world(
        versions in ANY, steps in prop::collection::vec(step(Mode::Delta), 1..60)
    ) {
        converges(Mode::Delta, Dialect { sparing: true, versions }, steps)?;
    }
}
