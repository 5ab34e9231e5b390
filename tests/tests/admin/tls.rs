//! On addresses that other machines reach: TLS, and the token for everything.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::json;
use sluicebox_tests::engine::Engine;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::support::{Answer, BOUND, STAGE, bearer, config, over, request, token};

/// A certificate for this machine that signs itself, and its key.
fn write_certificate(directory: &Path) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    // One after the other, as tools do that renew certificates.
    std::fs::write(directory.join("admin.crt"), made.cert.pem()).unwrap();
    std::fs::write(directory.join("admin.key"), made.signing_key.serialize_pem()).unwrap();
}

/// Its admin API is on every interface.
async fn engine() -> Engine {
    let prepared = Engine::start_in(&[], |directory, addresses| {
        write_certificate(directory);
        let text = addresses.fill(&config());
        let own = format!("address: \"{}\"", addresses.admin);
        assert!(text.contains(&own));
        let open = format!(
            "address: \"0.0.0.0:{}\", tls: {{ cert_file: admin.crt, key_file: admin.key }}",
            addresses.admin.port()
        );
        Ok(std::fs::write(directory.join("sluicebox.yaml"), text.replacen(&own, &open, 1))?)
    });
    prepared.await.unwrap()
}

async fn connect(engine: &Engine) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(engine.directory().join("admin.crt")).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(roots).with_no_client_auth();
    let stream = TcpStream::connect(engine.addresses.admin).await?;
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost").unwrap(), stream).await
}

async fn ask(engine: &Engine, method: &str, path: &str, headers: &[(&str, String)], body: &str) -> Answer {
    over(connect(engine).await.unwrap(), request(method, path, headers, body.to_owned())).await
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_but_health_needs_the_token() {
    let engine = engine().await;
    for path in ["/livez", "/readyz"] {
        assert_eq!(ask(&engine, "GET", path, &[], "").await.status, 200, "{path}");
    }
    for path in ["/v1", "/v1/status", "/v1/openapi.json", "/v1/absent", "/metrics"] {
        assert_eq!(ask(&engine, "GET", path, &[], "").await.refused(), (401, "E0520".to_owned()), "{path}");
    }
    // The token is what counts: a gateway has a name of its own.
    let named = [("host", "gateway.example".to_owned()), bearer(&engine)];
    assert_eq!(ask(&engine, "GET", "/v1/status", &named, "").await.status, 200);
    let page = [("origin", "https://evil.example".to_owned()), bearer(&engine)];
    assert_eq!(ask(&engine, "GET", "/v1/status", &page, "").await.refused(), (403, "E0521".to_owned()));
    let headers = [bearer(&engine), ("content-type", "application/json".to_owned())];
    let body = json!({ "stage": STAGE }).to_string();
    assert_eq!(ask(&engine, "POST", "/v1/swap?wait=true", &headers, &body).await.status, 200);
    assert_eq!(ask(&engine, "POST", "/v1/swap", &headers[1..], &body).await.refused(), (401, "E0520".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_text_is_not_answered() {
    let engine = engine().await;
    let mut stream = TcpStream::connect(engine.addresses.admin).await.unwrap();
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    stream.write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _reset = tokio::time::timeout(BOUND, stream.read_to_end(&mut answer)).await.expect("is closed");
    assert!(!String::from_utf8_lossy(&answer).contains("200"), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_reach_it_by_https_with_the_token() {
    let engine = engine().await;
    let admin = format!("https://localhost:{}", engine.addresses.admin.port());
    let authority = engine.directory().join("admin.crt").display().to_string();
    let https = ["--admin", &admin, "--admin-ca", &authority];
    for verb in [&["generations"][..], &["operations"], &["rollback", STAGE]] {
        let done = engine.command(&[verb, &https[..]].concat()).await.unwrap();
        let expected = if verb[0] == "rollback" { 6 } else { 0 };
        assert_eq!(done.code, Some(expected), "{verb:?}: {done:?}");
    }
    let stranger = engine.command(&["generations", "--admin", &admin]).await.unwrap();
    assert_eq!(stranger.code, Some(5), "its certificate is nobody's: {stranger:?}");
    let elsewhere = engine.directory().join("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    let from_elsewhere = |variables: &[(&str, &str)]| {
        let mut command = std::process::Command::new(sluicebox_tests::engine::binary().unwrap());
        command.arg("generations").args(https).env("SLUICEBOX_STATE_DIR", &elsewhere);
        command.envs(variables.iter().copied()).output().unwrap().status.code()
    };
    assert_eq!(from_elsewhere(&[]), Some(5), "without a token");
    assert_eq!(from_elsewhere(&[("SLUICEBOX_ADMIN_TOKEN", &token(&engine))]), Some(0));
    assert_eq!(from_elsewhere(&[("SLUICEBOX_ADMIN_TOKEN", &"0".repeat(64))]), Some(1));
}

/// A renewed certificate is shown without a restart, and one that cannot be used is not.
#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_certificate_is_shown() {
    let engine = engine().await;
    assert_eq!(ask(&engine, "GET", "/livez", &[], "").await.status, 200);
    write_certificate(engine.directory());
    let end = tokio::time::Instant::now() + BOUND;
    // The client trusts what is in the file now, and nothing else.
    while connect(&engine).await.is_err() {
        assert!(tokio::time::Instant::now() < end, "the old certificate is shown: {}", engine.process.stderr());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let good = std::fs::read(engine.directory().join("admin.crt")).unwrap();
    std::fs::write(engine.directory().join("admin.crt"), "half of").unwrap();
    let end = tokio::time::Instant::now() + BOUND;
    while !engine.process.stderr().contains("cannot be used: the last one is shown") {
        assert!(tokio::time::Instant::now() < end, "{}", engine.process.stderr());
        let _handshake = TcpStream::connect(engine.addresses.admin).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    std::fs::write(engine.directory().join("admin.crt"), good).unwrap();
    assert_eq!(ask(&engine, "GET", "/livez", &[], "").await.status, 200, "the last one is shown on");
}
