//! nginx's shared dictionaries, by the functions that Lua's FFI writes them with.
//!
//! In: the two pointers that `initial` is given. Out: [`Dict`]s for a thread of this process. Never here: what is
//! written.
//!
//! The functions are looked up in the process, because the runtime of APISIX and OpenResty name them differently. Any
//! thread may call them: the dictionary's lock does not tell threads from processes. But nginx frees what the pointers
//! point to when the process exits, before the threads end, and tells the cleanup handlers of that memory first. Ours
//! closes the door that each call goes through, and so waits for one that is under way.

use std::{
    ffi::{CStr, CString, c_char, c_int, c_long, c_void},
    ptr,
    sync::Arc,
};

use bytes::Bytes;
use parking_lot::Mutex;

use super::mirror::Dict;

/// How the functions' names begin in the runtime of APISIX, which has its own module for dictionaries: where it is, it made
/// those that Lua sees.
const APISIX: &str = "ngx_meta_lua_ffi_shdict_";
/// And elsewhere.
const OPENRESTY: &str = "ngx_http_lua_ffi_shdict_";

const SAFE_STORE: c_int = 4;
const NIL: c_int = 0;
const STRING: c_int = 4;

type Zone = *mut c_void;

type Store = unsafe extern "C" fn(
    zone: Zone,
    operation: c_int,
    key: *const u8,
    key_len: usize,
    value_type: c_int,
    value: *const u8,
    value_len: usize,
    number: f64,
    expires: c_long,
    flags: c_int,
    message: *mut *const c_char,
    is_forced: *mut c_int,
) -> c_int;

/// `value` points to room for `value_len` bytes; where that is too little it comes back pointing to memory of `malloc`.
type Get = unsafe extern "C" fn(
    zone: Zone,
    key: *const u8,
    key_len: usize,
    value_type: *mut c_int,
    value: *mut *mut u8,
    value_len: *mut usize,
    number: *mut f64,
    flags: *mut c_int,
    gets_stale: c_int,
    is_stale: *mut c_int,
    message: *mut *const c_char,
) -> c_int;

type Size = unsafe extern "C" fn(zone: Zone) -> usize;

#[derive(Clone, Copy)]
struct Functions {
    store: Store,
    get: Get,
    capacity: Option<Size>,
    free_space: Option<Size>,
}

/// What keeps the dictionaries from being written.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// APISIX does not know the dictionary.
    #[error("it was given no dictionary; declare lua_shared_dict xds-config and xds-config-version")]
    Null,
    /// Not an nginx with Lua.
    #[error(
        "this process has no function {0}; libxds.so is for an nginx with lua-nginx-module, or APISIX's runtime"
    )]
    Missing(String),
    /// nginx could not take the handler.
    #[error("nginx has no memory left")]
    NoMemory,
}

/// A dictionary of this process, for as long as nginx keeps it.
#[derive(Clone)]
pub struct SharedDict {
    zone: Zone,
    functions: Functions,
    is_open: Arc<Mutex<bool>>,
}

// SAFETY: the zone is used only with the functions, which lock it against all threads and processes, and only while
// `is_open` is held.
unsafe impl Send for SharedDict {}

/// The dictionaries behind two zones.
///
/// # Safety
/// Called on nginx's thread; the zones are NULL or of the running configuration.
pub unsafe fn open<const N: usize>(zones: [Zone; N]) -> Result<[SharedDict; N], Unusable> {
    if zones.contains(&ptr::null_mut()) {
        return Err(Unusable::Null);
    }
    let functions = functions()?;
    let is_open = Arc::new(Mutex::new(true));
    // SAFETY: the caller's promise.
    unsafe { close_with_the_configuration(is_open.clone()) }?;
    Ok(zones.map(|zone| SharedDict { zone, functions, is_open: is_open.clone() }))
}

impl SharedDict {
    /// Whether nginx still keeps it.
    pub fn is_open(&self) -> bool {
        *self.is_open.lock()
    }
}

impl Dict for SharedDict {
    fn get(&self, key: &str) -> Option<Bytes> {
        let is_open = self.is_open.lock();
        if !*is_open {
            return None;
        }
        let mut room = [0u8; 4096];
        let (mut value_type, mut value, mut value_len) = (NIL, room.as_mut_ptr(), room.len());
        let (mut number, mut flags, mut is_stale, mut message) = (0.0, 0, 0, ptr::null());
        // SAFETY: the zone is kept while `is_open` is held; the pointers are valid, `value` for `value_len` bytes.
        let result = unsafe {
            (self.functions.get)(
                self.zone,
                key.as_ptr(),
                key.len(),
                &mut value_type,
                &mut value,
                &mut value_len,
                &mut number,
                &mut flags,
                0,
                &mut is_stale,
                &mut message,
            )
        };
        let is_allocated = !value.is_null() && !ptr::eq(value, room.as_ptr());
        // SAFETY: for a string the function has set both, and written as many bytes there.
        let found = (result == 0 && value_type == STRING)
            .then(|| Bytes::copy_from_slice(unsafe { std::slice::from_raw_parts(value, value_len) }));
        if is_allocated {
            // SAFETY: it is of malloc, and nobody else has it.
            unsafe { libc::free(value.cast()) };
        }
        found
    }

