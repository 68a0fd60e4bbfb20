//! The street is one-way: no stage imports what lies to its right. See ARCHITECTURE.md.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Each part of `src` and the parts it may import, itself aside.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("error", &[]),
    ("log", &[]),
    ("pb", &[]),
    ("apisix", &[]),
    ("config", &["error", "log"]),
    ("grpc", &["error"]),
    ("identity", &["error", "grpc", "pb"]),
    ("xds", &["config", "error", "grpc", "pb"]),
    ("translate", &["apisix", "config", "pb", "xds"]),
    ("store", &["apisix", "translate"]),
    ("etcd", &["apisix", "error", "grpc", "pb", "store"]),
    ("state", &["apisix", "store"]),
    ("interception", &["error"]),
    ("status", &["apisix", "config", "identity", "state", "store", "translate", "xds"]),
    ("metrics", &["apisix", "config", "status", "store", "translate"]),
    (
        "agent",
        &[
            "apisix",
            "config",
            "error",
            "etcd",
            "grpc",
            "identity",
            "log",
            "state",
            "status",
            "store",
            "translate",
            "xds",
        ],
    ),
    ("instance", &["agent", "config", "error", "log", "state", "status", "store"]),
    ("capi", &["agent", "apisix", "config", "error", "instance", "log", "metrics", "status", "store"]),
    ("libxds", &["agent", "apisix", "capi", "config", "error", "instance", "log", "store"]),
];

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// The modules of this crate that a text names after `crate::`, alone or in braces, outside of comments.
fn imports(text: &str) -> Vec<String> {
    let code: String = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| [line, "\n"])
        .collect();
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        if !rest.starts_with('{') {
            found.push(identifier(rest));
            continue;
        }
        let (mut depth, mut expected) = (0, false);
        for (i, c) in rest.char_indices() {
            match c {
                '{' => {
                    depth += 1;
                    expected = depth == 1;
                }
                '}' => depth -= 1,
                ',' => expected = depth == 1,
                c if expected && c.is_alphabetic() => {
                    found.push(identifier(&rest[i..]));
                    expected = false;
                }
                _ => {}
            }
            if depth == 0 {
                break;
            }
        }
    }
    found
}

fn identifier(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

#[test]
fn no_stage_imports_to_its_right() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    rust_files(&src, &mut files);
    let mut wrong = Vec::new();
    for file in files {
        let relative = file.strip_prefix(&src).unwrap();
        let part = relative.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs").to_owned();
        if ["lib", "bin"].contains(&part.as_str()) {
            continue;
        }
        let Some((_, allowed)) = MAY_IMPORT.iter().find(|(name, _)| *name == part) else {
            wrong.push(format!(
                "src/{} belongs to no known part; add {part} to tests/layering.rs",
                relative.display()
            ));
            continue;
        };
        for import in imports(&fs::read_to_string(&file).unwrap()) {
            if import != part && !allowed.contains(&import.as_str()) {
                wrong.push(format!("src/{}: {part} must not import crate::{import}", relative.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn imports_are_found_in_every_form() {
    let text = "use crate::{\n    store::{Store, diff},\n    xds::Snapshot,\n};\n// crate::etcd\nlet a = crate::agent::X;";
    assert_eq!(imports(text), ["store", "xds", "agent"]);
}

#[test]
fn no_hand_written_file_is_over_500_lines_without_its_tests() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for folder in ["src", "tests", "examples", "benches"] {
        if root.join(folder).exists() {
            rust_files(&root.join(folder), &mut files);
        }
    }
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests").next().unwrap().lines().count();
        assert!(code <= 500, "{}: {code} lines", file.display());
    }
}
