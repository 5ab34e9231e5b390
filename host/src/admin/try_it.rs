//! `POST /v1/try`: what stages of this engine make of requests that the caller sends along. Nothing of it is seen by what serves.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, FromRequest, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use utoipa::ToSchema;
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouterExt};
use utoipa_axum::routes;

use super::Api;
use super::refusal::Refusal;
use crate::config::model::{Component, Config};
use crate::config::{self, Environment};
use crate::memory::Charge;
use crate::scratch::input::{Input, InputError};
use crate::scratch::tried::Tried;
use crate::scratch::wanted::{Unwanted, Wanted};
use crate::scratch::{self, Given, Scratches, TryError};
use crate::signal::Signal;

/// Longest body: the input as JSON, and a configuration.
const BODY_BYTES_MAX: usize = 9 << 20;
/// What a try takes for each byte of its body: it is decoded before and behind each stage.
const BYTES_PER_BYTE: u64 = 8;
/// How long one waits for the one before.
const TURN_MAX: Duration = Duration::from_secs(10);

/// What `POST /v1/try` takes: what to try, and on what.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TryRequest {
    /// A stage as it serves, such as `filter/traces`; or a tail sampler, or one of its policies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
    /// Instead of a stage: a pipeline, with all its stages as they serve.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pipeline: Option<String>,
    /// In the place of the stage's component: digest of one that was sent to `POST /v1/components`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// In the place of the stage's configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<Value>,
    /// In the place of the engine's own: a whole configuration file, as text. It cannot refer to other files or to the environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_text: Option<String>,
    /// `traces`, `metrics` or `logs`: needed where the input does not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<String>,
    /// An OTLP/JSON request, a list of them, or a saved case.
    pub input: Value,
}

/// Codes of this part.
mod code {
    /// The input cannot be tried.
    pub const INPUT: &str = "E0545";
    /// What it is to be tried on is not there.
    pub const SUBJECT: &str = "E0546";
    /// A stage cannot be built.
    pub const BUILD: &str = "E0547";
    /// Not now.
    pub const BUSY: &str = "E0548";
    /// The engine failed, not the try.
    pub const FAILED: &str = "E0549";
}

/// Tries of this process: one at a time.
#[derive(Clone)]
pub struct Tries {
    scratches: Arc<Scratches>,
    turn: Arc<Semaphore>,
}

/// What the one under way holds until its thread has ended, whether or not its caller still waits.
struct Turn {
    _permit: OwnedSemaphorePermit,
    _charge: Charge,
}

impl Tries {
    /// By stages that these build.
    pub fn new(scratches: Arc<Scratches>) -> Tries {
        Tries { scratches, turn: Arc::new(Semaphore::new(1)) }
    }
}

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::default().routes(routes!(try_it).layer(DefaultBodyLimit::max(BODY_BYTES_MAX)))
}

