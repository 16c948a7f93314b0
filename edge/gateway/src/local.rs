//! The methods that the edge answers itself, registered by their request types.

mod canvas;
pub(crate) mod config;
mod devices;
pub(crate) mod follow;
mod health;
mod host;
mod logs;
mod nodes;
mod presence;
mod skills;
mod users;
mod wizard;

use std::collections::HashMap;
use std::future::ready;
use std::pin::Pin;

use serde::Serialize;
use serde::de::DeserializeOwned;
use verso_proto::methods::{Call, Method};
use verso_protocol::ErrorShape;
use verso_protocol::validation::unreadable;

use crate::dispatch::Asking;
use crate::error::fault;

/// An answer: the payload as JSON.
pub(crate) type Answer = Result<String, ErrorShape>;

type Handler = Box<dyn Fn(Asking, &str) -> Pin<Box<dyn Future<Output = Answer> + Send>> + Send + Sync>;

/// The handlers of the edge's own methods, by wire name.
pub(crate) struct Local {
    handlers: HashMap<&'static str, Handler>,
}

impl Local {
    pub(crate) fn new() -> Self {
        let mut local = Self { handlers: HashMap::new() };
        health::register(&mut local);
        devices::register(&mut local);
        canvas::register(&mut local);
        config::register(&mut local);
        follow::register(&mut local);
        logs::register(&mut local);
        nodes::register(&mut local);
        presence::register(&mut local);
        host::register(&mut local);
        users::register(&mut local);
        skills::register(&mut local);
        wizard::register(&mut local);
        local
    }

    /// Registers the handler of one method.
    fn on<C, F, W>(&mut self, handler: F)
    where
        C: Call + DeserializeOwned + Send,
        C::Response: Serialize + Send,
        F: Fn(Asking, C) -> W + Send + Sync + 'static,
        W: Future<Output = Result<C::Response, ErrorShape>> + Send + 'static,
    {
        self.on_rendered::<C, _, _>(move |asking, request| {
            let response = handler(asking, request);
            async move { serde_json::to_string(&response.await?).map_err(|error| fault(&error)) }
        });
    }

    /// Registers the handler of one method that has its answer as JSON already.
    fn on_rendered<C, F, W>(&mut self, handler: F)
    where
        C: Call + DeserializeOwned + Send,
        F: Fn(Asking, C) -> W + Send + Sync + 'static,
        W: Future<Output = Answer> + Send + 'static,
    {
        let boxed: Handler = Box::new(move |asking, params| match serde_json::from_str::<C>(params) {
            Ok(request) => Box::pin(handler(asking, request)),
            Err(error) => Box::pin(ready(Err(ErrorShape::invalid(unreadable(C::METHOD.name, &error))))),
        });
        self.handlers.insert(C::METHOD.name, boxed);
    }

    /// Whether the edge has an answer of its own to a method that a service serves.
    pub(crate) fn knows(&self, method: &Method) -> bool {
        self.handlers.contains_key(method.name)
    }

    /// Answers a call; none when the edge has no such method.
    pub(crate) fn call(&self, method: &Method, asking: Asking, params: &str) -> Option<Pin<Box<dyn Future<Output = Answer> + Send>>> {
        self.handlers.get(method.name).map(|handler| handler(asking, params))
    }
}

impl std::fmt::Debug for Local {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_list().entries(self.handlers.keys()).finish()
    }
}
