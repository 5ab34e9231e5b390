//! A component's bytes: where they come from, what they import and export, before anything of them is compiled or run.

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use wasmparser::{Encoding, Parser, Payload};

use super::error::LoadError;
use crate::config::model::{Capability, OnFault};

/// The contract's package.
const PACKAGE: &str = "sluicebox:telemetry";
/// The contract's version that this host speaks.
pub(super) const CONTRACT_VERSION: &str = "0.1.0";
/// Largest component. JavaScript and Python components carry their interpreter: 12 to 20 MiB.
pub const COMPONENT_BYTES_MAX: u64 = 32 << 20;
/// The custom section in which a component carries cases that it has to pass before it serves: JSON.
pub const CASES_SECTION: &str = "sluicebox:cases";
/// Largest such section.
pub const CASES_BYTES_MAX: usize = 256 << 10;

/// SHA-256 of a component's bytes, in hex.
pub fn digest(wasm: &[u8]) -> String {
    hex(&Sha256::digest(wasm))
}

/// The same of a file; None where it cannot be read.
pub fn digest_of_file(path: &Path) -> Option<String> {
    read_file(path).ok().map(|wasm| digest(&wasm))
}

/// Interfaces of the contract that a component can import.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Interface {
    /// Opening fields and rules.
    Fields,
    /// Reading batches.
    Batches,
    /// Reading everything that can hold text.
    Contents,
    /// Dropping rows.
    Dropping,
    /// Adding what is absent.
    Adding,
    /// Changing what is there.
    Editing,
    /// Keyed hashes.
    HostHash,
    /// What is known of traces.
    Traces,
    /// Numbers that the host keeps.
    HostState,
    /// Lines in the engine's log.
    Logging,
    /// Metrics beside the engine's own.
    Metering,
    /// The time.
    Clock,
    /// Tables of the stage.
    Lookup,
}

impl Interface {
    const ALL: [Interface; 13] = [
        Interface::Fields,
        Interface::Batches,
        Interface::Contents,
        Interface::Dropping,
        Interface::Adding,
        Interface::Editing,
        Interface::HostHash,
        Interface::Traces,
        Interface::HostState,
        Interface::Logging,
        Interface::Metering,
        Interface::Clock,
        Interface::Lookup,
    ];

    /// The name in the contract.
    pub const fn as_str(self) -> &'static str {
        match self {
            Interface::Fields => "fields",
            Interface::Batches => "batches",
            Interface::Contents => "contents",
            Interface::Dropping => "dropping",
            Interface::Adding => "adding",
            Interface::Editing => "editing",
            Interface::HostHash => "host-hash",
            Interface::Traces => "traces",
            Interface::HostState => "host-state",
            Interface::Logging => "logging",
            Interface::Metering => "metering",
            Interface::Clock => "clock",
            Interface::Lookup => "lookup",
        }
    }

    /// What has to be granted to a component of this role that imports it; None where its role alone decides.
    pub const fn capability(self, role: Role) -> Option<Capability> {
        match (self, role) {
            (Interface::Logging, _) => Some(Capability::Log),
            (Interface::Metering, _) => Some(Capability::Metrics),
            (Interface::Clock, _) => Some(Capability::Clock),
            (Interface::Lookup, _) => Some(Capability::Lookup),
            (Interface::HostState, Role::Processor) => Some(Capability::State),
            _ => None,
        }
    }

    /// Package, name and version, as components import it.
    pub(super) fn full_name(self) -> String {
        format!("{PACKAGE}/{}@{CONTRACT_VERSION}", self.as_str())
    }
}

/// What a component is for, by what it exports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Judges batches in a pipeline.
    Processor,
    /// Decides in a tail sampler which traces are kept.
    Policy,
}

impl Role {
    /// What a component of this role may import. A policy votes and changes nothing.
    const fn may_import(self, interface: Interface) -> bool {
        match self {
            Role::Processor => !matches!(interface, Interface::Traces),
            Role::Policy => {
                matches!(interface, Interface::Fields | Interface::Batches | Interface::Traces | Interface::HostState)
                    || interface.capability(self).is_some()
            }
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Role::Processor => f.write_str("processor"),
            Role::Policy => f.write_str("policy"),
        }
    }
}

/// What is known of a component without running it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComponentInfo {
    /// SHA-256 of its bytes, in hex.
    pub digest: String,
    /// What it is for.
    pub role: Role,
    /// What it may do, sorted.
    pub imports: Vec<Interface>,
    /// Its size in bytes.
    pub bytes: u64,
    /// What its section of cases holds, as it is there.
    pub cases: Option<Bytes>,
}

