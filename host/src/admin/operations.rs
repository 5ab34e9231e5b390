//! `/v1/operations`: what takes long, followed and cancelled.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, StreamExt as _, stream};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Api;
use super::access::{Caller, IsProven};
use super::changes::refused;
use super::refusal::{Refusal, code};
use crate::control::operations::{Conflict, DRAIN, Operation, OperationState, Progress};

/// Longest stream; who still wants to know asks again.
const EVENTS_MAX: Duration = Duration::from_secs(10 * 60);
/// How long a cancelling answer waits for the operation's end.
const CANCEL_WAIT_MAX: Duration = Duration::from_secs(2);

/// Those that are under way, and the last ones that have ended.
#[derive(Debug, Serialize, ToSchema)]
struct OperationList {
    /// In the order in which they began.
    operations: Vec<Progress>,
}

/// How long operations are asked for.
#[derive(Clone, Copy, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Waits {
    /// Answer at the operation's end, with what came of it.
    #[serde(default)]
    pub(super) wait: bool,
}

/// Why something was not done.
pub(super) type Refused = Box<(StatusCode, Refusal)>;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::default().routes(routes!(list)).routes(routes!(one, cancel)).routes(routes!(events))
}

/// Operations that are under way, and the last ones that have ended.
#[utoipa::path(get, path = "/v1/operations", responses((status = 200, body = OperationList)))]
async fn list(State(api): State<Api>, proven: IsProven) -> Json<OperationList> {
    let all = api.parts.control.operations().all();
    Json(OperationList { operations: all.into_iter().map(|progress| shown(progress, proven)).collect() })
}

/// How far an operation is.
#[utoipa::path(
    get,
    path = "/v1/operations/{id}",
    params(("id" = u64, Path, description = "Its number.")),
    responses((status = 200, body = Progress), (status = 404, body = Refusal, description = "It is not known."))
)]
async fn one(State(api): State<Api>, proven: IsProven, Path(id): Path<u64>) -> Response {
    match find(&api, id) {
        Ok(operation) => Json(shown(operation.progress(), proven)).into_response(),
        Err(refused) => refused.1.of(refused.0),
    }
}

/// Cancels an operation: what served before serves. The answer is how it is after that; one that has ended stays as it ended.
#[utoipa::path(
    delete,
    path = "/v1/operations/{id}",
    params(("id" = u64, Path, description = "Its number.")),
    responses(
        (status = 200, body = Progress),
        (status = 404, body = Refusal, description = "It is not known."),
        (status = 409, body = Refusal, description = "It cannot be cancelled."),
    )
)]
async fn cancel(State(api): State<Api>, Caller(who): Caller, Path(id): Path<u64>) -> Response {
    let operation = match find(&api, id) {
        Ok(operation) => operation,
        Err(refused) => return refused.1.of(refused.0),
    };
    let progress = operation.progress();
    if progress.kind == DRAIN {
        return Refusal::new(code::CONFLICT, "a process that stops cannot be told to stay").of(StatusCode::CONFLICT);
    }
    if progress.state == OperationState::Running {
        tracing::info!(operation = id, kind = progress.kind, %who, "cancelled");
        operation.cancel();
        let _late = tokio::time::timeout(CANCEL_WAIT_MAX, operation.until_ended()).await;
    }
    Json(operation.progress()).into_response()
}

/// How far an operation is, now and at each change, as server-sent events named `progress`; the last one tells its end.
#[utoipa::path(
    get,
    path = "/v1/operations/{id}/events",
    params(("id" = u64, Path, description = "Its number.")),
    responses(
        (status = 200, body = Progress, content_type = "text/event-stream"),
        (status = 404, body = Refusal, description = "It is not known."),
    )
)]
async fn events(State(api): State<Api>, proven: IsProven, Path(id): Path<u64>) -> Response {
    match find(&api, id) {
        Ok(operation) => {
            let ends = tokio::time::sleep(EVENTS_MAX);
            Sse::new(Box::pin(told(operation.watch(), proven).take_until(ends)))
                .keep_alive(KeepAlive::default())
                .into_response()
        }
        Err(refused) => refused.1.of(refused.0),
    }
}

/// Each state of it that is seen, the last one once.
fn told(progress: watch::Receiver<Progress>, proven: IsProven) -> impl Stream<Item = Result<Event, Infallible>> {
    stream::unfold(Some((progress, true)), move |state| async move {
        let (mut progress, is_first) = state?;
        if !is_first && progress.changed().await.is_err() {
            return None;
        }
        let now = shown(progress.borrow_and_update().clone(), proven);
        // Texts and numbers alone: they always have a JSON form.
        let event = Event::default().event("progress").json_data(&now).unwrap_or_default();
        let next = (now.state == OperationState::Running).then_some((progress, false));
        Some((Ok(event), next))
    })
}

