//! Taking another configuration over while the service runs.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwapOption;
use tonic::service::Routes;
use tracing::info;

use crate::config::File;
use crate::telemetry;

type Taking = Pin<Box<dyn Future<Output = Result<Option<Routes>, String>> + Send>>;
type Take = Arc<dyn Fn(Arc<File>) -> Taking + Send + Sync>;

/// What a service does when its configuration changes. Clones share it.
#[derive(Clone, Default)]
pub struct Reload(Arc<Inner>);

#[derive(Default)]
struct Inner {
    take: Mutex<Option<Take>>,
    /// What is served instead of the routes that the service began with.
    routes: Arc<ArcSwapOption<Routes>>,
    /// Done when the supervisor has news about the services.
    hear: Mutex<Option<Arc<dyn Fn() + Send + Sync>>>,
    /// One change at a time.
    turn: tokio::sync::Mutex<()>,
}

impl fmt::Debug for Reload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reload").finish_non_exhaustive()
    }
}

impl Reload {
    /// Has `take` called with every later configuration. It puts the whole of it in force and returns what is served from now on, if that
    /// differs; or it changes nothing and says why. Calls under way are finished by what they began with.
    pub fn on_change<F, T>(&self, take: F)
    where
        F: Fn(Arc<File>) -> T + Send + Sync + 'static,
        T: Future<Output = Result<Option<Routes>, String>> + Send + 'static,
    {
        let take: Take = Arc::new(move |file| Box::pin(take(file)));
        *self.0.take.lock().unwrap_or_else(PoisonError::into_inner) = Some(take);
    }

    /// The same for a service that keeps its routes, as long as there is one: dropping it ends that.
    pub fn on_change_of<S, E>(&self, service: &Arc<S>, take_over: fn(&S, &File) -> Result<(), E>)
    where
        S: Send + Sync + 'static,
        E: fmt::Display + 'static,
    {
        let service = Arc::downgrade(service);
        self.on_change(move |file| {
            let taken = service.upgrade().map_or(Ok(()), |service| take_over(&service, &file)).map_err(|error| error.to_string());
            async move { taken.map(|()| None) }
        });
    }

    /// Has `hear` called when the supervisor has news about the services.
    pub fn on_notice(&self, hear: impl Fn() + Send + Sync + 'static) {
        *self.0.hear.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(hear));
    }

    /// Says that there is news about the services.
    pub(crate) fn notice(&self) {
        let hear = self.0.hear.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(hear) = hear {
            hear();
        }
    }

    /// Puts a configuration in force, or says why everything stays as it is.
    pub async fn apply(&self, file: File) -> Result<(), String> {
        let _turn = self.0.turn.lock().await;
        let file = Arc::new(file);
        let logging = file.section("logging").map_err(|error| error.to_string())?;
        let take = self.0.take.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(take) = take
            && let Some(routes) = take(Arc::clone(&file)).await?
        {
            self.0.routes.store(Some(Arc::new(routes)));
        }
        telemetry::retune(&logging);
        info!("config hot reload applied");
        Ok(())
    }

    /// What is served instead of the routes that the service began with.
    pub(crate) fn routes(&self) -> Arc<ArcSwapOption<Routes>> {
        Arc::clone(&self.0.routes)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn a_refusal_is_passed_on_and_a_service_without_wishes_takes_everything() {
        let reload = Reload::default();
        reload.apply(File::empty()).await.unwrap();
        let calls = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&calls);
        reload.on_change(move |_| {
            let first = seen.fetch_add(1, Ordering::Relaxed) == 0;
            async move { if first { Err("not that".to_owned()) } else { Ok(Some(Routes::default())) } }
        });
        assert_eq!(reload.apply(File::empty()).await, Err("not that".to_owned()));
        assert!(reload.routes().load().is_none());
        reload.apply(File::empty()).await.unwrap();
        assert!(reload.routes().load().is_some());
        let broken = File::from_value(serde_json::json!({"logging": {"level": 7}}));
        assert!(reload.apply(broken).await.is_err());
        assert_eq!(calls.load(Ordering::Relaxed), 2, "nobody is asked about what nobody can use");
    }
}
