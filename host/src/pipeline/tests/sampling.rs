//! Tail sampling in a pipeline: fake policies, real threads, queues and stages around them.

use std::sync::atomic::AtomicBool;
use std::time::Instant;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use prost::Message as _;

use super::fakes::{Act, FakeDestination, FakeGeneration, malformed, open};
use super::*;
use crate::batch::Batch;
use crate::config::Place;
use crate::config::model::{OnFault, TailSampling};
use crate::pipeline::health::FAILURES_MAX;
use crate::pipeline::sampling::Sampler;
use crate::pipeline::stage::{Fault, FaultKind, Instance, Policy, PolicyVote};
use crate::pipeline::watcher::{Decided, Point, Seen, Voted, Watcher};
use crate::tail::explain::TraceState;
use crate::tail::traces::{Traces, Trigger};
use crate::tail::verdict::Vote;

const SAMPLER: &str = "tail_sampling/lab";
const MIB: u64 = 1 << 20;

/// Votes on the trace of this number.
type Judge = dyn Fn(&Traces, usize) -> Result<Vote, FaultKind> + Send + Sync;

/// A generation whose policy is a function.
struct FakePolicies {
    number: u64,
    judge: Arc<Judge>,
    rules: Vec<String>,
    /// Spans that were shown, in all calls.
    shown: Option<Arc<AtomicUsize>>,
}

struct FakePolicy(Arc<Judge>, Option<Arc<AtomicUsize>>);

impl FakePolicies {
    fn generation(
        number: u64,
        judge: impl Fn(&Traces, usize) -> Result<Vote, FaultKind> + Send + Sync + 'static,
    ) -> Arc<dyn Generation> {
        Arc::new(FakePolicies { number, judge: Arc::new(judge), rules: vec!["mine".to_owned()], shown: None })
    }
}

impl std::fmt::Debug for FakePolicies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "policies {}", self.number)
    }
}

impl Generation for FakePolicies {
    fn stage(&self) -> &str {
        SAMPLER
    }

    fn number(&self) -> u64 {
        self.number
    }

    fn digest(&self) -> &str {
        "fake"
    }

    fn on_fault(&self) -> OnFault {
        OnFault::Pass
    }

    fn rules(&self) -> &[String] {
        &self.rules
    }

    fn instance(&self) -> Result<Box<dyn Instance>, Fault> {
        Err(Fault { kind: FaultKind::BadOutput, message: "a policy".to_owned() })
    }

    fn policy(&self) -> Result<Box<dyn Policy>, Fault> {
        Ok(Box::new(FakePolicy(Arc::clone(&self.judge), self.shown.clone())))
    }
}

impl Policy for FakePolicy {
    fn reads_spans(&self) -> bool {
        self.1.is_some()
    }

    fn decide(&mut self, traces: &Arc<Traces>, spans: Batch) -> (Batch, Result<Vec<PolicyVote>, Fault>) {
        if let Some(shown) = &self.1 {
            assert_eq!(spans.items() as usize, traces.trace_of.len());
            // Those offered early come again.
            let decided = |&&trace: &&u32| traces.triggers[trace as usize] != Trigger::Early as u8;
            shown.fetch_add(traces.trace_of.iter().filter(decided).count(), Ordering::Relaxed);
        }
        let vote = |trace| {
            let vote = (self.0)(traces, trace)?;
            Ok(PolicyVote { vote, threshold: 0, rule: (vote != Vote::None).then_some(0), is_settled: false })
        };
        let votes: Result<_, FaultKind> = (0..traces.len()).map(vote).collect();
        (spans, votes.map_err(|kind| Fault { kind, message: "as asked".to_owned() }))
    }

    fn memory_bytes(&self) -> u64 {
        1 << 16
    }

    fn wants_recycling(&self) -> bool {
        false
    }
}

fn keys(decision_wait: Duration) -> TailSampling {
    TailSampling {
        name: SAMPLER.to_owned(),
        units: vec![SAMPLER.to_owned()],
        decision_wait,
        wait_after_root: None,
        traces_max: 50_000,
        memory_bytes_max: None,
        block_on_overflow: false,
        drop_larger_than_bytes: None,
        span_limit: None,
        kept_ids_max: None,
        dropped_ids_max: None,
        first_match: false,
        drop_pending_on_shutdown: false,
        shards: Some(2),
        fallback_threshold: 1 << 55,
        records_decisions: false,
        place: Place::default(),
    }
}

