//! What is shown of a running engine: `GET /v1/graph`, `/v1/limits`, `/v1/stages`, `/v1/config`, `/v1/decisions`. Names of the file, counts
//! and times, nothing of the telemetry.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Api;
use super::refusal::{Refusal, code};
use crate::config::duration;
use crate::config::shown::View as ConfigView;
use crate::observe::rates::{WINDOW_DEFAULT, WINDOW_MAX, WINDOW_MIN};
use crate::tail::explain::{Asked, RECENT_MAX, Recent, TraceState};
use crate::view::{Graph, Limit, StageView};

/// No such window of time.
const NO_WINDOW: &str = "E0530";
/// No such view, or no such result.
const NO_VIEW: &str = "E0531";
/// Decisions that are told of where nobody says how many.
const DECISIONS_DEFAULT: usize = 100;

/// Of which time rates are asked for.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Windowed {
    /// `1s` to `5m`; 10s if it is not given.
    window: Option<String>,
}

/// What `GET /v1/limits` answers.
#[derive(Debug, Serialize, ToSchema)]
struct Limits {
    /// Of the process, its queues, samplers, guests and tables.
    limits: Vec<Limit>,
}

/// What `GET /v1/stages` answers.
#[derive(Debug, Serialize, ToSchema)]
struct Stages {
    /// In file order.
    stages: Vec<StageView>,
}

/// Which view is asked for.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ConfigAsked {
    /// `source`: as it is written, with what it includes in its place. `resolved` (the default): with references replaced.
    view: Option<String>,
}

/// What `GET /v1/config` answers.
#[derive(Debug, Serialize, ToSchema)]
struct ConfigShown {
    /// `source` or `resolved`.
    view: &'static str,
    /// The configuration file, and those that it includes.
    files: Vec<String>,
    /// The file's tree. What may be a secret is `(secret)`: what came from the environment or from a file with one value, headers, keys.
    config: serde_json::Value,
}

/// Which decisions are asked for.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct DecisionsAsked {
    /// By this policy.
    policy: Option<String>,
    /// `kept` or `dropped`.
    result: Option<String>,
    /// At most so many; 100 if it is not given, and at most 1,000.
    limit: Option<usize>,
}

/// What `GET /v1/decisions` answers.
#[derive(Debug, Serialize, ToSchema)]
struct Decisions {
    /// The newest first.
    decisions: Vec<Recent>,
}

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::default()
        .routes(routes!(graph))
        .routes(routes!(limits))
        .routes(routes!(stages))
        .routes(routes!(stage))
        .routes(routes!(config))
        .routes(routes!(decisions))
}

/// What flows where: receivers, steps of pipelines and exporters, with rates.
#[utoipa::path(
    get,
    path = "/v1/graph",
    params(Windowed),
    responses((status = 200, body = Graph), (status = 400, body = Refusal, description = "No such window."))
)]
async fn graph(State(api): State<Api>, Query(asked): Query<Windowed>) -> Response {
    asked.answer(|window| api.parts.view.graph(window))
}

/// Every limit with its use, its high-water mark, and what happens when it is reached.
#[utoipa::path(get, path = "/v1/limits", responses((status = 200, body = Limits)))]
async fn limits(State(api): State<Api>) -> Json<Limits> {
    Json(Limits { limits: api.parts.view.limits() })
}

/// Every stage: state, generation, limits, timings, and what it did.
#[utoipa::path(
    get,
    path = "/v1/stages",
    params(Windowed),
    responses((status = 200, body = Stages), (status = 400, body = Refusal, description = "No such window."))
)]
async fn stages(State(api): State<Api>, Query(asked): Query<Windowed>) -> Response {
    asked.answer(|window| Stages { stages: api.parts.view.stages(window) })
}

/// One stage.
#[utoipa::path(
    get,
    path = "/v1/stages/{id}",
    params(("id" = String, Path, description = "The stage's name, percent-encoded: `filter%2Fhealth`."), Windowed),
    responses(
        (status = 200, body = StageView),
        (status = 400, body = Refusal, description = "No such window."),
        (status = 404, body = Refusal, description = "No such stage."),
    )
)]
async fn stage(State(api): State<Api>, Path(id): Path<String>, Query(asked): Query<Windowed>) -> Response {
    let window = match asked.window() {
        Ok(window) => window,
        Err(error) => return Refusal::new(NO_WINDOW, error).of(StatusCode::BAD_REQUEST),
    };
    let mut stages = api.parts.view.stages(window);
    match stages.iter().position(|stage| stage.stage == id) {
        Some(place) => Json(stages.swap_remove(place)).into_response(),
        None => {
            let known: Vec<_> = stages.iter().map(|stage| stage.stage.as_str()).collect();
            let error = format!("no stage \"{id}\" is running; there are: {}", known.join(", "));
            Refusal::new(code::NOT_FOUND, error).of(StatusCode::NOT_FOUND)
        }
    }
}

/// The file that is in force, without secrets.
#[utoipa::path(
    get,
    path = "/v1/config",
    params(ConfigAsked),
    responses((status = 200, body = ConfigShown), (status = 400, body = Refusal, description = "No such view."))
)]
async fn config(State(api): State<Api>, Query(asked): Query<ConfigAsked>) -> Response {
    let (view, which) = match asked.view.as_deref() {
        Some("source") => ("source", ConfigView::Source),
        Some("resolved") | None => ("resolved", ConfigView::Resolved),
        Some(other) => {
            let error = format!("there is no view \"{other}\": ask for \"source\" or \"resolved\"");
            return Refusal::new(NO_VIEW, error).of(StatusCode::BAD_REQUEST);
        }
    };
    let file = api.parts.control.file();
    Json(ConfigShown { view, config: file.shown.view(which).clone(), files: file.files }).into_response()
}

/// The last decisions of tail samplers, the newest first.
#[utoipa::path(
    get,
    path = "/v1/decisions",
    params(DecisionsAsked),
    responses((status = 200, body = Decisions), (status = 400, body = Refusal, description = "No such result."))
)]
async fn decisions(State(api): State<Api>, Query(asked): Query<DecisionsAsked>) -> Response {
    let result = match asked.result.as_deref() {
        None => None,
        Some("kept") => Some(TraceState::Kept),
        Some("dropped") => Some(TraceState::Dropped),
        Some(other) => {
            let error = format!("there is no result \"{other}\": ask for \"kept\" or \"dropped\"");
            return Refusal::new(NO_VIEW, error).of(StatusCode::BAD_REQUEST);
        }
    };
    let limit = asked.limit.unwrap_or(DECISIONS_DEFAULT).min(RECENT_MAX);
    let asked = Asked { policy: asked.policy, result, limit };
    Json(Decisions { decisions: api.parts.why.recent(asked).await }).into_response()
}

impl Windowed {
    fn window(&self) -> Result<Duration, String> {
        let Some(text) = &self.window else { return Ok(WINDOW_DEFAULT) };
        let window = duration::parse(text).ok().filter(|window| (WINDOW_MIN..=WINDOW_MAX).contains(window));
        window.ok_or_else(|| format!("no window \"{text}\": it is 1s to 5m, such as 10s"))
    }

    /// What there is to say of this window.
    pub(super) fn answer<T: Serialize>(&self, tell: impl FnOnce(Duration) -> T) -> Response {
        match self.window() {
            Ok(window) => Json(tell(window)).into_response(),
            Err(error) => Refusal::new(NO_WINDOW, error).of(StatusCode::BAD_REQUEST),
        }
    }
}
