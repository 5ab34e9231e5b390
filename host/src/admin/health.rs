//! Health checks: `/livez`, `/readyz`, and what the Collector's `health_check` extension answers. They tell names of the file, states and
//! faults, nothing of the telemetry; so they are answered to whoever asks.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use prost_types::Timestamp;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::admin::Api;
use crate::admin::serve::serve;
use crate::config::model::HealthCheck;
use crate::observe::health::StageState;
use crate::observe::readiness::{Phase, PipelineReport, Readiness, Report, StageHealth};

/// What is said of a process that lives.
pub const ALIVE: &str = "ok\n";

/// What answers health checks, from before anything is built to the very end. It ends when this is dropped.
#[derive(Debug)]
pub struct HealthServers {
    addresses: Vec<(String, SocketAddr)>,
    tasks: JoinSet<()>,
}

impl HealthServers {
    /// Binds them and serves at once.
    ///
    /// # Errors
    /// The first address that cannot be listened on, and why; nothing is left running then.
    pub async fn start(
        keys: &[HealthCheck],
        readiness: &Arc<Readiness>,
    ) -> Result<HealthServers, (SocketAddr, std::io::Error)> {
        let mut servers = HealthServers { addresses: Vec::new(), tasks: JoinSet::new() };
        for keys in keys {
            let bound = TcpListener::bind(keys.endpoint).await;
            let listener = bound.map_err(|source| (keys.endpoint, source))?;
            let address = listener.local_addr().unwrap_or(keys.endpoint);
            servers.addresses.push((keys.name.clone(), address));
            servers.tasks.spawn(serve(listener, pages(readiness, keys)));
        }
        Ok(servers)
    }

    /// Names of the extensions, and where they listen.
    pub fn addresses(&self) -> impl Iterator<Item = (String, SocketAddr)> {
        self.addresses.iter().cloned()
    }
}

/// Whether the process lives, and whether it does its work.
pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::default().routes(routes!(livez)).routes(routes!(readyz))
}

/// Whether the process lives: it answers.
#[utoipa::path(get, path = "/livez", responses((status = 200, body = String, content_type = "text/plain")))]
async fn livez() -> &'static str {
    ALIVE
}

/// Whether every pipeline does its work, and what is wrong.
#[utoipa::path(
    get,
    path = "/readyz",
    params(
        ("verbose" = Option<String>, Query, description = "Of everything, also of what is well."),
        ("format" = Option<String>, Query, description = "`json`: the same as a document, as where JSON is accepted."),
    ),
    responses(
        (status = 200, description = "Every pipeline does its work.", content((String = "text/plain"), (Report = "application/json"))),
        (status = 503, description = "One does not.", content((String = "text/plain"), (Report = "application/json"))),
    )
)]
async fn readyz(State(api): State<Api>, uri: Uri, headers: HeaderMap) -> Response {
    ready(&api.parts.readiness, &uri, &headers)
}

/// The pages of a `health_check` extension.
pub fn pages(readiness: &Arc<Readiness>, keys: &HealthCheck) -> Router {
    let (readiness, keys) = (Arc::clone(readiness), keys.clone());
    // Not by routes: the path may be any.
    Router::new().fallback(async move |request: Request| {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return StatusCode::METHOD_NOT_ALLOWED.into_response();
        }
        match request.uri().path() {
            "/livez" => ALIVE.into_response(),
            "/readyz" => ready(&readiness, request.uri(), request.headers()),
            path if path == keys.path => as_the_collector(&readiness, &keys),
            _ => StatusCode::NOT_FOUND.into_response(),
        }
    })
}

/// `/readyz`: 200 if every pipeline does its work, else 503; what is wrong follows. `?verbose` tells of everything; JSON where it is accepted,
/// or asked for by `?format=json`.
pub fn ready(readiness: &Readiness, uri: &Uri, headers: &HeaderMap) -> Response {
    let report = readiness.report();
    let status = if report.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let has = |key: &str| uri.query().is_some_and(|query| query.split('&').any(|pair| pair == key));
    let accepted = headers.get(header::ACCEPT).and_then(|accepted| accepted.to_str().ok()).unwrap_or_default();
    if has("format=json") || accepted.contains("application/json") {
        return (status, Json(report)).into_response();
    }
    let is_verbose =
        uri.query().is_some_and(|query| query.split('&').any(|pair| matches!(pair.split('=').next(), Some("verbose"))));
    (status, text(&report, is_verbose)).into_response()
}

