use std::os::unix::fs::symlink;

use serde_json::{Value, json};
use tempfile::TempDir;
use verso_kit::CancellationToken;

use super::*;
use crate::tool::{Answer, Block, Progress, Refused, Scene, Tool};

struct Desk(TempDir);

impl Desk {
    fn new() -> Self {
        let desk = Self(tempfile::tempdir().unwrap());
        std::fs::create_dir(desk.0.path().join("workspace")).unwrap();
        std::fs::write(desk.0.path().join("secret"), "hidden").unwrap();
        desk
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join("workspace").join(name)
    }

    fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    async fn call(&self, tool: &dyn Tool, arguments: Value) -> Result<Answer, Refused> {
        let scene = Scene {
            agent: "main".to_owned(),
            session: "s".to_owned(),
            run: "r".to_owned(),
            call: "c".to_owned(),
            workspace: self.0.path().join("workspace"),
            variables: Vec::new(),
            cancelled: CancellationToken::new(),
            progress: Progress::silent(),
        };
        tool.call(&scene, arguments).await
    }
}

fn reader() -> Read {
    Read { also: Vec::new() }
}

#[tokio::test]
async fn writes_reads_and_edits_below_the_workspace() {
    let desk = Desk::new();
    desk.call(&Write, json!({"file_path": "a/b/note.md", "content": "one\ntwo\nthree\n"})).await.unwrap();
    assert_eq!(desk.call(&reader(), json!({"path": "a/b/note.md"})).await.unwrap().words(), "one\ntwo\nthree\n");
    let part = desk.call(&reader(), json!({"path": "./a/x/../b/note.md", "offset": 2, "limit": 1})).await.unwrap();
    assert_eq!(part.words(), "two\n\n[1 more lines; go on with offset=3]");
    desk.call(&Edit, json!({"path": "a/b/note.md", "old_string": "two", "new_string": "2"})).await.unwrap();
    assert_eq!(desk.text("a/b/note.md"), "one\n2\nthree\n");
    let twice = desk.call(&Edit, json!({"path": "a/b/note.md", "oldText": "e", "newText": "E"})).await.unwrap_err();
    assert!(twice.to_string().contains("3 times"), "{twice}");
    let absolute = desk.path("a/b/note.md").display().to_string();
    assert!(desk.call(&reader(), json!({"path": absolute})).await.is_ok());
    assert_eq!(std::fs::read_dir(desk.path("a/b")).unwrap().count(), 1, "no draft is left");
}

#[tokio::test]
async fn sec_56_no_path_and_no_link_leads_out_of_the_workspace() {
    let desk = Desk::new();
    symlink(desk.0.path(), desk.path("out")).unwrap();
    symlink(desk.0.path().join("secret"), desk.path("link")).unwrap();
    symlink("../secret", desk.path("relative")).unwrap();
    symlink("/proc/self/root/etc/hostname", desk.path("magic")).unwrap();
    let outside = desk.0.path().join("secret").display().to_string();
    for path in
        ["../secret", "a/../../secret", "out/secret", "link", "relative", "magic", "/etc/hostname", outside.as_str(), "", ".", "/", "a\0b"]
    {
        let read = desk.call(&reader(), json!({"path": path})).await;
        assert!(read.is_err(), "read {path:?}: {read:?}");
        assert!(desk.call(&Write, json!({"path": path, "content": "changed"})).await.is_err(), "write {path:?}");
    }
    assert!(desk.call(&Write, json!({"path": "out/new", "content": "x"})).await.is_err());
    assert!(desk.call(&Write, json!({"path": "out/deep/new", "content": "x"})).await.is_err());
    let patch = "*** Begin Patch\n*** Delete File: out/secret\n*** End Patch";
    assert!(desk.call(&ApplyPatch, json!({"input": patch})).await.is_err());
    assert_eq!(std::fs::read_to_string(desk.0.path().join("secret")).unwrap(), "hidden");
    assert_eq!(std::fs::read_dir(desk.0.path()).unwrap().count(), 2);
    // Links that stay inside are no harm.
    std::fs::write(desk.path("real"), "inside").unwrap();
    symlink("real", desk.path("alias")).unwrap();
    assert_eq!(desk.call(&reader(), json!({"path": "alias"})).await.unwrap().words(), "inside\n");
}

#[tokio::test]
async fn skills_can_be_read_and_not_written() {
    let desk = Desk::new();
    let skills = desk.0.path().join("skills");
    std::fs::create_dir(&skills).unwrap();
    std::fs::write(skills.join("SKILL.md"), "how to").unwrap();
    let path = skills.join("SKILL.md").display().to_string();
    let reader = Read { also: vec![skills] };
    assert_eq!(desk.call(&reader, json!({"path": path})).await.unwrap().words(), "how to\n");
    assert!(desk.call(&Write, json!({"path": path, "content": "x"})).await.is_err());
}

#[tokio::test]
async fn a_picture_is_shown_and_what_is_no_file_is_not_read() {
    let desk = Desk::new();
    std::fs::write(desk.path("p.png"), b"\x89PNG\r\n\x1a\n").unwrap();
    let answer = desk.call(&reader(), json!({"path": "p.png"})).await.unwrap();
    assert!(matches!(&answer.blocks[1], Block::Image { mime_type, .. } if mime_type == "image/png"));
    std::fs::create_dir(desk.path("folder")).unwrap();
    assert!(desk.call(&reader(), json!({"path": "folder"})).await.is_err());
    // A pipe that nobody writes to would be waited for until the end of days.
    rustix::fs::mknodat(rustix::fs::CWD, desk.path("pipe"), rustix::fs::FileType::Fifo, rustix::fs::Mode::from_raw_mode(0o644), 0).unwrap();
    assert!(desk.call(&reader(), json!({"path": "pipe"})).await.is_err());
}

#[tokio::test]
async fn a_patch_changes_all_or_nothing() {
    let desk = Desk::new();
    std::fs::write(desk.path("a.txt"), "one\ntwo\nthree\n").unwrap();
    std::fs::write(desk.path("b.txt"), "old\n").unwrap();
    let patch = "*** Begin Patch\n*** Update File: a.txt\n@@ one\n-two\n+2\n three\n*** Add File: new/c.txt\n+hello\n*** Delete File: b.txt\n*** End Patch";
    let answer = desk.call(&ApplyPatch, json!({"input": patch})).await.unwrap();
    assert_eq!(answer.words(), "Success. Updated the following files:\nM a.txt\nA new/c.txt\nD b.txt");
    assert_eq!((desk.text("a.txt").as_str(), desk.text("new/c.txt").as_str()), ("one\n2\nthree\n", "hello\n"));
    assert!(!desk.path("b.txt").exists());
    let half = "*** Begin Patch\n*** Delete File: a.txt\n*** Update File: new/c.txt\n@@\n-not there\n+x\n*** End Patch";
    assert!(desk.call(&ApplyPatch, json!({"input": half})).await.is_err());
    assert!(desk.path("a.txt").exists(), "the first change was made although the second cannot be");
    let moved = "*** Begin Patch\n*** Update File: a.txt\n*** Move to: d.txt\n@@\n-2\n+two\n*** End Patch";
    desk.call(&ApplyPatch, json!({"input": moved})).await.unwrap();
    assert_eq!(desk.text("d.txt"), "one\ntwo\nthree\n");
    for broken in [
        "",
        "*** Begin Patch\n*** End Patch",
        "*** Begin Patch\n*** Add File: x\nno plus\n*** End Patch",
        "*** Begin Patch\n*** Add File: x\n+y",
    ] {
        assert!(Patch::parse(broken).is_err(), "{broken}");
    }
}