/// Why a change was refused may quote the configuration: that is told to whoever may change it.
fn shown(progress: Progress, IsProven(is_proven): IsProven) -> Progress {
    if is_proven || !matches!(progress.state, OperationState::Failed | OperationState::Cancelled) {
        return progress;
    }
    let refusal = progress.result.and_then(|result| serde_json::from_value::<Refusal>(result).ok());
    let result = refusal.map(|refusal| {
        let error = "why is told to who shows the admin token, or asks by the Unix socket".to_owned();
        Refusal { error, causes: Vec::new(), ..refusal }
    });
    Progress { result: result.and_then(|refusal| serde_json::to_value(refusal).ok()), ..progress }
}

fn find(api: &Api, id: u64) -> Result<Arc<Operation>, Refused> {
    let unknown = || {
        let error = format!("no operation {id} is known: it never began, or it ended long ago");
        let refusal = Refusal::new(code::NOT_FOUND, error).with_help("GET /v1/operations lists them");
        Box::new((StatusCode::NOT_FOUND, refusal))
    };
    api.parts.control.operations().get(id).ok_or_else(unknown)
}

/// Begins an operation of a stage, or of the file.
pub(super) fn begin(api: &Api, kind: &str, stage: Option<&str>, who: &Caller) -> Result<Arc<Operation>, Refused> {
    if let Some(stage) = stage {
        // What is kept of operations is then as small as names of the file.
        api.parts.control.check_stage(stage).map_err(|error| refused(&error))?;
    }
    api.parts.control.operations().begin(kind, stage, &who.0).map_err(|conflict| conflicts(&conflict))
}

/// Another operation is in the way.
pub(super) fn conflicts(conflict: &Conflict) -> Refused {
    let id = conflict.id;
    let help = match conflict.kind.as_str() {
        DRAIN => format!("the process ends with it: `sluicebox operations {id} --watch`"),
        _ => format!("`sluicebox operations {id} --watch` follows it, `sluicebox operations {id} --cancel` ends it"),
    };
    let refusal = Refusal { operation: Some(id), ..Refusal::new(code::CONFLICT, conflict.to_string()) };
    Box::new((StatusCode::CONFLICT, refusal.with_help(help)))
}

/// Does the work of an operation to its end, whether or not the asker stays. 202 and where to look, or, where the asker waits, what came of it.
pub(super) async fn run<T: Serialize + Send + 'static>(
    operation: Arc<Operation>,
    Waits { wait }: Waits,
    work: impl Future<Output = Result<T, Refused>> + Send + 'static,
) -> Response {
    let running = tokio::spawn(to_its_end(Arc::clone(&operation), work));
    if !wait {
        return accepted(&operation);
    }
    running.await.unwrap_or_else(|panicked| {
        Refusal::new(code::INTERNAL, format!("the operation was abandoned: {panicked}"))
            .of(StatusCode::INTERNAL_SERVER_ERROR)
    })
}

/// 202, and where to look.
pub(super) fn accepted(operation: &Operation) -> Response {
    let progress = operation.progress();
    let location = HeaderValue::from_str(&format!("/v1/operations/{}", progress.id));
    let mut response = (StatusCode::ACCEPTED, Json(progress)).into_response();
    if let Ok(location) = location {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

async fn to_its_end<T: Serialize>(
    operation: Arc<Operation>,
    work: impl Future<Output = Result<T, Refused>>,
) -> Response {
    // However the work ends, the operation does.
    let _ended = Ends(&operation);
    match work.await {
        Ok(done) => {
            // Texts and numbers alone: they always have a JSON form.
            let done = serde_json::to_value(&done).unwrap_or_default();
            operation.end(OperationState::Succeeded, Some(done.clone()));
            Json(done).into_response()
        }
        Err(refused) => {
            let (status, refusal) = *refused;
            let refusal = Refusal { operation: Some(operation.progress().id), ..refusal };
            let is_cancelled = operation.is_cancelled() && refusal.step.as_deref() == Some("cancelled");
            let state = if is_cancelled { OperationState::Cancelled } else { OperationState::Failed };
            operation.end(state, serde_json::to_value(&refusal).ok());
            refusal.of(status)
        }
    }
}

/// Ends an operation whose work was abandoned.
struct Ends<'a>(&'a Operation);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        // What has ended stays as it ended.
        self.0.end(OperationState::Failed, None);
    }
}