impl ComponentInfo {
    /// Reads what `wasm` says of itself.
    pub(super) fn of(name: &str, wasm: &[u8]) -> Result<Self, LoadError> {
        let named = |source| LoadError::NotAComponent { name: name.to_owned(), source };
        let surface = Surface::parse(wasm).map_err(named)?;
        let (role, imports) = surface.check().map_err(|source| LoadError::Imports { name: name.to_owned(), source })?;
        let cases = surface.cases.map(Bytes::copy_from_slice);
        Ok(Self { digest: digest(wasm), role, imports, bytes: wasm.len() as u64, cases })
    }

    /// What happens to a batch that it did not judge, unless the config says otherwise: nothing goes round a component that can
    /// edit, as it may be there to hide something; nothing is lost where it can only drop or add. For a policy it means nothing: the
    /// tail sampler falls back.
    pub fn default_on_fault(&self) -> OnFault {
        if self.edits() { OnFault::Reject } else { OnFault::Pass }
    }

    /// What has to be granted to it, with the interface that says so.
    pub fn needs(&self) -> impl Iterator<Item = (Capability, Interface)> {
        self.imports.iter().filter_map(|&import| Some((import.capability(self.role)?, import)))
    }

    /// Whether it can change what is there.
    pub fn edits(&self) -> bool {
        self.imports.contains(&Interface::Editing)
    }
}

/// Bytes that are no component.
#[derive(Debug, thiserror::Error)]
pub enum NotAComponent {
    /// A core module.
    #[error(
        "it is a core Wasm module; make a component of it with `wasm-tools component new`, or build with a toolchain that makes \
         components (README, \"Writing a processor\")"
    )]
    CoreModule,
    /// The text format.
    #[error("it is WebAssembly text; assemble it with `wasm-tools parse`")]
    Text,
    /// No Wasm at all.
    #[error("it does not begin like a Wasm file")]
    NotWasm,
    /// More cases than a host reads.
    #[error("its section `{CASES_SECTION}` has {0} bytes; at most {CASES_BYTES_MAX} are read")]
    TooManyCases(usize),
    /// Damaged.
    #[error("{0}")]
    Malformed(#[from] wasmparser::BinaryReaderError),
}

/// A component that imports or exports the wrong things.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// WASI.
    #[error(
        "it imports {0}, but components get no WASI: no files, sockets, environment, clocks or randomness; build it for \
         wasm32-unknown-unknown (Rust), or stub WASI out (`componentize-py --stub-wasi`, `componentize-js --disable all`)"
    )]
    Wasi(String),
    /// An interface of the contract that this version does not have.
    #[error("it imports {name}, which this version does not have (it has: {known})")]
    UnknownInterface {
        /// Its name.
        name: String,
        /// Those that exist.
        known: String,
    },
    /// Anything else.
    #[error(
        "it imports {0}, which is not part of sluicebox:telemetry@{CONTRACT_VERSION}; only its interfaces can be imported"
    )]
    Foreign(String),
    /// The contract, in a version that cannot be linked.
    #[error(
        "it was built for sluicebox:telemetry@{found}, but this version speaks {CONTRACT_VERSION}; build it with that version's wit"
    )]
    Version {
        /// Of the component.
        found: String,
    },
    /// It exports no role.
    #[error(
        "it exports neither {PACKAGE}/processor@{CONTRACT_VERSION} nor {PACKAGE}/policy@{CONTRACT_VERSION}; a processor exports `plugin` \
         and `processor`, a tail-sampling policy `plugin` and `policy`"
    )]
    NoRole,
    /// It cannot be configured.
    #[error("it does not export {PACKAGE}/plugin@{CONTRACT_VERSION}; a {role} exports `plugin` and `{role}`")]
    NoPlugin {
        /// What it is else.
        role: Role,
    },
    /// It exports two roles.
    #[error("it exports both `processor` and `policy`; a component is one of them, so build two")]
    TwoRoles,
    /// It imports what is not for its role.
    #[error("it imports {PACKAGE}/{}@{CONTRACT_VERSION}, which a {role} may not; it may import: {allowed}", interface.as_str())]
    NotForRole {
        /// What it imports.
        interface: Interface,
        /// What it is.
        role: Role,
        /// What it could import.
        allowed: String,
    },
}

/// Names a component imports and exports.
#[derive(Debug, Default)]
struct Surface<'a> {
    imports: Vec<&'a str>,
    exports: Vec<&'a str>,
    cases: Option<&'a [u8]>,
}

