//! What changes a running engine: swaps, rollbacks, reloads.

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;

use axum::Json;
use axum::extract::{DefaultBodyLimit, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouterExt};
use utoipa_axum::routes;

use super::Api;
use super::access::Caller;
use super::operations::{Refused, Waits, begin, run};
use super::refusal::{Refusal, code};
use super::trials::{self, CareRequest, care};
use crate::config::model::Component;
use crate::control::operations::Progress;
use crate::control::trials::Planned;
use crate::control::{FileError, Reloaded, Replacement, SwapError, Swapped, Write};

/// Longest `POST /v1/swap`: a configuration may hold as much as a file may, and may be sent as JSON and as it was written.
pub(super) const SWAP_BYTES_MAX: usize = 4 << 20;

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
    /// How the candidate is tried before it serves.
    #[serde(default)]
    pub care: CareRequest,
}

/// How swaps are asked for.
#[derive(Clone, Copy, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct SwapQuery {
    /// Answer at the operation's end, with what came of it.
    #[serde(default)]
    wait: bool,
    /// Build and probe the candidate, tell what would become of the swap, and change nothing.
    #[serde(default)]
    dry_run: bool,
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

/// What becomes of a swap.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
enum SwapAnswer {
    /// It serves.
    Swapped(Box<Swapped>),
    /// It would, after a dry run.
    Planned(Box<Planned>),
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
    params(SwapQuery),
    request_body = SwapRequest,
    responses(
        (status = 200, body = SwapAnswer, description = "With `?wait=true`: it serves; with `?dry_run=true` too: what would be done."),
        (status = 202, body = Progress),
        (status = 404, body = Refusal, description = "No such stage, or no such component was sent."),
        (status = 409, body = Refusal, description = "Another change is in the way."),
    )
)]
async fn swap(
    State(api): State<Api>,
    caller: Caller,
    Query(SwapQuery { wait, dry_run }): Query<SwapQuery>,
    Json(request): Json<SwapRequest>,
) -> Response {
    let (stage, digest) = (request.stage.clone(), request.digest.clone());
    let kind = if dry_run { "dry_run" } else { "swap" };
    let begun = replacement(&api, request).and_then(|new| Ok((new, begin(&api, kind, Some(&stage), &caller)?)));
    let (new, operation) = match begun {
        Ok(begun) => begun,
        Err(refused) => return refused.1.of(refused.0),
    };
    run(Arc::clone(&operation), Waits { wait }, async move {
        if dry_run {
            let planned = api.parts.control.plan(Some(operation), &stage, new).await;
            return planned.map(|planned| SwapAnswer::Planned(Box::new(planned))).map_err(|error| refused(&error));
        }
        let swapped = api.parts.control.swap_as(Some(operation), &stage, new, caller.0).await;
        let swapped = swapped.map_err(|error| refused(&error))?;
        digest.iter().for_each(|digest| api.uploads.forget(digest));
        Ok(SwapAnswer::Swapped(Box::new(swapped)))
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
    let care = care(&request.care)?;
    let component = component(api, request.digest.as_deref())?;
    if request.path.as_ref().is_some_and(|path| !path.is_absolute()) {
        let refusal = Refusal::new(code::CHANGE, "\"path\" must be absolute");
        return Err(Box::new((StatusCode::UNPROCESSABLE_ENTITY, refusal)));
    }
    let config = request.config.map(|config| config.to_string());
    let write = request.write.then_some(Write { component: request.path, text: request.text });
    Ok(Replacement { component, config, write, care })
}

/// A component that was sent before.
pub(super) fn component(api: &Api, digest: Option<&str>) -> Result<Option<Component>, Refused> {
    let Some(digest) = digest else { return Ok(None) };
    let unknown = || {
        let error = format!("no component with digest {digest} was sent to /v1/components");
        Box::new((StatusCode::NOT_FOUND, Refusal::new(code::CHANGE, error)))
    };
    Ok(Some(Component::Uploaded(api.uploads.get(digest).ok_or_else(unknown)?)))
}

/// A change that was not made.
pub(super) fn refused(error: &SwapError) -> Refused {
    let status = match error {
        SwapError::UnknownStage { .. } | SwapError::NoGeneration { .. } => StatusCode::NOT_FOUND,
        SwapError::Drifted { .. } | SwapError::Stale | SwapError::Cancelled | SwapError::Overtaken { .. } => {
            StatusCode::CONFLICT
        }
        SwapError::OtherChanges { .. }
        | SwapError::FileOnly { .. }
        | SwapError::Build { .. }
        | SwapError::New { .. }
        | SwapError::Unprepared { .. }
        | SwapError::Gone { .. }
        | SwapError::Worse { .. }
        | SwapError::NotWritten { .. } => StatusCode::UNPROCESSABLE_ENTITY,
        SwapError::Abandoned(_) => StatusCode::INTERNAL_SERVER_ERROR,
    };
    let causes = std::iter::successors(error.source(), |&cause| cause.source()).map(ToString::to_string).collect();
    let step = Some(error.step().to_owned());
    let refusal = match error {
        SwapError::Worse { stage, .. } => Refusal::new(trials::WORSE, error.to_string()).with_help(format!(
            "look at it with `sluicebox tap {stage} --diff`; if this is what you want, `--force` overrules the guards"
        )),
        SwapError::Overtaken { .. } => Refusal::new(trials::OVERTAKEN, error.to_string()),
        _ => Refusal::new(code::CHANGE, error.to_string()),
    };
    Box::new((status, Refusal { causes, step, ..refusal }))
}
