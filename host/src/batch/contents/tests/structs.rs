//! The contents of decoded requests.

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, EntityRef, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{Exemplar, Metric};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;

use super::*;

/// Puts something into the fields that the common generator leaves empty.
pub fn enriched(mut request: Request, rng: &mut StdRng) -> Request {
    let entity = |rng: &mut StdRng| EntityRef {
        schema_url: "https://entity".to_owned(),
        r#type: ["", "service"][rng.random_range(0..2)].to_owned(),
        id_keys: vec!["service.name".to_owned(), String::new()],
        description_keys: vec!["k".to_owned()],
    };
    let mut resources: Vec<&mut Option<Resource>> = match &mut request {
        Request::Traces(request) => request.resource_spans.iter_mut().map(|of| &mut of.resource).collect(),
        Request::Metrics(request) => request.resource_metrics.iter_mut().map(|of| &mut of.resource).collect(),
        Request::Logs(request) => request.resource_logs.iter_mut().map(|of| &mut of.resource).collect(),
    };
    for resource in resources.iter_mut().filter_map(|resource| resource.as_mut()) {
        resource.entity_refs = (0..rng.random_range(0..3)).map(|_| entity(rng)).collect();
    }
    match &mut request {
        Request::Traces(request) => {
            let scopes = request.resource_spans.iter_mut().flat_map(|of| &mut of.scope_spans);
            for span in scopes.flat_map(|of| &mut of.spans) {
                odd_id(&mut span.trace_id, rng);
                odd_id(&mut span.parent_span_id, rng);
                span.links.iter_mut().for_each(|link| odd_id(&mut link.span_id, rng));
            }
        }
        Request::Logs(request) => {
            let scopes = request.resource_logs.iter_mut().flat_map(|of| &mut of.scope_logs);
            scopes.flat_map(|of| &mut of.log_records).for_each(|log| odd_id(&mut log.span_id, rng));
        }
        Request::Metrics(request) => {
            let scopes = request.resource_metrics.iter_mut().flat_map(|of| &mut of.scope_metrics);
            for metric in scopes.flat_map(|of| &mut of.metrics) {
                exemplars_of(metric).into_iter().for_each(|exemplars| {
                    *exemplars = (0..rng.random_range(0..3)).map(|_| exemplar(rng)).collect();
                });
            }
        }
    }
    request
}

fn exemplar(rng: &mut StdRng) -> Exemplar {
    let mut exemplar = Exemplar {
        filtered_attributes: generate::attributes(rng),
        trace_id: vec![1; 16],
        span_id: vec![2; 8],
        time_unix_nano: 7,
        ..Exemplar::default()
    };
    odd_id(&mut exemplar.trace_id, rng);
    odd_id(&mut exemplar.span_id, rng);
    exemplar
}

fn exemplars_of(metric: &mut Metric) -> Vec<&mut Vec<Exemplar>> {
    match &mut metric.data {
        Some(Data::Gauge(data)) => data.data_points.iter_mut().map(|point| &mut point.exemplars).collect(),
        Some(Data::Sum(data)) => data.data_points.iter_mut().map(|point| &mut point.exemplars).collect(),
        Some(Data::Histogram(data)) => data.data_points.iter_mut().map(|point| &mut point.exemplars).collect(),
        Some(Data::ExponentialHistogram(data)) => {
            data.data_points.iter_mut().map(|point| &mut point.exemplars).collect()
        }
        Some(Data::Summary(_)) | None => Vec::new(),
    }
}

/// Some ids are texts or too long.
fn odd_id(id: &mut Vec<u8>, rng: &mut StdRng) {
    match rng.random_range(0..8) {
        0 => *id = b"4111111111111111"[..id.len().min(16)].to_vec(),
        1 => *id = b"alice@example.org".to_vec(),
        2 => *id = vec![0xff],
        _ => {}
    }
}

/// Leaves and keys of one request after the other.
#[derive(Default)]
pub struct Found {
    pub leaves: Vec<(Leaf, Rows)>,
    pub keys: Vec<(Key, Rows)>,
    rows: Rows,
    next: HashMap<Level, u32>,
}

impl Found {
    pub fn add(&mut self, segment: usize, request: &Request) {
        macro_rules! envelopes {
            ($resources:expr, $scopes:ident, $items:ident, $item:ident) => {
                for resource in $resources {
                    self.rows = Rows { segment, resource: Some(self.row(Level::Resource)), ..Rows::default() };
                    self.resource(resource.resource.as_ref());
                    self.text(2, &resource.schema_url);
                    for scope in &resource.$scopes {
                        self.rows = Rows { scope: Some(self.row(Level::Scope)), item: None, below: None, ..self.rows };
                        self.scope(scope.scope.as_ref());
                        self.text(7, &scope.schema_url);
                        for item in &scope.$items {
                            self.rows = Rows { item: Some(self.row(Level::Item)), below: None, ..self.rows };
                            self.$item(item);
                        }
                    }
                }
            };
        }
        match request {
            Request::Traces(request) => envelopes!(&request.resource_spans, scope_spans, spans, span),
            Request::Logs(request) => envelopes!(&request.resource_logs, scope_logs, log_records, log),
            Request::Metrics(request) => envelopes!(&request.resource_metrics, scope_metrics, metrics, metric),
        }
    }