impl<'a> Surface<'a> {
    fn parse(wasm: &'a [u8]) -> Result<Self, NotAComponent> {
        if !wasm.starts_with(b"\0asm") {
            let text = wasm.trim_ascii_start();
            let is_text = text.starts_with(b"(") || text.starts_with(b";;");
            return Err(if is_text { NotAComponent::Text } else { NotAComponent::NotWasm });
        }
        let mut surface = Self::default();
        // Modules and components inside this one: their imports are met by it.
        let mut depth = 0_u32;
        for payload in Parser::new(0).parse_all(wasm) {
            match payload? {
                Payload::Version { encoding: Encoding::Module, .. } if depth == 0 => {
                    return Err(NotAComponent::CoreModule);
                }
                Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
                Payload::End(_) => depth = depth.saturating_sub(1),
                Payload::ComponentImportSection(section) if depth == 0 => {
                    for import in section {
                        surface.imports.push(import?.name.name);
                    }
                }
                Payload::ComponentExportSection(section) if depth == 0 => {
                    for export in section {
                        surface.exports.push(export?.name.name);
                    }
                }
                Payload::CustomSection(section) if depth == 0 && section.name() == CASES_SECTION => {
                    if section.data().len() > CASES_BYTES_MAX {
                        return Err(NotAComponent::TooManyCases(section.data().len()));
                    }
                    surface.cases = Some(section.data());
                }
                _ => {}
            }
        }
        Ok(surface)
    }

    fn check(&self) -> Result<(Role, Vec<Interface>), ImportError> {
        let mut imports = self.imports.iter().map(|name| interface(name)).collect::<Result<Vec<_>, _>>()?;
        imports.sort_unstable();
        imports.dedup();
        let role = self.role()?;
        match imports.iter().find(|&&interface| !role.may_import(interface)) {
            None => Ok((role, imports)),
            Some(&interface) => {
                let allowed = Interface::ALL.into_iter().filter(|&interface| role.may_import(interface));
                let allowed = allowed.map(Interface::as_str).collect::<Vec<_>>().join(", ");
                Err(ImportError::NotForRole { interface, role, allowed })
            }
        }
    }

    fn role(&self) -> Result<Role, ImportError> {
        let (mut is_plugin, mut is_processor, mut is_policy) = (false, false, false);
        for (interface, version) in self.exports.iter().filter_map(|name| of_contract(name)) {
            check_version(version)?;
            is_plugin |= interface == "plugin";
            is_processor |= interface == "processor";
            is_policy |= interface == "policy";
        }
        let role = match (is_processor, is_policy) {
            (true, false) => Role::Processor,
            (false, true) => Role::Policy,
            (true, true) => return Err(ImportError::TwoRoles),
            (false, false) => return Err(ImportError::NoRole),
        };
        if is_plugin { Ok(role) } else { Err(ImportError::NoPlugin { role }) }
    }
}

fn interface(name: &str) -> Result<Interface, ImportError> {
    if name.starts_with("wasi:") {
        return Err(ImportError::Wasi(name.to_owned()));
    }
    let (interface, version) = of_contract(name).ok_or_else(|| ImportError::Foreign(name.to_owned()))?;
    check_version(version)?;
    Interface::ALL.into_iter().find(|known| known.as_str() == interface).ok_or_else(|| ImportError::UnknownInterface {
        name: name.to_owned(),
        known: Interface::ALL.map(Interface::as_str).join(", "),
    })
}

/// Interface and version of a name of the contract's package.
fn of_contract(name: &str) -> Option<(&str, &str)> {
    let rest = name.strip_prefix(PACKAGE)?.strip_prefix('/')?;
    Some(rest.split_once('@').unwrap_or((rest, "")))
}

/// Versions link if they agree up to the first number that is not 0 (semantic versioning, "caret").
fn check_version(found: &str) -> Result<(), ImportError> {
    let track = |version: &str| -> Vec<String> {
        let mut numbers = version.split('.').map(str::to_owned);
        let mut track = Vec::new();
        for number in numbers.by_ref() {
            let decides = number != "0";
            track.push(number);
            if decides {
                break;
            }
        }
        track
    };
    if track(found) == track(CONTRACT_VERSION) { Ok(()) } else { Err(ImportError::Version { found: found.to_owned() }) }
}

/// Reads a component's file.
pub(super) fn read_file(path: &Path) -> Result<Vec<u8>, LoadError> {
    let failed = |source| LoadError::Read { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    let mut wasm = Vec::new();
    // A file can grow while it is read, so its size is not trusted.
    file.take(COMPONENT_BYTES_MAX + 1).read_to_end(&mut wasm).map_err(failed)?;
    if wasm.len() as u64 > COMPONENT_BYTES_MAX {
        let bytes = std::fs::metadata(path).map_or(wasm.len() as u64, |file| file.len());
        return Err(LoadError::TooLarge { name: path.display().to_string(), bytes, bytes_max: COMPONENT_BYTES_MAX });
    }
    Ok(wasm)
}

/// Lower-case hex.
pub(super) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|b| [DIGITS[usize::from(b >> 4)], DIGITS[usize::from(b & 15)]]).map(char::from).collect()
}

#[cfg(test)]
mod tests;
