//! A tail sampler that decides at once: nothing waits, since the clock is its own.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use crate::memory::Budget;
use crate::pipeline::Pipeline;
use crate::pipeline::sampling::Terms;
use crate::pipeline::sampling::keeper::settings;
use crate::pipeline::sampling::panel::Panel;
use crate::tail::arrivals::Arrivals;
use crate::tail::explain::Explanation;
use crate::tail::shard::{Now, Released, Shard};

/// Beyond the longest wait, so that everything is due.
const BEYOND: Duration = Duration::from_secs(1);

/// What a sampler made of requests.
#[derive(Debug, Default)]
pub struct Decided {
    /// Traces and what became of them, in the order of their decisions.
    pub decisions: Vec<([u8; 16], Explanation)>,
    /// Spans of traces that were dropped since they are too large.
    pub too_large_spans: u64,
    /// Requests that were not taken, and why not.
    pub refused: Vec<String>,
    /// What goes on.
    pub released: Vec<Bytes>,
    /// Guest memory of each policy stage after its last call.
    pub memory_bytes: Vec<(String, u64)>,
}

/// Has the traces of these requests decided by the policies of this step: as if nothing else came until their wait was over.
pub(in crate::pipeline) fn decide(
    pipeline: &Pipeline,
    step: usize,
    terms: &Terms,
    requests: Vec<Bytes>,
    budget: &Arc<Budget>,
    deadline: Instant,
) -> Decided {
    let settings = settings(terms, 1);
    let wait = settings.decision_wait.saturating_add(BEYOND);
    let mut deciding = Deciding {
        pipeline,
        step,
        panel: Panel::new(&pipeline.stages, &pipeline.all_metrics, terms),
        shard: Shard::new(settings, budget, rand::random()),
        deadline,
        decided: Decided::default(),
    };
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let at = |since_start: Duration| Now {
        since_start,
        unix_nano: u64::try_from((unix + since_start).as_nanos()).unwrap_or(u64::MAX),
    };
    for request in requests {
        deciding.take(at(Duration::ZERO), request);
    }
    deciding.decide_due(at(wait));
    // It is counted as long as the panel has its instances.
    let memory = |stage: &str| u64::try_from(pipeline.all_metrics.stage(stage).memory_bytes.get()).unwrap_or_default();
    let snapshot = pipeline.stages.snapshot();
    let names = terms.units.iter().filter_map(|&unit| Some(snapshot.get(unit)?.stage().to_owned()));
    deciding.decided.memory_bytes = names.map(|name| (name.clone(), memory(&name))).collect();
    deciding.decided
}

struct Deciding<'a> {
    pipeline: &'a Pipeline,
    step: usize,
    panel: Panel,
    shard: Shard,
    deadline: Instant,
    decided: Decided,
}

impl Deciding<'_> {
    fn take(&mut self, now: Now, request: Bytes) {
        let arrivals = match Arrivals::read(request) {
            Ok(arrivals) => arrivals,
            Err(malformed) => return self.decided.refused.push(malformed.to_string()),
        };
        for (_, arrival) in arrivals.split(1) {
            match self.shard.ingest(now, &arrival) {
                Ok(ingested) => {
                    self.decided.too_large_spans += ingested.too_large;
                    self.release(ingested.released);
                }
                Err(full) => self.decided.refused.push(full.to_string()),
            }
            // Those that have reached a limit do not wait.
            self.decide_due(now);
        }
    }

    fn decide_due(&mut self, now: Now) {
        while Instant::now() < self.deadline
            && let Some(mut due) = self.shard.due(now)
        {
            let verdicts = self.panel.judge(self.pipeline, self.step, &self.shard, &mut due);
            let ids = due.traces.ids.clone();
            let settled = self.shard.settle(now, due, verdicts);
            let explained = ids.into_iter().filter_map(|id| Some((id, self.shard.explain(id)?)));
            self.decided.decisions.extend(explained);
            self.release(settled.released);
        }
    }

    fn release(&mut self, released: Vec<Released>) {
        self.decided.released.extend(released.into_iter().map(|released| released.body));
    }
}
