//! What lies between a worker and the endpoint: TCP connections that can be cut, stalled and dribbled at any byte.
//!
//! In: the endpoint's address, and what is to befall connections. Out: links. The connections behind them are real ones;
//! a link decides what of them the worker gets to see, and ends them as told. Never here: what the bytes mean.

use std::{
    cell::{Cell, RefCell},
    net::SocketAddr,
    rc::{Rc, Weak},
};

use tokio::{
    io::{AsyncWriteExt as _, Interest},
    net::TcpStream,
    sync::Notify,
};

use super::clock::Clock;
use crate::support::mutate::Random;

/// How a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// Both ends are told, with a reset.
    Reset,
    /// Both ends are told, as if all were well.
    Close,
    /// Nobody is told, and nothing comes any more.
    Silent,
}

/// What a link does with bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    Flowing,
    /// Nothing passes until it is resumed.
    Stalled,
    Cut(Cut),
}

/// What befalls links that are made.
#[derive(Debug, Clone, Copy, Default)]
pub struct Weather {
    /// Of a hundred, how many are cut by themselves, after a random number of bytes below `within`.
    pub cut: usize,
    pub within: usize,
    /// Whether some of these cuts are silent.
    pub silent: bool,
    /// So many bytes pass one at a time, before the others.
    pub dribble: usize,
}

/// A link as others than its owner see it.
pub struct Control {
    flow: Cell<Flow>,
    /// After so many bytes, in either direction, it is cut.
    fate: Cell<Option<(usize, Cut)>>,
    /// The answer that comes next is stalled.
    holds_answer: Cell<bool>,
    changed: Notify,
    network: Weak<Network>,
}

impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} then {:?}", self.flow(), self.fate.get())
    }
}

pub struct Network {
    clock: Rc<Clock>,
    /// Nobody listens without one.
    target: Cell<Option<SocketAddr>>,
    pub weather: Cell<Weather>,
    /// A link is silent as soon as it has passed an answer up to this text.
    pub silent_after: Cell<Option<&'static str>>,
    /// A link stalls as soon as there is an answer to a request with this text, for the first one that has it.
    pub hold_answer_to: RefCell<Option<String>>,
    random: RefCell<Random>,
    links: RefCell<Vec<Weak<Control>>>,
    /// The other ends of silent links, which still believe in them.
    forlorn: RefCell<Vec<TcpStream>>,
    cuts: Cell<usize>,
}

impl Network {
    pub fn new(clock: Rc<Clock>, seed: u64) -> Rc<Self> {
        Rc::new(Self {
            clock,
            target: Cell::new(None),
            weather: Cell::default(),
            silent_after: Cell::default(),
            hold_answer_to: RefCell::default(),
            random: RefCell::new(Random::new(seed)),
            links: RefCell::default(),
            forlorn: RefCell::default(),
            cuts: Cell::new(0),
        })
    }

    /// New links lead there.
    pub fn lead_to(&self, target: Option<SocketAddr>) {
        self.target.set(target);
        self.forlorn.borrow_mut().clear();
    }

    /// How many links were cut.
    pub fn cuts(&self) -> usize {
        self.cuts.get()
    }

    /// The links that there are.
    pub fn links(&self) -> Vec<Rc<Control>> {
        let mut links = self.links.borrow_mut();
        links.retain(|link| link.strong_count() > 0);
        links.iter().filter_map(Weak::upgrade).collect()
    }

    pub async fn dial(self: &Rc<Self>) -> Result<Link, &'static str> {
        let refused = "connection refused";
        let target = self.target.get().ok_or(refused)?;
        let stream = TcpStream::connect(target).await.map_err(|_| refused)?;
        stream.set_nodelay(true).unwrap();
        let control = Rc::new(Control {
            flow: Cell::new(Flow::Flowing),
            fate: Cell::new(self.fate()),
            holds_answer: Cell::new(false),
            changed: Notify::new(),
            network: Rc::downgrade(self),
        });
        self.links.borrow_mut().push(Rc::downgrade(&control));
        let dribble = self.weather.get().dribble;
        Ok(Link { stream: Some(stream), control, dribble, network: self.clone() })
    }

    fn fate(&self) -> Option<(usize, Cut)> {
        let Weather { cut, within, silent, .. } = self.weather.get();
        let mut random = self.random.borrow_mut();
        if random.below(100) >= cut {
            return None;
        }
        let cuts: &[Cut] =
            if silent { &[Cut::Reset, Cut::Close, Cut::Silent] } else { &[Cut::Reset, Cut::Close] };
        Some((random.below(within), *random.pick(cuts)))
    }
}

impl Control {
    pub fn flow(&self) -> Flow {
        self.flow.get()
    }

    /// Whether its owner hears of nothing.
    pub fn is_mute(&self) -> bool {
        matches!(self.flow(), Flow::Stalled | Flow::Cut(Cut::Silent))
    }

    /// Whether its owner is told, or has been, that it is over.
    pub fn is_cut_off(&self) -> bool {
        matches!(self.flow(), Flow::Cut(Cut::Reset | Cut::Close))
    }

