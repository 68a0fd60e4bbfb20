//! A client that sends just the bytes it is told to, and reads one response.

use std::{
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use crate::support::exchange::Request;

/// A response; header names in lower case, in the order they came.
#[derive(Debug, Clone)]
pub struct Response {
    pub status: u64,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

/// Sends `request` to `address` on a connection of its own.
pub fn send(address: SocketAddr, request: &Request) -> std::io::Result<Response> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    stream.set_nodelay(true)?;
    stream.write_all(&bytes(request))?;
    read(&mut BufReader::new(stream), request.method == "HEAD")
}

fn bytes(request: &Request) -> Vec<u8> {
    let mut text =
        format!("{} {} HTTP/1.1\r\nhost: {}\r\n", request.method, request.target, request.authority);
    for (name, value) in &request.headers {
        text += &format!("{name}: {value}\r\n");
    }
    if ["POST", "PUT", "PATCH"].contains(&request.method.as_str()) {
        text += "content-length: 0\r\n";
    }
    (text + "\r\n").into_bytes()
}

fn read(stream: &mut impl BufRead, without_body: bool) -> std::io::Result<Response> {
    let bad = |what: String| std::io::Error::other(format!("not a response: {what}"));
    let mut line = String::new();
    stream.read_line(&mut line)?;
    let status = line.split(' ').nth(1).and_then(|s| s.parse().ok()).ok_or_else(|| bad(line.clone()))?;
    let mut headers = Vec::new();
    loop {
        line.clear();
        stream.read_line(&mut line)?;
        let text = line.trim_end();
        if text.is_empty() {
            break;
        }
        let (name, value) = text.split_once(':').ok_or_else(|| bad(text.to_owned()))?;
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let header = |name: &str| headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
    let mut body = Vec::new();
    if !without_body && status != 204 && status != 304 {
        match header("content-length").and_then(|l| l.parse::<usize>().ok()) {
            Some(length) => {
                body.resize(length, 0);
                stream.read_exact(&mut body)?;
            }
            None if header("transfer-encoding") == Some("chunked") => chunks(stream, &mut body)?,
            None => {}
        }
    }
    Ok(Response { status, headers, body: String::from_utf8_lossy(&body).into_owned() })
}

fn chunks(stream: &mut impl BufRead, body: &mut Vec<u8>) -> std::io::Result<()> {
    let mut line = String::new();
    loop {
        line.clear();
        stream.read_line(&mut line)?;
        let length = usize::from_str_radix(line.trim(), 16).map_err(std::io::Error::other)?;
        let start = body.len();
        body.resize(start + length, 0);
        stream.read_exact(&mut body[start..])?;
        line.clear();
        stream.read_line(&mut line)?;
        if length == 0 {
            return Ok(());
        }
    }
}
