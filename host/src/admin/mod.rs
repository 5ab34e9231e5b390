//! The engine's own pages: `/metrics`, and the admin API that the command line speaks.

use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::extract::{DefaultBodyLimit, FromRef, Request, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};

use crate::admin::uploads::{UploadError, Uploads};
use crate::control::Control;
use crate::memory::Budget;
use crate::memory::tail::TailBounds;
use crate::observe::metrics::Metrics;
use crate::observe::readiness::Readiness;
use crate::tail::explain::Why;
use crate::wasm;

mod changes;
pub mod health;
pub mod serve;
pub mod token;
pub mod traces;
mod uploads;

pub use self::changes::{ReloadRequest, RollbackRequest, SwapRequest, USER_HEADER};

/// Longest `POST /v1/swap`: a configuration may hold as much as a file may, and may be sent as JSON and as it was written.
const SWAP_BYTES_MAX: usize = 4 << 20;

/// What every refusal holds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Refusal {
    /// What was refused.
    pub error: String,
    /// Causes, outermost first.
    pub causes: Vec<String>,
    /// The step of a swap that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
}

#[derive(Clone)]
struct Api {
    control: Arc<Control>,
    token: Option<Arc<str>>,
    uploads: Arc<Uploads>,
    samplers: Arc<ArcSwap<Vec<TailBounds>>>,
    why: Arc<dyn Why>,
}

impl FromRef<Api> for Arc<dyn Why> {
    fn from_ref(api: &Api) -> Self {
        Arc::clone(&api.why)
    }
}

/// The tail samplers of the process.
pub struct Samplers {
    /// What each may hold, by the file that is in force.
    pub bounds: Arc<ArcSwap<Vec<TailBounds>>>,
    /// What they know of traces.
    pub why: Arc<dyn Why>,
}

/// `/metrics`.
pub fn metrics_page(metrics: Arc<Metrics>, budget: Arc<Budget>) -> Router {
    let signed = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    let page = move || async move {
        metrics.memory_used_bytes.set(signed(budget.bytes_used()));
        metrics.memory_limit_bytes.set(signed(budget.bytes_max()));
        ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], metrics.text())
    };
    Router::new().route("/metrics", get(page))
}

/// The admin API, version 1. Without a token nothing can be changed through it.
pub fn api(
    control: Arc<Control>,
    token: Option<String>,
    budget: Arc<Budget>,
    samplers: Samplers,
    readiness: Arc<Readiness>,
) -> Router {
    let Samplers { bounds, why } = samplers;
    let uploads = Arc::new(Uploads::new(budget));
    let api = Api { control, token: token.map(Arc::from), uploads, samplers: bounds, why };
    let components =
        post(upload).layer(DefaultBodyLimit::max(usize::try_from(wasm::COMPONENT_BYTES_MAX).unwrap_or(usize::MAX)));
    let changes = Router::new()
        .route("/v1/components", components)
        .route("/v1/swap", post(changes::swap).layer(DefaultBodyLimit::max(SWAP_BYTES_MAX)))
        .route("/v1/rollback", post(changes::rollback))
        .route("/v1/reload", post(changes::reload))
        .layer(middleware::from_fn_with_state(api.clone(), only_with_token));
    Router::new()
        .route("/livez", get(async || health::ALIVE))
        .route("/readyz", get(async move |uri: Uri, headers: HeaderMap| health::ready(&readiness, &uri, &headers)))
        .route("/v1/status", get(status))
        .route("/v1/generations", get(changes::generations))
        .route("/v1/traces/{id}", get(traces::explain))
        .merge(changes)
        .layer(middleware::from_fn(only_from_here))
        .with_state(api)
}

async fn status(State(api): State<Api>) -> Json<serde_json::Value> {
    Json(serde_json::json!({
        "version": env!("CARGO_PKG_VERSION"),
        "stages": api.control.serving(),
        "tail_samplers": **api.samplers.load(),
    }))
}

async fn upload(State(api): State<Api>, request: Request) -> Response {
    match api.uploads.receive(request).await {
        Ok(digest) => Json(serde_json::json!({ "digest": digest })).into_response(),
        Err(error) => {
            let status = match error {
                UploadError::OverBudget => StatusCode::SERVICE_UNAVAILABLE,
                UploadError::Body(_) => StatusCode::BAD_REQUEST,
                UploadError::Late => StatusCode::REQUEST_TIMEOUT,
            };
            refuse(status, error.to_string())
        }
    }
}

fn refuse(status: StatusCode, error: String) -> Response {
    (status, Json(Refusal { error, causes: Vec::new(), step: None })).into_response()
}

async fn only_with_token(State(api): State<Api>, request: Request, next: Next) -> Response {
    let given =
        request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    match (&api.token, given) {
        (Some(token), Some(given)) if token::same(token, given) => next.run(request).await,
        (None, _) => refuse(
            StatusCode::FORBIDDEN,
            "this engine could not keep an admin token, so it takes no changes".to_owned(),
        ),
        _ => refuse(StatusCode::UNAUTHORIZED, "changes need the admin token: Authorization: Bearer TOKEN".to_owned()),
    }
}

/// Browsers are led to loopback addresses by foreign pages: those name a foreign host or an origin.
async fn only_from_here(request: Request, next: Next) -> Response {
    if is_foreign(request.headers()) {
        return refuse(StatusCode::FORBIDDEN, "requests with a foreign Host or with an Origin are refused".to_owned());
    }
    next.run(request).await
}

fn is_foreign(headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name).trim_matches(['[', ']']);
    let known = name == "localhost" || name.parse::<std::net::IpAddr>().is_ok();
    !known || headers.contains_key(header::ORIGIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_hosts_and_origins_are_refused() {
        let with = |name: header::HeaderName, value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, "127.0.0.1:13131".parse().expect("header"));
            headers.insert(name, value.parse().expect("header"));
            headers
        };
        assert!(!is_foreign(&with(header::HOST, "localhost:13131")));
        assert!(!is_foreign(&with(header::HOST, "[::1]:13131")));
        assert!(is_foreign(&with(header::HOST, "evil.example:13131")));
        assert!(is_foreign(&with(header::ORIGIN, "http://127.0.0.1:13131")));
    }
}
