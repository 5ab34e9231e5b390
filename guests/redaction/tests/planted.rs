//! Secrets planted at random in random texts: none of them is left, and everything beside them is as it was.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use redaction::Redaction;
use sluicebox_guest::testing::{TestBatch, Tester};
use sluicebox_guest::{Level, NewValue};

/// One of each detector's, with all the ways to write it that the detectors promise to know.
const SECRETS: &[&str] = &[
    "jane.doe+tag@mail.example.co.uk",
    "4111111111111111",
    "5500 0000 0000 0004",
    "3782-822463-10005",
    "DE89370400440532013000",
    "GB29 NWBK 6016 1331 9268 19",
    "192.168.17.254",
    "2001:db8::ff00:42:8329",
    "078-05-1120",
    "+49 30 901820",
    "(212) 555-0123",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U",
    "AKIAIOSFODNN7EXAMPLE",
    "hidden-by-pattern-77",
];

const CONFIG: &str = r#"{
    "allow_all_keys": true,
    "blocked_values": ["hidden-by-pattern-[0-9]+"],
    "detectors": ["email", "card", "iban", "ipv4", "ipv6", "us_ssn", "phone", "jwt", "aws_key", "bearer"]
}"#;

/// Text that nothing is found in, also beside a secret.
fn filler() -> impl Strategy<Value = String> {
    "([a-z]{0,7}[ ,;!?|\\n]|é, |[a-z]+ [0-9]{1,3}, ){0,12}"
}

fn secret() -> impl Strategy<Value = &'static str> {
    prop::sample::select(SECRETS)
}

/// The secret with some of its characters, and all that URLs escape, as percent escapes.
fn encode(secret: &str, which: &[bool]) -> String {
    let escape = |(at, byte): (usize, u8)| {
        let is_plain = byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if is_plain && !which[at % which.len()] { char::from(byte).to_string() } else { format!("%{byte:02X}") }
    };
    secret.bytes().enumerate().map(escape).collect()
}

fn redacted(text: &str) -> String {
    let mut tester = Tester::<Redaction>::configure(CONFIG).unwrap();
    let outcome = tester.process(&TestBatch::logs().log(text)).unwrap();
    text_of(outcome.value(Level::Log, 0, "body"))
}

/// What the sanitizers make of a URL and of a statement.
fn sanitized(url: &str, statement: &str) -> (String, String) {
    let config = r#"{
        "allow_all_keys": true,
        "url_sanitizer": {"enabled": true, "attributes": ["url"]},
        "db_sanitizer": {
            "sql": {"enabled": true, "attributes": ["db"]},
            "redis": {"enabled": true, "attributes": ["db"]},
            "mongo": {"enabled": true, "attributes": ["db"]}
        }
    }"#;
    let mut tester = Tester::<Redaction>::configure(config).unwrap();
    let batch = TestBatch::logs().log("x").attribute("url", url).attribute("db", statement);
    let outcome = tester.process(&batch).unwrap();
    let value = |key: &str| text_of(outcome.value(Level::Log, 0, &format!("attributes[{key:?}]")));
    (value("url"), value("db"))
}

