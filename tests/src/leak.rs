//! A build of the gateway one of whose services loses memory, as a bug would make it: a library that is loaded beside the program.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::gateway::binary;

/// What is loaded: a thread that takes a mebibyte and touches it, as often as a file's number says.
const SOURCE: &str = r#"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
static void *leak(void *path) {
    for (long taken = 0;;) {
        long wanted = 0;
        FILE *file = fopen(path, "r");
        if (file) {
            if (fscanf(file, "%ld", &wanted) != 1) wanted = 0;
            fclose(file);
        }
        for (; taken < wanted; taken++) {
            char *lost = malloc(1 << 20);
            if (lost) memset(lost, 1, 1 << 20);
        }
        usleep(20000);
    }
    return NULL;
}
__attribute__((constructor)) static void begin(void) {
    pthread_t thread;
    char *path = getenv("LEAK_FILE");
    if (path) pthread_create(&thread, NULL, leak, path);
}
"#;

/// A leaking build.
#[derive(Debug)]
pub struct Leak {
    executable: PathBuf,
    wanted: PathBuf,
}

impl Leak {
    /// Builds it in `folder`, for one service; none where there is no C compiler.
    pub fn build(folder: &Path, service: &str) -> Option<Self> {
        let compiler = crate::peers::program("cc")?;
        let (source, library) = (folder.join("leak.c"), folder.join("leak.so"));
        fs::write(&source, SOURCE).expect("a source");
        let status = Command::new(compiler).args(["-shared", "-fPIC", "-pthread", "-o"]).arg(&library).arg(&source).status();
        assert!(status.expect("the compiler runs").success());
        let (executable, wanted) = (folder.join("leaking"), folder.join("leak"));
        let text = format!(
            "#!/bin/sh\n[ \"$1 $2\" = 'service {service}' ] && export LD_PRELOAD='{}' LEAK_FILE='{}'\nexec '{}' \"$@\"\n",
            library.display(),
            wanted.display(),
            binary().display()
        );
        fs::write(&executable, text).expect("a script");
        fs::set_permissions(&executable, fs::Permissions::from_mode(0o755)).expect("an executable");
        Some(Self { executable, wanted })
    }

    /// What is to be run in place of the gateway.
    pub fn executable(&self) -> &Path {
        &self.executable
    }

    /// Has the process that runs lose so much in all, in MiB; the next one is to lose nothing more than it was told last.
    pub fn lose(&self, mib: usize) {
        fs::write(&self.wanted, mib.to_string()).expect("a number");
    }
}
