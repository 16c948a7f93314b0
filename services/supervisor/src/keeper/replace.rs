//! Replacing a process without a gap: the next one serves before this one is told to stop.

use tracing::info;

use super::{Keeper, Readiness, words};
use crate::launch::{Inheritance, Replaced};
use crate::process::Process;
use crate::sockets::Control;

impl Keeper {
    /// Starts the next process and waits until it serves. Afterwards the service's name belongs to it; when it does not come up,
    /// nothing has changed.
    ///
    /// Both processes accept on the shared ports meanwhile, but the next one has a control socket of its own: an answer from
    /// there can only be its own. On another one it hears from the `replaced` process, once that is told that it was replaced.
    pub(super) async fn successor(&mut self, replaced: i64) -> Result<Process, String> {
        let epoch = self.shared.epochs.mint(self.name).await.map_err(|error| words(&error))?;
        let run_dir = self.shared.launcher.run_dir();
        let mut control = Control::bind_aside(run_dir, self.name, epoch).map_err(|error| words(&error))?;
        match self.raise(&control, epoch, replaced).await {
            Ok(mut process) => {
                if let Err(error) = control.promote(run_dir, self.name) {
                    process.kill().await;
                    return Err(words(&error));
                }
                self.sockets.control = control;
                Ok(process)
            }
            Err(why) => {
                control.discard();
                Err(why)
            }
        }
    }

    async fn raise(&self, control: &Control, epoch: u64, pid: i64) -> Result<Process, String> {
        let handover = Control::bind_handover(self.shared.launcher.run_dir()).map_err(|error| words(&error))?;
        let replaced = Some(Replaced { pid, handover: &handover });
        let inherits = Inheritance { control, ports: &self.sockets.ports, replaced };
        let mut process = self.shared.launcher.start(self.name, epoch, &inherits).await.map_err(|error| words(&error))?;
        self.shared.board.update(self.name, |entry| entry.starts += 1);
        info!(service = %self.name, epoch, pid = process.pid(), "replacement started");
        match self.until_ready(&mut process, control).await {
            Readiness::Ready => Ok(process),
            Readiness::Ended(exit) => Err(exit.to_string()),
            Readiness::Stopping => {
                process.kill().await;
                Err("gateway stopping".to_owned())
            }
        }
    }

    /// Stops a process that was replaced, while its successor already serves. It is in nobody's way, so what it cannot hand over has more
    /// time than at a stop of the gateway.
    pub(super) fn retire(&mut self, mut process: Process) {
        let (name, shared, stop, excess) = (self.name, self.shared.clone(), self.stop.clone(), self.excess.take());
        self.shared.tasks.spawn("retire", async move {
            let limits = &shared.limits;
            let retired = tokio::select! {
                exit = process.retire(limits.edge_linger, &shared.at_once) => Some(exit),
                () = stop.cancelled() => None,
            };
            let exit = match retired {
                Some(exit) => exit,
                None => process.stop(limits.drain(name), &shared.at_once).await,
            };
            let exit = match excess {
                Some(why) => exit.because(&why),
                None => exit,
            };
            info!(service = %name, epoch = process.epoch, %exit, "replaced process stopped");
            shared.board.update(name, |entry| entry.last_exit = Some(exit.to_string()));
        });
    }
}
