//! What groups are called. Asking takes a question to the network, which must not wait in the way of messages: a title is known with the
//! message after the one that asked for it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use verso_kit::tasks::Tasks;
use whatsapp_rust::{Client, Jid};

/// How long a title is believed.
const FRESH: Duration = Duration::from_mins(5);

/// Groups that are remembered.
const GROUPS_MAX: usize = 1_000;

/// The titles of groups. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Titles {
    known: Arc<Mutex<HashMap<String, Title>>>,
    tasks: Tasks,
}

#[derive(Debug, Clone)]
struct Title {
    text: Option<String>,
    asked: Instant,
}

impl Titles {
    pub(crate) fn new(tasks: Tasks) -> Self {
        Self { known: Arc::default(), tasks }
    }

    pub(crate) fn tasks(&self) -> &Tasks {
        &self.tasks
    }

    /// Returns the title of a group as far as it is known, and asks for it when it is not, or not any more.
    pub(crate) fn of(&self, client: &Arc<Client>, group: &Jid) -> Option<String> {
        let name = group.to_non_ad_string();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let text = known.get(&name).and_then(|title| title.text.clone());
        if known.get(&name).is_some_and(|title| title.asked.elapsed() < FRESH) {
            return text;
        }
        if known.len() >= GROUPS_MAX && !known.contains_key(&name) {
            known.clear();
        }
        known.insert(name.clone(), Title { text: text.clone(), asked: Instant::now() });
        let (titles, client, group) = (Arc::clone(&self.known), Arc::clone(client), group.clone());
        self.tasks.spawn("title", async move {
            match client.groups().get_metadata(&group).await {
                Ok(group) => {
                    let mut known = titles.lock().unwrap_or_else(PoisonError::into_inner);
                    known.insert(name, Title { text: Some(group.subject), asked: Instant::now() });
                }
                Err(error) => tracing::debug!(%error, "the title of a group is not known"),
            }
        });
        text
    }
}
