//! Who asked for a change.

use std::fmt;

/// Longest name that is kept of what a client claims to be.
pub const CLAIMED_BYTES_MAX: usize = 64;

/// Where a change came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// The process was started.
    Start,
    /// A watched file changed.
    Watch,
    /// SIGHUP.
    Signal,
    /// The admin API, with the name that its client claims.
    Api(Option<Claimed>),
    /// The admin API over its Unix socket: the kernel says whose process asks.
    User(Claimed),
}

/// A name that a client gave itself, in [`Who::Api`]: it is not proven, whoever holds the token may write any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimed(String);

impl Claimed {
    /// None where it is empty, longer than [`CLAIMED_BYTES_MAX`], or holds anything but printable ASCII: it goes into logs and onto terminals.
    pub fn of(name: &str) -> Option<Self> {
        let is_printable = |byte: u8| byte.is_ascii_graphic() || byte == b' ';
        let fits = !name.trim().is_empty() && name.len() <= CLAIMED_BYTES_MAX && name.bytes().all(is_printable);
        fits.then(|| Self(name.trim().to_owned()))
    }
}

impl Who {
    /// The user behind a Unix socket: the name, else the number.
    pub fn user(uid: u32, name: Option<&str>) -> Who {
        Who::User(name.and_then(Claimed::of).unwrap_or_else(|| Claimed(format!("uid {uid}"))))
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Who::Start => f.write_str("start"),
            Who::Watch => f.write_str("watch"),
            Who::Signal => f.write_str("signal"),
            Who::Api(None) => f.write_str("api"),
            Who::Api(Some(Claimed(name))) => write!(f, "api ({name}, as it says)"),
            Who::User(Claimed(name)) => write!(f, "api ({name})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claimed_name_is_short_and_printable() {
        let who = |name| Who::Api(Claimed::of(name)).to_string();
        assert_eq!(
            (who("alice"), who(" Ada L. ")),
            ("api (alice, as it says)".to_owned(), "api (Ada L., as it says)".to_owned())
        );
        for odd in ["", "  ", "a\nb", "\u{1b}[31m", "é", &"a".repeat(CLAIMED_BYTES_MAX + 1)] {
            assert_eq!(who(odd), "api", "{odd:?}");
        }
        assert!(Claimed::of(&"a".repeat(CLAIMED_BYTES_MAX)).is_some());
    }
}
