//! Patterns of `IsMatch`: Go's, with bounds on what they take.

use regex::{Regex, RegexBuilder};

/// Memory of one compiled pattern, and of what matching caches for it: 64 of both fit in a guest's memory.
const PATTERN_BYTES_MAX: usize = 256 << 10;
const CACHE_BYTES_MAX: usize = 256 << 10;

/// Compiles a pattern. The error is one line.
pub fn compile(pattern: &str) -> Result<Regex, String> {
    let mut builder = RegexBuilder::new(&go_regex::translate(pattern));
    let compiled = builder.size_limit(PATTERN_BYTES_MAX).dfa_size_limit(CACHE_BYTES_MAX).build();
    compiled.map_err(|error| go_regex::message(&error.to_string()).to_owned())
}

#[cfg(test)]
mod tests {
    use super::compile;

    #[test]
    fn errors_are_one_line() {
        assert_eq!(compile("a(b").unwrap_err(), "unclosed group");
        assert_eq!(compile("(a{100}){100}").unwrap_err(), "Compiled regex exceeds size limit of 262144 bytes.");
    }
}
