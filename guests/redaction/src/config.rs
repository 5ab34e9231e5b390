//! The configuration, as JSON: the Collector's keys and ours.

use config_reader::Reader;
use serde_json::{Map, Value};

use crate::db::{self, Family};
use crate::detect::Detector;
use crate::mask::{self, Hash};

/// What is configured.
#[derive(Debug, Default)]
pub struct Config {
    pub allow_all_keys: bool,
    pub allowed_keys: Vec<String>,
    pub ignored_keys: Vec<String>,
    pub ignored_key_patterns: Vec<String>,
    pub blocked_key_patterns: Vec<String>,
    pub blocked_values: Vec<String>,
    pub allowed_values: Vec<String>,
    pub redact_all_types: bool,
    pub detectors: Vec<Detector>,
    pub mask: MaskConfig,
    pub summary: Summary,
    /// None if it is switched off.
    pub url: Option<Url>,
    pub db: Db,
}

/// How to hide.
#[derive(Debug)]
pub enum MaskConfig {
    Text(String),
    Hash(Hash),
    /// The name of a key that the host has.
    Key(String),
}

impl Default for MaskConfig {
    fn default() -> Self {
        MaskConfig::Text(mask::DEFAULT.to_owned())
    }
}

/// What is said of the work in attributes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Summary {
    #[default]
    Silent,
    Counts,
    CountsAndKeys,
}

/// `url_sanitizer`.
#[derive(Debug, Default)]
pub struct Url {
    pub attributes: Vec<String>,
    pub span_names: bool,
    pub log_bodies: bool,
}

/// `db_sanitizer`.
#[derive(Debug, Default)]
pub struct Db {
    /// Those that are switched on.
    pub systems: Vec<System>,
    pub span_names: bool,
}

/// A database system that is switched on.
#[derive(Debug)]
pub struct System {
    pub name: &'static str,
    pub family: Family,
    pub attributes: Vec<String>,
}

const KEYS: &[&str] = &[
    "allow_all_keys",
    "allowed_keys",
    "ignored_keys",
    "ignored_key_patterns",
    "redact_all_types",
    "blocked_key_patterns",
    "blocked_values",
    "allowed_values",
    "hash_function",
    "hmac_key",
    "summary",
    "url_sanitizer",
    "db_sanitizer",
    "mask",
    "masking_string",
    "detectors",
    "key",
];

/// Reads the configuration. The errors are all that were found.
pub fn read(text: &str) -> Result<Config, Vec<String>> {
    let config: Value = serde_json::from_str(text).map_err(|error| vec![format!("not JSON: {error}")])?;
    let Value::Object(config) = config else { return Err(vec!["the configuration is not a map".to_owned()]) };
    let mut reader = Reader::default();
    for key in config.keys() {
        match key.as_str() {
            "skip_conditions" => {
                reader.fail(key, "is not supported; leave rows out with a filter in a pipeline of its own")
            }
            _ => reader.known("", key, KEYS),
        }
    }
    let read = Config {
        allow_all_keys: reader.bool("allow_all_keys", config.get("allow_all_keys"), false),
        allowed_keys: reader.texts("allowed_keys", config.get("allowed_keys")),
        ignored_keys: reader.texts("ignored_keys", config.get("ignored_keys")),
        ignored_key_patterns: reader.texts("ignored_key_patterns", config.get("ignored_key_patterns")),
        blocked_key_patterns: reader.texts("blocked_key_patterns", config.get("blocked_key_patterns")),
        blocked_values: reader.texts("blocked_values", config.get("blocked_values")),
        allowed_values: reader.texts("allowed_values", config.get("allowed_values")),
        redact_all_types: reader.bool("redact_all_types", config.get("redact_all_types"), false),
        detectors: detectors(&mut reader, config.get("detectors")),
        mask: mask(&mut reader, &config),
        summary: summary(&mut reader, config.get("summary")),
        url: url(&mut reader, config.get("url_sanitizer")),
        db: db(&mut reader, config.get("db_sanitizer")),
    };
    if reader.errors.is_empty() { Ok(read) } else { Err(reader.errors) }
}

fn detectors(reader: &mut Reader, value: Option<&Value>) -> Vec<Detector> {
    let mut detectors = Vec::new();
    for (number, name) in reader.texts("detectors", value).iter().enumerate() {
        match Detector::ALL.into_iter().find(|detector| detector.name() == name) {
            Some(detector) if detectors.contains(&detector) => {
                reader.fail(&format!("detectors[{number}]"), format!("`{name}` is there twice"));
            }
            Some(detector) => detectors.push(detector),
            None => {
                let known = Detector::ALL.map(Detector::name);
                reader.fail(&format!("detectors[{number}]"), config_reader::unknown("detector", name, &known));
            }
        }
    }
    detectors
}

