//! The file is old or new, whatever happens in between.

use std::fs::File;
use std::io::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;

use super::*;
use crate::key_path::KeyPath;

fn store(folder: &Path) -> Store {
    Store::new(&folder.join("verso.json"), &Env::default())
}

fn set_port(store: &Store, port: u64) -> Result<Written, Error> {
    let path = KeyPath::of(["gateway", "port"]);
    store.change(|_| Ok(()), |document| Ok(document.set(&path, &json!(port))?.text().to_owned()))
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o777
}

/// What happens at the chosen call.
#[derive(Debug, Clone, Copy)]
enum Fault {
    /// The call fails, and the process goes on.
    Fails,
    /// The process ends before the call: nothing happens any more.
    Dies,
    /// Half of what is written arrives, then the disk is full.
    Full,
}

#[derive(Debug)]
struct Faulty {
    fault: Fault,
    at: usize,
    calls: AtomicUsize,
}

impl Faulty {
    fn call(&self) -> io::Result<()> {
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        let broken = match self.fault {
            Fault::Fails | Fault::Full => call == self.at,
            Fault::Dies => call >= self.at,
        };
        if broken { Err(io::Error::from(io::ErrorKind::StorageFull)) } else { Ok(()) }
    }
}

impl Fs for Faulty {
    fn read(&self, path: &Path) -> io::Result<String> {
        Disk.read(path)
    }
    fn create(&self, path: &Path) -> io::Result<File> {
        self.call()?;
        Disk.create(path)
    }
    fn write(&self, file: &mut File, bytes: &[u8]) -> io::Result<()> {
        if let Err(error) = self.call() {
            if !matches!(self.fault, Fault::Fails) {
                file.write_all(&bytes[..bytes.len() / 2])?;
            }
            return Err(error);
        }
        Disk.write(file, bytes)
    }
    fn sync(&self, file: &File) -> io::Result<()> {
        self.call()?;
        Disk.sync(file)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.call()?;
        Disk.rename(from, to)
    }
    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        self.call()?;
        Disk.sync_folder(folder)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.call()?;
        Disk.remove(path)
    }
}

#[test]
fn a_fault_at_any_call_leaves_the_old_file_or_the_new_one() {
    for fault in [Fault::Fails, Fault::Dies, Fault::Full] {
        let (mut at, mut seen_old, mut seen_new) = (0, false, false);
        loop {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("verso.json");
            let old = "{ gateway: { port: 1 } } // old\n";
            std::fs::write(&path, old).unwrap();
            let faulty = Arc::new(Faulty { fault, at, calls: AtomicUsize::new(0) });
            let result = set_port(&store(folder.path()).on(faulty.clone()), 2);
            let text = std::fs::read_to_string(&path).unwrap();
            let new = old.replace('1', "2");
            assert!(text == old || text == new, "{fault:?} at call {at}: {text:?}");
            seen_old |= text == old;
            seen_new |= text == new;
            if result.is_ok() {
                assert_eq!(text, new, "a change that succeeded is there: {fault:?} at {at}");
            }
            let again = set_port(&store(folder.path()), 3).unwrap();
            assert_eq!(again.text, old.replace('1', "3"), "what a fault leaves behind is in nobody's way");
            assert_eq!(mode(&path), 0o600);
            if faulty.calls.load(Ordering::Relaxed) <= at {
                break;
            }
            at += 1;
        }
        assert!(seen_old && seen_new && at >= 10, "{fault:?}: every call had its turn, {at} of them");
    }
}

#[test]
fn writers_that_saw_the_same_file_do_not_overwrite_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    set_port(&store, 1).unwrap();
    let threads: Vec<_> = (0..20)
        .map(|at| {
            let store = store.clone();
            std::thread::spawn(move || {
                let path = KeyPath::of(["env", "vars", &format!("V{at}")]);
                loop {
                    let seen = store.read().unwrap();
                    let admit = |now: Option<&str>| if now == seen.as_deref() { Ok(()) } else { Err(Error::Changed) };
                    match store.change(admit, |document| Ok(document.set(&path, &json!("x"))?.text().to_owned())) {
                        Ok(_) => return,
                        Err(Error::Changed) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(store.snapshot().file.value()["env"]["vars"].as_object().unwrap().len(), 20);
}

#[test]
fn goes_back_and_forth_between_generations() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    std::fs::write(store.path(), "{gateway: {port: 1}} // by hand").unwrap();
    set_port(&store, 2).unwrap();
    set_port(&store, 3).unwrap();
    let (number, written) = store.roll_back(None).unwrap();
    assert_eq!((number, written.text.as_str()), (2, "{gateway: {port: 2}} // by hand"));
    assert_eq!(store.roll_back(Some(1)).unwrap().1.text, "{gateway: {port: 1}} // by hand");
    assert!(matches!(store.roll_back(Some(99)), Err(Error::NoGeneration(99))));
    for port in 10..40 {
        set_port(&store, port).unwrap();
    }
    let kept = store.generations().unwrap();
    assert_eq!(kept.len(), GENERATIONS_MAX);
    assert_eq!(kept[0].number, 35, "numbers are never used twice");
    assert!(!set_port(&store, 39).unwrap().changed, "the same text is not a change");
}

#[test]
fn refuses_what_cannot_be_used() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    set_port(&store, 1).unwrap();
    let before = store.read().unwrap();
    let error = store.change(|_| Ok(()), |_| Ok("{gateway: {prt: 1}}".to_owned())).unwrap_err();
    let Error::Invalid(problems) = error else { panic!("{error}") };
    assert_eq!(problems[0].to_string(), "gateway: Unrecognized key: \"prt\" (did you mean \"port\"?)");
    assert_eq!(store.read().unwrap(), before);
    std::fs::rename(store.path(), folder.path().join("real.json")).unwrap();
    std::os::unix::fs::symlink("real.json", store.path()).unwrap();
    assert!(matches!(set_port(&store, 2), Err(Error::Link(_))));
}

#[test]
fn sec_61_the_file_and_what_is_kept_of_it_are_nobody_elses() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder.path().join("deep/er"));
    set_port(&store, 1).unwrap();
    set_port(&store, 2).unwrap();
    for generation in store.generations().unwrap() {
        assert_eq!(mode(&generation.path), 0o600);
    }
    assert_eq!(mode(store.path()), 0o600);
    assert_eq!(mode(&store.beside(".lock")), 0o600);
    assert_eq!(mode(store.path().parent().unwrap()), 0o700);
    assert_eq!(mode(&store.generations_folder()), 0o700);
    std::fs::set_permissions(store.path(), std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(store.close_to_others().unwrap());
    assert_eq!(mode(store.path()), 0o600);
}
