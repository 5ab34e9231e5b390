//! What changes a running engine, and what was changed: swaps, rollbacks, reloads, generations.

use std::error::Error;
use std::path::PathBuf;

use axum::Json;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use super::{Api, Refusal, refuse};
use crate::config::model::Component;
use crate::control::history::{Entry, StageRecords};
use crate::control::who::{Claimed, Who};
use crate::control::{FileError, Replacement, SwapError, Write};

/// The header in which a client says whose it is. Nothing proves it.
pub const USER_HEADER: &str = "x-sluicebox-user";

/// What `POST /v1/swap` takes.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
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
    pub path: Option<PathBuf>,
    /// For `write`: `config` as its author wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

/// What `POST /v1/rollback` takes.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RollbackRequest {
    /// The stage.
    pub stage: String,
    /// The generation to return to; None is the one that served before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<u64>,
}

/// What `POST /v1/reload` takes.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReloadRequest {
    /// Whether stages that were swapped return to what the file says.
    #[serde(default)]
    pub force: bool,
}

/// What `GET /v1/generations` can be asked for.
#[derive(Debug, Deserialize)]
pub(super) struct Wanted {
    stage: Option<String>,
}

/// What it answers.
#[derive(Debug, Serialize)]
struct Generations {
    stages: Vec<StageRecords>,
    /// Of other parts.
    changes: Vec<Entry>,
}

pub(super) async fn swap(State(api): State<Api>, headers: HeaderMap, Json(request): Json<SwapRequest>) -> Response {
    let component = match &request.digest {
        None => None,
        Some(digest) => match api.uploads.get(digest) {
            Some(wasm) => Some(Component::Uploaded(wasm)),
            None => {
                let error = format!("no component with digest {digest} was sent to /v1/components");
                return refuse(StatusCode::NOT_FOUND, error);
            }
        },
    };
    if request.path.as_ref().is_some_and(|path| !path.is_absolute()) {
        return refuse(StatusCode::UNPROCESSABLE_ENTITY, "\"path\" must be absolute".to_owned());
    }
    let config = request.config.map(|config| config.to_string());
    let write = request.write.then_some(Write { component: request.path, text: request.text });
    let replacement = Replacement { component, config, write };
    match api.control.swap(&request.stage, replacement, who(&headers)).await {
        Ok(swapped) => {
            request.digest.iter().for_each(|digest| api.uploads.forget(digest));
            Json(swapped).into_response()
        }
        Err(error) => refused(&error),
    }
}

pub(super) async fn rollback(
    State(api): State<Api>,
    headers: HeaderMap,
    Json(request): Json<RollbackRequest>,
) -> Response {
    match api.control.rollback(&request.stage, request.to, who(&headers)).await {
        Ok(swapped) => Json(swapped).into_response(),
        Err(error) => refused(&error),
    }
}

pub(super) async fn reload(State(api): State<Api>, headers: HeaderMap, Json(request): Json<ReloadRequest>) -> Response {
    let who = who(&headers);
    match api.control.reload_file(request.force, who.clone()).await {
        Ok(reloaded) => Json(reloaded).into_response(),
        Err(error) => {
            // As after a signal: both ends of a change leave a line.
            tracing::error!(%who, "the file was not taken up: {error}");
            match error {
                FileError::Change(error) => refused(&error),
                FileError::NoFile => refuse(StatusCode::UNPROCESSABLE_ENTITY, error.to_string()),
                FileError::Invalid(_) => refuse(StatusCode::BAD_REQUEST, error.to_string()),
            }
        }
    }
}

pub(super) async fn generations(State(api): State<Api>, Query(wanted): Query<Wanted>) -> Response {
    let history = api.control.history();
    let stages = history.stages(wanted.stage.as_deref());
    match wanted.stage {
        Some(stage) if stages.is_empty() => {
            let known: Vec<_> = history.stages(None).into_iter().map(|known| known.stage).collect();
            let error = format!("nothing is known of a stage \"{stage}\"; there are: {}", known.join(", "));
            refuse(StatusCode::NOT_FOUND, error)
        }
        Some(_) => Json(Generations { stages, changes: Vec::new() }).into_response(),
        None => Json(Generations { stages, changes: history.changes() }).into_response(),
    }
}

fn who(headers: &HeaderMap) -> Who {
    Who::Api(headers.get(USER_HEADER).and_then(|name| Claimed::of(name.to_str().ok()?)))
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
    (status, Json(Refusal { error: error.to_string(), causes, step: Some(error.step().to_owned()) })).into_response()
}
