//! Turns `verso/**/*.proto` into Rust: messages and their JSON form, gRPC services, the method table, JSON Schemas and the event table.
//!
//! Nothing here knows a method. What a method, a field or an event needs is said in the `.proto` file, in the terms of
//! `verso/wire/v1/options.proto`, and each term has one arm in one of the modules below.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs};

use protox::prost_reflect::DescriptorPool;

#[path = "build/attributes.rs"]
mod attributes;
#[path = "build/options.rs"]
mod options;
#[path = "build/schema.rs"]
mod schema;
#[path = "build/tables.rs"]
mod tables;

/// Runs inside the edge: the methods are in the table, but nobody serves them over gRPC.
const LOCAL_SERVICE_FOLDER: &str = "verso/edge/v1/";

#[allow(clippy::disallowed_methods, reason = "cargo tells a build script where to write by its environment")]
fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=verso");
    println!("cargo:rerun-if-changed=build");
    let out = PathBuf::from(env::var("OUT_DIR")?);

    let files = proto_files(Path::new("verso"))?;
    let mut compiler = protox::Compiler::new(["."])?;
    compiler.include_imports(true).include_source_info(true).open_files(&files)?;
    let pool = compiler.descriptor_pool();
    // Every process holds these for reflection, so they go without the comments.
    let mut bare = protox::Compiler::new(["."])?;
    bare.include_imports(true).open_files(&files)?;
    fs::write(out.join("descriptors.bin"), bare.encode_file_descriptor_set())?;

    generate_types(compiler.file_descriptor_set(), &pool)?;
    fs::write(out.join("tables.rs"), tables::generate(&pool)?)?;
    Ok(())
}

fn generate_types(mut files: prost_types::FileDescriptorSet, pool: &DescriptorPool) -> Result<(), Box<dyn Error>> {
    for file in &mut files.file {
        if file.name().starts_with(LOCAL_SERVICE_FOLDER) {
            file.service.clear();
        }
    }
    files.file.retain(|file| !file.name().starts_with("google/"));
    let mut config = tonic_prost_build::Config::new();
    config.btree_map(["."]);
    // These pass messages on as they come.
    config.bytes([".verso.wire.v1.CarriedCall", ".verso.wire.v1.CarryResponse"]);
    attributes::add(&mut config, pool);
    for event in tables::BOXED_EVENTS {
        config.boxed(format!(".{event}.event"));
    }
    tonic_prost_build::configure().compile_fds_with_config(files, config)?;
    Ok(())
}

fn proto_files(folder: &Path) -> Result<Vec<PathBuf>, std::io::Error> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(proto_files(&path)?);
        } else if path.extension().is_some_and(|ending| ending == "proto") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}
