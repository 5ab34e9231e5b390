//! Collapses what is variable in URLs and in span names that hold a path: ids become `*`, queries and fragments go.
//!
//! The Collector asks a statistical model of English whether a segment is a word. Here it is a fixed rule, so that equal URLs always
//! become equal texts and an operator can tell why.

/// What follows so many slashes is cut off, as the Collector does.
const SLASHES_MAX: usize = 10;
/// A longer segment is an id.
const WORD_BYTES_MAX: usize = 48;
/// Letters without a vowel, and consonants in a row, from which on a segment is no word.
const UNSPEAKABLE_LETTERS_MIN: usize = 6;
/// Letters that are all hexadecimal digits.
const HEX_LETTERS_MIN: usize = 8;
/// Letters of which more than a third begin anew in upper case, as in base64 and not in `getUserById`.
const MIXED_LETTERS_MIN: usize = 8;

/// The URL with its ids collapsed. Scheme, host and port stay; a user and a password before the host become `*`.
pub fn sanitize(url: &str) -> String {
    let url = &url[..url.find(['?', '#', '&']).unwrap_or(url.len())];
    let mut out = String::with_capacity(url.len());
    let path = match url.split_once("://") {
        Some((scheme, rest)) if is_scheme(scheme) => {
            let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            out.push_str(scheme);
            out.push_str("://");
            match authority.rsplit_once('@') {
                Some((_, host)) => out.extend(["*@", host]),
                None => out.push_str(authority),
            }
            path
        }
        _ => url,
    };
    for (slashes, segment) in path.split('/').enumerate() {
        if slashes == SLASHES_MAX {
            break;
        }
        if slashes > 0 {
            out.push('/');
        }
        out.push_str(if is_word(segment) { segment } else { "*" });
    }
    out
}

fn is_scheme(scheme: &str) -> bool {
    scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'))
}

/// Whether a segment names something that is the same for all requests.
fn is_word(segment: &str) -> bool {
    let bytes = segment.as_bytes();
    // One digit after the first letter is a version's or a name's: `v1`, `k6-runs`. Two are, if nothing follows: `v10`.
    let is_version = matches!(bytes, [b'v' | b'V', rest @ ..] if (1..=2).contains(&rest.len()) && rest.iter().all(u8::is_ascii_digit));
    let is_part = |(at, byte): (usize, &u8)| {
        byte.is_ascii_alphabetic() || matches!(byte, b'-' | b'_' | b'.' | b' ') || at == 1 && byte.is_ascii_digit()
    };
    is_version
        || bytes.len() <= WORD_BYTES_MAX
            && bytes.iter().enumerate().all(is_part)
            && segment.split(['-', '_', '.', ' ']).all(is_speakable)
}

fn is_speakable(word: &str) -> bool {
    let letters = word.bytes().filter(u8::is_ascii_alphabetic).count();
    let is_vowel = |byte: u8| matches!(byte.to_ascii_lowercase(), b'a' | b'e' | b'i' | b'o' | b'u' | b'y');
    let has_vowel = word.bytes().any(is_vowel);
    let row = word.as_bytes().split(|byte| is_vowel(*byte)).map(<[u8]>::len).max().unwrap_or(0);
    let is_hex = letters >= HEX_LETTERS_MIN && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let bytes = word.as_bytes();
    let capitals = bytes.windows(2).filter(|two| !two[0].is_ascii_uppercase() && two[1].is_ascii_uppercase()).count();
    let is_mixed = letters >= MIXED_LETTERS_MIN && capitals > letters / 3;
    (has_vowel || letters < UNSPEAKABLE_LETTERS_MIN) && row <= UNSPEAKABLE_LETTERS_MIN && !is_hex && !is_mixed
}

#[cfg(test)]
mod tests {
    use super::sanitize;

    #[test]
    fn ids_are_collapsed() {
        let cases = [
            ("", ""),
            ("/api/users/123e4567-e89b-12d3-a456-426614174000", "/api/users/*"),
            ("/api/users/12345", "/api/users/*"),
            ("/api/users/123/posts/456", "/api/users/*/posts/*"),
            ("/api/users", "/api/users"),
            ("/api/users?id=123&name=john", "/api/users"),
            ("/attach#section-1", "/attach"),
            ("GET /api/cart?sessionId=55f4e5ea", "GET /api/cart"),
            ("/users/fdklsd/j4elk/23993/job/2", "/users/*/j4elk/*/job/*"),
            ("/v1/k6-test-runs/1", "/v1/k6-test-runs/*"),
            ("/api.backup/hello.world", "/api.backup/hello.world"),
            ("123/ljgdflgjf", "*/*"),
            ("/products//org/3", "/products//org/*"),
            ("/v10/files/Zm9vYmFyQmF6UXV4/meta", "/v10/files/*/meta"),
            ("/user/jane.doe@example.com/orders", "/user/*/orders"),
            ("/user/jane%40example.com", "/user/*"),
            ("/blob/deadbeefcafe", "/blob/*"),
            ("/t/aGVsBGvDqWxQ", "/t/*"),
            ("/a/b/c/d/e/f/g/h/i/j/k", "/a/b/c/d/e/f/g/h/i"),
            ("https://shop.example.com:8443/cart/77?x=1", "https://shop.example.com:8443/cart/*"),
            ("postgres://ann:secret@db.internal/shop", "postgres://*@db.internal/shop"),
            ("https://example.com", "https://example.com"),
            ("/getUserByIdAndName", "/getUserByIdAndName"),
        ];
        for (url, expected) in cases {
            assert_eq!(sanitize(url), expected, "{url}");
        }
    }

    #[test]
    fn what_is_collapsed_stays_so() {
        for url in ["/a/1/b?c", "GET /x/77", "https://u:p@h/1/2", "*", "/*/x"] {
            let once = sanitize(url);
            assert_eq!(sanitize(&once), once, "{url}");
        }
    }
}
