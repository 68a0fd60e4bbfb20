//! However a control plane orders the parts of a change: at no step, put by put and delete by delete, does a route name
//! an upstream that is not there, and a host that was served before and is served after is served all the time.

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use apisix_mesh::{
    apisix::{Directory, Key},
    config::OnUnsupported,
    pb::{google::protobuf::Any, json::any_from_json},
    translate::{Delta, Translator, translate},
    xds::{
        ResourceType::{self, Cluster, ClusterLoadAssignment, Listener, RouteConfiguration},
        cache::{Applied, Cache},
    },
};
use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(15);

fn any(kind: ResourceType, mut document: Value) -> Any {
    document["@type"] = Value::from(kind.type_url());
    any_from_json(&document).unwrap()
}

/// All resources of a control plane, each type as it sends it.
#[derive(Debug, Clone, Default)]
struct World(BTreeMap<ResourceType, BTreeMap<String, Any>>);

impl World {
    fn put(&mut self, kind: ResourceType, name: &str, document: Value) {
        self.0.entry(kind).or_default().insert(name.to_owned(), any(kind, document));
    }

    /// The host `h` is served by listener `l` with `routes`, which name `cluster`, whose endpoints are those of `service`.
    fn new(routes: &str, cluster: &str, service: &str) -> Self {
        let mut world = Self::default();
        world.cluster(cluster, service);
        world.assignment(service);
        world.listener("l", routes);
        world.routes(routes, cluster);
        world
    }

    fn cluster(&mut self, name: &str, service: &str) {
        let eds = json!({"edsConfig": {"ads": {}}, "serviceName": service});
        self.put(Cluster, name, json!({"name": name, "type": "EDS", "edsClusterConfig": eds}));
    }

    fn assignment(&mut self, service: &str) {
        let address = json!({"socketAddress": {"address": "10.0.0.1", "portValue": 80}});
        let endpoints = json!([{"lbEndpoints": [{"endpoint": {"address": address}}]}]);
        self.put(ClusterLoadAssignment, service, json!({"clusterName": service, "endpoints": endpoints}));
    }

    fn listener(&mut self, name: &str, routes: &str) {
        let manager = json!({
            "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "rds": {"routeConfigName": routes, "configSource": {"ads": {}}},
        });
        self.put(Listener, name, json!({"name": name, "apiListener": {"apiListener": manager}}));
    }

    fn routes(&mut self, name: &str, cluster: &str) {
        let route = json!({"match": {"prefix": "/"}, "route": {"cluster": cluster}});
        let hosts = json!([{"name": "h", "domains": ["h"], "routes": [route]}]);
        self.put(RouteConfiguration, name, json!({"name": name, "virtualHosts": hosts}));
    }

    fn of(&self, kind: ResourceType, wanted: impl Fn(&str) -> bool) -> Vec<Any> {
        let all = self.0.get(&kind).into_iter().flatten();
        all.filter(|(name, _)| wanted(name)).map(|(_, any)| any.clone()).collect()
    }
}

/// The client from its cache to what APISIX has read.
struct Mesh {
    cache: Cache,
    translator: Translator,
    objects: BTreeMap<Key, Bytes>,
    /// Whether a host has to be served at every step.
    must_serve: bool,
    now: Instant,
}

impl Mesh {
    fn new(must_serve: bool) -> Self {
        Self {
            cache: Cache::new(PATIENCE),
            translator: Translator::new(OnUnsupported::Closed),
            objects: BTreeMap::new(),
            must_serve: false,
            now: Instant::now(),
        }
        .begin(must_serve)
    }

    fn begin(mut self, must_serve: bool) -> Self {
        let world = World::new("r1", "blue", "blue");
        for kind in ResourceType::ALL {
            self.receive(kind, &world);
        }
        assert!(self.cache.complete());
        assert!(self.serves(), "{:?}", self.objects);
        self.must_serve = must_serve;
        self
    }

