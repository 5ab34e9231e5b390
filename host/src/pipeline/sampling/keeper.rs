//! The thread that owns a shard: takes spans in, has due traces decided, sends what is kept on.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwapOption;
use crossbeam_channel::{Receiver, bounded, never, select};

use crate::ack::Outcome;
use crate::config::model::TailSampling;
use crate::observe::metrics::GaugeShare;
use crate::observe::sampling::{DecisionCounters, SamplerMetrics};
use crate::observe::throttle::Throttle;
use crate::pipeline::audience::tell;
use crate::pipeline::sampling::outlet::{FULL_INTERVAL, Outlet, Pressure};
use crate::pipeline::sampling::panel::{Panel, has_error, randomness};
use crate::pipeline::sampling::{Message, Piece, Place, Sampler, Terms, Way};
use crate::pipeline::stages::Current;
use crate::pipeline::watcher::{Decided, Watchers};
use crate::pipeline::{Pipeline, RETRY_AFTER_FULL, retry};
use crate::tail::shard::{Decision, Due, Full, Ingested, Now, Settings, Settled, Shard};
use crate::tail::traces::{Traces, Trigger};
use crate::tail::verdict::{Decider, THRESHOLD_UNKNOWN, Verdict, Vote};

/// Of a sampler's memory, for kept spans that later steps have not taken yet; the rest is for what waits.
const OUTGOING_PERCENT: u64 = 25;
/// One trace may hold this share of a shard.
const TRACE_PERCENT: u64 = 10;
/// Recent decisions that can be explained in full, of all shards together.
const HISTORY_MAX: usize = 10_000;
/// Between two log lines on what pressure costs.
const PRESSURE_LOG_INTERVAL: Duration = Duration::from_secs(10);
/// Policies that settled none of so many traces early are not asked early any more.
const OFFERS_IN_VAIN_MAX: u64 = 10_000;
/// How long a piece of a request waits for room that is there for none.
const BLOCKED_MAX: Duration = Duration::from_secs(5);
/// Taken from the inbox before what waits elsewhere is looked at again.
const MESSAGES_MAX: usize = 64;
/// Who decides what pressure drops.
const PRESSURE: &str = "memory_pressure";

/// A shard and its thread's belongings.
pub(super) struct Keeper {
    sampler: String,
    /// Of how many shards this is one.
    shards: usize,
    /// Where the sampler is to stand, and where this thread stands.
    places: Arc<ArcSwapOption<Place>>,
    place: Arc<Place>,
    shard: Shard,
    panel: Panel,
    watchers: Arc<Watchers>,
    outlet: Arc<Outlet>,
    way: Way,
    inbox: Receiver<Message>,
    /// Hears of commits.
    woken: Receiver<()>,
    started: Instant,
    metrics: SamplerMetrics,
    counters: HashMap<(Option<Arc<Decider>>, bool, Trigger), DecisionCounters>,
    /// What pressure decided.
    pressure: Arc<Decider>,
    pressure_lines: Throttle,
    offers_in_vain: u64,
    published: Published,
    /// Taken from the inbox.
    next: Option<Message>,
    /// Waits for room.
    blocked: Option<Piece>,
    blocked_since: Option<Instant>,
    finish_by: Option<Instant>,
}

/// This shard's part of the sampler's gauges.
struct Published {
    traces: GaugeShare,
    spans: GaugeShare,
    bytes: GaugeShare,
    bytes_limit: GaugeShare,
    outgoing: GaugeShare,
}

