//! A configuration that is valid by construction: every name resolves, every value is in range.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

pub use self::tail_sampling::TailSampling;
use super::certificate::TlsServer;
use super::shown::Shown;
use super::source::Place;
use crate::signal::Signal;
use crate::table::Table;

mod tail_sampling;

/// What the engine runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Receivers that some pipeline uses.
    pub receivers: Vec<Receiver>,
    /// Guest stages that some pipeline uses, each once, whatever the number of pipelines.
    pub stages: Vec<Stage>,
    /// Exporters that some pipeline uses.
    pub exporters: Vec<Exporter>,
    /// Pipelines, in file order.
    pub pipelines: Vec<Pipeline>,
    /// The strictest `memory_limiter` of the file.
    pub memory: MemoryLimit,
    /// `service.telemetry.metrics`: where `/metrics` is served; None = off.
    pub metrics_address: Option<SocketAddr>,
    /// `service.telemetry.logs.level`.
    pub log_level: tracing::Level,
    /// The admin API.
    pub admin: Admin,
    /// `health_check` extensions that `service.extensions` lists.
    pub health_checks: Vec<HealthCheck>,
    /// `dead_letter`; None = off.
    pub dead_letter: Option<DeadLetter>,
    /// Where receivers, exporters, pipelines and settings stand, for messages.
    pub lines: Lines,
    /// Names of the files that places are in, by their numbers: the first is the configuration file itself.
    pub files: Vec<String>,
    /// The file as it may be shown.
    pub shown: Shown,
}

/// `admin`: the API that shows and changes what runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// Where it listens.
    pub address: SocketAddr,
    /// `tls`; None = none, on loopback alone.
    pub tls: Option<TlsServer>,
    /// What of the telemetry it may show.
    pub data_access: DataAccess,
}

/// `admin.data_access`: what of the telemetry the admin API may show. Counts, names of stages, rules and fields are shown in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum DataAccess {
    /// Nothing.
    #[default]
    Off,
    /// What every editing stage of its pipeline has judged.
    Redacted,
    /// All of it.
    Full,
}

impl DataAccess {
    /// As the file says it.
    pub const fn as_str(self) -> &'static str {
        match self {
            DataAccess::Off => "off",
            DataAccess::Redacted => "redacted",
            DataAccess::Full => "full",
        }
    }

    /// Whether telemetry may be shown that is redacted, or is not.
    pub fn allows(self, is_redacted: bool) -> bool {
        self >= if is_redacted { DataAccess::Redacted } else { DataAccess::Full }
    }
}

impl Config {
    /// The tail samplers with the pipelines that they are in: each has its own state in each of its pipelines.
    pub fn samplers(&self) -> impl Iterator<Item = (&Pipeline, &Arc<TailSampling>)> {
        let steps = self.pipelines.iter().flat_map(|pipeline| pipeline.steps.iter().map(move |step| (pipeline, step)));
        steps.filter_map(|(pipeline, step)| match step {
            Step::Sample(sampler) => Some((pipeline, sampler)),
            Step::Guest(_) | Step::Merge(_) => None,
        })
    }
}

/// Where in the file a part stands: `receiver "otlp"`, `pipeline "traces"`, `"admin.address"`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lines(pub BTreeMap<String, Place>);

/// A `health_check` extension.
#[derive(Clone, Debug, PartialEq)]
pub struct HealthCheck {
    /// `health_check` or `health_check/name`.
    pub name: String,
    /// Where to listen.
    pub endpoint: SocketAddr,
    /// Where it answers as the Collector's does, beside `/livez` and `/readyz`.
    pub path: String,
    /// `response_body.healthy`: what is answered there instead of a short status.
    pub healthy: Option<String>,
    /// `response_body.unhealthy`.
    pub unhealthy: Option<String>,
}

/// `dead_letter`: a file of what stages could not judge.
#[derive(Clone, Debug)]
pub struct DeadLetter {
    /// The file, relative paths already resolved.
    pub path: PathBuf,
    /// What it and the one before it may hold together.
    pub bytes_max: u64,
    /// Whether telemetry itself is written, where all editing stages have judged it.
    pub payload: bool,
    /// Where it stands, for messages.
    pub place: Place,
}

