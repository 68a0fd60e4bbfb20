//! What goes wrong, in etcd's words and codes.
//!
//! In: a refusal. Out: a gRPC status, or the gateway's HTTP status and body. The texts are etcd's own, because
//! clients compare them.

use serde_json::{Value, json};
use tonic::{Code, Status};

/// A reason to refuse a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("etcdserver: key is not provided")]
    EmptyKey,
    #[error("etcdserver: key not found")]
    KeyNotFound,
    #[error("etcdserver: value is provided")]
    ValueProvided,
    #[error("etcdserver: lease is provided")]
    LeaseProvided,
    #[error("etcdserver: invalid sort option")]
    InvalidSortOption,
    #[error("etcdserver: duplicate key given in txn request")]
    DuplicateKey,
    #[error("etcdserver: too many operations in txn request")]
    TooManyOperations,
    #[error("etcdserver: mvcc: required revision has been compacted")]
    Compacted,
    #[error("etcdserver: mvcc: required revision is a future revision")]
    FutureRevision,
    #[error("etcdserver: permission denied")]
    PermissionDenied,
    #[error("etcdserver: user name is empty")]
    UserEmpty,
    #[error("etcdserver: invalid auth token")]
    InvalidToken,
    #[error("etcdserver: authentication failed, invalid user ID or password")]
    AuthFailed,
    #[error("etcdserver: requested lease not found")]
    LeaseNotFound,
    #[error("etcdserver: lease already exists")]
    LeaseExists,
    #[error("etcdserver: too large lease TTL")]
    LeaseTooLong,
    #[error("etcdserver: too many requests")]
    TooManyRequests,
    #[error("{0}")]
    BadBody(String),
    /// As the gateway refuses the first request of a stream.
    #[error("{0}")]
    BadStream(String),
}

impl Refusal {
    pub(super) fn code(&self) -> Code {
        match self {
            Self::EmptyKey
            | Self::KeyNotFound
            | Self::ValueProvided
            | Self::LeaseProvided
            | Self::InvalidSortOption
            | Self::DuplicateKey
            | Self::TooManyOperations
            | Self::UserEmpty
            | Self::AuthFailed
            | Self::BadBody(_) => Code::InvalidArgument,
            Self::Compacted | Self::FutureRevision | Self::LeaseTooLong => Code::OutOfRange,
            Self::PermissionDenied => Code::PermissionDenied,
            Self::InvalidToken => Code::Unauthenticated,
            Self::LeaseNotFound => Code::NotFound,
            Self::LeaseExists => Code::FailedPrecondition,
            Self::TooManyRequests => Code::ResourceExhausted,
            Self::BadStream(_) => Code::Unknown,
        }
    }

    pub(super) fn http_status(&self) -> http::StatusCode {
        http_status(self.code())
    }

    /// The body of a refused JSON request.
    pub(super) fn body(&self) -> Value {
        let text = self.to_string();
        json!({"error": text, "message": text, "code": self.code() as i32})
    }

    /// The object that ends a JSON stream; readers crash without `http_code` (lua-resty-etcd#222).
    pub(super) fn stream_body(&self) -> Value {
        let status = self.http_status();
        json!({"error": {
            "grpc_code": self.code() as i32,
            "http_code": status.as_u16(),
            "http_status": status.canonical_reason().unwrap_or_default(),
            "message": self.to_string(),
        }})
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        Status::new(refusal.code(), refusal.to_string())
    }
}

/// The gateway's table; 412 where later gateways say 400.
fn http_status(code: Code) -> http::StatusCode {
    match code {
        Code::InvalidArgument | Code::OutOfRange => http::StatusCode::BAD_REQUEST,
        Code::FailedPrecondition => http::StatusCode::PRECONDITION_FAILED,
        Code::PermissionDenied => http::StatusCode::FORBIDDEN,
        Code::Unauthenticated => http::StatusCode::UNAUTHORIZED,
        Code::NotFound => http::StatusCode::NOT_FOUND,
        Code::ResourceExhausted => http::StatusCode::TOO_MANY_REQUESTS,
        _ => http::StatusCode::INTERNAL_SERVER_ERROR,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_has_etcds_shapes() {
        let text = "etcdserver: mvcc: required revision has been compacted";
        assert_eq!(Refusal::Compacted.body(), json!({"error": text, "message": text, "code": 11}));
        assert_eq!(
            Refusal::Compacted.stream_body(),
            json!({"error": {"grpc_code": 11, "http_code": 400, "http_status": "Bad Request", "message": text}})
        );
    }
}
