//! One run: shards, a clock, traffic, policies that are swapped and fault, memory that others take.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use sluicebox::memory::{Budget, Charge};
use sluicebox::tail::arrivals::{Arrival, Arrivals};
use sluicebox::tail::shard::{Now, Settings, Shard};
use sluicebox::tail::traces::Trigger;

use crate::lane::Lane;
use crate::model::{Limits, Model, TraceId};
use crate::traffic::{Shape, Traffic};
use crate::wire::{RawSpan, spans};

const BUDGET_BYTES: u64 = 4 << 30;
/// More rounds of deciding than this without an end are a loop.
const ROUNDS_MAX: usize = 20_000;
const MIB: u64 = 1 << 20;

/// Who would decide now.
#[derive(Clone, Copy, Debug)]
pub struct Serving {
    pub generation: u64,
    pub is_faulting: bool,
}

/// What the runs have met, so that none of it goes untested.
#[derive(Clone, Copy, Debug, Default)]
pub struct Coverage {
    /// By number of the trigger.
    pub decided: [u64; 6],
    pub early_open: u64,
    pub full: u64,
    pub made_room: u64,
    pub late_kept: u64,
    pub late_dropped: u64,
    pub too_large: u64,
    pub forgotten: u64,
    pub still_remembered: u64,
    pub malformed: u64,
    pub swaps: u64,
    pub faults: u64,
    pub reconfigured: u64,
    pub spans: u64,
}

struct World {
    rng: StdRng,
    now: Now,
    traffic: Traffic,
    lanes: Vec<Lane>,
    budget: Arc<Budget>,
    /// Memory that other parts of the process have taken.
    others: Option<Charge>,
    serving: Serving,
    lane_of: HashMap<TraceId, usize>,
    /// Spans are given without deciding first what is due.
    is_careless: bool,
    covered: Coverage,
}

