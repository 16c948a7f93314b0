//! What a turn needs from the disk, read while its beginning is written to the journal: neither waits for the other.

use std::sync::Arc;

use tokio::sync::oneshot;

use crate::compaction;
use crate::models::Model;
use crate::prompt::shelf::Shelf;
use crate::runs::{Run, Runs};
use crate::store::{Context, Head, PageRequest, Past};

/// What is on its way.
#[derive(Debug)]
pub(in crate::runs) struct Reading(oneshot::Receiver<Ahead>);

/// What was read.
#[derive(Debug)]
pub(super) struct Ahead {
    shelf: Shelf,
    /// The conversation, and how much of it was read.
    past: Option<(Past, PageRequest)>,
}

impl Reading {
    /// Begins to read for a run that begins at once.
    pub(in crate::runs) fn begin(runs: &Runs, run: &Arc<Run>) -> Self {
        let (sender, receiver) = oneshot::channel();
        let (parts, run) = (Arc::clone(&runs.parts), Arc::clone(run));
        runs.spawn("reading for a turn", async move {
            let profile = parts.roster.get(&run.agent);
            // The model that will be asked, unless the session says otherwise: then the conversation is read again.
            let page = compaction::page(&parts.catalog.known(run.request.model.as_deref().or(profile.model.as_deref())));
            let (shelf, past) = tokio::join!(Shelf::read(&parts, &profile, &run.key), parts.store.past(&run.key, page));
            // Whoever cannot be read will say so when it is asked again.
            let past = past.ok().flatten();
            // Nobody waits for a run that was not accepted.
            drop(sender.send(Ahead { shelf, past: past.map(|past| (past, page)) }));
        });
        Self(receiver)
    }

    /// Waits for what was read.
    pub(super) async fn done(self) -> Option<Ahead> {
        self.0.await.ok()
    }
}

impl Ahead {
    /// Takes it apart: the conversation only if the turn that begins at `head` still stands right behind it, and `model` is shown as much of it.
    pub(super) fn into_parts(self, head: &Head, model: &Model) -> (Shelf, Option<Context>) {
        let fits = |(past, page): &(Past, PageRequest)| {
            past.session_id == head.session.session_id && past.position == head.position && *page == compaction::page(model)
        };
        (self.shelf, self.past.filter(fits).map(|(past, _)| past.context))
    }
}