    /// The part of `world` that is of one type and asked for.
    fn receive(&mut self, kind: ResourceType, world: &World) {
        let names: BTreeSet<String> = self.cache.names(kind).into_iter().collect();
        let resources = world.of(kind, |name| kind.child().is_some() || names.contains(name));
        let applied = self.cache.apply(kind, &resources, self.now);
        assert_eq!(applied.rejected, [], "{kind:?}");
        self.publish(applied);
    }

    /// What is asked for and has not come, as a server answers a subscription.
    fn receive_pending(&mut self, world: &World) {
        for kind in [ClusterLoadAssignment, RouteConfiguration] {
            if self.cache.pending(kind).len() > 0 {
                self.receive(kind, world);
            }
        }
    }

    fn pass_time(&mut self) {
        self.now += PATIENCE;
        let overdue = self.cache.take_overdue(self.now);
        self.publish(Applied { changes: overdue.changes, ..Applied::default() });
    }

    fn publish(&mut self, applied: Applied) {
        let Delta { puts, deletes } = self.translator.apply(self.cache.snapshot(), &applied.changes);
        for (key, value) in puts {
            self.objects.insert(key, value);
            self.check();
        }
        for key in deletes {
            self.objects.remove(&key);
            self.check();
        }
    }

    fn check(&self) {
        for (route, upstream) in self.routes() {
            let exists = upstream.as_ref().is_none_or(|key| self.objects.contains_key(key));
            assert!(exists, "{route:?} names {upstream:?}, which is not there");
        }
        assert!(!self.must_serve || self.serves(), "nobody serves the host: {:?}", self.objects);
    }

    fn routes(&self) -> impl Iterator<Item = (&Key, Option<Key>)> {
        let routes = self.objects.iter().filter(|(key, _)| key.directory() == Directory::Routes);
        routes.map(|(key, value)| {
            let route: Value = serde_json::from_slice(value).unwrap();
            (key, route["upstream_id"].as_str().map(|id| Key::new(Directory::Upstreams, id)))
        })
    }

    fn serves(&self) -> bool {
        let nodes = |key: &Key| {
            let upstream: Value = serde_json::from_slice(&self.objects[key]).unwrap();
            upstream["nodes"].as_array().map_or(0, Vec::len)
        };
        self.routes().any(|(_, upstream)| upstream.is_some_and(|key| nodes(&key) > 0))
    }

    /// After all waiting the objects are those of the world.
    fn ends_in(&mut self, world: &World) {
        self.receive_pending(world);
        for _ in 0..3 {
            self.pass_time();
        }
        for kind in ResourceType::ALL {
            let names: BTreeSet<String> = self.cache.names(kind).into_iter().collect();
            let expected = world.of(kind, |name| kind.child().is_some() || names.contains(name)).len();
            assert_eq!(self.cache.snapshot().len(kind), expected, "{kind:?}");
        }
        let translation = translate(self.cache.snapshot());
        let expected: BTreeMap<Key, Bytes> = translation.objects.into_iter().collect();
        assert_eq!(self.objects, expected);
    }
}

fn orders() -> Vec<[ResourceType; 4]> {
    let mut orders = Vec::new();
    for a in ResourceType::ALL {
        for b in ResourceType::ALL {
            for c in ResourceType::ALL {
                for d in ResourceType::ALL {
                    if BTreeSet::from([a, b, c, d]).len() == 4 {
                        orders.push([a, b, c, d]);
                    }
                }
            }
        }
    }
    orders
}

#[test]
fn points_22_23_a_host_that_moves_is_served_in_all_24_orders_of_the_types() {
    assert_eq!(orders().len(), 24);
    let moves = [
        World::new("r1", "green", "green"),
        World::new("r2", "green", "green"),
        World::new("r2", "blue", "blue"),
        World::new("r1", "blue", "green"),
        World::new("r2", "green", "blue"),
    ];
    for world in &moves {
        for order in orders() {
            // What is subscribed to on the way is answered at once, or after everything else.
            for at_once in [true, false] {
                println!(
                    "{order:?} at_once={at_once} {:?}",
                    world.0.values().map(|v| v.keys()).collect::<Vec<_>>()
                );
                let mut mesh = Mesh::new(true);
                for kind in order {
                    mesh.receive(kind, world);
                    if at_once {
                        mesh.receive_pending(world);
                    }
                }
                mesh.ends_in(world);
            }
        }
    }
}

