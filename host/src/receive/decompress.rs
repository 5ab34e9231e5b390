//! gzip, bounded while it inflates.

use std::io::Read;

use bytes::Bytes;
use flate2::bufread::MultiGzDecoder;

use super::body::ReadError;
use crate::memory::Charge;

/// Inflated between two points where other tasks get their turn: about a millisecond's work.
const STEP_BYTES: usize = 256 << 10;

/// What a gzip trailer's claim of the inflated size is believed, as a multiple of the compressed size; beyond it the buffer
/// grows with what really comes out.
const BELIEVED_RATIO: usize = 16;

/// Inflates all members of `compressed` (RFC 1952, 2.2), at most `limit_bytes` of output. `charge` holds the compressed size
/// when called, both sizes meanwhile, the inflated size afterwards.
pub(super) async fn gunzip(compressed: &Bytes, limit_bytes: u64, charge: &mut Charge) -> Result<Bytes, ReadError> {
    let limit = usize::try_from(limit_bytes).unwrap_or(usize::MAX);
    let mut decoder = MultiGzDecoder::new(compressed.as_ref());
    let mut out = Vec::new();
    grow(&mut out, capacity_hint(compressed).min(limit), compressed.len(), charge)?;
    let mut filled = 0;
    loop {
        if filled == out.len() {
            if filled >= limit {
                return at_limit(&mut decoder, out, limit_bytes, charge);
            }
            let size = out.len().saturating_mul(2).min(limit);
            grow(&mut out, size, compressed.len(), charge)?;
        }
        let end = out.len().min(filled + STEP_BYTES);
        match decoder.read(&mut out[filled..end]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(_) => return Err(ReadError::Corrupt),
        }
        if filled == end {
            tokio::task::yield_now().await;
        }
    }
    out.truncate(filled);
    finish(out, charge)
}

/// The output is as large as it may be: it is whole only if nothing more comes.
fn at_limit(
    decoder: &mut MultiGzDecoder<&[u8]>,
    out: Vec<u8>,
    limit_bytes: u64,
    charge: &mut Charge,
) -> Result<Bytes, ReadError> {
    match decoder.read(&mut [0u8; 1]) {
        Ok(0) => finish(out, charge),
        Ok(_) => Err(ReadError::TooLarge { limit_bytes }),
        Err(_) => Err(ReadError::Corrupt),
    }
}

/// Charges, then allocates.
fn grow(out: &mut Vec<u8>, size: usize, compressed: usize, charge: &mut Charge) -> Result<(), ReadError> {
    if !charge.resize((compressed + size) as u64) {
        return Err(ReadError::OverBudget);
    }
    out.reserve_exact(size - out.len());
    out.resize(size, 0);
    Ok(())
}

fn finish(mut out: Vec<u8>, charge: &mut Charge) -> Result<Bytes, ReadError> {
    // Slack beyond an eighth is worth a copy: the bytes may wait in queues for long.
    if out.capacity() - out.len() > out.capacity() / 8 {
        out.shrink_to_fit();
    }
    if !charge.resize(out.capacity() as u64) {
        return Err(ReadError::OverBudget);
    }
    Ok(Bytes::from(out))
}

/// The inflated size as the trailer of the (last) member tells it, if that is believable; never 0.
fn capacity_hint(compressed: &[u8]) -> usize {
    let believed = compressed.len().saturating_mul(BELIEVED_RATIO).max(1024);
    match compressed.last_chunk::<4>() {
        Some(size) => (u32::from_le_bytes(*size) as usize).clamp(64, believed),
        None => 64,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Arc;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;
    use crate::memory::Budget;

    fn gzip(data: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::new(6));
        encoder.write_all(data).expect("writes");
        encoder.finish().expect("finishes")
    }

    async fn inflate(compressed: Vec<u8>, limit: u64, budget: &Arc<Budget>) -> Result<Bytes, ReadError> {
        let mut charge = budget.charge(compressed.len() as u64).expect("fits");
        let out = gunzip(&Bytes::from(compressed), limit, &mut charge).await?;
        assert!(charge.bytes() >= out.len() as u64 && charge.bytes() <= out.len() as u64 * 8 / 7 + 64);
        Ok(out)
    }

    #[tokio::test]
    async fn every_member_is_read() {
        let budget = Budget::new(1 << 20);
        let mut two = gzip(b"first ");
        two.extend(gzip(&b"second".repeat(1000)));
        let expected = [b"first ".to_vec(), b"second".repeat(1000)].concat();
        assert_eq!(inflate(two, 1 << 20, &budget).await.expect("inflates"), expected);
        assert_eq!(inflate(gzip(b""), 0, &budget).await.expect("inflates"), b"".as_slice());
        assert_eq!(budget.bytes_used(), 0);
    }

    #[tokio::test]
    async fn the_limit_holds_for_the_output() {
        let budget = Budget::new(64 << 20);
        let data = vec![7u8; 1 << 20];
        assert_eq!(inflate(gzip(&data), 1 << 20, &budget).await.expect("fits exactly").len(), 1 << 20);
        let limit_bytes = (1 << 20) - 1;
        assert_eq!(inflate(gzip(&data), limit_bytes, &budget).await, Err(ReadError::TooLarge { limit_bytes }));
        assert_eq!(budget.bytes_used(), 0);
    }

    #[tokio::test]
    async fn a_bomb_stops_at_the_budget() {
        let budget = Budget::new(256 << 10);
        let bomb = gzip(&vec![0u8; 32 << 20]);
        assert!(bomb.len() < 64 << 10);
        assert_eq!(inflate(bomb, 64 << 20, &budget).await, Err(ReadError::OverBudget));
        assert_eq!(budget.bytes_used(), 0);
    }

    #[tokio::test]
    async fn broken_data_is_corrupt() {
        let budget = Budget::new(1 << 20);
        let whole = gzip(&b"some text".repeat(50));
        for broken in [whole[..whole.len() - 3].to_vec(), b"not gzip at all".to_vec(), Vec::new()] {
            assert_eq!(inflate(broken, 1 << 20, &budget).await, Err(ReadError::Corrupt));
        }
        let mut trailing = whole.clone();
        trailing.extend(b"garbage");
        assert_eq!(inflate(trailing, 1 << 20, &budget).await, Err(ReadError::Corrupt));
        let mut wrong_checksum = whole;
        let at = wrong_checksum.len() - 6;
        wrong_checksum[at] ^= 0xff;
        assert_eq!(inflate(wrong_checksum, 1 << 20, &budget).await, Err(ReadError::Corrupt));
    }
}