impl Keeper {
    pub(super) fn new(
        sampler: &Sampler,
        pipeline: &Pipeline,
        current: &Current,
        way: &Way,
        inbox: Receiver<Message>,
    ) -> Option<Keeper> {
        let place = sampler.place.load_full()?;
        let shards = sampler.shards.len();
        let settings = settings(&place.terms, shards);
        let metrics = pipeline.all_metrics.sampler(&pipeline.name, &sampler.name);
        let mut bytes_limit = GaugeShare::of(&metrics.bytes_limit);
        bytes_limit.set(settings.bytes_max);
        let (wake, woken) = bounded(1);
        current.subscribe(wake);
        let seed = rand::random();
        let mut shard = Shard::new(settings, &sampler.budget, seed);
        shard.offer_early(true);
        Some(Keeper {
            sampler: sampler.name.clone(),
            shards,
            places: Arc::clone(&sampler.place),
            shard,
            watchers: Arc::clone(&sampler.watchers),
            panel: Panel::new(&place.stages, &pipeline.all_metrics, &place.terms),
            outlet: Outlet::new(
                outgoing_bytes_max(&place.terms, shards),
                way.messages.clone(),
                Arc::clone(&sampler.budget),
            ),
            place,
            way: way.clone(),
            inbox,
            woken,
            started: Instant::now(),
            published: Published {
                traces: GaugeShare::marking(&metrics.waiting_traces, &metrics.waiting_traces_high),
                spans: GaugeShare::of(&metrics.waiting_spans),
                bytes: GaugeShare::marking(&metrics.bytes, &metrics.bytes_high),
                bytes_limit,
                outgoing: GaugeShare::of(&metrics.outgoing_bytes),
            },
            metrics,
            counters: HashMap::new(),
            pressure: Arc::new(Decider { policy: PRESSURE.to_owned(), generation: 0 }),
            pressure_lines: Throttle::new(PRESSURE_LOG_INTERVAL),
            offers_in_vain: 0,
            next: None,
            blocked: None,
            blocked_since: None,
            finish_by: None,
        })
    }

    /// Until it is told to finish, or nobody can give it anything any more.
    pub(super) fn work(mut self) {
        while let Some(pipeline) = self.pipeline() {
            // Judging contains its own panics; this is for everything else. Whatever was under way is answered by its acks.
            let round = catch_unwind(AssertUnwindSafe(|| self.round(&pipeline)));
            if round.is_err() {
                tracing::error!(sampler = self.sampler, "an internal error on a tail sampler's thread");
            }
            if self.is_done() {
                self.give_up(&pipeline);
                break;
            }
            drop(pipeline);
            if !self.wait() {
                break;
            }
        }
    }

    /// The pipeline that the sampler stands in now; None once there is none any more. Where that is another one than before, this thread
    /// works by its terms from now on.
    fn pipeline(&mut self) -> Option<Arc<Pipeline>> {
        loop {
            let place = self.places.load_full()?;
            let has_moved = !Arc::ptr_eq(&place, &self.place);
            if has_moved {
                self.move_to(place);
            }
            match self.place.pipeline.upgrade() {
                // It went while it was looked for, as the sampler moved on.
                None if has_moved || !self.stands_where_told() => {}
                pipeline => return pipeline,
            }
        }
    }

    fn stands_where_told(&self) -> bool {
        self.places.load().as_ref().is_some_and(|place| Arc::ptr_eq(place, &self.place))
    }

    fn move_to(&mut self, place: Arc<Place>) {
        let settings = settings(&place.terms, self.shards);
        self.published.bytes_limit.set(settings.bytes_max);
        let now = self.now();
        self.shard.reconfigure(now, settings);
        self.outlet.set_bytes_max(outgoing_bytes_max(&place.terms, self.shards));
        self.panel.stand_at(&place.stages, &place.terms);
        self.place = place;
        self.ask_early_again();
    }

    /// Something else serves: what was found out about it before is void.
    fn ask_early_again(&mut self) {
        self.counters.clear();
        self.offers_in_vain = 0;
        self.shard.offer_early(true);
    }

    fn keys(&self) -> &TailSampling {
        &self.place.terms.keys
    }

    /// Everything that is to be done now.
    fn round(&mut self, pipeline: &Arc<Pipeline>) {
        self.outlet.try_again(Instant::now());
        self.decide_due(pipeline);
        if let Some(piece) = self.blocked.take() {
            self.take(pipeline, piece);
        }
        for _ in 0..MESSAGES_MAX {
            // A blocked piece is first in line.
            let is_open = self.blocked.is_none();
            let message = is_open.then(|| self.next.take().or_else(|| self.inbox.try_recv().ok()));
            let Some(message) = message.flatten() else { break };
            // What comes may have come through a pipeline that is newer than this round.
            let Some(pipeline) = self.pipeline() else { break };
            self.handle(&pipeline, message);
        }
        if let Some(pipeline) = self.pipeline() {
            self.decide_due(&pipeline);
        }
        self.publish();
    }

    fn handle(&mut self, pipeline: &Arc<Pipeline>, message: Message) {
        match message {
            Message::Take(piece) => {
                let level = &self.way.level;
                level.pieces.fetch_sub(1, Ordering::Relaxed);
                level.pieces_bytes.fetch_sub(Shard::bytes_for(&piece.arrival), Ordering::Relaxed);
                self.decide_due(pipeline);
                self.take(pipeline, piece);
            }
            Message::Parked => {}
            Message::Explain(id, answer) => {
                // Who asked may have hung up.
                let _gone = answer.send(self.shard.explain(id));
            }
            Message::Recent(asked, answer) => {
                let _gone = answer.send(self.shard.recent(&asked));
            }
            Message::Finish(deadline) => {
                self.shard.drain();
                self.finish_by = Some(deadline);
            }
        }
    }

