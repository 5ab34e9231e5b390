//! One row per field of OTLP.

use super::table::Kind::{
    Bool, Bytes, Double, Enum, Fixed32, Fixed64, Id, Int32, Int64, Nested, Sfixed64, Sint32, String, Uint32, Uint64,
};
use super::table::{Message, one_of, optional, plain, repeated};

pub(super) static TRACES_REQUEST: Message = Message {
    name: "opentelemetry.proto.collector.trace.v1.ExportTraceServiceRequest",
    fields: &[repeated(1, "resource_spans", "resourceSpans", Nested(&RESOURCE_SPANS))],
};

pub(super) static TRACES_RESPONSE: Message = Message {
    name: "opentelemetry.proto.collector.trace.v1.ExportTraceServiceResponse",
    fields: &[optional(1, "partial_success", "partialSuccess", Nested(&TRACES_PARTIAL_SUCCESS))],
};

static TRACES_PARTIAL_SUCCESS: Message = Message {
    name: "opentelemetry.proto.collector.trace.v1.ExportTracePartialSuccess",
    fields: &[plain(1, "rejected_spans", "rejectedSpans", Int64), plain(2, "error_message", "errorMessage", String)],
};

pub(super) static METRICS_REQUEST: Message = Message {
    name: "opentelemetry.proto.collector.metrics.v1.ExportMetricsServiceRequest",
    fields: &[repeated(1, "resource_metrics", "resourceMetrics", Nested(&RESOURCE_METRICS))],
};

pub(super) static METRICS_RESPONSE: Message = Message {
    name: "opentelemetry.proto.collector.metrics.v1.ExportMetricsServiceResponse",
    fields: &[optional(1, "partial_success", "partialSuccess", Nested(&METRICS_PARTIAL_SUCCESS))],
};

static METRICS_PARTIAL_SUCCESS: Message = Message {
    name: "opentelemetry.proto.collector.metrics.v1.ExportMetricsPartialSuccess",
    fields: &[
        plain(1, "rejected_data_points", "rejectedDataPoints", Int64),
        plain(2, "error_message", "errorMessage", String),
    ],
};

pub(super) static LOGS_REQUEST: Message = Message {
    name: "opentelemetry.proto.collector.logs.v1.ExportLogsServiceRequest",
    fields: &[repeated(1, "resource_logs", "resourceLogs", Nested(&RESOURCE_LOGS))],
};

pub(super) static LOGS_RESPONSE: Message = Message {
    name: "opentelemetry.proto.collector.logs.v1.ExportLogsServiceResponse",
    fields: &[optional(1, "partial_success", "partialSuccess", Nested(&LOGS_PARTIAL_SUCCESS))],
};

static LOGS_PARTIAL_SUCCESS: Message = Message {
    name: "opentelemetry.proto.collector.logs.v1.ExportLogsPartialSuccess",
    fields: &[
        plain(1, "rejected_log_records", "rejectedLogRecords", Int64),
        plain(2, "error_message", "errorMessage", String),
    ],
};

/// What OTLP uses of it: the details are only needed in gRPC.
pub(super) static RPC_STATUS: Message = Message {
    name: "google.rpc.Status",
    fields: &[plain(1, "code", "code", Int32), plain(2, "message", "message", String)],
};

pub(super) static ANY_VALUE: Message = Message {
    name: "opentelemetry.proto.common.v1.AnyValue",
    fields: &[
        one_of(1, "string_value", "stringValue", String),
        one_of(2, "bool_value", "boolValue", Bool),
        one_of(3, "int_value", "intValue", Int64),
        one_of(4, "double_value", "doubleValue", Double),
        one_of(5, "array_value", "arrayValue", Nested(&ARRAY_VALUE)),
        one_of(6, "kvlist_value", "kvlistValue", Nested(&KEY_VALUE_LIST)),
        one_of(7, "bytes_value", "bytesValue", Bytes),
        one_of(8, "string_value_strindex", "stringValueStrindex", Int32),
    ],
};

