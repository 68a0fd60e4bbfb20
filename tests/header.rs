//! `include/apisix_mesh.h` is what `src/capi.rs` says. `UPDATE_HEADER=1` writes it anew.

use std::{path::Path, process::Command};

const HEADER: &str = "include/apisix_mesh.h";
/// What the header is made of, in its order.
const SOURCES: [&str; 6] = [
    "src/capi/result.rs",
    "src/capi/process.rs",
    "src/capi/buffer.rs",
    "src/capi/list.rs",
    "src/capi/settings.rs",
    "src/capi.rs",
];

#[test]
fn the_committed_header_is_current() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut generated = Vec::new();
    let mut builder = cbindgen::Builder::new().with_config(cbindgen::Config::from_root_or_default(root));
    for source in SOURCES {
        builder = builder.with_src(root.join(source));
    }
    builder.generate().expect("src/capi.rs can be read").write(&mut generated);
    let generated = String::from_utf8(generated).unwrap();
    if std::env::var_os("UPDATE_HEADER").is_some() {
        std::fs::write(root.join(HEADER), &generated).unwrap();
    }
    let committed = std::fs::read_to_string(root.join(HEADER)).unwrap_or_default();
    assert!(committed == generated, "{HEADER} is stale; run `make header` and commit it");
}

#[test]
fn the_header_compiles_as_c_and_as_cpp() {
    let header = Path::new(env!("CARGO_MANIFEST_DIR")).join(HEADER);
    for (compiler, arguments) in [
        ("cc", ["-std=c99", "-xc", "-Wall", "-Wextra", "-Wpedantic", "-Werror"]),
        ("c++", ["-std=c++11", "-xc++", "-Wall", "-Wextra", "-Wpedantic", "-Werror"]),
    ] {
        let output = Command::new(compiler).args(arguments).arg("-fsyntax-only").arg(&header).output();
        let output = output.unwrap_or_else(|e| panic!("{compiler}: {e}; install g++ or clang"));
        assert!(output.status.success(), "{compiler}: {}", String::from_utf8_lossy(&output.stderr));
    }
}
