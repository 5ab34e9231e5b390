//! Where every text-bearing field of OTLP belongs, and the table that follows from it and from the descriptors.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorSet};

/// What a field is that its type alone does not say.
#[derive(Clone, Copy)]
pub enum Role {
    Text(u8),
    TraceId(u8),
    SpanId(u8),
    Attributes(u8),
    AnyValue(u8),
    /// Rows of the index, and what holds them.
    Rows(&'static str),
    /// As it is named in `What`.
    Own(&'static str),
}

/// By the names of the fields: their places, as numbered in wit/telemetry.wit.
pub const PLACEMENT: &[(&str, Role)] = &[
    ("collector.trace.v1.ExportTraceServiceRequest.resource_spans", Role::Rows("Rows")),
    ("collector.metrics.v1.ExportMetricsServiceRequest.resource_metrics", Role::Rows("Rows")),
    ("collector.logs.v1.ExportLogsServiceRequest.resource_logs", Role::Rows("Rows")),
    ("trace.v1.ResourceSpans.resource", Role::Rows("Head")),
    ("trace.v1.ResourceSpans.scope_spans", Role::Rows("Rows")),
    ("trace.v1.ResourceSpans.schema_url", Role::Text(2)),
    ("trace.v1.ScopeSpans.scope", Role::Rows("Head")),
    ("trace.v1.ScopeSpans.spans", Role::Rows("Rows")),
    ("trace.v1.ScopeSpans.schema_url", Role::Text(7)),
    ("metrics.v1.ResourceMetrics.resource", Role::Rows("Head")),
    ("metrics.v1.ResourceMetrics.scope_metrics", Role::Rows("Rows")),
    ("metrics.v1.ResourceMetrics.schema_url", Role::Text(2)),
    ("metrics.v1.ScopeMetrics.scope", Role::Rows("Head")),
    ("metrics.v1.ScopeMetrics.metrics", Role::Rows("Rows")),
    ("metrics.v1.ScopeMetrics.schema_url", Role::Text(7)),
    ("logs.v1.ResourceLogs.resource", Role::Rows("Head")),
    ("logs.v1.ResourceLogs.scope_logs", Role::Rows("Rows")),
    ("logs.v1.ResourceLogs.schema_url", Role::Text(2)),
    ("logs.v1.ScopeLogs.scope", Role::Rows("Head")),
    ("logs.v1.ScopeLogs.log_records", Role::Rows("Rows")),
    ("logs.v1.ScopeLogs.schema_url", Role::Text(7)),
    ("resource.v1.Resource.attributes", Role::Attributes(1)),
    ("common.v1.EntityRef.schema_url", Role::Text(3)),
    ("common.v1.EntityRef.type", Role::Text(3)),
    ("common.v1.EntityRef.id_keys", Role::Text(3)),
    ("common.v1.EntityRef.description_keys", Role::Text(3)),
    ("common.v1.InstrumentationScope.name", Role::Text(4)),
    ("common.v1.InstrumentationScope.version", Role::Text(5)),
    ("common.v1.InstrumentationScope.attributes", Role::Attributes(6)),
    ("trace.v1.Span.name", Role::Text(8)),
    ("trace.v1.Span.trace_state", Role::Text(9)),
    ("trace.v1.Span.attributes", Role::Attributes(10)),
    ("trace.v1.Status.message", Role::Text(11)),
    ("trace.v1.Span.trace_id", Role::TraceId(12)),
    ("trace.v1.Span.span_id", Role::SpanId(12)),
    ("trace.v1.Span.parent_span_id", Role::SpanId(12)),
    ("trace.v1.Span.events", Role::Rows("Events")),
    ("trace.v1.Span.Event.name", Role::Text(13)),
    ("trace.v1.Span.Event.attributes", Role::Attributes(14)),
    ("trace.v1.Span.links", Role::Rows("Links")),
    ("trace.v1.Span.Link.trace_state", Role::Text(15)),
    ("trace.v1.Span.Link.attributes", Role::Attributes(16)),
    ("trace.v1.Span.Link.trace_id", Role::TraceId(17)),
    ("trace.v1.Span.Link.span_id", Role::SpanId(17)),
    ("logs.v1.LogRecord.severity_text", Role::Text(18)),
    ("logs.v1.LogRecord.body", Role::AnyValue(19)),
    ("logs.v1.LogRecord.attributes", Role::Attributes(20)),
    ("logs.v1.LogRecord.event_name", Role::Text(21)),
    ("logs.v1.LogRecord.trace_id", Role::TraceId(22)),
    ("logs.v1.LogRecord.span_id", Role::SpanId(22)),
    ("metrics.v1.Metric.name", Role::Text(23)),
    ("metrics.v1.Metric.description", Role::Text(24)),
    ("metrics.v1.Metric.unit", Role::Text(25)),
    ("metrics.v1.Metric.metadata", Role::Attributes(26)),
    ("metrics.v1.Metric.gauge", Role::Rows("Container")),
    ("metrics.v1.Metric.sum", Role::Rows("Container")),
    ("metrics.v1.Metric.histogram", Role::Rows("Container")),
    ("metrics.v1.Metric.exponential_histogram", Role::Rows("Container")),
    ("metrics.v1.Metric.summary", Role::Rows("Container")),
    ("metrics.v1.Gauge.data_points", Role::Rows("Points")),
    ("metrics.v1.Sum.data_points", Role::Rows("Points")),
    ("metrics.v1.Histogram.data_points", Role::Rows("Points")),
    ("metrics.v1.ExponentialHistogram.data_points", Role::Rows("Points")),
    ("metrics.v1.Summary.data_points", Role::Rows("Points")),
    ("metrics.v1.NumberDataPoint.attributes", Role::Attributes(27)),
    ("metrics.v1.HistogramDataPoint.attributes", Role::Attributes(27)),
    ("metrics.v1.ExponentialHistogramDataPoint.attributes", Role::Attributes(27)),
    ("metrics.v1.SummaryDataPoint.attributes", Role::Attributes(27)),
    ("metrics.v1.Exemplar.filtered_attributes", Role::Attributes(28)),
    ("metrics.v1.Exemplar.trace_id", Role::TraceId(29)),
    ("metrics.v1.Exemplar.span_id", Role::SpanId(29)),
    ("common.v1.KeyValue.key", Role::Own("Key")),
    ("common.v1.KeyValue.value", Role::Own("Value")),
    // Indices into the string table of profiles, which no other signal has: numbers, whatever they stand for there.
    ("common.v1.KeyValue.key_strindex", Role::Own("Varint")),
    ("common.v1.AnyValue.string_value_strindex", Role::Own("StringIndex")),
    ("common.v1.AnyValue.string_value", Role::Own("StringValue")),
    ("common.v1.AnyValue.bool_value", Role::Own("BoolValue")),
    ("common.v1.AnyValue.int_value", Role::Own("IntValue")),
    ("common.v1.AnyValue.double_value", Role::Own("DoubleValue")),
    ("common.v1.AnyValue.array_value", Role::Rows("List")),
    ("common.v1.AnyValue.kvlist_value", Role::Rows("List")),
    ("common.v1.AnyValue.bytes_value", Role::Own("BytesValue")),
    ("common.v1.KeyValueList.values", Role::Own("Entries")),
    ("common.v1.ArrayValue.values", Role::Own("Elements")),
];

const PACKAGE: &str = ".opentelemetry.proto.";
const REQUESTS: [&str; 3] = [
    "collector.trace.v1.ExportTraceServiceRequest",
    "collector.metrics.v1.ExportMetricsServiceRequest",
    "collector.logs.v1.ExportLogsServiceRequest",
];

#[test]
fn every_field_of_the_descriptors_is_placed() {
    let table = table(&descriptors()).expect("every field is placed");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/batch/contents/table.rs");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, &table).expect("can be written");
    }
    let written = std::fs::read_to_string(&path).expect("is there");
    assert!(written == table, "contents/table.rs is not that of the descriptors: look at what is new, then BLESS=1");
}

#[test]
fn a_new_field_that_can_hold_text_must_be_placed() {
    let new = |name: &str, kind: Type, type_name: Option<&str>| FieldDescriptorProto {
        name: Some(name.to_owned()),
        number: Some(30),
        label: Some(Label::Optional as i32),
        r#type: Some(kind as i32),
        type_name: type_name.map(str::to_owned),
        ..FieldDescriptorProto::default()
    };
    let known = table(&descriptors()).expect("every field is placed");
    for (kind, type_name) in [
        (Type::String, None),
        (Type::Bytes, None),
        (Type::Message, Some(".opentelemetry.proto.common.v1.AnyValue")),
        (Type::Message, Some(".opentelemetry.proto.common.v1.KeyValue")),
        (Type::Group, None),
    ] {
        let mut with = descriptors();
        message_mut(&mut with, "trace.v1.Status").field.push(new("reason", kind, type_name));
        assert_eq!(table(&with).expect_err("not placed"), ["trace.v1.Status.reason"]);
    }
    let mut with = descriptors();
    message_mut(&mut with, "trace.v1.Status").field.push(new("count", Type::Uint32, None));
    assert_ne!(table(&with).expect("a number"), known, "a new number is seen too");
}

/// Messages by their names without the package's.
type Messages<'a> = BTreeMap<String, &'a DescriptorProto>;

fn messages(descriptors: &FileDescriptorSet) -> Messages<'_> {
    fn add<'a>(prefix: &str, message: &'a DescriptorProto, to: &mut Messages<'a>) {
        let name = format!("{prefix}.{}", message.name());
        message.nested_type.iter().for_each(|inner| add(&name, inner, to));
        to.insert(name, message);
    }
    let mut found = Messages::new();
    for file in &descriptors.file {
        let package = format!(".{}", file.package());
        let Some(package) = package.strip_prefix(PACKAGE) else { continue };
        file.message_type.iter().for_each(|message| add(package, message, &mut found));
    }
    found
}

