//! Texts that look like secrets to a careless eye and are none: what services really send.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::{Holder, Place, field, number_field};
use crate::generate::values::hex;

/// Seconds of 2026.
const YEAR: std::ops::Range<u64> = 1_767_225_600..1_798_761_600;

/// Endless look-alikes, the same for the same seed.
#[derive(Debug)]
pub struct Lookalikes {
    rng: StdRng,
    /// Which kind is next.
    next: usize,
}

impl Lookalikes {
    /// Starts with kind `first`, so that each kind comes into each place over some requests.
    pub fn new(seed: u64, first: usize) -> Self {
        Self { rng: StdRng::seed_from_u64(seed), next: first }
    }

    /// Appends a place's field.
    pub fn write(&mut self, place: &Place, number: u32, out: &mut Vec<u8>) {
        match place.holder {
            Holder::Text | Holder::Key => field(out, number, self.text().as_bytes()),
            Holder::Value => {
                let value = self.value();
                field(out, number, &value);
            }
            Holder::Id => {
                let length = if place.path.ends_with("trace_id") { 16 } else { 8 };
                let id: Vec<u8> = (0..length).map(|_| self.rng.random()).collect();
                field(out, number, &id);
            }
            Holder::Unknown => {}
        }
    }

    /// An AnyValue: mostly text; also numbers, bytes, lists.
    fn value(&mut self) -> Vec<u8> {
        let mut value = Vec::new();
        match self.rng.random_range(0..8) {
            0 => {
                let seconds = self.rng.random_range(YEAR);
                let time = seconds * [1, 1_000, 1_000_000, 1_000_000_000][self.rng.random_range(0..4)];
                number_field(&mut value, 3, time);
            }
            1 => {
                let bytes: Vec<u8> = (0..16).map(|_| self.rng.random()).collect();
                field(&mut value, 7, &bytes);
            }
            2 => {
                let mut list = Vec::new();
                for _ in 0..3 {
                    let mut inner = Vec::new();
                    field(&mut inner, 1, self.text().as_bytes());
                    field(&mut list, 1, &inner);
                }
                field(&mut value, 5, &list);
            }
            3 => number_field(&mut value, 3, self.rng.random_range(0..10_000_000_000)),
            _ => field(&mut value, 1, self.text().as_bytes()),
        }
        value
    }

    fn text(&mut self) -> String {
        self.next += 1;
        let seconds = self.rng.random_range(YEAR);
        let kinds: [fn(&mut StdRng, u64) -> String; 12] =
            [ids, ids, times, times, versions, digests, hosts, code, clients, numbers, queries, bodies];
        kinds[self.next % kinds.len()](&mut self.rng, seconds)
    }
}

/// Trace and span ids, UUIDs, container ids.
fn ids(rng: &mut StdRng, _: u64) -> String {
    let base64 =
        |rng: &mut StdRng, bytes: usize| STANDARD.encode((0..bytes).map(|_| rng.random()).collect::<Vec<u8>>());
    match rng.random_range(0..7) {
        0 => hex(rng, 32),
        1 => hex(rng, 16),
        2 => base64(rng, 16),
        3 => base64(rng, 8),
        4 => uuid(rng),
        5 => format!("docker://{}", hex(rng, 64)),
        _ => format!("00-{}-{}-01", hex(rng, 32), hex(rng, 16)),
    }
}

fn uuid(rng: &mut StdRng) -> String {
    [8, 4, 4, 4, 12].map(|digits| hex(rng, digits)).join("-")
}

/// Unix times in four units, and dates, times of day and durations.
fn times(rng: &mut StdRng, seconds: u64) -> String {
    let rest = rng.random_range(0..1_000_000_000);
    match rng.random_range(0..9) {
        0 => seconds.to_string(),
        1 => format!("{seconds}{:03}", rest / 1_000_000),
        2 => format!("{seconds}{:06}", rest / 1_000),
        3 => format!("{seconds}{rest:09}"),
        4 => format!("{seconds}.{:03}", rest / 1_000_000),
        5 => format!("2026-{:02}-{:02}T{:02}:30:15.{rest:09}Z", rest % 12 + 1, rest % 28 + 1, rest % 24),
        6 => format!("{:02}:{:02}:{:02}.{:03}", rest % 24, rest % 60, rest % 59, rest % 1000),
        7 => format!("PT{}H{}M{}.5S", rest % 24, rest % 60, rest % 59),
        _ => format!("{}h{}m{}.{:03}s", rest % 99, rest % 60, rest % 59, rest % 1000),
    }
}

/// Versions of programs, of which the last part of four is no byte.
fn versions(rng: &mut StdRng, _: u64) -> String {
    let mut part = |max: u32| rng.random_range(0..max);
    let (major, minor, patch, build) = (part(20), part(40), part(60), 256 + part(9_000));
    match part(6) {
        0 => format!("{major}.{minor}.{patch}"),
        1 => format!("v{major}.{minor}.{patch}-rc.{}+build.{build}", part(9)),
        2 => format!("{major}.{minor}.{patch}.{build}"),
        3 => format!("left-pad@{major}.{minor}.{patch}"),
        4 => format!("registry.example/shop/cart:{major}.{minor}.{patch}-alpine"),
        _ => format!("OpenJDK 64-Bit Server VM {major}.0.{minor}+{patch}-LTS-{build}"),
    }
}

