//! One backend for all endpoints: it learns from the address of its own end of a connection which endpoint was chosen.
//!
//! Linux answers on all of 127.0.0.0/8, so each endpoint has an address there. The response carries what came, so
//! that nothing has to be brought together afterwards.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    thread,
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};

/// The response header that holds what the backend got: see [`Received`].
pub const ECHO: &str = "x-judge-echo";

/// A request as the backend got it.
#[derive(Debug, Clone)]
pub struct Received {
    /// The endpoint it came to.
    pub endpoint: Ipv4Addr,
    /// The request's first line and headers.
    pub head: String,
}

impl Received {
    /// From the value of the header [`ECHO`].
    pub fn decode(value: &str) -> Option<Self> {
        let text = String::from_utf8_lossy(&STANDARD.decode(value).ok()?).into_owned();
        let (endpoint, head) = text.split_once('\n')?;
        Some(Self { endpoint: endpoint.parse().ok()?, head: head.to_owned() })
    }
}

/// Starts it; it ends with the process. The port it listens on, at all addresses.
pub fn start() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            if stream.peer_addr().is_ok_and(|peer| peer.ip().is_loopback()) {
                // A caller that goes away is not the backend's trouble.
                thread::spawn(move || drop(answer(stream)));
            }
        }
    });
    port
}

fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let SocketAddr::V4(local) = stream.local_addr()? else { return Ok(()) };
    let mut head = Vec::new();
    let mut buffer = [0; 4096];
    let end = loop {
        if let Some(end) = head.windows(4).position(|w| w == b"\r\n\r\n") {
            break end;
        }
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            count => head.extend_from_slice(&buffer[..count]),
        }
    };
    let told = format!("{}\n{}", local.ip(), String::from_utf8_lossy(&head[..end]));
    let told = STANDARD.encode(told);
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\nx-upstream: 1\r\nx-both: up\r\n{ECHO}: {told}\r\n\r\n"
    )
}
