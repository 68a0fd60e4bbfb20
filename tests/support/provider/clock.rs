//! Time, as the workers have it: it stands still until the test moves it.
//!
//! A fibre is one of a worker's light threads. It tells what it is waiting for, so that the test knows whether anything
//! can still happen before time has to pass.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
    time::Duration,
};

use tokio::sync::{Notify, oneshot};

use super::link::Control;

/// Time since the test began.
pub type Instant = Duration;

#[derive(Default)]
pub struct Clock {
    now: Cell<Instant>,
    next_id: Cell<u64>,
    timers: RefCell<BTreeMap<(Instant, u64), Timer>>,
    /// Something happened that the test may be waiting for.
    pub news: Notify,
}

struct Timer {
    doing: Rc<RefCell<Doing>>,
    fire: oneshot::Sender<()>,
}

/// What a fibre is at.
#[derive(Debug, Clone)]
pub enum Doing {
    Running,
    /// It waits for time to pass.
    Sleeping,
    /// It waits for another fibre.
    Waiting,
    /// It waits for the answer to a request.
    Reading(Rc<Control>),
    /// It waits for what may never come: an event.
    Watching(Rc<Control>),
    Gone,
}

impl Clock {
    pub fn now(&self) -> Instant {
        self.now.get()
    }

    /// When the next fibre that waits for time has waited long enough.
    pub fn next(&self) -> Option<Instant> {
        self.timers.borrow().keys().next().map(|&(at, _)| at)
    }

    /// Moves on, and wakes whom it is time for.
    pub fn move_to(&self, instant: Instant) {
        self.now.set(instant.max(self.now()));
        loop {
            let mut timers = self.timers.borrow_mut();
            let Some(first) = timers.first_entry().filter(|first| first.key().0 <= instant) else { return };
            let Timer { doing, fire } = first.remove();
            *doing.borrow_mut() = Doing::Running;
            // Who no longer waits has dropped the other end.
            let _ = fire.send(());
        }
    }
}

/// One of a worker's light threads.
pub struct Fibre {
    pub clock: Rc<Clock>,
    doing: Rc<RefCell<Doing>>,
}

impl std::fmt::Debug for Fibre {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.doing().fmt(f)
    }
}

impl Fibre {
    pub fn new(clock: Rc<Clock>) -> Rc<Self> {
        Rc::new(Self { clock, doing: Rc::new(RefCell::new(Doing::Running)) })
    }

    pub fn doing(&self) -> Doing {
        self.doing.borrow().clone()
    }

    pub fn set(&self, doing: Doing) {
        *self.doing.borrow_mut() = doing;
        self.clock.news.notify_one();
    }

    pub async fn sleep(&self, time: Duration) {
        self.set(Doing::Sleeping);
        self.timer(time).await;
    }

    /// What the work gives, unless it takes longer than this.
    pub async fn within<T>(
        &self,
        patience: Duration,
        doing: Doing,
        work: impl Future<Output = T>,
    ) -> Option<T> {
        self.set(doing);
        let done = tokio::select! {
            biased;
            done = work => Some(done),
            () = self.timer(patience) => None,
        };
        self.set(Doing::Running);
        done
    }

    async fn timer(&self, time: Duration) {
        let clock = &self.clock;
        let id = clock.next_id.get();
        clock.next_id.set(id + 1);
        let key = (clock.now() + time, id);
        let (fire, fired) = oneshot::channel();
        clock.timers.borrow_mut().insert(key, Timer { doing: self.doing.clone(), fire });
        let _withdrawn = Withdraw { clock, key };
        let _ = fired.await;
    }
}

/// Takes a timer back when nobody waits for it any more.
struct Withdraw<'a> {
    clock: &'a Clock,
    key: (Instant, u64),
}

impl Drop for Withdraw<'_> {
    fn drop(&mut self) {
        self.clock.timers.borrow_mut().remove(&self.key);
    }
}

/// What one fibre posts and another waits for.
#[derive(Default)]
pub struct Signal {
    posted: Cell<bool>,
    waiting: RefCell<Option<Rc<Fibre>>>,
    notify: Notify,
}

impl Signal {
    pub fn post(&self) {
        self.posted.set(true);
        if let Some(fibre) = self.waiting.take() {
            fibre.set(Doing::Running);
        }
        self.notify.notify_one();
    }

    pub async fn wait(&self, fibre: &Rc<Fibre>) {
        while !self.posted.take() {
            *self.waiting.borrow_mut() = Some(fibre.clone());
            fibre.set(Doing::Waiting);
            self.notify.notified().await;
        }
        fibre.set(Doing::Running);
    }
}
