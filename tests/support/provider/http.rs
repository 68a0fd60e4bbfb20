//! HTTP/1.1 as lua-resty-http speaks it: no more headers than needed, and a body by its length or chunk by chunk.
//!
//! In: a link. Out: a status and bytes, or the error in lua-nginx's words. Never here: what is in a body.

use std::{collections::VecDeque, rc::Rc, time::Duration};

use super::{
    clock::{Doing, Fibre},
    link::{Control, Link},
};

pub struct Connection {
    link: Link,
    received: VecDeque<u8>,
}

/// The head of an answer, and what is to be done about its body.
pub struct Head {
    pub status: u16,
    pub body: Body,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    Length(usize),
    Chunked,
    /// All that comes until the connection ends.
    Endless,
}

/// Who reads, how long each read may take, and whether it waits for an answer or for an event.
#[derive(Clone, Copy)]
pub struct Reader<'a> {
    pub fibre: &'a Fibre,
    pub timeout: Duration,
    pub doing: fn(Rc<Control>) -> Doing,
}

impl Connection {
    pub fn new(link: Link) -> Self {
        Self { link, received: VecDeque::new() }
    }

    /// Whether a pool of idle connections would throw it away.
    pub fn is_over(&self) -> bool {
        self.link.is_over()
    }

    pub async fn request(
        &mut self,
        path: &str,
        body: &str,
        reader: Reader<'_>,
    ) -> Result<Head, &'static str> {
        let length = body.len();
        let request = format!(
            "POST {path} HTTP/1.1\r\nUser-Agent: lua-resty-http/0.16\r\nHost: 127.0.0.1\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        let control = self.link.control.clone();
        let sent =
            reader.fibre.within(reader.timeout, (reader.doing)(control), self.link.write(request.as_bytes()));
        sent.await.unwrap_or(Err("timeout"))?;
        let status = self.line(reader).await?;
        let status = status.get(9..12).and_then(|code| code.parse().ok()).ok_or("not HTTP")?;
        let mut head = Head { status, body: Body::Endless };
        loop {
            let line = self.line(reader).await?.to_ascii_lowercase();
            if line.is_empty() {
                return Ok(head);
            }
            if let Some(length) = line.strip_prefix("content-length:") {
                head.body = Body::Length(length.trim().parse().map_err(|_| "not HTTP")?);
            } else if line.starts_with("transfer-encoding:") && line.contains("chunked") {
                head.body = Body::Chunked;
            }
        }
    }

    /// The whole body.
    pub async fn body(&mut self, body: Body, reader: Reader<'_>) -> Result<Vec<u8>, &'static str> {
        match body {
            Body::Length(length) => self.exactly(length, reader).await,
            Body::Chunked => {
                let mut all = Vec::new();
                let mut chunks = Chunks::default();
                while let Some(chunk) = chunks.next(self, reader).await? {
                    all.extend(chunk);
                }
                // The two bytes after the last chunk are read when the reader is asked once more, which it was.
                Ok(all)
            }
            Body::Endless => {
                let mut all = Vec::new();
                loop {
                    match self.fill(reader).await {
                        Ok(()) => all.extend(self.received.drain(..)),
                        Err("closed") => return Ok(all),
                        Err(error) => return Err(error),
                    }
                }
            }
        }
    }

    /// Up to the next line feed, without it and the carriage return before it.
    async fn line(&mut self, reader: Reader<'_>) -> Result<String, &'static str> {
        loop {
            if let Some(end) = self.received.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.received.drain(..=end).collect();
                return Ok(String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned());
            }
            self.fill(reader).await?;
        }
    }

    async fn exactly(&mut self, count: usize, reader: Reader<'_>) -> Result<Vec<u8>, &'static str> {
        while self.received.len() < count {
            self.fill(reader).await?;
        }
        Ok(self.received.drain(..count).collect())
    }

    /// The timeout is for each read that finds nothing, not for all that is to be read.
    async fn fill(&mut self, reader: Reader<'_>) -> Result<(), &'static str> {
        let doing = (reader.doing)(self.link.control.clone());
        let read = reader.fibre.within(reader.timeout, doing, self.link.read()).await;
        self.received.extend(read.unwrap_or(Err("timeout"))?);
        Ok(())
    }
}

/// The reader of chunks, which is a coroutine: what ends a chunk is read when the next one is asked for, and an error is
/// its end.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Chunks {
    #[default]
    Fresh,
    BehindChunk,
    Dead,
}

impl Chunks {
    /// The next chunk as the endpoint made it, however its bytes came; `None` at the end.
    pub async fn next(
        &mut self,
        connection: &mut Connection,
        reader: Reader<'_>,
    ) -> Result<Option<Vec<u8>>, &'static str> {
        let before = std::mem::replace(self, Self::Dead);
        match before {
            Self::Dead => return Err("can't resume a dead coroutine"),
            // Whether they come is not looked at.
            Self::BehindChunk => drop(connection.exactly(2, reader).await),
            Self::Fresh => {}
        }
        let size = connection.line(reader).await?;
        // A size with an extension is none to Lua.
        let size = usize::from_str_radix(size.trim(), 16).map_err(|_| "unable to read chunksize")?;
        if size == 0 {
            let _ = connection.exactly(2, reader).await;
            return Ok(None);
        }
        let chunk = connection.exactly(size, reader).await?;
        *self = Self::BehindChunk;
        Ok(Some(chunk))
    }
}
