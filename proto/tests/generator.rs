//! What the generator of the method table refuses.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(dead_code, reason = "the build script uses the rest")]

#[path = "../build/attributes.rs"]
mod attributes;
#[path = "../build/options.rs"]
mod options;
#[path = "../build/schema.rs"]
mod schema;
#[path = "../build/tables.rs"]
mod tables;

/// Generates the tables of a contract that has this one method besides the real ones.
fn generate(option: &str) -> Result<String, String> {
    let folder = tempfile::tempdir().unwrap();
    let text = format!(
        "syntax = \"proto3\"; package verso.kit.v1; import \"verso/wire/v1/options.proto\";\n\
         service Kit {{ rpc Try(TryRequest) returns (TryResponse) {{ option (verso.wire.v1.method) = {{{option}}}; }} }}\n\
         message TryRequest {{}}\nmessage TryResponse {{}}\n"
    );
    std::fs::create_dir_all(folder.path().join("verso/kit/v1")).unwrap();
    std::fs::write(folder.path().join("verso/kit/v1/kit.proto"), text).unwrap();
    // Where cargo runs it, not where it was built: a target folder outlives the clone it was filled from.
    let own = std::env::current_dir().unwrap();
    let mut compiler = protox::Compiler::new([folder.path(), &own]).unwrap();
    compiler.include_imports(true).open_file("verso/kit/v1/kit.proto").unwrap();
    tables::generate(&compiler.descriptor_pool()).map_err(|error| error.to_string())
}

#[test]
fn sec_19_a_method_without_a_scope_does_not_build() {
    let refused = generate("name: \"kit.try\"").unwrap_err();
    assert_eq!(refused, "verso.kit.v1.Kit.Try: a wire method needs a scope");
    assert!(generate("name: \"kit.try\" scope: READ").unwrap().contains("\"kit.try\""));
    let internal = generate("timeout_ms: 5").unwrap();
    assert!(internal.contains("scope: Scope::Admin"), "an internal rpc is nobody's to call");
}
