//! An endpoint that says what it is told to say, to see that a worker tells what is wrong with it.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

/// The answer to every range, and the chunks of every watch.
#[derive(Clone)]
pub struct Script {
    pub range: String,
    pub chunks: Vec<String>,
}

impl Script {
    /// Answers for as long as the test runs.
    pub async fn serve(self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::task::spawn_local(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::task::spawn_local(self.clone().answer(stream));
            }
        });
        address
    }

    async fn answer(self, mut stream: TcpStream) {
        let mut received = Vec::new();
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = stream.read(&mut buffer).await {
            received.extend(&buffer[..count]);
            // A request is a JSON object, and nothing comes behind it before it is answered.
            if !received.ends_with(b"}") {
                continue;
            }
            let answer = if received.starts_with(b"POST /v3/watch") { self.watch() } else { self.range() };
            received.clear();
            if stream.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
    }

    fn range(&self) -> String {
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{}", self.range.len(), self.range)
    }

    fn watch(&self) -> String {
        let chunks = self.chunks.iter().map(|chunk| format!("{:x}\r\n{chunk}\r\n", chunk.len()));
        format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{}", chunks.collect::<String>())
    }
}
