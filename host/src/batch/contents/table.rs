//! Generated from the descriptors of OTLP and tests/placement.rs: `BLESS=1 cargo test --lib every_field_of_the_descriptors`.

use super::schema::What;

/// The messages of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MessageType {
    AnyValue,
    ArrayValue,
    EntityRef,
    Exemplar,
    ExponentialHistogram,
    ExponentialHistogramDataPoint,
    ExponentialHistogramDataPointBuckets,
    ExportLogsServiceRequest,
    ExportMetricsServiceRequest,
    ExportTraceServiceRequest,
    Gauge,
    Histogram,
    HistogramDataPoint,
    InstrumentationScope,
    KeyValue,
    KeyValueList,
    LogRecord,
    Metric,
    NumberDataPoint,
    Resource,
    ResourceLogs,
    ResourceMetrics,
    ResourceSpans,
    ScopeLogs,
    ScopeMetrics,
    ScopeSpans,
    Span,
    SpanEvent,
    SpanLink,
    Status,
    Sum,
    Summary,
    SummaryDataPoint,
    SummaryDataPointValueAtQuantile,
}

impl MessageType {
    /// What each field is, by its number.
    #[inline(always)]
    pub(super) fn fields(self) -> &'static [What] {
        match self {
            MessageType::AnyValue => &ANY_VALUE,
            MessageType::ArrayValue => &ARRAY_VALUE,
            MessageType::EntityRef => &ENTITY_REF,
            MessageType::Exemplar => &EXEMPLAR,
            MessageType::ExponentialHistogram => &EXPONENTIAL_HISTOGRAM,
            MessageType::ExponentialHistogramDataPoint => &EXPONENTIAL_HISTOGRAM_DATA_POINT,
            MessageType::ExponentialHistogramDataPointBuckets => &EXPONENTIAL_HISTOGRAM_DATA_POINT_BUCKETS,
            MessageType::ExportLogsServiceRequest => &EXPORT_LOGS_SERVICE_REQUEST,
            MessageType::ExportMetricsServiceRequest => &EXPORT_METRICS_SERVICE_REQUEST,
            MessageType::ExportTraceServiceRequest => &EXPORT_TRACE_SERVICE_REQUEST,
            MessageType::Gauge => &GAUGE,
            MessageType::Histogram => &HISTOGRAM,
            MessageType::HistogramDataPoint => &HISTOGRAM_DATA_POINT,
            MessageType::InstrumentationScope => &INSTRUMENTATION_SCOPE,
            MessageType::KeyValue => &KEY_VALUE,
            MessageType::KeyValueList => &KEY_VALUE_LIST,
            MessageType::LogRecord => &LOG_RECORD,
            MessageType::Metric => &METRIC,
            MessageType::NumberDataPoint => &NUMBER_DATA_POINT,
            MessageType::Resource => &RESOURCE,
            MessageType::ResourceLogs => &RESOURCE_LOGS,
            MessageType::ResourceMetrics => &RESOURCE_METRICS,
            MessageType::ResourceSpans => &RESOURCE_SPANS,
            MessageType::ScopeLogs => &SCOPE_LOGS,
            MessageType::ScopeMetrics => &SCOPE_METRICS,
            MessageType::ScopeSpans => &SCOPE_SPANS,
            MessageType::Span => &SPAN,
            MessageType::SpanEvent => &SPAN_EVENT,
            MessageType::SpanLink => &SPAN_LINK,
            MessageType::Status => &STATUS,
            MessageType::Sum => &SUM,
            MessageType::Summary => &SUMMARY,
            MessageType::SummaryDataPoint => &SUMMARY_DATA_POINT,
            MessageType::SummaryDataPointValueAtQuantile => &SUMMARY_DATA_POINT_VALUE_AT_QUANTILE,
        }
    }
}

/// opentelemetry.proto.common.v1.AnyValue
static ANY_VALUE: [What; 9] = [
    What::Unknown,                         // no field
    What::StringValue,                     // string_value
    What::BoolValue,                       // bool_value
    What::IntValue,                        // int_value
    What::DoubleValue,                     // double_value
    What::List(MessageType::ArrayValue),   // array_value
    What::List(MessageType::KeyValueList), // kvlist_value
    What::BytesValue,                      // bytes_value
    What::StringIndex,                     // string_value_strindex
];

