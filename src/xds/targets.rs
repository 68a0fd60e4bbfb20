//! The control planes that are tried in turn.
//!
//! In: their addresses, in order of preference, and how each try ended. Out: which one to try next, and whether to wait
//! before. All of them are tried before there is a wait; one that answered and went away is not preferred to those
//! before it.

use super::{SourceOptions, transport::Target};
use crate::error::Error;

/// What stands between the addresses of a list.
const SEPARATOR: char = ',';

/// At least one control plane.
#[derive(Debug)]
pub struct Targets {
    all: Vec<Target>,
    at: usize,
}

impl Targets {
    /// The control planes of a list: `grpcs://HOST:PORT` or `grpc://HOST:PORT`, with commas between them.
    pub fn new(uris: &str, options: &SourceOptions) -> Result<Self, Error> {
        let all =
            uris.split(SEPARATOR).map(|uri| Target::new(uri.trim(), options)).collect::<Result<_, _>>()?;
        Ok(Self { all, at: 0 })
    }

    /// The one to try, or to stay with.
    pub fn present(&self) -> &Target {
        &self.all[self.at]
    }

    /// Whether there is another one to try when this one does not answer.
    pub fn has_others(&self) -> bool {
        self.all.len() > 1
    }

    /// Goes on after a try that failed, or after a stream that ended. Whether it is time to wait.
    pub fn go_on(&mut self, answered: bool) -> bool {
        self.at = if answered { 0 } else { (self.at + 1) % self.all.len() };
        self.at == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_tried_before_a_wait_and_the_first_is_preferred() {
        let mut targets =
            Targets::new("grpc://a:1, grpc://b:2,grpc://c:3", &SourceOptions::default()).unwrap();
        let mut tried = Vec::new();
        for answered in [false, false, false, false, true, false] {
            let uri = targets.present().uri.clone();
            tried.push((uri, targets.go_on(answered)));
        }
        let tried: Vec<(&str, bool)> = tried.iter().map(|(uri, wait)| (uri.as_str(), *wait)).collect();
        let (a, b, c) = ("grpc://a:1", "grpc://b:2", "grpc://c:3");
        assert_eq!(tried, [(a, false), (b, false), (c, true), (a, false), (b, true), (a, false)]);
    }

    #[test]
    fn a_bad_address_is_told_by_itself() {
        for (uris, word) in
            [("grpc://a:1,", "\"\""), ("grpc://a:1,b:2", "\"b:2\""), ("grpc://a:1,file:///f", "xds_overlay")]
        {
            let error = Targets::new(uris, &SourceOptions::default()).unwrap_err().to_string();
            assert!(error.starts_with("setting xds: ") && error.contains(word), "{uris}: {error}");
        }
    }
}