    fn row(&mut self, level: Level) -> u32 {
        let next = self.next.entry(level).or_default();
        *next += 1;
        *next - 1
    }

    fn below(&mut self, level: Level) {
        self.rows.below = Some((level, self.row(level)));
    }

    fn resource(&mut self, resource: Option<&Resource>) {
        let Some(resource) = resource else { return };
        self.attributes(1, &resource.attributes);
        for entity in &resource.entity_refs {
            self.text(3, &entity.schema_url);
            self.text(3, &entity.r#type);
            let keys = entity.id_keys.iter().chain(&entity.description_keys);
            keys.for_each(|key| self.leaf(3, None, 1, key.as_bytes()));
        }
    }

    fn scope(&mut self, scope: Option<&InstrumentationScope>) {
        let Some(scope) = scope else { return };
        self.text(4, &scope.name);
        self.text(5, &scope.version);
        self.attributes(6, &scope.attributes);
    }

    fn span(&mut self, span: &Span) {
        self.text(8, &span.name);
        self.text(9, &span.trace_state);
        self.attributes(10, &span.attributes);
        self.text(11, span.status.as_ref().map_or("", |status| &status.message));
        self.id(12, 16, &span.trace_id);
        self.id(12, 8, &span.span_id);
        self.id(12, 8, &span.parent_span_id);
        for event in &span.events {
            self.below(Level::Event);
            self.text(13, &event.name);
            self.attributes(14, &event.attributes);
        }
        for link in &span.links {
            self.below(Level::Link);
            self.text(15, &link.trace_state);
            self.attributes(16, &link.attributes);
            self.id(17, 16, &link.trace_id);
            self.id(17, 8, &link.span_id);
        }
    }

    fn log(&mut self, log: &LogRecord) {
        self.text(18, &log.severity_text);
        if let Some(body) = &log.body {
            self.any_value(19, None, Some(body));
        }
        self.attributes(20, &log.attributes);
        self.text(21, &log.event_name);
        self.id(22, 16, &log.trace_id);
        self.id(22, 8, &log.span_id);
    }

    fn metric(&mut self, metric: &Metric) {
        self.text(23, &metric.name);
        self.text(24, &metric.description);
        self.text(25, &metric.unit);
        self.attributes(26, &metric.metadata);
        macro_rules! points {
            ($data:expr) => {
                for point in &$data.data_points {
                    self.below(Level::Point);
                    self.attributes(27, &point.attributes);
                    for exemplar in &point.exemplars {
                        self.attributes(28, &exemplar.filtered_attributes);
                        self.id(29, 16, &exemplar.trace_id);
                        self.id(29, 8, &exemplar.span_id);
                    }
                }
            };
        }
        match &metric.data {
            None => {}
            Some(Data::Gauge(data)) => points!(data),
            Some(Data::Sum(data)) => points!(data),
            Some(Data::Histogram(data)) => points!(data),
            Some(Data::ExponentialHistogram(data)) => points!(data),
            Some(Data::Summary(data)) => {
                for point in &data.data_points {
                    self.below(Level::Point);
                    self.attributes(27, &point.attributes);
                }
            }
        }
    }

    fn attributes(&mut self, place: u8, attributes: &[KeyValue]) {
        for attribute in attributes {
            self.keys.push(((place, attribute.key.clone().into_bytes()), self.rows));
            self.any_value(place, Some((place, &attribute.key)), attribute.value.as_ref());
        }
    }

    fn any_value(&mut self, place: u8, key: Option<(u8, &str)>, value: Option<&AnyValue>) {
        match value.and_then(|value| value.value.as_ref()) {
            None | Some(Value::StringValueStrindex(_)) => self.leaf(place, key, 8, b""),
            Some(Value::StringValue(text)) => self.leaf(place, key, 1, text.as_bytes()),
            Some(Value::BoolValue(value)) => self.leaf(place, key, 2, &[u8::from(*value)]),
            Some(Value::IntValue(value)) => self.leaf(place, key, 3, &value.to_le_bytes()),
            Some(Value::DoubleValue(value)) => self.leaf(place, key, 4, &value.to_le_bytes()),
            Some(Value::BytesValue(bytes)) => self.leaf(place, key, 5, bytes),
            Some(Value::ArrayValue(list)) => {
                list.values.iter().for_each(|value| self.any_value(place | 128, key, Some(value)));
            }
            Some(Value::KvlistValue(map)) => self.attributes(place | 128, &map.values),
        }
    }

    /// Empty texts are not sent.
    fn text(&mut self, place: u8, text: &str) {
        if !text.is_empty() {
            self.leaf(place, None, 1, text.as_bytes());
        }
    }

    fn id(&mut self, place: u8, length: usize, id: &[u8]) {
        let is_id = id.is_empty() || (id.len() == length && id.iter().any(|byte| *byte < b' ' || *byte > b'~'));
        if !is_id {
            self.leaf(place, None, 5, id);
        }
    }

    fn leaf(&mut self, place: u8, key: Option<(u8, &str)>, kind: u8, bytes: &[u8]) {
        let key = key.map(|(place, key)| (place, key.as_bytes().to_vec()));
        self.leaves.push(((place, key, kind, bytes.to_vec()), self.rows));
    }
}
