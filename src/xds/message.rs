//! What goes over the wire in either variant of the protocol.

use crate::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};

/// What the client says.
#[derive(Debug, Clone, PartialEq)]
pub enum Request {
    /// Of a delta stream.
    Delta(DeltaDiscoveryRequest),
    /// Of a state-of-the-world stream.
    Sotw(DiscoveryRequest),
}

impl Request {
    /// The message of a delta stream.
    pub fn delta(self) -> Option<DeltaDiscoveryRequest> {
        match self {
            Self::Delta(message) => Some(message),
            Self::Sotw(_) => None,
        }
    }

    /// The message of a state-of-the-world stream.
    pub fn sotw(self) -> Option<DiscoveryRequest> {
        match self {
            Self::Sotw(message) => Some(message),
            Self::Delta(_) => None,
        }
    }
}

/// What the control plane says.
#[derive(Debug, Clone, PartialEq)]
pub enum Response {
    /// Of a delta stream.
    Delta(DeltaDiscoveryResponse),
    /// Of a state-of-the-world stream.
    Sotw(DiscoveryResponse),
}

impl Response {
    /// The type of its resources.
    pub fn type_url(&self) -> &str {
        match self {
            Self::Delta(response) => &response.type_url,
            Self::Sotw(response) => &response.type_url,
        }
    }

    /// What an answer refers to it by.
    pub fn nonce(&self) -> &str {
        match self {
            Self::Delta(response) => &response.nonce,
            Self::Sotw(response) => &response.nonce,
        }
    }

    /// What the control plane calls the state that it leads to; may be empty, and is never compared.
    pub fn version(&self) -> &str {
        match self {
            Self::Delta(response) => &response.system_version_info,
            Self::Sotw(response) => &response.version_info,
        }
    }
}
