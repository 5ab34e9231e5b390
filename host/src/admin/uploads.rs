//! Components that were sent and wait for their swap: few, and charged to the byte budget.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, Request};

use crate::memory::{Budget, Charge};
use crate::wasm;

/// Further ones take the place of the oldest.
const UPLOADS_MAX: usize = 4;
const BODY_TIMEOUT: Duration = Duration::from_secs(60);

/// Uploaded components by digest.
#[derive(Debug)]
pub(super) struct Uploads {
    budget: Arc<Budget>,
    waiting: Mutex<VecDeque<(String, Bytes)>>,
    /// One is received at a time, so that one is the most that is held uncharged.
    receiving: tokio::sync::Mutex<()>,
}

/// An upload that is not kept.
#[derive(Debug, thiserror::Error)]
pub(super) enum UploadError {
    /// Telemetry goes first.
    #[error("the memory budget is used up; send it again later")]
    OverBudget,
    /// Others wait for their turn.
    #[error("it did not arrive within {} s", BODY_TIMEOUT.as_secs())]
    Late,
    /// It cannot be read, or is too large.
    #[error("{0}")]
    Body(#[source] BytesRejection),
}

/// A component's bytes and their share of the budget, which goes with the last user of the bytes.
struct Charged {
    wasm: Bytes,
    _charge: Charge,
}

impl Uploads {
    pub(super) fn new(budget: Arc<Budget>) -> Self {
        Self { budget, waiting: Mutex::default(), receiving: tokio::sync::Mutex::default() }
    }

    /// Reads a component and keeps it; its digest.
    pub(super) async fn receive(&self, request: Request) -> Result<String, UploadError> {
        let _one_at_a_time = self.receiving.lock().await;
        let reading = tokio::time::timeout(BODY_TIMEOUT, Bytes::from_request(request, &()));
        self.keep(reading.await.map_err(|_| UploadError::Late)?.map_err(UploadError::Body)?)
    }

    /// A component that was sent.
    pub(super) fn get(&self, digest: &str) -> Option<Bytes> {
        self.waiting().iter().find(|(known, _)| known == digest).map(|(_, wasm)| wasm.clone())
    }

    /// It waits no longer.
    pub(super) fn forget(&self, digest: &str) {
        self.waiting().retain(|(known, _)| known != digest);
    }

    fn keep(&self, wasm: Bytes) -> Result<String, UploadError> {
        let digest = wasm::digest(&wasm);
        let mut waiting = self.waiting();
        waiting.retain(|(known, _)| *known != digest);
        waiting.truncate(UPLOADS_MAX - 1);
        let charge = self.budget.charge(wasm.len() as u64).ok_or(UploadError::OverBudget)?;
        waiting.push_front((digest.clone(), Bytes::from_owner(Charged { wasm, _charge: charge })));
        Ok(digest)
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<(String, Bytes)>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsRef<[u8]> for Charged {
    fn as_ref(&self) -> &[u8] {
        &self.wasm
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uploads_are_few_charged_and_given_back() {
        let budget = Budget::new(50);
        let uploads = Uploads::new(Arc::clone(&budget));
        let digests: Vec<_> =
            (0..=UPLOADS_MAX as u8).map(|n| uploads.keep(vec![n; 10].into()).expect("fits")).collect();
        assert_eq!(budget.bytes_used(), 40);
        assert!(uploads.get(&digests[0]).is_none(), "the oldest made room");
        uploads.keep(vec![4; 10].into()).expect("is there already");
        assert_eq!(budget.bytes_used(), 40);
        let served = uploads.get(&digests[4]).expect("waits");
        uploads.forget(&digests[4]);
        assert!(uploads.get(&digests[4]).is_none());
        assert!(matches!(uploads.keep(vec![9; 30].into()), Err(UploadError::OverBudget)));
        assert_eq!(budget.bytes_used(), 40, "those that are served from count too");
        drop((served, uploads));
        assert_eq!(budget.bytes_used(), 0);
    }
}