static ARRAY_VALUE: Message = Message {
    name: "opentelemetry.proto.common.v1.ArrayValue",
    fields: &[repeated(1, "values", "values", Nested(&ANY_VALUE))],
};

static KEY_VALUE_LIST: Message = Message {
    name: "opentelemetry.proto.common.v1.KeyValueList",
    fields: &[repeated(1, "values", "values", Nested(&KEY_VALUE))],
};

static KEY_VALUE: Message = Message {
    name: "opentelemetry.proto.common.v1.KeyValue",
    fields: &[
        plain(1, "key", "key", String),
        optional(2, "value", "value", Nested(&ANY_VALUE)),
        plain(3, "key_strindex", "keyStrindex", Int32),
    ],
};

static SCOPE: Message = Message {
    name: "opentelemetry.proto.common.v1.InstrumentationScope",
    fields: &[
        plain(1, "name", "name", String),
        plain(2, "version", "version", String),
        repeated(3, "attributes", "attributes", Nested(&KEY_VALUE)),
        plain(4, "dropped_attributes_count", "droppedAttributesCount", Uint32),
    ],
};

static ENTITY_REF: Message = Message {
    name: "opentelemetry.proto.common.v1.EntityRef",
    fields: &[
        plain(1, "schema_url", "schemaUrl", String),
        plain(2, "type", "type", String),
        repeated(3, "id_keys", "idKeys", String),
        repeated(4, "description_keys", "descriptionKeys", String),
    ],
};

static RESOURCE: Message = Message {
    name: "opentelemetry.proto.resource.v1.Resource",
    fields: &[
        repeated(1, "attributes", "attributes", Nested(&KEY_VALUE)),
        plain(2, "dropped_attributes_count", "droppedAttributesCount", Uint32),
        repeated(3, "entity_refs", "entityRefs", Nested(&ENTITY_REF)),
    ],
};

static RESOURCE_SPANS: Message = Message {
    name: "opentelemetry.proto.trace.v1.ResourceSpans",
    fields: &[
        optional(1, "resource", "resource", Nested(&RESOURCE)),
        repeated(2, "scope_spans", "scopeSpans", Nested(&SCOPE_SPANS)),
        plain(3, "schema_url", "schemaUrl", String),
    ],
};

static SCOPE_SPANS: Message = Message {
    name: "opentelemetry.proto.trace.v1.ScopeSpans",
    fields: &[
        optional(1, "scope", "scope", Nested(&SCOPE)),
        repeated(2, "spans", "spans", Nested(&SPAN)),
        plain(3, "schema_url", "schemaUrl", String),
    ],
};

static SPAN: Message = Message {
    name: "opentelemetry.proto.trace.v1.Span",
    fields: &[
        plain(1, "trace_id", "traceId", Id(16)),
        plain(2, "span_id", "spanId", Id(8)),
        plain(3, "trace_state", "traceState", String),
        plain(4, "parent_span_id", "parentSpanId", Id(8)),
        plain(16, "flags", "flags", Fixed32),
        plain(5, "name", "name", String),
        plain(6, "kind", "kind", Enum(SPAN_KIND)),
        plain(7, "start_time_unix_nano", "startTimeUnixNano", Fixed64),
        plain(8, "end_time_unix_nano", "endTimeUnixNano", Fixed64),
        repeated(9, "attributes", "attributes", Nested(&KEY_VALUE)),
        plain(10, "dropped_attributes_count", "droppedAttributesCount", Uint32),
        repeated(11, "events", "events", Nested(&EVENT)),
        plain(12, "dropped_events_count", "droppedEventsCount", Uint32),
        repeated(13, "links", "links", Nested(&LINK)),
        plain(14, "dropped_links_count", "droppedLinksCount", Uint32),
        optional(15, "status", "status", Nested(&STATUS)),
    ],
};

static EVENT: Message = Message {
    name: "opentelemetry.proto.trace.v1.Span.Event",
    fields: &[
        plain(1, "time_unix_nano", "timeUnixNano", Fixed64),
        plain(2, "name", "name", String),
        repeated(3, "attributes", "attributes", Nested(&KEY_VALUE)),
        plain(4, "dropped_attributes_count", "droppedAttributesCount", Uint32),
    ],
};

