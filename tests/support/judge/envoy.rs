//! The real Envoy as a child process, configured by files, that tells what it would not take.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    io::{Read, Write},
    net::{Ipv4Addr, TcpStream},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

/// How many resources are handed over at a time: one that cannot be read spoils all that come with it.
const BATCH: usize = 256;
const PATIENCE: Duration = Duration::from_secs(30);

/// The binary that `ENVOY` names, or that `tests/envoy/get` has fetched.
pub fn binary() -> Option<PathBuf> {
    if let Some(path) = env::var_os("ENVOY") {
        return Some(path.into());
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("build/envoy");
    let found = fs::read_dir(folder).ok()?.filter_map(|e| Some(e.ok()?.path()));
    found.filter(|p| p.file_name().is_some_and(|n| n.to_string_lossy().starts_with("envoy-"))).max()
}

/// The process; it ends when this is dropped.
pub struct Envoy {
    child: Child,
    folder: PathBuf,
    admin: String,
}

/// The kinds of resources that are handed over, and how Envoy names them.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    Clusters,
    Listeners,
}

impl Kind {
    fn file(self) -> &'static str {
        match self {
            Self::Clusters => "cds.json",
            Self::Listeners => "lds.json",
        }
    }

    fn statistics(self) -> &'static str {
        match self {
            Self::Clusters => "cluster_manager.cds",
            Self::Listeners => "listener_manager.lds",
        }
    }
}

impl Envoy {
    /// Starts `binary` with nothing to do.
    pub fn start(binary: &Path) -> Self {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!(
            "envoy-{}-{:?}",
            std::process::id(),
            thread::current().id()
        ));
        drop(fs::remove_dir_all(&folder));
        fs::create_dir_all(&folder).unwrap();
        for kind in [Kind::Clusters, Kind::Listeners] {
            put(&folder, kind, &[]);
        }
        let source = |kind: Kind| json!({"resource_api_version": "V3", "path_config_source": {"path": folder.join(kind.file())}});
        let bootstrap = json!({
            "node": {"id": "judge", "cluster": "judge"},
            "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}},
            "dynamic_resources": {"cds_config": source(Kind::Clusters), "lds_config": source(Kind::Listeners)},
        });
        fs::write(folder.join("bootstrap.json"), bootstrap.to_string()).unwrap();
        let mut command = Command::new(binary);
        command
            .arg("-c")
            .arg(folder.join("bootstrap.json"))
            .arg("--admin-address-path")
            .arg(folder.join("admin"));
        command.arg("--log-path").arg(folder.join("log"));
        command.args([
            "--concurrency",
            "1",
            "--disable-hot-restart",
            "-l",
            "warning",
            "--file-flush-interval-msec",
            "50",
        ]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        // SAFETY: prctl is async-signal-safe. A test that is killed takes its Envoy along.
        unsafe {
            command.pre_exec(|| {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                Ok(())
            });
        }
        let child = command.spawn().unwrap_or_else(|e| panic!("{}: {e}", binary.display()));
        let mut envoy = Self { child, folder, admin: String::new() };
        envoy.wait_until("it starts", |envoy| {
            envoy.admin =
                fs::read_to_string(envoy.folder.join("admin")).unwrap_or_default().trim().to_owned();
            !envoy.admin.is_empty() && envoy.get("/ready").is_some_and(|body| body.starts_with("LIVE"))
        });
        envoy
    }

    /// Where its files lie.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Hands over resources by name; returns those that are not taken, with Envoy's reason.
    pub fn apply(&mut self, kind: Kind, resources: &[(String, Value)]) -> BTreeMap<String, String> {
        let mut taken = Vec::new();
        let mut refused = BTreeMap::new();
        for batch in resources.chunks(BATCH) {
            self.add(kind, batch, &mut taken, &mut refused);
        }
        // What was refused last is still in the file.
        self.update(kind, &taken);
        refused
    }

