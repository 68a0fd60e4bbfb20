//! A client that asks and waits: one connection, one thread.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
};

use crate::{
    count::Count,
    door::{Door, Span, Wire},
    http2,
};

/// Room for what a socket has at once.
pub const BUFFER: usize = 1 << 18;

/// A connection by one door.
pub struct Client {
    door: Door,
    stream: TcpStream,
    wire: Wire,
    count: Count,
    buffer: Vec<u8>,
    calls: u32,
}

impl Client {
    /// Connects.
    pub fn open(address: &str, door: Door) -> Self {
        let mut stream = TcpStream::connect(address).expect("it listens");
        stream.set_nodelay(true).expect("it is TCP");
        stream.write_all(&door.greeting()).expect("it reads");
        Self {
            door,
            stream,
            wire: Wire::new(door),
            count: Count::pairs_by(door),
            buffer: vec![0; BUFFER],
            calls: 0,
        }
    }

    /// How many pairs there are.
    pub fn range(&mut self, span: &Span) -> usize {
        let before = self.pairs();
        let request = self.door.range(self.calls, span);
        self.calls += 1;
        self.exchange(&request);
        self.pairs() - before
    }

    fn pairs(&self) -> usize {
        self.count.pairs(self.wire.ended())
    }

    /// Calls a method of gRPC with each of these messages, all at once, and waits for all answers.
    pub fn call_each(&mut self, path: &str, messages: impl IntoIterator<Item = Vec<u8>>) {
        let mut requests = Vec::new();
        for message in messages {
            requests.extend(http2::request(self.calls, path, &message, false));
            self.calls += 1;
        }
        self.exchange(&requests);
    }

    fn exchange(&mut self, requests: &[u8]) {
        self.stream.write_all(requests).expect("it reads");
        let mut reply = Vec::new();
        while self.wire.ended() < self.calls as usize {
            let count = self.stream.read(&mut self.buffer).expect("it answers");
            assert!(count > 0, "it stays");
            self.wire.take(&self.buffer[..count], &mut reply, |body| self.count.take(body));
            self.stream.write_all(&reply).expect("it reads");
            reply.clear();
        }
    }
}