/// Its place in the file does not count.
impl PartialEq for DeadLetter {
    fn eq(&self, other: &Self) -> bool {
        (&self.path, self.bytes_max, self.payload) == (&other.path, other.bytes_max, other.payload)
    }
}

/// An `otlp` receiver.
#[derive(Clone, Debug, PartialEq)]
pub struct Receiver {
    /// `otlp` or `otlp/name`.
    pub name: String,
    /// OTLP/gRPC, if its key is present.
    pub grpc: Option<GrpcServer>,
    /// OTLP/HTTP, if its key is present.
    pub http: Option<HttpServer>,
}

/// `protocols.grpc`.
#[derive(Clone, Debug, PartialEq)]
pub struct GrpcServer {
    /// Where to listen.
    pub endpoint: SocketAddr,
    /// Largest message, after decompression.
    pub message_bytes_max: u64,
    /// `max_concurrent_streams` of a connection; None = the receiver's own bound.
    pub streams_max: Option<u32>,
}

/// `protocols.http`.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpServer {
    /// Where to listen.
    pub endpoint: SocketAddr,
    /// Largest body, after decompression.
    pub body_bytes_max: u64,
    /// `cors.allowed_origins`: empty = no CORS.
    pub cors_allowed_origins: Vec<String>,
    /// `cors.allowed_headers`.
    pub cors_allowed_headers: Vec<String>,
    /// `cors.max_age`.
    pub cors_max_age: Option<Duration>,
}

/// A Wasm stage: a bundled processor or a user's component.
#[derive(Clone, PartialEq)]
pub struct Stage {
    /// `filter/traces`, `wasm/mine`.
    pub name: String,
    /// What it has to be.
    pub role: StageRole,
    /// What judges.
    pub component: Component,
    /// What `configure` gets: JSON text.
    pub config: String,
    /// `keys`: for keyed hashes, by name.
    pub keys: Vec<(String, Secret)>,
    /// `grants`: what the component may do beyond its role.
    pub grants: Grants,
    /// `tables`: what it may look things up in, by name.
    pub tables: Vec<(String, Arc<Table>)>,
    /// Bounds of an instance.
    pub limits: StageLimits,
    /// Only where the file says so; else what the component imports decides.
    pub on_fault: Option<OnFault>,
    /// Where the stage stands, for messages.
    pub place: Place,
    /// Where its config stands, for messages: maybe in a file of its own.
    pub config_place: Place,
    /// Where its grants stand, if it has any, for messages.
    pub grants_place: Option<Place>,
}

/// What a component may do only where the operator grants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Capability {
    /// Lines in the engine's log.
    Log,
    /// Metrics beside the engine's own.
    Metrics,
    /// The time.
    Clock,
    /// The stage's tables.
    Lookup,
    /// Numbers that the host keeps.
    State,
}

impl Capability {
    /// All of them.
    pub const ALL: [Capability; 5] =
        [Capability::Log, Capability::Metrics, Capability::Clock, Capability::Lookup, Capability::State];

    /// As written in `grants`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Capability::Log => "log",
            Capability::Metrics => "metrics",
            Capability::Clock => "clock",
            Capability::Lookup => "lookup",
            Capability::State => "state",
        }
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A set of capabilities.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Grants(u8);

impl Grants {
    /// Nothing.
    pub const NONE: Grants = Grants(0);
    /// Everything.
    pub const ALL: Grants = Grants((1 << Capability::ALL.len()) - 1);

    /// These, and one more.
    #[must_use]
    pub const fn and(self, capability: Capability) -> Self {
        Self(self.0 | 1 << capability as u8)
    }

    /// Whether it is granted.
    pub const fn has(self, capability: Capability) -> bool {
        self.0 & 1 << capability as u8 != 0
    }
}

impl fmt::Debug for Grants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let granted = Capability::ALL.into_iter().filter(|&capability| self.has(capability));
        f.debug_set().entries(granted.map(Capability::as_str)).finish()
    }
}

