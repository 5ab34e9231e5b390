//! The Collector's configuration of the filter processor, as JSON.

use ottl::SyntaxError;
use serde_json::{Map, Value};
use sluicebox_guest::{Level, Signal};

/// A condition as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// Where it stands, such as `traces.span[0]`; also the name of its rule.
    pub name: String,
    pub text: String,
    pub signal: Signal,
    pub context: Context,
    pub error_mode: ErrorMode,
}

impl Condition {
    /// An error in its text, for the operator.
    pub fn error(&self, error: &SyntaxError) -> String {
        format!("{}: {}", self.name, error.render(&self.text))
    }
}

/// What a condition judges and what is dropped when it is true.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Context {
    /// Rows of this level.
    Given(Level),
    /// The lowest level that conditions of the same group name.
    Inferred { group: usize },
}

/// What becomes of a condition that cannot be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorMode {
    /// It counts as false (the Collector's `ignore` and `silent`).
    False,
    /// The call fails.
    Propagate,
}

/// Reads the configuration. The errors are all that were found.
pub fn read(text: &str) -> Result<Vec<Condition>, Vec<String>> {
    let config: Value = serde_json::from_str(text).map_err(|error| vec![format!("not JSON: {error}")])?;
    let Value::Object(config) = config else { return Err(vec!["the configuration is not a map".to_owned()]) };
    let mut reader = Reader::default();
    let error_mode = reader.error_mode("error_mode", config.get("error_mode")).unwrap_or(ErrorMode::False);
    for (key, value) in &config {
        match key.as_str() {
            "error_mode" => {}
            "traces" => reader.by_context(Signal::Traces, key, value, error_mode),
            "metrics" => reader.by_context(Signal::Metrics, key, value, error_mode),
            "logs" => reader.by_context(Signal::Logs, key, value, error_mode),
            "trace_conditions" => reader.conditions(Signal::Traces, key, value, error_mode),
            "metric_conditions" => reader.conditions(Signal::Metrics, key, value, error_mode),
            "log_conditions" => reader.conditions(Signal::Logs, key, value, error_mode),
            "spans" => reader.fail(key, include_exclude("spans", "trace_conditions")),
            "profiles" | "profile_conditions" => reader.fail(key, "profiles are not supported"),
            _ => reader.fail(key, "unknown key; there are error_mode, trace_conditions, metric_conditions, log_conditions, traces, metrics and logs"),
        }
    }
    for (new, old) in [("trace_conditions", "traces"), ("metric_conditions", "metrics"), ("log_conditions", "logs")] {
        if config.contains_key(new) && config.contains_key(old) {
            reader.fail(new, format!("cannot stand beside `{old}`; move its conditions here"));
        }
    }
    if reader.errors.is_empty() { Ok(reader.conditions) } else { Err(reader.errors) }
}

#[derive(Default)]
struct Reader {
    conditions: Vec<Condition>,
    groups: usize,
    errors: Vec<String>,
}

impl Reader {
    /// `traces: {span: [...], spanevent: [...]}` and its like.
    fn by_context(&mut self, signal: Signal, key: &str, value: &Value, error_mode: ErrorMode) {
        let Value::Object(contexts) = value else { return self.fail(key, "expected a map of contexts") };
        let known = contexts_of(signal);
        for (context, list) in contexts {
            let name = format!("{key}.{context}");
            match known.iter().find(|(known, _)| known == context) {
                Some((_, level)) => self.list(signal, &name, list, Context::Given(*level), error_mode),
                None if context == "include" || context == "exclude" => {
                    self.fail(&name, include_exclude(key, &format!("{}_conditions", &key[..key.len() - 1])));
                }
                None => {
                    let known: Vec<_> = known.iter().map(|(known, _)| *known).collect();
                    self.fail(&name, format!("unknown key; there are {}", known.join(", ")));
                }
            }
        }
    }

    /// A list of conditions and groups of conditions; paths name their contexts.
    fn conditions(&mut self, signal: Signal, key: &str, value: &Value, error_mode: ErrorMode) {
        let Value::Array(entries) = value else { return self.fail(key, "expected a list of conditions") };
        for (index, entry) in entries.iter().enumerate() {
            let name = format!("{key}[{index}]");
            match entry {
                Value::Object(group) => self.group(signal, &name, group, error_mode),
                _ => {
                    let context = self.inferred();
                    self.condition(signal, name, entry, context, error_mode);
                }
            }
        }
    }

