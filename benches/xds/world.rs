//! A mesh of a size, encoded once: what the scripted control plane sends.

use apisix_mesh::{
    pb::google::protobuf::Any,
    xds::{
        Resource,
        ResourceType::{self, Cluster, ClusterLoadAssignment, Listener, RouteConfiguration},
        Snapshot,
    },
};
use prost::Message;

use crate::mesh;

/// A resource as it is sent, under its name.
#[derive(Clone)]
pub struct Named {
    /// Its name.
    pub name: String,
    /// Its content.
    pub any: Any,
}

/// So many clusters, each with so many endpoints and a virtual host, behind one listener.
#[derive(Clone, Copy)]
pub struct World {
    /// How many clusters.
    pub clusters: usize,
    /// How many endpoints each of them has.
    pub endpoints: usize,
}

impl World {
    /// All resources of a type.
    pub fn resources(&self, kind: ResourceType) -> Vec<Named> {
        match kind {
            Cluster => {
                (0..self.clusters).map(|i| named(kind, mesh::cluster_name(i), &mesh::cluster(i))).collect()
            }
            ClusterLoadAssignment => self.assignments(self.clusters, mesh::PORT),
            Listener => vec![named(kind, mesh::listener().name, &mesh::listener())],
            RouteConfiguration => {
                vec![named(kind, mesh::PORT.to_string(), &mesh::routes(self.clusters))]
            }
        }
    }

    /// The endpoints of the first clusters, the first of each cluster at this port.
    pub fn assignments(&self, clusters: usize, port: u32) -> Vec<Named> {
        (0..clusters).map(|i| self.assignment(i, port)).collect()
    }

    /// The endpoints of one cluster, the first of them at this port.
    pub fn assignment(&self, i: usize, port: u32) -> Named {
        let hosts = (0..self.endpoints).map(|n| (n as u8 + 1, if n == 0 { port } else { mesh::PORT }));
        named(ClusterLoadAssignment, mesh::cluster_name(i), &mesh::assignment_of(i, hosts))
    }

    /// All of it as the client holds it.
    pub fn snapshot(&self) -> Snapshot {
        let mut snapshot = Snapshot::default();
        for kind in ResourceType::ALL {
            for Named { name, any } in self.resources(kind) {
                snapshot.insert(kind, Resource::new(&name, &any.value));
            }
        }
        snapshot
    }
}

/// A resource under its name.
pub fn named(kind: ResourceType, name: String, message: &impl Message) -> Named {
    let any = Any { type_url: kind.type_url().to_owned(), value: message.encode_to_vec().into() };
    Named { name, any }
}
