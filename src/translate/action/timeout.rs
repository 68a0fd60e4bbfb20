//! The bounds of a request to those of each connection, write and read. Mapping rows 41, 42 and 45.
//!
//! Envoy bounds a request as a whole, each try, and each pause; nginx each pause alone. So the shortest of them bounds
//! each pause: nothing is cut earlier than Envoy would cut it.

use crate::{
    apisix::Timeout,
    pb::{envoy::config::route::v3::RouteAction, google::protobuf::Duration, path::Path},
    translate::{
        cluster::{NO_TIMEOUT, seconds},
        note::Notes,
    },
};

use super::retry::Retries;

/// Envoy's default for a route's `timeout`.
const DEFAULT: f64 = 15.0;

/// The bounds of a route, in seconds; `None` where there is none.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Bounds {
    /// Of the whole request.
    pub total: Option<f64>,
    /// Of each pause.
    pause: Option<f64>,
}

/// Reads the bounds of the action at `path`.
pub(super) fn read(action: &RouteAction, retries: &Retries, path: &Path<'_>, notes: &mut Notes) -> Bounds {
    let mut bound = |field: &str, duration: Option<&Duration>| {
        let seconds = duration.and_then(seconds)?;
        notes.approximated(&path.field(field), "bounds each write and read, not the whole request");
        Some(seconds)
    };
    let total = match &action.timeout {
        None => Some(DEFAULT),
        Some(duration) => bound("timeout", Some(duration)),
    };
    let stream = action.max_stream_duration.as_ref();
    let longest = bound("max_stream_duration", stream.and_then(|m| m.max_stream_duration.as_ref()));
    note_grpc(action, total, path, notes);
    let idle = action.idle_timeout.as_ref().and_then(seconds);
    let total = [total, longest].into_iter().flatten().reduce(f64::min).filter(|t| *t < NO_TIMEOUT);
    let pause = [total, retries.per_try, idle].into_iter().flatten().reduce(f64::min);
    Bounds { total, pause: pause.filter(|p| *p < NO_TIMEOUT) }
}

/// A `grpc-timeout` header takes the place of the route's timeout. It says nothing new where nothing is bounded.
fn note_grpc(action: &RouteAction, total: Option<f64>, path: &Path<'_>, notes: &mut Notes) {
    let stream = action.max_stream_duration.as_ref();
    let fields = [
        ("max_grpc_timeout", action.max_grpc_timeout.as_ref()),
        (
            "max_stream_duration.grpc_timeout_header_max",
            stream.and_then(|m| m.grpc_timeout_header_max.as_ref()),
        ),
    ];
    for (field, max) in fields {
        if max.is_some_and(|max| total.is_some() || seconds(max).is_some()) {
            notes.approximated(&path.field(field), "grpc-timeout headers bound nothing");
        }
    }
}

impl Bounds {
    /// For a route whose upstreams connect within so many seconds; `None` where the upstream's own will do.
    pub fn timeout(&self, connect: f64) -> Option<Timeout> {
        self.pause.map(|pause| Timeout { connect: connect.min(pause), send: pause, read: pause })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pb::envoy::config::route::v3::route_action::MaxStreamDuration;

    fn duration(seconds: i64) -> Option<Duration> {
        Some(Duration { seconds, nanos: 0 })
    }

    fn of(action: &RouteAction, per_try: Option<f64>) -> (Bounds, usize) {
        let mut notes = Notes::default();
        let bounds = read(action, &Retries { count: 0, per_try }, &Path::ROOT, &mut notes);
        (bounds, notes.len())
    }

    #[test]
    fn the_shortest_bound_is_that_of_each_pause() {
        let none = RouteAction::default();
        assert_eq!(of(&none, None), (Bounds { total: Some(15.0), pause: Some(15.0) }, 0));
        assert_eq!(of(&none, Some(2.0)).0, Bounds { total: Some(15.0), pause: Some(2.0) });
        let idle = RouteAction { timeout: duration(0), idle_timeout: duration(9), ..none.clone() };
        assert_eq!(of(&idle, None), (Bounds { total: None, pause: Some(9.0) }, 0));
        let longest = MaxStreamDuration { max_stream_duration: duration(3), ..MaxStreamDuration::default() };
        let stream = RouteAction { timeout: duration(5), max_stream_duration: Some(longest), ..none };
        assert_eq!(of(&stream, None), (Bounds { total: Some(3.0), pause: Some(3.0) }, 2));
    }

    #[test]
    fn no_bound_is_left_to_the_upstream() {
        let off = RouteAction {
            timeout: duration(0),
            max_stream_duration: Some(MaxStreamDuration {
                max_stream_duration: duration(0),
                grpc_timeout_header_max: duration(0),
            }),
            ..RouteAction::default()
        };
        let (bounds, notes) = of(&off, None);
        assert_eq!((bounds.timeout(1.0), notes), (None, 0));
        let (bounds, _) = of(&RouteAction { timeout: duration(2), ..off }, None);
        assert_eq!(bounds.timeout(5.0).map(|t| (t.connect, t.read)), Some((2.0, 2.0)));
    }
}
