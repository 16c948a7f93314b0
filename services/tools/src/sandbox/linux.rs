//! Landlock and seccomp on the calling thread.

use std::collections::BTreeMap;

use landlock::{
    ABI, Access as _, AccessFs, CompatLevel, Compatible as _, Ruleset, RulesetAttr as _, RulesetCreatedAttr as _, RulesetError,
    RulesetStatus, Scope, path_beneath_rules,
};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch, apply_filter,
};

use super::{Sandbox, Strength};

/// The newest interface of the kernel that is made use of.
const ABI_WANTED: ABI = ABI::V6;

/// System calls that no tool of an agent needs, and that reach beyond a process: into others, into the kernel, into mounts.
const REFUSED: [libc::c_long; 26] = [
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_setns,
    libc::SYS_unshare,
    libc::SYS_open_by_handle_at,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_kexec_load,
    libc::SYS_reboot,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    // It opens files and sockets past every filter of system calls.
    libc::SYS_io_uring_setup,
    libc::SYS_quotactl,
];

/// Binds the calling thread, for ever.
pub(super) fn enter(sandbox: &Sandbox) -> Strength {
    let folders = match folders(sandbox) {
        Ok(RulesetStatus::FullyEnforced) => Strength::Full,
        Ok(RulesetStatus::PartiallyEnforced) => Strength::Partial,
        Ok(RulesetStatus::NotEnforced) => return Strength::None,
        Err(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "the sandbox's folders could not be enforced");
            return Strength::None;
        }
    };
    match calls(sandbox.network) {
        Ok(filter) => match apply_filter(&filter) {
            Ok(()) => return folders,
            Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "system calls could not be restricted"),
        },
        Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "system calls could not be restricted"),
    }
    // Without it a program could talk to every local service: that is no sandbox.
    Strength::None
}

fn folders(sandbox: &Sandbox) -> Result<RulesetStatus, RulesetError> {
    let (read, all) = (AccessFs::from_read(ABI_WANTED), AccessFs::from_all(ABI_WANTED));
    // Folders that are not there are left out by the rules themselves.
    let status = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(all)?
        .scope(Scope::AbstractUnixSocket | Scope::Signal)?
        .create()?
        .add_rules(path_beneath_rules(&sandbox.readable, read))?
        .add_rules(path_beneath_rules(&sandbox.writable, all))?
        .restrict_self()?;
    Ok(status.ruleset)
}

fn calls(network: bool) -> Result<BpfProgram, seccompiler::Error> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = REFUSED.iter().map(|call| (*call, Vec::new())).collect();
    let sockets = if network {
        // The gateway's own services listen on Unix sockets.
        let local = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, libc::AF_UNIX.unsigned_abs().into())?;
        vec![SeccompRule::new(vec![local])?]
    } else {
        Vec::new()
    };
    rules.insert(libc::SYS_socket, sockets);
    let refuse = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let arch: TargetArch = std::env::consts::ARCH.try_into()?;
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refuse, arch)?;
    Ok(filter.try_into()?)
}
