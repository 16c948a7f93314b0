//! What every process serves to the edge: everything that it counts.

use tonic::{Request, async_trait};
use verso_proto::supervisor::v1::telemetry_server::Telemetry;
use verso_proto::supervisor::v1::{MeasureRequest, MeasureResponse};

use super::{Reply, reply};
use crate::metrics;

/// Answers for the process of that service.
pub(super) struct Adapter(pub(super) &'static str);

#[async_trait]
impl Telemetry for Adapter {
    async fn measure(&self, _: Request<MeasureRequest>) -> Reply<MeasureResponse> {
        reply(MeasureResponse { families: metrics::measure(self.0).await })
    }
}
