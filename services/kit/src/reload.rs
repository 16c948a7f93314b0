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
type Lay = Arc<dyn Fn(&File) -> File + Send + Sync>;

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
    /// The newest file that was put in force, as it was written.
    file: ArcSwapOption<File>,
    /// What is laid over every file.
    lay: Mutex<Option<Lay>>,
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

    /// Returns the newest file that was put in force, as it was written; none as long as the one counts that the service began with.
    pub fn file(&self) -> Option<Arc<File>> {
        self.0.file.load_full()
    }

    /// Has `lay` laid over the file in force and over every later one, in place of what was laid over it before; or says why everything
    /// stays as it is. `first` is the file that the service began with.
    pub async fn lay_over(&self, first: &Arc<File>, lay: impl Fn(&File) -> File + Send + Sync + 'static) -> Result<(), String> {
        let _turn = self.0.turn.lock().await;
        let lay: Lay = Arc::new(lay);
        let file = self.file().unwrap_or_else(|| Arc::clone(first));
        self.put_in_force(lay(&file)).await?;
        *self.0.lay.lock().unwrap_or_else(PoisonError::into_inner) = Some(lay);
        Ok(())
    }

    /// Puts a configuration in force, or says why everything stays as it is.
    pub async fn apply(&self, file: File) -> Result<(), String> {
        let _turn = self.0.turn.lock().await;
        let lay = self.0.lay.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let laid = lay.map_or_else(|| file.clone(), |lay| lay(&file));
        self.put_in_force(laid).await?;
        self.0.file.store(Some(Arc::new(file)));
        Ok(())
    }

    async fn put_in_force(&self, file: File) -> Result<(), String> {
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
    async fn what_is_laid_over_a_file_is_laid_over_the_next_one_too() {
        let file = |value| File::from_value(serde_json::json!({"a": value}));
        let lay = |b: u8| {
            move |file: &File| {
                let mut value = file.value().clone();
                value["b"] = b.into();
                file.clone().with_value(value)
            }
        };
        let (reload, seen) = (Reload::default(), Arc::new(Mutex::new(Vec::new())));
        let taken = Arc::clone(&seen);
        reload.on_change(move |file| {
            let broken = file.value()["b"] == 9;
            if !broken {
                taken.lock().unwrap().push(file.value().to_string());
            }
            async move { if broken { Err("not that".to_owned()) } else { Ok(None) } }
        });
        let first = Arc::new(file(1));
        reload.lay_over(&first, lay(5)).await.unwrap();
        reload.apply(file(2)).await.unwrap();
        assert_eq!(reload.lay_over(&first, lay(9)).await, Err("not that".to_owned()));
        reload.apply(file(3)).await.unwrap();
        reload.lay_over(&first, lay(6)).await.unwrap();
        let expected = [r#"{"a":1,"b":5}"#, r#"{"a":2,"b":5}"#, r#"{"a":3,"b":5}"#, r#"{"a":3,"b":6}"#];
        assert_eq!(*seen.lock().unwrap(), expected);
        assert_eq!(reload.file().unwrap().value()["b"], serde_json::Value::Null, "the file itself is as it was written");
    }

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
