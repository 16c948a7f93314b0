//! What open pages are told: to load again, and how the surfaces of their session change.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::{Stream, StreamExt as _};
use serde_json::{Value, json};
use tokio::sync::broadcast;
use tokio_stream::wrappers::BroadcastStream;
use verso_kit::metrics::REACHED;

use crate::a2ui::{Store, Surfaces as _};

/// How many frames a page may be behind; after more it is told everything again.
const BEHIND_MAX: usize = 256;

/// How many pages may be open.
pub(crate) const PAGES_MAX: usize = 512;

/// The frame that makes a page load again.
const RELOAD: &str = "reload";

/// Tells pages. Clones tell the same ones.
#[derive(Debug, Clone)]
pub(crate) struct Live {
    news: broadcast::Sender<News>,
    pages: Arc<AtomicUsize>,
    store: Store,
}

#[derive(Debug, Clone)]
enum News {
    Changed,
    Surfaces { session: Arc<str>, frame: Arc<str> },
}

/// Counts a page while it is open.
#[derive(Debug)]
struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Live {
    pub(crate) fn new(store: Store) -> Self {
        Self { news: broadcast::Sender::new(BEHIND_MAX), pages: Arc::default(), store }
    }

    /// How many pages are open.
    pub(crate) fn pages(&self) -> usize {
        self.pages.load(Ordering::Relaxed)
    }

    /// A file has changed.
    pub(crate) fn changed(&self) {
        self.tell(News::Changed);
    }

    /// Messages have changed a session's surfaces.
    pub(crate) fn pushed(&self, session: &str, messages: &[Value]) {
        self.tell(News::Surfaces { session: session.into(), frame: frame(false, messages) });
    }

    /// A session's surfaces are gone.
    pub(crate) fn reset(&self, session: &str) {
        self.tell(News::Surfaces { session: session.into(), frame: frame(true, &[]) });
    }

    /// The frames for a page: of a session's surfaces, or of changed files. None when too many pages are open.
    pub(crate) fn watch(&self, session: Option<String>) -> Option<impl Stream<Item = Arc<str>> + Send + use<>> {
        let taken = self.pages.fetch_add(1, Ordering::Relaxed);
        let place = Place(Arc::clone(&self.pages));
        if taken >= PAGES_MAX {
            REACHED.one_more(["canvas_pages"]);
            return None;
        }
        // Whatever changes from here on is heard, so nothing falls between this and what there is now.
        let news = BroadcastStream::new(self.news.subscribe());
        let first: VecDeque<_> = session.iter().map(|session| self.everything(session)).collect();
        let live = self.clone();
        let later = news.filter_map(move |heard| {
            let _place = &place;
            let frame = match (heard, &session) {
                // Something has changed, or what has not was missed.
                (Ok(News::Changed) | Err(_), None) => Some(RELOAD.into()),
                (Ok(News::Surfaces { session: of, frame }), Some(session)) if *of == **session => Some(frame),
                (Ok(_), _) => None,
                (Err(_), Some(session)) => Some(live.everything(session)),
            };
            std::future::ready(frame)
        });
        Some(futures_util::stream::iter(first).chain(later))
    }

    /// The frame that makes a page show a session's surfaces, whatever it showed before.
    fn everything(&self, session: &str) -> Arc<str> {
        frame(true, &self.store.get(session).messages())
    }

    fn tell(&self, news: News) {
        // Without pages there is nobody to tell.
        drop(self.news.send(news));
    }
}

fn frame(reset: bool, messages: &[Value]) -> Arc<str> {
    json!({"a2ui": {"reset": reset, "messages": messages}}).to_string().into()
}
