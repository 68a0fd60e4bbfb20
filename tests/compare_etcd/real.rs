//! The etcd to compare with: a process of our own, killed at the end, its data removed.

use std::{env, path::PathBuf, time::Duration};

use tokio::{
    net::{TcpListener, TcpStream},
    process::{Child, Command},
};

use crate::support::{self, real_etcd};

/// Far above what etcd takes to start on any machine.
const PATIENCE: Duration = Duration::from_secs(120);

pub struct RealEtcd {
    pub address: String,
    folder: PathBuf,
    process: Child,
}

impl Drop for RealEtcd {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl RealEtcd {
    /// Starts the program that `ETCD` names, else `etcd`. Without one the test says so and passes, except in CI.
    pub async fn start() -> Option<Self> {
        loop {
            let mut etcd = Self::spawn().await?;
            let healthy = tokio::time::timeout(PATIENCE, etcd.is_healthy_before_it_ends());
            if healthy.await.expect("etcd gets healthy or ends") {
                return Some(etcd);
            }
        }
    }

    async fn spawn() -> Option<Self> {
        let (address, peer) = (free_address().await, free_address().await);
        let folder = env::temp_dir().join(format!("apisix-mesh-etcd-{}-{address}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        let process = Command::from(real_etcd::command(&address, &peer, &folder)).kill_on_drop(true).spawn();
        let Ok(process) = process else {
            assert!(env::var("CI").is_err(), "CI needs etcd; install etcd-server");
            let program = real_etcd::program();
            eprintln!("SKIPPED: no etcd to compare with at {program:?}; install etcd-server");
            return None;
        };
        Some(Self { address, folder, process })
    }

    /// It ends at once if somebody took one of its ports meanwhile.
    async fn is_healthy_before_it_ends(&mut self) -> bool {
        while self.process.try_wait().unwrap().is_none() {
            if TcpStream::connect(&self.address).await.is_ok()
                && support::etcd::exchange(&self.address, "GET", "/health", b"").await.0 == 200
            {
                return true;
            }
            tokio::task::yield_now().await;
        }
        false
    }

    /// Its version: `3.4.23`.
    pub async fn version(&self) -> String {
        let (_, text) = support::etcd::exchange(&self.address, "GET", "/version", b"").await;
        let version: serde_json::Value = serde_json::from_str(&text).unwrap();
        version["etcdserver"].as_str().unwrap().to_owned()
    }
}

async fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string()
}
