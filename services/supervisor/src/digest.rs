//! What a file holds, in one number.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use sha2::{Digest, Sha256};

/// Read at once, in bytes.
const CHUNK_BYTES: usize = 1 << 20;

/// Returns the length and the hexadecimal SHA-256 of a file.
pub fn digest_of(path: &Path) -> io::Result<(u64, String)> {
    let (mut file, mut digest, mut bytes) = (File::open(path)?, Sha256::new(), 0);
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let count = file.read(&mut chunk)?;
        if count == 0 {
            return Ok((bytes, hex::encode(digest.finalize())));
        }
        digest.update(&chunk[..count]);
        bytes += count as u64;
    }
}
