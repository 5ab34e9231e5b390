//! Senders that behave as OTLP asks of clients, and count what they were told.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use bytes::Bytes;
use sluicebox::signal::Signal;

mod connection;

pub use connection::{Connection, Protocol, post};
pub(crate) use connection::{frame, retry_details};

/// What a server answered to one try (OTLP specification, "Failures").
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Taken; a warning is a `partial_success` that rejects nothing.
    Accepted {
        /// The warning.
        warning: Option<String>,
    },
    /// Taken but for some items.
    Partial {
        /// Items rejected.
        rejected: u64,
        /// Why.
        message: String,
    },
    /// To be sent again.
    Retry {
        /// RetryInfo or Retry-After.
        after: Option<Duration>,
        /// Why.
        message: String,
    },
    /// Not to be sent again.
    Refused {
        /// gRPC status code or HTTP status.
        code: u16,
        /// Why.
        message: String,
    },
}

/// How a request ended, after all its tries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settled {
    /// Acknowledged whole.
    Accepted {
        /// A `partial_success` that rejects nothing.
        warning: Option<String>,
    },
    /// Acknowledged but for some items.
    Partial {
        /// Items rejected.
        rejected: u64,
        /// Why.
        message: String,
    },
    /// Refused for good.
    Refused {
        /// gRPC status code or HTTP status.
        code: u16,
        /// Why.
        message: String,
    },
    /// Told to retry more often than the plan allows.
    GaveUp {
        /// The last reason.
        message: String,
    },
}

/// Where requests come from.
pub trait Source: Send + Sync + 'static {
    /// Of all requests.
    fn signal(&self) -> Signal;
    /// Request `number` of run `run`, encoded.
    fn request(&self, run: u16, number: u64) -> Bytes;
}

/// How to send.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// gRPC or HTTP.
    pub protocol: Protocol,
    /// Connections.
    pub connections: usize,
    /// Requests in flight on each connection.
    pub in_flight: usize,
    /// Compress requests (level 1).
    pub gzip: bool,
    /// Requests to send at most.
    pub requests: u64,
    /// No new request after this time.
    pub time: Duration,
    /// Requests per second over all connections; None = as fast as answered.
    pub rate: Option<f64>,
    /// Tries of each request.
    pub tries: u32,
    /// Bound of one try.
    pub timeout: Duration,
}

impl Plan {
    /// The benchmark's: gRPC, 2 connections with 4 requests in flight, no compression.
    pub fn grpc(requests: u64) -> Self {
        Self {
            protocol: Protocol::Grpc,
            connections: 2,
            in_flight: 4,
            gzip: false,
            requests,
            time: Duration::from_secs(600),
            rate: None,
            tries: 200,
            timeout: Duration::from_secs(30),
        }
    }

    /// The same over HTTP/1.1; a connection carries one request at a time.
    pub fn http(requests: u64) -> Self {
        Self { protocol: Protocol::Http, connections: 4, in_flight: 1, ..Self::grpc(requests) }
    }
}

/// What senders were told.
#[derive(Debug, Default)]
pub struct Report {
    /// Each request and how it ended, in no order.
    pub settled: Vec<(u64, Settled)>,
    /// Tries that were answered with retry, by message.
    pub retries: BTreeMap<String, u64>,
    /// Time from the first byte to the acknowledgement of each settled request, of its last try.
    pub latencies: Vec<Duration>,
    /// Of plans with a rate: time from when each settled request was due to its acknowledgement, so that one that is late counts for
    /// those that wait behind it.
    pub delays: Vec<Duration>,
    /// From the first request to the last answer.
    pub elapsed: Duration,
}

impl Report {
    /// Requests that were acknowledged whole.
    pub fn accepted(&self) -> u64 {
        self.settled.iter().filter(|(_, s)| matches!(s, Settled::Accepted { .. })).count() as u64
    }

    /// The first request that was not acknowledged whole.
    pub fn first_failure(&self) -> Option<&(u64, Settled)> {
        self.settled.iter().find(|(_, s)| !matches!(s, Settled::Accepted { .. }))
    }

    /// The latency that `share` (0 to 1) of the requests did not exceed. Sorts.
    pub fn latency(&mut self, share: f64) -> Duration {
        quantile(&mut self.latencies, share)
    }

    /// The same of the delays.
    pub fn delay(&mut self, share: f64) -> Duration {
        quantile(&mut self.delays, share)
    }

    /// Adds what other senders were told. The longer of the two times counts.
    pub fn absorb(&mut self, other: Report) {
        self.settled.extend(other.settled);
        self.latencies.extend(other.latencies);
        self.delays.extend(other.delays);
        self.elapsed = self.elapsed.max(other.elapsed);
        for (message, count) in other.retries {
            *self.retries.entry(message).or_default() += count;
        }
    }
}

