//! OTLP/HTTP client with protobuf or JSON bodies.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Request, Response, Uri};
use hyper::body::Incoming;
use prost::Message;

use super::client::{Chunks, HttpClient, SetupError, Version, causes, endpoint, headers, http_client, read_answer};
use super::compress::Gzip;
use super::otlp_grpc::{PEER_TEXT_BYTES_MAX, partial_success};
use super::{Destination, Sent};
use crate::config::model::{Client, Compression, Encoding};
use crate::json::{self, ProtobufError, Root};
use crate::otlp::{Status, shorten};
use crate::signal::Signal;

const PROTOBUF: &str = "application/x-protobuf";
const JSON: &str = "application/json";

const ANSWER_BYTES_MAX: usize = 4 << 20;
const ERROR_BYTES_MAX: usize = 64 << 10;

/// Largest request that is written as JSON on the I/O thread: about 100 microseconds' work.
const INLINE_BYTES_MAX: usize = 16 << 10;

/// One peer.
pub(super) struct OtlpHttp {
    client: HttpClient,
    /// None where the configuration has no URL for the signal.
    uris: [Option<Uri>; Signal::ALL.len()],
    headers: HeaderMap,
    gzip: Option<Gzip>,
    encoding: Encoding,
    timeout: Duration,
}