/// Runs requests through a stage or a pipeline on the side: what each stage made of each record, decisions of samplers, and what it cost.
/// What serves sees nothing of it, and nothing is counted.
#[utoipa::path(
    post,
    path = "/v1/try",
    request_body = TryRequest,
    responses(
        (status = 200, body = Tried),
        (status = 404, body = Refusal, description = "No such stage, pipeline or component."),
        (status = 503, body = Refusal, description = "Another one is under way, or memory is short."),
    )
)]
async fn try_it(State(api): State<Api>, request: Request) -> Response {
    let Tries { scratches, turn } = api.parts.tries.clone();
    // Before the body is read: so one body is the most that is held.
    let Ok(Ok(permit)) = tokio::time::timeout(TURN_MAX, turn.acquire_owned()).await else {
        return busy("another try is under way", "try again when it is over");
    };
    let body = match Bytes::from_request(request, &()).await {
        Ok(body) => body,
        Err(rejection) => return rejection.into_response(),
    };
    let bytes = (body.len() as u64).saturating_mul(BYTES_PER_BYTE);
    let Some(charge) = api.parts.budget.charge(bytes) else {
        return busy("the memory budget is used up", "try less, or try again later");
    };
    let turn = Turn { _permit: permit, _charge: charge };
    let (tell, told) = oneshot::channel();
    let (given, runtime) = (api.clone(), tokio::runtime::Handle::current());
    // Reading is work, too, and a configuration may be large.
    let begun = tokio::task::spawn_blocking(move || {
        let (wanted, input) = understood(&given, &body)?;
        drop(body);
        let given = Given { build: scratches(), budget: Arc::clone(&given.parts.budget), runtime };
        let end = move |tried: Result<Tried, TryError>| {
            let _turn = turn;
            let answer = tried.map(|tried| serde_json::to_vec(&tried).unwrap_or_default());
            // Who asked may have hung up.
            let _gone = tell.send(answer);
        };
        scratch::begin(given, wanted, input, end).map_err(|error| Box::new(failed(&error)))
    });
    match begun.await {
        Ok(Ok(())) => {}
        Ok(Err(refused)) => return refused.into_response(),
        Err(_panicked) => return failed(&TryError::Abandoned).into_response(),
    }
    match told.await.unwrap_or(Err(TryError::Abandoned)) {
        Ok(tried) => ([(header::CONTENT_TYPE, "application/json")], tried).into_response(),
        Err(error) => failed(&error).into_response(),
    }
}

/// A refusal, and its status.
struct Refused(StatusCode, Refusal);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        self.1.of(self.0)
    }
}

fn busy(error: &str, help: &str) -> Response {
    Refusal::new(code::BUSY, error).with_help(help).of(StatusCode::SERVICE_UNAVAILABLE)
}

/// What to try, and on what.
fn understood(api: &Api, body: &[u8]) -> Result<(Wanted, Input), Box<Refused>> {
    let unreadable = |error: serde_json::Error| {
        Box::new(Refused(StatusCode::BAD_REQUEST, Refusal::new(code::INPUT, error.to_string())))
    };
    let request: TryRequest = serde_json::from_slice(body).map_err(unreadable)?;
    let input = input_of(request.input, request.signal.as_deref()).map_err(|error| {
        let help = "send an OTLP/JSON request, a list of them, or a saved case";
        Box::new(Refused(StatusCode::UNPROCESSABLE_ENTITY, Refusal::new(code::INPUT, error).with_help(help)))
    })?;
    let config = match &request.config_text {
        Some(text) => sealed(text)?,
        None => api.parts.control.serving_config(),
    };
    let wanted = match (&request.stage, &request.pipeline) {
        (Some(stage), None) => Wanted::stage(&config, stage, input.signal),
        (None, pipeline) if pipeline.is_some() || request.config_text.is_some() => {
            Wanted::pipeline(&config, pipeline.as_deref(), input.signal)
        }
        _ => {
            return Err(subject(
                StatusCode::UNPROCESSABLE_ENTITY,
                "name a stage or a pipeline, and only one".to_owned(),
            ));
        }
    };
    let mut wanted = wanted.map_err(|error| {
        let status = match error {
            Unwanted::NoPipeline { .. } | Unwanted::NoStage { .. } => StatusCode::NOT_FOUND,
            Unwanted::NoneOfSignal { .. } | Unwanted::Several { .. } | Unwanted::WrongSignal { .. } => {
                StatusCode::BAD_REQUEST
            }
        };
        subject(status, error.to_string())
    })?;
    if request.digest.is_some() || request.config.is_some() {
        replace(api, &mut wanted, request.digest, request.config)?;
    }
    Ok((wanted, input))
}

fn subject(status: StatusCode, error: String) -> Box<Refused> {
    let help = "GET /v1/status lists the stages that serve";
    Box::new(Refused(status, Refusal::new(code::SUBJECT, error).with_help(help)))
}

