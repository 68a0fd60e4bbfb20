//! Guarantee: the declarations in lua/resty/apisix_mesh/ffi.lua are those of include/apisix_mesh.h.
//!
//! Both are reduced to words, so comments, preprocessor lines and layout do not count.

use std::{fs, path::Path};

#[test]
fn the_lua_declarations_are_those_of_the_header() {
    let lua = read("lua/resty/apisix_mesh/ffi.lua");
    let (_, after) = lua.split_once("ffi.cdef[[").expect("ffi.lua has one ffi.cdef[[ block");
    let (declared, _) = after.split_once("]]").expect("the block ends");
    let expected = declarations(&read("include/apisix_mesh.h"));
    assert_eq!(
        words(declared),
        words(&expected),
        "the cdef block of ffi.lua must hold these declarations:\n{expected}"
    );
}

#[test]
fn the_lua_interface_version_is_that_of_the_header() {
    let version = |text: &str, before: &str| {
        let (_, rest) = text.split_once(before).unwrap_or_else(|| panic!("{before:?} is missing"));
        rest.split_whitespace().next().map(str::to_owned)
    };
    let in_lua = version(&read("lua/resty/apisix_mesh/ffi.lua"), "local ABI_VERSION = ");
    let in_header = version(&read("include/apisix_mesh.h"), "#define APISIX_MESH_ABI_VERSION ");
    assert_eq!(in_lua, in_header);
}

/// The header without comments, preprocessor lines and the `extern "C"` around everything.
fn declarations(header: &str) -> String {
    let mut text = String::new();
    let mut rest = header;
    while let Some((before, comment)) = rest.split_once("/*") {
        text.push_str(before);
        rest = comment.split_once("*/").expect("a comment ends").1;
    }
    text.push_str(rest);
    let kept = text
        .lines()
        .map(|line| line.split("//").next().unwrap().trim_end())
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .filter(|line| *line != "extern \"C\" {" && *line != "}");
    kept.collect::<Vec<_>>().join("\n")
}

fn words(text: &str) -> Vec<&str> {
    text.split_whitespace().collect()
}

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
