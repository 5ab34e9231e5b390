//! What the admin API says of itself: `GET /v1` and `GET /v1/openapi.json`, made of the routes themselves.

use std::sync::Arc;

use axum::extract::{MatchedPath, State};
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::Serialize;
use utoipa::openapi::path::{HttpMethod, Operation, PathItem};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{Content, InfoBuilder, OpenApi, OpenApiBuilder, Ref, ResponseBuilder};
use utoipa::{PartialSchema, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Api;
use super::refusal::{Refusal, code};

/// The name of the security scheme.
const TOKEN: &str = "token";
/// Routes that a 404 names.
const NEAR_MAX: usize = 3;

const DESCRIPTION: &str = "\
Shows and changes what a running engine does. JSON in, JSON out; times are seconds since 1970.

GET and HEAD never change anything. Changes need the token, which lies in the engine's state folder (`admin-<port>.token`), or the Unix \
socket beside it (`admin-<port>.sock`), on which the kernel says who asks. On any address but loopback there is TLS, and everything but \
`/livez` and `/readyz` needs the token. Requests with an Origin, and on loopback those with a foreign Host, are refused.

What takes long is an operation: the answer is 202 with the operation and its Location; with `?wait=true` it is what came of it. A repeated \
`Idempotency-Key` with the same body gets the first answer again and does nothing.

Names of stages hold a slash: in bodies and queries as they are, in paths percent-encoded.";

/// A route, as the API lists it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct RouteLine {
    /// Of the path; the part in braces is chosen.
    path: String,
    /// `GET`, `POST`, `PUT` or `DELETE`.
    verb: String,
    /// What it does.
    #[serde(rename = "does")]
    summary: String,
}

/// Every route.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct RouteList {
    /// Of the engine.
    version: String,
    /// By path.
    routes: Vec<RouteLine>,
}

/// What is described and what is listed.
#[derive(Debug)]
pub(super) struct Described {
    document: serde_json::Value,
    list: RouteList,
}

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::default().routes(routes!(index)).routes(routes!(document))
}

/// Every route of this API.
#[utoipa::path(get, path = "/v1", responses((status = 200, body = RouteList)))]
async fn index(State(api): State<Api>) -> Json<RouteList> {
    Json(api.described.list.clone())
}

/// This API as an OpenAPI document.
#[utoipa::path(get, path = "/v1/openapi.json", responses((status = 200, body = Object)))]
async fn document(State(api): State<Api>) -> Json<serde_json::Value> {
    Json(api.described.document.clone())
}

/// What the document begins with.
pub(super) fn about() -> OpenApi {
    let info = InfoBuilder::new().title("Sluicebox admin API").version("1").description(Some(DESCRIPTION));
    OpenApiBuilder::new().info(info.build()).build()
}

impl Described {
    /// Completes what the parts say by what holds for all of them.
    pub(super) fn of(mut document: OpenApi) -> Arc<Described> {
        let components = document.components.get_or_insert_default();
        components.schemas.insert("Refusal".to_owned(), Refusal::schema());
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer);
        let scheme = scheme.description(Some("The admin token. The Unix socket needs none."));
        components.security_schemes.insert(TOKEN.to_owned(), SecurityScheme::Http(scheme.build()).into());
        let mut lines = Vec::new();
        for (path, item) in &mut document.paths.paths {
            for (verb, operation) in operations(item) {
                complete(path, &verb, operation);
                let summary = operation.summary.clone().unwrap_or_default();
                lines.push(RouteLine { path: path.clone(), verb: verb_name(&verb).to_owned(), summary });
            }
        }
        let list = RouteList { version: env!("CARGO_PKG_VERSION").to_owned(), routes: lines };
        // It is made of texts alone, which always have a JSON form.
        let document = serde_json::to_value(document).unwrap_or_default();
        Arc::new(Described { document, list })
    }

    fn verbs(&self, path: &str) -> Vec<&str> {
        self.list.routes.iter().filter(|line| line.path == path).map(|line| line.verb.as_str()).collect()
    }

    /// Paths that somebody may have meant.
    fn near(&self, path: &str) -> Vec<&str> {
        let mut near: Vec<_> =
            self.list.routes.iter().map(|line| (strsim::jaro_winkler(path, &line.path), line.path.as_str())).collect();
        near.sort_by(|(a, _), (b, _)| b.total_cmp(a));
        near.dedup_by_key(|(_, path)| *path);
        near.into_iter().take(NEAR_MAX).map(|(_, path)| path).collect()
    }
}

/// A route that exists was asked by another verb: 405, and which it is.
pub(super) async fn wrong_verb(State(api): State<Api>, path: Extension<MatchedPath>) -> Response {
    let verbs = api.described.verbs(path.as_str());
    let error = format!("{} does {} only", path.as_str(), verbs.join(", "));
    let help = format!("ask by {}; GET never changes anything", verbs.join(" or "));
    let mut answer = Refusal::new(code::VERB, error).with_help(help).of(StatusCode::METHOD_NOT_ALLOWED);
    if let Ok(allow) = HeaderValue::from_str(&verbs.join(", ")) {
        answer.headers_mut().insert(header::ALLOW, allow);
    }
    answer
}

/// No such route: 404, and which are near.
pub(super) async fn no_route(State(api): State<Api>, uri: Uri) -> Response {
    let near = api.described.near(uri.path()).join(", ");
    let error = "no such route".to_owned();
    let help = format!("there are {near}; GET /v1 lists all");
    Refusal::new(code::NOT_FOUND, error).with_help(help).of(StatusCode::NOT_FOUND).into_response()
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = (HttpMethod, &mut Operation)> {
    let PathItem { get, put, post, delete, .. } = item;
    let known =
        [(HttpMethod::Get, get), (HttpMethod::Put, put), (HttpMethod::Post, post), (HttpMethod::Delete, delete)];
    known.into_iter().filter_map(|(verb, operation)| Some((verb, operation.as_mut()?)))
}

fn verb_name(verb: &HttpMethod) -> &'static str {
    match verb {
        HttpMethod::Put => "PUT",
        HttpMethod::Post => "POST",
        HttpMethod::Delete => "DELETE",
        _ => "GET",
    }
}

/// Refusals that any route may answer with, and what it asks for.
fn complete(path: &str, verb: &HttpMethod, operation: &mut Operation) {
    if !path.starts_with("/v1") {
        return;
    }
    let changes = *verb != HttpMethod::Get;
    let token = SecurityRequirement::new(TOKEN, Vec::<String>::new());
    operation.security = Some(if changes { vec![token] } else { vec![SecurityRequirement::default(), token] });
    let mut may = vec![
        ("401", "The token is missing or wrong."),
        ("403", "An Origin, a foreign Host, or another user's socket."),
    ];
    if operation.request_body.is_some() {
        may.push(("400", "The body cannot be read as what this takes."));
        may.push(("413", "The body is larger than this takes."));
        may.push(("415", "The content type is not what this takes."));
        may.push(("422", "The body is not what this takes, or what it asks for cannot be done."));
    }
    for (status, description) in may {
        let schema = Ref::from_schema_name("Refusal");
        let content = Content::builder().schema(Some(schema)).build();
        let refusal = ResponseBuilder::new().description(description).content("application/json", content).build();
        operation.responses.responses.entry(status.to_owned()).or_insert_with(|| refusal.into());
    }
}