static LINK: Message = Message {
    name: "opentelemetry.proto.trace.v1.Span.Link",
    fields: &[
        plain(1, "trace_id", "traceId", Id(16)),
        plain(2, "span_id", "spanId", Id(8)),
        plain(3, "trace_state", "traceState", String),
        repeated(4, "attributes", "attributes", Nested(&KEY_VALUE)),
        plain(5, "dropped_attributes_count", "droppedAttributesCount", Uint32),
        plain(6, "flags", "flags", Fixed32),
    ],
};

static STATUS: Message = Message {
    name: "opentelemetry.proto.trace.v1.Status",
    fields: &[plain(2, "message", "message", String), plain(3, "code", "code", Enum(STATUS_CODE))],
};

static RESOURCE_METRICS: Message = Message {
    name: "opentelemetry.proto.metrics.v1.ResourceMetrics",
    fields: &[
        optional(1, "resource", "resource", Nested(&RESOURCE)),
        repeated(2, "scope_metrics", "scopeMetrics", Nested(&SCOPE_METRICS)),
        plain(3, "schema_url", "schemaUrl", String),
    ],
};

static SCOPE_METRICS: Message = Message {
    name: "opentelemetry.proto.metrics.v1.ScopeMetrics",
    fields: &[
        optional(1, "scope", "scope", Nested(&SCOPE)),
        repeated(2, "metrics", "metrics", Nested(&METRIC)),
        plain(3, "schema_url", "schemaUrl", String),
    ],
};

static METRIC: Message = Message {
    name: "opentelemetry.proto.metrics.v1.Metric",
    fields: &[
        plain(1, "name", "name", String),
        plain(2, "description", "description", String),
        plain(3, "unit", "unit", String),
        one_of(5, "gauge", "gauge", Nested(&GAUGE)),
        one_of(7, "sum", "sum", Nested(&SUM)),
        one_of(9, "histogram", "histogram", Nested(&HISTOGRAM)),
        one_of(10, "exponential_histogram", "exponentialHistogram", Nested(&EXPONENTIAL_HISTOGRAM)),
        one_of(11, "summary", "summary", Nested(&SUMMARY)),
        repeated(12, "metadata", "metadata", Nested(&KEY_VALUE)),
    ],
};

static GAUGE: Message = Message {
    name: "opentelemetry.proto.metrics.v1.Gauge",
    fields: &[repeated(1, "data_points", "dataPoints", Nested(&NUMBER_DATA_POINT))],
};

static SUM: Message = Message {
    name: "opentelemetry.proto.metrics.v1.Sum",
    fields: &[
        repeated(1, "data_points", "dataPoints", Nested(&NUMBER_DATA_POINT)),
        plain(2, "aggregation_temporality", "aggregationTemporality", Enum(TEMPORALITY)),
        plain(3, "is_monotonic", "isMonotonic", Bool),
    ],
};

static HISTOGRAM: Message = Message {
    name: "opentelemetry.proto.metrics.v1.Histogram",
    fields: &[
        repeated(1, "data_points", "dataPoints", Nested(&HISTOGRAM_DATA_POINT)),
        plain(2, "aggregation_temporality", "aggregationTemporality", Enum(TEMPORALITY)),
    ],
};

static EXPONENTIAL_HISTOGRAM: Message = Message {
    name: "opentelemetry.proto.metrics.v1.ExponentialHistogram",
    fields: &[
        repeated(1, "data_points", "dataPoints", Nested(&EXPONENTIAL_HISTOGRAM_DATA_POINT)),
        plain(2, "aggregation_temporality", "aggregationTemporality", Enum(TEMPORALITY)),
    ],
};

static SUMMARY: Message = Message {
    name: "opentelemetry.proto.metrics.v1.Summary",
    fields: &[repeated(1, "data_points", "dataPoints", Nested(&SUMMARY_DATA_POINT))],
};

