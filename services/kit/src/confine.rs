//! Keeps a process, and whatever it starts, away from files that are none of its business. Linux does that by itself (Landlock, since 5.13);
//! elsewhere, and on older kernels, nothing is kept away.
//!
//! Landlock only knows what is allowed. So everything is that stands beside the way to a hidden place: what others create on that way later,
//! next to it, stays out of reach as well.

use std::path::{Path, PathBuf};

/// Places by what may be done there.
#[derive(Debug, Clone, Default)]
pub struct Places {
    /// Out of reach, with everything below.
    pub hidden: Vec<PathBuf>,
    /// Within reach although they are below a hidden one. They must exist.
    pub shown: Vec<PathBuf>,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The hidden places are out of reach, for ever.
    Confined,
    /// The system cannot do that.
    Unsupported,
}

/// Confines this process. Call it before there are other threads: those would stay free.
#[cfg(target_os = "linux")]
pub fn confine(places: &Places) -> std::io::Result<Outcome> {
    use landlock::{
        ABI, Access as _, AccessFs, CompatLevel, Compatible as _, Ruleset, RulesetAttr as _, RulesetCreatedAttr as _, RulesetStatus, Scope,
        path_beneath_rules,
    };
    let all = AccessFs::from_all(ABI::V6);
    let hidden: Vec<PathBuf> = places.hidden.iter().filter_map(|place| place.canonicalize().ok()).collect();
    let mut open = Vec::new();
    beside(Path::new("/"), &hidden, &mut open)?;
    open.extend(places.shown.iter().cloned());
    let restrict = || {
        let rules = Ruleset::default()
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(all)?
            // It may end its own children, and nobody else.
            .scope(Scope::Signal)?
            .create()?
            .add_rules(path_beneath_rules(&open, all))?;
        rules.restrict_self()
    };
    let status = restrict().map_err(std::io::Error::other)?;
    Ok(if status.ruleset == RulesetStatus::NotEnforced { Outcome::Unsupported } else { Outcome::Confined })
}

/// Confines this process.
#[cfg(not(target_os = "linux"))]
pub fn confine(_: &Places) -> std::io::Result<Outcome> {
    Ok(Outcome::Unsupported)
}

/// Collects what is below `folder` and neither a hidden place nor on the way to one.
#[cfg(target_os = "linux")]
fn beside(folder: &Path, hidden: &[PathBuf], open: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if hidden.contains(&path) {
            continue;
        }
        if hidden.iter().any(|place| place.starts_with(&path)) {
            beside(&path, hidden, open)?;
        } else {
            open.push(path);
        }
    }
    Ok(())
}