/// Runs a seed; panics where shard and model differ.
pub fn run(seed: u64) -> Coverage {
    let mut world = World::new(seed);
    let steps = world.rng.random_range(50..250);
    for _ in 0..steps {
        world.step();
    }
    world.end();
    world.covered
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let settings = settings(&mut rng);
        let budget = Budget::new(BUDGET_BYTES);
        let shards = if rng.random_ratio(1, 3) { rng.random_range(2..4) } else { 1 };
        let lane = |index: u64| {
            let shard = Shard::new(settings.clone(), &budget, seed + index);
            Lane::new(shard, Model::new(limits(&settings)), settings.clone())
        };
        let lanes = (0..shards).map(lane).collect();
        let huge_bytes = [2_000, 50_000, 1_500_000][rng.random_range(0..3)];
        let shape = Shape {
            spans_per_request_max: [3, 30, 300][rng.random_range(0..3)],
            spans_per_trace_max: [2, 10, 40][rng.random_range(0..3)],
            padding_bytes_max: [10, 300, 3_000][rng.random_range(0..3)],
            huge_bytes,
            late_percent: rng.random_range(0..30),
            tracestate_percent: rng.random_range(0..100),
        };
        Self {
            now: Now {
                since_start: Duration::from_millis(rng.random_range(0..10_000)),
                unix_nano: 1_767_225_600_000_000_000,
            },
            traffic: Traffic::new(shape),
            lanes,
            budget,
            others: None,
            serving: Serving { generation: 1, is_faulting: false },
            lane_of: HashMap::new(),
            is_careless: rng.random_ratio(1, 5),
            covered: Coverage::default(),
            rng,
        }
    }

    fn step(&mut self) {
        match self.rng.random_range(0..100) {
            0..45 => self.ingest(),
            45..70 => self.pass_time(),
            70..85 => self.decide_all(),
            85..88 => self.decide_some(),
            88..92 => self.swap_or_fault(),
            92..94 => self.toggle_early(),
            94..96 => self.reconfigure(),
            96..97 => self.malformed(),
            _ => self.others_take_memory(),
        }
        for lane in &mut self.lanes {
            lane.note_pressure(self.others.is_some());
            lane.check_state(&mut self.rng, self.now);
        }
        let held: u64 = self.lanes.iter().map(|lane| lane.shard.load().bytes).sum();
        let charged = self.budget.bytes_used() - self.others.as_ref().map_or(0, Charge::bytes);
        assert!(charged >= held, "{charged} of {held} bytes are charged");
    }

    fn ingest(&mut self) {
        if !self.is_careless {
            self.decide_all();
        }
        let request = self.traffic.request(&mut self.rng, self.now.unix_nano);
        let (all, _) = spans(&request);
        let arrivals = Arrivals::read(request).expect("a request is read");
        assert_eq!(arrivals.spans(), all.len() as u64);
        self.covered.spans += all.len() as u64;
        let mut by_lane: Vec<Vec<RawSpan>> = vec![Vec::new(); self.lanes.len()];
        for span in all {
            let lane = self.lane_of(Model::trace_of(&span));
            by_lane[lane].push(span);
        }
        for (index, arrival) in arrivals.split(self.lanes.len()) {
            let spans = std::mem::take(&mut by_lane[index]);
            let bytes: usize = spans.iter().map(|span| span.bytes.len()).sum();
            assert_eq!((arrival.spans(), arrival.bytes()), (spans.len() as u64, bytes as u64));
            self.give(index, &arrival, spans);
        }
        assert!(by_lane.iter().all(Vec::is_empty), "spans go to no shard");
    }

    /// Gives a shard its spans. Where there is no room, and it may decide traces before their time, it has to make some.
    fn give(&mut self, index: usize, arrival: &Arrival, spans: Vec<RawSpan>) {
        let (lane, others) = (&mut self.lanes[index], self.others.is_some());
        if lane.ingest(self.now, arrival, spans.clone(), others, &mut self.covered)
            || others
            || !lane.settings.evicts
            || 2 * arrival.bytes() + MIB > lane.settings.bytes_max
        {
            return;
        }
        lane.make_room(&mut self.rng, self.now, self.serving, arrival, &mut self.covered);
        assert!(lane.ingest(self.now, arrival, spans, false, &mut self.covered), "no room was made");
        lane.shard.want_room(None);
        lane.makes_room = false;
        self.covered.made_room += 1;
    }

    /// Which shard has a trace.
    fn lane_of(&mut self, id: TraceId) -> usize {
        let lanes = self.lanes.len();
        *self.lane_of.entry(id).or_insert_with(|| {
            let split = Arrivals::read(Traffic::probe(id)).expect("a request is read").split(lanes);
            assert_eq!(split.len(), 1);
            split[0].0
        })
    }

    fn pass_time(&mut self) {
        let wait = self.lanes[0].settings.decision_wait;
        let wakes = self.lanes.iter().filter_map(|lane| lane.shard.wake_at()).min();
        let passed = match self.rng.random_range(0..5) {
            0 => Duration::from_nanos(self.rng.random_range(0..5_000_000)),
            1 => wait / self.rng.random_range(1..50),
            2 => wait * self.rng.random_range(1..3),
            // Exactly when it wants to be asked, and a moment before.
            which => {
                let left = wakes.map_or(Duration::ZERO, |at| at.saturating_sub(self.now.since_start));
                left.saturating_sub(Duration::from_nanos(which % 2))
            }
        };
        self.now.since_start += passed;
        // The wall clock may be set.
        let skew =
            if self.rng.random_ratio(1, 30) { self.rng.random_range(0..3_600_000_000_000) } else { 1_800_000_000_000 };
        self.now.unix_nano = self.now.unix_nano + passed.as_nanos() as u64 + skew - 1_800_000_000_000;
        self.lanes.iter_mut().for_each(Lane::begin_loop);
    }

    fn decide_all(&mut self) {
        for lane in &mut self.lanes {
            let mut rounds = 0;
            while lane.decide(&mut self.rng, self.now, self.serving, &mut self.covered) {
                lane.note_pressure(self.others.is_some());
                rounds += 1;
                assert!(rounds < ROUNDS_MAX, "deciding does not come to an end");
            }
        }
    }

    fn decide_some(&mut self) {
        let index = self.rng.random_range(0..self.lanes.len());
        self.lanes[index].decide(&mut self.rng, self.now, self.serving, &mut self.covered);
    }

    fn swap_or_fault(&mut self) {
        if self.rng.random() {
            self.serving = Serving { generation: self.serving.generation + 1, is_faulting: false };
            self.covered.swaps += 1;
        } else {
            self.serving.is_faulting = !self.serving.is_faulting;
            self.covered.faults += 1;
        }
    }

    fn toggle_early(&mut self) {
        let now = self.now.since_start;
        for lane in &mut self.lanes {
            lane.early_since = if lane.early_since.is_none() { Some(now) } else { None };
            lane.shard.offer_early(lane.early_since.is_some());
            lane.begin_loop();
        }
    }

    /// Another file says otherwise when traces are due, and what is written into them.
    fn reconfigure(&mut self) {
        let drawn = settings(&mut self.rng);
        for lane in &mut self.lanes {
            let next = Settings {
                decision_wait: drawn.decision_wait,
                wait_after_root: drawn.wait_after_root,
                span_limit: drawn.span_limit,
                trace_bytes_limit: drawn.trace_bytes_limit,
                records_decisions: drawn.records_decisions,
                ..lane.settings.clone()
            };
            lane.shard.reconfigure(self.now, next.clone());
            lane.model.reconfigure(limits(&next));
            lane.settings = next;
            lane.begin_loop();
        }
        self.covered.reconfigured += 1;
    }

    /// Whatever bytes come, they are read or refused; what a full decode takes is read.
    fn malformed(&mut self) {
        let mut bytes = self.traffic.request(&mut self.rng, self.now.unix_nano).to_vec();
        for _ in 0..self.rng.random_range(1..4) {
            if bytes.is_empty() {
                break;
            }
            let at = self.rng.random_range(0..bytes.len());
            match self.rng.random_range(0..3) {
                0 => bytes.truncate(at),
                1 => bytes[at] = self.rng.random(),
                _ => bytes.insert(at, self.rng.random()),
            }
        }
        let bytes = Bytes::from(bytes);
        let decoded = ExportTraceServiceRequest::decode(bytes.clone());
        match Arrivals::read(bytes) {
            Ok(arrivals) => {
                if let Ok(decoded) = decoded {
                    let scopes = decoded.resource_spans.iter().flat_map(|resource| &resource.scope_spans);
                    assert_eq!(arrivals.spans(), scopes.map(|scope| scope.spans.len() as u64).sum::<u64>());
                }
            }
            Err(error) => {
                assert!(decoded.is_err(), "{error}, but a full decode takes it");
                self.covered.malformed += 1;
            }
        }
    }

    fn others_take_memory(&mut self) {
        self.others = match self.others.take() {
            Some(_) => None,
            None => self.budget.charge(self.budget.bytes_max() - self.budget.bytes_used()),
        };
    }

    /// The process stops: every waiting trace is decided, and all memory is given back.
    fn end(&mut self) {
        let world = self;
        for lane in &mut world.lanes {
            lane.shard.drain();
            lane.is_draining = true;
            lane.begin_loop();
        }
        world.decide_all();
        for lane in &mut world.lanes {
            let load = lane.shard.load();
            assert_eq!((load.traces, load.spans), (0, 0));
            assert_eq!(lane.taken, lane.released + lane.dropped, "each span is released or dropped");
            let ids = lane.settings.kept_ids_max + lane.settings.dropped_ids_max + lane.settings.history_max;
            let remembering = (ids as u64) * 600 + 2 * MIB;
            assert!(load.bytes <= remembering, "{} bytes are held of nothing", load.bytes);
        }
        world.others = None;
        world.lanes.clear();
        assert_eq!(world.budget.bytes_used(), 0, "all is given back");
    }
}