/// As the Collector's extension answers: 200 as long as requests are let in, whatever stages do.
fn as_the_collector(readiness: &Readiness, keys: &HealthCheck) -> Response {
    let since = readiness.serving_since();
    let (status, body) = match since {
        Some(_) => (StatusCode::OK, &keys.healthy),
        None => (StatusCode::SERVICE_UNAVAILABLE, &keys.unhealthy),
    };
    if let Some(body) = body {
        return (status, body.clone()).into_response();
    }
    let (said, up_since, uptime) = match since {
        Some(since) => {
            let uptime = SystemTime::now().duration_since(since).unwrap_or_default();
            ("Server available", Timestamp::from(since).to_string(), format!("{:.3}s", uptime.as_secs_f64()))
        }
        None => ("Server not available", "0001-01-01T00:00:00Z".to_owned(), String::new()),
    };
    (status, Json(serde_json::json!({ "status": said, "upSince": up_since, "uptime": uptime }))).into_response()
}

/// One line for each thing that is wrong, or for everything; the verdict first.
fn text(report: &Report, is_verbose: bool) -> String {
    let mut text = if report.ready { ALIVE.to_owned() } else { "not ready\n".to_owned() };
    // Writing to a String cannot fail.
    let mut line = |line: std::fmt::Arguments<'_>| {
        let _infallible = writeln!(text, "{line}");
    };
    match report.phase {
        Phase::Starting => line(format_args!("the start is not over")),
        Phase::Stopping => line(format_args!("the engine stops")),
        Phase::Serving => {}
    }
    for PipelineReport { ready, health } in &report.pipelines {
        if is_verbose {
            let verdict = if *ready { "ready" } else { "not ready" };
            line(format_args!("pipeline \"{}\" is {verdict}", health.pipeline));
        }
        for stage in &health.stages {
            let StageHealth { stage: name, state, reason, .. } = stage;
            let is_wrong = !ready && *state != StageState::Ok || *state == StageState::Paused;
            if is_verbose || report.phase == Phase::Serving && is_wrong {
                let reason = reason.as_ref().map_or(String::new(), |reason| format!(": {reason}"));
                let state = state.as_str();
                line(format_args!("pipeline \"{}\": stage \"{name}\" is {state}{reason}", health.pipeline));
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::readiness::{PipelineHealth, Pipelines};

    struct Two;

    impl Pipelines for Two {
        fn pipelines(&self) -> Vec<PipelineHealth> {
            let stage = |stage: &str, state, reason: Option<&str>| StageHealth {
                stage: stage.to_owned(),
                state,
                since_unix: 7,
                reason: reason.map(str::to_owned),
                restarts: 3,
                on_fault: None,
            };
            let broken = stage("wasm/redactor", StageState::Permanent, Some("trap: unreachable (in a <- b)"));
            let pipeline = |name: &str, stages| PipelineHealth { pipeline: name.to_owned(), stages };
            vec![
                pipeline("traces", vec![stage("filter", StageState::Ok, None), broken]),
                pipeline("logs", vec![stage("filter", StageState::Ok, None)]),
            ]
        }
    }

    #[test]
    fn text_tells_what_is_wrong_and_all_where_it_is_asked_for() {
        let readiness = Readiness::starting(Arc::new(Two));
        assert_eq!(text(&readiness.report(), false), "not ready\nthe start is not over\n");
        readiness.serve(Arc::new(Two));
        let wrong = "pipeline \"traces\": stage \"wasm/redactor\" is permanent: trap: unreachable (in a <- b)\n";
        assert_eq!(text(&readiness.report(), false), format!("not ready\n{wrong}"));
        let all = format!(
            "not ready\npipeline \"traces\" is not ready\npipeline \"traces\": stage \"filter\" is ok\n{wrong}\
             pipeline \"logs\" is ready\npipeline \"logs\": stage \"filter\" is ok\n"
        );
        assert_eq!(text(&readiness.report(), true), all);
        readiness.stop();
        assert_eq!(text(&readiness.report(), false), "not ready\nthe engine stops\n");
    }
}
