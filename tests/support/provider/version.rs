//! In what the versions of APISIX differ, as far as the provider goes. All else is common to them.

use std::time::Duration;

/// The habits of one version.
#[derive(Debug)]
pub struct Version {
    pub name: &'static str,
    /// Of the http subsystem, in the order of `apisix/constants.lua`.
    pub directories: &'static [&'static str],
    /// Up to 3.3 each directory has a watch of its own and reads one message from each connection; since 3.4 a process
    /// has one watch.
    pub watches_each_directory: bool,
    /// The list of a directory is empty unless its first key is a marker, up to 3.3.
    pub needs_markers: bool,
    /// `created` is looked at before `canceled`, up to 3.13.
    pub created_first: bool,
    /// A message below the watch's revision means that etcd was restarted, since 3.12.
    pub resyncs_below: bool,
    /// A full load sets the directory's revision and does not only raise it, since 3.12.
    pub reload_sets_revision: bool,
    /// After a timeout the watch goes on behind a revision that was read before the watch, 3.14 to 3.17 (apisix#13067).
    pub jumps_after_timeout: bool,
    /// A full load keeps items whose revision is the one remembered, whatever their value is, since 3.18.
    pub keeps_equal_revisions: bool,
    /// No byte for so long ends a watch.
    pub watch_timeout: Duration,
}

const DIRECTORIES: &[&str] = &[
    "/upstreams",
    "/plugins",
    "/ssls",
    "/stream_routes",
    "/plugin_metadata",
    "/routes",
    "/services",
    "/consumers",
    "/global_rules",
    "/protos",
    "/plugin_configs",
    "/consumer_groups",
    "/secrets",
];

const DIRECTORIES_2: &[&str] = &[
    "/upstreams",
    "/plugins",
    "/ssl",
    "/stream_routes",
    "/plugin_metadata",
    "/routes",
    "/services",
    "/consumers",
    "/global_rules",
    "/proto",
    "/plugin_configs",
];

pub const V3_18: Version = Version {
    name: "3.18",
    directories: DIRECTORIES,
    watches_each_directory: false,
    needs_markers: false,
    created_first: false,
    resyncs_below: true,
    reload_sets_revision: true,
    jumps_after_timeout: false,
    keeps_equal_revisions: true,
    watch_timeout: Duration::from_secs(50),
};

pub const V3_14: Version =
    Version { name: "3.14", jumps_after_timeout: true, keeps_equal_revisions: false, ..V3_18 };

pub const V3_11: Version = Version {
    name: "3.11",
    created_first: true,
    resyncs_below: false,
    reload_sets_revision: false,
    jumps_after_timeout: false,
    ..V3_14
};

/// Its watches have the timeout of any request.
pub const V3_3: Version = Version {
    name: "3.3",
    watches_each_directory: true,
    needs_markers: true,
    watch_timeout: Duration::from_secs(30),
    ..V3_11
};

pub const V2_15: Version = Version { name: "2.15", directories: DIRECTORIES_2, ..V3_3 };

pub const ALL: [&Version; 5] = [&V3_18, &V3_14, &V3_11, &V3_3, &V2_15];

impl Version {
    /// Since 3.4.
    pub fn has_one_watch(&self) -> bool {
        !self.watches_each_directory
    }

    /// From 3.4 to 3.11 a directory's revision is only ever raised, and messages up to it are dropped.
    pub fn survives_a_clock_set_back(&self) -> bool {
        self.watches_each_directory || self.reload_sets_revision
    }
}
