//! Golden cases: `tests/golden/<what it proves>/in.yaml` gives `out.json` and `issues.txt`, byte for byte; under the
//! settings in `settings.yaml`, where there is one.
//!
//! `UPDATE_GOLDEN=1 cargo test --test translate_golden` writes them anew; read the diff before you commit it.

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
};

use apisix_mesh::{
    config::Config,
    translate::{Translation, translate_under},
};
use serde_json::{Map, Value};
use support::{load, schema};

#[test]
fn golden() {
    let mut differing = Vec::new();
    for case in cases() {
        let translation = translate_under(&config(&case), &load::snapshot(read(&case.join("in.yaml"))));
        schema::check(&translation.objects);
        for (file, text) in [("out.json", objects(&translation)), ("issues.txt", issues(&translation))] {
            let file = case.join(file);
            if std::env::var_os("UPDATE_GOLDEN").is_some() {
                fs::write(&file, text).unwrap();
            } else if fs::read_to_string(&file).unwrap_or_default() != text {
                differing.push(format!("{}, now:\n{text}", file.display()));
            }
        }
    }
    assert!(
        differing.is_empty(),
        "{} differ; if they are right, UPDATE_GOLDEN=1 cargo test --test translate_golden\n\n{}",
        differing.len(),
        differing.join("\n")
    );
}

fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut cases: Vec<_> =
        fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).filter(|p| p.is_dir()).collect();
    cases.sort();
    assert!(cases.len() >= 40, "only {} cases", cases.len());
    cases
}

fn config(case: &Path) -> Config {
    let text = fs::read_to_string(case.join("settings.yaml")).unwrap_or_default();
    let mut settings: Map<String, Value> = match text.as_str() {
        "" => Map::new(),
        text => serde_saphyr::from_str(text).unwrap_or_else(|e| panic!("{}: {e}", case.display())),
    };
    settings.insert("xds".to_owned(), Value::from("file:///in.yaml"));
    Config::from_settings(settings).unwrap_or_else(|e| panic!("{}: {e}", case.display()))
}

fn read(file: &Path) -> Vec<(apisix_mesh::xds::ResourceType, apisix_mesh::xds::Resource)> {
    let text = fs::read_to_string(file).unwrap();
    let document: Value = serde_saphyr::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    load::resources(&document)
}

/// The objects by key, one on a line.
fn objects(translation: &Translation) -> String {
    let mut text = String::from("{\n");
    for (at, (key, bytes)) in translation.objects.iter().enumerate() {
        let value = std::str::from_utf8(bytes).unwrap();
        let comma = if at + 1 < translation.objects.len() { "," } else { "" };
        text += &format!("  \"{key}\": {}{comma}\n", value);
    }
    text + "}\n"
}

fn issues(translation: &Translation) -> String {
    let line = |i: &apisix_mesh::translate::Issue| {
        let severity = format!("{:?}", i.severity).to_lowercase();
        format!("{severity}: {} {:?} {}: {}\n", i.kind.noun(), i.resource, i.path, i.detail)
    };
    translation.issues.iter().map(line).collect()
}
