//! Clocks, medians and memory.

use std::{fs, path::Path};

/// How often each operation has its turn.
const TURNS: usize = 41;
/// How long a turn lasts, about, in nanoseconds.
const TURN: u64 = 10_000_000;

/// Nanoseconds on the clock that all processes share.
pub fn now() -> u64 {
    clock(libc::CLOCK_MONOTONIC)
}

/// Nanoseconds that this thread had, whatever else runs on the machine.
fn worked() -> u64 {
    clock(libc::CLOCK_THREAD_CPUTIME_ID)
}

fn clock(which: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a clock that every Linux has, and a time to write to.
    unsafe { libc::clock_gettime(which, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// The one in the middle.
pub fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// An operation, this many times over.
pub type Operation<'a> = Box<dyn FnMut(usize) + 'a>;

/// What each operation takes, in nanoseconds: the medians of many turns, one operation after the other.
pub fn by_turns<const N: usize>(mut operations: [Operation<'_>; N]) -> [f64; N] {
    let counts = operations.each_mut().map(calls_in_a_turn);
    let mut times = [const { Vec::new() }; N];
    for _ in 0..TURNS {
        for ((operation, times), count) in operations.iter_mut().zip(&mut times).zip(counts) {
            let began = worked();
            operation(count);
            times.push((worked() - began) as f64 / count as f64);
        }
    }
    times.map(median)
}

fn calls_in_a_turn(operation: &mut Operation<'_>) -> usize {
    let mut count = 1;
    loop {
        let began = worked();
        operation(count);
        let took = worked() - began;
        if took >= TURN / 4 {
            return (count as u64 * TURN / took).max(1) as usize;
        }
        count *= 2;
    }
}

/// What a process holds, in kilobytes.
#[derive(Debug, Clone, Copy)]
pub struct Memory {
    /// Of its own.
    pub own: u64,
    /// Pages of files of a directory, which processes share.
    pub shared: u64,
}

impl Memory {
    /// What this process holds.
    pub fn now(directory: &Path) -> Self {
        let maps = fs::read_to_string("/proc/self/smaps").expect("Linux says what a process holds");
        let directory = directory.to_str().expect("a path in UTF-8");
        let mut memory = Self { own: 0, shared: 0 };
        let mut is_of_directory = false;
        for line in maps.lines() {
            match line.split_once(':') {
                Some(("Anonymous", size)) => memory.own += kilobytes(size),
                Some(("Rss", size)) if is_of_directory => memory.shared += kilobytes(size),
                // A range of addresses, and what is mapped there.
                Some((range, _)) if range.contains('-') => is_of_directory = line.contains(directory),
                _ => {}
            }
        }
        memory
    }

    /// What came since.
    pub fn since(self, before: Self) -> Self {
        Self { own: self.own.saturating_sub(before.own), shared: self.shared.saturating_sub(before.shared) }
    }
}

fn kilobytes(size: &str) -> u64 {
    size.trim().strip_suffix(" kB").and_then(|number| number.parse().ok()).expect("so many kB")
}