/// What a stage is for: components of another role are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StageRole {
    /// Judges batches, as a step of pipelines.
    Processor,
    /// Votes on traces, as a unit of a tail sampler.
    Policy,
}

/// Where a component comes from.
#[derive(Clone, PartialEq)]
pub enum Component {
    /// Ships inside the binary: the processor's type, such as `filter`.
    Bundled(String),
    /// A file, relative paths already resolved against the file that names it.
    File {
        /// The file.
        path: PathBuf,
        /// `sha256`: optional pin, lower-case hex.
        sha256: Option<String>,
    },
    /// Sent over the admin API.
    Uploaded(Bytes),
}

/// Without `config`, the bytes of `keys` and the rows of `tables`: they may be secrets.
impl fmt::Debug for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut stage = f.debug_struct("Stage");
        stage.field("name", &self.name);
        if self.role != StageRole::Processor {
            stage.field("role", &self.role);
        }
        stage.field("component", &self.component).field("limits", &self.limits);
        stage.field("on_fault", &self.on_fault);
        if !self.keys.is_empty() {
            stage.field("keys", &self.keys.iter().map(|(name, _)| name).collect::<Vec<_>>());
        }
        if self.grants != Grants::NONE {
            stage.field("grants", &self.grants);
        }
        for (name, table) in &self.tables {
            stage.field("table", &format_args!("{name} of {} rows", table.rows()));
        }
        stage.field("line", &self.place.line).finish_non_exhaustive()
    }
}

/// Without the bytes.
impl fmt::Debug for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Component::Bundled(name) => write!(f, "Bundled({name})"),
            Component::File { path, .. } => write!(f, "File({})", path.display()),
            Component::Uploaded(wasm) => write!(f, "Uploaded({} bytes)", wasm.len()),
        }
    }
}

/// `limits` of a stage.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StageLimits {
    /// `memory_mib`, in bytes; None = by what the component is: 256 MiB where it carries a language's runtime, else 64 MiB.
    pub memory_bytes_max: Option<u64>,
    /// `deadline`: of one call, before the allowance per row.
    pub deadline: Duration,
    /// `output_mib`, in bytes: what one call may hand to the host.
    pub output_bytes_max: u64,
    /// `log_lines_per_second`: what an instance may log before lines are dropped and counted.
    pub log_lines_per_second: u32,
}

/// What happens to a batch that a faulting stage did not judge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFault {
    /// It goes on unchanged, counted.
    Pass,
    /// The sender is told to retry.
    Reject,
}

/// An exporter.
#[derive(Clone, Debug, PartialEq)]
pub struct Exporter {
    /// `otlp/backend`.
    pub name: String,
    /// What it is.
    pub kind: ExporterKind,
    /// `sending_queue`.
    pub queue: Queue,
    /// `retry_on_failure`.
    pub retry: Retry,
}

/// Kinds of exporter.
#[derive(Clone, Debug, PartialEq)]
pub enum ExporterKind {
    /// `otlp`, `otlp_grpc`.
    OtlpGrpc(Client),
    /// `otlphttp`, `otlp_http`.
    OtlpHttp {
        /// Common keys; the endpoint without a signal's path.
        client: Client,
        /// `traces_endpoint` and so on: full URLs, by signal.
        endpoints: Vec<(Signal, String)>,
        /// How bodies are written.
        encoding: Encoding,
    },
    /// `debug` (old name `logging`).
    Debug {
        /// How much is printed.
        verbosity: Verbosity,
    },
}

/// How much `debug` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verbosity {
    /// A line of counts per batch.
    Basic,
    /// A line per item.
    Normal,
    /// Everything.
    Detailed,
}

/// What OTLP exporters have in common.
#[derive(Clone, Debug, PartialEq)]
pub struct Client {
    /// `http://host:port` or `https://host:port`, scheme resolved from `endpoint` and `tls.insecure`.
    pub endpoint: String,
    /// `tls`.
    pub tls: TlsClient,
    /// `compression`; gzip unless `none`.
    pub compression: Compression,
    /// `headers`, names in lower case.
    pub headers: Vec<(String, Secret)>,
    /// `timeout` of one try.
    pub timeout: Duration,
}

