//! Compiles `src/pb/proto` without `protoc` and sets the link arguments of the shared library.
//!
//! Out come, in `OUT_DIR`: `pb.rs` (prost types and gRPC stubs, without the fields marked `unread`), `unread.rs`
//! (the table of those fields, see `pb::unread`) and `descriptors.bin` (everything, for JSON and YAML input).

use std::{
    env,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use prost_reflect::{DescriptorPool, FieldDescriptor, Kind, Value};
use prost_types::{DescriptorProto, FileDescriptorSet};

const PROTO: &str = "src/pb/proto";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let out = PathBuf::from(env::var("OUT_DIR")?);
    println!("cargo:rerun-if-changed={PROTO}");

    let mut compiler = protox::Compiler::new([PROTO])?;
    compiler.include_imports(true).open_files(proto_files(Path::new(PROTO))?)?;
    fs::write(out.join("descriptors.bin"), compiler.encode_file_descriptor_set())?;

    let pool = compiler.descriptor_pool();
    fs::write(out.join("unread.rs"), unread_table(&pool)?)?;

    let mut files = compiler.file_descriptor_set();
    strip_unread(&mut files, &pool);
    tonic_prost_build::configure()
        .build_transport(false)
        .bytes(".")
        // Our own `Any`, whose value is a slice of the gRPC message; the wrappers stay plain Rust values.
        .compile_well_known_types(true)
        .extern_path(".google.protobuf.BoolValue", "::core::primitive::bool")
        .extern_path(".google.protobuf.UInt32Value", "::core::primitive::u32")
        .extern_path(".google.protobuf.StringValue", "::prost::alloc::string::String")
        .include_file("pb.rs")
        .compile_fds(files)?;

    link_arguments();
    Ok(())
}

/// The soname is ours, and the library stays mapped for good: its threads would run on in unmapped code if LuaJIT
/// collected the handle that loaded it.
fn link_arguments() {
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libapisix_mesh.so.0");
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
}

fn proto_files(root: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "proto") {
                found.push(path.strip_prefix(root).expect("under the root").to_path_buf());
            }
        }
    }
    found.sort();
    Ok(found)
}

/// The `apisix_mesh.unread` option of a field: the name of its severity, if it has one.
fn unread(field: &FieldDescriptor) -> Option<String> {
    let option = field.parent_pool().get_extension_by_name("apisix_mesh.unread")?;
    let options = field.options();
    if !options.has_extension(&option) {
        return None;
    }
    let Kind::Enum(severity) = option.kind() else { return None };
    match options.get_extension(&option).as_ref() {
        Value::EnumNumber(n) => severity.get_value(*n).map(|v| v.name().to_owned()),
        _ => None,
    }
}

fn unread_table(pool: &DescriptorPool) -> Result<String, std::fmt::Error> {
    let messages: Vec<_> = pool.all_messages().filter(|m| !m.is_map_entry()).collect();
    let index = |name: &str| messages.iter().position(|m| m.full_name() == name);
    let mut text = String::from("pub static MESSAGES: &[Message] = &[\n");
    for message in &messages {
        writeln!(text, "    Message {{ name: {:?}, fields: &[", message.full_name())?;
        let mut fields: Vec<_> = message.fields().collect();
        fields.sort_by_key(FieldDescriptor::number);
        for field in fields {
            let kind = match (unread(&field), field.kind()) {
                // Graded one by one by their types, whether the map itself is read or not.
                _ if is_extension_map(&field) => "Kind::AnyMap".to_owned(),
                (Some(severity), _) => format!("Kind::Unread(Severity::{})", upper_camel(&severity)),
                (None, _) if field.is_map() => "Kind::Leaf".to_owned(),
                (None, Kind::Message(m)) if m.full_name() == "google.protobuf.Any" => "Kind::Any".to_owned(),
                // Read for its presence alone: nothing in it can be told apart.
                (None, Kind::Message(m)) if m.full_name() == "apisix_mesh.Unread" => "Kind::Leaf".to_owned(),
                (None, Kind::Message(m)) => {
                    let at = index(m.full_name()).expect("all messages are listed");
                    format!("Kind::Message({at})")
                }
                (None, _) => "Kind::Leaf".to_owned(),
            };
            writeln!(
                text,
                "        Field {{ number: {}, name: {:?}, repeated: {}, kind: {kind} }},",
                field.number(),
                field.name(),
                field.is_list() || field.is_map(),
            )?;
        }
        text.push_str("    ] },\n");
    }
    text.push_str("];\n");
    Ok(text)
}

/// `map<string, Any>`: extensions by filter name, graded one by one by their types.
fn is_extension_map(field: &FieldDescriptor) -> bool {
    let Kind::Message(entry) = field.kind() else { return false };
    field.is_map()
        && matches!(entry.map_entry_value_field().kind(),
            Kind::Message(value) if value.full_name() == "google.protobuf.Any")
}

fn upper_camel(screaming: &str) -> String {
    screaming[..1].to_owned() + &screaming[1..].to_lowercase()
}

fn strip_unread(files: &mut FileDescriptorSet, pool: &DescriptorPool) {
    for file in &mut files.file {
        let package = file.package().to_owned();
        for message in &mut file.message_type {
            strip_message(message, &package, pool);
        }
    }
}

fn strip_message(message: &mut DescriptorProto, scope: &str, pool: &DescriptorPool) {
    let name = format!("{scope}.{}", message.name());
    let described = pool.get_message_by_name(&name).expect("compiled just before");
    message.field.retain(|f| described.get_field_by_name(f.name()).is_none_or(|f| unread(&f).is_none()));

    // A oneof that lost its last member goes, and the others move up.
    let used: Vec<i32> = message.field.iter().filter_map(|f| f.oneof_index).collect();
    let kept: Vec<i32> = (0..message.oneof_decl.len() as i32).filter(|i| used.contains(i)).collect();
    message.oneof_decl = kept.iter().map(|&i| message.oneof_decl[i as usize].clone()).collect();
    for field in &mut message.field {
        field.oneof_index =
            field.oneof_index.and_then(|i| kept.iter().position(|&k| k == i)).map(|i| i as i32);
    }

    let map_types: Vec<String> = message.field.iter().map(|f| f.type_name().to_owned()).collect();
    message.nested_type.retain(|n| {
        let entry = n.options.as_ref().is_some_and(|o| o.map_entry());
        !entry || map_types.iter().any(|t| t.ends_with(&format!(".{}", n.name())))
    });
    for nested in &mut message.nested_type {
        if !nested.options.as_ref().is_some_and(|o| o.map_entry()) {
            strip_message(nested, &name, pool);
        }
    }
}
