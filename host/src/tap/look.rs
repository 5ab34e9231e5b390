//! The thread of a tap: looks at what was seen, picks what matches, and writes the lines.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use crossbeam_channel::{Receiver, RecvTimeoutError};
use tokio::sync::{mpsc, watch};

use super::bucket::{Bucket, spread};
use super::condition::Condition;
use super::eye::{Eye, Shared, Sight, Wanted, Work};
use super::line::{Line, TapCounts, TapEnd, TapMatch, TapShown, line};
use super::request::{TapOnly, TapRequest};
use super::{judged, traces};
use crate::config::model::DataAccess;
use crate::pipeline::stage::Fault;
use crate::pipeline::standing::{Stand, Standing};
use crate::pipeline::watcher::{Watcher, Watchers, Watching};

/// Between two looks at whether it goes on.
const TICK: Duration = Duration::from_millis(100);
/// Between two lines that say how far it is.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// What the thread of a tap has.
pub(super) struct Look {
    pub request: TapRequest,
    pub wanted: Wanted,
    pub standing: Arc<Standing>,
    pub access: watch::Receiver<DataAccess>,
    pub conditions: Vec<Condition>,
    pub shared: Arc<Shared>,
    pub works: Receiver<Work>,
    pub eye: Arc<Eye>,
    pub lines: mpsc::Sender<Line>,
    pub until: Instant,
}

/// A record or a trace that matched and is shown.
pub(super) struct Found {
    /// Its row, or the number of its trace.
    pub row: u32,
    pub fate: &'static str,
    pub rule: Option<String>,
}

/// Why a look ends.
pub(super) enum Ends {
    /// The stream says so.
    Told(TapEnd),
    /// Nobody reads the stream.
    Unheard,
}

/// Where it watches.
#[derive(Default)]
pub(super) struct Watched {
    stands: Vec<Stand>,
    watchings: Vec<Watching>,
}