static NUMBER_DATA_POINT: Message = Message {
    name: "opentelemetry.proto.metrics.v1.NumberDataPoint",
    fields: &[
        repeated(7, "attributes", "attributes", Nested(&KEY_VALUE)),
        plain(2, "start_time_unix_nano", "startTimeUnixNano", Fixed64),
        plain(3, "time_unix_nano", "timeUnixNano", Fixed64),
        one_of(4, "as_double", "asDouble", Double),
        one_of(6, "as_int", "asInt", Sfixed64),
        repeated(5, "exemplars", "exemplars", Nested(&EXEMPLAR)),
        plain(8, "flags", "flags", Uint32),
    ],
};

static HISTOGRAM_DATA_POINT: Message = Message {
    name: "opentelemetry.proto.metrics.v1.HistogramDataPoint",
    fields: &[
        repeated(9, "attributes", "attributes", Nested(&KEY_VALUE)),
        plain(2, "start_time_unix_nano", "startTimeUnixNano", Fixed64),
        plain(3, "time_unix_nano", "timeUnixNano", Fixed64),
        plain(4, "count", "count", Fixed64),
        optional(5, "sum", "sum", Double),
        repeated(6, "bucket_counts", "bucketCounts", Fixed64),
        repeated(7, "explicit_bounds", "explicitBounds", Double),
        repeated(8, "exemplars", "exemplars", Nested(&EXEMPLAR)),
        plain(10, "flags", "flags", Uint32),
        optional(11, "min", "min", Double),
        optional(12, "max", "max", Double),
    ],
};

static EXPONENTIAL_HISTOGRAM_DATA_POINT: Message = Message {
    name: "opentelemetry.proto.metrics.v1.ExponentialHistogramDataPoint",
    fields: &[
        repeated(1, "attributes", "attributes", Nested(&KEY_VALUE)),
        plain(2, "start_time_unix_nano", "startTimeUnixNano", Fixed64),
        plain(3, "time_unix_nano", "timeUnixNano", Fixed64),
        plain(4, "count", "count", Fixed64),
        optional(5, "sum", "sum", Double),
        plain(6, "scale", "scale", Sint32),
        plain(7, "zero_count", "zeroCount", Fixed64),
        optional(8, "positive", "positive", Nested(&BUCKETS)),
        optional(9, "negative", "negative", Nested(&BUCKETS)),
        plain(10, "flags", "flags", Uint32),
        repeated(11, "exemplars", "exemplars", Nested(&EXEMPLAR)),
        optional(12, "min", "min", Double),
        optional(13, "max", "max", Double),
        plain(14, "zero_threshold", "zeroThreshold", Double),
    ],
};

static BUCKETS: Message = Message {
    name: "opentelemetry.proto.metrics.v1.ExponentialHistogramDataPoint.Buckets",
    fields: &[plain(1, "offset", "offset", Sint32), repeated(2, "bucket_counts", "bucketCounts", Uint64)],
};

static SUMMARY_DATA_POINT: Message = Message {
    name: "opentelemetry.proto.metrics.v1.SummaryDataPoint",
    fields: &[
        repeated(7, "attributes", "attributes", Nested(&KEY_VALUE)),
        plain(2, "start_time_unix_nano", "startTimeUnixNano", Fixed64),
        plain(3, "time_unix_nano", "timeUnixNano", Fixed64),
        plain(4, "count", "count", Fixed64),
        plain(5, "sum", "sum", Double),
        repeated(6, "quantile_values", "quantileValues", Nested(&VALUE_AT_QUANTILE)),
        plain(8, "flags", "flags", Uint32),
    ],
};

static VALUE_AT_QUANTILE: Message = Message {
    name: "opentelemetry.proto.metrics.v1.SummaryDataPoint.ValueAtQuantile",
    fields: &[plain(1, "quantile", "quantile", Double), plain(2, "value", "value", Double)],
};

static EXEMPLAR: Message = Message {
    name: "opentelemetry.proto.metrics.v1.Exemplar",
    fields: &[
        repeated(7, "filtered_attributes", "filteredAttributes", Nested(&KEY_VALUE)),
        plain(2, "time_unix_nano", "timeUnixNano", Fixed64),
        one_of(3, "as_double", "asDouble", Double),
        one_of(6, "as_int", "asInt", Sfixed64),
        plain(4, "span_id", "spanId", Id(8)),
        plain(5, "trace_id", "traceId", Id(16)),
    ],
};

