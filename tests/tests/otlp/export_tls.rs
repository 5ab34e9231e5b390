//! TLS of exporters: whom they trust.

use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use sluicebox::config::model::{Client, TlsClient};
use sluicebox::export::Sent;
use sluicebox::signal::Signal;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::support::peer::{Peer, client, grpc, http};
use crate::support::receiver::local;
use crate::support::{encoded, soon, traces};

/// A peer with a certificate for `backend.test` and the file of the authority that signed it.
async fn peer(dir: &tempfile::TempDir) -> (Peer, PathBuf) {
    let mut params = CertificateParams::new(Vec::new()).expect("is valid");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("makes a key")).expect("signs");
    let key = KeyPair::generate().expect("makes a key");
    let params = CertificateParams::new(vec!["backend.test".to_owned()]).expect("is valid");
    let certificate = params.signed_by(&key, &authority).expect("signs");
    let ca_file = dir.path().join("ca.pem");
    std::fs::write(&ca_file, authority.pem()).expect("writes");

    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("has versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
        .expect("fits");
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind(local()).await.expect("binds");
    let treat = move |stream| {
        let acceptor = acceptor.clone();
        async move {
            match acceptor.accept(stream).await {
                Ok(stream) => stream,
                // The client hung up on the certificate: this connection never speaks.
                Err(_) => std::future::pending().await,
            }
        }
    };
    (Peer::listen(listener, treat), ca_file)
}

#[tokio::test]
async fn only_the_right_name_under_the_right_authority_is_trusted() {
    let dir = tempfile::tempdir().expect("makes a directory");
    let (peer, ca_file) = peer(&dir).await;
    let to_peer = |tls| Client { tls, ..client(format!("https://{}", peer.address)) };
    let name = Some("backend.test".to_owned());
    let body = [encoded(&traces(1))];

    let trusted = TlsClient { ca_file: Some(ca_file.clone()), server_name: name.clone() };
    for destination in [grpc(to_peer(trusted.clone())), http(to_peer(trusted))] {
        let sent = soon(destination.send(Signal::Traces, &body)).await;
        assert_eq!(sent, Sent::Accepted { warning: None });
    }
    assert!(peer.asked().iter().all(|asked| asked.version == http::Version::HTTP_2));
    assert_eq!(peer.asked().len(), 2);

    let wrong_name = TlsClient { ca_file: Some(ca_file), server_name: None };
    let other = dir.path().join("other.pem");
    let stranger = rcgen::generate_simple_self_signed(vec!["backend.test".to_owned()]).expect("signs");
    std::fs::write(&other, stranger.cert.pem()).expect("writes");
    let wrong_authority = TlsClient { ca_file: Some(other), server_name: name };
    for tls in [wrong_name, wrong_authority] {
        for destination in [grpc(to_peer(tls.clone())), http(to_peer(tls))] {
            match soon(destination.send(Signal::Traces, &body)).await {
                Sent::Retry { message, .. } => assert!(message.contains("certificate"), "{message}"),
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!(peer.asked().len(), 2);
}
