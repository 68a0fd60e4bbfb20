//! What a real istiod sent to a sidecar: `tests/fixtures/istiod-1.31`.

use std::path::Path;

use apisix_mesh::xds::{Resource, ResourceType, file};

/// All resources of the capture `redirect` or `no-interception`.
pub fn capture(name: &str) -> Vec<(ResourceType, Resource)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/istiod-1.31").join(name);
    let (loaded, problems) = file::load(&folder);
    assert!(problems.is_empty(), "{}", problems[0]);
    loaded.into_iter().map(|l| (l.kind, l.resource)).collect()
}
