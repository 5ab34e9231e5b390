//! `POST /v1/pause` and `/v1/resume`: a stage that is not called for a while.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Api;
use super::access::Caller;
use super::refusal::{Refusal, code};
use crate::control::pause::{PauseError, Paused, Resumed};

/// Unredacted data would go out.
const UNEDITED: &str = "E0532";
/// No such length of a pause.
const LENGTH: &str = "E0533";

/// What `POST /v1/pause` takes.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PauseRequest {
    /// The stage, such as `filter/traces`.
    pub stage: String,
    /// When it ends by itself; None: when it is resumed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u64>,
    /// Even where what the stage would have edited goes on as it came.
    #[serde(default)]
    pub force: bool,
}

/// What `POST /v1/resume` takes.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ResumeRequest {
    /// The stage.
    pub stage: String,
}

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::default().routes(routes!(pause)).routes(routes!(resume))
}

/// Has a stage not called: what it would have judged fares by its `on_fault`.
#[utoipa::path(
    post,
    path = "/v1/pause",
    request_body = PauseRequest,
    responses(
        (status = 200, body = Paused),
        (status = 404, body = Refusal, description = "No such stage."),
        (status = 422, body = Refusal, description = "Without `force`: what it would have edited would go on as it came."),
    )
)]
async fn pause(State(api): State<Api>, Caller(who): Caller, Json(request): Json<PauseRequest>) -> Response {
    let length = request.seconds.map(Duration::from_secs);
    match api.parts.control.pause(&request.stage, length, request.force, &who).await {
        Ok(paused) => Json(paused).into_response(),
        Err(error) => refused(&error),
    }
}

/// Has a paused stage called again.
#[utoipa::path(
    post,
    path = "/v1/resume",
    request_body = ResumeRequest,
    responses((status = 200, body = Resumed), (status = 404, body = Refusal, description = "No such stage."))
)]
async fn resume(State(api): State<Api>, Caller(who): Caller, Json(request): Json<ResumeRequest>) -> Response {
    match api.parts.control.resume(&request.stage, &who).await {
        Ok(resumed) => Json(resumed).into_response(),
        Err(error) => refused(&error),
    }
}

fn refused(error: &PauseError) -> Response {
    let text = error.to_string();
    match error {
        PauseError::Unknown(_) => Refusal::new(code::NOT_FOUND, text).of(StatusCode::NOT_FOUND),
        PauseError::Unedited { .. } => Refusal::new(UNEDITED, text)
            .with_help("say so with --force (\"force\": true), or set `on_fault: reject`")
            .of(StatusCode::UNPROCESSABLE_ENTITY),
        PauseError::Length => Refusal::new(LENGTH, text).of(StatusCode::UNPROCESSABLE_ENTITY),
    }
}
