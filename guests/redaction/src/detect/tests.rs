//! What each detector finds, what it does not, and what no detector may touch.

use super::Detector::{self, *};
use super::Found;
use crate::scan::Scanner;
use crate::scan::patterns::Patterns;
use crate::scan::profile::Profile;

/// Each text with what is found in it.
#[track_caller]
fn check(detector: Detector, cases: &[(&str, &[&str])]) {
    for (text, expected) in cases {
        let mut found = Found::new();
        let profile = Profile::of(text.as_bytes());
        if detector.needs().are_met(profile) {
            detector.find(text.as_bytes(), profile, &mut found);
        }
        let found: Vec<&str> = found.into_iter().map(|range| &text[range]).collect();
        assert_eq!(found, *expected, "{} in {text:?}", detector.name());
    }
}

#[track_caller]
fn check_none(detector: Detector, texts: &[&str]) {
    for text in texts {
        check(detector, &[(text, &[])]);
    }
}

#[test]
fn email() {
    check(
        Email,
        &[
            ("jane.doe@example.com", &["jane.doe@example.com"]),
            ("mail <j+x_1@mail.example.co.uk>.", &["j+x_1@mail.example.co.uk"]),
            ("user=bob@example.com&x=1", &["bob@example.com"]),
            ("'o'brien@example.ie'", &["o'brien@example.ie"]),
            ("a@b.de,c@d.fr", &["a@b.de", "c@d.fr"]),
            ("an jürgen@müller.de.", &["jürgen@müller.de"]),
            ("“ann@example.com”", &["ann@example.com"]),
            ("x@xn--mller-kva.de-", &["x@xn--mller-kva.de"]),
            ("ann@example.com-bob", &["ann@example.com"]),
            ("smtp://u:pw@mail.example.org:25", &["pw@mail.example.org"]),
            ("ann@1and1.com", &["ann@1and1.com"]),
        ],
    );
    check_none(
        Email,
        &["@example.com", "a@b", "user@localhost", "pkg@1.2.3", "pkg@1.0.0-rc.alpha", "a @b.com", "x@.com", "v@2.x"],
    );
}

#[test]
fn card() {
    check(
        Card,
        &[
            ("4111111111111111", &["4111111111111111"]),
            ("card 5500 0000 0000 0004 ok", &["5500 0000 0000 0004"]),
            ("3782-822463-10005", &["3782-822463-10005"]),
            ("6011111111111117,3530111333300000", &["6011111111111117", "3530111333300000"]),
            ("30569309025904 5019717010103742", &["30569309025904", "5019717010103742"]),
            ("6205500000000000004", &["6205500000000000004"]),
            ("4222222222222", &["4222222222222"]),
            ("pan:4111.1111.1111.1111;", &["4111.1111.1111.1111"]),
            ("4111 1111 1111 1111 12/27", &["4111 1111 1111 1111"]),
            ("order4111111111111111x", &["4111111111111111"]),
            ("2223003122003222", &["2223003122003222"]),
            ("2 4111-1111-1111-1111", &["4111-1111-1111-1111"]),
            ("bad-4111111111111111", &["4111111111111111"]),
            ("card-a1-4111111111111111", &["4111111111111111"]),
        ],
    );
    check_none(
        Card,
        &[
            "4111111111111112",
            "411111111111111",
            "41111111111111111111",
            "1234567812345670",
            "0.4111111111111111",
            "a4111111111111111f",
            "8af81a61-4094751435800",
            "4111 11111111 1111",
            "4111-1111 1111-1111",
            "9999999999999995",
        ],
    );
}