    fn take(&mut self, pipeline: &Arc<Pipeline>, piece: Piece) {
        let ingested = self.ingest(pipeline, &piece);
        let is_blocked = ingested.is_err() && self.waits(&piece);
        if !is_blocked {
            self.blocked_since = None;
        }
        match ingested {
            Ok(ingested) => {
                let Piece { ack, charge, .. } = piece;
                drop(charge);
                ack.settle(Outcome::ACCEPTED);
                self.count_ingested(pipeline, &ingested);
                self.outlet.release(pipeline, self.place.step, ingested.released);
            }
            Err(_full) if is_blocked => self.blocked = Some(piece),
            Err(_full) => {
                let spans = piece.arrival.spans();
                self.dropped(pipeline, "", "tail_full", false, spans);
                let message = format!("tail sampler \"{}\" has no memory left", self.sampler);
                piece.ack.settle(retry(RETRY_AFTER_FULL, message));
            }
        }
    }

    /// Whether a piece that found no room waits for it: for a while what is a part of a request does, as other shards have taken the rest and
    /// a sender that is told to retry would send that again.
    fn waits(&mut self, piece: &Piece) -> bool {
        let since = *self.blocked_since.get_or_insert_with(Instant::now);
        let may_wait = self.keys().block_on_overflow || !piece.is_whole && since.elapsed() < BLOCKED_MAX;
        let can_ever_fit = self.shard.load().traces > 0 || self.outlet.bytes() > 0;
        may_wait && can_ever_fit && self.finish_by.is_none()
    }

    /// Where there is no room, the oldest traces are decided to make it, unless senders are to wait instead.
    fn ingest(&mut self, pipeline: &Arc<Pipeline>, piece: &Piece) -> Result<Ingested, Full> {
        let ingested = self.shard.ingest(self.now(), &piece.arrival);
        if ingested.is_ok() || self.keys().block_on_overflow {
            return ingested;
        }
        self.shard.want_room(Some(&piece.arrival));
        self.decide_due(pipeline);
        self.shard.want_room(None);
        self.shard.ingest(self.now(), &piece.arrival)
    }

    fn count_ingested(&self, pipeline: &Pipeline, ingested: &Ingested) {
        self.metrics.late_kept.inc_by(ingested.late_kept);
        self.metrics.late_dropped.inc_by(ingested.late_dropped);
        self.dropped(pipeline, "", "late", true, ingested.late_dropped);
        self.dropped(pipeline, "", "trace_too_large", true, ingested.too_large);
    }

    /// Has everything decided that is due, as long as what is kept can leave.
    fn decide_due(&mut self, pipeline: &Arc<Pipeline>) {
        loop {
            let pressure = self.outlet.pressure();
            if pressure == Pressure::Full {
                return;
            }
            let now = self.now();
            let Some(mut due) = self.shard.due(now) else { return };
            let verdicts = self.judge(pipeline, &mut due, pressure);
            self.show(pipeline, &mut due, &verdicts);
            for (generation, fault) in self.panel.failed.drain(..) {
                pipeline.bury_traces(generation.as_ref(), fault, &due.traces);
            }
            let offered = count_of(&due.traces, Trigger::Early);
            let Settled { released, decisions } = self.shard.settle(now, due, verdicts);
            let settled = decisions.iter().filter(|decision| decision.trigger == Trigger::Early).count();
            self.note_offers(offered, settled);
            for decision in &decisions {
                self.count(pipeline, decision);
            }
            self.outlet.release(pipeline, self.place.step, released);
        }
    }

    fn judge(&mut self, pipeline: &Pipeline, due: &mut Due, pressure: Pressure) -> Vec<Verdict> {
        self.panel.spans = None;
        if self.keys().drop_pending_on_shutdown && count_of(&due.traces, Trigger::Shutdown) > 0 {
            // What was also offered early comes again, to be dropped.
            let drop = Verdict { vote: Vote::Drop, threshold: THRESHOLD_UNKNOWN, is_settled: false, decider: None };
            return vec![drop; due.traces.len()];
        }
        let before = self.panel.fallback_traces;
        let judged = catch_unwind(AssertUnwindSafe(|| self.panel.judge(pipeline, self.place.step, &self.shard, due)));
        let mut verdicts = judged.unwrap_or_else(|_panic| {
            self.panel.forget_instances();
            self.panel.fall_back(&due.traces)
        });
        self.metrics.fallback_fault.inc_by(self.panel.fallback_traces - before);
        if pressure > Pressure::None {
            self.thin(&due.traces, pressure, &mut verdicts);
        }
        verdicts
    }