static RESOURCE_LOGS: Message = Message {
    name: "opentelemetry.proto.logs.v1.ResourceLogs",
    fields: &[
        optional(1, "resource", "resource", Nested(&RESOURCE)),
        repeated(2, "scope_logs", "scopeLogs", Nested(&SCOPE_LOGS)),
        plain(3, "schema_url", "schemaUrl", String),
    ],
};

static SCOPE_LOGS: Message = Message {
    name: "opentelemetry.proto.logs.v1.ScopeLogs",
    fields: &[
        optional(1, "scope", "scope", Nested(&SCOPE)),
        repeated(2, "log_records", "logRecords", Nested(&LOG_RECORD)),
        plain(3, "schema_url", "schemaUrl", String),
    ],
};

static LOG_RECORD: Message = Message {
    name: "opentelemetry.proto.logs.v1.LogRecord",
    fields: &[
        plain(1, "time_unix_nano", "timeUnixNano", Fixed64),
        plain(11, "observed_time_unix_nano", "observedTimeUnixNano", Fixed64),
        plain(2, "severity_number", "severityNumber", Enum(SEVERITY)),
        plain(3, "severity_text", "severityText", String),
        optional(5, "body", "body", Nested(&ANY_VALUE)),
        repeated(6, "attributes", "attributes", Nested(&KEY_VALUE)),
        plain(7, "dropped_attributes_count", "droppedAttributesCount", Uint32),
        plain(8, "flags", "flags", Fixed32),
        plain(9, "trace_id", "traceId", Id(16)),
        plain(10, "span_id", "spanId", Id(8)),
        plain(12, "event_name", "eventName", String),
    ],
};

const SPAN_KIND: &[&str] = &[
    "SPAN_KIND_UNSPECIFIED",
    "SPAN_KIND_INTERNAL",
    "SPAN_KIND_SERVER",
    "SPAN_KIND_CLIENT",
    "SPAN_KIND_PRODUCER",
    "SPAN_KIND_CONSUMER",
];

const STATUS_CODE: &[&str] = &["STATUS_CODE_UNSET", "STATUS_CODE_OK", "STATUS_CODE_ERROR"];

const TEMPORALITY: &[&str] =
    &["AGGREGATION_TEMPORALITY_UNSPECIFIED", "AGGREGATION_TEMPORALITY_DELTA", "AGGREGATION_TEMPORALITY_CUMULATIVE"];

const SEVERITY: &[&str] = &[
    "SEVERITY_NUMBER_UNSPECIFIED",
    "SEVERITY_NUMBER_TRACE",
    "SEVERITY_NUMBER_TRACE2",
    "SEVERITY_NUMBER_TRACE3",
    "SEVERITY_NUMBER_TRACE4",
    "SEVERITY_NUMBER_DEBUG",
    "SEVERITY_NUMBER_DEBUG2",
    "SEVERITY_NUMBER_DEBUG3",
    "SEVERITY_NUMBER_DEBUG4",
    "SEVERITY_NUMBER_INFO",
    "SEVERITY_NUMBER_INFO2",
    "SEVERITY_NUMBER_INFO3",
    "SEVERITY_NUMBER_INFO4",
    "SEVERITY_NUMBER_WARN",
    "SEVERITY_NUMBER_WARN2",
    "SEVERITY_NUMBER_WARN3",
    "SEVERITY_NUMBER_WARN4",
    "SEVERITY_NUMBER_ERROR",
    "SEVERITY_NUMBER_ERROR2",
    "SEVERITY_NUMBER_ERROR3",
    "SEVERITY_NUMBER_ERROR4",
    "SEVERITY_NUMBER_FATAL",
    "SEVERITY_NUMBER_FATAL2",
    "SEVERITY_NUMBER_FATAL3",
    "SEVERITY_NUMBER_FATAL4",
];
