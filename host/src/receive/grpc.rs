//! OTLP/gRPC: unary calls of the three export services, by hand over HTTP/2.
//!
//! No generated server, because a request is admitted before its body is read, lies in one buffer of its size, and is answered
//! with the codes that OTLP asks for: too large is RESOURCE_EXHAUSTED (never retried), overload is UNAVAILABLE with RetryInfo.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body::Body;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use prost::Message;

use super::answer::{OVER_BUDGET_DELAY, Reply, bounded, grpc_frame, partial_success};
use super::body::{ReadError, charge, read_message, read_prefix};
use super::decompress::gunzip;
use super::requests::{Requests, Told};
use crate::ack::Outcome;
use crate::memory::Charge;
use crate::otlp::{Code, Status};
use crate::signal::Signal;

const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const GRPC_DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");
const GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
const GRPC_ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");
const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// An empty message, uncompressed: `Export*ServiceResponse` of a full success.
const EMPTY_MESSAGE: Bytes = Bytes::from_static(&[0, 0, 0, 0, 0]);

static OK_TRAILERS: LazyLock<HeaderMap> =
    LazyLock::new(|| HeaderMap::from_iter([(GRPC_STATUS, HeaderValue::from_static("0"))]));

/// What is percent-encoded in `grpc-message` (gRPC over HTTP/2, "Percent-Encoded").
const MESSAGE_ENCODED: &AsciiSet = &CONTROLS.add(b'%');

/// Answers one call.
pub(super) async fn call<B>(requests: Arc<Requests>, request: Request<B>) -> Response<Reply>
where
    B: Body<Data = Bytes> + Unpin,
{
    if request.method() != Method::POST {
        return http_status(StatusCode::METHOD_NOT_ALLOWED);
    }
    match content_type(request.headers()) {
        ContentType::Proto => {}
        ContentType::OtherGrpc => {
            return refusal(Code::Unimplemented, "only application/grpc+proto is understood".to_owned());
        }
        ContentType::NotGrpc => return http_status(StatusCode::UNSUPPORTED_MEDIA_TYPE),
    }
    let path = request.uri().path();
    let Some(signal) = Signal::ALL.into_iter().find(|signal| signal.grpc_path() == path) else {
        return refusal(Code::Unimplemented, "unknown method; this is an OTLP receiver".to_owned());
    };
    let deadline = request.headers().get(GRPC_TIMEOUT).and_then(|value| parse_timeout(value.as_bytes()));
    let work = export(&requests, signal, request);
    let (told, response) = match deadline {
        None => work.await,
        Some(deadline) => match tokio::time::timeout(deadline, work).await {
            Ok(answered) => answered,
            Err(_) => (
                Told::Retry,
                refusal(Code::DeadlineExceeded, "the call's grpc-timeout passed before it was acknowledged".to_owned()),
            ),
        },
    };
    requests.count(signal, told);
    response
}

async fn export<B>(requests: &Requests, signal: Signal, request: Request<B>) -> (Told, Response<Reply>)
where
    B: Body<Data = Bytes> + Unpin,
{
    if !requests.intake.takes(signal) {
        return (Told::Refused, refusal(Code::Unimplemented, requests.not_taken(signal)));
    }
    let encoding = match request.headers().get(GRPC_ENCODING).map(HeaderValue::as_bytes) {
        None | Some(b"identity" | b"") => Encoding::Identity,
        Some(b"gzip") => Encoding::Gzip,
        Some(_) => {
            let mut response =
                refusal(Code::Unimplemented, "only the encodings identity and gzip are understood".to_owned());
            response.headers_mut().insert(GRPC_ACCEPT_ENCODING, HeaderValue::from_static("identity,gzip"));
            return (Told::Refused, response);
        }
    };
    let read = read(requests, request.into_body(), encoding);
    let read = tokio::time::timeout(requests.limits.body_timeout, read).await.unwrap_or(Err(ReadError::Interrupted));
    match read {
        Err(error) => (Told::from(&error), unread(&error)),
        Ok((message, charge)) => {
            let outcome = requests.outcome(requests.intake.submit(signal, message, charge)).await;
            (Told::from(&outcome), answer(outcome))
        }
    }
}

#[derive(Clone, Copy)]
enum Encoding {
    Identity,
    Gzip,
}

async fn read<B>(requests: &Requests, mut body: B, encoding: Encoding) -> Result<(Bytes, Charge), ReadError>
where
    B: Body<Data = Bytes> + Unpin,
{
    let prefix = read_prefix(&mut body).await?;
    let len = u64::from(prefix.message_bytes);
    if len > requests.bytes_max {
        return Err(ReadError::TooLarge { limit_bytes: requests.bytes_max });
    }
    let mut charge = charge(&requests.budget, len)?;
    let message = read_message(&mut body, prefix.first, prefix.message_bytes as usize).await?;
    match (prefix.compressed, encoding) {
        (false, _) => Ok((message, charge)),
        (true, Encoding::Gzip) => Ok((gunzip(&message, requests.bytes_max, &mut charge).await?, charge)),
        (true, Encoding::Identity) => Err(ReadError::Malformed("a compressed message without grpc-encoding")),
    }
}