#[test]
fn iban() {
    check(
        Iban,
        &[
            ("DE89370400440532013000", &["DE89370400440532013000"]),
            ("to GB29 NWBK 6016 1331 9268 19.", &["GB29 NWBK 6016 1331 9268 19"]),
            ("iban=nl91abna0417164300;", &["nl91abna0417164300"]),
            ("BE68539007547034 NO9386011117947", &["BE68539007547034", "NO9386011117947"]),
            ("MT84MALT011000012345MTLCAST001S", &["MT84MALT011000012345MTLCAST001S"]),
        ],
    );
    check_none(
        Iban,
        &[
            "DE89370400440532013001",
            "DE8937040044053201300",
            "DE893704004405320130000",
            "XDE89370400440532013000",
            "ZZ89370400440532013000",
            "DE89 370400440532013000",
            "4613f988-ad35-c8b3-4808-2a91f7f90f39",
        ],
    );
}

#[test]
fn ipv4() {
    check(
        Ipv4,
        &[
            ("10.0.0.1", &["10.0.0.1"]),
            ("from 192.168.1.254:8080 to 8.8.8.8.", &["192.168.1.254", "8.8.8.8"]),
            ("http://203.0.113.7/x 10.1.0.0/16", &["203.0.113.7", "10.1.0.0"]),
            ("::ffff:1.2.3.4", &["1.2.3.4"]),
            ("1.2.3.4.example.com", &["1.2.3.4"]),
            ("/hosts/10.0.0.1/up", &["10.0.0.1"]),
        ],
    );
    check_none(
        Ipv4,
        &[
            "1.2.3",
            "1.2.3.256",
            "1.2.3.4.5",
            "v1.2.3.4",
            "1.2.3.4rc1",
            "01.2.3.4",
            "Chrome/120.0.0.0",
            "1..2.3.4",
            "119.0.6045.105",
        ],
    );
}

#[test]
fn ipv6() {
    check(
        Ipv6,
        &[
            ("2001:db8::1", &["2001:db8::1"]),
            ("[fe80::1ff:fe23:4567:890a]:443", &["fe80::1ff:fe23:4567:890a"]),
            ("addr:2001:0db8:0000:0000:0000:ff00:0042:8329.", &["2001:0db8:0000:0000:0000:ff00:0042:8329"]),
            ("face:2001:db8:0:0:0:0:0:1", &["face:2001:db8:0:0:0:0:0:1"]),
            ("2001:db8:0:0:0:0:0:1:8080", &["2001:db8:0:0:0:0:0:1:8080"]),
            ("::ffff:192.0.2.1 ::1", &["::ffff:192.0.2.1", "::1"]),
            ("peer=::1,", &["::1"]),
        ],
    );
    check_none(
        Ipv6,
        &[
            "12:34:56",
            "00:1a:2b:3c:4d:5e",
            "std::vec",
            "face::add",
            "Foo::1",
            "::",
            "a:b",
            "1:2:3:4:5:6:7",
            "2026-11-21T13:53:08",
            "12345::1",
        ],
    );
}

#[test]
fn us_ssn() {
    check(UsSsn, &[("123-45-6789", &["123-45-6789"]), ("ssn: 078 05 1120!", &["078 05 1120"])]);
    check_none(
        UsSsn,
        &[
            "123456789",
            "000-12-3456",
            "666-12-3456",
            "900-12-3456",
            "123-00-4567",
            "123-45-0000",
            "1123-45-6789",
            "123-45-67890",
            "123-45 6789",
            "a-123-45-6789",
            "123-45-6789-1",
            "123-45-6789.5",
        ],
    );
}

#[test]
fn phone() {
    check(
        Phone,
        &[
            ("+14155552671", &["+14155552671"]),
            ("call +49 (0)30 901820 now", &["+49 (0)30 901820"]),
            ("+44 20 7946 0958", &["+44 20 7946 0958"]),
            ("(212) 555-0123", &["(212) 555-0123"]),
            ("212-555-0123, 212.555.0199", &["212-555-0123", "212.555.0199"]),
            ("1-800-555-0100", &["1-800-555-0100"]),
            ("+1 212 555 0123 2026", &["+1 212 555 0123"]),
            ("tel:+33123456789", &["+33123456789"]),
        ],
    );
    check_none(
        Phone,
        &[
            "2125550123",
            "+1700000000",
            "+1700000000000",
            "+0100",
            "2026-11-21T13:53:08+0000",
            "112-555-0123",
            "ORD-212-555-0123",
            "212-555-01234",
            "212-555-0123-4",
            "212 555 0123",
            "1.5e+10",
            "x+14155552671",
        ],
    );
}

