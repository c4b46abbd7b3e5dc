//! Routers behind TLS: whom our client trusts, what it shows, and how it says what is wrong.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, io};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd,
};
use tempfile::TempDir;
use tokio::io::{AsyncWriteExt, copy, copy_bidirectional, sink};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig, crypto};
use wampgate::wamp::config::{RouterConfig, TlsConfig, TlsIdentity};
use wampgate::wamp::error::chain;
use wampgate::wamp::transport;

use crate::peer::{PATIENCE, router};

/// An issuer of certificates, and the folder of what it issued.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

/// A certificate and its key.
pub(crate) struct Issued {
    certificate: rcgen::Certificate,
    key: KeyPair,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let authority = Self {
            issuer,
            folder: TempDir::new().unwrap(),
        };
        let certificate: &rcgen::Certificate = authority.issuer.as_ref();
        authority.write("ca.pem", &certificate.pem());
        authority
    }

    pub(crate) fn issue(&self, name: &str) -> Issued {
        self.issue_until(name, 4000)
    }

    fn issue_until(&self, name: &str, year: i32) -> Issued {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_after = date_time_ymd(year, 1, 1);
        let key = KeyPair::generate().unwrap();
        Issued {
            certificate: params.signed_by(&key, &self.issuer).unwrap(),
            key,
        }
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    fn ca_file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// Trusts only this authority, and shows a certificate of its own.
    pub(crate) fn client(&self) -> TlsConfig {
        let client = self.issue("gateway");
        TlsConfig {
            ca_file: Some(self.ca_file()),
            identity: Some(TlsIdentity {
                certificate: self.write("client.pem", &client.certificate.pem()),
                key: self.write("client.key", &client.key.serialize_pem()),
            }),
            server_name: None,
        }
    }
}

/// A server that speaks TLS and passes on what is inside.
pub(crate) struct Front {
    pub(crate) address: SocketAddr,
    _tasks: JoinSet<()>,
}

impl Front {
    /// Shows `shown`, and wants a certificate of `clients` if there is such an authority.
    pub(crate) async fn start(
        shown: &Issued,
        clients: Option<&Authority>,
        inside: SocketAddr,
    ) -> Self {
        let provider = Arc::new(crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .unwrap();
        let config = match clients {
            None => config.with_no_client_auth(),
            Some(authority) => {
                let mut roots = RootCertStore::empty();
                let root: &rcgen::Certificate = authority.issuer.as_ref();
                roots.add(root.der().clone()).unwrap();
                let roots = Arc::new(roots);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
                config.with_client_cert_verifier(verifier.build().unwrap())
            }
        };
        let key = PrivateKeyDer::try_from(shown.key.serialize_der()).unwrap();
        let config = config
            .with_single_cert(vec![shown.certificate.der().clone()], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(acceptor.clone(), stream, inside));
            }
        });
        Self {
            address,
            _tasks: tasks,
        }
    }
}

/// How the connection ends is for its two ends to see.
async fn serve(acceptor: TlsAcceptor, stream: TcpStream, inside: SocketAddr) {
    match acceptor.accept(stream).into_fallible().await {
        Ok(mut outer) => {
            let mut inner = TcpStream::connect(inside).await.unwrap();
            drop(copy_bidirectional(&mut outer, &mut inner).await);
        }
        Err((_, mut stream)) => {
            // Dropped with something unread it would be reset, and the alert with it lost.
            drop(stream.shutdown().await);
            drop(copy(&mut stream, &mut sink()).await);
        }
    }
}

/// Returns why there is no connection, with all causes.
async fn failure(url: &str, tls: TlsConfig) -> String {
    let config = RouterConfig {
        tls,
        connect_timeout: PATIENCE,
        ..RouterConfig::default()
    };
    match transport::connect(url, &config).await {
        Ok(_) => "none".to_owned(),
        Err(error) => chain(&error),
    }
}

fn urls(front: &Front) -> [String; 2] {
    let port = front.address.port();
    [
        format!("wss://localhost:{port}/ws"),
        format!("tcps://localhost:{port}"),
    ]
}

#[tokio::test]
async fn a_router_that_cannot_be_trusted_is_named() {
    let router = router();
    let inside = router.listen("127.0.0.1:0").await.unwrap().local_addr;
    let authority = Authority::new("authority");
    let stranger = Authority::new("stranger");
    let trusting = TlsConfig {
        ca_file: Some(authority.ca_file()),
        ..TlsConfig::default()
    };
    let good = authority.issue("localhost");
    let elsewhere = authority.issue("router.internal");
    let expired = authority.issue_until("localhost", 2020);
    let foreign = stranger.issue("localhost");
    for (shown, expected) in [
        (&good, "none"),
        (
            &elsewhere,
            "the router's certificate is not valid for the name `localhost`",
        ),
        (
            &expired,
            "the router's certificate has expired, or is not valid yet",
        ),
        (
            &foreign,
            "the router's certificate has an unknown issuer: name it in `tls.ca_file`",
        ),
    ] {
        let front = Front::start(shown, None, inside).await;
        for url in urls(&front) {
            assert_eq!(failure(&url, trusting.clone()).await, expected, "{url}");
        }
    }
    let front = Front::start(&elsewhere, None, inside).await;
    let [url, _] = urls(&front);
    let named = TlsConfig {
        server_name: Some("router.internal".to_owned()),
        ..trusting
    };
    assert_eq!(failure(&url, named).await, "none");
    // Our own authority is not among the system's, which may have none at all.
    let untrusted = failure(&url, TlsConfig::default()).await;
    assert!(untrusted.ends_with("name it in `tls.ca_file`") || untrusted.contains("no root"));
    router.shutdown().await;
}

