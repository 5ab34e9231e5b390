//! `GET /v1/traces/{id}`: what tail samplers know of a trace. It tells names of the file and times, nothing of the telemetry.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Api;
use super::refusal::{Refusal, code};
use crate::tail::explain::Explanation;

/// For messages: the one of the W3C's examples.
const EXAMPLE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// A text that is no trace id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a trace id is 32 hex digits, such as {EXAMPLE}")]
pub struct NoTraceId;

/// What is answered.
#[derive(Debug, Serialize, ToSchema)]
struct TraceAnswer {
    /// In lower case.
    trace_id: String,
    /// Of each tail sampler that knows the trace.
    samplers: Vec<Explanation>,
}

/// Reads a trace id as W3C Trace Context and OTLP/JSON write it, in either case.
///
/// # Errors
/// See [`NoTraceId`].
pub fn trace_id(text: &str) -> Result<[u8; 16], NoTraceId> {
    if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(NoTraceId);
    }
    Ok(u128::from_str_radix(text, 16).map_err(|_| NoTraceId)?.to_be_bytes())
}

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::default().routes(routes!(explain))
}

/// What tail samplers know of a trace.
#[utoipa::path(
    get,
    path = "/v1/traces/{id}",
    params(("id" = String, Path, description = "32 hex digits.")),
    responses((status = 200, body = TraceAnswer), (status = 400, body = Refusal, description = "No trace id."))
)]
async fn explain(State(api): State<Api>, Path(id): Path<String>) -> Response {
    match trace_id(&id) {
        Ok(id) => {
            let trace_id = format!("{:032x}", u128::from_be_bytes(id));
            Json(TraceAnswer { trace_id, samplers: api.parts.why.explain(id).await }).into_response()
        }
        Err(no_id) => Refusal::new(code::UNREADABLE, no_id.to_string()).of(StatusCode::BAD_REQUEST),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trace_ids_are_32_hex_digits() {
        let bytes = [0x4b, 0xf9, 0x2f, 0x35, 0x77, 0xb3, 0x4d, 0xa6, 0xa3, 0xce, 0x92, 0x9d, 0x0e, 0x0e, 0x47, 0x36];
        assert_eq!(trace_id(EXAMPLE), Ok(bytes));
        assert_eq!(trace_id(&EXAMPLE.to_uppercase()), Ok(bytes));
        for wrong in ["", "4bf9", &format!("+{}", &EXAMPLE[1..]), &format!("{EXAMPLE}0"), &EXAMPLE.replace('4', "g")] {
            assert_eq!(trace_id(wrong), Err(NoTraceId), "{wrong}");
        }
    }
}
