use std::cell::{Cell, RefCell};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::data::above;
use super::path::Path;
use crate::Level;

const FIELDS_MAX: usize = 256;
const PATHS_MAX: usize = 16;
const PATH_BYTES_MAX: usize = 1024;
const KEYS_MAX: usize = 64;
const RULES_MAX: usize = 64;
const RULE_NAME_BYTES_MAX: usize = 64;

/// Keys for hashes by their names.
pub type Secrets = Vec<(String, Vec<u8>)>;

thread_local! {
    /// The rules opened so far, while a processor is being configured.
    static RULES: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
    /// The keys that there are, while a processor is being configured.
    static SECRETS: RefCell<Option<Secrets>> = const { RefCell::new(None) };
    /// How many fields and keys were opened.
    static OPENED: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
}

/// Runs `configure` with opening allowed; also returns the names of the rules that it opened, in order.
pub fn configuring<T>(secrets: Secrets, configure: impl FnOnce() -> T) -> (T, Vec<String>) {
    RULES.set(Some(Vec::new()));
    SECRETS.set(Some(secrets));
    OPENED.set((0, 0));
    let configured = configure();
    SECRETS.set(None);
    (configured, RULES.take().unwrap_or_default())
}

#[derive(Debug)]
pub struct Field {
    pub(super) level: Level,
    pub(super) paths: Vec<Path>,
    pub(super) is_writable: bool,
}

pub fn open_field(paths: &[&str]) -> Result<Field, String> {
    if RULES.with_borrow(Option::is_none) {
        return Err("fields are opened while configuring only".into());
    }
    let (fields, keys) = OPENED.get();
    if fields == FIELDS_MAX {
        return Err(format!("more than {FIELDS_MAX} fields"));
    }
    OPENED.set((fields + 1, keys));
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
        SECRETS.with_borrow(|secrets| {
            let Some(secrets) = secrets else { return Err("keys are opened while configuring only".into()) };
            let (fields, keys) = OPENED.get();
            if keys == KEYS_MAX {
                return Err(format!("more than {KEYS_MAX} keys"));
            }
            OPENED.set((fields, keys + 1));
            if let Some((_, secret)) = secrets.iter().find(|(has, _)| has == name) {
                return Ok(Key { secret: secret.clone() });
            }
            let names = secrets.iter().map(|(name, _)| format!("`{name}`")).collect::<Vec<_>>().join(", ");
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

impl Rule {
    pub fn open(name: &str) -> Result<Rule, String> {
        RULES.with_borrow_mut(|rules| {
            let Some(rules) = rules else { return Err("rules are opened while configuring only".into()) };
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
            Ok(Rule { number: rules.len() - 1 })
        })
    }
}

fn depth(level: Level) -> usize {
    std::iter::successors(Some(level), |level| above(*level)).count()
}
