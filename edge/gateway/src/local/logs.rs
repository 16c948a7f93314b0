//! `logs.tail`: log lines from a byte offset.

use std::io;

use verso_kit::telemetry::{Logging, Tail};
use verso_proto::edge::v1::LogsTailRequest;
use verso_protocol::{Code, ErrorShape};

use super::Local;

pub(super) fn register(local: &mut Local) {
    local.on::<LogsTailRequest, _, _>(|asking, request| async move {
        let read = move || {
            let context = &asking.gateway.context;
            let logging: Logging = asking.gateway.running_config().section("logging").unwrap_or_default();
            Tail::current(&logging, &context.state_dir, &context.clock).read(&request)
        };
        let tail = tokio::task::spawn_blocking(read).await.map_err(io::Error::other).flatten();
        tail.map_err(|error| ErrorShape::new(Code::Unavailable, format!("log read failed: {error}")))
    });
}
