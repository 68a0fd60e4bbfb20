//! Where the endpoint listens: `HOST:PORT`, `unix:PATH`, or `fd:N`, a socket that the nginx master opened.
//!
//! In: an address as configured. Out: an open, non-blocking listener; no runtime is needed yet. Never here: an open
//! door by accident: an address that others can reach must be allowed in so many words.

use std::{
    fs::{self, Permissions},
    io::{self, ErrorKind},
    net::{TcpListener, ToSocketAddrs as _},
    os::{
        fd::{BorrowedFd, OwnedFd, RawFd},
        unix::{
            fs::{FileTypeExt as _, PermissionsExt as _},
            net::{UnixListener, UnixStream},
        },
    },
    path::{Path, PathBuf},
};

use crate::error::Error;

/// For the owner and the group, which is how nginx's workers, as another user, are let in.
const SOCKET_MODE: u32 = 0o660;

/// An open listener.
#[derive(Debug)]
pub enum Listener {
    /// A TCP port.
    Tcp(TcpListener),
    /// A unix socket. etcdctl before 3.5 cannot speak gRPC on it (hyperium/h2#442), HTTP works.
    Unix(UnixListener),
}

/// Who may reach a TCP port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Processes on this host.
    Loopback,
    /// Everyone (`etcd_allow_remote`). Who is answered is settled by `Options`.
    Remote,
}

impl Listener {
    /// Opens the address of the setting `etcd_listen`.
    pub fn open(address: &str, reach: Reach) -> Result<Self, Error> {
        let opened = if let Some(path) = address.strip_prefix("unix:") {
            open_unix(Path::new(path)).map(Self::Unix)
        } else if let Some(number) = address.strip_prefix("fd:") {
            inherit(number)
        } else {
            open_tcp(address, reach).map(Self::Tcp)
        };
        opened.map_err(|source| Error::Listen { address: address.to_owned(), source })
    }
}

impl From<Listener> for OwnedFd {
    fn from(listener: Listener) -> Self {
        match listener {
            Listener::Tcp(listener) => listener.into(),
            Listener::Unix(listener) => listener.into(),
        }
    }
}

fn open_tcp(address: &str, reach: Reach) -> io::Result<TcpListener> {
    let addresses: Vec<_> = address.to_socket_addrs().map_err(explain_syntax)?.collect();
    let outside = addresses.iter().find(|address| !address.ip().is_loopback());
    if let (Some(outside), Reach::Loopback) = (outside, reach) {
        let text =
            format!("{outside} can be reached from other hosts; use 127.0.0.1, or set etcd_allow_remote");
        return Err(io::Error::new(ErrorKind::PermissionDenied, text));
    }
    let listener = TcpListener::bind(&*addresses)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn explain_syntax(error: io::Error) -> io::Error {
    match error.kind() {
        ErrorKind::InvalidInput => invalid("HOST:PORT, unix:PATH or fd:N is expected"),
        _ => error,
    }
}

/// Binds beside the path and renames, so that the socket is never there with the wrong mode, and a stale one is
/// replaced in one step.
fn open_unix(path: &Path) -> io::Result<UnixListener> {
    refuse_to_replace(path)?;
    let beside = beside(path);
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&beside)?;
    fs::set_permissions(&beside, Permissions::from_mode(SOCKET_MODE))?;
    fs::rename(&beside, path)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    name.into()
}

/// Only a socket that nobody answers on may go.
fn refuse_to_replace(path: &Path) -> io::Result<()> {
    let Ok(found) = fs::symlink_metadata(path) else { return Ok(()) };
    if !found.file_type().is_socket() {
        return Err(io::Error::new(ErrorKind::AlreadyExists, "there is a file that is no socket; remove it"));
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(()),
        Err(error) => Err(error),
        Ok(_) => Err(io::Error::new(ErrorKind::AddrInUse, "another process answers on it")),
    }
}

/// A duplicate of an inherited socket: the number stays the master's.
fn inherit(number: &str) -> io::Result<Listener> {
    let number: RawFd =
        number.parse().ok().filter(|&n| n >= 0).ok_or_else(|| invalid("a number is expected"))?;
    // SAFETY: the number is used for this one system call, which fails if nothing is open under it.
    let socket: OwnedFd = unsafe { BorrowedFd::borrow_raw(number) }.try_clone_to_owned()?;
    let tcp = TcpListener::from(socket.try_clone()?);
    if tcp.local_addr().is_ok() {
        tcp.set_nonblocking(true)?;
        return Ok(Listener::Tcp(tcp));
    }
    let unix = UnixListener::from(socket);
    unix.local_addr().map_err(|_| invalid("it is no TCP or unix socket"))?;
    unix.set_nonblocking(true)?;
    Ok(Listener::Unix(unix))
}

fn invalid(text: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidInput, text)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd as _;

    use super::*;

    fn refusal(address: &str) -> String {
        Listener::open(address, Reach::Loopback).unwrap_err().to_string()
    }

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("apisix-mesh-listen-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder).unwrap();
        folder
    }

    #[test]
    fn other_hosts_are_let_in_only_in_so_many_words() {
        assert!(refusal("0.0.0.0:0").contains("etcd_allow_remote"));
        assert!(refusal("[::]:0").contains("etcd_allow_remote"));
        assert!(Listener::open("0.0.0.0:0", Reach::Remote).is_ok());
        assert!(Listener::open("127.0.0.1:0", Reach::Loopback).is_ok());
    }

    #[test]
    fn a_port_in_use_is_named() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap().to_string();
        let text = refusal(&address);
        assert!(text.contains(&address) && text.contains("in use"), "{text}");
    }

    #[test]
    fn what_is_no_address_says_what_is_expected() {
        assert!(refusal("2379").contains("HOST:PORT"));
        assert!(refusal("fd:x").contains("number"));
        assert!(refusal("fd:-1").contains("number"));
        assert!(refusal("fd:999999").contains("fd:999999"));
    }

    #[test]
    fn only_a_stale_socket_is_replaced() {
        let folder = folder("stale");
        let path = folder.join("etcd.sock");
        let address = format!("unix:{}", path.display());
        let first = Listener::open(&address, Reach::Loopback).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, SOCKET_MODE);
        assert!(refusal(&address).contains("another process answers"));
        drop(first);
        let _second = Listener::open(&address, Reach::Loopback).unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, "precious").unwrap();
        assert!(refusal(&address).contains("no socket"));
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn an_inherited_socket_keeps_its_number() {
        let master = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("fd:{}", master.as_raw_fd());
        let Listener::Tcp(ours) = Listener::open(&address, Reach::Loopback).unwrap() else {
            panic!("it is TCP")
        };
        assert_eq!(ours.local_addr().unwrap(), master.local_addr().unwrap());
        drop(ours);
        assert!(master.local_addr().is_ok());
        let file = fs::File::open("/dev/null").unwrap();
        assert!(refusal(&format!("fd:{}", file.as_raw_fd())).contains("no TCP or unix socket"));
    }
}
