//! `POST /v1/components`: a component is sent before it is used.

use axum::Json;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouterExt};
use utoipa_axum::routes;

use super::Api;
use super::refusal::{Refusal, code};
use super::uploads::UploadError;
use crate::wasm;

/// A component that was taken.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Uploaded {
    /// Its SHA-256, in hex.
    pub digest: String,
}

pub(super) fn routes() -> OpenApiRouter<Api> {
    let bytes_max = usize::try_from(wasm::COMPONENT_BYTES_MAX).unwrap_or(usize::MAX);
    OpenApiRouter::default().routes(routes!(upload).layer(DefaultBodyLimit::max(bytes_max)))
}

/// Sends a component. The last four are kept until a swap names one by its digest; nothing serves yet.
#[utoipa::path(
    post,
    path = "/v1/components",
    request_body(content_type = "application/wasm", content = [u8]),
    responses(
        (status = 200, body = Uploaded),
        (status = 408, body = Refusal, description = "It did not arrive in time."),
        (status = 503, body = Refusal, description = "The memory budget is used up."),
    )
)]
async fn upload(State(api): State<Api>, request: Request) -> Response {
    match api.uploads.receive(request).await {
        Ok(digest) => Json(Uploaded { digest }).into_response(),
        Err(error) => {
            let (status, code) = match &error {
                UploadError::OverBudget => (StatusCode::SERVICE_UNAVAILABLE, code::TOO_LARGE),
                UploadError::Body(body) if body.status() == StatusCode::PAYLOAD_TOO_LARGE => {
                    (StatusCode::PAYLOAD_TOO_LARGE, code::TOO_LARGE)
                }
                UploadError::Body(_) => (StatusCode::BAD_REQUEST, code::UNREADABLE),
                UploadError::Late => (StatusCode::REQUEST_TIMEOUT, code::UNREADABLE),
            };
            Refusal::new(code, error.to_string()).of(status)
        }
    }
}
