//! OTLP's descriptors, as the crate of its message types ships them.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use prost_reflect::{DescriptorPool, MessageDescriptor};
use sluicebox::signal::Signal;

/// The messages of requests.
#[derive(Clone, Debug)]
pub struct Schema {
    pool: DescriptorPool,
}

impl Schema {
    /// Compiles the .proto files.
    pub fn load() -> Result<Self> {
        let services = Signal::ALL.map(package);
        let files = services.map(|name| format!("opentelemetry/proto/collector/{name}/v1/{name}_service.proto"));
        let descriptors = protox::compile(files, [proto_folder()?])?;
        Ok(Self { pool: DescriptorPool::from_file_descriptor_set(descriptors)? })
    }

    /// `Export*ServiceRequest`.
    pub fn request(&self, signal: Signal) -> Result<MessageDescriptor> {
        let package = package(signal);
        let name = match signal {
            Signal::Traces => "ExportTraceServiceRequest",
            Signal::Metrics => "ExportMetricsServiceRequest",
            Signal::Logs => "ExportLogsServiceRequest",
        };
        self.message(&format!("collector.{package}.v1.{name}"))
    }

    /// A message by its name without OTLP's prefix, such as `common.v1.AnyValue`.
    pub fn message(&self, name: &str) -> Result<MessageDescriptor> {
        let name = format!("opentelemetry.proto.{name}");
        self.pool.get_message_by_name(&name).with_context(|| format!("OTLP has no {name}"))
    }
}

fn package(signal: Signal) -> &'static str {
    match signal {
        Signal::Traces => "trace",
        Signal::Metrics => "metrics",
        Signal::Logs => "logs",
    }
}

fn proto_folder() -> Result<PathBuf> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--offline", "--locked"])
        .args(["--filter-platform", &format!("{}-unknown-linux-gnu", std::env::consts::ARCH)])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let packages = metadata["packages"].as_array().context("packages")?;
    let package = packages.iter().find(|package| package["name"] == "opentelemetry-proto").context("a dependency")?;
    let manifest = Path::new(package["manifest_path"].as_str().context("a path")?);
    Ok(manifest.with_file_name("src/proto/opentelemetry-proto"))
}
