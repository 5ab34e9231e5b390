//! `GET /v1/generations`: what served at each stage, who brought it, and why it ended.

use axum::Json;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Api;
use super::refusal::{Refusal, code};
use crate::control::history::{Entry, StageRecords};

/// What `GET /v1/generations` can be asked for.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Wanted {
    /// Of this stage alone.
    stage: Option<String>,
}

/// What it answers.
#[derive(Debug, Serialize, ToSchema)]
struct Generations {
    /// By stage.
    stages: Vec<StageRecords>,
    /// Of other parts.
    changes: Vec<OtherChange>,
}

/// A change of something else than a stage.
#[derive(Debug, Serialize, ToSchema)]
struct OtherChange {
    /// Seconds since 1970.
    time: u64,
    /// What it is about, as messages name it: `engine`, `file`, `pipeline "traces"`.
    part: String,
    /// What became of it: `started`, `added`, `changed`, `removed`, `refused at configure`.
    result: String,
    /// Who asked for it.
    who: String,
}

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::default().routes(routes!(generations))
}

/// What served at each stage, who brought it, and why it ended.
#[utoipa::path(
    get,
    path = "/v1/generations",
    params(Wanted),
    responses((status = 200, body = Generations), (status = 404, body = Refusal, description = "No such stage."))
)]
async fn generations(State(api): State<Api>, Query(wanted): Query<Wanted>) -> Response {
    let history = api.parts.control.history();
    let stages = history.stages(wanted.stage.as_deref());
    match wanted.stage {
        Some(stage) if stages.is_empty() => {
            let known: Vec<_> = history.stages(None).into_iter().map(|known| known.stage).collect();
            let error = format!("nothing is known of a stage \"{stage}\"; there are: {}", known.join(", "));
            Refusal::new(code::NOT_FOUND, error).of(StatusCode::NOT_FOUND)
        }
        Some(_) => Json(Generations { stages, changes: Vec::new() }).into_response(),
        None => Json(Generations { stages, changes: history.changes().into_iter().map(OtherChange::of).collect() })
            .into_response(),
    }
}

impl OtherChange {
    fn of(entry: Entry) -> Self {
        let Entry { time, part, result, who, .. } = entry;
        Self { time, part, result, who }
    }
}
