//! OTLP/HTTP with protobuf or JSON bodies, over HTTP/1.1 and HTTP/2.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ORIGIN, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body::Body;
use prost::Message;

use super::answer::{OVER_BUDGET_DELAY, Reply, bounded, partial_success};
use super::body::{ReadError, discard, read_body};
use super::cors::Cors;
use super::decompress::gunzip;
use super::requests::{Requests, Told};
use super::transcode::transcode;
use crate::ack::Outcome;
use crate::json::{self, Root};
use crate::memory::Charge;
use crate::otlp::{Code, ExportResponse, Status};
use crate::signal::Signal;

const PROTOBUF: HeaderValue = HeaderValue::from_static("application/x-protobuf");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Of a refused request over HTTP/1, what is still read so that the sender gets to see the answer, and for how long.
const DISCARDED_BYTES_MAX: usize = 64 << 20;
const DISCARD_TIMEOUT: Duration = Duration::from_secs(5);

/// Answers one request.
pub(super) async fn call<B>(requests: Arc<Requests>, cors: Arc<Option<Cors>>, request: Request<B>) -> Response<Reply>
where
    B: Body<Data = Bytes> + Unpin,
{
    let origin = request.headers().get(ORIGIN).cloned();
    let preflight = cors.is_some() && Cors::is_preflight(request.method(), request.headers());
    let mut response = if preflight {
        let mut response = Response::new(Reply::default());
        *response.status_mut() = StatusCode::NO_CONTENT;
        response
    } else {
        route(&requests, request).await
    };
    if let (Some(cors), Some(origin)) = (cors.as_ref(), origin) {
        cors.decorate(&origin, preflight, response.headers_mut());
    }
    response
}

async fn route<B>(requests: &Requests, request: Request<B>) -> Response<Reply>
where
    B: Body<Data = Bytes> + Unpin,
{
    let encoding = Encoding::of(request.headers());
    let path = request.uri().path();
    let Some(signal) = Signal::ALL.into_iter().find(|signal| signal.http_path() == path) else {
        let text = "no such path; OTLP/HTTP is served at /v1/traces, /v1/metrics and /v1/logs";
        return error(StatusCode::NOT_FOUND, Code::NotFound, text.to_owned(), encoding);
    };
    if request.method() != Method::POST {
        let text = "OTLP/HTTP requests are sent by POST";
        let mut response = error(StatusCode::METHOD_NOT_ALLOWED, Code::Unimplemented, text.to_owned(), encoding);
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
        return response;
    }
    let http1 = request.version() < Version::HTTP_2;
    let (parts, mut body) = request.into_parts();
    let (told, response) = export(requests, signal, &parts.headers, encoding, &mut body).await;
    let refused_unread = matches!(told, Told::TooLarge | Told::OverBudget | Told::Refused) && !body.is_end_stream();
    if http1 && refused_unread {
        // Unread data would make the kernel reset the connection under the answer. How it ends does not matter.
        let _elapsed = tokio::time::timeout(DISCARD_TIMEOUT, discard(&mut body, DISCARDED_BYTES_MAX)).await;
    }
    requests.count(signal, told);
    response
}

async fn export<B>(
    requests: &Requests,
    signal: Signal,
    headers: &HeaderMap,
    encoding: Encoding,
    body: &mut B,
) -> (Told, Response<Reply>)
where
    B: Body<Data = Bytes> + Unpin,
{
    let unsupported = |text: &str| {
        (Told::Refused, error(StatusCode::UNSUPPORTED_MEDIA_TYPE, Code::InvalidArgument, text.to_owned(), encoding))
    };
    if !requests.intake.takes(signal) {
        return (
            Told::Refused,
            error(StatusCode::NOT_FOUND, Code::Unimplemented, requests.not_taken(signal), encoding),
        );
    }
    if encoding == Encoding::Other {
        return unsupported("the content type must be application/x-protobuf or application/json");
    }
    let gzip = match headers.get(CONTENT_ENCODING).map(HeaderValue::as_bytes) {
        None | Some(b"" | b"identity") => false,
        Some(b"gzip" | b"x-gzip") => true,
        Some(_) => return unsupported("the content encoding must be gzip or identity"),
    };
    let read = read(requests, headers, gzip, body);
    let read = tokio::time::timeout(requests.limits.body_timeout, read).await.unwrap_or(Err(ReadError::Interrupted));
    let read = match read {
        Ok((body, charge)) if encoding == Encoding::Json => transcode(requests, signal, body, charge).await,
        read => read,
    };
    match read {
        Err(error) => (Told::from(&error), unread(&error, encoding)),
        Ok((message, charge)) => {
            let outcome = requests.outcome(requests.intake.submit(signal, message, charge)).await;
            (Told::from(&outcome), answer(outcome, signal, encoding))
        }
    }
}