/// Words an outcome (OTLP specification, "OTLP/gRPC Response").
fn answer(outcome: Outcome) -> Response<Reply> {
    match outcome {
        Outcome::Accepted { warning: None } => success(EMPTY_MESSAGE),
        Outcome::Accepted { warning: Some(warning) } => success(grpc_frame(&partial_success(0, warning))),
        Outcome::Partial { rejected, message } => success(grpc_frame(&partial_success(rejected, message))),
        Outcome::Retry { after, message } => overload(after, message),
        Outcome::Refused { message } => refusal(Code::InvalidArgument, message),
    }
}

fn unread(error: &ReadError) -> Response<Reply> {
    let code = match error {
        ReadError::OverBudget => return overload(Some(OVER_BUDGET_DELAY), error.to_string()),
        ReadError::TooLarge { .. } => Code::ResourceExhausted,
        ReadError::Malformed(_) => Code::Internal,
        ReadError::Corrupt | ReadError::Json(_) => Code::InvalidArgument,
        ReadError::Interrupted => Code::DeadlineExceeded,
    };
    refusal(code, error.to_string())
}

fn success(message: Bytes) -> Response<Reply> {
    let mut response = Response::new(Reply::new(message, Some(OK_TRAILERS.clone())));
    response.headers_mut().insert(CONTENT_TYPE, GRPC);
    response
}

/// UNAVAILABLE; `after` goes into RetryInfo (OTLP specification, "OTLP/gRPC Throttling").
fn overload(after: Option<Duration>, message: String) -> Response<Reply> {
    let message = bounded(message);
    let details = after.map(|after| Status::with_retry_info(Code::Unavailable, message.clone(), after));
    let mut response = refusal(Code::Unavailable, message);
    if let Some(details) = details
        && let Ok(value) = HeaderValue::try_from(STANDARD_NO_PAD.encode(details.encode_to_vec()))
    {
        response.headers_mut().insert(GRPC_DETAILS, value);
    }
    response
}

/// A response of headers alone ("Trailers-Only").
fn refusal(code: Code, message: String) -> Response<Reply> {
    let mut response = Response::new(Reply::default());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, GRPC);
    headers.insert(GRPC_STATUS, HeaderValue::from(code as i32));
    let encoded = utf8_percent_encode(&bounded(message), MESSAGE_ENCODED).to_string();
    if let Ok(value) = HeaderValue::try_from(encoded) {
        headers.insert(GRPC_MESSAGE, value);
    }
    response
}

/// What a caller gets that does not speak gRPC.
fn http_status(status: StatusCode) -> Response<Reply> {
    let mut response = Response::new(Reply::default());
    *response.status_mut() = status;
    response
}

enum ContentType {
    Proto,
    OtherGrpc,
    NotGrpc,
}

fn content_type(headers: &HeaderMap) -> ContentType {
    let value = headers.get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    match value.strip_prefix(b"application/grpc") {
        Some(b"" | b"+proto") => ContentType::Proto,
        Some([b';', ..]) => ContentType::Proto,
        Some(rest) if rest.starts_with(b"+proto;") => ContentType::Proto,
        Some([b'+', ..]) => ContentType::OtherGrpc,
        _ => ContentType::NotGrpc,
    }
}

/// `grpc-timeout` (gRPC over HTTP/2): up to eight digits and a unit. What is malformed counts as absent.
fn parse_timeout(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let count: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    match unit {
        b'H' => Some(Duration::from_secs(count * 3600)),
        b'M' => Some(Duration::from_secs(count * 60)),
        b'S' => Some(Duration::from_secs(count)),
        b'm' => Some(Duration::from_millis(count)),
        b'u' => Some(Duration::from_micros(count)),
        b'n' => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read_as_the_protocol_writes_them() {
        assert_eq!(parse_timeout(b"250m"), Some(Duration::from_millis(250)));
        assert_eq!(parse_timeout(b"99999999H"), Some(Duration::from_secs(99_999_999 * 3600)));
        assert_eq!(parse_timeout(b"7n"), Some(Duration::from_nanos(7)));
        for malformed in [&b""[..], b"S", b"1", b"1s", b"123456789S", b"-1S", b"1 S"] {
            assert_eq!(parse_timeout(malformed), None);
        }
    }

    #[test]
    fn messages_are_percent_encoded_and_bounded() {
        let response = refusal(Code::InvalidArgument, format!("50% é\n{}", "x".repeat(4096)));
        let message = response.headers()[&GRPC_MESSAGE].to_str().expect("is ASCII");
        assert!(message.starts_with("50%25 %C3%A9%0Axxx"));
        assert!(message.len() < 1100);
    }
}