impl OtlpHttp {
    /// `endpoints` are the URLs of single signals, taken as they are.
    pub(super) fn new(
        config: &Client,
        endpoints: &[(Signal, String)],
        encoding: Encoding,
    ) -> Result<OtlpHttp, SetupError> {
        let uri = |signal: Signal| match endpoints.iter().find(|(of, _)| *of == signal) {
            Some((_, url)) => verbatim(url).map(Some),
            None if config.endpoint.is_empty() => Ok(None),
            None => endpoint(&config.endpoint, signal.http_path()).map(Some),
        };
        let [traces, metrics, logs] = Signal::ALL.map(uri);
        let uris = [traces?, metrics?, logs?];
        let gzip = (config.compression == Compression::Gzip).then(Gzip::default);
        let mut headers = headers(config)?;
        let content_type = match encoding {
            Encoding::Proto => PROTOBUF,
            Encoding::Json => JSON,
        };
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        if gzip.is_some() {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        Ok(OtlpHttp {
            client: http_client(config, uris.iter().flatten(), Version::Negotiated)?,
            uris,
            headers,
            gzip,
            encoding,
            timeout: config.timeout,
        })
    }

    async fn post(&self, signal: Signal, body: &[Bytes]) -> Sent {
        let Some(uri) = self.uris[signal as usize].clone() else {
            return Sent::Refused { message: format!("no endpoint is configured for {signal}") };
        };
        let written = match self.encoding {
            Encoding::Proto => body.to_vec(),
            Encoding::Json => match to_json(signal, body).await {
                Ok(json) => vec![json],
                Err(error) => return Sent::Refused { message: format!("the request has no JSON: {error}") },
            },
        };
        let pieces = match &self.gzip {
            None => written,
            Some(gzip) => match gzip.compress(&written).await {
                Ok(compressed) => vec![compressed],
                Err(error) => return Sent::Refused { message: error.to_string() },
            },
        };
        let mut request = Request::new(Chunks::new(pieces));
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = uri;
        *request.headers_mut() = self.headers.clone();
        match self.client.request(request).await {
            Ok(response) => judge(response, signal).await,
            Err(error) => Sent::Retry { after: None, message: causes(&error) },
        }
    }
}

impl Destination for OtlpHttp {
    fn send<'a>(&'a self, signal: Signal, body: &'a [Bytes]) -> BoxFuture<'a, Sent> {
        Box::pin(async move {
            match tokio::time::timeout(self.timeout, self.post(signal, body)).await {
                Ok(sent) => sent,
                Err(_) => Sent::Retry { after: None, message: format!("no answer within {:?}", self.timeout) },
            }
        })
    }
}

fn verbatim(url: &str) -> Result<Uri, SetupError> {
    endpoint(url, "").and_then(|_| {
        url.parse().map_err(|error: http::uri::InvalidUri| SetupError::Endpoint {
            endpoint: url.to_owned(),
            message: error.to_string(),
        })
    })
}

/// Reads an answer in the terms of OTLP (specification, "OTLP/HTTP Response"). Redirects are refusals: telemetry goes where the
/// configuration says.
async fn judge(response: Response<Incoming>, signal: Signal) -> Sent {
    let (parts, body) = response.into_parts();
    if parts.status.is_success() {
        return match read_answer(body, ANSWER_BYTES_MAX).await {
            Ok(answered) => match answered.body {
                Some(body) => match protobuf(Root::Response(signal), &parts.headers, body) {
                    Some(content) => partial_success(&content),
                    None => Sent::Accepted { warning: None },
                },
                None => Sent::Accepted {
                    warning: Some(format!("the peer's answer is larger than {ANSWER_BYTES_MAX} bytes")),
                },
            },
            // The status was there: it is taken, whatever became of the rest.
            Err(_) => Sent::Accepted { warning: None },
        };
    }
    // The body only explains: an unreadable one explains nothing.
    let text = match read_answer(body, ERROR_BYTES_MAX).await {
        Ok(answered) => answered
            .body
            .and_then(|body| protobuf(Root::Status, &parts.headers, body))
            .and_then(|content| Status::decode(content).ok())
            .map(|status| status.message),
        Err(_) => None,
    };
    let text = shorten(text.unwrap_or_default(), PEER_TEXT_BYTES_MAX);
    let message =
        if text.is_empty() { format!("HTTP {}", parts.status) } else { format!("HTTP {}: {text}", parts.status) };
    match parts.status.as_u16() {
        429 | 502 | 503 | 504 => {
            let after = parts.headers.get(RETRY_AFTER).and_then(|value| retry_after(value, SystemTime::now()));
            Sent::Retry { after, message }
        }
        _ => Sent::Refused { message },
    }
}

/// An answer's content as protobuf, whatever the peer chose to answer in; None for what is neither of OTLP's encodings. An empty
/// body is the empty message in both.
fn protobuf(root: Root, headers: &HeaderMap, body: Bytes) -> Option<Bytes> {
    let content_type = headers.get(CONTENT_TYPE).map_or(PROTOBUF.as_bytes(), HeaderValue::as_bytes);
    if body.is_empty() || content_type.starts_with(PROTOBUF.as_bytes()) {
        Some(body)
    } else if content_type.starts_with(JSON.as_bytes()) {
        json::to_protobuf(root, &body).ok().map(Bytes::from)
    } else {
        None
    }
}

/// One JSON object of the concatenation of `body`.
async fn to_json(signal: Signal, body: &[Bytes]) -> Result<Bytes, ProtobufError> {
    let bytes: usize = body.iter().map(Bytes::len).sum();
    let parts = body.to_vec();
    let write = move || match parts.as_slice() {
        [one] => json::to_json(signal, one),
        parts => json::to_json(signal, &parts.concat()),
    };
    if bytes <= INLINE_BYTES_MAX {
        return write().map(Bytes::from);
    }
    // The runtime drops blocking tasks only when it stops.
    tokio::task::spawn_blocking(write).await.unwrap_or(Err(ProtobufError::Malformed)).map(Bytes::from)
}

/// `Retry-After` in both its forms (RFC 9110, 10.2.3): seconds, or a date; a date that has passed means now.
fn retry_after(value: &HeaderValue, now: SystemTime) -> Option<Duration> {
    let text = value.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(now).unwrap_or(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_read_in_both_forms() {
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").expect("is a date");
        let read = |text| retry_after(&HeaderValue::from_static(text), now);
        assert_eq!(read("120"), Some(Duration::from_secs(120)));
        assert_eq!(read("Sun, 06 Nov 1994 08:50:07 GMT"), Some(Duration::from_secs(30)));
        assert_eq!(read("Sun, 06 Nov 1994 08:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(read("soon"), None);
        assert_eq!(read("-1"), None);
    }
}
