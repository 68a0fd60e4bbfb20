//! A connection as its bytes come; many share a thread.

use std::{cell::RefCell, io};

use tokio::{io::AsyncWriteExt as _, net::TcpStream};

use crate::{
    client::BUFFER,
    door::{Door, Span, Wire},
};

thread_local! {
    /// What a socket gave, until it is looked at.
    static RECEIVED: RefCell<Vec<u8>> = RefCell::new(vec![0; BUFFER]);
}

/// A connection by one door. Dropping it ends its watches.
pub struct Stream {
    socket: TcpStream,
    wire: Wire,
}

impl Stream {
    /// Connects.
    pub async fn connect(address: &str, door: Door) -> Self {
        let mut socket = TcpStream::connect(address).await.expect("it listens");
        socket.set_nodelay(true).expect("it is TCP");
        socket.write_all(&door.greeting()).await.expect("it reads");
        Self { socket, wire: Wire::new(door) }
    }

    /// Connects and watches from a revision on; 0 means from now on.
    pub async fn watch(address: &str, door: Door, span: &Span, start: i64) -> Self {
        let mut stream = Self::connect(address, door).await;
        stream.send(&door.watch(0, span, start)).await;
        stream
    }

    /// Asks, and waits for the end of the answer.
    pub async fn ask(&mut self, request: &[u8]) {
        let answered = self.wire.ended() + 1;
        self.send(request).await;
        while self.wire.ended() < answered {
            assert!(self.read(|_| {}).await, "the server stays");
        }
    }

    /// Waits for bytes and shows those of bodies; `false` when there will be none.
    pub async fn read(&mut self, mut body: impl FnMut(&[u8])) -> bool {
        loop {
            self.socket.readable().await.expect("it is a socket");
            let mut reply = Vec::new();
            let read = RECEIVED.with_borrow_mut(|received| {
                let count = self.socket.try_read(received)?;
                self.wire.take(&received[..count], &mut reply, &mut body);
                io::Result::Ok(count)
            });
            match read {
                Ok(count) => {
                    self.send(&reply).await;
                    return count > 0;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Sends more on the connection.
    pub async fn send(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).await.expect("it reads");
    }
}