    pub fn stall(&self) {
        if self.flow() == Flow::Flowing {
            self.set(Flow::Stalled);
        }
    }

    pub fn resume(&self) {
        if self.flow() == Flow::Stalled {
            self.set(Flow::Flowing);
        }
    }

    pub fn cut(&self, how: Cut) {
        if let Flow::Cut(_) = self.flow() {
            return;
        }
        if let Some(network) = self.network.upgrade() {
            network.cuts.set(network.cuts.get() + 1);
        }
        self.set(Flow::Cut(how));
    }

    /// To be cut after so many more bytes, in either direction.
    pub fn doom(&self, bytes: usize, how: Cut) {
        self.fate.set(Some((bytes, how)));
    }

    fn set(&self, flow: Flow) {
        self.flow.set(flow);
        self.changed.notify_one();
        if let Some(network) = self.network.upgrade() {
            network.clock.news.notify_one();
        }
    }

    /// How many of these bytes pass; the cut follows on the last that does.
    fn pass(&self, bytes: usize) -> usize {
        match self.fate.get() {
            Some((left, _)) => bytes.min(left),
            None => bytes,
        }
    }

    fn passed(&self, bytes: usize) {
        if let Some((left, how)) = self.fate.get() {
            self.fate.set(Some((left.saturating_sub(bytes), how)));
            self.cut_if_due();
        }
    }

    fn cut_if_due(&self) {
        if let Some((0, how)) = self.fate.get() {
            self.cut(how);
        }
    }
}

/// A connection.
pub struct Link {
    stream: Option<TcpStream>,
    pub control: Rc<Control>,
    /// Bytes that are still to pass one at a time.
    dribble: usize,
    network: Rc<Network>,
}

impl Link {
    /// The next bytes, or in what words lua-nginx tells that there are none.
    pub async fn read(&mut self) -> Result<Vec<u8>, &'static str> {
        let mut buffer = [0; 4096];
        loop {
            self.until_flowing().await?;
            let Some(stream) = &self.stream else { return Err("closed") };
            let most = self.control.pass(if self.dribble > 0 { 1 } else { buffer.len() });
            tokio::select! {
                biased;
                () = self.control.changed.notified() => continue,
                ready = stream.ready(Interest::READABLE) => { ready.unwrap(); }
            }
            if self.control.holds_answer.take() {
                self.control.stall();
                continue;
            }
            match stream.try_read(&mut buffer[..most]) {
                Ok(0) => return Err("closed"),
                Ok(count) => {
                    self.dribble = self.dribble.saturating_sub(count);
                    self.control.passed(count);
                    return Ok(self.up_to_silence(&buffer[..count]).to_vec());
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => return Err("connection reset by peer"),
            }
        }
    }

    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), &'static str> {
        let mut left = bytes;
        while !left.is_empty() {
            self.until_flowing().await?;
            let Some(stream) = &mut self.stream else { return Err("closed") };
            let most = self.control.pass(if self.dribble > 0 { 1 } else { left.len() });
            stream.write_all(&left[..most]).await.map_err(|_| "broken pipe")?;
            self.hold_answer_if_wanted(&left[..most]);
            self.dribble = self.dribble.saturating_sub(most);
            self.control.passed(most);
            left = &left[most..];
        }
        Ok(())
    }

    fn up_to_silence<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        let Some(text) = self.network.silent_after.get() else { return bytes };
        let found = bytes.windows(text.len()).position(|window| window == text.as_bytes());
        let Some(at) = found else { return bytes };
        self.control.cut(Cut::Silent);
        &bytes[..at + text.len()]
    }

    fn hold_answer_if_wanted(&self, bytes: &[u8]) {
        let mut wanted = self.network.hold_answer_to.borrow_mut();
        let has = |text: &String| bytes.windows(text.len()).any(|window| window == text.as_bytes());
        if wanted.as_ref().is_some_and(has) {
            *wanted = None;
            self.control.holds_answer.set(true);
        }
    }

    /// Whether the other end has left, or this one has been cut off from it, as a pool of idle connections notices.
    pub fn is_over(&self) -> bool {
        match (self.control.flow(), &self.stream) {
            (Flow::Cut(Cut::Silent) | Flow::Stalled, Some(_)) => false,
            (Flow::Flowing, Some(stream)) => {
                !matches!(stream.try_read(&mut [0]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
            }
            _ => true,
        }
    }

    async fn until_flowing(&mut self) -> Result<(), &'static str> {
        loop {
            self.control.cut_if_due();
            match self.control.flow() {
                Flow::Flowing => return Ok(()),
                Flow::Stalled | Flow::Cut(Cut::Silent) => self.control.changed.notified().await,
                Flow::Cut(Cut::Close) => {
                    self.stream = None;
                    return Err("closed");
                }
                Flow::Cut(Cut::Reset) => {
                    if let Some(stream) = self.stream.take() {
                        let _ = stream.set_zero_linger();
                    }
                    return Err("connection reset by peer");
                }
            }
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        if self.control.flow() == Flow::Cut(Cut::Silent) {
            self.network.forlorn.borrow_mut().extend(self.stream.take());
        }
    }
}