/// `mask`, `hash_function` with `hmac_key`, or `key`: at most one of the three.
fn mask(reader: &mut Reader, config: &Map<String, Value>) -> MaskConfig {
    let mask = reader.text("mask", config.get("mask"));
    let masking_string = reader.text("masking_string", config.get("masking_string"));
    let key = reader.text("key", config.get("key"));
    let hmac_key = reader.text("hmac_key", config.get("hmac_key"));
    let function = reader.text("hash_function", config.get("hash_function")).filter(|name| !name.is_empty());
    if mask.is_some() && masking_string.is_some() {
        reader.fail("masking_string", "is the same as `mask`; use one of them");
    }
    let text = mask.or(masking_string);
    if text.as_deref() == Some("") {
        reader.fail("mask", "is empty: nobody could see that something was hidden");
    }
    let chosen = [("mask", text.is_some()), ("hash_function", function.is_some()), ("key", key.is_some())];
    let chosen: Vec<&str> = chosen.into_iter().filter(|(_, is_there)| *is_there).map(|(name, _)| name).collect();
    if chosen.len() > 1 {
        reader
            .fail(chosen[1], format!("cannot stand beside `{}`: what is hidden is replaced by one of them", chosen[0]));
    }
    let hash = function.and_then(|name| hash(reader, &name, hmac_key.clone()));
    if hmac_key.is_some() && !matches!(hash, Some(Hash::HmacSha256(_) | Hash::HmacSha512(_))) {
        reader.fail("hmac_key", "needs `hash_function: hmac-sha256` or `hmac-sha512`");
    }
    match (text, hash, key) {
        (Some(text), ..) => MaskConfig::Text(text),
        (_, Some(hash), _) => MaskConfig::Hash(hash),
        (.., Some(key)) => MaskConfig::Key(key),
        _ => MaskConfig::default(),
    }
}

fn hash(reader: &mut Reader, name: &str, key: Option<String>) -> Option<Hash> {
    let keyed = |reader: &mut Reader, bytes_min: usize| {
        let key = key.unwrap_or_default().into_bytes();
        if key.len() < bytes_min {
            // Its length is no secret, and short of it everything about it is.
            let has = key.len();
            reader.fail(
                "hmac_key",
                format!("has {has} bytes; {name} takes at least {bytes_min}, such as ${{env:REDACTION_KEY}}"),
            );
        }
        key
    };
    match name.to_ascii_lowercase().as_str() {
        "md5" => Some(Hash::Md5),
        "sha1" => Some(Hash::Sha1),
        "sha3" => Some(Hash::Sha3),
        "hmac-sha256" => Some(Hash::HmacSha256(keyed(reader, 32))),
        "hmac-sha512" => Some(Hash::HmacSha512(keyed(reader, 64))),
        _ => {
            let known = ["md5", "sha1", "sha3", "hmac-sha256", "hmac-sha512"];
            reader.fail("hash_function", config_reader::unknown("hash function", name, &known));
            None
        }
    }
}

fn summary(reader: &mut Reader, value: Option<&Value>) -> Summary {
    match reader.text("summary", value).as_deref() {
        None | Some("" | "silent") => Summary::Silent,
        Some("info") => Summary::Counts,
        Some("debug") => Summary::CountsAndKeys,
        Some(other) => {
            reader.fail("summary", config_reader::unknown("summary", other, &["debug", "info", "silent"]));
            Summary::Silent
        }
    }
}

fn url(reader: &mut Reader, value: Option<&Value>) -> Option<Url> {
    let map = reader.map("url_sanitizer", value)?;
    for key in map.keys() {
        reader.known("url_sanitizer.", key, &["enabled", "attributes", "sanitize_span_name", "sanitize_log_body"]);
    }
    let is_enabled = reader.bool("url_sanitizer.enabled", map.get("enabled"), false);
    let url = Url {
        attributes: reader.texts("url_sanitizer.attributes", map.get("attributes")),
        span_names: reader.bool("url_sanitizer.sanitize_span_name", map.get("sanitize_span_name"), true),
        log_bodies: reader.bool("url_sanitizer.sanitize_log_body", map.get("sanitize_log_body"), false),
    };
    is_enabled.then_some(url)
}

fn db(reader: &mut Reader, value: Option<&Value>) -> Db {
    let Some(map) = reader.map("db_sanitizer", value) else { return Db::default() };
    let names: Vec<&str> = db::SYSTEMS.iter().map(|(name, ..)| *name).chain(["sanitize_span_name"]).collect();
    for key in map.keys() {
        reader.known("db_sanitizer.", key, &names);
    }
    let mut systems = Vec::new();
    for (name, family, _) in db::SYSTEMS {
        let at = format!("db_sanitizer.{name}");
        let Some(system) = reader.map(&at, map.get(*name)) else { continue };
        for key in system.keys() {
            reader.known(&format!("{at}."), key, &["enabled", "attributes"]);
        }
        let attributes = reader.texts(&format!("{at}.attributes"), system.get("attributes"));
        if reader.bool(&format!("{at}.enabled"), system.get("enabled"), false) {
            systems.push(System { name, family: *family, attributes });
        }
    }
    Db { systems, span_names: reader.bool("db_sanitizer.sanitize_span_name", map.get("sanitize_span_name"), true) }
}
