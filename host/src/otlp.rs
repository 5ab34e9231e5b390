//! The few messages of OTLP answers, as prost types: requests are never decoded, answers are small.

use std::time::Duration;

use prost::Message;

/// `Export{Trace,Metrics,Logs}ServiceResponse`: the three have the same shape on the wire (opentelemetry-proto, collector services).
#[derive(Clone, PartialEq, Message)]
pub struct ExportResponse {
    /// Unset means full success (OTLP specification, "Full Success").
    #[prost(message, optional, tag = "1")]
    pub partial_success: Option<PartialSuccess>,
}

/// `Export{Trace,Metrics,Logs}PartialSuccess`.
#[derive(Clone, PartialEq, Message)]
pub struct PartialSuccess {
    /// Spans, data points or log records; 0 with a message is a warning.
    #[prost(int64, tag = "1")]
    pub rejected: i64,
    /// For a person.
    #[prost(string, tag = "2")]
    pub error_message: String,
}

/// `google.rpc.Status`: the body of OTLP/HTTP errors and the content of `grpc-status-details-bin`.
#[derive(Clone, PartialEq, Message)]
pub struct Status {
    /// A gRPC code; not used in OTLP/HTTP.
    #[prost(int32, tag = "1")]
    pub code: i32,
    /// For a person.
    #[prost(string, tag = "2")]
    pub message: String,
    /// Such as [`RetryInfo`].
    #[prost(message, repeated, tag = "3")]
    pub details: Vec<prost_types::Any>,
}

/// `google.rpc.RetryInfo`.
#[derive(Clone, PartialEq, Message)]
pub struct RetryInfo {
    /// When to try again.
    #[prost(message, optional, tag = "1")]
    pub retry_delay: Option<prost_types::Duration>,
}

const RETRY_INFO_URL: &str = "type.googleapis.com/google.rpc.RetryInfo";

impl Status {
    /// A status whose details say when to try again.
    pub fn with_retry_info(code: Code, message: String, after: Duration) -> Status {
        let delay = prost_types::Duration {
            seconds: i64::try_from(after.as_secs()).unwrap_or(i64::MAX),
            nanos: i32::try_from(after.subsec_nanos()).unwrap_or(0),
        };
        let info = RetryInfo { retry_delay: Some(delay) };
        let detail = prost_types::Any { type_url: RETRY_INFO_URL.to_owned(), value: info.encode_to_vec() };
        Status { code: code as i32, message, details: vec![detail] }
    }

    /// The delay of the first `RetryInfo` among the details. A negative or absent delay counts as none at all waiting.
    pub fn retry_delay(&self) -> Option<Duration> {
        let detail = self.details.iter().find(|detail| detail.type_url == RETRY_INFO_URL)?;
        let delay = RetryInfo::decode(detail.value.as_slice()).ok()?.retry_delay.unwrap_or_default();
        let seconds = u64::try_from(delay.seconds).unwrap_or(0);
        let nanos = u32::try_from(delay.nanos).unwrap_or(0).min(999_999_999);
        Some(Duration::new(seconds, nanos))
    }
}

/// gRPC status codes (grpc, "Status codes and their use in gRPC").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Code {
    /// Success.
    Ok = 0,
    /// The caller cancelled.
    Cancelled = 1,
    /// No better code is known.
    Unknown = 2,
    /// The request can never be right.
    InvalidArgument = 3,
    /// Too late.
    DeadlineExceeded = 4,
    /// No such thing.
    NotFound = 5,
    /// It is there already.
    AlreadyExists = 6,
    /// The caller may not.
    PermissionDenied = 7,
    /// A quota or a size was exceeded.
    ResourceExhausted = 8,
    /// The system is not in the right state.
    FailedPrecondition = 9,
    /// A conflict of transactions.
    Aborted = 10,
    /// Past the valid range.
    OutOfRange = 11,
    /// No such method or encoding.
    Unimplemented = 12,
    /// An invariant or the protocol is broken.
    Internal = 13,
    /// Try again.
    Unavailable = 14,
    /// Data is lost.
    DataLoss = 15,
    /// The caller did not say who it is.
    Unauthenticated = 16,
}

