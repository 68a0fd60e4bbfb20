//! What the library logged in this process.

use std::sync::{Arc, Mutex, OnceLock};

use apisix_mesh::log;

/// All lines from the first call on.
pub fn logged() -> Arc<Mutex<String>> {
    static LINES: OnceLock<Arc<Mutex<String>>> = OnceLock::new();
    LINES
        .get_or_init(|| {
            let lines = Arc::new(Mutex::new(String::new()));
            let sink = lines.clone();
            log::install(log::Level::Debug);
            log::set_sink(Some(Box::new(move |_, line| {
                let mut lines = sink.lock().unwrap();
                lines.push_str(line);
                lines.push('\n');
            })));
            lines
        })
        .clone()
}

/// How many lines say all of these words.
pub fn logged_lines(words: &[&str]) -> usize {
    let lines = logged();
    let lines = lines.lock().unwrap();
    lines.lines().filter(|line| words.iter().all(|word| line.contains(word))).count()
}