/// The stage with another component, configuration, or both.
fn replace(api: &Api, wanted: &mut Wanted, digest: Option<String>, config: Option<Value>) -> Result<(), Box<Refused>> {
    let unprocessable = |error: String| subject(StatusCode::UNPROCESSABLE_ENTITY, error);
    let [stage] = wanted.stages.as_mut_slice() else {
        return Err(unprocessable("\"digest\" and \"config\" are of a single stage".to_owned()));
    };
    if let Some(digest) = digest {
        let sent = api.uploads.get(&digest);
        let error = || format!("no component with digest {digest} was sent to /v1/components");
        stage.component = Component::Uploaded(sent.ok_or_else(|| subject(StatusCode::NOT_FOUND, error()))?);
    }
    if let Some(config) = config {
        let replaced = config::replaced(stage, config.to_string());
        stage.config = replaced.map_err(|key| unprocessable(format!("only the file can change \"{key}\"")))?;
    }
    Ok(())
}

fn input_of(input: Value, signal: Option<&str>) -> Result<Input, String> {
    let known = |name: &str| Signal::ALL.into_iter().find(|signal| signal.as_str() == name);
    let unknown = || "\"signal\" must be traces, metrics or logs".to_owned();
    let signal = signal.map(|name| known(name).ok_or_else(unknown)).transpose()?;
    let requests = match input {
        Value::Array(requests) => requests,
        one => vec![one],
    };
    let text = requests.iter().map(|request| format!("{request}\n")).collect::<String>();
    drop(requests);
    Input::parse(text.as_bytes(), signal).map_err(|error: InputError| error.to_string())
}

/// A configuration that names nothing outside of itself: whoever may try need not be who may read the engine's files.
fn sealed(text: &str) -> Result<Config, Box<Refused>> {
    let refused = |cause: String| {
        let refusal = Refusal::new(code::SUBJECT, "the configuration cannot be used");
        Box::new(Refused(StatusCode::UNPROCESSABLE_ENTITY, Refusal { causes: vec![cause], ..refusal }))
    };
    let loaded = config::load_text("config_text".to_owned(), text.to_owned(), Path::new("/"), &Sealed);
    let config = loaded.map_err(|report| refused(report.to_string()))?.config;
    match config.stages.iter().find(|stage| matches!(stage.component, Component::File { .. })) {
        Some(stage) => {
            let help = "stages of a text are bundled ones; `sluicebox try --config FILE` runs others";
            Err(refused(format!("stage \"{}\" names a file; {help}", stage.name)))
        }
        None => Ok(config),
    }
}

/// Nothing but the text.
struct Sealed;

impl Environment for Sealed {
    fn variable(&self, _name: &str) -> Option<String> {
        None
    }

    fn resolve(&self, host: &str, port: u16) -> Option<SocketAddr> {
        let host = if host == "localhost" { "127.0.0.1" } else { host };
        host.parse().ok().map(|address| SocketAddr::new(address, port))
    }

    fn read(&self, _path: &Path, _bytes_max: u64) -> io::Result<Vec<u8>> {
        Err(io::Error::new(io::ErrorKind::PermissionDenied, "a text cannot refer to files"))
    }

    fn canonical(&self, path: &Path) -> std::path::PathBuf {
        path.to_owned()
    }
}

fn failed(error: &TryError) -> Refused {
    let causes = std::iter::successors(error.source(), |&cause| cause.source()).map(ToString::to_string).collect();
    let of = |code, step| Refusal { causes, step, ..Refusal::new(code, error.to_string()) };
    match error {
        TryError::Stage { source, .. } => {
            Refused(StatusCode::UNPROCESSABLE_ENTITY, of(code::BUILD, Some(source.step().to_string())))
        }
        TryError::Unreadable(_) => Refused(StatusCode::UNPROCESSABLE_ENTITY, of(code::INPUT, None)),
        TryError::Thread(_) | TryError::Abandoned => Refused(StatusCode::INTERNAL_SERVER_ERROR, of(code::FAILED, None)),
    }
}