    fn add(
        &mut self,
        kind: Kind,
        batch: &[(String, Value)],
        taken: &mut Vec<(String, Value)>,
        refused: &mut BTreeMap<String, String>,
    ) {
        let mut all = taken.clone();
        all.extend_from_slice(batch);
        let problem = self.update(kind, &all);
        let active = if problem.is_some() { self.active(kind) } else { BTreeSet::new() };
        let is_taken = |name: &String| problem.is_none() || active.contains(name);
        if !batch.iter().any(|(name, _)| is_taken(name)) && batch.len() > 1 {
            let (left, right) = batch.split_at(batch.len() / 2);
            self.add(kind, left, taken, refused);
            self.add(kind, right, taken, refused);
            return;
        }
        for (name, resource) in batch {
            if is_taken(name) {
                taken.push((name.clone(), resource.clone()));
            } else {
                let problem = problem.as_deref().unwrap_or_default();
                let own = problem.lines().find(|line| line.contains(&format!("'{name}'")));
                refused.insert(name.clone(), own.unwrap_or(problem).replace('\n', " "));
            }
        }
    }

    /// Writes the file and waits until Envoy has read it; its complaint, if there is one.
    fn update(&mut self, kind: Kind, resources: &[(String, Value)]) -> Option<String> {
        let name = kind.statistics();
        let before = self.counts(name);
        let log = self.log().len();
        put(&self.folder, kind, resources);
        let mut after = before;
        self.wait_until("it reads its configuration", |envoy| {
            after = envoy.counts(name);
            after != before
        });
        if after.1 == before.1 {
            return None;
        }
        let mut complaint = String::new();
        self.wait_until("it says what is wrong", |envoy| {
            complaint = envoy.log().split_off(log);
            !complaint.is_empty()
        });
        // The whole file follows where it cannot be read.
        let lines = complaint.lines().map(|l| l.split(": {").next().unwrap_or_default());
        let told = lines.filter_map(|l| l.split("] ").last()).filter(|l| !l.starts_with("Deprecated field"));
        Some(told.collect::<Vec<_>>().join("\n"))
    }

    /// How often it has taken a file, and how often not.
    fn counts(&self, name: &str) -> (u64, u64) {
        let text = self.get(&format!("/stats?filter=^{name}.update")).unwrap_or_default();
        let count = |what: &str| {
            let prefix = format!("{name}.{what}: ");
            text.lines().find_map(|l| l.strip_prefix(&prefix)?.trim().parse().ok()).unwrap_or(0u64)
        };
        (count("update_success"), count("update_rejected") + count("update_failure"))
    }

    fn active(&self, kind: Kind) -> BTreeSet<String> {
        let path = match kind {
            Kind::Clusters => "/clusters?format=json",
            Kind::Listeners => "/listeners?format=json",
        };
        let body: Value = serde_json::from_str(&self.get(path).unwrap_or_default()).unwrap_or_default();
        let statuses =
            body.as_object().into_iter().flat_map(|o| o.values()).filter_map(Value::as_array).flatten();
        statuses.filter_map(|s| Some(s["name"].as_str()?.to_owned())).collect()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// The body of an answer of its administration.
    fn get(&self, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect(&self.admin).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        write!(stream, "GET {path} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n").ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).ok()?;
        let answer = String::from_utf8_lossy(&answer);
        let (head, body) = answer.split_once("\r\n\r\n")?;
        if !head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
            return Some(body.to_owned());
        }
        let mut rest = body;
        let mut whole = String::new();
        loop {
            let (length, after) = rest.split_once("\r\n")?;
            match usize::from_str_radix(length, 16).ok()? {
                0 => return Some(whole),
                length => {
                    whole += after.get(..length)?;
                    rest = after.get(length + 2..)?;
                }
            }
        }
    }

    fn wait_until(&mut self, what: &str, mut holds: impl FnMut(&mut Self) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !holds(self) {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "Envoy ended before {what}: {}", self.log());
            assert!(Instant::now() < end, "Envoy is waited for in vain until {what}: {}", self.log());
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Envoy {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        drop(fs::remove_dir_all(&self.folder));
    }
}

/// Envoy watches for files that are moved to the path.
fn put(folder: &Path, kind: Kind, resources: &[(String, Value)]) {
    let resources: Vec<&Value> = resources.iter().map(|(_, resource)| resource).collect();
    let new = folder.join("new");
    fs::write(&new, json!({"resources": resources}).to_string()).unwrap();
    fs::rename(&new, folder.join(kind.file())).unwrap();
}

/// The address number `at` of 127.`block`.0.0/16 and the blocks after it.
pub fn address(block: u32, at: usize) -> Ipv4Addr {
    let offset = u32::try_from(at).unwrap() + 1;
    Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 0, 0, 0)) + (block << 16) + offset)
}
