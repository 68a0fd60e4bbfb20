//! What every entry from C goes through: panics stop, errors get their number, pointers are checked.

use std::{
    cell::RefCell,
    ffi::c_char,
    panic::{AssertUnwindSafe, catch_unwind},
};

use super::{Buffer, MeshResult};
use crate::error::Error;

thread_local! {
    static LAST_ERROR: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Runs the body of a C function.
pub fn call(body: impl FnOnce() -> Result<(), Error>) -> MeshResult {
    // A body that panicked leaves nothing half-written that is looked at again: outputs are written last.
    let (result, text) = match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => return MeshResult::Ok,
        Ok(Err(error)) => (MeshResult::from(&error), error.to_string()),
        Err(panic) => (MeshResult::Panic, format!("internal error: {}", panic_text(&*panic))),
    };
    LAST_ERROR.with_borrow_mut(|last| *last = text);
    result
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("panic")
}

/// This thread's last error, borrowed until the next failing call.
pub fn last_error() -> Buffer {
    LAST_ERROR.with_borrow(|last| Buffer::borrowed(last.as_bytes()))
}

/// A text argument.
///
/// # Safety
/// `data` is NULL or points to `len` bytes that stay readable while the text is used.
pub unsafe fn text<'a>(argument: &'static str, data: *const c_char, len: usize) -> Result<&'a str, Error> {
    if data.is_null() && len > 0 {
        return Err(Error::Argument { argument, problem: "is NULL" });
    }
    // SAFETY: not NULL, and the caller's promise; from_raw_parts wants no NULL even for nothing.
    let bytes = if len == 0 { &[] } else { unsafe { std::slice::from_raw_parts(data.cast::<u8>(), len) } };
    std::str::from_utf8(bytes).map_err(|_| Error::Argument { argument, problem: "is not UTF-8" })
}

/// An output argument.
///
/// # Safety
/// `pointer` is NULL or points to writable memory for a `T`.
pub unsafe fn out<'a, T>(argument: &'static str, pointer: *mut T) -> Result<&'a mut T, Error> {
    // SAFETY: the caller's promise. All `T` here are integers, pointers or structs of them: any bytes are a value.
    unsafe { pointer.as_mut() }.ok_or(Error::Argument { argument, problem: "is NULL" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_a_result() {
        assert_eq!(call(|| panic!("at {}", 7)), MeshResult::Panic);
        let last = last_error();
        // SAFETY: borrowed from this thread, and no call since.
        let text = unsafe { std::slice::from_raw_parts(last.data.cast::<u8>(), last.len) };
        assert_eq!(text, b"internal error: at 7");
    }

    #[test]
    fn arguments_are_checked() {
        // SAFETY: NULL with a length is what is tested; the other points to three bytes.
        unsafe {
            assert!(text("key", std::ptr::null(), 3).is_err());
            assert_eq!(text("key", std::ptr::null(), 0).unwrap(), "");
            assert!(text("key", b"\xff\xfe\xfd".as_ptr().cast(), 3).is_err());
            assert!(out::<i64>("revision", std::ptr::null_mut()).is_err());
        }
    }
}