fn message_mut<'a>(descriptors: &'a mut FileDescriptorSet, name: &str) -> &'a mut DescriptorProto {
    let (package, name) = name.rsplit_once('.').expect("a package");
    let files = descriptors.file.iter_mut();
    let mut inside = files.filter(|file| file.package().ends_with(package)).flat_map(|file| &mut file.message_type);
    inside.find(|message| message.name() == name).expect("is there")
}

/// The source of `table.rs`; as error, the fields that nobody placed.
fn table(descriptors: &FileDescriptorSet) -> Result<String, Vec<String>> {
    let messages = messages(descriptors);
    let mut found: BTreeMap<String, String> = BTreeMap::new();
    let mut unplaced = Vec::new();
    let mut placed = BTreeSet::new();
    let mut open: Vec<String> = REQUESTS.iter().map(|name| (*name).to_owned()).collect();
    while let Some(name) = open.pop() {
        if found.contains_key(&name) {
            continue;
        }
        let mut fields: BTreeMap<i32, (String, &str)> = BTreeMap::new();
        for field in &messages[&name].field {
            let full = format!("{name}.{}", field.name());
            let message = field.type_name().strip_prefix(PACKAGE).filter(|_| field.r#type() == Type::Message);
            open.extend(message.map(str::to_owned));
            let role = PLACEMENT.iter().find(|(placed, _)| *placed == full).map(|(_, role)| *role);
            placed.extend(role.map(|_| full.clone()));
            match what(field, message, role) {
                Some(what) => drop(fields.insert(field.number(), (format!("What::{what},"), field.name()))),
                None => unplaced.push(full),
            }
        }
        let width =
            fields.values().map(|(what, _)| what.len()).chain(["What::Unknown,".len()]).max().unwrap_or_default();
        let rows = (0..=fields.keys().max().copied().unwrap_or_default()).map(|number| match fields.get(&number) {
            Some((what, name)) => format!("    {what:width$} // {name}\n"),
            None => format!("    {:width$} // no field\n", "What::Unknown,"),
        });
        found.insert(name, rows.collect());
    }
    for (name, _) in PLACEMENT.iter().filter(|(name, _)| !placed.contains(*name)) {
        unplaced.push(format!("{name} is placed but does not exist"));
    }
    if unplaced.is_empty() { Ok(source(&found)) } else { Err(unplaced) }
}

/// A variant of `What`.
fn what(field: &FieldDescriptorProto, message: Option<&str>, role: Option<Role>) -> Option<String> {
    let repeated = field.label() == Label::Repeated;
    let is_text = matches!(field.r#type(), Type::String | Type::Bytes);
    Some(match (role, message) {
        (Some(Role::Text(place)), None) if is_text => format!("Text({place})"),
        (Some(Role::TraceId(place)), None) if is_text => format!("TraceId({place})"),
        (Some(Role::SpanId(place)), None) if is_text => format!("SpanId({place})"),
        (Some(Role::Attributes(place)), Some("common.v1.KeyValue")) => format!("Attributes({place})"),
        (Some(Role::AnyValue(place)), Some("common.v1.AnyValue")) => format!("AnyValue({place})"),
        (Some(Role::Rows(variant)), Some(message)) => format!("{variant}(MessageType::{})", type_name(message)),
        (Some(Role::Own(variant)), _) => variant.to_owned(),
        // Their places are those of the fields that hold them.
        (None, Some("common.v1.KeyValue" | "common.v1.AnyValue")) => return None,
        (None, Some(message)) => format!("Message(MessageType::{})", type_name(message)),
        (None, None) => match field.r#type() {
            Type::Double | Type::Fixed64 | Type::Sfixed64 => if repeated { "Fixed64s" } else { "Fixed64" }.to_owned(),
            Type::Float | Type::Fixed32 | Type::Sfixed32 if !repeated => "Fixed32".to_owned(),
            Type::Int32
            | Type::Int64
            | Type::Uint32
            | Type::Uint64
            | Type::Sint32
            | Type::Sint64
            | Type::Bool
            | Type::Enum => if repeated { "Varints" } else { "Varint" }.to_owned(),
            _ => return None,
        },
        _ => return None,
    })
}

/// `trace.v1.Span.Event` is SpanEvent.
fn type_name(message: &str) -> String {
    message.split('.').filter(|part| part.starts_with(char::is_uppercase)).collect()
}

/// `SpanEvent` is SPAN_EVENT.
fn constant_name(type_name: &str) -> String {
    type_name.chars().enumerate().fold(String::new(), |mut name, (at, char)| {
        if at > 0 && char.is_uppercase() {
            name.push('_');
        }
        name.push(char.to_ascii_uppercase());
        name
    })
}

fn source(messages: &BTreeMap<String, String>) -> String {
    let by_type: BTreeMap<String, (&String, &String)> =
        messages.iter().map(|(name, rows)| (type_name(name), (name, rows))).collect();
    assert_eq!(by_type.len(), messages.len(), "type names are different");
    let mut out = "//! Generated from the descriptors of OTLP and tests/placement.rs: `BLESS=1 cargo test --lib every_field_of_the_descriptors`.\n\n\
        use super::schema::What;\n\n/// The messages of requests.\n#[derive(Clone, Copy, Debug, PartialEq, Eq)]\npub(super) enum MessageType {\n"
        .to_owned();
    for name in by_type.keys() {
        let _ = writeln!(out, "    {name},");
    }
    out.push_str(
        "}\n\nimpl MessageType {\n    /// What each field is, by its number.\n    #[inline(always)]\n    \
         pub(super) fn fields(self) -> &'static [What] {\n        match self {\n",
    );
    for name in by_type.keys() {
        let _ = writeln!(out, "            MessageType::{name} => &{},", constant_name(name));
    }
    out.push_str("        }\n    }\n}\n");
    for (short, (name, rows)) in &by_type {
        let count = rows.lines().count();
        let _ = write!(
            out,
            "\n/// opentelemetry.proto.{name}\nstatic {}: [What; {count}] = [\n{rows}];\n",
            constant_name(short)
        );
    }
    out
}

/// The descriptors that the prost types are generated from.
pub fn descriptors() -> FileDescriptorSet {
    let files = ["trace", "metrics", "logs"]
        .map(|signal| format!("opentelemetry/proto/collector/{signal}/v1/{signal}_service.proto"));
    protox::compile(files, [proto_folder()]).expect("the descriptors compile")
}

/// The crate of the prost types ships them.
fn proto_folder() -> PathBuf {
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--offline", "--locked", "--filter-platform", &platform])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo metadata");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    let package = packages.iter().find(|package| package["name"] == "opentelemetry-proto").expect("a dependency");
    let manifest = Path::new(package["manifest_path"].as_str().expect("a path"));
    manifest.with_file_name("src/proto/opentelemetry-proto")
}
