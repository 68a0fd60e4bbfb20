//! How other processes learn that the log was written: a number in a page that all of them map.
//!
//! In: writes. Out: whether there was one since, for one load of memory, or a wait for the next one. The page is a file of
//! the directory, made once and never replaced, so that it outlives the process that writes. Never here: what was written.

use std::{
    io,
    path::Path,
    ptr::NonNull,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use super::file;

const NAME: &str = "writes";
const LEN: usize = size_of::<AtomicU32>();

/// The number, in this process's memory. It goes round.
#[derive(Debug)]
pub struct Counter(NonNull<AtomicU32>);

// SAFETY: it is an atomic number, and stays mapped until the counter is dropped.
unsafe impl Send for Counter {}
// SAFETY: as above.
unsafe impl Sync for Counter {}

impl Counter {
    /// The counter of a directory; made if it is not there.
    pub fn open(directory: &Path) -> io::Result<Self> {
        use std::os::fd::AsRawFd as _;

        file::make_directory(directory)?;
        let page = file::open(&directory.join(NAME))?;
        // Zeros are added, nothing is cut: other processes have it mapped.
        if page.metadata()?.len() < LEN as u64 {
            page.set_len(LEN as u64)?;
        }
        // SAFETY: a new mapping, of a file that is as long; the descriptor is open.
        let address = unsafe {
            let access = libc::PROT_READ | libc::PROT_WRITE;
            libc::mmap(std::ptr::null_mut(), LEN, access, libc::MAP_SHARED, page.as_raw_fd(), 0)
        };
        match NonNull::new(address.cast()) {
            Some(number) if address != libc::MAP_FAILED => Ok(Self(number)),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// How many writes there have been.
    pub fn get(&self) -> u32 {
        self.number().load(Ordering::Acquire)
    }

    /// Tells of one more write.
    pub fn add(&self) {
        self.number().fetch_add(1, Ordering::Release);
        // SAFETY: the address of a number that stays mapped; the call wakes who waits for it, here or elsewhere.
        unsafe { libc::syscall(libc::SYS_futex, self.0.as_ptr(), libc::FUTEX_WAKE, i32::MAX) };
    }

    /// Waits until it is no longer `number`, for this long at most; may come back early.
    pub fn wait(&self, number: u32, patience: Duration) {
        let Ok(seconds) = patience.as_secs().try_into() else { return };
        let patience = libc::timespec { tv_sec: seconds, tv_nsec: patience.subsec_nanos().into() };
        // SAFETY: the address as above, and a time that outlives the call, which writes neither.
        unsafe {
            libc::syscall(libc::SYS_futex, self.0.as_ptr(), libc::FUTEX_WAIT, number, &raw const patience)
        };
    }

    fn number(&self) -> &AtomicU32 {
        // SAFETY: mapped until the drop, aligned to a page, and only ever used as this atomic by all processes.
        unsafe { self.0.as_ref() }
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        // SAFETY: the mapping of `open`, which nothing uses any more.
        unsafe { libc::munmap(self.0.as_ptr().cast(), LEN) };
    }
}
