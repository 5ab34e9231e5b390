//! What changes a running engine: swaps, rollbacks, reloads.

use std::error::Error;
use std::path::PathBuf;

use axum::Json;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouterExt};
use utoipa_axum::routes;

use super::Api;
use super::access::Caller;
use super::refusal::{Refusal, code};
use crate::config::model::Component;
use crate::control::{FileError, Reloaded, Replacement, SwapError, Swapped, Write};

/// Longest `POST /v1/swap`: a configuration may hold as much as a file may, and may be sent as JSON and as it was written.
const SWAP_BYTES_MAX: usize = 4 << 20;

/// What `POST /v1/swap` takes.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SwapRequest {
    /// The stage, such as `filter/traces`.
    pub stage: String,
    /// Digest of a component sent to `POST /v1/components`; None keeps the serving one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// The new configuration; None keeps the serving one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<serde_json::Value>,
    /// Have the configuration file say it, too.
    #[serde(default)]
    pub write: bool,
    /// For `write`: where the component lies, an absolute path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub path: Option<PathBuf>,
    /// For `write`: `config` as its author wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

/// What `POST /v1/rollback` takes.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RollbackRequest {
    /// The stage.
    pub stage: String,
    /// The generation to return to; None is the one that served before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<u64>,
}

/// What `POST /v1/reload` takes.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReloadRequest {
    /// Whether stages that were swapped return to what the file says.
    #[serde(default)]
    pub force: bool,
}

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::default()
        .routes(routes!(swap).layer(DefaultBodyLimit::max(SWAP_BYTES_MAX)))
        .routes(routes!(rollback))
        .routes(routes!(reload))
}

/// Replaces a stage's component, its configuration or both.
#[utoipa::path(
    post,
    path = "/v1/swap",
    request_body = SwapRequest,
    responses(
        (status = 200, body = Swapped),
        (status = 404, body = Refusal, description = "No such stage, or no such component was sent."),
        (status = 409, body = Refusal, description = "Another change is in the way."),
    )
)]
async fn swap(State(api): State<Api>, Caller(who): Caller, Json(request): Json<SwapRequest>) -> Response {
    let component = match &request.digest {
        None => None,
        Some(digest) => match api.uploads.get(digest) {
            Some(wasm) => Some(Component::Uploaded(wasm)),
            None => {
                let error = format!("no component with digest {digest} was sent to /v1/components");
                return Refusal::new(code::CHANGE, error).of(StatusCode::NOT_FOUND);
            }
        },
    };
    if request.path.as_ref().is_some_and(|path| !path.is_absolute()) {
        return Refusal::new(code::CHANGE, "\"path\" must be absolute").of(StatusCode::UNPROCESSABLE_ENTITY);
    }
    let config = request.config.map(|config| config.to_string());
    let write = request.write.then_some(Write { component: request.path, text: request.text });
    let replacement = Replacement { component, config, write };
    match api.parts.control.swap(&request.stage, replacement, who).await {
        Ok(swapped) => {
            request.digest.iter().for_each(|digest| api.uploads.forget(digest));
            Json(swapped).into_response()
        }
        Err(error) => refused(&error),
    }
}

/// Has a stage return to what served before.
#[utoipa::path(
    post,
    path = "/v1/rollback",
    request_body = RollbackRequest,
    responses(
        (status = 200, body = Swapped),
        (status = 404, body = Refusal, description = "No such stage, or no such generation."),
        (status = 409, body = Refusal, description = "Another change is in the way."),
    )
)]
async fn rollback(State(api): State<Api>, Caller(who): Caller, Json(request): Json<RollbackRequest>) -> Response {
    match api.parts.control.rollback(&request.stage, request.to, who).await {
        Ok(swapped) => Json(swapped).into_response(),
        Err(error) => refused(&error),
    }
}

/// Reads the file again, and brings everything to what it says.
#[utoipa::path(
    post,
    path = "/v1/reload",
    request_body = ReloadRequest,
    responses(
        (status = 200, body = Reloaded),
        (status = 409, body = Refusal, description = "Another change is in the way."),
    )
)]
async fn reload(State(api): State<Api>, Caller(who): Caller, Json(request): Json<ReloadRequest>) -> Response {
    match api.parts.control.reload_file(request.force, who.clone()).await {
        Ok(reloaded) => Json(reloaded).into_response(),
        Err(error) => {
            // As after a signal: both ends of a change leave a line.
            tracing::error!(%who, "the file was not taken up: {error}");
            match error {
                FileError::Change(error) => refused(&error),
                FileError::NoFile => Refusal::new(code::CHANGE, error.to_string()).of(StatusCode::UNPROCESSABLE_ENTITY),
                FileError::Invalid(_) => Refusal::new(code::CHANGE, error.to_string()).of(StatusCode::BAD_REQUEST),
            }
        }
    }
}

fn refused(error: &SwapError) -> Response {
    let status = match error {
        SwapError::UnknownStage { .. } | SwapError::NoGeneration { .. } => StatusCode::NOT_FOUND,
        SwapError::Drifted { .. } | SwapError::Stale => StatusCode::CONFLICT,
        SwapError::OtherChanges { .. }
        | SwapError::FileOnly { .. }
        | SwapError::Build { .. }
        | SwapError::New { .. }
        | SwapError::Unprepared { .. }
        | SwapError::Gone { .. }
        | SwapError::NotWritten { .. } => StatusCode::UNPROCESSABLE_ENTITY,
        SwapError::Abandoned(_) => StatusCode::INTERNAL_SERVER_ERROR,
    };
    let causes = std::iter::successors(error.source(), |&cause| cause.source()).map(ToString::to_string).collect();
    let step = Some(error.step().to_owned());
    Refusal { causes, step, ..Refusal::new(code::CHANGE, error.to_string()) }.of(status)
}
