//! What files hold is what is in force, and a bad edit takes nothing away.

use std::{fs, path::Path, time::Duration};

use apisix_mesh::xds::{ResourceType, Source, SourceOptions, file::load};

#[test]
fn what_a_real_istiod_sent_is_well_formed() {
    for folder in ["redirect", "no-interception"] {
        let path = Path::new("tests/fixtures/istiod-1.31").join(folder);
        let (resources, problems) = load(&path);
        assert!(problems.is_empty(), "{folder}: {}", problems[0]);
        for kind in ResourceType::ALL {
            assert!(resources.iter().any(|l| l.kind == kind), "{folder} has no {}", kind.noun());
        }
    }
}

#[test]
fn what_envoy_gateway_makes_is_well_formed() {
    let corpus = Path::new("../shared/corpora/envoy-gateway");
    let Ok(entries) = fs::read_dir(corpus) else {
        eprintln!("skipped: {} is not there", corpus.display());
        return;
    };
    let mut resources = 0;
    for entry in entries {
        let path = entry.unwrap().path();
        // The patch policies beside them are no xDS.
        let kinds = [".clusters.yaml", ".endpoints.yaml", ".listeners.yaml", ".routes.yaml", ".secrets.yaml"];
        if kinds.iter().any(|kind| path.to_string_lossy().ends_with(kind)) {
            let (loaded, problems) = load(&path);
            // Some cases were never meant for Envoy: it refuses domains that stand twice and names in EDS, and the
            // port 0 is one that nobody can connect to.
            let known = [
                "0 is not a port (1-65535)",
                "is a domain of this configuration already",
                "a name needs a STRICT_DNS or LOGICAL_DNS cluster",
            ];
            let unexpected: Vec<String> = problems
                .iter()
                .filter(|p| !known.iter().any(|end| p.error.ends_with(end)))
                .map(ToString::to_string)
                .collect();
            assert!(unexpected.is_empty(), "{unexpected:#?}");
            resources += loaded.len();
        }
    }
    assert!(resources > 500, "{resources}");
}

fn source(folder: &Path) -> Source {
    let options = SourceOptions { poll_interval: Duration::from_millis(5), ..Default::default() };
    Source::new(&format!("file://{}", folder.display()), options).unwrap()
}

fn cluster(name: &str, timeout: &str) -> String {
    format!(
        "'@type': type.googleapis.com/envoy.config.cluster.v3.Cluster\nname: {name}\nconnect_timeout: {timeout}\n"
    )
}

fn names(source: &Source) -> Vec<String> {
    source.snapshot().iter(ResourceType::Cluster).map(|r| r.name.to_string()).collect()
}

/// A folder that goes with the test.
struct Folder(std::path::PathBuf);

impl Folder {
    fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("apisix-mesh-{}-{test}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// Written as editors and Kubernetes do: beside, then moved over.
    fn write(&self, file: &str, text: &str) {
        let draft = self.0.join(".draft");
        fs::write(&draft, text).unwrap();
        fs::rename(draft, self.0.join(file)).unwrap();
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[tokio::test]
async fn an_edit_changes_what_it_changes() {
    let folder = Folder::new("edit");
    folder.write("a.yaml", &format!("{}---\n{}", cluster("a", "1s"), cluster("b", "1s")));
    let mut source = source(&folder.0);
    let first = source.next().await;
    assert!(first.complete);
    assert_eq!(first.changes.len(), 2);
    folder.write("a.yaml", &format!("{}---\n{}", cluster("a", "1s"), cluster("b", "2s")));
    assert_eq!(source.next().await.changes.len(), 1);
    folder.write(
        "c.json",
        r#"[{"@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster", "name": "c"}]"#,
    );
    source.next().await;
    assert_eq!(names(&source), ["a", "b", "c"]);
    fs::remove_file(folder.0.join("a.yaml")).unwrap();
    source.next().await;
    assert_eq!(names(&source), ["c"]);
}

#[tokio::test]
async fn a_bad_edit_keeps_the_last_good_state_and_says_where() {
    let folder = Folder::new("bad");
    folder.write("a.yaml", &format!("{}---\n{}", cluster("a", "1s"), cluster("b", "1s")));
    let mut source = source(&folder.0);
    source.next().await;
    // One resource is bad, the other still changes.
    folder.write("a.yaml", &format!("{}---\n{}", cluster("a", "0s"), cluster("b", "3s")));
    assert_eq!(source.next().await.changes.len(), 1);
    assert_eq!(names(&source), ["a", "b"]);
    let error = source.status().get().last_error.unwrap();
    assert!(error.contains("a.yaml: cluster \"a\": connect_timeout: must be more than 0s"), "{error}");
    // No YAML at all; then another file shows that it was read.
    folder.write("a.yaml", "{[");
    folder.write("z.yaml", &cluster("z", "1s"));
    source.next().await;
    assert_eq!(names(&source), ["a", "b", "z"]);
    folder.write("a.yaml", &cluster("a", "9s"));
    source.next().await;
    assert_eq!(names(&source), ["a", "z"]);
    assert_eq!(source.status().get().last_error, None);
}

#[tokio::test]
async fn a_mount_that_swaps_its_link_is_read_again() {
    let folder = Folder::new("link");
    for (version, timeout) in [("v1", "1s"), ("v2", "2s")] {
        fs::create_dir_all(folder.0.join(version)).unwrap();
        fs::write(folder.0.join(version).join("a.yaml"), cluster("a", timeout)).unwrap();
    }
    std::os::unix::fs::symlink("v1", folder.0.join("..data")).unwrap();
    std::os::unix::fs::symlink("..data/a.yaml", folder.0.join("a.yaml")).unwrap();
    let mut source = source(&folder.0);
    source.next().await;
    std::os::unix::fs::symlink("v2", folder.0.join("..tmp")).unwrap();
    fs::rename(folder.0.join("..tmp"), folder.0.join("..data")).unwrap();
    assert_eq!(source.next().await.changes.len(), 1);
}

#[test]
fn two_files_that_disagree_are_told() {
    let folder = Folder::new("twice");
    folder.write("a.yaml", &cluster("a", "1s"));
    folder.write("b.yaml", &cluster("a", "2s"));
    let (resources, problems) = load(&folder.0);
    assert_eq!(resources.len(), 1);
    assert!(problems[0].to_string().contains("b.yaml: cluster \"a\": stands in"), "{}", problems[0]);
}
