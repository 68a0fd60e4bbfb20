//! gRPC connections outward: to whom, how the other is known, and what this client shows of itself.
//!
//! In: an address, and files with roots, a token, a certificate and its key. Out: a channel that attaches the token to
//! calls, or what hinders it and its cure. Plaintext or TLS is the address' choice alone; nothing falls back from one
//! to the other. Never here: what is called, and whether to try again.

mod address;
pub mod backoff;
mod files;
mod identity;
mod peer;
pub mod pem;
mod problem;
mod secret;
mod tls;

pub use files::Security;
pub use identity::{Identities, Identity};
pub use peer::{Client, Peer};
pub use secret::Secret;