/// opentelemetry.proto.common.v1.ArrayValue
static ARRAY_VALUE: [What; 2] = [
    What::Unknown,  // no field
    What::Elements, // values
];

/// opentelemetry.proto.common.v1.EntityRef
static ENTITY_REF: [What; 5] = [
    What::Unknown, // no field
    What::Text(3), // schema_url
    What::Text(3), // type
    What::Text(3), // id_keys
    What::Text(3), // description_keys
];

/// opentelemetry.proto.metrics.v1.Exemplar
static EXEMPLAR: [What; 8] = [
    What::Unknown,        // no field
    What::Unknown,        // no field
    What::Fixed64,        // time_unix_nano
    What::Fixed64,        // as_double
    What::SpanId(29),     // span_id
    What::TraceId(29),    // trace_id
    What::Fixed64,        // as_int
    What::Attributes(28), // filtered_attributes
];

/// opentelemetry.proto.metrics.v1.ExponentialHistogram
static EXPONENTIAL_HISTOGRAM: [What; 3] = [
    What::Unknown,                                            // no field
    What::Points(MessageType::ExponentialHistogramDataPoint), // data_points
    What::Varint,                                             // aggregation_temporality
];

/// opentelemetry.proto.metrics.v1.ExponentialHistogramDataPoint
static EXPONENTIAL_HISTOGRAM_DATA_POINT: [What; 15] = [
    What::Unknown,                                                    // no field
    What::Attributes(27),                                             // attributes
    What::Fixed64,                                                    // start_time_unix_nano
    What::Fixed64,                                                    // time_unix_nano
    What::Fixed64,                                                    // count
    What::Fixed64,                                                    // sum
    What::Varint,                                                     // scale
    What::Fixed64,                                                    // zero_count
    What::Message(MessageType::ExponentialHistogramDataPointBuckets), // positive
    What::Message(MessageType::ExponentialHistogramDataPointBuckets), // negative
    What::Varint,                                                     // flags
    What::Message(MessageType::Exemplar),                             // exemplars
    What::Fixed64,                                                    // min
    What::Fixed64,                                                    // max
    What::Fixed64,                                                    // zero_threshold
];

/// opentelemetry.proto.metrics.v1.ExponentialHistogramDataPoint.Buckets
static EXPONENTIAL_HISTOGRAM_DATA_POINT_BUCKETS: [What; 3] = [
    What::Unknown, // no field
    What::Varint,  // offset
    What::Varints, // bucket_counts
];

/// opentelemetry.proto.collector.logs.v1.ExportLogsServiceRequest
static EXPORT_LOGS_SERVICE_REQUEST: [What; 2] = [
    What::Unknown,                         // no field
    What::Rows(MessageType::ResourceLogs), // resource_logs
];

/// opentelemetry.proto.collector.metrics.v1.ExportMetricsServiceRequest
static EXPORT_METRICS_SERVICE_REQUEST: [What; 2] = [
    What::Unknown,                            // no field
    What::Rows(MessageType::ResourceMetrics), // resource_metrics
];

/// opentelemetry.proto.collector.trace.v1.ExportTraceServiceRequest
static EXPORT_TRACE_SERVICE_REQUEST: [What; 2] = [
    What::Unknown,                          // no field
    What::Rows(MessageType::ResourceSpans), // resource_spans
];

/// opentelemetry.proto.metrics.v1.Gauge
static GAUGE: [What; 2] = [
    What::Unknown,                              // no field
    What::Points(MessageType::NumberDataPoint), // data_points
];

/// opentelemetry.proto.metrics.v1.Histogram
static HISTOGRAM: [What; 3] = [
    What::Unknown,                                 // no field
    What::Points(MessageType::HistogramDataPoint), // data_points
    What::Varint,                                  // aggregation_temporality
];

