//! Log lines: from `tracing`, to whoever hosts the library.
//!
//! In: events of this crate at the set level, of its dependencies only warnings and errors. Out: one line of text
//! each, to a sink: nginx's error log, a C callback, or standard error. Never here: a queue or a thread. A sink must
//! not call back into the library.

use std::{
    fmt::{self, Write as _},
    sync::{
        Arc, Once,
        atomic::{AtomicU8, Ordering},
    },
};

use arc_swap::ArcSwapOption;
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

/// How much a line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    /// Something is lost or refused.
    Error = 0,
    /// Something is wrong and the library goes on.
    Warn = 1,
    /// A change of state.
    Info = 2,
    /// Single events.
    Debug = 3,
}

impl Level {
    /// The level of this name: `error`, `warn`, `info`, `debug`.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Error, Self::Warn, Self::Info, Self::Debug].into_iter().find(|l| l.name() == name)
    }

    /// The level's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }
}

impl From<tracing::Level> for Level {
    fn from(level: tracing::Level) -> Self {
        match level {
            tracing::Level::ERROR => Self::Error,
            tracing::Level::WARN => Self::Warn,
            tracing::Level::INFO => Self::Info,
            _ => Self::Debug,
        }
    }
}

/// Takes a line, without its newline, on any thread.
pub type Sink = Box<dyn Fn(Level, &str) + Send + Sync>;

static LEVEL: AtomicU8 = AtomicU8::new(Level::Info as u8);
static SINK: ArcSwapOption<Sink> = ArcSwapOption::const_empty();
static INSTALL: Once = Once::new();

/// Starts taking events; later calls change the level only.
pub fn install(level: Level) {
    LEVEL.store(level as u8, Ordering::Relaxed);
    INSTALL.call_once(|| {
        // An application that links the library may have its own subscriber: then its events go there.
        let _ = tracing::subscriber::set_global_default(Lines);
    });
}

/// Sends lines to `sink`; none is standard error.
pub fn set_sink(sink: Option<Sink>) {
    SINK.store(sink.map(Arc::new));
}

struct Lines;

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let level = Level::from(*metadata.level());
        let own = metadata.target().starts_with("apisix_mesh");
        metadata.is_event() && (level as u8) <= LEVEL.load(Ordering::Relaxed) && (own || level <= Level::Warn)
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        let level = Level::from(*event.metadata().level());
        match SINK.load().as_deref() {
            Some(sink) => sink(level, &line.0),
            None => eprintln!("apisix-mesh {}: {}", level.name(), line.0),
        }
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

/// The message first, then `name=value` for each field; always one line.
#[derive(Default)]
struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = format!("{value:?}").replace(['\n', '\r'], " ");
        let separator = if self.0.is_empty() { "" } else { " " };
        let _ = match field.name() {
            "message" => {
                self.0.insert_str(0, separator);
                self.0.insert_str(0, &text);
                Ok(())
            }
            name => write!(self.0, "{separator}{name}={text}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn an_event_becomes_one_line() {
        let (lines, received) = mpsc::channel();
        install(Level::Info);
        set_sink(Some(Box::new(move |level, text| {
            let _ = lines.send((level, text.to_owned()));
        })));
        tracing::warn!(port = 80, "no\nroute");
        tracing::debug!("below the level");
        set_sink(None);
        let own: Vec<_> = received.try_iter().filter(|(_, text)| text.contains("route")).collect();
        assert_eq!(own, [(Level::Warn, "no route port=80".to_owned())]);
    }
}
