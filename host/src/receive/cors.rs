//! Cross-origin requests of browsers (Fetch standard, "CORS protocol"), as `protocols.http.cors` allows them.

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderValue, Method};

use crate::config::model::HttpServer;

/// Headers that OTLP needs and that the standard does not allow by itself.
const HEADERS_ALWAYS_ALLOWED: [&str; 2] = ["content-type", "content-encoding"];

/// What a browser is told.
#[derive(Debug)]
pub(super) struct Cors {
    origins: Vec<String>,
    headers: HeaderValue,
    max_age: Option<HeaderValue>,
}

impl Cors {
    /// None where the configuration names no origin.
    pub(super) fn new(config: &HttpServer) -> Option<Cors> {
        if config.cors_allowed_origins.is_empty() {
            return None;
        }
        let mut headers: Vec<&str> = HEADERS_ALWAYS_ALLOWED.to_vec();
        headers.extend(config.cors_allowed_headers.iter().map(String::as_str));
        // A header name that is no header value can only come from an invalid configuration: then only the fixed ones are allowed.
        let headers = HeaderValue::try_from(headers.join(", "))
            .unwrap_or_else(|_| HeaderValue::from_static("content-type, content-encoding"));
        let max_age = config.cors_max_age.map(|age| HeaderValue::from(age.as_secs()));
        Some(Cors { origins: config.cors_allowed_origins.clone(), headers, max_age })
    }

    /// True for the request that a browser sends ahead.
    pub(super) fn is_preflight(method: &Method, headers: &HeaderMap) -> bool {
        method == Method::OPTIONS && headers.contains_key(ORIGIN) && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
    }

    /// Headers of any answer to a request with `origin`; where the origin is not allowed, only `vary`.
    pub(super) fn decorate(&self, origin: &HeaderValue, preflight: bool, headers: &mut HeaderMap) {
        headers.append(VARY, HeaderValue::from_static("origin"));
        if !self.allows(origin.as_bytes()) {
            return;
        }
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        if preflight {
            headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("POST"));
            headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, self.headers.clone());
            if let Some(age) = &self.max_age {
                headers.insert(ACCESS_CONTROL_MAX_AGE, age.clone());
            }
        }
    }

    fn allows(&self, origin: &[u8]) -> bool {
        self.origins.iter().any(|pattern| matches(pattern.as_bytes(), origin))
    }
}

/// `*` stands for any text; letter case does not count.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let mut parts = pattern.split(|&byte| byte == b'*');
    let first = parts.next().unwrap_or_default();
    let Some(last) = parts.next_back() else { return text.eq_ignore_ascii_case(pattern) };
    if text.len() < first.len() + last.len() {
        return false;
    }
    let (head, rest) = text.split_at(first.len());
    let (mut middle, tail) = rest.split_at(rest.len() - last.len());
    if !head.eq_ignore_ascii_case(first) || !tail.eq_ignore_ascii_case(last) {
        return false;
    }
    for part in parts.filter(|part| !part.is_empty()) {
        let Some(at) = middle.windows(part.len()).position(|window| window.eq_ignore_ascii_case(part)) else {
            return false;
        };
        middle = &middle[at + part.len()..];
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_match_with_wildcards() {
        assert!(matches(b"*", b"https://anything"));
        assert!(matches(b"https://*.example.com", b"https://a.b.EXAMPLE.com"));
        assert!(!matches(b"https://*.example.com", b"https://example.com"));
        assert!(!matches(b"https://*.example.com", b"https://a.example.com.evil.net"));
        assert!(matches(b"http://localhost:*", b"http://localhost:3000"));
        assert!(matches(b"a*b*c", b"a-b-c"));
        assert!(!matches(b"a*b*c", b"a-c"));
        assert!(!matches(b"aa*aa", b"aaa"));
    }
}
