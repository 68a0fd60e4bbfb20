//! The processes beside this one: hosts, and readers that begin anew.

use std::{
    io::{BufRead, BufReader, Write as _},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::Duration,
};

use apisix_mesh::apisix::Key;
use bytes::Bytes;

use crate::{
    carrier::Carrier,
    measure::{Memory, median, now},
    objects::{changed, objects},
};

/// Time for a reader to fall asleep before a host commits.
const PAUSE: Duration = Duration::from_micros(300);
/// Coprime to the numbers of objects: neighbours in time are not neighbours in the tree.
pub const STRIDE: usize = 7919;

/// What a child is told to be: `host` of a number of services, or `start` and ask for a key.
pub fn play(role: &str, carrier: &str, directory: &str, what: &str) {
    let carrier = Carrier::from_name(carrier).expect("a carrier");
    let directory = Path::new(directory);
    match role {
        "host" => host(carrier, directory, what.parse().expect("a number")),
        "start" => start(carrier, directory, what),
        _ => panic!("no role {role}"),
    }
}

fn spawn(role: &str, carrier: Carrier, directory: &Path, what: &str) -> Child {
    Command::new(std::env::current_exe().expect("this program"))
        .args([role, carrier.name()])
        .arg(directory)
        .arg(what)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a process")
}

/// Commits as often as each line of input says; a line of output says what one took, and when the last began.
fn host(carrier: Carrier, directory: &Path, services: usize) {
    let mut objects = objects(services);
    let mut writer = carrier.host(directory, &objects);
    println!("ready");
    let mut at = 0;
    for line in std::io::stdin().lines() {
        let count: usize = line.expect("text").parse().expect("a number");
        std::thread::sleep(PAUSE);
        let (mut times, mut began) = (Vec::with_capacity(count), 0);
        for _ in 0..count {
            at = (at + STRIDE) % objects.len();
            let (key, value): &mut (Key, Bytes) = &mut objects[at];
            *value = changed(value);
            began = now();
            writer.commit(key, value.clone());
            times.push((now() - began) as f64);
        }
        println!("{} {began}", median(times));
    }
}

/// A host in a process of its own, until it is dropped.
pub struct Host {
    process: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Host {
    pub fn new(carrier: Carrier, directory: &Path, services: usize) -> Self {
        let mut process = spawn("host", carrier, directory, &services.to_string());
        let (input, output) = (process.stdin.take(), process.stdout.take().expect("piped"));
        let mut host = Self { process, input, output: BufReader::new(output) };
        assert_eq!(host.line(), "ready");
        host
    }

    /// Begins as many commits.
    pub fn begin(&mut self, commits: usize) {
        writeln!(self.input.as_mut().expect("open until the drop"), "{commits}").expect("the host reads");
    }

    /// The median of what these took, and when the last began, in nanoseconds.
    pub fn end(&mut self) -> (f64, u64) {
        let line = self.line();
        let (took, began) = line.split_once(' ').expect("two numbers");
        (took.parse().expect("a number"), began.parse().expect("a number"))
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("the host lives");
        line.trim_end().to_owned()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        drop(self.input.take());
        self.process.wait().expect("a child");
    }
}

fn start(carrier: Carrier, directory: &Path, key: &str) {
    let before = Memory::now(directory);
    let began = now();
    let reader = carrier.open(directory);
    reader.get(key);
    let took = now() - began;
    std::hint::black_box(reader.everything());
    let Memory { own, shared } = Memory::now(directory).since(before);
    println!("{took} {own} {shared}");
}

/// A reader in a process of its own: how long it takes to the first answer, in nanoseconds, and what it holds when it has
/// seen everything.
pub fn started(carrier: Carrier, directory: &Path, key: &str) -> (f64, Memory) {
    let output = spawn("start", carrier, directory, key).wait_with_output().expect("a child");
    let text = String::from_utf8(output.stdout).expect("text");
    let numbers: Vec<u64> = text.split_whitespace().map(|number| number.parse().expect("a number")).collect();
    let [took, own, shared] = numbers[..] else { panic!("three numbers, not {text:?}") };
    (took as f64, Memory { own, shared })
}
