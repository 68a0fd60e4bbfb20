//! Bytes given to C.

use std::ffi::c_char;

/// Bytes and their number. There is no terminating NUL.
#[repr(C)]
pub struct Buffer {
    /// The first byte; NULL when there is none.
    pub data: *const c_char,
    /// How many bytes there are.
    pub len: usize,
}

impl Buffer {
    /// A copy that the receiver frees.
    pub fn new(bytes: &[u8]) -> Self {
        let copy: Box<[u8]> = bytes.into();
        let len = copy.len();
        Self { data: Box::into_raw(copy).cast::<c_char>().cast_const(), len }
    }

    /// A view that nobody frees.
    pub fn borrowed(bytes: &[u8]) -> Self {
        Self { data: bytes.as_ptr().cast(), len: bytes.len() }
    }

    /// Gives the memory back and leaves an empty buffer.
    ///
    /// # Safety
    /// The buffer came from [`Buffer::new`], or is empty.
    pub unsafe fn free(&mut self) {
        if !self.data.is_null() {
            let bytes = std::ptr::slice_from_raw_parts_mut(self.data.cast_mut().cast::<u8>(), self.len);
            // SAFETY: `new` made it of a boxed slice of this length.
            drop(unsafe { Box::from_raw(bytes) });
        }
        *self = Self { data: std::ptr::null(), len: 0 };
    }
}
