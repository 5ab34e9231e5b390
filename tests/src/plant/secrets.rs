//! Made-up secrets, each of them different.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::generate::identity;

/// What finds a secret: the named detectors of `redaction`, and a regex of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "each is what its name says")]
pub enum Detector {
    Email,
    Card,
    Iban,
    Ipv4,
    Ipv6,
    UsSsn,
    Phone,
    Jwt,
    AwsKey,
    Bearer,
    /// [`Detector::TOKEN_PATTERN`].
    Token,
}

/// A secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secret {
    /// What finds it.
    pub detector: Detector,
    /// As it stands in text.
    pub text: String,
}

impl Detector {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Email,
        Self::Card,
        Self::Iban,
        Self::Ipv4,
        Self::Ipv6,
        Self::UsSsn,
        Self::Phone,
        Self::Jwt,
        Self::AwsKey,
        Self::Bearer,
        Self::Token,
    ];
    /// The regex for `blocked_values`.
    pub const TOKEN_PATTERN: &str = "tok_[0-9a-z]{24}";

    /// Its name in the configuration; the token's is a regex.
    pub fn name(self) -> Option<&'static str> {
        Some(match self {
            Self::Email => "email",
            Self::Card => "card",
            Self::Iban => "iban",
            Self::Ipv4 => "ipv4",
            Self::Ipv6 => "ipv6",
            Self::UsSsn => "us_ssn",
            Self::Phone => "phone",
            Self::Jwt => "jwt",
            Self::AwsKey => "aws_key",
            Self::Bearer => "bearer",
            Self::Token => return None,
        })
    }

    /// Secret number `n`; numbers below 40,000 give different ones.
    pub fn secret(self, n: u64) -> Secret {
        // Looks random, and no two are alike.
        let mixed = u64::from_be_bytes(identity(1, n));
        let text = match self {
            Self::Email => format!("ada.{n}@mail-{}.example.com", n % 7),
            Self::Card => card(n),
            Self::Iban => iban(n),
            Self::Ipv4 => format!("{}.{}.{}.{}", 11 + n % 200, n / 200 % 256, 77, 1 + n % 250),
            Self::Ipv6 => match n % 3 {
                0 => format!("2001:db8::{:x}:{:x}", n / 3 + 1, mixed % 65_536),
                1 => format!("fe80:0:0:0:{:x}:{:x}:{:x}:1", n + 1, mixed % 65_536, n % 9 + 1),
                _ => format!("2001:0DB8:85a3::8a2e:{:04x}:7334", n),
            },
            Self::UsSsn => format!("{:03}-{:02}-{:04}", 100 + n % 500, 1 + n / 500 % 99, 1000 + n % 8999),
            Self::Phone => match n % 3 {
                0 => format!("+1415{:03}{:04}", 200 + n / 10_000, n % 10_000),
                1 => format!("+1 415-{:03}-{:04}", 200 + n / 10_000, n % 10_000),
                _ => format!("(415) {:03}-{:04}", 200 + n / 10_000, n % 10_000),
            },
            Self::Jwt => {
                let part = |text: String| URL_SAFE_NO_PAD.encode(text);
                let head = part(r#"{"alg":"HS256","typ":"JWT"}"#.to_owned());
                let claims = part(format!(r#"{{"sub":"{n}","name":"Ada Example","iat":1516239022}}"#));
                format!("{head}.{claims}.{}", URL_SAFE_NO_PAD.encode(mixed.to_be_bytes().repeat(4)))
            }
            Self::AwsKey => format!("AKIA{}", letters(mixed, b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", 16)),
            Self::Bearer => format!("Bearer {}", letters(mixed, b"abcdefghjkmnpqrstuvwxyzABCDEF012", 32)),
            Self::Token => format!("tok_{}", letters(mixed, b"0123456789abcdefghijklmnopqrstuv", 24)),
        };
        Secret { detector: self, text }
    }

    /// An email or card of just so many bytes, as long as an id.
    pub fn secret_of_length(self, n: u64, length: usize) -> Option<Secret> {
        let text = match (self, length) {
            (Self::Email, 8) => format!("{}@b.io", letters(n, b"abcdefghijklmnopqrstuvwxyzABCDEF", 3)),
            (Self::Email, 16) => format!("{}@b.example", letters(n, b"abcdefghijklmnopqrstuvwxyzABCDEF", 6)),
            (Self::Card, 16) => card(n * 3),
            _ => return None,
        };
        (text.len() == length).then_some(Secret { detector: self, text })
    }
}

impl Secret {
    /// What stands before the secret to say that it is one, and may stay.
    pub fn announcement(&self) -> &str {
        if self.detector == Detector::Bearer { "Bearer " } else { "" }
    }

    /// What must not be found anywhere.
    pub fn needle(&self) -> &str {
        self.text.strip_prefix(self.announcement()).unwrap_or(&self.text)
    }

    /// The text as a number: of cards only.
    pub fn number(&self) -> Option<i64> {
        if self.detector != Detector::Card {
            return None;
        }
        self.text.replace([' ', '-'], "").parse().ok()
    }
}

/// 16 digits with the check digit of ISO/IEC 7812-1, of which every third comes with spaces and every third with hyphens.
fn card(n: u64) -> String {
    let body = 411_100_000_000_000 + n * 7_919;
    let digits: Vec<u64> = body.to_string().bytes().map(|digit| u64::from(digit - b'0')).collect();
    let sum: u64 =
        (0..).zip(digits.iter().rev()).map(|(at, &d)| if at % 2 == 0 { d * 2 / 10 + d * 2 % 10 } else { d }).sum();
    let all = format!("{body}{}", (10 - sum % 10) % 10);
    let separator = ["", " ", "-"][(n % 3) as usize];
    [&all[..4], &all[4..8], &all[8..12], &all[12..]].join(separator)
}

/// A German IBAN (ISO 13616): check digits are 98 less the remainder by 97 of the number with DE as 1314 and 00 behind it.
fn iban(n: u64) -> String {
    let account = 100_000_000_000_000_000 + n * 1_000_003;
    let remainder = (u128::from(account) * 1_000_000 + 131_400) % 97;
    format!("DE{:02}{account}", 98 - remainder)
}

/// So many letters of 32, the number's lowest bits last.
fn letters(mut n: u64, alphabet: &[u8; 32], count: usize) -> String {
    let mut text = vec![b'a'; count];
    for place in text.iter_mut().rev() {
        *place = alphabet[(n % 32) as usize];
        n = n / 32 + ((n % 32) << 59);
    }
    text.into_iter().map(char::from).collect()
}
