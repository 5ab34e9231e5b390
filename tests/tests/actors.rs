//! The actors against each other, before anything is judged by them.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use sluicebox::signal::Signal;
use sluicebox_tests::client::{self, Answer, Plan, Protocol, Settled, send_once};
use sluicebox_tests::engine::{Addresses, Process};
use sluicebox_tests::generate::{Shape, Workload};
use sluicebox_tests::sink::{Behaviour, Sink};

fn small(signal: Signal) -> Shape {
    Shape { requests: 5, items_per_request: 64, odd: true, ..Shape::new(signal) }
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_sent_is_seen_once_over_both_protocols() {
    let sink = Sink::start(Behaviour::default()).await.unwrap();
    let mut run = 0;
    for signal in Signal::ALL {
        let workload = Workload::new(small(signal));
        for plan in [Plan::grpc(40), Plan::http(40)] {
            for gzip in [false, true] {
                run += 1;
                let report = client::run(sink.address, &workload, run, Plan { gzip, ..plan }).await.unwrap();
                assert_eq!(report.first_failure(), None);
                let delivered = workload.check(&report.settled, &sink.take_seen(signal, run), false).unwrap();
                assert_eq!(delivered.arrived, 40 * 64);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn retries_are_sent_again_and_refusals_are_not() {
    let behaviour = Behaviour {
        script: Some(Arc::new(|attempt| {
            let answer = match attempt.number {
                0 => Answer::Retry { after: Some(Duration::from_millis(30)), message: "later, 100 %".to_owned() },
                1 => Answer::Refused { code: 3, message: "no".to_owned() },
                2 => Answer::Partial { rejected: 7, message: "some".to_owned() },
                3 => Answer::Accepted { warning: Some("hm".to_owned()) },
                _ => Answer::Accepted { warning: None },
            };
            (Duration::ZERO, answer)
        })),
        ..Behaviour::default()
    };
    let sink = Sink::start(behaviour).await.unwrap();
    let workload = Workload::new(small(Signal::Logs));
    let plan = Plan { connections: 1, in_flight: 1, ..Plan::grpc(4) };
    let report = client::run(sink.address, &workload, 1, plan).await.unwrap();
    // Attempt 0 and 1 are request 0 twice.
    let expected = [
        Settled::Refused { code: 3, message: "InvalidArgument: no".to_owned() },
        Settled::Partial { rejected: 7, message: "some".to_owned() },
        Settled::Accepted { warning: Some("hm".to_owned()) },
        Settled::Accepted { warning: None },
    ];
    let settled: Vec<_> = report.settled.into_iter().map(|(_, settled)| settled).collect();
    assert_eq!(settled, expected);
    assert_eq!(report.retries.into_iter().collect::<Vec<_>>(), [("Unavailable: later, 100 %".to_owned(), 1)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn http_statuses_are_taken_as_otlp_says() {
    for (answer, expected_retry) in [
        (Answer::Retry { after: Some(Duration::from_secs(1)), message: String::new() }, true),
        (Answer::Refused { code: 429, message: String::new() }, true),
        (Answer::Refused { code: 500, message: String::new() }, false),
        (Answer::Refused { code: 413, message: String::new() }, false),
    ] {
        let behaviour =
            Behaviour { script: Some(Arc::new(move |_| (Duration::ZERO, answer.clone()))), ..Behaviour::default() };
        let sink = Sink::start(behaviour).await.unwrap();
        let body = Workload::new(small(Signal::Metrics)).request(1, 0);
        let answer = send_once(sink.address, Protocol::Http, Signal::Metrics, body).await.unwrap();
        assert_eq!(matches!(answer, Answer::Retry { .. }), expected_retry, "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bare_proxy_forwards_everything() {
    let sink = Sink::start(Behaviour::default()).await.unwrap();
    let address = Addresses::free().unwrap().grpc;
    let mut command = Command::new(env!("CARGO_BIN_EXE_bare_proxy"));
    command.arg(address.to_string()).arg(sink.address.to_string());
    let mut proxy = Process::spawn(command, tempfile::tempdir().unwrap()).unwrap();
    let accepts = || std::net::TcpStream::connect(address).is_ok();
    proxy.until(Duration::from_secs(10), "accept", accepts).await.unwrap();
    let workload = Workload::new(small(Signal::Traces));
    let report = client::run(address, &workload, 1, Plan::grpc(100)).await.unwrap();
    assert_eq!(report.first_failure(), None);
    let seen = sink.take_seen(Signal::Traces, 1);
    assert_eq!(workload.check(&report.settled, &seen, false).unwrap().arrived, 6400);
    assert!(proxy.cpu_time().unwrap() < Duration::from_secs(60));
    assert!(proxy.rss_bytes().unwrap() > 0);
    assert!(proxy.alive());
    proxy.stop().unwrap();
    assert!(!proxy.alive());
}
