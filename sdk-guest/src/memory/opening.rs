use std::cell::RefCell;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::data::above;
use super::path::Path;
use super::states::States;
use super::tables::TestTable;
use super::told::Told;
use crate::Level;

const FIELDS_MAX: usize = 256;
const PATHS_MAX: usize = 16;
const PATH_BYTES_MAX: usize = 1024;
const KEYS_MAX: usize = 64;
const RULES_MAX: usize = 64;
const RULE_NAME_BYTES_MAX: usize = 64;

/// What a stage has besides its configuration.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// Keys for hashes by their names.
    pub secrets: Vec<(String, Vec<u8>)>,
    pub tables: Vec<TestTable>,
}

thread_local! {
    /// What is opened, while a component is being configured.
    static OPENING: RefCell<Option<Opening>> = const { RefCell::new(None) };
}

/// What there is to open, and what was opened so far.
#[derive(Debug)]
struct Opening {
    given: Given,
    states: States,
    told: Told,
    rules: Vec<String>,
    fields: usize,
    keys: usize,
    lines: usize,
    tables: usize,
}

/// What a component opened.
#[derive(Debug)]
pub struct Opened {
    /// The names of its rules, in order.
    pub rules: Vec<String>,
    /// Whether it opened any field.
    pub has_fields: bool,
}

/// Runs `configure` with opening allowed. Of host state it opens what `states` has under the same name, else new ones.
pub fn configuring<T>(given: Given, states: &States, told: &Told, configure: impl FnOnce() -> T) -> (T, Opened) {
    let (states, told) = (states.clone(), told.clone());
    OPENING.set(Some(Opening { given, states, told, rules: Vec::new(), fields: 0, keys: 0, lines: 0, tables: 0 }));
    let configured = configure();
    let opening = OPENING.take();
    let (rules, fields) = opening.map_or_else(Default::default, |opening| (opening.rules, opening.fields));
    (configured, Opened { rules, has_fields: fields > 0 })
}

/// Opens something; `what` names it where that is not allowed now.
pub fn open<T>(what: &str, open: impl FnOnce(&mut States) -> Result<T, String>) -> Result<T, String> {
    opening(what, |opening| open(&mut opening.states))
}

/// Opens something that is told; `what` names it where that is not allowed now.
pub fn with_told<T>(what: &str, open: impl FnOnce(&Told) -> Result<T, String>) -> Result<T, String> {
    opening(what, |opening| open(&opening.told))
}

/// One line more.
pub fn count_line(lines_max: usize) -> Result<(), String> {
    opening("lines", |opening| {
        opening.lines += 1;
        if opening.lines > lines_max { Err(format!("more than {lines_max} lines")) } else { Ok(()) }
    })
}

/// Opens columns of a table.
pub fn with_table<T>(
    name: &str,
    tables_max: usize,
    open: impl FnOnce(&TestTable) -> Result<T, String>,
) -> Result<T, String> {
    opening("tables", |opening| {
        opening.tables += 1;
        if opening.tables > tables_max {
            return Err(format!("more than {tables_max} tables"));
        }
        let tables = &opening.given.tables;
        if let Some(table) = tables.iter().find(|table| table.name() == name) {
            return open(table);
        }
        let names = tables.iter().map(|table| format!("`{}`", table.name())).collect::<Vec<_>>().join(", ");
        let there = if names.is_empty() { "there are none".to_owned() } else { format!("there are {names}") };
        Err(format!("no table is called `{name}`; {there}"))
    })
}

fn opening<T>(what: &str, open: impl FnOnce(&mut Opening) -> Result<T, String>) -> Result<T, String> {
    OPENING.with_borrow_mut(|opening| match opening {
        Some(opening) => open(opening),
        None => Err(format!("{what} are opened while configuring only")),
    })
}

#[derive(Debug)]
pub struct Field {
    pub(super) level: Level,
    pub(super) paths: Vec<Path>,
    pub(super) is_writable: bool,
}

pub fn open_field(paths: &[&str]) -> Result<Field, String> {
    opening("fields", |opening| {
        if opening.fields == FIELDS_MAX {
            return Err(format!("more than {FIELDS_MAX} fields"));
        }
        opening.fields += 1;
        Ok(())
    })?;
    if paths.iter().any(|path| path.len() > PATH_BYTES_MAX) {
        return Err(format!("a path longer than {PATH_BYTES_MAX} bytes"));
    }
    let paths = paths.iter().map(|path| Path::parse(path)).collect::<Result<Vec<_>, _>>()?;
    let Some(level) = paths.iter().map(|path| path.level).max_by_key(|level| depth(*level)) else {
        return Err("a field has at least one path".into());
    };
    if paths.len() > PATHS_MAX {
        return Err(format!("a field has at most {PATHS_MAX} paths"));
    }
    for path in &paths {
        if !std::iter::successors(Some(level), |level| above(*level)).any(|above| above == path.level) {
            return Err(format!("`{}` and `{}` cannot be read together", path.level.as_str(), level.as_str()));
        }
    }
    Ok(Field { level, paths, is_writable: false })
}

impl Field {
    pub fn open_to_write(path: &str) -> Result<Field, String> {
        let field = open_field(&[path])?;
        match field.paths[0].not_writable() {
            Some(why) => Err(format!("`{path}`: {why}")),
            None => Ok(Field { is_writable: true, ..field }),
        }
    }
}

/// A key for hashes.
#[derive(Debug)]
pub struct Key {
    secret: Vec<u8>,
}

impl Key {
    pub fn open(name: &str) -> Result<Key, String> {
        opening("keys", |opening| {
            if opening.keys == KEYS_MAX {
                return Err(format!("more than {KEYS_MAX} keys"));
            }
            opening.keys += 1;
            if let Some((_, secret)) = opening.given.secrets.iter().find(|(has, _)| has == name) {
                return Ok(Key { secret: secret.clone() });
            }
            let names =
                opening.given.secrets.iter().map(|(name, _)| format!("`{name}`")).collect::<Vec<_>>().join(", ");
            let there = if names.is_empty() { "there are none".to_owned() } else { format!("there are {names}") };
            Err(format!("no key is called `{name}`; {there}"))
        })
    }

    pub fn hmac_sha256(&self, offsets: &[u32], bytes: &[u8]) -> Vec<u8> {
        let hash = |bounds: &[u32]| {
            let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.secret) else {
                unreachable!("HMAC takes keys of any length")
            };
            mac.update(&bytes[bounds[0] as usize..bounds[1] as usize]);
            mac.finalize().into_bytes().to_vec()
        };
        offsets.windows(2).flat_map(hash).collect()
    }
}

#[derive(Debug)]
pub struct Rule {
    pub(super) number: usize,
}

/// The rule, and its number in the order of opening.
pub fn open_rule(name: &str) -> Result<(Rule, u32), String> {
    opening("rules", |opening| {
        let rules = &mut opening.rules;
        if name.is_empty() || name.len() > RULE_NAME_BYTES_MAX {
            return Err(format!("the rule name `{name}` is not of 1 to {RULE_NAME_BYTES_MAX} bytes"));
        }
        if rules.iter().any(|has| has == name) {
            return Err(format!("the rule `{name}` is already there"));
        }
        if rules.len() == RULES_MAX {
            return Err(format!("more than {RULES_MAX} rules"));
        }
        rules.push(name.to_owned());
        Ok((Rule { number: rules.len() - 1 }, rules.len() as u32 - 1))
    })
}

fn depth(level: Level) -> usize {
    std::iter::successors(Some(level), |level| above(*level)).count()
}
