//! What a span's `tracestate` says of sampling: its member `ot` (W3C Trace Context 3.3; OpenTelemetry, "TraceState: Probability Sampling").

use sluicebox_guest::Threshold;

use crate::threshold::{read, read_randomness, write, write_randomness};

/// The Collector's bound; W3C asks for 512 at least.
const BYTES_MAX: usize = 1024;
const MEMBERS_MAX: usize = 32;
/// Of a key, of a value, and of the value of `ot`.
const PART_BYTES_MAX: usize = 256;

/// A tracestate that is well-formed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tracestate<'t> {
    /// `th` and `rv`, as they are written.
    threshold: Option<&'t str>,
    randomness: Option<&'t str>,
    /// The other fields of `ot`.
    fields: Vec<&'t str>,
    /// The members besides `ot`.
    members: Vec<&'t str>,
}

/// A tracestate, or its `ot`, that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

impl<'t> Tracestate<'t> {
    /// Reads one; the empty text is an empty one.
    pub fn parse(text: &'t str) -> Result<Tracestate<'t>, Malformed> {
        let mut state = Tracestate::default();
        let mut has_ot = false;
        let members =
            text.split(',').map(|member| member.trim_matches([' ', '\t'])).filter(|member| !member.is_empty());
        for (number, member) in members.enumerate() {
            let (key, value) = member.split_once('=').ok_or(Malformed)?;
            if number == MEMBERS_MAX || text.len() > BYTES_MAX || !is_key(key) || !is_value(value) {
                return Err(Malformed);
            }
            if key != "ot" {
                state.members.push(member);
            } else if std::mem::replace(&mut has_ot, true) {
                return Err(Malformed);
            } else {
                state.parse_ot(value)?;
            }
        }
        Ok(state)
    }

    fn parse_ot(&mut self, value: &'t str) -> Result<(), Malformed> {
        for field in value.split(';') {
            let (key, text) = field.split_once(':').ok_or(Malformed)?;
            match key {
                "th" if read(text).is_some() => self.threshold = Some(text),
                "rv" if read_randomness(text).is_some() => self.randomness = Some(text),
                "th" | "rv" => return Err(Malformed),
                _ if is_field_key(key) && text.bytes().all(is_field_byte) => self.fields.push(field),
                _ => return Err(Malformed),
            }
        }
        Ok(())
    }

    /// The threshold that it came with.
    pub fn threshold(&self) -> Option<Threshold> {
        self.threshold.and_then(read)
    }

    /// The randomness that was chosen for its trace.
    pub fn randomness(&self) -> Option<u64> {
        self.randomness.and_then(read_randomness)
    }

    /// The same with this threshold, and this randomness where it has none. `ot` comes first, as whatever was changed has to; where there
    /// are too many members then, the last goes.
    pub fn with(&self, threshold: Threshold, randomness: Option<u64>) -> String {
        let randomness = self.randomness.map(str::to_owned).or_else(|| randomness.map(write_randomness));
        let mut ot = randomness.map_or_else(String::new, |randomness| format!("rv:{randomness};"));
        ot.push_str("th:");
        ot.push_str(&write(threshold));
        for field in &self.fields {
            ot.push(';');
            ot.push_str(field);
        }
        let mut text = format!("ot={ot}");
        for member in self.members.iter().take(MEMBERS_MAX - 1) {
            text.push(',');
            text.push_str(member);
        }
        text
    }
}

/// W3C Trace Context 3.3.1.3.1: a name, or a tenant and a system with `@` between.
fn is_key(key: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-*/".contains(&byte);
    let begins = |name: &str, is_first: fn(&u8) -> bool| name.as_bytes().first().is_some_and(is_first);
    let is_name = |name: &str, bytes_max| name.len() <= bytes_max && name.bytes().all(is_inner);
    match key.split_once('@') {
        None => begins(key, u8::is_ascii_lowercase) && is_name(key, PART_BYTES_MAX),
        Some((tenant, system)) => {
            begins(tenant, |byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
                && begins(system, u8::is_ascii_lowercase)
                && is_name(tenant, 241)
                && is_name(system, 14)
        }
    }
}

/// W3C Trace Context 3.3.1.3.2: printable ASCII but `,` and `=`; blanks at its ends are not its own.
fn is_value(value: &str) -> bool {
    let is_right = |byte| matches!(byte, b' '..=b'~' if byte != b',' && byte != b'=');
    (1..=PART_BYTES_MAX).contains(&value.len()) && value.bytes().all(is_right)
}

fn is_field_key(key: &str) -> bool {
    key.as_bytes().first().is_some_and(u8::is_ascii_lowercase)
        && key.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}

fn is_field_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"._-".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(text: &str) -> Result<String, Malformed> {
        Tracestate::parse(text).map(|state| state.with(state.threshold().unwrap_or(Threshold::of(0.5)), None))
    }

    #[test]
    fn what_it_says_besides_is_kept_and_ot_comes_first() {
        for (text, expected) in [
            ("", "ot=th:8"),
            ("a=b", "ot=th:8,a=b"),
            ("ot=th:4", "ot=th:4"),
            ("ot=th:80000000000000;rv:90000000000000", "ot=rv:90000000000000;th:8"),
            (
                " a=b ,,\t1t@s_y=c d,ot=p:8;rv:FD70A3D70A3D71;x9:a.B-_",
                "ot=rv:FD70A3D70A3D71;th:8;p:8;x9:a.B-_,a=b,1t@s_y=c d",
            ),
        ] {
            assert_eq!(rewritten(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn randomness_is_added_only_where_there_is_none() {
        let with = |text| Tracestate::parse(text).map(|state| state.with(Threshold::ALWAYS, Some(0xab)));
        assert_eq!(with("").as_deref(), Ok("ot=rv:000000000000ab;th:0"));
        assert_eq!(with("ot=rv:00000000000001").as_deref(), Ok("ot=rv:00000000000001;th:0"));
    }

    #[test]
    fn malformed_ones_are_told() {
        let long = format!("a={}", "v".repeat(256));
        assert_eq!(rewritten(&long), Ok(format!("ot=th:8,{long}")));
        for text in [
            "a",
            "=b",
            "a=",
            "A=b",
            "a b=c",
            "9=a",
            "a@=b",
            "@a=b",
            "a@9=b",
            "a=b=c",
            "a=é",
            "ot=",
            "ot=th",
            "ot=th:",
            "ot=th:g",
            "ot=th:123456789012345",
            "ot=rv:1",
            "ot=X:1",
            "ot=x:+",
            "ot=th:8;",
            "ot=th:8,ot=th:8",
            &format!("{long}v"),
        ] {
            assert_eq!(rewritten(text), Err(Malformed), "{text}");
        }
        assert_eq!(rewritten(&[long.as_str(); 4].join(",")), Err(Malformed), "1,035 bytes");
    }

    #[test]
    fn there_are_at_most_32_members() {
        let members = |count: usize| (0..count).map(|number| format!("m{number}=v")).collect::<Vec<_>>().join(",");
        assert_eq!(rewritten(&members(31)), Ok(format!("ot=th:8,{}", members(31))));
        assert_eq!(rewritten(&members(32)), Ok(format!("ot=th:8,{}", members(31))));
        assert_eq!(rewritten(&members(33)), Err(Malformed));
    }
}
