//! Random requests through stages that reject, against a plain model of each row: what is delivered, what each sender hears and
//! what is counted are exactly what follows from the rows.

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng};

use super::fakes::{FakeDestination, FakeGeneration, open};
use super::rows::{Fate, account, decoded, fate, guest, request};
use super::*;
use crate::config::model::OnFault;
use crate::pipeline::stage::FaultKind;

const CASES: u64 = 60;
const ROUNDS: usize = 4;
const CONTENT_KINDS: [FaultKind; 5] =
    [FaultKind::Trap, FaultKind::Memory, FaultKind::HostCallBudget, FaultKind::BadOutput, FaultKind::ReturnedError];

#[test]
fn rows_fare_as_the_model_says() {
    for seed in 0..CASES {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        runtime.expect("a runtime").block_on(case(seed));
    }
}

/// What the model says of some rows.
#[derive(Debug, Default)]
struct Expected {
    delivered: Vec<String>,
    rejected: usize,
    /// By stage and reason, rows; and by stage and `edited`, places.
    counted: BTreeMap<(usize, &'static str), usize>,
}

impl Expected {
    /// Takes one row through the stages of all steps; a passing stage does nothing else than fault.
    fn row(&mut self, steps: &[Vec<(usize, OnFault)>], text: &str) {
        let mut text = text.to_owned();
        for step in steps {
            let mut counted = Vec::new();
            let mut goes_on = true;
            for &(number, on_fault) in step {
                match (fate(number, &text), on_fault) {
                    (_, OnFault::Pass) | (Fate::Stays, _) => {}
                    (Fate::Faults, OnFault::Reject) => {
                        // What stages beside it did to the row did not happen.
                        counted = vec![(number, "poison")];
                        self.rejected += 1;
                        goes_on = false;
                        break;
                    }
                    (Fate::Dropped, _) => {
                        counted.push((number, "rule"));
                        goes_on = false;
                        break;
                    }
                    (Fate::Written(written), _) => {
                        counted.push((number, "edited"));
                        text = written;
                    }
                }
            }
            counted.into_iter().for_each(|what| *self.counted.entry(what).or_default() += 1);
            if !goes_on {
                return;
            }
        }
        self.delivered.push(text);
    }
}

async fn case(seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let signal = Signal::ALL[rng.random_range(0..3)];
    let stages: Vec<_> = (0..rng.random_range(1..4)).map(|_| on_fault(&mut rng)).collect();
    let generations = stages.iter().enumerate().map(|(number, on_fault)| {
        let judges = guest(number, CONTENT_KINDS[rng.random_range(0..CONTENT_KINDS.len())]);
        let generation = FakeGeneration::new(&format!("stage {number}"), judges);
        Arc::new(FakeGeneration { on_fault: *on_fault, ..generation }) as Arc<dyn Generation>
    });
    let generations = generations.collect();
    let sink = FakeDestination::new(open(), |_| TAKEN);
    let mut config = exporter("sink", 1000);
    config.queue.wait_for_result = rng.random();
    let exporters: Vec<(_, Arc<dyn Destination>)> = vec![(config, Arc::clone(&sink) as _)];
    let steps = steps(&mut rng, stages.len());
    let of_step = |step: &Step| match step {
        Step::Guests(numbers) => Some(numbers.iter().map(|&number| (number, stages[number])).collect()),
        Step::Merge(_) | Step::Sample(..) => None,
    };
    let of_steps: Vec<Vec<_>> = steps.iter().filter_map(of_step).collect();
    let rig = Rig::new(signal, 1, generations, vec![steps], exporters);

    let mut all = Expected::default();
    // All stages have judged something: so it is not the guests that are broken.
    assert_eq!(rig.send(request(signal, &["first".to_owned()])).await, Outcome::ACCEPTED);
    all.delivered.push("first".to_owned());
    for round in 0..ROUNDS {
        let mut answers = Vec::new();
        for number in 0..rng.random_range(1..8) {
            let rows = rows(&mut rng, &stages, &format!("{round}.{number}"));
            let mut expected = Expected::default();
            for text in &rows {
                expected.row(&of_steps, text);
                all.row(&of_steps, text);
            }
            answers.push((rig.submit(request(signal, &rows)), expected));
        }
        for (answer, expected) in answers {
            match (heard(answer).await, account(signal, expected.rejected)) {
                (outcome, 0) => assert_eq!(outcome, Outcome::ACCEPTED, "seed {seed}"),
                (Outcome::Partial { rejected, .. }, expected) => assert_eq!(rejected, expected, "seed {seed}"),
                (outcome, expected) => panic!("seed {seed}: {outcome:?} instead of {expected} rejected"),
            }
        }
    }
    for ((number, what), rows) in all.counted {
        let stage = format!("stage=\"stage {number}\"");
        let (name, expected) = match what {
            "edited" => ("pipeline_edited_places_total", rows as u64),
            _ => ("pipeline_dropped_items_total", account(signal, rows)),
        };
        let reason = if what == "edited" { String::new() } else { format!("reason=\"{what}\"") };
        assert_eq!(rig.sum(name, &[&stage, &reason]), expected as i64, "seed {seed}: {what} by {stage}");
    }
    let rejected = account(signal, all.rejected) as i64;
    assert_eq!(rig.sum("receiver_refused_items_total", &[]), rejected, "seed {seed}");
    assert_eq!(rig.sum("pipeline_dropped_items_total", &["reason=\"poison\""]), rejected, "seed {seed}");
    rig.finish().await;
    let seen = sink.seen.lock().expect("no panic").clone();
    let mut delivered: Vec<_> = seen.iter().flat_map(|body| decoded(signal, body)).collect();
    delivered.sort_unstable();
    all.delivered.sort_unstable();
    assert_eq!(delivered, all.delivered, "seed {seed}");
}

/// All stages, in one step or in several, with merges between them.
fn steps(rng: &mut StdRng, stages: usize) -> Vec<Step> {
    let mut steps = vec![Step::Guests(vec![0])];
    for stage in 1..stages {
        match steps.last_mut() {
            Some(Step::Guests(neighbours)) if rng.random() => neighbours.push(stage),
            _ => {
                let items_max = rng.random::<bool>().then(|| rng.random_range(1..40));
                steps.push(merge(items_max.unwrap_or(100), items_max, Duration::from_millis(1)));
                steps.push(Step::Guests(vec![stage]));
            }
        }
    }
    steps
}

fn on_fault(rng: &mut StdRng) -> OnFault {
    if rng.random_bool(0.2) { OnFault::Pass } else { OnFault::Reject }
}

fn rows(rng: &mut StdRng, stages: &[OnFault], name: &str) -> Vec<String> {
    let count = if rng.random_bool(0.05) { rng.random_range(2000..4500) } else { rng.random_range(1..60) };
    let poison = [0.0, 2.0 / f64::from(count), 0.3][rng.random_range(0..3)].min(if count > 100 { 0.002 } else { 1.0 });
    let row = |n| {
        let mut text = format!("{name}.{n}");
        for (number, on_fault) in stages.iter().enumerate() {
            if rng.random_bool(poison) {
                // Some are poison only once an earlier stage has written them.
                let by = rng.random_range(0..=number);
                let is_written = by < number && stages[by] == OnFault::Reject;
                text += &if is_written { format!(" {by}>!{number}") } else { format!(" !{number}") };
            } else if *on_fault == OnFault::Reject && rng.random_bool(0.3) {
                text += &format!(" {}{number}", ["-", "="][rng.random_range(0..2)]);
            }
        }
        text
    };
    (0..count).map(row).collect()
}
