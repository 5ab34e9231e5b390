//! `POST /v1/taps`: what a stage is shown and what it makes of it, as a stream.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt as _;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Api;
use super::access::Caller;
use super::refusal::Refusal;
use crate::tap::line::{TapBegun, TapCounts, TapEnd, TapMatch};
use crate::tap::{TapError, TapRequest};

/// Codes of taps. A code never changes its meaning.
pub mod code {
    /// `admin.data_access` does not allow it.
    pub const DATA_ACCESS: &str = "E0535";
    /// No such stage.
    pub const UNKNOWN: &str = "E0536";
    /// As many as there may be are open.
    pub const TOO_MANY: &str = "E0537";
    /// `where` is no condition.
    pub const WHERE: &str = "E0538";
    /// A value that cannot be.
    pub const VALUE: &str = "E0539";
    /// The engine failed, not the request.
    pub const FAILED: &str = "E0540";
}

pub(super) fn routes() -> OpenApiRouter<Api> {
    use utoipa::{PartialSchema, ToSchema};

    let mut router = OpenApiRouter::default().routes(routes!(tap));
    // Lines of the stream: no route has one of them alone as its answer.
    let mut schemas = vec![
        (TapBegun::name().into_owned(), TapBegun::schema()),
        (TapMatch::name().into_owned(), TapMatch::schema()),
        (TapCounts::name().into_owned(), TapCounts::schema()),
        (TapEnd::name().into_owned(), TapEnd::schema()),
    ];
    TapBegun::schemas(&mut schemas);
    TapMatch::schemas(&mut schemas);
    let known = &mut router.get_openapi_mut().components.get_or_insert_default().schemas;
    known.extend(schemas);
    router
}

/// Shows what a stage is shown and what it makes of it, as it happens.
///
/// The answer is a stream of JSON lines: first `{"tap": TapBegun}`, then `{"match": TapMatch}` for each match, the first at once, `{"lost": n}` where
/// records came by too fast to be looked at, `{"progress": TapCounts}` once a second while anything changes, and last `{"end": TapEnd, ...TapCounts}`.
/// Hanging up ends the tap. What is shown is bounded by `admin.data_access`.
#[utoipa::path(
    post,
    path = "/v1/taps",
    request_body = TapRequest,
    responses(
        (status = 200, description = "Lines of JSON.", content_type = "application/x-ndjson", body = String),
        (status = 403, body = Refusal, description = "The file does not let this be shown."),
        (status = 404, body = Refusal, description = "No such stage."),
        (status = 422, body = Refusal, description = "A wrong value or condition."),
        (status = 429, body = Refusal, description = "As many taps as there may be are open."),
    )
)]
async fn tap(State(api): State<Api>, Caller(who): Caller, Json(request): Json<TapRequest>) -> Response {
    match api.parts.taps.open(request, who).await {
        Ok(tap) => {
            let lines = tap.into_lines().map(Ok::<_, std::convert::Infallible>);
            ([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response()
        }
        Err(error) => refused(&error),
    }
}

fn refused(error: &TapError) -> Response {
    let (status, code, help) = match error {
        TapError::Off => {
            let help = "set `admin: {data_access: redacted}` (behind the last editing stage) or `full` in the file; it takes effect when the \
                        file is taken up";
            (StatusCode::FORBIDDEN, code::DATA_ACCESS, Some(help.to_owned()))
        }
        TapError::NotRedacted { .. } => {
            let help = "tap a stage behind the last one that edits, or set `admin: {data_access: full}` in the file";
            (StatusCode::FORBIDDEN, code::DATA_ACCESS, Some(help.to_owned()))
        }
        TapError::Unknown { stage, .. } => {
            let kind = stage.split('/').next().unwrap_or_default();
            let help = matches!(kind, "batch" | "memory_limiter")
                .then(|| format!("{kind} neither reads nor changes records: tap the processor before or behind it"));
            (StatusCode::NOT_FOUND, code::UNKNOWN, help)
        }
        TapError::TooMany => {
            let help = "end one; they end by themselves after their `seconds`".to_owned();
            (StatusCode::TOO_MANY_REQUESTS, code::TOO_MANY, Some(help))
        }
        TapError::Where { .. } => {
            let help =
                "conditions are those of the filter processor, such as span.attributes[\"http.route\"] == \"/health\"";
            (StatusCode::UNPROCESSABLE_ENTITY, code::WHERE, Some(help.to_owned()))
        }
        TapError::Value { .. } => (StatusCode::UNPROCESSABLE_ENTITY, code::VALUE, None),
        TapError::Failed(_) => (StatusCode::INTERNAL_SERVER_ERROR, code::FAILED, None),
    };
    let source = std::error::Error::source(error);
    let causes = std::iter::successors(source, |&cause| cause.source()).map(ToString::to_string).collect();
    Refusal { causes, help, ..Refusal::new(code, error.to_string()) }.of(status)
}