#[tokio::test]
async fn a_client_certificate_is_shown_to_who_asks() {
    let router = router();
    let inside = router.listen("127.0.0.1:0").await.unwrap().local_addr;
    let authority = Authority::new("authority");
    let stranger = Authority::new("stranger");
    let front = Front::start(&authority.issue("localhost"), Some(&authority), inside).await;
    let shows_nothing = TlsConfig {
        identity: None,
        ..authority.client()
    };
    let shows_foreign = TlsConfig {
        identity: stranger.client().identity,
        ..authority.client()
    };
    for url in urls(&front) {
        assert_eq!(failure(&url, authority.client()).await, "none");
        assert_eq!(
            failure(&url, shows_nothing.clone()).await,
            "the router does not accept our certificate (it requires one): see `tls.certificate`"
        );
        assert_eq!(
            failure(&url, shows_foreign.clone()).await,
            "the router does not accept our certificate (unknown issuer): see `tls.certificate`"
        );
    }
    router.shutdown().await;
}

#[tokio::test]
async fn files_are_read_anew_for_each_connection() {
    let router = router();
    let inside = router.listen("127.0.0.1:0").await.unwrap().local_addr;
    let old = Authority::new("old");
    let new = Authority::new("new");
    let front = Front::start(&new.issue("localhost"), None, inside).await;
    let [url, _] = urls(&front);
    let config = RouterConfig {
        tls: TlsConfig {
            ca_file: Some(old.ca_file()),
            ..TlsConfig::default()
        },
        ..RouterConfig::default()
    };
    assert!(transport::connect(&url, &config).await.is_err());
    fs::copy(new.ca_file(), old.ca_file()).unwrap();
    assert!(transport::connect(&url, &config).await.is_ok());
    router.shutdown().await;
}

#[tokio::test]
async fn a_file_that_is_not_what_it_should_be_is_named_and_not_shown() {
    let authority = Authority::new("authority");
    let client = authority.client();
    let identity = client.identity.clone().unwrap();
    let key_text = fs::read_to_string(&identity.key).unwrap();
    let broken = authority.write("broken.key", &key_text.replace("-----END", "-END"));
    let nothing = authority.write("empty.pem", "");
    let other_key = authority.write("other.key", &authority.issue("x").key.serialize_pem());
    let gone = authority.folder.path().join("gone.pem");
    let ca = |path: &Path| TlsConfig {
        ca_file: Some(path.to_owned()),
        ..TlsConfig::default()
    };
    let with = |certificate: &Path, key: &Path| TlsConfig {
        ca_file: client.ca_file.clone(),
        identity: Some(TlsIdentity {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
        }),
        server_name: None,
    };
    let certificate = &identity.certificate;
    for (tls, expected) in [
        (
            ca(&gone),
            "the CA file `_/gone.pem` cannot be read: No such file or directory (os error 2)",
        ),
        (
            ca(&nothing),
            "the CA file `_/empty.pem` holds no certificate in PEM",
        ),
        (
            ca(&identity.key),
            "the CA file `_/client.key` holds no certificate in PEM",
        ),
        (
            with(certificate, &gone),
            "the client key `_/gone.pem` cannot be read: No such file or directory (os error 2)",
        ),
        (
            with(certificate, certificate),
            "the client key `_/client.pem` holds no private key (an encrypted one is not read)",
        ),
        (
            with(certificate, &broken),
            "the client key `_/broken.key` is not well-formed PEM",
        ),
        (
            with(&identity.key, &identity.key),
            "the client certificate `_/client.key` holds no certificate in PEM",
        ),
        (
            with(certificate, &other_key),
            "the client certificate `_/client.pem` cannot be used with its key: keys may not be \
             consistent: KeyMismatch",
        ),
    ] {
        // Nobody listens there, and nobody is asked.
        let text = failure("tcps://localhost:1", tls).await;
        let text = text.replace(authority.folder.path().to_str().unwrap(), "_");
        assert_eq!(text, expected);
    }
}

#[tokio::test]
async fn a_server_without_tls_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("tcps://{}", listener.local_addr().unwrap());
    let authority = Authority::new("authority");
    for (answer, expected) in [
        (
            &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..],
            "the server does not speak TLS",
        ),
        (
            b"",
            "the server closed the connection during the TLS handshake",
        ),
    ] {
        let serving = async {
            let (mut stream, _) = listener.accept().await?;
            stream.write_all(answer).await?;
            stream.shutdown().await?;
            copy(&mut stream, &mut sink()).await?;
            io::Result::Ok(())
        };
        // Whether the client resets it in the end is nothing to us.
        let (text, _) = tokio::join!(failure(&url, authority.client()), serving);
        assert_eq!(text, expected);
    }
}
