//! OTLP/gRPC client: unary calls with the request's own bytes as the message.

use std::time::Duration;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::{BufMut, Bytes, BytesMut};
use futures_util::future::BoxFuture;
use http::header::{CONTENT_TYPE, TE};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri};
use hyper::body::Incoming;
use percent_encoding::percent_decode;
use prost::Message;

use super::client::{Chunks, HttpClient, SetupError, Version, causes, endpoint, headers, http_client, read_answer};
use super::compress::Gzip;
use super::{Destination, Sent};
use crate::config::model::{Client, Compression};
use crate::otlp::{Code, ExportResponse, Status, shorten};
use crate::signal::Signal;

/// OTLP specification, "OTLP/gRPC Response": 4 MiB is acceptable.
const ANSWER_BYTES_MAX: usize = 4 << 20;
/// What is kept of a peer's text.
pub(super) const PEER_TEXT_BYTES_MAX: usize = 1024;

/// Padding is optional in `-bin` headers (gRPC over HTTP/2).
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// One peer.
pub(super) struct OtlpGrpc {
    client: HttpClient,
    uris: [Uri; Signal::ALL.len()],
    headers: HeaderMap,
    gzip: Option<Gzip>,
    timeout: Duration,
}

impl OtlpGrpc {
    pub(super) fn new(config: &Client) -> Result<OtlpGrpc, SetupError> {
        let [traces, metrics, logs] = Signal::ALL.map(|signal| endpoint(&config.endpoint, signal.grpc_path()));
        let uris = [traces?, metrics?, logs?];
        let gzip = (config.compression == Compression::Gzip).then(Gzip::default);
        let mut headers = headers(config)?;
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(TE, HeaderValue::from_static("trailers"));
        if gzip.is_some() {
            headers.insert("grpc-encoding", HeaderValue::from_static("gzip"));
        }
        // At most eight digits.
        let millis = config.timeout.as_millis().min(99_999_999);
        if let Ok(value) = HeaderValue::try_from(format!("{millis}m")) {
            headers.insert("grpc-timeout", value);
        }
        Ok(OtlpGrpc {
            client: http_client(config, &uris, Version::Http2Only)?,
            uris,
            headers,
            gzip,
            timeout: config.timeout,
        })
    }

    async fn call(&self, signal: Signal, body: &[Bytes]) -> Sent {
        let pieces = match &self.gzip {
            None => framed(0, body.to_vec()),
            Some(gzip) => match gzip.compress(body).await {
                Ok(compressed) => framed(1, vec![compressed]),
                Err(error) => return Sent::Refused { message: error.to_string() },
            },
        };
        let Some(pieces) = pieces else {
            return Sent::Refused { message: "the request is larger than a gRPC message can be".to_owned() };
        };
        let mut request = Request::new(Chunks::new(pieces));
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = self.uris[signal as usize].clone();
        *request.version_mut() = http::Version::HTTP_2;
        *request.headers_mut() = self.headers.clone();
        match self.client.request(request).await {
            Ok(response) => judge(response).await,
            Err(error) => Sent::Retry { after: None, message: causes(&error) },
        }
    }
}

impl Destination for OtlpGrpc {
    fn send<'a>(&'a self, signal: Signal, body: &'a [Bytes]) -> BoxFuture<'a, Sent> {
        Box::pin(async move {
            match tokio::time::timeout(self.timeout, self.call(signal, body)).await {
                Ok(sent) => sent,
                Err(_) => Sent::Retry { after: None, message: format!("no answer within {:?}", self.timeout) },
            }
        })
    }
}

/// A length-prefixed message of `pieces`; None beyond 4 GiB.
fn framed(flag: u8, pieces: Vec<Bytes>) -> Option<Vec<Bytes>> {
    let len: usize = pieces.iter().map(Bytes::len).sum();
    let mut prefix = BytesMut::with_capacity(5);
    prefix.put_u8(flag);
    prefix.put_u32(u32::try_from(len).ok()?);
    let mut framed = Vec::with_capacity(pieces.len() + 1);
    framed.push(prefix.freeze());
    framed.extend(pieces);
    Some(framed)
}

/// Reads an answer in the terms of OTLP (specification, "OTLP/gRPC Response").
async fn judge(response: Response<Incoming>) -> Sent {
    let (parts, body) = response.into_parts();
    let is_grpc =
        parts.headers.get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"));
    if parts.status != StatusCode::OK || !is_grpc {
        let code = Code::from_http(parts.status);
        return refused(code, None, format!("the peer answered HTTP {} without gRPC", parts.status));
    }
    let answered = match read_answer(body, ANSWER_BYTES_MAX).await {
        Ok(answered) => answered,
        Err(error) => return Sent::Retry { after: None, message: causes(&error) },
    };
    let Some(body) = answered.body else {
        // Whether it was taken is unspecified; sending it again might double it (OTLP: not retryable).
        return Sent::Accepted { warning: Some(format!("the peer's answer is larger than {ANSWER_BYTES_MAX} bytes")) };
    };
    let headers = if parts.headers.contains_key("grpc-status") {
        &parts.headers
    } else if let Some(trailers) = &answered.trailers
        && trailers.contains_key("grpc-status")
    {
        trailers
    } else {
        return Sent::Retry { after: None, message: "the call ended without a status".to_owned() };
    };
    match Code::from_header(headers.get("grpc-status").map_or(&b""[..], HeaderValue::as_bytes)) {
        Code::Ok => taken(&body),
        code => {
            let details = headers
                .get("grpc-status-details-bin")
                .and_then(|value| Status::decode(BASE64.decode(value.as_bytes()).ok()?.as_slice()).ok()?.retry_delay());
            let text = headers.get("grpc-message").map_or(&b""[..], HeaderValue::as_bytes);
            refused(code, details, percent_decode(text).decode_utf8_lossy().into_owned())
        }
    }
}

/// A success; a message that cannot be read says nothing, as does one that is compressed though nobody asked.
fn taken(body: &[u8]) -> Sent {
    match body.split_first_chunk::<5>() {
        Some(([0, ..], message)) => partial_success(message),
        _ => Sent::Accepted { warning: None },
    }
}

/// `Export*ServiceResponse`: what is unreadable counts as full success, for sending again would double the data.
pub(super) fn partial_success(message: &[u8]) -> Sent {
    let partial = ExportResponse::decode(message).ok().and_then(|response| response.partial_success);
    let Some(partial) = partial else { return Sent::Accepted { warning: None } };
    let message = shorten(partial.error_message, PEER_TEXT_BYTES_MAX);
    match u64::try_from(partial.rejected) {
        Ok(rejected) if rejected > 0 => Sent::Partial { rejected, message },
        _ => Sent::Accepted { warning: Some(message).filter(|message| !message.is_empty()) },
    }
}

fn refused(code: Code, after: Option<Duration>, text: String) -> Sent {
    let message = format!("{}: {}", code.as_str(), shorten(text, PEER_TEXT_BYTES_MAX));
    if code.is_retryable(after.is_some()) { Sent::Retry { after, message } } else { Sent::Refused { message } }
}