    /// `{context, error_mode, conditions}`
    fn group(&mut self, signal: Signal, name: &str, group: &Map<String, Value>, error_mode: ErrorMode) {
        for key in group.keys().filter(|key| !["context", "error_mode", "conditions"].contains(&key.as_str())) {
            self.fail(&format!("{name}.{key}"), "unknown key; there are context, error_mode and conditions");
        }
        let error_mode = self.error_mode(&format!("{name}.error_mode"), group.get("error_mode")).unwrap_or(error_mode);
        let context = match group.get("context") {
            None => self.inferred(),
            Some(value) => {
                let levels = levels_of(signal);
                match levels.iter().find(|level| Some(level.as_str()) == value.as_str()) {
                    Some(level) => Context::Given(*level),
                    None => {
                        let known: Vec<_> = levels.iter().map(|level| level.as_str()).collect();
                        return self.fail(
                            &format!("{name}.context"),
                            format!("not a context; there are {}", known.join(", ")),
                        );
                    }
                }
            }
        };
        match group.get("conditions") {
            Some(list) => self.list(signal, &format!("{name}.conditions"), list, context, error_mode),
            None => self.fail(name, "a group needs `conditions`"),
        }
    }

    fn list(&mut self, signal: Signal, key: &str, list: &Value, context: Context, error_mode: ErrorMode) {
        let Value::Array(list) = list else { return self.fail(key, "expected a list of conditions") };
        for (index, text) in list.iter().enumerate() {
            self.condition(signal, format!("{key}[{index}]"), text, context, error_mode);
        }
    }

    fn condition(&mut self, signal: Signal, name: String, text: &Value, context: Context, error_mode: ErrorMode) {
        match text {
            Value::String(text) => {
                self.conditions.push(Condition { name, text: text.clone(), signal, context, error_mode })
            }
            _ => self.fail(&name, "a condition is a text"),
        }
    }

    fn inferred(&mut self) -> Context {
        self.groups += 1;
        Context::Inferred { group: self.groups }
    }

    fn error_mode(&mut self, key: &str, value: Option<&Value>) -> Option<ErrorMode> {
        match value?.as_str() {
            Some("ignore" | "silent") => Some(ErrorMode::False),
            Some("propagate") => Some(ErrorMode::Propagate),
            _ => {
                self.fail(key, "not an error mode; there are ignore, silent and propagate");
                None
            }
        }
    }

    fn fail(&mut self, key: &str, message: impl AsRef<str>) {
        self.errors.push(format!("{key}: {}", message.as_ref()));
    }
}

/// The keys of `traces`, `metrics` and `logs`.
fn contexts_of(signal: Signal) -> &'static [(&'static str, Level)] {
    match signal {
        Signal::Traces => &[("resource", Level::Resource), ("span", Level::Span), ("spanevent", Level::SpanEvent)],
        Signal::Metrics => &[("resource", Level::Resource), ("metric", Level::Metric), ("datapoint", Level::DataPoint)],
        Signal::Logs => &[("resource", Level::Resource), ("log_record", Level::Log)],
        Signal::Profiles => &[],
    }
}

/// The contexts of a signal's groups.
fn levels_of(signal: Signal) -> &'static [Level] {
    match signal {
        Signal::Traces => &[Level::Resource, Level::Scope, Level::Span, Level::SpanEvent],
        Signal::Metrics => &[Level::Resource, Level::Scope, Level::Metric, Level::DataPoint],
        Signal::Logs => &[Level::Resource, Level::Scope, Level::Log],
        Signal::Profiles => &[],
    }
}

/// What stands in place of the blocks that OTTL replaced.
fn include_exclude(signal: &str, key: &str) -> String {
    let example = match signal {
        "metrics" => r#"'not IsMatch(metric.name, "^http")' for include, 'metric.name == "noise"' for exclude"#,
        "logs" => {
            r#"'log.severity_number < SEVERITY_NUMBER_WARN' for include, 'IsMatch(log.body, "noise")' for exclude"#
        }
        _ => r#"'resource.attributes["service.name"] != "shop"' for include, 'span.name == "noise"' for exclude"#,
    };
    format!("include and exclude blocks are not supported; write what to drop as conditions, {key}: {example}")
}
