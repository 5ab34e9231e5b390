//! The stream of a tap's lines, as the client reads it; and what is written down of the tap when it ends.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use futures_util::stream::{self, Stream};
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot, watch};

use super::eye::Shared;
use super::line::{Line, TapCounts, TapEnd};
use crate::config::model::DataAccess;
use crate::control::Control;
use crate::control::history::Entry;
use crate::control::who::Who;

/// The lines of a tap. Dropping it ends the tap.
pub struct TapStream {
    first: Option<Bytes>,
    lines: mpsc::Receiver<Line>,
    /// None once it has said how it ended.
    end: Option<oneshot::Receiver<Option<TapEnd>>>,
    access: watch::Receiver<DataAccess>,
    shared: Arc<Shared>,
    audit: Audit,
}

/// The last line.
#[derive(Serialize)]
struct Last {
    end: TapEnd,
    #[serde(flatten)]
    counts: TapCounts,
}

impl TapStream {
    pub(super) fn new(
        first: Bytes,
        lines: mpsc::Receiver<Line>,
        end: oneshot::Receiver<Option<TapEnd>>,
        access: watch::Receiver<DataAccess>,
        shared: Arc<Shared>,
        audit: Audit,
    ) -> Self {
        Self { first: Some(first), lines, end: Some(end), access, shared, audit }
    }

    /// Line by line, each with its line feed.
    pub fn into_lines(self) -> impl Stream<Item = Bytes> + Send {
        stream::unfold(self, async |mut tap| tap.next().await.map(|line| (line, tap)))
    }

    async fn next(&mut self) -> Option<Bytes> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        self.end.as_ref()?;
        match self.lines.recv().await {
            // Looked at when it goes out, too: what waited here may no longer be shown.
            Some(Line { needs: Some(needs), .. }) if *self.access.borrow() < needs => {
                self.shared.sent.fetch_sub(1, Ordering::Relaxed);
                self.shared.end();
                self.lines.close();
                while let Ok(line) = self.lines.try_recv() {
                    self.shared.sent.fetch_sub(u64::from(line.needs.is_some()), Ordering::Relaxed);
                }
                self.end = None;
                Some(self.last(TapEnd::DataAccess))
            }
            Some(line) => Some(line.text),
            None => {
                let end = self.end.take()?.await.ok().flatten().unwrap_or(TapEnd::HungUp);
                Some(self.last(end))
            }
        }
    }

    fn last(&mut self, end: TapEnd) -> Bytes {
        self.audit.end = end;
        let mut text = serde_json::to_vec(&Last { end, counts: self.shared.counts() }).unwrap_or_default();
        text.push(b'\n');
        text.into()
    }
}

impl std::fmt::Debug for TapStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TapStream").field("tap", &self.audit.id).finish_non_exhaustive()
    }
}

/// What is written down when a tap ends, however it does.
pub(super) struct Audit {
    id: u64,
    stage: String,
    part: String,
    who: Who,
    control: Arc<Control>,
    shared: Arc<Shared>,
    end: TapEnd,
    _place: OwnedSemaphorePermit,
}

impl Audit {
    pub(super) fn new(
        id: u64,
        stage: String,
        part: String,
        who: Who,
        control: Arc<Control>,
        shared: Arc<Shared>,
        place: OwnedSemaphorePermit,
    ) -> Self {
        Self { id, stage, part, who, control, shared, end: TapEnd::HungUp, _place: place }
    }
}

impl Drop for Audit {
    fn drop(&mut self) {
        self.shared.end();
        let TapCounts { seen, matched, sent, lost, withheld } = self.shared.counts();
        let (who, stage, end) = (&self.who, &self.stage, self.end.as_str());
        tracing::info!(%who, tap = self.id, stage, end, seen, matched, sent, lost, withheld, "a tap ended");
        let result = format!("ended: {end}, {sent} of {matched} shown");
        // Nobody's answer waits for the disk.
        drop(self.control.history().note(&Entry::of(&self.part, &result, &self.who)));
    }
}
