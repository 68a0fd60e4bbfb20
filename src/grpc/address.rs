//! `grpc://HOST:PORT` and `grpcs://HOST:PORT`.

use http::uri::Authority;

use crate::error::Error;

/// An address and whether it is to be reached over TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    pub authority: Authority,
    pub tls: bool,
}

impl Address {
    /// Reads the value `uri` of a setting.
    pub fn parse(setting: &str, uri: &str) -> Result<Self, Error> {
        let refuse = |problem: String| Error::config(setting, problem);
        let (tls, authority) = match (uri.strip_prefix("grpcs://"), uri.strip_prefix("grpc://")) {
            (Some(authority), _) => (true, authority),
            (None, Some(authority)) => (false, authority),
            (None, None) => {
                return Err(refuse(format!("{uri:?} is not grpc://HOST:PORT or grpcs://HOST:PORT")));
            }
        };
        let authority: Authority =
            authority.trim_end_matches('/').parse().map_err(|e| refuse(format!("{uri:?}: {e}")))?;
        if authority.port_u16().is_none_or(|port| port == 0) {
            return Err(refuse(format!(
                "{uri:?} has no port; grpc://HOST:PORT or grpcs://HOST:PORT is expected"
            )));
        }
        Ok(Self { authority, tls })
    }

    /// The host as certificates name it: an IPv6 address without its brackets.
    pub fn host(&self) -> &str {
        let host = self.authority.host();
        host.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(host)
    }

    /// As HTTP/2 wants it.
    pub fn http(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://{}", self.authority)
    }
}

#[cfg(test)]
mod tests {
    use super::Address;

    #[test]
    fn a_bad_address_is_told_with_its_cure() {
        for (uri, word) in [
            ("istiod:15010", "grpc://HOST:PORT"),
            ("https://istiod:15010", "grpcs://HOST:PORT"),
            ("grpc://istiod", "no port"),
            ("grpcs://istiod", "no port"),
            ("grpcs://istiod:0", "no port"),
            ("grpc://", "grpc://"),
            ("grpc://a b:1", "grpc://a b:1"),
        ] {
            let error = Address::parse("xds", uri).unwrap_err().to_string();
            assert!(error.contains(word) && error.starts_with("setting xds: "), "{uri}: {error}");
        }
    }

    #[test]
    fn the_scheme_alone_says_whether_it_is_tls() {
        let plain = Address::parse("xds", "grpc://[::1]:15010/").unwrap();
        assert_eq!((plain.tls, plain.host(), plain.http().as_str()), (false, "::1", "http://[::1]:15010"));
        let tls = Address::parse("xds", "grpcs://istiod.istio-system.svc:15012").unwrap();
        assert_eq!((tls.tls, tls.host()), (true, "istiod.istio-system.svc"));
        assert_eq!(tls.http(), "https://istiod.istio-system.svc:15012");
    }
}
