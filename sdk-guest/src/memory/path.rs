use crate::Level;

/// A path split into its level and its name within the level, as in `span` and `attributes["http.route"]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    pub level: Level,
    pub name: String,
    pub unset: Unset,
}

impl Path {
    pub fn parse(path: &str) -> Result<Path, String> {
        let (context, name) =
            path.split_once('.').ok_or_else(|| format!("`{path}` does not begin with a context, such as `span.`"))?;
        let context = if context == "instrumentation_scope" { "scope" } else { context };
        let level = Level::parse(context).ok_or_else(|| format!("`{path}`: no context is called `{context}`"))?;
        if let Some(unset) = unset(level, name) {
            return Ok(Path { level, name: name.to_owned(), unset });
        }
        let known = fields(level).iter().map(|(name, _)| format!("`{context}.{name}`")).collect::<Vec<_>>().join(", ");
        Err(format!("no field is called `{path}`; there are {known}"))
    }
}

/// Whether a level has a field of this name.
pub fn is_known(level: Level, name: &str) -> bool {
    unset(level, name).is_some()
}

/// What a field holds that was not set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unset {
    /// It is absent.
    Absent,
    /// The protocol always has it: an empty string.
    Text,
    /// The protocol always has it: zero.
    Zero,
    /// The protocol always has it: no bytes.
    NoBytes,
    /// The protocol always has it: false.
    False,
}

impl Unset {
    /// Kind and bytes.
    pub fn encode(self) -> (u8, Vec<u8>) {
        match self {
            Unset::Absent => (0, Vec::new()),
            Unset::Text => (1, Vec::new()),
            Unset::False => (2, vec![0]),
            Unset::Zero => (3, vec![0; 8]),
            Unset::NoBytes => (5, Vec::new()),
        }
    }
}

/// None if there is no such field.
fn unset(level: Level, name: &str) -> Option<Unset> {
    let (name, one_key) = match name.split_once("[\"") {
        Some((name, key)) => (name, key.strip_suffix("\"]").is_some_and(|key| !key.is_empty() && !key.contains("\"]"))),
        None => (name, false),
    };
    let (_, unset) = *fields(level).iter().find(|(known, _)| *known == name)?;
    (matches!(name, "attributes" | "metadata") == one_key).then_some(unset)
}

/// OTTL's names (pkg/ottl/contexts), those of the fields that hold one value.
fn fields(level: Level) -> &'static [(&'static str, Unset)] {
    use Unset::{Absent, False, NoBytes, Text, Zero};
    const ATTRIBUTES: (&str, Unset) = ("attributes", Absent);
    const DROPPED: (&str, Unset) = ("dropped_attributes_count", Zero);
    match level {
        Level::Resource => &[ATTRIBUTES, DROPPED],
        Level::Scope => &[ATTRIBUTES, DROPPED, ("name", Text), ("version", Text)],
        Level::Span => &[
            ATTRIBUTES,
            DROPPED,
            ("name", Text),
            ("kind", Zero),
            ("status.code", Zero),
            ("status.message", Text),
            ("trace_id", NoBytes),
            ("trace_id.string", Text),
            ("span_id", NoBytes),
            ("span_id.string", Text),
            ("parent_span_id", NoBytes),
            ("parent_span_id.string", Text),
            ("trace_state", Text),
            ("start_time_unix_nano", Zero),
            ("end_time_unix_nano", Zero),
            ("duration", Zero),
            ("dropped_events_count", Zero),
            ("dropped_links_count", Zero),
            ("flags", Zero),
        ],
        Level::SpanEvent => &[ATTRIBUTES, DROPPED, ("name", Text), ("time_unix_nano", Zero)],
        Level::SpanLink => &[
            ATTRIBUTES,
            DROPPED,
            ("trace_id", NoBytes),
            ("trace_id.string", Text),
            ("span_id", NoBytes),
            ("span_id.string", Text),
            ("trace_state", Text),
            ("flags", Zero),
        ],
        Level::Log => &[
            ATTRIBUTES,
            DROPPED,
            ("body", Absent),
            ("severity_number", Zero),
            ("severity_text", Text),
            ("event_name", Text),
            ("time_unix_nano", Zero),
            ("observed_time_unix_nano", Zero),
            ("trace_id", NoBytes),
            ("trace_id.string", Text),
            ("span_id", NoBytes),
            ("span_id.string", Text),
            ("flags", Zero),
        ],
        Level::Metric => &[
            ("name", Text),
            ("description", Text),
            ("unit", Text),
            ("type", Zero),
            ("aggregation_temporality", Zero),
            ("is_monotonic", False),
            ("metadata", Absent),
        ],
        Level::DataPoint => &[
            ATTRIBUTES,
            ("time_unix_nano", Zero),
            ("start_time_unix_nano", Zero),
            ("value_int", Absent),
            ("value_double", Absent),
            ("flags", Zero),
            ("count", Absent),
            ("sum", Absent),
        ],
    }
}
