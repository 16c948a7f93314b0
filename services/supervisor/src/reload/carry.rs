//! What a change asks of each service, done one service after the other; one that does not get on with it goes back alone.

use std::sync::Arc;

use serde_json::Value;
use tracing::{error, info, warn};
use verso_config::{Action, Plan, ReloadMode, SERVICES, changed_paths};

use super::Reloader;
use crate::board::State as Faring;
use crate::config::Secrets;
use crate::error::Error;
use crate::service_name::ServiceName;

/// An accepted change.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) generation: u64,
    pub(super) value: Arc<Value>,
    pub(super) mode: ReloadMode,
    /// What processes that run were given.
    pub(super) old_secrets: Secrets,
}

impl Reloader {
    pub(super) async fn carry_out(&self, change: &Change) {
        for name in SERVICES.iter().filter_map(|name| name.parse::<ServiceName>().ok()).filter(|name| self.fleet.has(*name)) {
            self.give(name, change).await;
        }
        self.fleet.notice().await;
    }

    /// Gives one service the new configuration, and does with it what the difference to its own asks for.
    async fn give(&self, name: ServiceName, change: &Change) {
        let own = self.lock().own.get(&name).cloned().unwrap_or_default();
        let entry = self.fleet.shared.board.get(name).unwrap_or_default();
        // What an operator has drained is not started by a change.
        let action = self.action(name, &own, change).filter(|_| entry.state != Faring::Stopped);
        if !self.hand_over(name, &change.value) {
            return;
        }
        // One that was not serving before has nothing good to go back to: the next try is with the newest.
        let proven = entry.state == Faring::Serving;
        let outcome = match action {
            Some(Action::Hot) if proven => self.apply(name, change.generation).await,
            Some(Action::Hot | Action::Restart) => {
                info!(service = %name, "config change requires a restart of the service");
                self.fleet.restart(name.as_str()).await.map(drop).map_err(|error| error.to_string())
            }
            None => Ok(()),
        };
        match outcome {
            Err(why) if proven => return self.take_back(name, &own, change.generation, &why).await,
            Err(why) => {
                let problem = format!("does not come up with generation {}: {why}", change.generation);
                error!(service = %name, generation = change.generation, why, "the service does not come up with the new configuration; it goes on trying");
                self.fleet.shared.board.update(name, |entry| entry.config_problem = Some(problem));
            }
            Ok(()) => self.fleet.shared.board.update(name, |entry| entry.config_problem = None),
        }
        self.lock().own.insert(name, Arc::clone(&change.value));
        self.fleet.shared.board.update(name, |entry| entry.config_generation = change.generation);
    }

    /// Works out what the service has to do to get from what it has to the newest.
    fn action(&self, name: ServiceName, own: &Value, change: &Change) -> Option<Action> {
        let plan = Plan::of(&changed_paths(own, &change.value), change.mode);
        let action = plan.services.get(name.as_str()).copied()?;
        // A process is given its secrets when it starts.
        let secrets_differ = || self.fleet.shared.launcher.secrets_differ(name, &change.old_secrets);
        if action == Action::Hot && change.mode != ReloadMode::Hot && secrets_differ() { Some(Action::Restart) } else { Some(action) }
    }

    /// Has a running process take over what was handed to it. One that does not answer is restarted with it.
    async fn apply(&self, name: ServiceName, generation: u64) -> Result<(), String> {
        match self.fleet.apply(name, generation).await {
            Ok(None) => {
                info!(service = %name, generation, "config hot reload applied");
                Ok(())
            }
            Ok(Some(refusal)) => Err(refusal),
            Err(status) => {
                warn!(service = %name, error = &status as &dyn std::error::Error, "the service did not take its configuration over; it is restarted");
                self.fleet.restart(name.as_str()).await.map(drop).map_err(|error| error.to_string())
            }
        }
    }

    /// Puts one service back to what it had, alone. One that refused has it still; one that was restarted is restarted again.
    async fn take_back(&self, name: ServiceName, own: &Arc<Value>, generation: u64, why: &str) {
        let problem = format!("generation {generation} was taken back: {why}");
        error!(service = %name, generation, why, "the service does not get on with the new configuration; it goes back to the last good one");
        self.fleet.shared.board.update(name, |entry| entry.config_problem = Some(problem));
        if !self.hand_over(name, own) {
            return;
        }
        let serves = self.fleet.shared.board.get(name).is_some_and(|entry| entry.state == Faring::Serving);
        if !serves && let Err(error) = self.fleet.restart(name.as_str()).await {
            error!(service = %name, error = &error as &dyn std::error::Error, "the service does not come up with the last good configuration either");
        }
    }

    /// Puts a configuration where the service reads it.
    fn hand_over(&self, name: ServiceName, value: &Value) -> bool {
        let Err(error) = self.fleet.shared.launcher.hand_over(name, value) else { return true };
        let problem = format!("could not hand the configuration over: {error}");
        error!(service = %name, error = &error as &dyn std::error::Error, "configuration not handed over; the service keeps its own");
        self.fleet.shared.board.update(name, |entry| entry.config_problem = Some(problem));
        false
    }

    /// Gives one service alone an earlier state of the configuration, until the file changes next. Returns its number.
    pub(crate) async fn roll_back_to(&self, name: ServiceName, generation: Option<u64>) -> Result<u64, Error> {
        let _turn = self.turn.lock().await;
        let (number, earlier) = (self.source.earlier)(generation).map_err(Error::NoEarlier)?;
        if !self.hand_over(name, &earlier) {
            return Err(Error::NotHandedOver(name));
        }
        self.lock().own.insert(name, Arc::new(earlier));
        let words = format!("an operator gave it generation {number} of the file, until the file changes");
        self.fleet.shared.board.update(name, |entry| entry.config_problem = Some(words));
        let restarted = self.fleet.restart(name.as_str()).await;
        self.fleet.notice().await;
        restarted.map(|_| number)
    }
}