/// opentelemetry.proto.metrics.v1.HistogramDataPoint
static HISTOGRAM_DATA_POINT: [What; 13] = [
    What::Unknown,                        // no field
    What::Unknown,                        // no field
    What::Fixed64,                        // start_time_unix_nano
    What::Fixed64,                        // time_unix_nano
    What::Fixed64,                        // count
    What::Fixed64,                        // sum
    What::Fixed64s,                       // bucket_counts
    What::Fixed64s,                       // explicit_bounds
    What::Message(MessageType::Exemplar), // exemplars
    What::Attributes(27),                 // attributes
    What::Varint,                         // flags
    What::Fixed64,                        // min
    What::Fixed64,                        // max
];

/// opentelemetry.proto.common.v1.InstrumentationScope
static INSTRUMENTATION_SCOPE: [What; 5] = [
    What::Unknown,       // no field
    What::Text(4),       // name
    What::Text(5),       // version
    What::Attributes(6), // attributes
    What::Varint,        // dropped_attributes_count
];

/// opentelemetry.proto.common.v1.KeyValue
static KEY_VALUE: [What; 4] = [
    What::Unknown, // no field
    What::Key,     // key
    What::Value,   // value
    What::Varint,  // key_strindex
];

/// opentelemetry.proto.common.v1.KeyValueList
static KEY_VALUE_LIST: [What; 2] = [
    What::Unknown, // no field
    What::Entries, // values
];

/// opentelemetry.proto.logs.v1.LogRecord
static LOG_RECORD: [What; 13] = [
    What::Unknown,        // no field
    What::Fixed64,        // time_unix_nano
    What::Varint,         // severity_number
    What::Text(18),       // severity_text
    What::Unknown,        // no field
    What::AnyValue(19),   // body
    What::Attributes(20), // attributes
    What::Varint,         // dropped_attributes_count
    What::Fixed32,        // flags
    What::TraceId(22),    // trace_id
    What::SpanId(22),     // span_id
    What::Fixed64,        // observed_time_unix_nano
    What::Text(21),       // event_name
];

/// opentelemetry.proto.metrics.v1.Metric
static METRIC: [What; 13] = [
    What::Unknown,                                      // no field
    What::Text(23),                                     // name
    What::Text(24),                                     // description
    What::Text(25),                                     // unit
    What::Unknown,                                      // no field
    What::Container(MessageType::Gauge),                // gauge
    What::Unknown,                                      // no field
    What::Container(MessageType::Sum),                  // sum
    What::Unknown,                                      // no field
    What::Container(MessageType::Histogram),            // histogram
    What::Container(MessageType::ExponentialHistogram), // exponential_histogram
    What::Container(MessageType::Summary),              // summary
    What::Attributes(26),                               // metadata
];

/// opentelemetry.proto.metrics.v1.NumberDataPoint
static NUMBER_DATA_POINT: [What; 9] = [
    What::Unknown,                        // no field
    What::Unknown,                        // no field
    What::Fixed64,                        // start_time_unix_nano
    What::Fixed64,                        // time_unix_nano
    What::Fixed64,                        // as_double
    What::Message(MessageType::Exemplar), // exemplars
    What::Fixed64,                        // as_int
    What::Attributes(27),                 // attributes
    What::Varint,                         // flags
];

/// opentelemetry.proto.resource.v1.Resource
static RESOURCE: [What; 4] = [
    What::Unknown,                         // no field
    What::Attributes(1),                   // attributes
    What::Varint,                          // dropped_attributes_count
    What::Message(MessageType::EntityRef), // entity_refs
];

/// opentelemetry.proto.logs.v1.ResourceLogs
static RESOURCE_LOGS: [What; 4] = [
    What::Unknown,                      // no field
    What::Head(MessageType::Resource),  // resource
    What::Rows(MessageType::ScopeLogs), // scope_logs
    What::Text(2),                      // schema_url
];

/// opentelemetry.proto.metrics.v1.ResourceMetrics
static RESOURCE_METRICS: [What; 4] = [
    What::Unknown,                         // no field
    What::Head(MessageType::Resource),     // resource
    What::Rows(MessageType::ScopeMetrics), // scope_metrics
    What::Text(2),                         // schema_url
];

/// opentelemetry.proto.trace.v1.ResourceSpans
static RESOURCE_SPANS: [What; 4] = [
    What::Unknown,                       // no field
    What::Head(MessageType::Resource),   // resource
    What::Rows(MessageType::ScopeSpans), // scope_spans
    What::Text(2),                       // schema_url
];