/// `tls` of an exporter.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TlsClient {
    /// `ca_file`; None = the system's roots.
    pub ca_file: Option<PathBuf>,
    /// `server_name_override`.
    pub server_name: Option<String>,
}

/// `compression`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// `none` or empty.
    None,
    /// `gzip`.
    Gzip,
}

/// `encoding` of OTLP/HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// `proto`.
    Proto,
    /// `json`.
    Json,
}

/// `sending_queue`.
#[derive(Clone, Debug, PartialEq)]
pub struct Queue {
    /// `enabled`: off = each request is sent at once and answered with the result.
    pub enabled: bool,
    /// `queue_size`, in requests.
    pub requests_max: usize,
    /// `num_consumers`: requests in flight.
    pub consumers: usize,
    /// `block_on_overflow`: wait for a place instead of refusing.
    pub block_on_overflow: bool,
    /// `wait_for_result`: senders are answered with the exporter's result.
    pub wait_for_result: bool,
}

/// `retry_on_failure`.
#[derive(Clone, Debug, PartialEq)]
pub struct Retry {
    /// `enabled`: off = one try.
    pub enabled: bool,
    /// `initial_interval`.
    pub initial_interval: Duration,
    /// `max_interval`.
    pub max_interval: Duration,
    /// `max_elapsed_time`; None (0 in the file) = for ever.
    pub max_elapsed: Option<Duration>,
    /// `multiplier`.
    pub multiplier: f64,
    /// `randomization_factor`.
    pub randomization: f64,
}

/// A pipeline of one signal.
#[derive(Clone, Debug, PartialEq)]
pub struct Pipeline {
    /// `traces`, `traces/lab`.
    pub name: String,
    /// Its signal.
    pub signal: Signal,
    /// Names of receivers.
    pub receivers: Vec<String>,
    /// What happens in between, in order. `memory_limiter` is not in it: its keys feed [`Config::memory`].
    pub steps: Vec<Step>,
    /// Names of exporters.
    pub exporters: Vec<String>,
}

/// A processor in a pipeline.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Name of a [`Stage`].
    Guest(String),
    /// `batch`.
    Merge(Arc<Merge>),
    /// `tail_sampling`.
    Sample(Arc<TailSampling>),
}

/// `batch`.
#[derive(Clone, Debug, PartialEq)]
pub struct Merge {
    /// `batch`, `batch/name`.
    pub name: String,
    /// `send_batch_size`, in spans, data points or log records.
    pub items: u64,
    /// `send_batch_max_size`; None (0 in the file) = no bound.
    pub items_max: Option<u64>,
    /// `timeout`; zero = pass straight on.
    pub timeout: Duration,
}

/// The process's byte budget as the file asks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MemoryLimit {
    /// No `memory_limiter`: 80 % of the cgroup's limit, else 50 % of the memory available at start.
    Auto,
    /// `limit_mib` less `spike_limit_mib`, in bytes.
    Bytes(u64),
    /// `limit_percentage` less `spike_limit_percentage`.
    Percent(u8),
}

/// Bytes that are never printed: a text, or a key as its file holds it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Wraps a secret.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    /// The bytes themselves, for the wire and for hashing only.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_of_a_stage_is_no_secret() {
        let stage = Stage {
            name: "wasm/mine".to_owned(),
            role: StageRole::Processor,
            component: Component::Uploaded(Bytes::from_static(b"bytes of a component")),
            config: r#"{"token": "hunter2"}"#.to_owned(),
            keys: vec![("pii".to_owned(), Secret::new("correct horse"))],
            grants: Grants::NONE,
            tables: Vec::new(),
            limits: StageLimits {
                memory_bytes_max: Some(1),
                deadline: Duration::ZERO,
                output_bytes_max: 1,
                log_lines_per_second: 1,
            },
            on_fault: None,
            place: Place::default(),
            config_place: Place::default(),
            grants_place: None,
        };
        let printed = format!("{stage:?}");
        assert!(printed.contains("wasm/mine") && printed.contains("20 bytes"), "{printed}");
        assert!(!printed.contains("hunter2") && !printed.contains("98") && !printed.contains("correct"), "{printed}");
    }
}
