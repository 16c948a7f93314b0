//! The signals that operators send.

use tokio::signal::unix::{Signal as Source, SignalKind, signal};

use crate::error::Error;

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    Stop(&'static str),
    Restart(&'static str),
    Reload,
}

/// The handlers of this process. They stay installed for its life.
#[derive(Debug)]
pub(crate) struct Signals {
    terminate: Source,
    interrupt: Source,
    user1: Source,
    user2: Source,
    hangup: Source,
}

impl Signals {
    pub(crate) fn install() -> Result<Self, Error> {
        let on = |kind| signal(kind).map_err(Error::Signals);
        Ok(Self {
            terminate: on(SignalKind::terminate())?,
            interrupt: on(SignalKind::interrupt())?,
            user1: on(SignalKind::user_defined1())?,
            user2: on(SignalKind::user_defined2())?,
            hangup: on(SignalKind::hangup())?,
        })
    }

    /// Waits for the next signal.
    pub(crate) async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.terminate.recv() => Signal::Stop("SIGTERM"),
            _ = self.interrupt.recv() => Signal::Stop("SIGINT"),
            _ = self.user1.recv() => Signal::Restart("SIGUSR1"),
            _ = self.user2.recv() => Signal::Restart("SIGUSR2"),
            _ = self.hangup.recv() => Signal::Reload,
        }
    }

    /// Waits for a signal to stop.
    pub(crate) async fn stop(&mut self) -> &'static str {
        loop {
            if let Signal::Stop(name) = self.next().await {
                return name;
            }
        }
    }
}