fn quantile(times: &mut [Duration], share: f64) -> Duration {
    times.sort_unstable();
    let last = times.len().saturating_sub(1);
    times.get((last as f64 * share).round() as usize).copied().unwrap_or_default()
}

/// Sends requests 0, 1, 2, ... of `workload` as run `run` and waits for all answers.
pub async fn run<S: Source>(address: SocketAddr, workload: &Arc<S>, run: u16, plan: Plan) -> Result<Report> {
    run_while(address, workload, run, plan, &Arc::new(AtomicBool::new(true))).await
}

/// A sender beside a test, which ends it.
pub struct Steady {
    is_on: Arc<AtomicBool>,
    sending: tokio::task::JoinHandle<Result<Report>>,
}

impl Steady {
    /// Begins to send, as [`run`] does.
    pub fn start<S: Source>(address: SocketAddr, workload: &Arc<S>, run: u16, plan: Plan) -> Self {
        let is_on = Arc::new(AtomicBool::new(true));
        let (of_task, workload) = (Arc::clone(&is_on), Arc::clone(workload));
        let sending = tokio::spawn(async move { run_while(address, &workload, run, plan, &of_task).await });
        Self { is_on, sending }
    }

    /// Sends no new request, and waits for all answers.
    pub async fn stop(self) -> Result<Report> {
        self.is_on.store(false, Ordering::Relaxed);
        self.sending.await?
    }
}

async fn run_while<S: Source>(
    address: SocketAddr,
    workload: &Arc<S>,
    run: u16,
    plan: Plan,
    is_on: &Arc<AtomicBool>,
) -> Result<Report> {
    let next = Arc::new(AtomicU64::new(0));
    let start = Instant::now();
    let mut lanes = tokio::task::JoinSet::new();
    for _ in 0..plan.connections.max(1) {
        let connection = Connection::open(address, plan.protocol, plan.gzip).await?;
        for _ in 0..plan.in_flight.max(1) {
            let (next, workload, is_on) = (Arc::clone(&next), Arc::clone(workload), Arc::clone(is_on));
            let lane = Lane { plan, run, start, next, workload, is_on };
            lanes.spawn(lane.drive(connection.clone()));
        }
    }
    let mut report = Report::default();
    while let Some(lane) = lanes.join_next().await {
        report.absorb(lane?);
    }
    report.elapsed = start.elapsed();
    Ok(report)
}

/// One request in flight at a time.
struct Lane<S> {
    plan: Plan,
    run: u16,
    start: Instant,
    next: Arc<AtomicU64>,
    workload: Arc<S>,
    is_on: Arc<AtomicBool>,
}

impl<S: Source> Lane<S> {
    async fn drive(self, mut connection: Connection) -> Report {
        let mut report = Report::default();
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            if number >= self.plan.requests {
                return report;
            }
            let due = self.plan.rate.map(|rate| Duration::from_secs_f64(number as f64 / rate));
            if let Some(due) = due {
                tokio::time::sleep(due.saturating_sub(self.start.elapsed())).await;
            }
            if self.start.elapsed() >= self.plan.time || !self.is_on.load(Ordering::Relaxed) {
                return report;
            }
            let body = self.workload.request(self.run, number);
            let settled = self.until_settled(&mut connection, &body, &mut report).await;
            report.delays.extend(due.map(|due| self.start.elapsed().saturating_sub(due)));
            report.settled.push((number, settled));
        }
    }

    async fn until_settled(&self, connection: &mut Connection, body: &Bytes, report: &mut Report) -> Settled {
        let mut wait = Duration::from_millis(20);
        let mut last = String::new();
        for left in (0..self.plan.tries.max(1)).rev() {
            let begin = Instant::now();
            match connection.send(self.workload.signal(), body.clone(), self.plan.timeout).await {
                Answer::Retry { after, message } => {
                    // RetryInfo is where exponential backoff starts from; bounded, so that tests end.
                    wait = (wait * 2).max(after.unwrap_or_default()).min(Duration::from_millis(500));
                    *report.retries.entry(message.clone()).or_default() += 1;
                    last = message;
                    if left > 0 {
                        tokio::time::sleep(wait).await;
                    }
                }
                answer => {
                    report.latencies.push(begin.elapsed());
                    return match answer {
                        Answer::Partial { rejected, message } => Settled::Partial { rejected, message },
                        Answer::Refused { code, message } => Settled::Refused { code, message },
                        Answer::Accepted { warning } => Settled::Accepted { warning },
                        Answer::Retry { message, .. } => Settled::GaveUp { message },
                    };
                }
            }
        }
        Settled::GaveUp { message: last }
    }
}

/// Sends one body once over a new connection.
pub async fn send_once(address: SocketAddr, protocol: Protocol, signal: Signal, body: Bytes) -> Result<Answer> {
    let mut connection = Connection::open(address, protocol, false).await?;
    Ok(connection.send(signal, body, Duration::from_secs(30)).await)
}
