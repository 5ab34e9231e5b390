//! What is answered to what is not done: the same JSON from every route, as `--output json` prints it.

use axum::Json;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Texts of the framework are a line.
const TEXT_BYTES_MAX: usize = 4 << 10;

/// What every refusal holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Refusal {
    /// What was refused.
    pub error: String,
    /// A code that never changes its meaning, such as `E0520`.
    #[serde(default)]
    pub code: String,
    /// Causes, outermost first.
    #[serde(default)]
    pub causes: Vec<String>,
    /// The step of a change that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// The operation that is in the way, or that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<u64>,
    /// What to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

/// Codes of this API's frame; parts have their own. A code never changes its meaning.
pub mod code {
    /// A change that cannot be done; what served before serves.
    pub const CHANGE: &str = "E0507";
    /// The token is missing or wrong, or the peer is somebody else.
    pub const NO_TOKEN: &str = "E0520";
    /// A page from elsewhere asks.
    pub const FOREIGN: &str = "E0521";
    /// The route does other verbs.
    pub const VERB: &str = "E0522";
    /// No such route, or no such thing.
    pub const NOT_FOUND: &str = "E0523";
    /// The request cannot be read as what the route takes.
    pub const UNREADABLE: &str = "E0524";
    /// The request is larger than the route takes, or than memory allows now.
    pub const TOO_LARGE: &str = "E0525";
    /// Another operation is in the way.
    pub const CONFLICT: &str = "E0526";
    /// An Idempotency-Key that was used with something else.
    pub const KEY_REUSED: &str = "E0527";
    /// The configuration file is not valid.
    pub const FILE: &str = "E0529";
    /// The engine failed, not the request.
    pub const INTERNAL: &str = "E0528";
}

impl Refusal {
    /// Without causes.
    pub fn new(code: &str, error: impl Into<String>) -> Self {
        Self { error: error.into(), code: code.to_owned(), ..Self::default() }
    }

    /// The same, saying what to do.
    pub fn with_help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }

    /// As an answer.
    pub(super) fn of(self, status: StatusCode) -> Response {
        (status, Json(self)).into_response()
    }
}

/// Makes JSON of the framework's own refusals, such as of a body that is too large. Their texts say what is wrong with the request.
pub(super) async fn as_json(request: Request, next: Next) -> Response {
    let is_of_api = request.uri().path().starts_with("/v1");
    let response = next.run(request).await;
    let status = response.status();
    let is_refusal = status.is_client_error() || status.is_server_error();
    if !is_of_api || !is_refusal || is_json(&response) {
        return response;
    }
    let code = match status {
        StatusCode::PAYLOAD_TOO_LARGE => code::TOO_LARGE,
        status if status.is_server_error() => code::INTERNAL,
        _ => code::UNREADABLE,
    };
    let text = text_of(response.into_body()).await;
    let error = if text.is_empty() { status.to_string() } else { text };
    Refusal::new(code, error).of(status)
}

fn is_json(response: &Response) -> bool {
    let said = response.headers().get(header::CONTENT_TYPE).and_then(|said| said.to_str().ok());
    said.is_some_and(|said| said.starts_with("application/json"))
}

async fn text_of(body: Body) -> String {
    let bytes = axum::body::to_bytes(body, TEXT_BYTES_MAX).await.unwrap_or_default();
    String::from_utf8_lossy(&bytes).trim().to_owned()
}
