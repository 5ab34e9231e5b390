//! `PUT /v1/log-level`: what the engine's own log tells, until it is said otherwise.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use tracing::Level;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Api;
use super::access::Caller;
use crate::control::history::Entry;
use crate::observe::log;

/// How much is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogLevel {
    /// Data is lost, or a stage is down.
    Error,
    /// Something is degraded.
    Warn,
    /// One line for each change of state.
    Info,
    /// What helps to find a mistake.
    Debug,
    /// Everything.
    Trace,
}

/// What `PUT /v1/log-level` takes and answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LogLevelSetting {
    /// From now on.
    pub level: LogLevel,
}

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::default().routes(routes!(log_level))
}

/// Sets what the engine's log tells, until the file says another level or the process ends. `SLUICEBOX_LOG` wins over it.
#[utoipa::path(
    put,
    path = "/v1/log-level",
    request_body = LogLevelSetting,
    responses((status = 200, body = LogLevelSetting))
)]
async fn log_level(State(api): State<Api>, Caller(who): Caller, Json(setting): Json<LogLevelSetting>) -> Response {
    let level = match setting.level {
        LogLevel::Error => Level::ERROR,
        LogLevel::Warn => Level::WARN,
        LogLevel::Info => Level::INFO,
        LogLevel::Debug => Level::DEBUG,
        LogLevel::Trace => Level::TRACE,
    };
    log::set_level(level);
    let name = level.as_str().to_lowercase();
    tracing::info!(level = name, %who, "the log tells otherwise");
    let entry = Entry::of("\"service.telemetry.logs.level\"", &format!("set to {name}"), &who);
    api.parts.control.history().note(&entry).wait().await;
    Json(setting).into_response()
}