#[test]
fn a_cluster_that_is_gone_for_good_goes_though_routes_name_it() {
    let mut world = World::new("r1", "blue", "blue");
    world.0.remove(&Cluster);
    let mut mesh = Mesh::new(false);
    mesh.receive(Cluster, &world);
    assert!(mesh.serves(), "within its patience");
    mesh.pass_time();
    assert!(!mesh.serves());
    assert_eq!(mesh.cache.pending(Cluster).len(), 1, "it is missed");
    assert_eq!(mesh.cache.next_overdue(), None);
}

#[test]
fn routes_do_not_wait_twice_for_a_cluster_that_never_comes() {
    let mut world = World::new("r1", "nowhere", "blue");
    world.cluster("blue", "blue");
    world.0.get_mut(&Cluster).unwrap().remove("nowhere");
    let mut mesh = Mesh::new(false);
    mesh.receive(RouteConfiguration, &world);
    assert!(mesh.serves(), "by the routes before");
    mesh.pass_time();
    assert!(!mesh.serves());
    world.routes("r1", "blue");
    mesh.receive(RouteConfiguration, &world);
    world.routes("r1", "nowhere");
    let before = mesh.objects.clone();
    mesh.receive(RouteConfiguration, &world);
    assert_eq!(mesh.objects, before, "it was forgotten meanwhile, and is waited for anew");
}

#[derive(Debug, Clone)]
enum Step {
    Cluster(u8, u8),
    NoCluster(u8),
    Assignment(u8),
    Listener(u8, u8),
    NoListener(u8),
    Routes(u8, u8),
    Receive(ResourceType),
    PassTime,
}

fn step() -> impl Strategy<Value = Step> {
    let n = || 0..3u8;
    prop_oneof![
        1 => (n(), n()).prop_map(|(c, s)| Step::Cluster(c, s)),
        1 => n().prop_map(Step::NoCluster),
        1 => n().prop_map(Step::Assignment),
        1 => (n(), n()).prop_map(|(l, r)| Step::Listener(l, r)),
        1 => n().prop_map(Step::NoListener),
        1 => (n(), n()).prop_map(|(r, c)| Step::Routes(r, c)),
        4 => prop::sample::select(ResourceType::ALL.to_vec()).prop_map(Step::Receive),
        1 => Just(Step::PassTime),
    ]
}

proptest! {
    #[test]
    fn point_23_no_route_dangles_at_any_step_of_any_history(steps in prop::collection::vec(step(), 1..60)) {
        let mut world = World::new("r1", "blue", "blue");
        let mut mesh = Mesh::new(false);
        for step in steps {
            match step {
                Step::Cluster(c, s) => world.cluster(&format!("c{c}"), &format!("s{s}")),
                Step::NoCluster(c) => drop(world.0.get_mut(&Cluster).unwrap().remove(&format!("c{c}"))),
                Step::Assignment(s) => world.assignment(&format!("s{s}")),
                Step::Listener(l, r) => world.listener(&format!("l{l}"), &format!("r{r}")),
                Step::NoListener(l) => drop(world.0.get_mut(&Listener).unwrap().remove(&format!("l{l}"))),
                Step::Routes(r, c) => world.routes(&format!("r{r}"), &format!("c{c}")),
                Step::Receive(kind) => mesh.receive(kind, &world),
                Step::PassTime => mesh.pass_time(),
            }
        }
        for kind in ResourceType::ALL {
            mesh.receive(kind, &world);
        }
        mesh.ends_in(&world);
    }
}
