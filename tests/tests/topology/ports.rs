//! Ports that stay open: receivers with other options, receivers that swap addresses, that come and that go.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use sluicebox::signal::Signal;
use sluicebox_tests::client::{Answer, Protocol, send_once};
use sluicebox_tests::config::otlp;
use sluicebox_tests::engine::Engine;
use sluicebox_tests::generate::{Shape, Workload};

use crate::lab::*;

const RATE: f64 = 150.0;

/// Connects again and again, and is never refused.
struct Probe {
    stop: Arc<AtomicBool>,
    connected: Arc<AtomicU64>,
    thread: std::thread::JoinHandle<()>,
}

impl Probe {
    fn start(address: SocketAddr) -> Probe {
        let (stop, connected) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (until, count) = (Arc::clone(&stop), Arc::clone(&connected));
        let thread = std::thread::spawn(move || {
            while !until.load(Ordering::Relaxed) {
                drop(TcpStream::connect(address).expect("the port is never closed"));
                count.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        Probe { stop, connected, thread }
    }

    fn finish(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("was never refused");
        assert!(self.connected.load(Ordering::Relaxed) > 10);
    }
}

/// Whether a request of 2 MiB is taken.
async fn takes_two_mebibytes(engine: &Engine) -> bool {
    let shape = Shape { requests: 1, items_per_request: 5_000, ..Shape::new(Signal::Traces) };
    let body = Workload::new(shape).request(99, 0);
    assert!(body.len() > 2 << 20, "{}", body.len());
    let answer = send_once(engine.addresses.grpc, Protocol::Grpc, Signal::Traces, body).await.unwrap();
    matches!(answer, Answer::Accepted { .. })
}

/// Another option on the same port: no "address in use", no closed port, no lost request (vector#2011).
#[tokio::test(flavor = "multi_thread")]
async fn same_port_reload() {
    let sink = sink().await;
    let base = File::new(&sink, &[("filter/a", &drop_ring("blue"))]);
    let with = |grpc: &str| {
        base.with(|file| *file.keys("otlp") = protocols("$GRPC", "$HTTP").replacen(" }", &format!(", {grpc} }}"), 1))
    };
    let mut engine = start(&base).await;
    let (grpc, http) = (engine.addresses.grpc, engine.addresses.http);
    let traffic = Traffic::new(1);
    let probe = Probe::start(grpc);
    assert!(takes_two_mebibytes(&engine).await);
    let load = Load::start(&[(grpc, Protocol::Grpc), (grpc, Protocol::Grpc)], &traffic, RATE, Bears::Reconnects).await;
    // What is spoken beside the changed protocol keeps its connections.
    let beside = Traffic::new(2);
    let strict = Load::start(&[(http, Protocol::Http)], &beside, RATE / 3.0, Bears::Nothing).await;
    for (option, takes) in [
        ("max_recv_msg_size_mib: 1", false),
        ("max_concurrent_streams: 7", true),
        ("max_recv_msg_size_mib: 1, max_concurrent_streams: 3", false),
        ("max_recv_msg_size_mib: 16", true),
    ] {
        load.pass(20).await;
        change(&mut engine, &with(option)).await.unwrap();
        assert_eq!(takes_two_mebibytes(&engine).await, takes, "{option}");
    }
    let (requests, beside_requests) = (load.finish().await, strict.finish().await);
    probe.finish();
    engine.settled_account(BOUND).await.unwrap();
    judged_by_one(&traffic, &sink, requests, &["blue"]);
    judged_by_one(&beside, &sink, beside_requests, &["blue"]);
}

/// Two receivers swap their ports while both are sent to: what comes to an address goes where the file says that it goes.
#[tokio::test(flavor = "multi_thread")]
async fn receivers_swap_their_ports() {
    let [first, second] = [sink().await, sink().await];
    let other = free_address();
    let file = |a: &str, b: &str| {
        File::new(&first, &[("filter/a", &drop_ring("blue")), ("filter/b", &drop_ring("green"))]).with(|file| {
            file.receivers = vec![("otlp/a".into(), grpc_alone(a)), ("otlp/b".into(), grpc_alone(b))];
            file.exporters.push(("otlp/second".into(), otlp(second.address, "")));
            file.pipelines = vec![
                pipeline("traces/a", "otlp/a", &["filter/a"], "otlp/sink"),
                pipeline("traces/b", "otlp/b", &["filter/b"], "otlp/second"),
            ];
        })
    };
    let (here, there) = (file("$GRPC", &other.to_string()), file(&other.to_string(), "$GRPC"));
    let mut engine = start(&here).await;
    let grpc = engine.addresses.grpc;
    let probes = [Probe::start(grpc), Probe::start(other)];
    let traffic = Traffic::new(1);
    let load = Load::start(&[(grpc, Protocol::Grpc), (other, Protocol::Grpc)], &traffic, RATE, Bears::Reconnects).await;
    let asked = Traffic::new(2);
    for turn in 0..6 {
        load.pass(10).await;
        let is_here = turn % 2 == 1;
        change(&mut engine, if is_here { &here } else { &there }).await.unwrap();
        let (sink, dropped) = if is_here { (&first, "blue") } else { (&second, "green") };
        assert_eq!(asked.one(&engine, grpc, sink, turn).await, dropped);
    }
    let requests = load.finish().await;
    probes.into_iter().for_each(Probe::finish);
    engine.settled_account(BOUND).await.unwrap();
    let [at_first, at_second] = [&first, &second].map(|sink| sink.take_seen(Signal::Traces, traffic.run));
    assert_eq!((at_first.duplicates, at_second.duplicates), (0, 0));
    let all = "blue green stable canary";
    for number in 0..requests {
        let dropped = [&at_first, &at_second].map(|seen| traffic.dropped(number, seen));
        let dropped = dropped.each_ref().map(String::as_str);
        assert!(dropped == ["blue", all] || dropped == [all, "green"], "request {number}: {dropped:?}");
    }
}

/// A receiver that comes is heard, one that goes is not, and the others do not notice.
#[tokio::test(flavor = "multi_thread")]
async fn receivers_come_and_go() {
    let sink = sink().await;
    let other = free_address();
    let base = File::new(&sink, &[("filter/a", &drop_ring("blue"))]);
    let both = base.with(|file| {
        file.receivers.push(("otlp/more".into(), grpc_alone(&other.to_string())));
        file.pipelines[0].receivers.push("otlp/more".into());
    });
    let mut engine = start(&base).await;
    let traffic = Traffic::new(1);
    let load = Load::start(&lanes(&engine), &traffic, RATE, Bears::Nothing).await;
    let asked = Traffic::new(2);
    for turn in 0..3 {
        load.pass(10).await;
        assert!(TcpStream::connect(other).is_err(), "nobody listens there");
        change(&mut engine, &both).await.unwrap();
        let body = asked.workload.request(asked.run, turn);
        let answer = send_once(other, Protocol::Grpc, Signal::Traces, body).await.unwrap();
        assert_eq!(answer, Answer::Accepted { warning: None });
        change(&mut engine, &base).await.unwrap();
        // It is closed when the accept loop has ended, a moment after the file is in force.
        let end = tokio::time::Instant::now() + BOUND;
        while TcpStream::connect(other).is_ok() {
            assert!(tokio::time::Instant::now() < end, "the port of the removed receiver stays open");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    let requests = load.finish().await;
    engine.settled_account(BOUND).await.unwrap();
    judged_by_one(&traffic, &sink, requests, &["blue"]);
    judged_by_one(&asked, &sink, 3, &["blue"]);
}