    /// Shows those who watch the sampler what becomes of traces.
    fn show(&mut self, pipeline: &Pipeline, due: &mut Due, verdicts: &[Verdict]) {
        let spans = self.panel.spans.take();
        if !self.watchers.are_any() {
            return;
        }
        let spans = spans.unwrap_or_else(|| self.shard.spans_of(due));
        let is_redacted = pipeline.redaction(&self.place.stages.snapshot()).is_at_step(self.place.step);
        let (sampler, traces) = (self.sampler.as_str(), &due.traces);
        let decided = Decided { pipeline: pipeline.name(), sampler, is_redacted, traces, spans: &spans, verdicts };
        for watcher in self.watchers.all() {
            tell(&self.watchers, &watcher, |watcher| watcher.decided(&decided));
        }
    }

    /// What is kept is not taken fast enough: errors first, then all at the fallback's rate.
    fn thin(&self, traces: &Traces, pressure: Pressure, verdicts: &mut [Verdict]) {
        let mut thinned = 0;
        for (trace, verdict) in verdicts.iter_mut().enumerate() {
            let is_spared = pressure == Pressure::ErrorsFirst && has_error(traces, trace);
            if verdict.vote != Vote::Keep || is_spared {
                continue;
            }
            thinned += 1;
            if randomness(traces, trace) < self.keys().fallback_threshold {
                let decider = Some(Arc::clone(&self.pressure));
                *verdict = Verdict { vote: Vote::Drop, threshold: 0, is_settled: verdict.is_settled, decider };
            } else if verdict.threshold != THRESHOLD_UNKNOWN {
                verdict.threshold = verdict.threshold.max(self.keys().fallback_threshold);
            }
        }
        self.metrics.fallback_pressure.inc_by(thinned);
        if thinned > 0
            && let Some(left_out) = self.pressure_lines.admit()
        {
            tracing::warn!(
                sampler = self.sampler,
                left_out,
                "kept spans are not taken as fast as they come: errors go first, and the rest at a fixed rate"
            );
        }
    }

    /// Asking early costs calls: where it never settles anything it ends, until something else serves.
    fn note_offers(&mut self, offered: usize, settled: usize) {
        if offered > 0 {
            self.offers_in_vain = if settled > 0 { 0 } else { self.offers_in_vain + offered as u64 };
            if self.offers_in_vain >= OFFERS_IN_VAIN_MAX {
                self.shard.offer_early(false);
            }
        }
    }

    fn count(&mut self, pipeline: &Pipeline, decision: &Decision) {
        let Decision { vote_kept, decider, trigger, spans, waited, .. } = decision;
        let key = (decider.clone(), *vote_kept, *trigger);
        let counters = self.counters.entry(key).or_insert_with(|| {
            let policy = decider.as_ref().map_or("", |decider| decider.policy.as_str());
            self.metrics.decisions(policy, if *vote_kept { "kept" } else { "dropped" }, trigger.as_str())
        });
        counters.traces.inc();
        counters.spans.inc_by(*spans);
        self.metrics.waited_seconds.observe(waited.as_secs_f64());
        if *vote_kept {
            return;
        }
        match decider {
            Some(decider) if Arc::ptr_eq(decider, &self.pressure) => {
                self.dropped(pipeline, "", "memory_pressure", false, *spans);
            }
            None if *trigger == Trigger::Shutdown && self.keys().drop_pending_on_shutdown => {
                self.dropped(pipeline, "", "shutdown", true, *spans);
            }
            Some(decider) => self.dropped(pipeline, &decider.policy, "not_sampled", true, *spans),
            None => self.dropped(pipeline, "", "not_sampled", true, *spans),
        }
    }

    fn dropped(&self, pipeline: &Pipeline, rule: &str, reason: &'static str, intended: bool, spans: u64) {
        if spans > 0 {
            let (name, signal) = (&pipeline.name, pipeline.signal);
            pipeline.all_metrics.dropped(name, signal, &self.sampler, rule, reason, intended).inc_by(spans);
            pipeline.left(spans);
        }
    }