/// A sampler as the only step, or before a stage; its own budget.
struct Lab {
    rig: Rig,
    budget: Arc<Budget>,
}

impl Lab {
    fn new(
        keys: TailSampling,
        bytes_max: u64,
        policies: Arc<dyn Generation>,
        after: Option<FakeGeneration>,
        exporter: (model::Exporter, Arc<dyn Destination>),
    ) -> Lab {
        let budget = Budget::new(1 << 30);
        let sampler = Sampler::new(&keys.name, 2, &budget);
        let terms = Terms { keys: Arc::new(keys), units: vec![0], bytes_max };
        let mut steps = vec![Step::Sample(sampler, terms)];
        let mut generations = vec![policies];
        if let Some(after) = after {
            steps.push(Step::Guests(vec![1]));
            generations.push(Arc::new(after));
        }
        Lab { rig: Rig::new(Signal::Traces, 1, generations, vec![steps], vec![exporter]), budget }
    }

    async fn finish(self) {
        self.rig.finish().await;
        assert_eq!(self.budget.bytes_used(), 0, "the sampler's memory is given back");
    }

    fn spans(&self, decision: &str) -> i64 {
        self.rig.sum("tail_decided_spans_total", &[&format!("decision=\"{decision}\"")])
    }
}

/// A trace id whose last 56 bits are `number` in the upper half of 8 bits: so `number >= 128` keeps half of them.
fn id(number: u32) -> Vec<u8> {
    let mut id = vec![7; 16];
    id[..4].copy_from_slice(&number.to_be_bytes());
    id[9] = number as u8;
    id
}

/// One span for each of these traces, of about `bytes`; every third trace has an error.
fn spans(numbers: std::ops::Range<u32>, bytes: usize) -> Bytes {
    let span = |number: u32| Span {
        trace_id: id(number),
        span_id: vec![1; 8],
        name: "x".repeat(bytes),
        status: Some(Status { code: if number.is_multiple_of(3) { 2 } else { 0 }, ..Status::default() }),
        ..Span::default()
    };
    let scope = ScopeSpans { spans: numbers.map(span).collect(), ..ScopeSpans::default() };
    let resource = ResourceSpans { scope_spans: vec![scope], ..ResourceSpans::default() };
    ExportTraceServiceRequest { resource_spans: vec![resource] }.encode_to_vec().into()
}

/// Numbers of the traces whose spans were sent, sorted.
fn sent(destination: &FakeDestination) -> Vec<u32> {
    let seen = destination.seen.lock().expect("no panic");
    let requests = seen.iter().map(|body| ExportTraceServiceRequest::decode(body.clone()).expect("a request"));
    let scopes = requests.flat_map(|request| request.resource_spans).flat_map(|resource| resource.scope_spans);
    let ids = scopes.flat_map(|scope| scope.spans).map(|span| span.trace_id);
    let mut numbers: Vec<u32> = ids.map(|id| u32::from_be_bytes(*id.first_chunk().expect("16 bytes"))).collect();
    numbers.sort_unstable();
    numbers
}

fn sink() -> (Arc<FakeDestination>, (model::Exporter, Arc<dyn Destination>)) {
    let sink = FakeDestination::new(open(), |_| TAKEN);
    (Arc::clone(&sink), (exporter("sink", 1000), sink))
}

fn even(traces: &Traces, trace: usize) -> Result<Vote, FaultKind> {
    Ok(if traces.ids[trace][3].is_multiple_of(2) { Vote::Keep } else { Vote::None })
}

