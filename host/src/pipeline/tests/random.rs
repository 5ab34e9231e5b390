//! Random pipelines under random requests, faults, panics, full queues, merges, splits, refusals and swaps: every request is
//! answered, and the account is exact ([`Rig::finish`]).

use std::ops::Range;
use std::sync::Mutex;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng};

use super::fakes::{Act, FakeDestination, FakeGeneration, malformed, open, request};
use super::rows::{field, write};
use super::*;
use crate::config::model::OnFault;
use crate::pipeline::stage::{Effects, FaultKind};

const CASES: u64 = 40;
const SENDERS: u64 = 6;
const REQUESTS_EACH: u64 = 20;
const SWAPS: u64 = 20;

#[test]
fn the_account_is_exact_whatever_happens() {
    for seed in 0..CASES {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        runtime.expect("a runtime").block_on(case(seed));
    }
}

async fn case(seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let signal = Signal::ALL[rng.random_range(0..3)];
    let stages = rng.random_range(1..4);
    let generations = (0..stages).map(|stage| generation(stage, 1, rng.random())).collect();
    let pipelines = (0..rng.random_range(1..3)).map(|_| steps(&mut rng, stages)).collect();
    let exporters = (0..rng.random_range(1..4)).map(|number| sink(number, &mut rng)).collect();
    let failing_votes_until = [Duration::ZERO, Duration::MAX][rng.random_range(0..2)];
    let bisecting_max = [Duration::ZERO, PATIENCE][rng.random_range(0..2)];
    let patience = Patience { failing_votes_until, bisecting_max };
    let threads = rng.random_range(1..4);
    let rig = Arc::new(Rig::with_patience(patience, signal, threads, generations, pipelines, exporters));
    let senders: Vec<_> = (0..SENDERS).map(|sender| tokio::spawn(sends(Arc::clone(&rig), seed, sender))).collect();
    let mut replaced = Vec::new();
    for number in 2..2 + SWAPS {
        let stage = rng.random_range(0..stages);
        replaced.push(Arc::downgrade(rig.stages.snapshot().get(stage).expect("serves")));
        rig.stages.commit(vec![(stage, generation(stage, number, rng.random()))]);
        tokio::time::sleep(Duration::from_millis(rng.random_range(0..3))).await;
    }
    for sender in senders {
        sender.await.expect("a sender hears of all its requests");
    }
    for old in replaced {
        rig.until("a replaced generation goes", |_| old.strong_count() == 0).await;
    }
    let rig = Arc::into_inner(rig).expect("the senders are gone");
    rig.finish().await;
}

/// Sends one request after another, or a few at once, and waits for all answers.
async fn sends(rig: Arc<Rig>, seed: u64, sender: u64) {
    let mut rng = StdRng::seed_from_u64(seed << 8 | sender);
    let mut answers = Vec::new();
    for _ in 0..REQUESTS_EACH {
        let body = match rng.random_range(0..20) {
            0 => malformed(),
            1 => Bytes::new(),
            2 => request(rig.signal, rng.random_range(1..3), 0),
            3 => request(rig.signal, 1, rng.random_range(2000..5000)),
            _ => request(rig.signal, rng.random_range(1..4), rng.random_range(1..30)),
        };
        answers.push(rig.submit(body));
        if rng.random_range(0..3) > 0 {
            for answer in answers.drain(..) {
                heard(answer).await;
            }
        }
    }
    for answer in answers {
        heard(answer).await;
    }
}

fn steps(rng: &mut StdRng, stages: usize) -> Vec<Step> {
    let step = |rng: &mut StdRng| {
        if rng.random() {
            let stages = (0..rng.random_range(1..3)).map(|_| rng.random_range(0..stages)).collect();
            return Step::Guests(stages);
        }
        let items_max = if rng.random() { Some(rng.random_range(1..40)) } else { None };
        let items = rng.random_range(1..200).min(items_max.unwrap_or(u64::MAX));
        merge(items, items_max, Duration::from_millis([0, 1, 20][rng.random_range(0..3)]))
    };
    (0..rng.random_range(0..4)).map(|_| step(rng)).collect()
}

fn generation(stage: usize, number: u64, seed: u64) -> Arc<dyn Generation> {
    let rng = Mutex::new(StdRng::seed_from_u64(seed));
    let guest = move |batch: &crate::batch::Batch, items: Range<u32>| {
        let mut rng = rng.lock().expect("panics happen after it is let go");
        match rng.random_range(0..20) {
            0 => Act::Panic,
            1 | 2 => Act::Fault(FaultKind::ALL[rng.random_range(0..FaultKind::ALL.len())]),
            3..6 => Act::Drop((0..items.end - items.start).collect(), 0),
            6..10 => {
                let new: Vec<_> = items.clone().map(|row| rng.random::<bool>().then(|| format!("row {row}"))).collect();
                let edited = vec![(1, new.iter().flatten().count() as u64)];
                let edits = write(batch, items, field(batch.signal()), &new);
                Act::Want(Effects { edits, edited, unjudgeable: rng.random_range(0..3), ..Effects::default() })
            }
            _ => {
                let share = rng.random_range(0.0..1.0);
                let rows = (0..items.end - items.start).filter(|_| rng.random_bool(share)).collect();
                Act::Drop(rows, rng.random_range(0..2))
            }
        }
    };
    let is_unavailable = Arc::new(seed.is_multiple_of(7).into());
    let on_fault = if seed.is_multiple_of(2) { OnFault::Pass } else { OnFault::Reject };
    Arc::new(FakeGeneration {
        number,
        on_fault,
        is_unavailable,
        ..FakeGeneration::new(&format!("stage {stage}"), guest)
    })
}

fn sink(number: usize, rng: &mut StdRng) -> (model::Exporter, Arc<dyn Destination>) {
    let mut config = exporter(&format!("sink {number}"), rng.random_range(1..30));
    config.queue.enabled = rng.random_bool(0.9);
    config.queue.block_on_overflow = rng.random();
    config.queue.wait_for_result = rng.random();
    config.retry.enabled = rng.random();
    config.retry.max_elapsed = Some(Duration::from_millis(rng.random_range(1..10)));
    let answers = Mutex::new(StdRng::seed_from_u64(rng.random()));
    let answer = move |items: u64| match answers.lock().expect("no panic").random_range(0..10) {
        0 => later(),
        1 => Sent::Partial { rejected: items / 2, message: "half".to_owned() },
        2 => Sent::Refused { message: "no".to_owned() },
        _ => TAKEN,
    };
    (config, FakeDestination::new(open(), answer))
}