    /// There is no more time: what could not be handed over is dropped, and what was not taken is not.
    fn give_up(&mut self, pipeline: &Pipeline) {
        self.outlet.give_up(&self.sampler);
        let waiting = self.next.take().into_iter().chain(self.inbox.try_iter());
        let pieces = waiting.filter_map(|message| match message {
            Message::Take(piece) => Some(piece),
            Message::Parked | Message::Explain(..) | Message::Recent(..) | Message::Finish(_) => None,
        });
        for piece in self.blocked.take().into_iter().chain(pieces) {
            piece.refuse(pipeline, &self.sampler);
        }
    }

    /// Nothing waits any more, or there is no more time.
    fn is_done(&self) -> bool {
        self.finish_by.is_some_and(|deadline| {
            let is_empty = self.shard.load().traces == 0 && self.outlet.bytes() == 0 && self.inbox.is_empty();
            is_empty || Instant::now() >= deadline
        })
    }

    /// Waits for something to do; false if nobody can give it anything any more.
    fn wait(&mut self) -> bool {
        let timeout = self.timeout();
        let inbox = if self.blocked.is_some() { never() } else { self.inbox.clone() };
        let message = select! {
            recv(inbox) -> message => match message {
                Ok(message) => message,
                Err(_disconnected) => return false,
            },
            recv(self.woken) -> _ => {
                if self.panel.let_go_of_replaced() {
                    self.ask_early_again();
                }
                return true;
            }
            default(timeout) => return true,
        };
        self.next = Some(message);
        true
    }

    fn timeout(&self) -> Duration {
        let since_start = self.started.elapsed();
        let due = self.shard.wake_at().map(|at| at.saturating_sub(since_start));
        let parked = self.outlet.wake_at().map(|at| at.saturating_duration_since(Instant::now()));
        let is_stuck = self.blocked.is_some() || self.finish_by.is_some() || self.outlet.pressure() == Pressure::Full;
        let soon = is_stuck.then_some(FULL_INTERVAL);
        [due, parked, soon].into_iter().flatten().min().unwrap_or(Duration::from_secs(1))
    }

    fn now(&self) -> Now {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { since_start: self.started.elapsed(), unix_nano: u64::try_from(unix.as_nanos()).unwrap_or(u64::MAX) }
    }

    fn publish(&mut self) {
        let load = self.shard.load();
        self.published.traces.set(load.traces);
        self.published.spans.set(load.spans);
        self.published.bytes.set(load.bytes);
        self.published.outgoing.set(self.outlet.bytes());
        // Where something can be decided, room can be made.
        let room = match self.outlet.pressure() {
            _ if self.blocked.is_some() && !self.keys().block_on_overflow => 0,
            Pressure::Full => self.shard.room_bytes(),
            Pressure::None | Pressure::ErrorsFirst | Pressure::Thin => u64::MAX,
        };
        self.way.level.room_bytes.store(room, Ordering::Relaxed);
    }
}

/// Of kept spans that later steps have not taken yet, for one of `shards` shards.
fn outgoing_bytes_max(terms: &Terms, shards: usize) -> u64 {
    terms.bytes_max / shards as u64 / 100 * OUTGOING_PERCENT
}

/// Of one of `shards` shards.
pub(super) fn settings(terms: &Terms, shards: usize) -> Settings {
    let keys = &terms.keys;
    let bytes_max = terms.bytes_max / shards as u64 - outgoing_bytes_max(terms, shards);
    let share = |count: usize| count.div_ceil(shards);
    let (kept_ids_max, dropped_ids_max) = keys.remembered();
    Settings {
        sampler: keys.name.clone(),
        decision_wait: keys.decision_wait,
        wait_after_root: keys.wait_after_root,
        traces_max: share(keys.traces_max),
        bytes_max,
        span_limit: keys.span_limit,
        trace_bytes_limit: bytes_max / 100 * TRACE_PERCENT,
        drop_larger_than_bytes: keys.drop_larger_than_bytes,
        kept_ids_max: share(kept_ids_max),
        dropped_ids_max: share(dropped_ids_max),
        history_max: share(HISTORY_MAX),
        records_decisions: keys.records_decisions,
        evicts: !keys.block_on_overflow,
    }
}

fn count_of(traces: &Traces, trigger: Trigger) -> usize {
    traces.triggers.iter().filter(|&&at| at == trigger as u8).count()
}
