//! `POST /v1/drain`: the process stops, as after SIGTERM.

use axum::Json;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Api;
use super::access::Caller;
use super::operations::{Waits, accepted, conflicts};
use super::refusal::Refusal;
use crate::control::Drained;
use crate::control::operations::Progress;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::default().routes(routes!(drain))
}

/// Stops the process: it is not ready any more, lets nothing in, finishes what is inside within its drain time, and ends.
#[utoipa::path(
    post,
    path = "/v1/drain",
    params(Waits),
    responses(
        (status = 200, body = Drained, description = "With `?wait=true`: it is empty, and ends now."),
        (status = 202, body = Progress),
        (status = 409, body = Refusal, description = "It stops already."),
    )
)]
async fn drain(State(api): State<Api>, Caller(who): Caller, Query(waits): Query<Waits>) -> Response {
    match api.parts.control.begin_drain(&who) {
        Ok(operation) if waits.wait => Json(operation.until_ended().await.result).into_response(),
        Ok(operation) => accepted(&operation),
        Err(conflict) => {
            let (status, refusal) = *conflicts(&conflict);
            refusal.of(status)
        }
    }
}