async fn read<B>(
    requests: &Requests,
    headers: &HeaderMap,
    gzip: bool,
    body: &mut B,
) -> Result<(Bytes, Charge), ReadError>
where
    B: Body<Data = Bytes> + Unpin,
{
    let declared = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    let (bytes, mut charge) = read_body(body, declared, requests.bytes_max, &requests.budget).await?;
    if gzip {
        let inflated = gunzip(&bytes, requests.bytes_max, &mut charge).await?;
        return Ok((inflated, charge));
    }
    Ok((bytes, charge))
}

/// Words an outcome (OTLP specification, "OTLP/HTTP Response").
fn answer(outcome: Outcome, signal: Signal, encoding: Encoding) -> Response<Reply> {
    match outcome {
        Outcome::Accepted { warning: None } => success(&ExportResponse::default(), signal, encoding),
        Outcome::Accepted { warning: Some(text) } => success(&partial_success(0, text), signal, encoding),
        Outcome::Partial { rejected, message } => success(&partial_success(rejected, message), signal, encoding),
        Outcome::Retry { after, message } => overload(after, message, encoding),
        Outcome::Refused { message } => error(StatusCode::BAD_REQUEST, Code::InvalidArgument, message, encoding),
    }
}

fn unread(cause: &ReadError, encoding: Encoding) -> Response<Reply> {
    let text = cause.to_string();
    match cause {
        ReadError::OverBudget => overload(Some(OVER_BUDGET_DELAY), text, encoding),
        ReadError::Interrupted => overload(None, text, encoding),
        ReadError::TooLarge { .. } => error(StatusCode::PAYLOAD_TOO_LARGE, Code::ResourceExhausted, text, encoding),
        ReadError::Malformed(_) | ReadError::Corrupt | ReadError::Json(_) => {
            error(StatusCode::BAD_REQUEST, Code::InvalidArgument, text, encoding)
        }
    }
}

/// 200 (OTLP specification, "Full Success" and "Partial Success"). In protobuf a response whose `partial_success` is unset is
/// an empty body.
fn success(content: &ExportResponse, signal: Signal, encoding: Encoding) -> Response<Reply> {
    let (content_type, body) = encoded(Root::Response(signal), content, encoding);
    let mut response = Response::new(Reply::new(body, None));
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

/// 503, with `Retry-After` in whole seconds where it is known when (OTLP specification, "OTLP/HTTP Throttling").
fn overload(after: Option<Duration>, message: String, encoding: Encoding) -> Response<Reply> {
    let mut response = error(StatusCode::SERVICE_UNAVAILABLE, Code::Unavailable, message, encoding);
    if let Some(after) = after {
        let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds.max(1)));
    }
    response
}

/// An error whose body is a `google.rpc.Status` in the request's encoding (OTLP specification, "Failures").
fn error(status: StatusCode, code: Code, message: String, encoding: Encoding) -> Response<Reply> {
    let content = Status { code: code as i32, message: bounded(message), details: Vec::new() };
    let (content_type, body) = encoded(Root::Status, &content, encoding);
    let mut response = Response::new(Reply::new(body, None));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

/// An answer's body and its content type.
fn encoded(root: Root, content: &impl Message, encoding: Encoding) -> (HeaderValue, Bytes) {
    let protobuf = content.encode_to_vec();
    match encoding {
        Encoding::Protobuf | Encoding::Other => (PROTOBUF, Bytes::from(protobuf)),
        // An answer that was just encoded can be read; were it not so, it would be told as the message without content.
        Encoding::Json => (JSON, json::to_json(root, &protobuf).map_or(Bytes::from_static(b"{}"), Bytes::from)),
    }
}

/// How the request's body is written, and so how the answer's is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    Protobuf,
    Json,
    Other,
}

impl Encoding {
    fn of(headers: &HeaderMap) -> Encoding {
        let value = headers.get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
        let essence = value.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii();
        if essence.eq_ignore_ascii_case(b"application/x-protobuf") {
            Encoding::Protobuf
        } else if essence.eq_ignore_ascii_case(b"application/json") {
            Encoding::Json
        } else {
            Encoding::Other
        }
    }
}