#[tokio::test(flavor = "multi_thread")]
async fn what_policies_keep_goes_on_and_the_rest_is_counted() {
    let (taken, exporter) = sink();
    let lab = Lab::new(keys(Duration::from_millis(50)), 64 * MIB, FakePolicies::generation(1, even), None, exporter);
    assert_eq!(lab.rig.send(spans(0..1000, 100)).await, Outcome::ACCEPTED, "it is acknowledged before it is decided");
    lab.rig.until("all is decided", |rig| rig.sum("tail_decided_traces_total", &[]) == 1000).await;
    lab.rig.until("all is sent", |rig| rig.sum("exporter_sent_items_total", &[]) == 500).await;
    assert_eq!(sent(&taken), (0..1000).step_by(2).collect::<Vec<_>>());
    assert_eq!(lab.rig.sum("pipeline_dropped_items_total", &["not_sampled", SAMPLER, "intended=\"true\""]), 500);
    assert_eq!(lab.rig.sum("tail_decided_traces_total", &["policy=\"mine\"", "kept", "decision_wait"]), 500);
    // Late ones follow the decision.
    assert_eq!(lab.rig.send(spans(0..4, 100)).await, Outcome::ACCEPTED);
    lab.rig.until("late ones are sent", |rig| rig.sum("exporter_sent_items_total", &[]) == 502).await;
    assert_eq!(lab.rig.sum("tail_late_spans_total", &["kept"]), 2);
    assert_eq!(lab.rig.sum("pipeline_dropped_items_total", &["reason=\"late\""]), 2);
    assert!(matches!(lab.rig.send(malformed()).await, Outcome::Refused { .. }));
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_generation_decides_what_waits_and_each_trace_once() {
    let (taken, exporter) = sink();
    let none = FakePolicies::generation(1, |_, _| Ok(Vote::None));
    let lab = Lab::new(keys(Duration::from_millis(300)), 64 * MIB, none, None, exporter);
    assert_eq!(lab.rig.send(spans(0..500, 100)).await, Outcome::ACCEPTED);
    lab.rig.stages.commit(vec![(0, FakePolicies::generation(2, even))]);
    lab.rig.until("all is decided", |rig| rig.sum("tail_decided_traces_total", &[]) == 500).await;
    lab.rig.until("all is sent", |rig| rig.sum("exporter_sent_items_total", &[]) == 250).await;
    assert_eq!(sent(&taken), (0..500).step_by(2).collect::<Vec<_>>());
    let (_, sampler) = lab.rig.pipelines[0].samplers().next().expect("a sampler");
    let known = sampler.explain(id(4).try_into().expect("16 bytes")).await.expect("it was decided");
    assert_eq!((known.state, known.generation, known.policy.as_deref()), (TraceState::Kept, Some(2), Some("mine")));
    assert_eq!(sampler.explain([9; 16]).await, None);
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_that_read_spans_see_each_once() {
    let (_taken, exporter) = sink();
    let shown = Arc::new(AtomicUsize::new(0));
    let policies = FakePolicies {
        number: 1,
        judge: Arc::new(even),
        rules: vec!["mine".to_owned()],
        shown: Some(Arc::clone(&shown)),
    };
    let lab = Lab::new(keys(Duration::from_millis(20)), 64 * MIB, Arc::new(policies), None, exporter);
    for _ in 0..3 {
        assert_eq!(lab.rig.send(spans(0..700, 100)).await, Outcome::ACCEPTED);
    }
    lab.rig.until("all is decided", |rig| rig.sum("tail_waiting_spans", &[]) == 0).await;
    let late = lab.rig.sum("tail_late_spans_total", &[]);
    assert_eq!(shown.load(Ordering::Relaxed) as i64 + late, 2100);
    lab.finish().await;
}

/// By number of the trace: spans that were shown, and whether it was said to be kept; None where the policy failed.
#[derive(Default)]
struct Heard(std::sync::Mutex<Vec<(u32, usize, Option<bool>)>>);

impl Heard {
    /// Those that were decided; what is offered early comes again.
    fn add(&self, traces: &Traces, spans: &Bytes, keeps: impl Fn(usize) -> Option<bool>) {
        let request = ExportTraceServiceRequest::decode(spans.clone()).expect("a request");
        let scopes = request.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
        let spans: Vec<_> = scopes.flat_map(|scope| scope.spans).collect();
        assert_eq!(spans.len(), traces.trace_of.len());
        for trace in (0..traces.len()).filter(|&trace| traces.triggers[trace] != Trigger::Early as u8) {
            let own: Vec<_> = (0..).zip(&traces.trace_of).filter(|(_, of)| **of as usize == trace).collect();
            assert!(own.iter().all(|&(span, _): &(usize, _)| spans[span].trace_id == traces.ids[trace]));
            let number = u32::from_be_bytes(*traces.ids[trace].first_chunk().expect("16 bytes"));
            self.0.lock().expect("no panic").push((number, own.len(), keeps(trace)));
        }
    }

    fn sorted(&self) -> Vec<(u32, usize, Option<bool>)> {
        let mut heard = self.0.lock().expect("no panic").clone();
        heard.sort_unstable();
        heard
    }
}

impl Watcher for Heard {
    fn wants(&self, point: &Point<'_>) -> bool {
        point.generation.stage() == SAMPLER && !point.is_redacted_before
    }

    fn seen(&self, _seen: &Seen<'_>) {}

    fn voted(&self, voted: &Voted<'_>) {
        self.add(voted.traces, voted.spans, |trace| Some(voted.votes.ok()?[trace].vote == Vote::Keep));
    }

    fn decided(&self, decided: &Decided<'_>) {
        self.add(decided.traces, decided.spans, |trace| Some(decided.verdicts[trace].vote == Vote::Keep));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_watches_policies_and_samplers_sees_each_trace_once_with_its_spans() {
    for fails in [false, true] {
        let (_taken, exporter) = sink();
        let judge = move |traces: &Traces, trace: usize| if fails { Err(FaultKind::Trap) } else { even(traces, trace) };
        let policies = FakePolicies::generation(1, judge);
        let lab = Lab::new(keys(Duration::from_millis(300)), 64 * MIB, policies, None, exporter);
        let (votes, verdicts) = (Arc::new(Heard::default()), Arc::new(Heard::default()));
        let of_stage = lab.rig.stages.stages().watchers(0).expect("a stage").watch(Arc::clone(&votes) as _);
        let (_, sampler) = lab.rig.pipelines[0].samplers().next().expect("a sampler");
        let of_sampler = sampler.watchers().watch(Arc::clone(&verdicts) as _);
        for _ in 0..3 {
            assert_eq!(lab.rig.send(spans(0..300, 100)).await, Outcome::ACCEPTED);
        }
        lab.rig.until("all is decided", |rig| rig.sum("tail_decided_traces_total", &[]) == 300).await;
        drop((of_stage, of_sampler));
        let keeps = |number: u32| match fails {
            // The fallback's rate.
            true => number.is_multiple_of(3) || number % 256 >= 128,
            false => number.is_multiple_of(2),
        };
        let expected = |vote: fn(bool) -> Option<bool>| {
            (0..300).map(|number| (number, 3, vote(keeps(number)))).collect::<Vec<_>>()
        };
        assert_eq!(verdicts.sorted(), expected(Some));
        assert_eq!(votes.sorted(), if fails { expected(|_| None) } else { expected(Some) });
        // Nobody watches any more.
        assert_eq!(lab.rig.send(spans(1000..1010, 100)).await, Outcome::ACCEPTED);
        lab.rig.until("all is decided", |rig| rig.sum("tail_decided_traces_total", &[]) == 310).await;
        assert_eq!((votes.sorted().len(), verdicts.sorted().len()), (300, 300));
        lab.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_a_policy_fails_errors_are_kept_and_the_rest_at_the_fixed_rate() {
    let (taken, exporter) = sink();
    let faulting = FakePolicies::generation(1, |_, _| Err(FaultKind::Trap));
    let lab = Lab::new(keys(Duration::from_millis(20)), 64 * MIB, faulting, None, exporter);
    assert_eq!(lab.rig.send(spans(0..256, 100)).await, Outcome::ACCEPTED);
    lab.rig.until("all is decided", |rig| rig.sum("tail_decided_traces_total", &[]) == 256).await;
    let kept: Vec<u32> = (0..256).filter(|number| number % 3 == 0 || *number >= 128).collect();
    lab.rig.until("all is sent", |rig| rig.sum("exporter_sent_items_total", &[]) == kept.len() as i64).await;
    assert_eq!(sent(&taken), kept);
    assert_eq!(lab.rig.sum("tail_fallback_traces_total", &["reason=\"fault\""]), 256);
    assert!(lab.rig.sum("stage_faults_total", &[SAMPLER, "trap"]) >= 1);
    lab.finish().await;
}

/// A defect of ours while policies judge: what they were shown is decided all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_panic_while_policies_judge_loses_no_trace() {
    let (taken, exporter) = sink();
    let panicking = FakePolicies::generation(1, |_, _| panic!("as asked"));
    let lab = Lab::new(keys(Duration::from_millis(20)), 64 * MIB, panicking, None, exporter);
    assert_eq!(lab.rig.send(spans(0..256, 100)).await, Outcome::ACCEPTED);
    lab.rig.until("all is decided", |rig| rig.sum("tail_decided_traces_total", &[]) == 256).await;
    let kept: Vec<u32> = (0..256).filter(|number| number % 3 == 0 || *number >= 128).collect();
    lab.rig.until("all is sent", |rig| rig.sum("exporter_sent_items_total", &[]) == kept.len() as i64).await;
    assert_eq!(sent(&taken), kept);
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_fails_always_is_called_now_and_then_and_a_good_one_decides_at_once() {
    const REQUESTS: u32 = 200;
    let (_taken, exporter) = sink();
    let faulting = FakePolicies::generation(1, |_, _| Err(FaultKind::Trap));
    let lab = Lab::new(keys(Duration::from_millis(1)), 64 * MIB, faulting, None, exporter);
    let started = Instant::now();
    for round in 0..REQUESTS {
        assert_eq!(lab.rig.send(spans(round * 4..round * 4 + 4, 100)).await, Outcome::ACCEPTED);
        let decided = i64::from(round + 1) * 4;
        lab.rig.until("they are decided", |rig| rig.sum("tail_decided_traces_total", &[]) == decided).await;
    }
    assert_eq!(lab.rig.sum("tail_fallback_traces_total", &["reason=\"fault\""]), i64::from(REQUESTS) * 4);
    // Two threads may be on their way when the breaker opens, and no backoff is shorter than 100 ms.
    let tries = started.elapsed().as_millis() as i64 / 100 + 1;
    let calls = lab.rig.sum("stage_calls_total", &[SAMPLER]);
    assert!(calls <= i64::from(FAILURES_MAX) + 2 + tries, "{calls} calls");
    assert_eq!(lab.rig.sum("stage_restarts_total", &[SAMPLER]), lab.rig.sum("stage_instances_total", &[SAMPLER]) - 2);
    assert_eq!(lab.rig.sum("stage_state", &["recoverable"]), 1);
    assert_eq!(lab.rig.sum("stage_breaker_open", &[SAMPLER]), 1);
    lab.rig.stages.commit(vec![(0, FakePolicies::generation(2, even))]);
    assert_eq!(lab.rig.sum("stage_state", &["state=\"ok\""]), 1);
    let first = REQUESTS * 4;
    assert_eq!(lab.rig.send(spans(first..first + 100, 100)).await, Outcome::ACCEPTED);
    lab.rig.until("it decides", |rig| rig.sum("tail_decided_traces_total", &["policy=\"mine\"", "kept"]) == 50).await;
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_fails_at_times_is_tried_on_a_new_instance_and_spends_its_budget() {
    let (_taken, exporter) = sink();
    let calls = AtomicUsize::new(0);
    // Every other call of each instance fails; there is one shard with traces at a time.
    let flapping = FakePolicies::generation(1, move |_, trace| match trace {
        0 if calls.fetch_add(1, Ordering::Relaxed) % 3 == 1 => Err(FaultKind::Trap),
        _ => Ok(Vote::Keep),
    });
    let lab = Lab::new(keys(Duration::from_millis(1)), 64 * MIB, flapping, None, exporter);
    let mut round = 0;
    while lab.rig.sum("stage_state", &["permanent"]) == 0 {
        assert!(round < 1000, "{}", lab.rig.metrics.text());
        assert_eq!(lab.rig.sum("tail_fallback_traces_total", &["reason=\"fault\""]), 0, "new instances decide");
        assert_eq!(lab.rig.send(spans(round * 4..round * 4 + 4, 100)).await, Outcome::ACCEPTED);
        round += 1;
        let decided = i64::from(round) * 4;
        lab.rig.until("they are decided", |rig| rig.sum("tail_decided_traces_total", &[]) == decided).await;
    }
    let calls = lab.rig.sum("stage_calls_total", &[SAMPLER]);
    assert_eq!(lab.rig.send(spans(10_000..10_100, 100)).await, Outcome::ACCEPTED);
    lab.rig.until("the fallback decides", |rig| rig.sum("tail_fallback_traces_total", &["fault"]) >= 100).await;
    assert_eq!(lab.rig.sum("stage_calls_total", &[SAMPLER]), calls, "it is not called any more");
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_waits_for_a_full_queue() {
    let (key, gate) = closed();
    let slow = FakeDestination::new(gate, |_| TAKEN);
    let mut config = exporter("slow", 1);
    config.queue.consumers = 1;
    let all = FakePolicies::generation(1, |_, _| Ok(Vote::Keep));
    let lab = Lab::new(keys(Duration::from_millis(10)), 256 * MIB, all, None, (config, Arc::clone(&slow) as _));
    for round in 0..20 {
        assert_eq!(lab.rig.send(spans(round * 10..round * 10 + 10, 100)).await, Outcome::ACCEPTED);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    lab.rig.until("all is decided", |rig| rig.sum("tail_decided_traces_total", &[]) == 200).await;
    assert!(lab.rig.sum("tail_outgoing_bytes", &[]) > 0 || lab.rig.sum("pipeline_held_items", &[]) > 0);
    assert_eq!(lab.rig.sum("pipeline_dropped_items_total", &[]), 0);
    key.send(true).expect("the destination is there");
    lab.rig.until("all is sent", |rig| rig.sum("exporter_sent_items_total", &[]) == 200).await;
    assert_eq!(sent(&slow), (0..200).collect::<Vec<_>>());
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stage_after_the_sampler_that_faults_is_tried_again() {
    for heals in [true, false] {
        let (taken, exporter) = sink();
        let is_broken = Arc::new(AtomicBool::new(true));
        let broken = Arc::clone(&is_broken);
        let faulting = FakeGeneration::new("redaction", move |_, _| match broken.load(Ordering::Relaxed) {
            true => Act::Fault(FaultKind::Trap),
            false => Act::Drop(vec![0], 0),
        });
        let all = FakePolicies::generation(1, |_, _| Ok(Vote::Keep));
        let lab = Lab::new(keys(Duration::from_millis(10)), 64 * MIB, all, Some(faulting), exporter);
        assert_eq!(lab.rig.send(spans(0..1, 100)).await, Outcome::ACCEPTED);
        lab.rig.until("it faults", |rig| rig.sum("stage_faults_total", &["redaction"]) >= 4).await;
        assert_eq!(lab.rig.sum("pipeline_dropped_items_total", &[]), 0);
        if heals {
            is_broken.store(false, Ordering::Relaxed);
            lab.rig.until("it is judged", |rig| rig.sum("pipeline_dropped_items_total", &["even"]) == 1).await;
        } else {
            lab.rig.finish_samplers(Duration::from_millis(10)).await;
            let given_up = |rig: &Rig| rig.sum("pipeline_dropped_items_total", &["reason=\"shutdown\""]) == 1;
            lab.rig.until("it is given up", given_up).await;
        }
        assert_eq!(sent(&taken), Vec::<u32>::new(), "nothing goes round the stage");
        lab.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_decides_what_waits_or_drops_it() {
    for drops in [false, true] {
        let (taken, exporter) = sink();
        let keys = TailSampling { drop_pending_on_shutdown: drops, ..keys(Duration::from_secs(3600)) };
        let lab = Lab::new(keys, 64 * MIB, FakePolicies::generation(1, even), None, exporter);
        assert_eq!(lab.rig.send(spans(0..100, 100)).await, Outcome::ACCEPTED);
        let (_, sampler) = lab.rig.pipelines[0].samplers().next().expect("a sampler");
        let known = sampler.explain(id(4).try_into().expect("16 bytes")).await.expect("it waits");
        assert_eq!((known.state, known.spans), (TraceState::Waiting, Some(1)));
        lab.rig.finish_samplers(PATIENCE).await;
        let dropped = lab.rig.sum("pipeline_dropped_items_total", &["reason=\"shutdown\""]);
        let undecided = lab.rig.sum("pipeline_dropped_items_total", &["reason=\"not_sampled\""]);
        assert_eq!((dropped, undecided), if drops { (100, 0) } else { (0, 50) });
        lab.finish().await;
        assert_eq!(sent(&taken).len(), if drops { 0 } else { 50 });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_memory_the_oldest_are_decided_early_or_senders_wait() {
    for blocks in [false, true] {
        let (_taken, exporter) = sink();
        let wait = if blocks { Duration::from_millis(200) } else { Duration::from_secs(3600) };
        let keys = TailSampling { block_on_overflow: blocks, ..keys(wait) };
        let lab = Lab::new(keys, 8 * MIB, FakePolicies::generation(1, even), None, exporter);
        for round in 0..40 {
            let answer = lab.rig.send(spans(round * 100..round * 100 + 100, 10_000)).await;
            assert_eq!(answer, Outcome::ACCEPTED, "round {round}");
        }
        let by_memory = lab.rig.sum("tail_decided_traces_total", &["trigger=\"memory\""]);
        let by_wait = lab.rig.sum("tail_decided_traces_total", &["trigger=\"decision_wait\""]);
        assert!(if blocks { by_memory == 0 && by_wait > 3000 } else { by_memory > 3000 && by_wait == 0 });
        assert_eq!(lab.rig.sum("receiver_refused_items_total", &[]), 0);
        lab.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_dead_destination_memory_stays_bounded_and_every_span_is_accounted_for() {
    let (key, gate) = closed();
    let dead = FakeDestination::new(gate, |_| TAKEN);
    let mut config = exporter("dead", 1);
    config.queue.consumers = 1;
    let all = FakePolicies::generation(1, |_, _| Ok(Vote::Keep));
    let lab = Lab::new(keys(Duration::from_millis(50)), 8 * MIB, all, None, (config, Arc::clone(&dead) as _));
    let started = Instant::now();
    let mut refused = 0;
    for round in 0..100 {
        let answer = lab.rig.send(spans(round * 100..round * 100 + 100, 4_000)).await;
        refused += usize::from(matches!(answer, Outcome::Retry { .. }));
        let used = lab.rig.sum("tail_bytes", &[]) + lab.rig.sum("tail_outgoing_bytes", &[]);
        // One batch of decisions may be on its way out above the share that is for that.
        assert!(used <= 8 * MIB as i64 + 2 * 4 * MIB as i64, "{used} bytes after {:?}", started.elapsed());
    }
    assert!(refused > 0, "senders are told to wait");
    assert!(lab.rig.sum("tail_fallback_traces_total", &["memory_pressure"]) > 0);
    assert!(lab.rig.sum("pipeline_dropped_items_total", &["memory_pressure", "intended=\"false\""]) > 0);
    key.send(true).expect("the destination is there");
    let kept = lab.spans("kept");
    lab.rig.until("what was kept is sent", |rig| rig.sum("exporter_sent_items_total", &[]) >= kept).await;
    lab.finish().await;
}

/// Counts traces by who decided them.
#[derive(Default)]
struct Weighed([AtomicUsize; 2], AtomicUsize);

impl crate::pipeline::canary::Observer for Weighed {
    fn judged(&self, batch: &crate::pipeline::canary::JudgedBatch<'_>) {
        self.0[usize::from(batch.by_candidate)].fetch_add(batch.records as usize, Ordering::Relaxed);
    }

    fn failed(&self, _by_candidate: bool, _fault: &Fault) {
        self.1.fetch_add(1, Ordering::Relaxed);
    }
}

/// The candidate keeps all of its share, what serves nothing; where the candidate fails, its share is decided by what serves, too.
#[tokio::test(flavor = "multi_thread")]
async fn a_canary_decides_its_share_of_traces_each_by_one() {
    use crate::pipeline::canary::{Canary, Share};
    for fails in [false, true] {
        let sink = FakeDestination::new(open(), |_| TAKEN);
        let serving = FakePolicies::generation(1, |_, _| Ok(Vote::Drop));
        let lab =
            Lab::new(keys(Duration::ZERO), MIB * 64, serving, None, (exporter("sink", 1_000), Arc::clone(&sink) as _));
        let vote = move |_: &Traces, _| if fails { Err(FaultKind::Trap) } else { Ok(Vote::Keep) };
        let weighed = Arc::new(Weighed::default());
        let share = Share::of_percent(25.0).expect("is one");
        let canary = Canary::new(0, &FakePolicies::generation(2, vote), share, Arc::<Weighed>::clone(&weighed));
        lab.rig.stages.begin_canary(&canary);
        assert_eq!(lab.rig.send(spans(0..2_000, 10)).await, Outcome::ACCEPTED);
        lab.rig.until("all are decided", |_| lab.spans("dropped") + lab.spans("kept") == 2_000).await;
        let kept = lab.spans("kept");
        let [by_serving, by_candidate] = [0, 1].map(|side: usize| weighed.0[side].load(Ordering::Relaxed));
        if fails {
            assert_eq!((kept, by_candidate), (0, 0));
            assert!(weighed.1.load(Ordering::Relaxed) > 0);
            let fallback = lab.rig.sum("tail_fallback_traces_total", &[]);
            assert_eq!(fallback, 0, "the fallback stands in for what serves only");
        } else {
            assert!((400..600).contains(&kept), "{kept} of 2000 spans");
            assert!(by_candidate > 0 && by_serving > 0, "{by_serving} and {by_candidate}");
        }
        lab.rig.stages.end_canary(&canary);
        lab.rig.until("what is kept arrives", |_| sent(&sink).len() as i64 == kept).await;
        lab.finish().await;
    }
}