impl Code {
    /// Every code, at its number.
    pub const ALL: [Code; 17] = [
        Code::Ok,
        Code::Cancelled,
        Code::Unknown,
        Code::InvalidArgument,
        Code::DeadlineExceeded,
        Code::NotFound,
        Code::AlreadyExists,
        Code::PermissionDenied,
        Code::ResourceExhausted,
        Code::FailedPrecondition,
        Code::Aborted,
        Code::OutOfRange,
        Code::Unimplemented,
        Code::Internal,
        Code::Unavailable,
        Code::DataLoss,
        Code::Unauthenticated,
    ];

    /// The code of a `grpc-status` header; what is not a known number is UNKNOWN.
    pub fn from_header(value: &[u8]) -> Code {
        std::str::from_utf8(value)
            .ok()
            .and_then(|text| text.parse::<usize>().ok())
            .and_then(|number| Code::ALL.get(number).copied())
            .unwrap_or(Code::Unknown)
    }

    /// What stands for a missing `grpc-status` (grpc, "HTTP to gRPC Status Code Mapping").
    pub fn from_http(status: http::StatusCode) -> Code {
        match status.as_u16() {
            400 => Code::Internal,
            401 => Code::Unauthenticated,
            403 => Code::PermissionDenied,
            404 => Code::Unimplemented,
            429 | 502 | 503 | 504 => Code::Unavailable,
            _ => Code::Unknown,
        }
    }

    /// Whether a sender tries again (OTLP specification, "OTLP/gRPC Response", Failures). RESOURCE_EXHAUSTED is retryable only
    /// where the peer says when.
    pub fn is_retryable(self, has_retry_info: bool) -> bool {
        match self {
            Code::Cancelled
            | Code::DeadlineExceeded
            | Code::Aborted
            | Code::OutOfRange
            | Code::Unavailable
            | Code::DataLoss => true,
            Code::ResourceExhausted => has_retry_info,
            _ => false,
        }
    }

    /// The name in the specification.
    pub const fn as_str(self) -> &'static str {
        match self {
            Code::Ok => "OK",
            Code::Cancelled => "CANCELLED",
            Code::Unknown => "UNKNOWN",
            Code::InvalidArgument => "INVALID_ARGUMENT",
            Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
            Code::NotFound => "NOT_FOUND",
            Code::AlreadyExists => "ALREADY_EXISTS",
            Code::PermissionDenied => "PERMISSION_DENIED",
            Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
            Code::FailedPrecondition => "FAILED_PRECONDITION",
            Code::Aborted => "ABORTED",
            Code::OutOfRange => "OUT_OF_RANGE",
            Code::Unimplemented => "UNIMPLEMENTED",
            Code::Internal => "INTERNAL",
            Code::Unavailable => "UNAVAILABLE",
            Code::DataLoss => "DATA_LOSS",
            Code::Unauthenticated => "UNAUTHENTICATED",
        }
    }
}

/// `text`, cut at a character so that it is at most `bytes_max` bytes: answers and logs stay small whatever a peer sends.
pub fn shorten(mut text: String, bytes_max: usize) -> String {
    if text.len() > bytes_max {
        text.truncate(text.floor_char_boundary(bytes_max));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_stand_at_their_numbers() {
        for (number, code) in Code::ALL.into_iter().enumerate() {
            assert_eq!(code as i32 as usize, number);
            assert_eq!(Code::from_header(number.to_string().as_bytes()), code);
        }
        assert_eq!(Code::from_header(b"17"), Code::Unknown);
        assert_eq!(Code::from_header(b"\xff"), Code::Unknown);
    }

    #[test]
    fn retryable_codes_are_those_of_the_specification() {
        let retried: Vec<i32> = Code::ALL.into_iter().filter(|c| c.is_retryable(false)).map(|c| c as i32).collect();
        assert_eq!(retried, [1, 4, 10, 11, 14, 15]);
        assert!(Code::ResourceExhausted.is_retryable(true));
        assert!(!Code::InvalidArgument.is_retryable(true));
    }

    #[test]
    fn retry_info_survives_the_wire() {
        let status = Status::with_retry_info(Code::Unavailable, "full".to_owned(), Duration::from_millis(1_500));
        let read = Status::decode(status.encode_to_vec().as_slice()).expect("decodes");
        assert_eq!(read.retry_delay(), Some(Duration::from_millis(1_500)));
        assert_eq!(Status::default().retry_delay(), None);
    }

    #[test]
    fn texts_are_cut_at_a_character() {
        assert_eq!(shorten("aéé".to_owned(), 4), "aé");
        assert_eq!(shorten("aé".to_owned(), 4), "aé");
    }
}
