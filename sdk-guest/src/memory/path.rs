use crate::Level;

/// A path split into its level and its name within the level, as in `span` and `attributes["http.route"]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    pub level: Level,
    pub name: String,
}

impl Path {
    pub fn parse(path: &str) -> Result<Path, String> {
        let (context, name) =
            path.split_once('.').ok_or_else(|| format!("`{path}` does not begin with a context, such as `span.`"))?;
        let context = if context == "instrumentation_scope" { "scope" } else { context };
        let level = Level::parse(context).ok_or_else(|| format!("`{path}`: no context is called `{context}`"))?;
        if is_known(level, name) {
            return Ok(Path { level, name: name.to_owned() });
        }
        let known = names(level).iter().map(|name| format!("`{context}.{name}`")).collect::<Vec<_>>().join(", ");
        Err(format!("no field is called `{path}`; there are {known}"))
    }
}

/// Whether a level has a field of this name.
pub fn is_known(level: Level, name: &str) -> bool {
    let key = name.strip_prefix("attributes[\"").and_then(|rest| rest.strip_suffix("\"]"));
    match key {
        Some(key) => !key.is_empty() && names(level).contains(&ATTRIBUTES),
        None => name != ATTRIBUTES && names(level).contains(&name),
    }
}

const ATTRIBUTES: &str = "attributes[\"...\"]";

/// OTTL's names (pkg/ottl/contexts), those of the fields that hold one value.
fn names(level: Level) -> &'static [&'static str] {
    match level {
        Level::Resource => &[ATTRIBUTES, "dropped_attributes_count"],
        Level::Scope => &[ATTRIBUTES, "name", "version", "dropped_attributes_count"],
        Level::Span => &[
            ATTRIBUTES,
            "name",
            "kind",
            "status.code",
            "status.message",
            "trace_id",
            "trace_id.string",
            "span_id",
            "span_id.string",
            "parent_span_id",
            "parent_span_id.string",
            "trace_state",
            "start_time_unix_nano",
            "end_time_unix_nano",
            "duration",
            "dropped_attributes_count",
            "dropped_events_count",
            "dropped_links_count",
        ],
        Level::SpanEvent => &[ATTRIBUTES, "name", "time_unix_nano", "dropped_attributes_count"],
        Level::SpanLink => &[ATTRIBUTES, "trace_id", "span_id", "trace_state", "dropped_attributes_count"],
        Level::Log => &[
            ATTRIBUTES,
            "body",
            "severity_number",
            "severity_text",
            "event_name",
            "time_unix_nano",
            "observed_time_unix_nano",
            "trace_id",
            "trace_id.string",
            "span_id",
            "span_id.string",
            "flags",
            "dropped_attributes_count",
        ],
        Level::Metric => &["name", "description", "unit", "type", "aggregation_temporality", "is_monotonic"],
        Level::DataPoint => &[
            ATTRIBUTES,
            "time_unix_nano",
            "start_time_unix_nano",
            "value_int",
            "value_double",
            "flags",
            "count",
            "sum",
        ],
    }
}