impl Coverage {
    pub fn add(&mut self, other: &Coverage) {
        self.decided.iter_mut().zip(other.decided).for_each(|(sum, more)| *sum += more);
        for (sum, more) in self.counts_mut().into_iter().zip({ *other }.counts_mut()) {
            *sum.1 += *more.1;
        }
    }

    /// What was never met.
    pub fn missing(mut self) -> Vec<&'static str> {
        let triggers = Trigger::ALL.iter().zip(self.decided).filter(|(_, count)| *count == 0);
        let mut missing: Vec<_> = triggers.map(|(trigger, _)| trigger.as_str()).collect();
        missing.extend(self.counts_mut().into_iter().filter(|(_, count)| **count == 0).map(|(name, _)| name));
        missing
    }

    fn counts_mut(&mut self) -> [(&'static str, &mut u64); 13] {
        [
            ("early_open", &mut self.early_open),
            ("full", &mut self.full),
            ("made_room", &mut self.made_room),
            ("late_kept", &mut self.late_kept),
            ("late_dropped", &mut self.late_dropped),
            ("too_large", &mut self.too_large),
            ("forgotten", &mut self.forgotten),
            ("still_remembered", &mut self.still_remembered),
            ("malformed", &mut self.malformed),
            ("swaps", &mut self.swaps),
            ("faults", &mut self.faults),
            ("reconfigured", &mut self.reconfigured),
            ("spans", &mut self.spans),
        ]
    }
}

fn settings(rng: &mut StdRng) -> Settings {
    let decision_wait = Duration::from_millis([50, 1_000, 10_000, 30_000][rng.random_range(0..4)]);
    let some = |rng: &mut StdRng, values: [u64; 3]| rng.random::<bool>().then(|| values[rng.random_range(0..3)]);
    let few = |rng: &mut StdRng, values: [usize; 4]| values[rng.random_range(0..4)];
    let drop_larger_than_bytes = some(rng, [1_000, 4_000, 30_000]);
    Settings {
        sampler: "tail_sampling/lab".to_owned(),
        decision_wait,
        wait_after_root: some(rng, [10, 100, 400]).map(|percent| decision_wait * percent as u32 / 100),
        traces_max: few(rng, [1, 20, 100, 50_000]),
        bytes_max: if rng.random_ratio(1, 3) { rng.random_range(MIB + MIB / 2..4 * MIB) } else { 1 << 30 },
        span_limit: some(rng, [1, 5, 20]).map(|spans| spans as u32),
        trace_bytes_limit: some(rng, [500, 5_000, 20_000]).unwrap_or(10 * MIB),
        drop_larger_than_bytes,
        kept_ids_max: few(rng, [0, 5, 40, 10_000]),
        dropped_ids_max: few(rng, [0, 5, 40, 10_000]),
        history_max: if drop_larger_than_bytes.is_some() { 0 } else { few(rng, [0, 1, 10, 1_000]) },
        records_decisions: rng.random(),
        evicts: rng.random_ratio(4, 5),
    }
}

fn limits(settings: &Settings) -> Limits {
    Limits {
        decision_wait: settings.decision_wait,
        wait_after_root: settings.wait_after_root,
        span_limit: settings.span_limit,
        trace_bytes_limit: settings.trace_bytes_limit,
        drop_larger_than_bytes: settings.drop_larger_than_bytes,
        kept_ids_max: settings.kept_ids_max,
        dropped_ids_max: settings.dropped_ids_max,
    }
}
