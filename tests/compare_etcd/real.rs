//! The etcd to compare with: a process of our own, killed at the end, its data removed.

use std::{env, path::PathBuf, process::Stdio, time::Duration};

use tokio::{
    net::{TcpListener, TcpStream},
    process::{Child, Command},
};

use crate::support;

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
        let program = env::var("ETCD").ok().filter(|path| !path.is_empty()).unwrap_or("etcd".to_owned());
        let (address, peer) = (free_address().await, free_address().await);
        let folder = env::temp_dir().join(format!("apisix-mesh-etcd-{}-{address}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        let process = Command::new(&program)
            .arg("--data-dir")
            .arg(&folder)
            .args(["--listen-client-urls", &format!("http://{address}")])
            .args(["--advertise-client-urls", &format!("http://{address}")])
            .args(["--listen-peer-urls", &format!("http://{peer}")])
            .args(["--initial-advertise-peer-urls", &format!("http://{peer}")])
            .args(["--initial-cluster", &format!("default=http://{peer}")])
            .args(["--unsafe-no-fsync"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn();
        let Ok(process) = process else {
            assert!(env::var("CI").is_err(), "CI needs etcd; install etcd-server");
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
