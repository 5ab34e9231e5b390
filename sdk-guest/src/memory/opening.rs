use std::cell::RefCell;

use super::data::above;
use super::path::Path;
use crate::Level;

const PATHS_MAX: usize = 16;
const RULES_MAX: usize = 64;
const RULE_NAME_BYTES_MAX: usize = 64;

thread_local! {
    /// The rules opened so far, while a processor is being configured.
    static RULES: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

/// Runs `configure` with opening allowed; also returns the names of the rules that it opened, in order.
pub fn configuring<T>(configure: impl FnOnce() -> T) -> (T, Vec<String>) {
    RULES.set(Some(Vec::new()));
    let configured = configure();
    (configured, RULES.take().unwrap_or_default())
}

#[derive(Debug)]
pub struct Field {
    pub(super) level: Level,
    pub(super) paths: Vec<Path>,
}

pub fn open_field(paths: &[&str]) -> Result<Field, String> {
    if RULES.with_borrow(Option::is_none) {
        return Err("fields are opened while configuring only".into());
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
    Ok(Field { level, paths })
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
