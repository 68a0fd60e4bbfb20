//! Signals belong to nginx: the library's thread must never take one.

use std::{io, mem::MaybeUninit, thread};

/// Starts a thread with all signals blocked. The system shows 15 bytes of the name.
pub fn spawn<T: Send + 'static>(
    name: &str,
    body: impl FnOnce() -> T + Send + 'static,
) -> io::Result<thread::JoinHandle<T>> {
    with_all_blocked(|| thread::Builder::new().name(name.to_owned()).spawn(body))
}

/// Runs `spawn` with all signals blocked, which a new thread inherits, and puts the caller's mask back.
fn with_all_blocked<T>(spawn: impl FnOnce() -> T) -> T {
    let mut all = MaybeUninit::<libc::sigset_t>::uninit();
    let mut before = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigfillset writes `all` before it is read, pthread_sigmask writes `before`; neither can fail with a
    // valid `how` and valid pointers.
    unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr());
    }
    let result = spawn();
    // SAFETY: `before` was written above.
    unsafe {
        libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), std::ptr::null_mut());
    }
    result
}

/// SIGTERM and SIGINT, kept back to be waited for: the command's way to end.
pub struct Termination(libc::sigset_t);

impl Termination {
    /// Blocks both in this thread and in those it starts.
    pub fn block() -> Self {
        let mut set = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: sigemptyset writes the whole set; the other calls take valid pointers and valid signal numbers.
        unsafe {
            libc::sigemptyset(set.as_mut_ptr());
            libc::sigaddset(set.as_mut_ptr(), libc::SIGTERM);
            libc::sigaddset(set.as_mut_ptr(), libc::SIGINT);
            libc::pthread_sigmask(libc::SIG_BLOCK, set.as_ptr(), std::ptr::null_mut());
            Self(set.assume_init())
        }
    }

    /// Waits for one of them.
    pub fn wait(&self) {
        let mut signal = 0;
        // SAFETY: both pointers are valid; the signals are blocked, as sigwait asks.
        unsafe {
            libc::sigwait(&self.0, &mut signal);
        }
    }
}
