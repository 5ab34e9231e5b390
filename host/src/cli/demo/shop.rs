//! A made-up shop: five services whose traffic has what real traffic has: errors, slow requests, health checks, and personal
//! data where it should not be.

use std::time::{SystemTime, UNIX_EPOCH};

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, KeyValueList};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{ResourceMetrics, ScopeMetrics};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status, span::Event};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::readings::Readings;

const SERVICES: [&str; 5] = ["frontend", "cart", "checkout", "payment", "shipping"];
const CUSTOMERS: [&str; 4] = ["ada@example.com", "grace@example.org", "linus@example.net", "margaret@example.com"];
const CARDS: [&str; 3] = ["4111 1111 1111 1111", "5500 0000 0000 0004", "3400 0000 0000 009"];
const SERVER: i32 = 2;
const ERROR: i32 = 2;

/// The shop; the same seed makes the same traffic, but for its times and ids.
pub(super) struct Shop {
    rng: StdRng,
    spans: [Vec<Span>; 5],
    logs: [Vec<LogRecord>; 5],
    readings: Readings,
}

/// What the shop's services have to say at once.
pub(super) struct Telemetry {
    pub(super) traces: ExportTraceServiceRequest,
    pub(super) metrics: ExportMetricsServiceRequest,
    pub(super) logs: ExportLogsServiceRequest,
}

/// A trace that is in the traffic, to be looked for at the other end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Example {
    pub(super) trace_id: Vec<u8>,
    pub(super) spans: usize,
}

/// A call that a service answered.
struct Call<'a> {
    service: usize,
    name: &'a str,
    route: &'a str,
    milliseconds: u64,
    attributes: Vec<KeyValue>,
    failure: Option<&'a str>,
}

impl Shop {
    pub(super) fn open(seed: u64) -> Self {
        Self {
            rng: StdRng::seed_from_u64(seed),
            spans: Default::default(),
            logs: Default::default(),
            readings: Readings::default(),
        }
    }

    /// Somebody looks at the catalogue: three spans.
    pub(super) fn browse(&mut self) -> Example {
        let trace = self.id::<16>();
        let milliseconds = self.rng.random_range(4..60);
        let page = self.call(&trace, None, Call::new(0, "GET /products", "/products", milliseconds));
        let cart = self.call(&trace, Some(&page), Call::new(1, "GET /cart", "/cart", milliseconds / 2));
        self.call(&trace, Some(&cart), Call::new(1, "SELECT carts", "", milliseconds / 4));
        self.log(1, 5, "DEBUG", text_value("cache miss, reading the cart from the database"), &trace);
        Example { trace_id: trace.to_vec(), spans: 3 }
    }

    /// Somebody orders: six spans over all services; one order in twenty fails, one in thirty is slow.
    pub(super) fn order(&mut self) -> Example {
        let trace = self.id::<16>();
        let customer = CUSTOMERS[self.rng.random_range(0..CUSTOMERS.len())];
        let card = CARDS[self.rng.random_range(0..CARDS.len())];
        let order = format!("o-{:06}", self.rng.random_range(0..1_000_000));
        let declined = self.rng.random_range(0..20) == 0;
        let slow = self.rng.random_range(0..30) == 0;
        let milliseconds = if slow { 2_500 } else { self.rng.random_range(40..220) };
        let failure = declined.then_some("card declined");

        let mut front = Call::new(0, "POST /checkout", "/checkout", milliseconds);
        front.attributes = vec![text("user.email", customer), text("order.id", &order)];
        front.failure = failure;
        let front = self.call(&trace, None, front);
        self.call(&trace, Some(&front), Call::new(1, "GET /cart", "/cart", 6));
        let mut placing = Call::new(2, "place order", "/orders", milliseconds - 8);
        placing.attributes = vec![nested("customer", &[("email", customer), ("tier", "gold")])];
        let placing = self.call(&trace, Some(&front), placing);
        let mut charge = Call::new(3, "charge card", "/charge", 18);
        charge.attributes = vec![text("payment.card_number", card), text("payment.currency", "EUR")];
        charge.failure = failure;
        self.call(&trace, Some(&placing), charge);
        let ship = Call::new(4, "ship order", "/shipments", if slow { 2_400 } else { 12 });
        let ship = self.call(&trace, Some(&placing), ship);
        self.call(&trace, Some(&ship), Call::new(4, "INSERT shipments", "", 3));

        self.log(2, 9, "INFO", text_value(&format!("order {order} placed by {customer}")), &trace);
        self.log(3, 5, "DEBUG", text_value("opening a connection to the card network"), &trace);
        if declined {
            let body = nested("", &[("message", "card declined"), ("card", card), ("order", &order)]);
            self.log(3, 17, "ERROR", body.value.unwrap_or_default(), &trace);
        }
        Example { trace_id: trace.to_vec(), spans: 6 }
    }

