//! `GET /v1/status`: the whole engine in one page.

use axum::extract::{Query, State};
use axum::response::Response;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Api;
use super::refusal::Refusal;
use super::views::Windowed;
use crate::view::Status;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::default().routes(routes!(status))
}

/// What runs, and how it fares.
#[utoipa::path(
    get,
    path = "/v1/status",
    params(Windowed),
    responses((status = 200, body = Status), (status = 400, body = Refusal, description = "No such window."))
)]
async fn status(State(api): State<Api>, Query(asked): Query<Windowed>) -> Response {
    asked.answer(|window| api.parts.view.status(window, api.parts.control.operations().all()))
}
