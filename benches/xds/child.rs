//! The command as a child.
//!
//! In: where its control plane is, and the variant to speak. Out: its etcd socket, what it takes of the machine, how
//! much it logs.

use std::{
    fs,
    io::{BufRead, BufReader},
    process::{self, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use apisix_mesh::xds::Mode;

/// A running command; dropping it kills it.
pub struct Child {
    process: process::Child,
    /// The path of its etcd endpoint.
    pub socket: String,
    lines: Arc<AtomicUsize>,
}

/// What a process has taken of the machine.
#[derive(Clone, Copy)]
pub struct Usage {
    /// Processor time in both modes, to a hundredth of a second.
    pub cpu: Duration,
    /// Resident bytes.
    pub resident: usize,
    /// The most resident bytes it ever had.
    pub peak: usize,
}

impl Child {
    /// Starts the command.
    pub fn start(uri: &str, mode: Mode) -> Self {
        let socket = std::env::temp_dir().join(format!("apisix-mesh-bench-{}.sock", process::id()));
        let socket = socket.to_str().expect("a path in UTF-8").to_owned();
        let listen = format!("unix:{socket}");
        let mut process = Command::new(env!("CARGO_BIN_EXE_apisix-mesh"))
            .args(["run", "--xds", uri, "--xds-mode", mode.name(), "--etcd-listen", &listen])
            .stderr(Stdio::piped())
            .spawn()
            .expect("the command starts");
        let lines = Arc::new(AtomicUsize::new(0));
        let log = BufReader::new(process.stderr.take().expect("it is piped"));
        let counter = lines.clone();
        thread::spawn(move || {
            for _ in log.lines() {
                counter.fetch_add(1, Ordering::Relaxed);
            }
        });
        Self { process, socket, lines }
    }

    /// How many lines it has logged.
    pub fn lines(&self) -> usize {
        self.lines.load(Ordering::Relaxed)
    }

    /// What it has taken until now.
    pub fn usage(&self) -> Usage {
        let status = self.read("status");
        let kilobytes = |field: &str| -> usize {
            let line = status.lines().find_map(|line| line.strip_prefix(field));
            let number = line.and_then(|rest| rest.split_whitespace().next()).and_then(|n| n.parse().ok());
            number.expect("Linux tells it of every process")
        };
        Usage { cpu: self.cpu(), resident: 1024 * kilobytes("VmRSS:"), peak: 1024 * kilobytes("VmHWM:") }
    }

    fn cpu(&self) -> Duration {
        let stat = self.read("stat");
        // What follows the name, which may have blanks in it, starts with the third field.
        let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        let ticks: u64 = fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
        // SAFETY: sysconf only reads a constant of the system.
        let per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
        Duration::from_secs_f64(ticks as f64 / per_second as f64)
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{file}", self.process.id())).expect("it runs")
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to kill.
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_file(&self.socket);
    }
}
