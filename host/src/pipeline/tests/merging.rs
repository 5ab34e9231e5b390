//! `batch`: who waits for whom, pieces, one timer.

use super::fakes::{FakeDestination, open, request};
use super::*;

const LONG: Duration = Duration::from_secs(3600);

fn rig(signal: Signal, step: Step, config: model::Exporter, sink: &Arc<FakeDestination>) -> Rig {
    let exporters: Vec<(_, Arc<dyn Destination>)> = vec![(config, Arc::clone(sink) as _)];
    Rig::new(signal, 1, Vec::new(), vec![vec![step]], exporters)
}

fn waiting() -> model::Exporter {
    let mut waiting = exporter("sink", 1000);
    waiting.queue.wait_for_result = true;
    waiting
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_complete_goes_and_leaves_no_timers_behind() {
    let sink = FakeDestination::new(open(), |_| TAKEN);
    let rig = rig(Signal::Logs, merge(1_000_000, None, LONG), exporter("sink", 10_000), &sink);
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    for _ in 0..500 {
        assert_eq!(rig.send(request(Signal::Logs, 1, 2)).await, Outcome::ACCEPTED);
    }
    assert!(tasks() <= before + 1, "{} tasks more", tasks() - before);
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_waits_for_nobody() {
    let (key, gate) = closed();
    let sink = FakeDestination::new(gate, |_| TAKEN);
    let mut narrow = exporter("sink", 1);
    (narrow.queue.block_on_overflow, narrow.queue.consumers) = (true, 1);
    let rig = rig(Signal::Logs, merge(1_000_000, None, LONG), narrow, &sink);
    // One under way, one in the queue, one waits for a place in it, so that the others wait to be merged.
    let mut answers = Vec::new();
    for open in [0, 0, 1, 2, 3] {
        answers.push(rig.submit(request(Signal::Logs, 1, 1)));
        rig.until("it is in its place", |rig| rig.pipelines[0].open_parts() == open).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    rig.pipelines[0].stop_waiting();
    let Step::Merge(merger) = &rig.pipelines[0].steps[0] else { panic!("it merges") };
    assert!(merger.take_if_complete(&rig.pipelines[0]).is_none());
    answers.push(rig.submit(request(Signal::Logs, 1, 1)));
    key.send_replace(true);
    for answer in answers {
        assert_eq!(heard(answer).await, Outcome::ACCEPTED);
    }
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pieces_hold_what_the_request_held() {
    for signal in Signal::ALL {
        let points = if signal == Signal::Metrics { 3 } else { 1 };
        for (envelopes, items, max) in [(1, 100, 7), (7, 3, 4), (3, 10, 30), (1, 1, 1), (40, 1, 3), (2, 50, 50)] {
            let sink = FakeDestination::new(open(), |_| TAKEN);
            let rig = rig(signal, merge(1, Some(max * points), LONG), waiting(), &sink);
            assert_eq!(rig.send(request(signal, envelopes, items)).await, Outcome::ACCEPTED);
            let taken = sink.taken.lock().expect("no panic").clone();
            let all = (envelopes * items) as u64 * points;
            assert_eq!(taken.iter().sum::<u64>(), all);
            assert!(taken.iter().all(|&items| items <= max * points), "{taken:?}");
            assert_eq!(taken.len() as u64, all.div_ceil(max * points), "{taken:?}");
            rig.finish().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_of_which_one_piece_is_refused_is_refused_in_part() {
    let refuse_small = |items| match items {
        10.. => TAKEN,
        _ => Sent::Refused { message: "too few".to_owned() },
    };
    let sink = FakeDestination::new(open(), refuse_small);
    let rig = rig(Signal::Traces, merge(1, Some(10), LONG), waiting(), &sink);
    let outcome = rig.send(request(Signal::Traces, 1, 23)).await;
    assert_eq!(outcome, Outcome::Partial { rejected: 3, message: "too few".to_owned() });
    assert_eq!(rig.sum("receiver_refused_items_total", &[]), 3);
    assert_eq!(rig.sum("receiver_accepted_items_total", &[]), 20);
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_goes_at_its_timeout() {
    let (key, gate) = closed();
    let sink = FakeDestination::new(gate, |_| TAKEN);
    let mut narrow = exporter("sink", 1);
    (narrow.queue.block_on_overflow, narrow.queue.consumers) = (true, 1);
    let rig = rig(Signal::Logs, merge(1_000_000, None, Duration::from_millis(50)), narrow, &sink);
    let answers: Vec<_> = (0..20).map(|_| rig.submit(request(Signal::Logs, 1, 1))).collect();
    let Step::Merge(merger) = &rig.pipelines[0].steps[0] else { panic!("it merges") };
    // Two are queued, the others wait for a place in the queue, together: none is open elsewhere, none is left at the merge.
    rig.until("the timer sends them on", |rig| rig.pipelines[0].open_parts() == 18 && !merger.holds_any()).await;
    key.send_replace(true);
    for answer in answers {
        assert_eq!(heard(answer).await, Outcome::ACCEPTED);
    }
    rig.finish().await;
}