/// Digests and hashes of commits.
fn digests(rng: &mut StdRng, _: u64) -> String {
    match rng.random_range(0..5) {
        0 => hex(rng, 40),
        1 => format!("sha256:{}", hex(rng, 64)),
        2 => hex(rng, 32),
        3 => hex(rng, 7),
        _ => format!("\"{}-{}\"", hex(rng, 8), hex(rng, 13)),
    }
}

/// Hosts, pods, network cards.
fn hosts(rng: &mut StdRng, _: u64) -> String {
    match rng.random_range(0..6) {
        0 => format!("db-{}.prod.eu-west-1.internal.example", rng.random_range(1..99)),
        1 => format!("checkout-{}-{}", hex(rng, 10), hex(rng, 5)),
        2 => format!("cart-{}.cart.shop.svc.cluster.local:8443", rng.random_range(0..20)),
        3 => (0..6).map(|_| hex(rng, 2)).collect::<Vec<_>>().join(":"),
        4 => (0..6).map(|_| hex(rng, 2).to_uppercase()).collect::<Vec<_>>().join("-"),
        _ => format!("i-0{}", hex(rng, 16)),
    }
}

/// Paths, and names of functions.
fn code(rng: &mut StdRng, _: u64) -> String {
    let n = rng.random_range(1..4_000);
    match rng.random_range(0..7) {
        0 => format!("/var/lib/kubelet/pods/{}/volumes/data-{n}", uuid(rng)),
        1 => format!("C:\\Services\\Shop\\{n}\\cart.dll"),
        2 => format!("std::collections::HashMap<K, V>::insert at src/main.rs:{n}:17"),
        3 => format!("com.example.shop.Order$Line.<init>(Order.java:{n})"),
        4 => format!("github.com/example/shop/internal/cart.(*Cart).Add+0x{}", hex(rng, 4)),
        5 => format!("goroutine {n} [running]: main.main() /src/main.go:{} +0x{}", n + 1, hex(rng, 3)),
        _ => format!("/api/v2/orders/{n}/lines/{}", n + 3),
    }
}

/// User agents.
fn clients(rng: &mut StdRng, _: u64) -> String {
    let n = rng.random_range(90..140);
    match rng.random_range(0..5) {
        0 => format!(
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{n}.0.0.0 Safari/537.36"
        ),
        1 => format!("Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:{n}.0) Gecko/20100101 Firefox/{n}.0"),
        2 => format!("grpc-go/1.{n}.2"),
        3 => format!("kube-probe/1.{n}+"),
        _ => format!("OTel-OTLP-Exporter-Python/1.{n}.0 Python/3.11.{}", n % 20),
    }
}

/// Prices, orders, coordinates, sizes.
fn numbers(rng: &mut StdRng, seconds: u64) -> String {
    let n = rng.random_range(1_000..9_999_999_u64);
    match rng.random_range(0..8) {
        0 => format!("${},{:03}.{:02}", n % 900 + 1, n % 1000, n % 100),
        1 => format!("{}.{:02} EUR", n % 90_000, n % 100),
        2 => format!("ORD-2026-{n:07}"),
        3 => format!("{:.6},{:.6}", rng.random_range(-90.0..90.0_f64), rng.random_range(-180.0..180.0_f64)),
        4 => format!("{n} bytes in {} ms", n % 800),
        5 => format!("offset={} lag={n}", seconds * 3),
        6 => format!("{:.17}", rng.random::<f64>()),
        _ => format!("{}/{}", n % 1000, n),
    }
}

/// Statements.
fn queries(rng: &mut StdRng, _: u64) -> String {
    let n = rng.random_range(1..9_999);
    match rng.random_range(0..4) {
        0 => format!("SELECT o.id, o.total FROM orders o WHERE o.id = {n} AND o.state IN ('new', 'paid') LIMIT 50"),
        1 => format!("UPDATE carts SET version = version + 1 WHERE id = '{}'", uuid(rng)),
        2 => format!("HGETALL cart:{n}:lines"),
        _ => format!("{{ \"find\": \"orders\", \"filter\": {{ \"total\": {{ \"$gt\": {n} }} }} }}"),
    }
}

/// What is sent as text.
fn bodies(rng: &mut StdRng, seconds: u64) -> String {
    let n = rng.random_range(1..99_999);
    match rng.random_range(0..4) {
        0 => format!("{{\"order\":\"{}\",\"lines\":{},\"at\":{seconds},\"total\":\"{n}.50\"}}", uuid(rng), n % 9),
        1 => format!("level=info ts={seconds}.123 caller=cart.go:{} msg=\"added line\" took=1.5{}ms", n % 900, n % 9),
        2 => format!("retry {} of 5 in {}ms: connection reset by peer (os error 104)", n % 5, n % 999),
        _ => format!("page=2&size=50&sort=created%2Cdesc&cursor={}", hex(rng, 24)),
    }
}
