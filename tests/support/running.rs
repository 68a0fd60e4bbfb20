//! A source at work, seen through its status.

use std::time::Duration;

use apisix_mesh::xds::{Source, SourceState};

/// Lets the source run in a task of its own until the test ends; its state is seen through the status.
pub fn run(mut source: Source) -> impl AsyncFn(&dyn Fn(&SourceState) -> bool) -> SourceState {
    let status = source.status();
    tokio::spawn(async move {
        loop {
            source.next().await;
        }
    });
    async move |reached| {
        loop {
            let state = status.get();
            if reached(&state) {
                return state;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}
