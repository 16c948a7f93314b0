//! `--force`: frees the port, politely first.

use std::io;
use std::time::Duration;

use rustix::process::Signal;
use tokio::time::{Instant, sleep};

use super::start::runtime;
use crate::failure::Failure;
use crate::output;
use crate::ports::{Listener, Port};

/// Our own gateway says goodbye to its clients and waits for its services before it leaves.
const POLITE: Duration = Duration::from_secs(10);

/// A killed process holds its sockets no longer than this.
const AFTER_KILL: Duration = Duration::from_secs(2);

const POLL: Duration = Duration::from_millis(100);

/// Stops whoever listens on the port, and says who that is.
pub(super) fn free(number: u16) -> anyhow::Result<()> {
    if number == 0 {
        return Ok(());
    }
    runtime()?.block_on(free_port(number)).map_err(|error| Failure::new(format!("Force: {error:#}")).into())
}

async fn free_port(number: u16) -> anyhow::Result<()> {
    let port = Port::inspect(number)?;
    if !port.is_busy() {
        output::notice(format!("force: no listeners on port {number}"));
        return Ok(());
    }
    let targets = targets(port.listeners, own_pids());
    anyhow::ensure!(!targets.is_empty(), "port {number} is held by a process that we may not stop");
    for target in targets.iter().filter(|target| !has_parent_among(target, &targets)) {
        let (pid, command, kind) = (target.pid, &target.command, target.kind());
        output::notice(format!("force: sending SIGTERM to pid {pid} ({command}) on port {number}: it listens there, and is {kind}"));
        tell(target, Signal::TERM)?;
    }
    let started = Instant::now();
    if !is_free_within(number, POLITE).await? {
        output::notice(format!("force: escalated to SIGKILL while freeing port {number}"));
        // A pid may have been given to another process meanwhile; that one is not ours to kill.
        for target in targets.iter().filter(|target| target.is_alive()) {
            tell(target, Signal::KILL)?;
        }
        if !is_free_within(number, AFTER_KILL).await? {
            let pids: Vec<String> = Port::inspect(number)?.listeners.iter().map(|listener| listener.pid.to_string()).collect();
            anyhow::bail!("port {number} still has listeners after --force: {}", pids.join(", "));
        }
    }
    output::notice(format!("force: waited {}ms for port {number} to free", started.elapsed().as_millis()));
    Ok(())
}

/// Never ourselves, who started us, or the first process.
fn targets(listeners: Vec<Listener>, spared: [i32; 3]) -> Vec<Listener> {
    listeners.into_iter().filter(|listener| !spared.contains(&listener.pid)).collect()
}

fn own_pids() -> [i32; 3] {
    let parent = rustix::process::getppid().map_or(1, rustix::process::Pid::as_raw_pid);
    [1, rustix::process::getpid().as_raw_pid(), parent]
}

/// A supervisor stops its own children, in the right order.
fn has_parent_among(target: &Listener, targets: &[Listener]) -> bool {
    targets.iter().any(|other| Some(other.pid) == target.parent)
}

fn tell(target: &Listener, signal: Signal) -> anyhow::Result<()> {
    match target.signal(Some(signal)) {
        Err(error) if error.raw_os_error() != Some(rustix::io::Errno::SRCH.raw_os_error()) => {
            Err(anyhow::anyhow!("failed to kill pid {} ({}): {error}", target.pid, target.command))
        }
        _ => Ok(()),
    }
}

async fn is_free_within(number: u16, limit: Duration) -> io::Result<bool> {
    let deadline = Instant::now() + limit;
    loop {
        if !Port::inspect(number)?.is_busy() {
            return Ok(true);
        }
        if Instant::now() >= deadline {
            return Ok(false);
        }
        sleep(POLL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener(pid: i32, parent: i32) -> Listener {
        Listener { pid, command: "x".to_owned(), address: String::new(), command_line: String::new(), parent: Some(parent), started: None }
    }

    #[test]
    fn spares_itself_its_parent_and_the_first_process() {
        let all = vec![listener(1, 0), listener(10, 1), listener(11, 10), listener(12, 1)];
        let pids: Vec<i32> = targets(all, [1, 11, 10]).iter().map(|target| target.pid).collect();
        assert_eq!(pids, [12]);
    }

    #[test]
    fn leaves_children_to_their_supervisor() {
        let all = [listener(20, 1), listener(21, 20)];
        assert!(!has_parent_among(&all[0], &all));
        assert!(has_parent_among(&all[1], &all));
    }
}
