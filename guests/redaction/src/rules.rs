//! To whom edits are accounted: a rule for each thing of the configuration that can act.

use sluicebox_guest::Rule;

use crate::config::{Config, Summary};
use crate::detect::Detector;
use crate::scan::Finder;

/// As many as the contract allows.
const RULES_MAX: usize = 64;

/// Why something is edited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    AllowedKeys,
    BlockedKeys,
    Found(Finder),
    Url,
    Db,
    Summary,
}

/// The rules, in the order in which they were opened.
#[derive(Debug)]
pub struct Rules {
    rules: Vec<(Reason, Rule)>,
}

impl Rules {
    /// Opens those that can act. If there are more patterns than rules, the last rule is for all patterns that are left.
    pub fn open(config: &Config) -> Result<Rules, String> {
        let is_on = [
            (Reason::AllowedKeys, "allowed_keys", !config.allow_all_keys),
            (Reason::BlockedKeys, "blocked_key_patterns", !config.blocked_key_patterns.is_empty()),
            (Reason::Url, "url_sanitizer", config.url.is_some()),
            (Reason::Db, "db_sanitizer", !config.db.systems.is_empty()),
            (Reason::Summary, "summary", config.summary != Summary::Silent),
        ];
        let mut names: Vec<(Reason, String)> =
            is_on.into_iter().filter(|(.., is_on)| *is_on).map(|(reason, name, _)| (reason, name.to_owned())).collect();
        let named = |detector: &Detector| {
            (Reason::Found(Finder::Detector(*detector)), format!("detectors.{}", detector.name()))
        };
        names.extend(config.detectors.iter().map(named));
        let patterns = config.blocked_values.len();
        let own = if patterns <= RULES_MAX - names.len() { patterns } else { RULES_MAX - names.len() - 1 };
        let reason = |number| Reason::Found(Finder::Pattern(number));
        names.extend((0..own).map(|number| (reason(number), format!("blocked_values[{number}]"))));
        names.extend((own < patterns).then(|| (reason(own), format!("blocked_values[{own}..]"))));
        let open = |(reason, name): (Reason, String)| Ok((reason, Rule::open(&name)?));
        Ok(Rules { rules: names.into_iter().map(open).collect::<Result<_, String>>()? })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// The number of the rule for this.
    pub fn number(&self, reason: Reason) -> usize {
        let exact = self.rules.iter().position(|(of, _)| *of == reason);
        exact.unwrap_or(self.rules.len().saturating_sub(1))
    }

    pub fn get(&self, number: usize) -> Option<&Rule> {
        self.rules.get(number).map(|(_, rule)| rule)
    }
}
