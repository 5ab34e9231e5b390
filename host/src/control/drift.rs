//! Where the file says something else than what serves.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::history::{Record, config_hash};
use super::known::{Known, same_config};
use crate::config::Place;

/// A stage that serves what the file does not say. A restart undoes that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Drift {
    /// Where the file says otherwise.
    pub places: Vec<DriftPlace>,
    /// SHA-256 of the component that a restart returns to, in hex.
    pub returns_to_digest: String,
    /// Hash of the configuration that a restart returns to; see [`config_hash`].
    pub returns_to_config: String,
    /// Who brought what serves.
    pub who: String,
    /// When, in seconds since 1970.
    pub since: u64,
}

/// A key of the file that says something else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct DriftPlace {
    /// `component`, `config`, `keys`, `limits` or `on_fault`.
    pub key: String,
    /// The file's name as messages have it.
    pub file: String,
    /// Where the key's value begins, or the stage.
    pub line: u32,
}

impl Drift {
    /// None where the stage serves what the file says. `files` are names by the numbers of places.
    pub(super) fn of(known: &Known, files: &[String], record: Option<&Record>) -> Option<Self> {
        if !known.has_drifted() {
            return None;
        }
        let Known { serving, filed, filed_digest } = known;
        let differing = [
            ("component", serving.component != filed.component, filed.place),
            ("config", !same_config(&serving.config, &filed.config), filed.config_place),
            ("keys", serving.keys != filed.keys, filed.place),
            ("limits", serving.limits != filed.limits, filed.place),
            ("on_fault", serving.on_fault != filed.on_fault, filed.place),
        ];
        let place = |(key, differs, place): (&str, bool, Place)| {
            let file = files.get(usize::from(place.file)).cloned().unwrap_or_default();
            differs.then(|| DriftPlace { key: key.to_owned(), file, line: place.line })
        };
        Some(Self {
            places: differing.into_iter().filter_map(place).collect(),
            returns_to_digest: filed_digest.clone(),
            returns_to_config: config_hash(&filed.config),
            who: record.map(|record| record.who.clone()).unwrap_or_default(),
            since: record.map_or(0, |record| record.time),
        })
    }
}

/// In one line, for people.
impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let places: Vec<_> =
            self.places.iter().map(|DriftPlace { key, file, line }| format!("{key} at {file}:{line}")).collect();
        let digest = self.returns_to_digest.get(..12).unwrap_or(&self.returns_to_digest);
        let (places, config) = (places.join(", "), &self.returns_to_config);
        write!(f, "the file says otherwise ({places}): a restart returns to sha256:{digest} with config {config}")
    }
}