    /// The load balancer asks a service whether it lives: one span, and nobody ever looks at it.
    pub(super) fn health_check(&mut self) -> Example {
        let trace = self.id::<16>();
        let service = self.rng.random_range(0..SERVICES.len());
        self.call(&trace, None, Call::new(service, "GET /health", "/health", 1));
        Example { trace_id: trace.to_vec(), spans: 1 }
    }

    /// Takes what happened since the last time, grouped by service.
    pub(super) fn take(&mut self) -> Telemetry {
        let mut resource_spans = Vec::new();
        let mut resource_logs = Vec::new();
        let mut resource_metrics = Vec::new();
        for (index, service) in SERVICES.iter().enumerate() {
            let resource = resource(service);
            let spans = std::mem::take(&mut self.spans[index]);
            if !spans.is_empty() {
                let scope = ScopeSpans { scope: Some(scope()), spans, ..ScopeSpans::default() };
                let resource = Some(resource.clone());
                resource_spans.push(ResourceSpans { resource, scope_spans: vec![scope], ..ResourceSpans::default() });
            }
            let log_records = std::mem::take(&mut self.logs[index]);
            if !log_records.is_empty() {
                let scope = ScopeLogs { scope: Some(scope()), log_records, ..ScopeLogs::default() };
                let resource = Some(resource.clone());
                resource_logs.push(ResourceLogs { resource, scope_logs: vec![scope], ..ResourceLogs::default() });
            }
            let metrics = self.readings.of(index, now());
            let scope = ScopeMetrics { scope: Some(scope()), metrics, ..ScopeMetrics::default() };
            let resource = Some(resource);
            resource_metrics.push(ResourceMetrics {
                resource,
                scope_metrics: vec![scope],
                ..ResourceMetrics::default()
            });
        }
        Telemetry {
            traces: ExportTraceServiceRequest { resource_spans },
            metrics: ExportMetricsServiceRequest { resource_metrics },
            logs: ExportLogsServiceRequest { resource_logs },
        }
    }

    fn call(&mut self, trace: &[u8], parent: Option<&[u8]>, call: Call<'_>) -> Vec<u8> {
        let span_id = self.id::<8>().to_vec();
        let end = now();
        let status = if call.failure.is_some() { 500 } else { 200 };
        let mut attributes = vec![text("http.request.method", call.name.split(' ').next().unwrap_or_default())];
        if call.route.is_empty() {
            attributes = vec![text("db.system.name", "postgresql")];
        } else {
            attributes.push(text("http.route", call.route));
            attributes.push(attribute("http.response.status_code", Value::IntValue(status)));
        }
        attributes.extend(call.attributes);
        let mut span = Span {
            trace_id: trace.to_vec(),
            span_id: span_id.clone(),
            parent_span_id: parent.unwrap_or_default().to_vec(),
            name: call.name.to_owned(),
            kind: SERVER,
            start_time_unix_nano: end - call.milliseconds * 1_000_000,
            end_time_unix_nano: end,
            attributes,
            ..Span::default()
        };
        if let Some(failure) = call.failure {
            span.status = Some(Status { code: ERROR, message: failure.to_owned() });
            let attributes = vec![text("exception.type", "PaymentError"), text("exception.message", failure)];
            let name = "exception".to_owned();
            span.events.push(Event { time_unix_nano: end, name, attributes, ..Event::default() });
        }
        if let Some(spans) = self.spans.get_mut(call.service) {
            spans.push(span);
        }
        self.readings.note(call.service, call.milliseconds, call.failure.is_some());
        span_id
    }