    fn set(&self, key: &str, value: Option<&[u8]>) -> Result<(), String> {
        let is_open = self.is_open.lock();
        if !*is_open {
            return Ok(());
        }
        let (value_type, bytes) = value.map_or((NIL, &[][..]), |value| (STRING, value));
        let (mut message, mut is_forced) = (ptr::null(), 0);
        // SAFETY: as above.
        let result = unsafe {
            (self.functions.store)(
                self.zone,
                SAFE_STORE,
                key.as_ptr(),
                key.len(),
                value_type,
                bytes.as_ptr(),
                bytes.len(),
                0.0,
                0,
                0,
                &mut message,
                &mut is_forced,
            )
        };
        match result {
            0 => Ok(()),
            number if message.is_null() => Err(format!("error {number}")),
            // SAFETY: a message is static text, with its NUL.
            _ => Err(unsafe { CStr::from_ptr(message) }.to_string_lossy().into_owned()),
        }
    }

    fn room(&self) -> (Option<usize>, Option<usize>) {
        let is_open = self.is_open.lock();
        // SAFETY: as above.
        let ask = |size: Option<Size>| size.filter(|_| *is_open).map(|size| unsafe { size(self.zone) });
        (ask(self.functions.capacity), ask(self.functions.free_space))
    }
}

fn functions() -> Result<Functions, Unusable> {
    let family = if symbol(&format!("{APISIX}store")).is_some() { APISIX } else { OPENRESTY };
    let required = |name: &str| {
        let name = format!("{family}{name}");
        symbol(&name).ok_or(Unusable::Missing(name))
    };
    // SAFETY: these are the signatures of the functions of these names, in either family.
    unsafe {
        Ok(Functions {
            store: std::mem::transmute::<*mut c_void, Store>(required("store")?),
            get: std::mem::transmute::<*mut c_void, Get>(required("get")?),
            capacity: size(family, "capacity"),
            free_space: size(family, "free_space"),
        })
    }
}

/// # Safety
/// The function of this name takes a zone and gives a size.
unsafe fn size(family: &str, name: &str) -> Option<Size> {
    // SAFETY: the caller's promise.
    symbol(&format!("{family}{name}"))
        .map(|symbol| unsafe { std::mem::transmute::<*mut c_void, Size>(symbol) })
}

/// A function or variable of any library of this process.
fn symbol(name: &str) -> Option<*mut c_void> {
    let name = CString::new(name).ok()?;
    // SAFETY: the name ends with a NUL.
    let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    (!found.is_null()).then_some(found)
}

/// How nginx's `ngx_cycle_t` begins.
#[repr(C)]
struct Cycle {
    configuration: *mut c_void,
    pool: *mut c_void,
}

/// nginx's `ngx_pool_cleanup_t`.
#[repr(C)]
struct Cleanup {
    handler: Option<unsafe extern "C" fn(data: *mut c_void)>,
    data: *mut c_void,
    next: *mut Cleanup,
}

/// Closes before nginx frees the running configuration.
///
/// # Safety
/// Called on nginx's thread, where this is nginx.
unsafe fn close_with_the_configuration(is_open: Arc<Mutex<bool>>) -> Result<(), Unusable> {
    type Add = unsafe extern "C" fn(pool: *mut c_void, size: usize) -> *mut Cleanup;

    let required = |name: &str| symbol(name).ok_or_else(|| Unusable::Missing(name.to_owned()));
    let cycle = required("ngx_cycle")?.cast::<*const Cycle>();
    // SAFETY: these are what nginx has under these names, since there are cleanup handlers.
    let cleanup = unsafe {
        let add = std::mem::transmute::<*mut c_void, Add>(required("ngx_pool_cleanup_add")?);
        add((**cycle).pool, 0).as_mut()
    };
    let cleanup = cleanup.ok_or(Unusable::NoMemory)?;
    // Never taken back: a process has one.
    cleanup.data = Arc::into_raw(is_open).cast_mut().cast();
    cleanup.handler = Some(close);
    Ok(())
}

/// # Safety
/// `is_open` is that of `close_with_the_configuration`.
unsafe extern "C" fn close(is_open: *mut c_void) {
    // SAFETY: the caller's promise; nobody takes it back.
    *unsafe { &*is_open.cast::<Mutex<bool>>() }.lock() = false;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_nginx_the_missing_function_is_named() {
        let zone = ptr::dangling_mut::<c_void>();
        // SAFETY: there is no nginx here, so nothing is done with the zones.
        let opened = unsafe { open([zone, zone]) };
        assert_eq!(
            opened.err().unwrap().to_string(),
            "this process has no function ngx_http_lua_ffi_shdict_store; libxds.so is for an nginx with \
             lua-nginx-module, or APISIX's runtime"
        );
        // SAFETY: as above.
        let opened = unsafe { open([zone, ptr::null_mut()]) };
        assert!(matches!(opened.err().unwrap(), Unusable::Null));
    }
}
