//! gzip of request bodies: one member, level 1, contexts and scratch buffers reused.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use flate2::{Compress, Compression, FlushCompress, Status};

/// Fastest: level 6 costs three to four times as much for a tenth less.
const LEVEL: u32 = 1;
const WINDOW_BITS: u8 = 15;
/// Compressed between two points where other tasks get their turn.
const STEP_BYTES: usize = 256 << 10;
/// Scratch buffers larger than this are not kept.
const SCRATCH_KEPT_BYTES_MAX: usize = 4 << 20;
/// Contexts kept (a quarter of a MiB each); more are made and dropped where more requests are under way.
const CONTEXTS_KEPT_MAX: usize = 16;

/// The compressor gave no progress on valid input: an error of the library.
#[derive(Debug, thiserror::Error)]
#[error("cannot compress the request")]
pub(super) struct CompressError;

/// Compresses requests of one exporter.
#[derive(Default)]
pub(super) struct Gzip {
    idle: Mutex<Vec<Context>>,
}

struct Context {
    compress: Compress,
    scratch: Vec<u8>,
}

impl Gzip {
    /// The concatenation of `pieces` as one gzip member: several members in one body are read only in part by some receivers.
    pub(super) async fn compress(&self, pieces: &[Bytes]) -> Result<Bytes, CompressError> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut context = idle.unwrap_or_else(|| Context {
            compress: Compress::new_gzip(Compression::new(LEVEL), WINDOW_BITS),
            scratch: Vec::new(),
        });
        for piece in pieces {
            for step in piece.chunks(STEP_BYTES) {
                context.add(step)?;
                if step.len() == STEP_BYTES {
                    tokio::task::yield_now().await;
                }
            }
        }
        context.finish()?;
        let compressed = Bytes::copy_from_slice(&context.scratch);
        self.put_back(context);
        Ok(compressed)
    }

    fn put_back(&self, mut context: Context) {
        context.compress.reset();
        context.scratch.clear();
        context.scratch.shrink_to(SCRATCH_KEPT_BYTES_MAX);
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < CONTEXTS_KEPT_MAX {
            idle.push(context);
        }
    }
}

impl Context {
    fn add(&mut self, mut input: &[u8]) -> Result<(), CompressError> {
        while !input.is_empty() {
            self.scratch.reserve(input.len() / 4 + 1024);
            let before = self.compress.total_in();
            self.compress.compress_vec(input, &mut self.scratch, FlushCompress::None).map_err(|_| CompressError)?;
            let taken = usize::try_from(self.compress.total_in() - before).map_err(|_| CompressError)?;
            input = input.get(taken..).ok_or(CompressError)?;
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), CompressError> {
        loop {
            self.scratch.reserve(4096);
            let status = self.compress.compress_vec(&[], &mut self.scratch, FlushCompress::Finish);
            match status.map_err(|_| CompressError)? {
                Status::StreamEnd => return Ok(()),
                Status::Ok | Status::BufError => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[tokio::test]
    async fn one_member_comes_out_each_time() {
        let gzip = Gzip::default();
        let random: Vec<u8> = (0..600_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        for pieces in [
            vec![Bytes::from_static(b"a"), Bytes::from_static(b""), Bytes::from(b"bc".repeat(400_000))],
            vec![],
            vec![Bytes::from(random)],
        ] {
            let compressed = gzip.compress(&pieces).await.expect("compresses");
            let mut read = Vec::new();
            // Reads the first member only.
            let mut decoder = flate2::bufread::GzDecoder::new(compressed.as_ref());
            decoder.read_to_end(&mut read).expect("inflates");
            assert_eq!(read, pieces.concat());
            assert!(decoder.into_inner().is_empty());
        }
        assert_eq!(gzip.idle.lock().expect("is whole").len(), 1);
    }
}