/// opentelemetry.proto.logs.v1.ScopeLogs
static SCOPE_LOGS: [What; 4] = [
    What::Unknown,                                 // no field
    What::Head(MessageType::InstrumentationScope), // scope
    What::Rows(MessageType::LogRecord),            // log_records
    What::Text(7),                                 // schema_url
];

/// opentelemetry.proto.metrics.v1.ScopeMetrics
static SCOPE_METRICS: [What; 4] = [
    What::Unknown,                                 // no field
    What::Head(MessageType::InstrumentationScope), // scope
    What::Rows(MessageType::Metric),               // metrics
    What::Text(7),                                 // schema_url
];

/// opentelemetry.proto.trace.v1.ScopeSpans
static SCOPE_SPANS: [What; 4] = [
    What::Unknown,                                 // no field
    What::Head(MessageType::InstrumentationScope), // scope
    What::Rows(MessageType::Span),                 // spans
    What::Text(7),                                 // schema_url
];

/// opentelemetry.proto.trace.v1.Span
static SPAN: [What; 17] = [
    What::Unknown,                        // no field
    What::TraceId(12),                    // trace_id
    What::SpanId(12),                     // span_id
    What::Text(9),                        // trace_state
    What::SpanId(12),                     // parent_span_id
    What::Text(8),                        // name
    What::Varint,                         // kind
    What::Fixed64,                        // start_time_unix_nano
    What::Fixed64,                        // end_time_unix_nano
    What::Attributes(10),                 // attributes
    What::Varint,                         // dropped_attributes_count
    What::Events(MessageType::SpanEvent), // events
    What::Varint,                         // dropped_events_count
    What::Links(MessageType::SpanLink),   // links
    What::Varint,                         // dropped_links_count
    What::Message(MessageType::Status),   // status
    What::Fixed32,                        // flags
];

/// opentelemetry.proto.trace.v1.Span.Event
static SPAN_EVENT: [What; 5] = [
    What::Unknown,        // no field
    What::Fixed64,        // time_unix_nano
    What::Text(13),       // name
    What::Attributes(14), // attributes
    What::Varint,         // dropped_attributes_count
];

/// opentelemetry.proto.trace.v1.Span.Link
static SPAN_LINK: [What; 7] = [
    What::Unknown,        // no field
    What::TraceId(17),    // trace_id
    What::SpanId(17),     // span_id
    What::Text(15),       // trace_state
    What::Attributes(16), // attributes
    What::Varint,         // dropped_attributes_count
    What::Fixed32,        // flags
];

/// opentelemetry.proto.trace.v1.Status
static STATUS: [What; 4] = [
    What::Unknown,  // no field
    What::Unknown,  // no field
    What::Text(11), // message
    What::Varint,   // code
];

/// opentelemetry.proto.metrics.v1.Sum
static SUM: [What; 4] = [
    What::Unknown,                              // no field
    What::Points(MessageType::NumberDataPoint), // data_points
    What::Varint,                               // aggregation_temporality
    What::Varint,                               // is_monotonic
];

/// opentelemetry.proto.metrics.v1.Summary
static SUMMARY: [What; 2] = [
    What::Unknown,                               // no field
    What::Points(MessageType::SummaryDataPoint), // data_points
];

/// opentelemetry.proto.metrics.v1.SummaryDataPoint
static SUMMARY_DATA_POINT: [What; 9] = [
    What::Unknown,                                               // no field
    What::Unknown,                                               // no field
    What::Fixed64,                                               // start_time_unix_nano
    What::Fixed64,                                               // time_unix_nano
    What::Fixed64,                                               // count
    What::Fixed64,                                               // sum
    What::Message(MessageType::SummaryDataPointValueAtQuantile), // quantile_values
    What::Attributes(27),                                        // attributes
    What::Varint,                                                // flags
];

/// opentelemetry.proto.metrics.v1.SummaryDataPoint.ValueAtQuantile
static SUMMARY_DATA_POINT_VALUE_AT_QUANTILE: [What; 3] = [
    What::Unknown, // no field
    What::Fixed64, // quantile
    What::Fixed64, // value
];
