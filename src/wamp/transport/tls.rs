//! TLS below a transport, as its client.
//!
//! Files are read anew for each connection, so that a certificate that is renewed in place is used
//! from the next one on. Connections are few and long.
//!
//! The roots are the system's own, by its files: that is where an operator adds an issuer for all
//! programs. A `ca_file` stands in for them rather than beside them: whoever names the one issuer
//! of a private router does not want it vouched for by a public one.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{
    AlertDescription, CertificateError, ClientConfig, Error, InvalidMessage, RootCertStore, crypto,
};

use super::ConnectError;
use super::stream::BoxStream;
use crate::wamp::config::TlsConfig;

/// Why there is no TLS connection.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file that cannot be read.
    #[error("{what} `{}` cannot be read", .path.display())]
    File {
        /// What it was to hold.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file that is not what it should be. Nothing of it is shown: it may be a key.
    #[error("{what} `{}` {problem}", .path.display())]
    Content {
        /// What it was to hold.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: &'static str,
    },
    /// A certificate and a key that cannot be used together.
    #[error("the client certificate `{}` cannot be used with its key", .path.display())]
    Identity {
        /// The certificate's file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Error,
    },
    /// The system has no root certificates, and no file was named.
    #[error("the system has no root certificates: name the router's issuer in `tls.ca_file`")]
    NoRoots,
    /// A name that TLS cannot verify.
    #[error("`{0}` is neither a DNS name nor an IP address")]
    Name(String),
    /// The router's certificate is not signed by an issuer that is trusted.
    #[error("the router's certificate has an unknown issuer: name it in `tls.ca_file`")]
    UnknownIssuer,
    /// The router's certificate is for others.
    #[error("the router's certificate is not valid for the name `{0}`")]
    WrongName(String),
    /// The router's certificate is too old, or not valid yet by our clock.
    #[error("the router's certificate has expired, or is not valid yet")]
    Expired,
    /// The router's certificate is wrong in another way.
    #[error("the router's certificate is not accepted: {0}")]
    Certificate(CertificateError),
    /// The router wants a client certificate, or a different one.
    #[error("the router does not accept our certificate ({0}): see `tls.certificate`")]
    Refused(&'static str),
    /// What answers does not speak TLS.
    #[error("the server does not speak TLS")]
    NotTls,
    /// The handshake failed otherwise.
    #[error("TLS handshake")]
    Handshake(#[source] Error),
    /// The connection ended during the handshake.
    #[error("the server closed the connection during the TLS handshake")]
    Closed,
}

/// What is read from the files, for one connection.
pub(super) struct Connector {
    connector: TlsConnector,
    name: ServerName<'static>,
}

impl Connector {
    /// Reads the files. `host` is verified unless the configuration names another one.
    pub(super) async fn read(config: &TlsConfig, host: &str) -> Result<Self, ConnectError> {
        let name = config.server_name.as_deref().unwrap_or(host);
        let name =
            ServerName::try_from(name.to_owned()).map_err(|_| TlsError::Name(name.to_owned()))?;
        let config = config.clone();
        // The system's roots may be hundreds of files.
        let client = tokio::task::spawn_blocking(move || client(&config))
            .await
            .map_err(|error| ConnectError::Unreachable(error.into()))??;
        Ok(Self {
            connector: TlsConnector::from(Arc::new(client)),
            name,
        })
    }

    pub(super) async fn connect(self, stream: TcpStream) -> Result<BoxStream, ConnectError> {
        match self.connector.connect(self.name.clone(), stream).await {
            Ok(stream) => Ok(Box::new(stream)),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(TlsError::Closed.into())
            }
            Err(error) => Err(match cause(&error) {
                Some(Error::InvalidCertificate(
                    CertificateError::NotValidForName
                    | CertificateError::NotValidForNameContext { .. },
                )) => TlsError::WrongName(self.name.to_str().into_owned()).into(),
                _ => failed(error),
            }),
        }
    }
}

/// Returns whether TLS can verify this name.
pub fn is_server_name(name: &str) -> bool {
    ServerName::try_from(name).is_ok()
}

/// Says what an error of a new connection means. With TLS 1.3 a router refuses our certificate only
/// after the handshake, when WAMP's own has begun.
pub(super) fn failed(error: io::Error) -> ConnectError {
    let Some(cause) = cause(&error) else {
        return ConnectError::Unreachable(error);
    };
    ConnectError::Tls(match cause {
        Error::InvalidCertificate(problem) => match problem {
            CertificateError::UnknownIssuer => TlsError::UnknownIssuer,
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => TlsError::Expired,
            other => TlsError::Certificate(other.clone()),
        },
        Error::AlertReceived(alert) => match alert {
            AlertDescription::CertificateRequired => TlsError::Refused("it requires one"),
            AlertDescription::UnknownCA => TlsError::Refused("unknown issuer"),
            AlertDescription::CertificateExpired => TlsError::Refused("expired"),
            AlertDescription::CertificateRevoked => TlsError::Refused("revoked"),
            AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::AccessDenied => TlsError::Refused("no reason given"),
            _ => TlsError::Handshake(cause.clone()),
        },
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => TlsError::NotTls,
        _ => TlsError::Handshake(cause.clone()),
    })
}

fn cause(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}

fn client(config: &TlsConfig) -> Result<ClientConfig, TlsError> {
    let roots = match &config.ca_file {
        Some(path) => roots_of(path)?,
        None => roots_of_system()?,
    };
    let builder = ClientConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider has cipher suites for every version")
        .with_root_certificates(roots);
    let Some(identity) = &config.identity else {
        return Ok(builder.with_no_client_auth());
    };
    let chain = certificates("the client certificate", &identity.certificate)?;
    let key = PrivateKeyDer::from_pem_file(&identity.key).map_err(|error| {
        let nothing = "holds no private key (an encrypted one is not read)";
        pem_error("the client key", &identity.key, nothing, error)
    })?;
    builder
        .with_client_auth_cert(chain, key)
        .map_err(|source| TlsError::Identity {
            path: identity.certificate.clone(),
            source,
        })
}

fn roots_of(path: &Path) -> Result<RootCertStore, TlsError> {
    let what = "the CA file";
    let mut roots = RootCertStore::empty();
    for certificate in certificates(what, path)? {
        roots.add(certificate).map_err(|_| TlsError::Content {
            what,
            path: path.to_owned(),
            problem: "holds a certificate that cannot be read",
        })?;
    }
    Ok(roots)
}

fn roots_of_system() -> Result<RootCertStore, TlsError> {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::debug!("some of the system's root certificates cannot be read: {error}");
    }
    let mut roots = RootCertStore::empty();
    // Systems carry a few that no program of today can read.
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        return Err(TlsError::NoRoots);
    }
    Ok(roots)
}

/// Reads at least one certificate.
fn certificates(what: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let nothing = "holds no certificate in PEM";
    let failed = |error| pem_error(what, path, nothing, error);
    let found = CertificateDer::pem_file_iter(path)
        .map_err(failed)?
        .collect::<Result<Vec<_>, _>>()
        .map_err(failed)?;
    if found.is_empty() {
        return Err(failed(pem::Error::NoItemsFound));
    }
    Ok(found)
}

fn pem_error(
    what: &'static str,
    path: &Path,
    nothing: &'static str,
    error: pem::Error,
) -> TlsError {
    let problem = match error {
        pem::Error::Io(source) => {
            return TlsError::File {
                what,
                path: path.to_owned(),
                source,
            };
        }
        pem::Error::NoItemsFound => nothing,
        _ => "is not well-formed PEM",
    };
    TlsError::Content {
        what,
        path: path.to_owned(),
        problem,
    }
}
