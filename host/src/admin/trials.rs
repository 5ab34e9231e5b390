//! Shadows, and how a swap says that its candidate is tried before it serves.

use std::sync::Arc;
use std::time::Duration;

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
use super::changes::{SWAP_BYTES_MAX, component, refused};
use super::operations::{Refused, Waits, begin, run};
use super::refusal::Refusal;
use crate::config::duration;
use crate::control::Replacement;
use crate::control::operations::Progress;
use crate::control::trials::{Care, HOLD_DEFAULT, SHADOW_DEFAULT, SHADOW_PERCENT_DEFAULT, ShadowReport, Terms};

/// A candidate that is worse than what serves.
pub const WORSE: &str = "E0550";
/// A trial that ended since its stage was changed.
pub const OVERTAKEN: &str = "E0551";
/// A share or a time that cannot be.
pub const TERMS: &str = "E0552";

/// How a swap's candidate is tried before it serves.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct CareRequest {
    /// Compare it on copies first, for so long: `10m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow: Option<String>,
    /// The share that the shadow sees, in percent: above 0, at most 50.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow_percent: Option<f64>,
    /// Have it judge this share first, in percent: above 0, at most 50.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary_percent: Option<f64>,
    /// For so long: `2m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<String>,
    /// Have it serve whatever its cases and the guards say. What cannot be built cannot be forced.
    #[serde(default)]
    pub force: bool,
}

/// What `POST /v1/shadow` takes.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ShadowRequest {
    /// The stage, such as `filter/traces`.
    pub stage: String,
    /// Digest of a component sent to `POST /v1/components`; None is the serving one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// The candidate's configuration; None is the serving one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<serde_json::Value>,
    /// The share that it sees, in percent: above 0, at most 50.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent: Option<f64>,
    /// For how long: `10m`.
    #[serde(default, rename = "for", skip_serializing_if = "Option::is_none")]
    pub lasts: Option<String>,
}

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::default().routes(routes!(shadow).layer(DefaultBodyLimit::max(SWAP_BYTES_MAX)))
}

/// Compares a candidate with what serves on copies of what comes in. Nothing of it serves.
#[utoipa::path(
    post,
    path = "/v1/shadow",
    params(Waits),
    request_body = ShadowRequest,
    responses(
        (status = 200, body = ShadowReport, description = "With `?wait=true`: what was found."),
        (status = 202, body = Progress),
        (status = 404, body = Refusal, description = "No such stage, or no such component was sent."),
        (status = 409, body = Refusal, description = "Another change is in the way."),
    )
)]
async fn shadow(
    State(api): State<Api>,
    caller: Caller,
    Query(waits): Query<Waits>,
    Json(request): Json<ShadowRequest>,
) -> Response {
    let stage = request.stage.clone();
    let begun = of_shadow(&api, request)
        .and_then(|(new, terms)| Ok((new, terms, begin(&api, "shadow", Some(&stage), &caller)?)));
    let (new, terms, operation) = match begun {
        Ok(begun) => begun,
        Err(refused) => return refused.1.of(refused.0),
    };
    run(Arc::clone(&operation), waits, async move {
        let report = api.parts.control.shadow_only(Some(operation), &stage, new, terms, caller.0).await;
        report.map_err(|error| refused(&error))
    })
    .await
}

fn of_shadow(api: &Api, request: ShadowRequest) -> Result<(Replacement, Terms), Refused> {
    let percent = request.percent.unwrap_or(SHADOW_PERCENT_DEFAULT);
    let terms = terms(percent, request.lasts.as_deref(), SHADOW_DEFAULT)?;
    let component = component(api, request.digest.as_deref())?;
    let config = request.config.map(|config| config.to_string());
    Ok((Replacement { component, config, ..Replacement::default() }, terms))
}

/// What a swap asks for.
pub(super) fn care(request: &CareRequest) -> Result<Care, Refused> {
    let CareRequest { shadow, shadow_percent, canary_percent, hold, force } = request;
    let shadow = match (shadow, shadow_percent) {
        (None, None) => None,
        (lasts, percent) => Some(terms(percent.unwrap_or(SHADOW_PERCENT_DEFAULT), lasts.as_deref(), SHADOW_DEFAULT)?),
    };
    let canary = match (canary_percent, hold) {
        (None, None) => None,
        (None, Some(_)) => return Err(wrong("\"hold\" is of a canary: say \"canary_percent\", too".to_owned())),
        (Some(percent), hold) => Some(terms(*percent, hold.as_deref(), HOLD_DEFAULT)?),
    };
    Ok(Care { shadow, canary, is_forced: *force })
}

fn terms(percent: f64, lasts: Option<&str>, default: Duration) -> Result<Terms, Refused> {
    let lasts = match lasts {
        None => default,
        Some(text) => duration::parse(text).map_err(|error| wrong(format!("the time {text:?} {}", error.what())))?,
    };
    Terms::new(percent, lasts).map_err(|error| wrong(error.to_string()))
}

fn wrong(error: String) -> Refused {
    Box::new((StatusCode::UNPROCESSABLE_ENTITY, Refusal::new(TERMS, error)))
}
