//! What changes a running engine: swaps, rollbacks, reloads.

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;

use axum::Json;
use axum::extract::{DefaultBodyLimit, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouterExt};
use utoipa_axum::routes;

use super::Api;
use super::access::Caller;
use super::operations::{Refused, Waits, begin, run};
use super::refusal::{Refusal, code};
use crate::config::model::Component;
use crate::control::operations::Progress;
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
    params(Waits),
    request_body = SwapRequest,
    responses(
        (status = 200, body = Swapped, description = "With `?wait=true`: it serves."),
        (status = 202, body = Progress),
        (status = 404, body = Refusal, description = "No such stage, or no such component was sent."),
        (status = 409, body = Refusal, description = "Another change is in the way."),
    )
)]
async fn swap(
    State(api): State<Api>,
    caller: Caller,
    Query(waits): Query<Waits>,
    Json(request): Json<SwapRequest>,
) -> Response {
    let (stage, digest) = (request.stage.clone(), request.digest.clone());
    let begun = replacement(&api, request).and_then(|new| Ok((new, begin(&api, "swap", Some(&stage), &caller)?)));
    let (new, operation) = match begun {
        Ok(begun) => begun,
        Err(refused) => return refused.1.of(refused.0),
    };
    run(Arc::clone(&operation), waits, async move {
        let swapped = api.parts.control.swap_as(Some(operation), &stage, new, caller.0).await;
        let swapped = swapped.map_err(|error| refused(&error))?;
        digest.iter().for_each(|digest| api.uploads.forget(digest));
        Ok(swapped)
    })
    .await
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
async fn rollback(State(api): State<Api>, caller: Caller, Json(request): Json<RollbackRequest>) -> Response {
    let operation = match begin(&api, "rollback", Some(&request.stage), &caller) {
        Ok(operation) => operation,
        Err(refused) => return refused.1.of(refused.0),
    };
    run(operation, Waits { wait: true }, async move {
        let back = api.parts.control.rollback(&request.stage, request.to, caller.0).await;
        back.map_err(|error| refused(&error))
    })
    .await
}

/// Reads the file again, and brings everything to what it says.
#[utoipa::path(
    post,
    path = "/v1/reload",
    params(Waits),
    request_body = ReloadRequest,
    responses(
        (status = 200, body = Reloaded, description = "With `?wait=true`: it is in force."),
        (status = 202, body = Progress),
        (status = 409, body = Refusal, description = "Another change is in the way."),
    )
)]
async fn reload(
    State(api): State<Api>,
    caller: Caller,
    Query(waits): Query<Waits>,
    Json(request): Json<ReloadRequest>,
) -> Response {
    let operation = match begin(&api, "reload", None, &caller) {
        Ok(operation) => operation,
        Err(refused) => return refused.1.of(refused.0),
    };
    run(Arc::clone(&operation), waits, async move {
        let reloaded = api.parts.control.reload_file(Some(operation), request.force, caller.0.clone()).await;
        reloaded.map_err(|error| {
            // As after a signal: both ends of a change leave a line.
            tracing::error!(who = %caller.0, "the file was not taken up: {error}");
            let invalid = |status, code| Box::new((status, Refusal::new(code, error.to_string())));
            match &error {
                FileError::Change(error) => refused(error),
                FileError::NoFile => invalid(StatusCode::UNPROCESSABLE_ENTITY, code::CHANGE),
                FileError::Invalid(_) => invalid(StatusCode::BAD_REQUEST, code::FILE),
            }
        })
    })
    .await
}

fn replacement(api: &Api, request: SwapRequest) -> Result<Replacement, Refused> {
    let no = |status, error| Box::new((status, Refusal::new(code::CHANGE, error)));
    let component = match &request.digest {
        None => None,
        Some(digest) => {
            let error =
                || no(StatusCode::NOT_FOUND, format!("no component with digest {digest} was sent to /v1/components"));
            Some(Component::Uploaded(api.uploads.get(digest).ok_or_else(error)?))
        }
    };
    if request.path.as_ref().is_some_and(|path| !path.is_absolute()) {
        return Err(no(StatusCode::UNPROCESSABLE_ENTITY, "\"path\" must be absolute".to_owned()));
    }
    let config = request.config.map(|config| config.to_string());
    let write = request.write.then_some(Write { component: request.path, text: request.text });
    Ok(Replacement { component, config, write })
}

/// A change that was not made.
pub(super) fn refused(error: &SwapError) -> Refused {
    let status = match error {
        SwapError::UnknownStage { .. } | SwapError::NoGeneration { .. } => StatusCode::NOT_FOUND,
        SwapError::Drifted { .. } | SwapError::Stale | SwapError::Cancelled => StatusCode::CONFLICT,
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
    Box::new((status, Refusal { causes, step, ..Refusal::new(code::CHANGE, error.to_string()) }))
}
