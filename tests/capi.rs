//! The shared library as C sees it: a program uses the whole API, and nothing else is exported.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::Command,
};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Where cargo put `libapisix_mesh.so` for this test run: beside the test's own binary.
fn library_folder() -> PathBuf {
    std::env::current_exe().unwrap().parent().unwrap().to_path_buf()
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{text}", output.status);
    text
}

#[test]
fn a_c_program_uses_the_whole_api() {
    let library = library_folder();
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("api");
    run(Command::new("cc")
        .args(["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-g", "-pthread"])
        .arg(format!("-I{ROOT}/include"))
        .arg(format!("{ROOT}/tests/c/api.c"))
        .arg("-o")
        .arg(&program)
        .arg(format!("-L{}", library.display()))
        .arg("-lapisix_mesh"));
    let socket = Path::new(env!("CARGO_TARGET_TMPDIR")).join("api.sock");
    let state = Path::new(env!("CARGO_TARGET_TMPDIR")).join("api-state");
    let _ = std::fs::remove_dir_all(&state);
    let config = serde_json::json!({
        "state_dir": state,
        "xds": format!("file://{ROOT}/tests/fixtures/istiod-1.31/redirect"),
        "etcd_listen": format!("unix:{}", socket.display()),
    });
    // The program asks for the soname, which cargo does not make.
    let soname = library.join("libapisix_mesh.so.0");
    let _ = std::fs::remove_file(&soname);
    std::os::unix::fs::symlink("libapisix_mesh.so", &soname).unwrap();
    run(Command::new(&program).arg(config.to_string()).env("LD_LIBRARY_PATH", &library));
}

#[test]
fn the_library_exports_what_the_header_declares_and_nothing_else() {
    let symbols = run(Command::new("nm")
        .args(["-D", "--defined-only"])
        .arg(library_folder().join("libapisix_mesh.so")));
    let exported: BTreeSet<_> = symbols.lines().filter_map(|line| line.split_whitespace().nth(2)).collect();
    let header = std::fs::read_to_string(Path::new(ROOT).join("include/apisix_mesh.h")).unwrap();
    let declared: BTreeSet<_> = header
        .lines()
        .filter(|line| !line.starts_with(" *") && !line.starts_with("typedef"))
        .filter_map(|line| line.split('(').next()?.rsplit([' ', '*']).next())
        .filter(|name| name.starts_with("apisix_mesh_") && header.contains(&format!("{name}(")))
        .collect();
    // APISIX's own interface, which is in no header of ours.
    let initial = BTreeSet::from(["initial"]);
    assert_eq!(exported, &declared | &initial);
}

#[test]
fn the_library_stays_mapped_and_has_its_soname() {
    let dynamic = run(Command::new("readelf").arg("-d").arg(library_folder().join("libapisix_mesh.so")));
    assert!(dynamic.contains("libapisix_mesh.so.0"), "{dynamic}");
    assert!(dynamic.contains("NODELETE"), "{dynamic}");
}
