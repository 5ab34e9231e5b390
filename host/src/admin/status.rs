//! `GET /v1/status`: what serves, and how it fares.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Api;
use crate::control::Serving;
use crate::memory::tail::TailBounds;

/// What runs.
#[derive(Debug, Serialize, ToSchema)]
struct Status {
    /// Of the engine.
    version: &'static str,
    /// Every stage, in file order.
    stages: Vec<Serving>,
    /// What each tail sampler may hold in each of its pipelines.
    tail_samplers: Vec<TailBounds>,
}

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::default().routes(routes!(status))
}

/// What serves at each stage, and how it fares.
#[utoipa::path(get, path = "/v1/status", responses((status = 200, body = Status)))]
async fn status(State(api): State<Api>) -> Json<Status> {
    Json(Status {
        version: env!("CARGO_PKG_VERSION"),
        stages: api.parts.control.serving(),
        tail_samplers: api.parts.samplers.bounds.load().to_vec(),
    })
}
