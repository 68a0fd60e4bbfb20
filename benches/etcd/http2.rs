//! HTTP/2 as gRPC uses it, as little as a client needs: requests as bytes, and data cut out of what a socket gives.
//!
//! In: bytes, however they come. Out: the bytes of messages without a copy, and frames to send back. Never here: header
//! compression: requests use none, and answers are known by their data.

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The room that flow control leaves: none that matters.
const WINDOW: u32 = (1 << 31) - 1;
const FIRST_WINDOW: u32 = (1 << 16) - 1;
/// So much of the connection's window is given back at a time.
const REFILL: usize = 1 << 26;
const FRAME_HEAD: usize = 9;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;

const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

/// Why a stream is reset.
const CANCEL: u32 = 8;

/// What a connection begins with.
pub fn greeting() -> Vec<u8> {
    let initial_window = [&[0, 4][..], &WINDOW.to_be_bytes()].concat();
    [PREFACE, &frame(SETTINGS, 0, 0, &initial_window), &window_update(WINDOW - FIRST_WINDOW)].concat()
}

/// The `number`th request of a connection, from 0. One that is `open` can be followed by more.
pub fn request(number: u32, path: &str, message: &[u8], open: bool) -> Vec<u8> {
    let stream = 2 * number + 1;
    let mut head = vec![0x83, 0x86];
    head.extend(literal(&[0x04], path));
    head.extend(literal(&[0x01], "etcd"));
    head.extend(literal(&[0x0f, 0x10], "application/grpc"));
    head.extend(literal(b"\x00\x02te", "trailers"));
    let prefixed = [&[0][..], &(message.len() as u32).to_be_bytes(), message].concat();
    let mut frames = frame(HEADERS, END_HEADERS, stream, &head);
    let mut pieces = prefixed.chunks(1 << 14).peekable();
    while let Some(piece) = pieces.next() {
        let is_last = pieces.peek().is_none() && !open;
        frames.extend(frame(DATA, if is_last { END_STREAM } else { 0 }, stream, piece));
    }
    frames
}

/// Ends the `number`th request before its answer has.
pub fn cancel(number: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, 2 * number + 1, &CANCEL.to_be_bytes())
}

fn literal(name: &[u8], value: &str) -> Vec<u8> {
    assert!(value.len() < 127, "a length of one byte");
    [name, &[value.len() as u8], value.as_bytes()].concat()
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

fn window_update(more: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, 0, &more.to_be_bytes())
}

/// Reads answers.
#[derive(Default)]
pub struct Reader {
    head: Vec<u8>,
    /// What is still to come of the payload of a frame.
    left: usize,
    payload: Vec<u8>,
    ended: usize,
    read: usize,
}

impl Reader {
    /// How many answers have ended.
    pub fn ended(&self) -> usize {
        self.ended
    }

    /// Shows the data among these bytes; puts what is to be sent into `reply`.
    pub fn take(&mut self, mut bytes: &[u8], reply: &mut Vec<u8>, mut data: impl FnMut(&[u8])) {
        while !bytes.is_empty() {
            let missing = FRAME_HEAD - self.head.len();
            let (some, rest) = bytes.split_at(bytes.len().min(missing));
            self.head.extend_from_slice(some);
            bytes = rest;
            if self.head.len() < FRAME_HEAD {
                return;
            }
            if missing > 0 {
                self.left = u32::from_be_bytes([0, self.head[0], self.head[1], self.head[2]]) as usize;
            }
            let (some, rest) = bytes.split_at(bytes.len().min(self.left));
            bytes = rest;
            self.left -= some.len();
            if self.head[3] == DATA {
                self.read += some.len();
                data(some);
            } else {
                self.payload.extend_from_slice(some);
            }
            if self.left == 0 {
                self.end_frame(reply);
            }
        }
        if self.read >= REFILL {
            reply.extend(window_update(self.read as u32));
            self.read = 0;
        }
    }

    fn end_frame(&mut self, reply: &mut Vec<u8>) {
        let (kind, flags) = (self.head[3], self.head[4]);
        match kind {
            SETTINGS if flags & ACK == 0 => reply.extend(frame(SETTINGS, ACK, 0, &[])),
            PING if flags & ACK == 0 => reply.extend(frame(PING, ACK, 0, &self.payload)),
            DATA | HEADERS => self.ended += usize::from(flags & END_STREAM),
            // A server that has answered may not want the end of the request.
            RST_STREAM if self.payload == [0; 4] => {}
            RST_STREAM | GOAWAY => panic!("the server gives up: {:?}", self.payload),
            _ => {}
        }
        self.head.clear();
        self.payload.clear();
    }
}
