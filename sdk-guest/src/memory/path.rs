use super::tree::Step;
use crate::Level;

/// A path split into its level, its name within the level and the steps after it, as in `span`, `attributes` and `["http.route"]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    pub level: Level,
    pub name: &'static str,
    pub steps: Vec<Step>,
    pub unset: Unset,
}

impl Path {
    pub fn parse(path: &str) -> Result<Path, String> {
        let (context, name) =
            path.split_once('.').ok_or_else(|| format!("`{path}` does not begin with a context, such as `span.`"))?;
        let context = if context == "instrumentation_scope" { "scope" } else { context };
        let level = Level::parse(context).ok_or_else(|| format!("`{path}`: no context is called `{context}`"))?;
        if let Some(path) = Path::of(level, name, fields(level)) {
            return Ok(path);
        }
        let known = fields(level).iter().map(|(name, _)| format!("`{context}.{name}`")).collect::<Vec<_>>().join(", ");
        Err(format!("no field is called `{path}`; there are {known}"))
    }

    /// A field of a test's batch: besides those that have a path, some that only [`crate::Batch::contents`] shows.
    pub fn of_batch(level: Level, name: &str) -> Option<Path> {
        Path::of(level, name, fields(level)).or_else(|| Path::of(level, name, shown_only(level)))
    }

    fn of(level: Level, text: &str, fields: &[(&'static str, Unset)]) -> Option<Path> {
        let (name, steps) = match text.find('[') {
            Some(at) => (&text[..at], parse_steps(&text[at..])?),
            None => (text, Vec::new()),
        };
        let (name, unset) = *fields.iter().find(|(known, _)| *known == name)?;
        let has_key = matches!(steps.first(), Some(Step::Key(_)));
        let is_right = if is_keyed(name) { has_key } else { name == "body" || steps.is_empty() };
        is_right.then_some(Path { level, name, steps, unset })
    }

    /// The key of an attribute.
    pub fn key(&self) -> Option<&str> {
        match self.steps.first() {
            Some(Step::Key(key)) if is_keyed(self.name) => Some(key),
            _ => None,
        }
    }

    /// The steps into the value.
    pub fn inner_steps(&self) -> &[Step] {
        if is_keyed(self.name) { &self.steps[1..] } else { &self.steps }
    }

    /// Why the field cannot be written, if it cannot.
    pub fn not_writable(&self) -> Option<&'static str> {
        match self.name {
            name if is_id(name) => Some("ids cannot be written: they hold traces together"),
            "duration" => Some("it is the difference of two times, write these"),
            "type" | "aggregation_temporality" | "is_monotonic" => Some("it says what the data points mean"),
            _ => None,
        }
    }

    /// Whether the field can hold a value of this kind; absent always.
    pub fn takes(&self, (kind, bytes): &(u8, Vec<u8>)) -> bool {
        let number = bytes.first_chunk().copied().map_or(0, i64::from_le_bytes);
        match self.name {
            _ if *kind == 0 || is_keyed(self.name) || self.name == "body" => true,
            "value_double" | "sum" => *kind == 4,
            "value_int"
            | "count"
            | "time_unix_nano"
            | "start_time_unix_nano"
            | "end_time_unix_nano"
            | "observed_time_unix_nano" => *kind == 3,
            "kind" | "status.code" | "severity_number" => *kind == 3 && i32::try_from(number).is_ok(),
            _ if self.unset == Unset::Text => *kind == 1,
            _ => *kind == 3 && u32::try_from(number).is_ok(),
        }
    }
}

/// `["key"]` and `[0]`, any number of them; in keys, `\"` and `\\` stand for `"` and `\`.
fn parse_steps(text: &str) -> Option<Vec<Step>> {
    let mut steps = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        rest = rest.strip_prefix('[')?;
        let step;
        (step, rest) = match rest.strip_prefix('"') {
            Some(quoted) => parse_key(quoted)?,
            None => {
                let (digits, rest) = rest.split_at(rest.find(']')?);
                (Step::Index(digits.parse().ok()?), rest)
            }
        };
        rest = rest.strip_prefix(']')?;
        steps.push(step);
    }
    Some(steps)
}

fn parse_key(text: &str) -> Option<(Step, &str)> {
    let mut key = String::new();
    let mut chars = text.char_indices();
    loop {
        match chars.next()? {
            (at, '"') => return Some((Step::Key(key), &text[at + 1..])),
            (_, '\\') => key.push(chars.next().map(|(_, char)| char).filter(|char| matches!(char, '"' | '\\'))?),
            (_, char) => key.push(char),
        }
    }
}

/// Repeated KeyValue fields, of which a path names one.
pub fn is_keyed(name: &str) -> bool {
    matches!(name, "attributes" | "metadata" | "exemplar.attributes")
}

/// Ids, in either form.
pub fn is_id(name: &str) -> bool {
    let name = name.rsplit('.').find(|part| *part != "string").unwrap_or(name);
    matches!(name, "trace_id" | "span_id" | "parent_span_id")
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

/// Fields without a path.
fn shown_only(level: Level) -> &'static [(&'static str, Unset)] {
    use Unset::{Absent, NoBytes, Text};
    match level {
        Level::Resource => &[("schema_url", Text), ("entity", Text)],
        Level::Scope => &[("schema_url", Text)],
        Level::DataPoint => {
            &[("exemplar.attributes", Absent), ("exemplar.trace_id", NoBytes), ("exemplar.span_id", NoBytes)]
        }
        _ => &[],
    }
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