const JWT: &str =
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U";

#[test]
fn jwt() {
    let cut = &JWT[..60];
    let two = format!("a {JWT} b={JWT}.");
    check(Jwt, &[(JWT, &[JWT]), (&two, &[JWT, JWT]), (cut, &[cut])]);
    let only_header = JWT.split('.').next().unwrap();
    // {"typ":"JWT"} has no algorithm.
    check_none(Jwt, &[only_header, "eyJ0eXAiOiJKV1QifQ.e30.x", "eyJhbGci.e30", "eyJeyJeyJeyJeyJ.eyJeyJeyJ.x", "a.b.c"]);
}

#[test]
fn aws_key() {
    let secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
    let labelled = format!("aws_secret_access_key = {secret}\n");
    let json = format!(r#"{{"SecretAccessKey":"{secret}"}}"#);
    check(
        AwsKey,
        &[
            ("AKIAIOSFODNN7EXAMPLE", &["AKIAIOSFODNN7EXAMPLE"]),
            ("id=ASIAIOSFODNN7EXAMPLE&x", &["ASIAIOSFODNN7EXAMPLE"]),
            (&labelled, &[secret]),
            (&json, &[secret]),
        ],
    );
    let longer = format!("secret={secret}A");
    check_none(
        AwsKey,
        &[
            "AKIAIOSFODNN7EXAMPL",
            "AKIAIOSFODNN7EXAMPLES",
            "AKIAiosfodnn7example",
            secret,
            &longer,
            "XAKIAIOSFODNN7EXAMPLE",
        ],
    );
    let mut found = Found::new();
    AwsKey.find_by_key(b"aws.Secret_access_key", secret.as_bytes(), &mut found);
    assert_eq!(found.len(), 1);
}

#[test]
fn bearer() {
    check(
        Bearer,
        &[
            ("Bearer mF_9.B5f-4.1JqM", &["mF_9.B5f-4.1JqM"]),
            ("authorization: BEARER abc123def456", &["abc123def456", "abc123def456"]),
            ("Authorization: Basic dXNlcjpwYXNz\r\nHost: x", &["dXNlcjpwYXNz"]),
            (r#"{"Authorization":"token ghp_16C7e42F292c6912E7"}"#, &["ghp_16C7e42F292c6912E7"]),
            ("Authorization: Digest username=\"ann\", x", &["username="]),
            ("proxy-authorization=s3cr3t-value-9", &["s3cr3t-value-9"]),
            ("bearer averylongtokenoflowercaseletters", &["averylongtokenoflowercaseletters"]),
        ],
    );
    check_none(
        Bearer,
        &[
            "bearer authentication failed",
            "the Bearer token",
            "authorization failed: denied",
            "forbearer abc123def456",
            "Authorization: denied",
        ],
    );
    let mut found = Found::new();
    Bearer.find_by_key(b"http.request.header.Authorization", b"Basic dXNlcg==", &mut found);
    Bearer.find_by_key(b"authorization", b"opaque", &mut found);
    Bearer.find_by_key(b"authorization.kind", b"opaque", &mut found);
    assert_eq!(found, [6..14, 0..6]);
}

/// Ids, times, versions, hashes and other things that look like what is hidden.
const CONTROL: &[&str] = &[
    "4bf92f3577b34da6a3ce929d0e0e4736",
    "00f067aa0ba902b7",
    "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    "123e4567-e89b-12d3-a456-426614174000",
    "00000000-0000-4000-8000-000000000001",
    "41111111-1111-4111-8111-111111111111",
    "1700000000",
    "1700000000123",
    "1763733188000",
    "1700000000123456",
    "1763733188123456789",
    "1763733188.123456",
    "2026-11-21T13:53:08.123456789Z",
    "2026-11-21T13:53:08+01:00",
    "2026-11-21 13:53:08,123",
    "21/Nov/2026:13:53:08 +0000",
    "1.2.3",
    "1.27.0-rc.1+build.20261121",
    "v2.11.0",
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36",
    "da39a3ee5e6b4b0d3255bfef95601890afd80709",
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "10db0193770889",
    "d41d8cd98f00b204e9800998ecf8427e",
    "checkout-7d9f8b6c5d-x2x9z",
    "ip-10-0-0-1.eu-central-1.compute.internal",
    "node-4.cluster.local:9090",
    "registry.example.com/team/app@sha256:abc",
    "$1,299.00",
    "EUR 4111.11",
    "0.4111111111111111",
    "3.141592653589793",
    "ORD-2026-000123-4567",
    "INV 20261121 0042",
    "tracking 1Z999AA10123456784",
    "978-3-16-148410-0",
    "00:1A:2B:3C:4D:5E",
    "GET /v1/orders/{id}/items",
    "SELECT * FROM orders WHERE id = ?",
    "java.util.concurrent.ThreadPoolExecutor$Worker.run(ThreadPoolExecutor.java:1144)",
    "std::collections::HashMap",
    "arn:aws:iam::123456789012:role/admin",
    "s3://bucket/key/2026/11/21/part-00000.parquet",
    "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE",
    "100% of 25 % done, 12%20",
    "authorization check passed for role reader",
    "+0100",
    "404 Not Found in 12.5 ms",
    "W/\"33a64df551425fcc55e4d42a148795d9f25f89d4\"",
    "dGhpcyBpcyBhIHRlc3Qgb2YgYmFzZTY0",
    "01ARZ3NDEKTSV4RRFFQ69G5FAV",
    "cjld2cjxh0000qzrmn831i7rn",
    "urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6",
    "12345678901234567890123456789012",
    "1.3.6.1.4.1.311.21.20",
    "50.1109,8.6821",
    "52:54:00:12:34:56",
    "pid 4111 tid 1111 seq 1111 1111",
];

#[test]
fn look_alikes_stay_untouched_by_all_detectors_together() {
    let scanner = Scanner::new(Patterns::default(), Patterns::default(), &Detector::ALL);
    for text in CONTROL {
        assert_eq!(scanner.scan(b"some.key", text.as_bytes()), [], "{text}");
    }
}

#[test]
fn percent_encoded_forms_are_found_where_they_are() {
    let scanner = Scanner::new(Patterns::default(), Patterns::default(), &Detector::ALL);
    let cases = [
        ("q=jane.doe%40example.com&x=1", "jane.doe%40example.com"),
        ("q=jane.doe%2540example.com;", "jane.doe%2540example.com"),
        ("c=4111%201111%201111%201111!", "4111%201111%201111%201111"),
        ("c=%34111111111111111", "%34111111111111111"),
        ("from%20192.168.1.1%2Fx", "192.168.1.1"),
        ("h=Bearer%20mF_9.B5f-4.1JqM", "mF_9.B5f-4.1JqM"),
        ("t=%2B14155552671", "%2B14155552671"),
        ("%31%32%33%2D45-6789", "%31%32%33%2D45-6789"),
        ("a=fe80%3A%3A1", "fe80%3A%3A1"),
        ("ü=DE89%203704%200044%200532%200130%2000", "DE89%203704%200044%200532%200130%2000"),
        ("ü%20=100%25", ""),
    ];
    for (text, expected) in cases {
        let found: Vec<&str> =
            scanner.scan(b"", text.as_bytes()).into_iter().map(|stretch| &text[stretch.range]).collect();
        let expected: Vec<&str> = [expected].into_iter().filter(|text| !text.is_empty()).collect();
        assert_eq!(found, expected, "{text}");
    }
}