impl Look {
    /// Until it ends. It watches already.
    pub(super) fn run(mut self, mut watched: Watched) -> Option<TapEnd> {
        let mut bucket = Bucket::new(self.request.rate_per_second, Instant::now());
        let mut progress = (Instant::now(), TapCounts::default());
        let ends = loop {
            if let Err(ends) = self.goes_on(&mut watched, &mut progress) {
                break ends;
            }
            match self.works.recv_timeout(TICK.min(self.until.saturating_duration_since(Instant::now()))) {
                Ok(work) => {
                    self.shared.taken(&work);
                    if let Err(ends) = self.look(&work, &mut bucket) {
                        break ends;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                // The watcher is ours.
                Err(RecvTimeoutError::Disconnected) => break Ends::Unheard,
            }
        };
        self.shared.end();
        match ends {
            Ends::Told(end) => Some(end),
            Ends::Unheard => None,
        }
    }

    fn goes_on(&self, watched: &mut Watched, progress: &mut (Instant, TapCounts)) -> Result<(), Ends> {
        if self.lines.is_closed() {
            return Err(Ends::Unheard);
        }
        if Instant::now() >= self.until {
            return Err(Ends::Told(TapEnd::Time));
        }
        let (told, before) = progress;
        if told.elapsed() < PROGRESS_INTERVAL {
            return if self.may_show(&watched.stands) { Ok(()) } else { Err(Ends::Told(TapEnd::DataAccess)) };
        }
        if !self.watch(watched) {
            return Err(Ends::Told(TapEnd::StageGone));
        }
        if !self.may_show(&watched.stands) {
            return Err(Ends::Told(TapEnd::DataAccess));
        }
        let counts = self.shared.counts();
        *told = Instant::now();
        if counts == *before {
            return Ok(());
        }
        if counts.lost > before.lost {
            self.tell("lost", &(counts.lost - before.lost))?;
        }
        *before = counts;
        self.tell("progress", &counts)
    }

    /// Watches where the stage stands now; false where it stands nowhere.
    pub(super) fn watch(&self, watched: &mut Watched) -> bool {
        let is_its = |stand: &Stand| {
            self.wanted.pipeline.as_ref().is_none_or(|wanted| *wanted == stand.pipeline)
                && self.wanted.signals.contains(&stand.signal)
        };
        let stands: Vec<_> = self.standing.of(&self.request.stage).into_iter().filter(is_its).collect();
        if !is_same(&stands, &watched.stands) {
            watched.watchings.clear();
            let mut known = Vec::new();
            for stand in &stands {
                // A stage of several pipelines is watched once.
                if !known.iter().any(|known| Arc::ptr_eq(known, &stand.watchers)) {
                    known.push(Arc::clone(&stand.watchers));
                }
            }
            let eye = |watchers: &Arc<Watchers>| Arc::clone(watchers).watch(Arc::clone(&self.eye) as Arc<dyn Watcher>);
            watched.watchings = known.iter().map(eye).collect();
        }
        watched.stands = stands;
        !watched.stands.is_empty()
    }

    /// Whether anything of where the stage stands may be shown.
    fn may_show(&self, stands: &[Stand]) -> bool {
        let access = *self.access.borrow();
        stands.iter().any(|stand| access >= needs(&self.wanted, stand))
    }

    fn look(&mut self, work: &Work, bucket: &mut Bucket) -> Result<(), Ends> {
        let result = match &work.sight {
            Sight::Judged { .. } | Sight::Passed { .. } | Sight::Failed { .. } => judged::look(self, work),
            Sight::Voted { traces, spans, votes } => traces::voted(self, work, traces, spans, votes),
            Sight::Decided { traces, spans, verdicts } => traces::decided(self, traces, spans, verdicts),
        };
        let (seen, found) = result.map_err(|fault| {
            tracing::warn!(fault = %fault.kind, "the condition of a tap failed");
            Ends::Told(TapEnd::WhereFailed)
        })?;
        self.shared.looked(seen, found.len() as u64);
        let left = u64::from(self.request.limit).saturating_sub(self.shared.sent.load(Ordering::Relaxed));
        let wanted = found.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let count = bucket.take(wanted, Instant::now());
        let shown: Vec<&Found> = spread(found.len(), count).filter_map(|place| found.get(place)).collect();
        if !shown.is_empty() {
            let contents = match &work.sight {
                Sight::Voted { traces, spans, votes } => {
                    traces::shown(traces, spans, votes.as_deref().ok().map(traces::Said::Votes), &shown)
                }
                Sight::Decided { traces, spans, verdicts } => {
                    traces::shown(traces, spans, Some(traces::Said::Verdicts(verdicts)), &shown)
                }
                _ => judged::shown(&self.request, work, &shown),
            };
            for (found, shown) in shown.into_iter().zip(contents) {
                self.show(work, found, shown)?;
            }
        }
        if self.shared.sent.load(Ordering::Relaxed) >= u64::from(self.request.limit) {
            return Err(Ends::Told(TapEnd::Limit));
        }
        Ok(())
    }

    fn show(&self, work: &Work, found: &Found, shown: TapShown) -> Result<(), Ends> {
        let fault = match &work.sight {
            Sight::Passed { fault, .. } | Sight::Failed { fault, .. } => Some(fault),
            Sight::Voted { votes, .. } => votes.as_ref().err(),
            Sight::Judged { .. } | Sight::Decided { .. } => None,
        };
        let generation = match &work.sight {
            Sight::Decided { verdicts, .. } => {
                let verdict = usize::try_from(found.row).ok().and_then(|trace| verdicts.get(trace));
                verdict.and_then(|verdict| verdict.decider.as_ref()).map(|decider| decider.generation)
            }
            _ => work.facts.as_ref().map(|facts| facts.generation()),
        };
        let is_changed = match &shown {
            TapShown::Record(record) => record.changes.as_ref().is_some_and(|changes| !changes.is_empty()),
            TapShown::Trace(_) | TapShown::Unreadable { .. } => false,
        };
        let fate = if is_changed && found.fate == "kept" { "changed" } else { found.fate };
        let number = self.shared.sent.fetch_add(1, Ordering::Relaxed) + 1;
        let told = TapMatch {
            number,
            at_unix: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64(),
            pipeline: work.pipeline.clone(),
            signal: work.signal.as_str(),
            generation,
            fate,
            rule: found.rule.clone(),
            fault: fault.map(Into::into),
            call_us: work.elapsed.map(|elapsed| u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX)),
            shown,
        };
        self.send(Line { text: line("match", &told), needs: Some(work.needs) })
    }

    fn tell(&self, key: &str, value: &impl serde::Serialize) -> Result<(), Ends> {
        self.send(Line { text: line(key, value), needs: None })
    }

    /// Waits while the client does not read: what is seen meanwhile is counted as lost.
    fn send(&self, line: Line) -> Result<(), Ends> {
        self.lines.blocking_send(line).map_err(|_| Ends::Unheard)
    }

    /// Which of these rows the condition is true of; None where there is no condition.
    pub(super) fn asked(&mut self, work: &Work, bodies: &[Bytes]) -> Result<Option<crate::batch::RowSet>, Fault> {
        match self.conditions.iter_mut().find(|condition| condition.signal() == work.signal) {
            Some(condition) => condition.rows(bodies).map(Some),
            None => Ok(None),
        }
    }

    /// Whether something of this fate is asked for.
    pub(super) fn wants(&self, fate: &str) -> bool {
        match self.request.only {
            None => true,
            Some(TapOnly::Dropped) => fate == "dropped",
            Some(TapOnly::Changed) => fate == "changed",
            Some(TapOnly::Faulted) => fate == "passed" || fate == "failed",
        }
    }
}

/// What access it takes to show what is wanted of a stage where it stands.
pub(super) fn needs(wanted: &Wanted, stand: &Stand) -> DataAccess {
    wanted.point.needs((stand.is_redacted_before, stand.is_redacted_after))
}

fn is_same(now: &[Stand], before: &[Stand]) -> bool {
    let same = |(now, before): (&Stand, &Stand)| Arc::ptr_eq(&now.watchers, &before.watchers);
    now.len() == before.len() && now.iter().zip(before).all(same)
}
