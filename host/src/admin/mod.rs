//! The engine's own pages: `/metrics`, and the admin API that the command line and web pages speak.
//!
//! Each part of the API is a file of its own with a function `routes()`, and one line in `parts`. What it needs of the engine is a field of
//! [`Parts`]. What holds for all parts is done once, around them: who may ask (`access`), what a refusal looks like (`refusal`), limits,
//! headers, what is told of a request that is repeated.

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::header;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::get;
use utoipa_axum::router::OpenApiRouter;

use self::access::Gate;
use self::open_api::Described;
use self::repeated::Repeated;
use self::uploads::Uploads;
use crate::control::Control;
use crate::memory::Budget;
use crate::observe::metrics::Metrics;
use crate::observe::readiness::Readiness;
use crate::tail::explain::Why;
use crate::tap::Taps;
use crate::view::View;

mod access;
mod body;
mod changes;
mod components;
mod drain;
mod generations;
mod headers;
pub mod health;
mod log_level;
mod open_api;
mod operations;
mod pause;
mod refusal;
mod repeated;
pub mod serve;
pub mod socket;
mod status;
pub mod taps;
pub mod tls;
pub mod token;
pub mod traces;
mod trials;
mod try_it;
mod uploads;
mod views;

pub use self::access::{Peer, USER_HEADER};
pub use self::changes::{ReloadRequest, RollbackRequest, SwapRequest};
pub use self::log_level::{LogLevel, LogLevelSetting};
pub use self::pause::{PauseRequest, ResumeRequest};
pub use self::refusal::{Refusal, code};
pub use self::trials::{CareRequest, ShadowRequest};
pub use self::try_it::{Tries, TryRequest};

/// Longest body of a route that does not say otherwise by a `DefaultBodyLimit` of its own.
const BODY_BYTES_MAX: usize = 64 << 10;

/// Of the running engine, for the API's parts: a field for each thing that one of them needs.
#[derive(Clone)]
pub struct Parts {
    /// What serves, and how that changes.
    pub control: Arc<Control>,
    /// What components that were sent are charged to.
    pub budget: Arc<Budget>,
    /// What the tail samplers know of traces.
    pub why: Arc<dyn Why>,
    /// Whether it does its work.
    pub readiness: Arc<Readiness>,
    /// Stages for who tries something.
    pub tries: Tries,
    /// What is shown of stages.
    pub taps: Arc<Taps>,
    /// What is shown of it.
    pub view: View,
}

/// What handlers know: the engine's parts, and what only the API has.
#[derive(Clone)]
struct Api {
    parts: Parts,
    uploads: Arc<Uploads>,
    described: Arc<Described>,
}

/// The parts of the API. A further one is a file `<part>.rs` with `pub(super) fn routes() -> OpenApiRouter<Api>`, and one line here; names
/// of its schemas are its own.
fn parts() -> Vec<OpenApiRouter<Api>> {
    vec![
        open_api::routes(),
        health::routes(),
        status::routes(),
        views::routes(),
        pause::routes(),
        generations::routes(),
        components::routes(),
        changes::routes(),
        trials::routes(),
        operations::routes(),
        drain::routes(),
        log_level::routes(),
        traces::routes(),
        try_it::routes(),
        taps::routes(),
    ]
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

/// The admin API, version 1. Without a token nothing can be changed through it but by the Unix socket.
pub fn api(engine: Parts, token: Option<String>) -> Router {
    let described = OpenApiRouter::with_openapi(open_api::about());
    let (routes, document) = parts().into_iter().fold(described, OpenApiRouter::merge).split_for_parts();
    let uploads = Arc::new(Uploads::new(Arc::clone(&engine.budget)));
    let api = Api { parts: engine, uploads, described: Described::of(document) };
    // The last layer is the first that a request meets.
    routes
        .method_not_allowed_fallback(open_api::wrong_verb)
        .fallback(open_api::no_route)
        .layer(from_fn_with_state(Repeated::default(), repeated::once))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(from_fn(body::within_its_time))
        .layer(from_fn_with_state(Gate::new(token), access::gate))
        .layer(from_fn(refusal::as_json))
        .layer(from_fn(headers::secure))
        .with_state(api)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Merging takes the first of two schemas with the same name, and says nothing.
    #[test]
    fn no_two_parts_mean_different_things_by_the_same_name() {
        let mut known = std::collections::BTreeMap::new();
        for part in parts() {
            for (name, schema) in part.into_openapi().components.unwrap_or_default().schemas {
                let text = serde_json::to_string(&schema).expect("JSON");
                let first = known.entry(name.clone()).or_insert_with(|| text.clone());
                assert_eq!(*first, text, "{name}");
            }
        }
        assert!(known.len() > 10, "{}", known.len());
    }
}