    fn log(&mut self, service: usize, number: i32, severity: &str, body: AnyValue, trace: &[u8]) {
        let time = now();
        let record = LogRecord {
            time_unix_nano: time,
            observed_time_unix_nano: time,
            severity_number: number,
            severity_text: severity.to_owned(),
            body: Some(body),
            attributes: vec![text("thread.name", "worker-1")],
            trace_id: trace.to_vec(),
            ..LogRecord::default()
        };
        if let Some(logs) = self.logs.get_mut(service) {
            logs.push(record);
        }
    }

    /// Random, and from the system's source: two runs must not share ids.
    fn id<const N: usize>(&mut self) -> [u8; N] {
        let mut id = [0; N];
        rand::rng().fill(&mut id[..]);
        id
    }
}

impl<'a> Call<'a> {
    fn new(service: usize, name: &'a str, route: &'a str, milliseconds: u64) -> Self {
        Self { service, name, route, milliseconds, attributes: Vec::new(), failure: None }
    }
}

/// A text attribute.
pub(super) fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, Value::StringValue(value.to_owned()))
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

fn nested(key: &str, pairs: &[(&str, &str)]) -> KeyValue {
    let values = pairs.iter().map(|(key, value)| text(key, value)).collect();
    attribute(key, Value::KvlistValue(KeyValueList { values }))
}

fn text_value(value: &str) -> AnyValue {
    AnyValue { value: Some(Value::StringValue(value.to_owned())) }
}

fn resource(service: &str) -> Resource {
    let attributes = vec![text("service.name", service), text("deployment.environment.name", "demo")];
    Resource { attributes, ..Resource::default() }
}

fn scope() -> InstrumentationScope {
    InstrumentationScope { name: "shop".to_owned(), version: "1.0.0".to_owned(), ..InstrumentationScope::default() }
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happens_is_told_once_by_all_services() {
        let mut shop = Shop::open(1);
        let (order, check) = (shop.order(), shop.health_check());
        let telemetry = shop.take();
        let spans: Vec<&Span> =
            telemetry.traces.resource_spans.iter().flat_map(|r| &r.scope_spans).flat_map(|s| &s.spans).collect();
        assert_eq!(spans.len(), 7);
        assert_eq!(spans.iter().filter(|s| s.trace_id == order.trace_id).count(), order.spans);
        let health: Vec<_> = spans.iter().filter(|s| s.trace_id == check.trace_id).collect();
        assert!(health[0].attributes.contains(&text("http.route", "/health")));
        assert!(spans.iter().any(|s| s.attributes.iter().any(|a| a.key == "payment.card_number")));
        assert_eq!(telemetry.traces.resource_spans.len(), 5);
        assert_eq!(telemetry.metrics.resource_metrics.len(), 5);
        assert!(shop.take().traces.resource_spans.is_empty());
    }

    #[test]
    fn some_orders_fail() {
        let mut shop = Shop::open(2);
        for _ in 0..200 {
            shop.order();
        }
        let telemetry = shop.take();
        let logs = telemetry.logs.resource_logs.iter().flat_map(|r| &r.scope_logs).flat_map(|s| &s.log_records);
        let errors = logs.filter(|l| l.severity_text == "ERROR").count();
        assert!((1..100).contains(&errors), "{errors}");
    }
}
