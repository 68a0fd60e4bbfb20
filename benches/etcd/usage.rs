//! What a process takes of the machine, by `/proc`.

use std::{fs, time::Duration};

/// What a process has taken until now.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    /// Processor time in both modes, to a hundredth of a second.
    pub cpu: Duration,
    /// Resident bytes.
    pub resident: usize,
    /// The most resident bytes it ever had.
    pub peak: usize,
    /// Open descriptors.
    pub descriptors: usize,
}

impl Usage {
    /// Of a process that runs.
    pub fn of(process: u32) -> Self {
        let read = |file| fs::read_to_string(format!("/proc/{process}/{file}")).expect("it runs");
        let status = read("status");
        let kilobytes = |field: &str| -> usize {
            let line = status.lines().find_map(|line| line.strip_prefix(field));
            let number = line.and_then(|rest| rest.split_whitespace().next()).and_then(|n| n.parse().ok());
            number.expect("Linux tells it of every process")
        };
        Self {
            cpu: cpu(&read("stat")),
            resident: 1024 * kilobytes("VmRSS:"),
            peak: 1024 * kilobytes("VmHWM:"),
            descriptors: fs::read_dir(format!("/proc/{process}/fd")).expect("it runs").count(),
        }
    }
}

fn cpu(stat: &str) -> Duration {
    // What follows the name, which may have blanks in it, starts with the third field.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: u64 = fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    // SAFETY: sysconf only reads a constant of the system.
    let per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    Duration::from_secs_f64(ticks as f64 / per_second as f64)
}