fn text_of(value: NewValue) -> String {
    match value {
        NewValue::Str(text) => text,
        other => panic!("a text became {other:?}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, rng_seed: RngSeed::Fixed(11), ..ProptestConfig::default() })]

    #[test]
    fn planted_secrets_go_and_all_else_stays(parts in prop::collection::vec((filler(), secret()), 1..5), last in filler()) {
        let join = |hide: bool| {
            let part = |(before, secret): &(String, &str)| format!("{before}; {} ;", if hide { "****" } else { secret });
            parts.iter().map(part).collect::<String>() + &last
        };
        prop_assert_eq!(redacted(&join(false)), join(true));
    }

    #[test]
    fn percent_encoded_secrets_go(
        before in filler(), secret in secret(), after in filler(), which in prop::collection::vec(any::<bool>(), 8), twice in any::<bool>(),
    ) {
        let once = encode(secret, &which);
        let encoded = if twice { once.replace('%', "%25") } else { once };
        let text = format!("{before}q={encoded}; {after}");
        prop_assert_eq!(redacted(&text), format!("{before}q=****; {after}"), "{}", text);
    }

    /// Whatever the text is: it stays text, and nothing that was hidden can be found again.
    #[test]
    fn any_text_is_taken(text in "(\\PC|[0-9@.:+%() -]|%[0-9A-F]{2}|eyJ|AKIA|Bearer |secret=){0,60}") {
        let once = redacted(&text);
        prop_assert!(once == text || once.contains("****"));
    }

    #[test]
    fn any_bytes_are_taken(bytes in prop::collection::vec(any::<u8>(), 0..80), secret in secret()) {
        let mut tester = Tester::<Redaction>::configure(CONFIG).unwrap();
        let planted = [&bytes[..], b" \xff ", secret.as_bytes(), b" \xff"].concat();
        let outcome = tester.process(&TestBatch::logs().log(NewValue::Bytes(planted))).unwrap();
        let NewValue::Bytes(left) = outcome.value(Level::Log, 0, "body") else { panic!("bytes stay bytes") };
        prop_assert!(!left.windows(secret.len()).any(|window| window == secret.as_bytes()));
        prop_assert!(left.ends_with(b" \xff ****\x20\xff"));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, rng_seed: RngSeed::Fixed(12), ..ProptestConfig::default() })]

    #[test]
    fn literals_of_statements_go(literals in prop::collection::vec("[a-z0-9 ,;(){}$#/*\"`-]{0,12}(''[a-z]{1,4}){0,2}", 1..4), number in any::<u32>()) {
        let conditions = |of: &dyn Fn(&String) -> String| literals.iter().map(|literal| format!(" AND a = {}", of(literal))).collect::<String>();
        let statement = format!("SELECT a FROM t WHERE b = {number}{} ORDER BY c", conditions(&|literal| format!("'{literal}'")));
        let expected = format!("SELECT a FROM t WHERE b = ?{} ORDER BY c", conditions(&|_| "?".to_owned()));
        prop_assert_eq!(sanitized("/", &statement).1, expected, "{}", statement);
    }

    #[test]
    fn ids_in_paths_go(words in prop::collection::vec("/(orders|users|v1|cart-items)/", 1..4), id in "[a-z]{0,5}[0-9]{3,12}[a-z0-9-]{0,9}") {
        let with = |id: &str| words.iter().map(|word| format!("{word}{id}")).collect::<String>();
        prop_assert_eq!(sanitized(&format!("https://shop.example:80{}?id={id}", with(&id)), "").0, format!("https://shop.example:80{}", with("*")));
    }

    #[test]
    fn sanitizers_take_any_text(url in "(\\PC|[/?#&:@.%0-9a-z]){0,40}", statement in "(SELECT |SET |\\{|\\[)?(\\PC|['\"`$#/*\\\\\\[\\]{}:, 0-9a-z-]){0,40}") {
        let (url, _) = sanitized(&url, &statement);
        prop_assert_eq!(&sanitized(&url, "").0, &url, "collapsing again changes nothing");
    }
}

#[test]
fn hostile_texts_take_time_in_proportion() {
    // Each would take hours if a detector went back over what it has seen.
    let units = [
        "a",
        "@",
        "a@",
        "1",
        "1 ",
        "1111 ",
        "1.",
        ":",
        "1:",
        "a:",
        "%",
        "%25",
        "eyJ",
        "eyJhbGciOiJIUzI1NiJ9.",
        "A",
        "AKIA",
        "secret=",
        "z",
        "Bearer ",
        "authorization: ",
        "+1",
        "(",
        "(1",
        "DE89",
        "AA00",
        "é@",
    ];
    for unit in units {
        let text = unit.repeat((1 << 20) / unit.len());
        assert!(!redacted(&text).is_empty(), "{unit}");
    }
}
