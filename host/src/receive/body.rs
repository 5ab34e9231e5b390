//! Request bodies: charged before they are read, gathered into one buffer of their size.

use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use http_body::Body;
use http_body_util::BodyExt;

use crate::json::JsonError;
use crate::memory::{Budget, Charge};

/// Frames of at least this size are kept as they came instead of being copied. A smaller one may be a slice of a read
/// buffer many times its size, which it would keep alive and which nobody has charged. HTTP/2's codec reads a large frame into
/// a buffer of about its size; HTTP/1 reads into buffers of up to 256 KiB whatever the body's.
const SHARED_MESSAGE_BYTES_MIN: usize = 32 << 10;
const SHARED_BODY_BYTES_MIN: usize = 128 << 10;

/// The first growth step of a body whose length is not declared.
const UNDECLARED_STEP_BYTES: usize = 64 << 10;

/// Why a request's bytes could not be had.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(super) enum ReadError {
    /// It can never be taken: larger than the limit, or than the whole budget.
    #[error("the request is larger than {limit_bytes} bytes, the limit after decompression")]
    TooLarge {
        /// The limit.
        limit_bytes: u64,
    },
    /// It cannot be taken now.
    #[error("the memory budget is used up; send again later")]
    OverBudget,
    /// The frames are not what the protocol asks for.
    #[error("malformed request: {0}")]
    Malformed(&'static str),
    /// The compressed data cannot be inflated.
    #[error("the gzip data is corrupt or cut short")]
    Corrupt,
    /// The body is not OTLP/JSON.
    #[error(transparent)]
    Json(JsonError),
    /// The peer went away, or took too long.
    #[error("the request's body did not arrive in time or the peer hung up")]
    Interrupted,
}

/// Takes `bytes` from the budget; what can never fit is told apart from what does not fit now.
pub(super) fn charge(budget: &Arc<Budget>, bytes: u64) -> Result<Charge, ReadError> {
    if bytes > budget.bytes_max() {
        return Err(ReadError::TooLarge { limit_bytes: budget.bytes_max() });
    }
    budget.charge(bytes).ok_or(ReadError::OverBudget)
}

/// The rest of a gRPC request after its prefix: exactly `len` bytes, of which `first` are here already, then the end.
pub(super) async fn read_message<B>(body: &mut B, first: Bytes, len: usize) -> Result<Bytes, ReadError>
where
    B: Body<Data = Bytes> + Unpin,
{
    const SECOND: ReadError = ReadError::Malformed("more than one message in a unary call");
    let message = read_exact(body, first, len, SHARED_MESSAGE_BYTES_MIN, SECOND).await?;
    while let Some(frame) = next_data(body).await? {
        if !frame.is_empty() {
            return Err(SECOND);
        }
    }
    Ok(message)
}

/// Exactly `len` bytes, uncopied where one frame of at least `shared_min` holds them all; what comes beyond them in the same frame
/// is the error `excess`.
async fn read_exact<B>(
    body: &mut B,
    first: Bytes,
    len: usize,
    shared_min: usize,
    excess: ReadError,
) -> Result<Bytes, ReadError>
where
    B: Body<Data = Bytes> + Unpin,
{
    let mut frame = first;
    while frame.is_empty() && len > 0 {
        frame = next_data(body).await?.ok_or(ReadError::Malformed("the body ends before the declared length"))?;
    }
    if frame.len() > len {
        return Err(excess);
    }
    if frame.len() == len && len >= shared_min {
        return Ok(frame);
    }
    let mut buffer = BytesMut::with_capacity(len);
    buffer.extend_from_slice(&frame);
    while buffer.len() < len {
        let frame = next_data(body).await?.ok_or(ReadError::Malformed("the body ends before the declared length"))?;
        if frame.len() > len - buffer.len() {
            return Err(excess);
        }
        buffer.extend_from_slice(&frame);
    }
    Ok(buffer.freeze())
}

/// A whole HTTP body of at most `limit_bytes`, charged before it is read where its length is declared, else as it grows.
pub(super) async fn read_body<B>(
    mut body: B,
    declared: Option<u64>,
    limit_bytes: u64,
    budget: &Arc<Budget>,
) -> Result<(Bytes, Charge), ReadError>
where
    B: Body<Data = Bytes> + Unpin,
{
    let too_large = || ReadError::TooLarge { limit_bytes };
    if let Some(declared) = declared {
        if declared > limit_bytes {
            return Err(too_large());
        }
        let charge = charge(budget, declared)?;
        let len = usize::try_from(declared).map_err(|_| too_large())?;
        let excess = ReadError::Malformed("the body is longer than its declared length");
        return Ok((read_exact(&mut body, Bytes::new(), len, SHARED_BODY_BYTES_MIN, excess).await?, charge));
    }
    let limit = usize::try_from(limit_bytes).unwrap_or(usize::MAX);
    let mut charge = charge(budget, 0)?;
    let mut buffer = BytesMut::new();
    while let Some(frame) = next_data(&mut body).await? {
        let len = buffer.len() + frame.len();
        if len > limit {
            return Err(too_large());
        }
        if len > buffer.capacity() {
            let capacity = len.max(buffer.capacity() * 2).max(UNDECLARED_STEP_BYTES).min(limit);
            if !charge.resize(capacity as u64) {
                return Err(ReadError::OverBudget);
            }
            buffer.reserve(capacity - buffer.len());
        }
        buffer.extend_from_slice(&frame);
    }
    Ok((buffer.freeze(), charge))
}

/// The five bytes before a gRPC message, and what came with them.
#[derive(Debug)]
pub(super) struct Prefix {
    /// The compressed flag.
    pub(super) compressed: bool,
    /// Length of the message that follows, in bytes.
    pub(super) message_bytes: u32,
    /// The message's bytes that are here already.
    pub(super) first: Bytes,
}

/// Reads a length-prefixed message's prefix (gRPC over HTTP/2, "Length-Prefixed-Message").
pub(super) async fn read_prefix<B>(body: &mut B) -> Result<Prefix, ReadError>
where
    B: Body<Data = Bytes> + Unpin,
{
    let mut prefix = [0u8; 5];
    let mut filled = 0;
    loop {
        let mut frame = next_data(body).await?.ok_or(ReadError::Malformed("no message in the call"))?;
        let take = frame.len().min(prefix.len() - filled);
        frame.copy_to_slice(&mut prefix[filled..filled + take]);
        filled += take;
        if filled == prefix.len() {
            let [flag, a, b, c, d] = prefix;
            if flag > 1 {
                return Err(ReadError::Malformed("unknown flag before the message"));
            }
            return Ok(Prefix { compressed: flag == 1, message_bytes: u32::from_be_bytes([a, b, c, d]), first: frame });
        }
    }
}

/// The next data frame; trailers are passed over.
async fn next_data<B>(body: &mut B) -> Result<Option<Bytes>, ReadError>
where
    B: Body<Data = Bytes> + Unpin,
{
    loop {
        match body.frame().await {
            None => return Ok(None),
            Some(Err(_)) => return Err(ReadError::Interrupted),
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}

/// Reads and forgets at most `bytes_max` of what is left of a body, so that an HTTP/1 sender gets to read the answer instead of a
/// reset connection.
pub(super) async fn discard<B>(body: &mut B, bytes_max: usize)
where
    B: Body<Data = Bytes> + Unpin,
{
    let mut left = bytes_max;
    while let Ok(Some(frame)) = next_data(body).await {
        match left.checked_sub(frame.len()) {
            Some(rest) => left = rest,
            None => return,
        }
    }
}
