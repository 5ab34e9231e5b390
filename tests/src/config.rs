//! Configurations for the engine under test: a test says what it is about, the rest is the same everywhere.

use std::net::SocketAddr;

use sluicebox::signal::Signal;

use crate::engine::TELEMETRY;

/// One receiver on both protocols, a pipeline for each signal, all with the same processors and exporters.
#[derive(Clone, Debug, Default)]
pub struct Config {
    processors: Vec<Processor>,
    exporters: Vec<(String, String)>,
    receiver: (String, String),
    verbose: bool,
}

#[derive(Clone, Debug)]
struct Processor {
    name: String,
    /// In flow style, without the braces.
    keys: String,
    /// None = all pipelines.
    signal: Option<Signal>,
}

impl Config {
    /// No processors, no exporters yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a processor to all pipelines, after those added before. Keys are in flow style, without the braces.
    #[must_use]
    pub fn processor(mut self, name: &str, keys: &str) -> Self {
        self.processors.push(Processor { name: name.to_owned(), keys: keys.to_owned(), signal: None });
        self
    }

    /// Adds a processor to the pipeline of one signal.
    #[must_use]
    pub fn processor_of(mut self, signal: Signal, name: &str, keys: &str) -> Self {
        self.processors.push(Processor { name: name.to_owned(), keys: keys.to_owned(), signal: Some(signal) });
        self
    }

    /// Adds an exporter to all pipelines.
    #[must_use]
    pub fn exporter(mut self, name: &str, keys: &str) -> Self {
        self.exporters.push((name.to_owned(), keys.to_owned()));
        self
    }

    /// Adds `otlp/sink` for a sink: no compression, quick retries, and further keys in flow style, such as `sending_queue: { ... }`.
    #[must_use]
    pub fn sink(self, address: SocketAddr, keys: &str) -> Self {
        self.exporter("otlp/sink", &otlp(address, keys))
    }

    /// Keys of the receiver's protocols beside `endpoint`, in flow style.
    #[must_use]
    pub fn receiver(mut self, grpc: &str, http: &str) -> Self {
        self.receiver = (format!(", {grpc}"), format!(", {http}"));
        self
    }

    /// Logs at level `info`, so that changes leave lines.
    #[must_use]
    pub fn verbose(mut self) -> Self {
        self.verbose = true;
        self
    }

    /// The file's text, with `$GRPC` and the others still to be filled in.
    pub fn text(&self) -> String {
        let (grpc, http) = &self.receiver;
        let mut text = format!(
            "receivers:\n  otlp:\n    protocols:\n      grpc: {{ endpoint: \"$GRPC\"{grpc} }}\n      \
             http: {{ endpoint: \"$HTTP\"{http} }}\n"
        );
        if !self.processors.is_empty() {
            text += "processors:\n";
        }
        for Processor { name, keys, .. } in &self.processors {
            text += &format!("  {name}: {{ {keys} }}\n");
        }
        text += "exporters:\n";
        for (name, keys) in &self.exporters {
            text += &format!("  {name}: {{ {keys} }}\n");
        }
        let telemetry = if self.verbose { TELEMETRY.replace("warn", "info") } else { TELEMETRY.to_owned() };
        text += &format!("service:\n  {telemetry}\n  pipelines:\n");
        let exporters: Vec<_> = self.exporters.iter().map(|(name, _)| name.as_str()).collect();
        for signal in Signal::ALL {
            let takes = |p: &&Processor| p.signal.is_none_or(|only| only == signal);
            let processors: Vec<_> = self.processors.iter().filter(takes).map(|p| p.name.as_str()).collect();
            let (processors, exporters) = (processors.join(", "), exporters.join(", "));
            text += &format!(
                "    {signal}: {{ receivers: [otlp], processors: [{processors}], exporters: [{exporters}] }}\n"
            );
        }
        text
    }
}

/// Keys of an `otlp` exporter for a sink.
pub fn otlp(address: SocketAddr, keys: &str) -> String {
    let mut all = format!("endpoint: \"{address}\", tls: {{ insecure: true }}, compression: none");
    if !keys.contains("retry_on_failure") {
        all += ", retry_on_failure: { initial_interval: 20ms, max_interval: 100ms }";
    }
    if !keys.is_empty() {
        all += ", ";
        all += keys;
    }
    all
}

/// `filter` with one condition on spans.
pub fn drop_spans(condition: &str) -> String {
    format!("error_mode: ignore, traces: {{ span: [{}] }}", serde_json::Value::from(condition))
}

/// The same as JSON, which is YAML too: a stage's whole block.
pub fn drop_spans_json(condition: &str) -> String {
    serde_json::json!({ "error_mode": "ignore", "traces": { "span": [condition] } }).to_string()
}
