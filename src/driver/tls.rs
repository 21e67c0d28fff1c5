//! TLS for stream connections (rustls with ring): settings, sessions, and what their faults mean.
//!
//! ```text
//!   socket bytes ──read──▶ Session ──▶ plain text       plain text ──seal──▶ Session ──▶ the connection's write queue
//! ```
//! No decision is made here beyond the handshake: whom a connection must lead to comes with [`TlsPolicy`].

mod certificate;
mod judge;
#[cfg(test)]
mod tests;

use crate::engine::{PeerCertificate, TlsFault, TlsInfo, TlsPolicy};
use crate::id::TlsId;
use judge::{Judge, Verdict};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{
    AlertDescription, CertificateError, ClientConfig, ClientConnection, Connection, Error, HandshakeKind,
    PeerIncompatible, ProtocolVersion, RootCertStore, ServerConfig, ServerConnection,
};
use std::fmt;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How TLS connections are made and judged.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TlsSettings {
    /// Trust these certificates (PEM) instead of the system's.
    pub ca: Option<PathBuf>,
    /// Trust exactly the certificate, or the key, with this SHA-256, whatever its name and age.
    pub pin: Option<[u8; 32]>,
    /// `*.example.org` is good for `pbx.example.org`, which RFC 5922 §7.2 forbids.
    pub wildcards: bool,
    /// Our certificate with its chain, and its key (PEM): shown to servers that ask, and by listeners.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// A file of [`TlsSettings`] that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {cause}", .file.display())]
pub struct TlsFileError {
    /// Which file.
    pub file: PathBuf,
    /// What is wrong with it.
    pub cause: String,
}

/// All settings of a driver and the configurations made of them.
pub(super) struct Tls {
    clients: Vec<Arc<ClientConfig>>,
    /// What listeners show; set before they are bound.
    server: Option<Arc<ServerConfig>>,
}

/// Why a session is over.
pub(super) struct Broken {
    pub(super) fault: TlsFault,
    pub(super) certificate: Option<Box<PeerCertificate>>,
}

impl From<TlsFault> for Broken {
    fn from(fault: TlsFault) -> Self {
        Self { fault, certificate: None }
    }
}

impl Tls {
    pub(super) const fn new() -> Self {
        Self { clients: Vec::new(), server: None }
    }

    /// Reads the files of `settings`.
    pub(super) fn add(&mut self, settings: &TlsSettings) -> Result<TlsId, TlsFileError> {
        if self.clients.is_empty() && *settings != TlsSettings::default() {
            self.add(&TlsSettings::default())?; // number 0
        }
        self.clients.push(client_config(settings)?);
        Ok(TlsId(u16::try_from(self.clients.len() - 1).unwrap_or(u16::MAX)))
    }

    /// What listeners show from now on.
    pub(super) fn serve(&mut self, certificate: &Path, key: &Path) -> Result<(), TlsFileError> {
        let (chain, key_der) = identity(certificate, key)?;
        let made = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key_der));
        let mut config = made.map_err(|error| file_error(key, &error))?;
        // Without tickets resumption would need memory for every stranger.
        if let Ok(ticketer) = rustls::crypto::ring::Ticketer::new() {
            config.ticketer = ticketer;
        }
        self.server = Some(Arc::new(config));
        Ok(())
    }

    /// The configuration of listeners to be bound.
    pub(super) fn server(&self) -> Option<Arc<ServerConfig>> {
        self.server.clone()
    }

    /// The session of a connection that we open.
    pub(super) fn client(&mut self, policy: &TlsPolicy) -> Result<Session, TlsFault> {
        if self.clients.is_empty() {
            // The system's CAs, read when they are first needed.
            self.add(&TlsSettings::default()).map_err(|_| TlsFault::UnknownAuthority)?;
        }
        let config = self.clients.get(usize::from(policy.settings.0)).ok_or(TlsFault::UnknownAuthority)?;
        let name = ServerName::try_from(policy.domain.clone()).map_err(|_| TlsFault::WrongName)?;
        let own = config.client_auth_cert_resolver.has_certs();
        let tls = ClientConnection::new(config.clone(), name).map_err(|_| TlsFault::Handshake)?;
        Ok(Session::new(tls.into(), own))
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn client_config(settings: &TlsSettings) -> Result<Arc<ClientConfig>, TlsFileError> {
    let provider = provider();
    let mut roots = RootCertStore::empty();
    let mut given = Vec::new();
    match &settings.ca {
        Some(file) => {
            given = certificates(file)?;
            for certificate in &given {
                roots.add(certificate.clone()).map_err(|error| file_error(file, &error))?;
            }
        }
        // With a pin nobody else is asked.
        None if settings.pin.is_some() => {}
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let (pin, wildcards) = (settings.pin, settings.wildcards);
    let judge = Judge { provider: provider.clone(), roots, given, pin, wildcards };
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let place = settings.ca.clone().unwrap_or_default();
    let builder = builder.map_err(|error| file_error(&place, &error))?;
    let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(judge));
    let config = match &settings.identity {
        Some((certificate, key)) => {
            let (chain, key_der) = identity(certificate, key)?;
            builder.with_client_auth_cert(chain, key_der).map_err(|error| file_error(key, &error))?
        }
        None => builder.with_no_client_auth(),
    };
    Ok(Arc::new(config))
}

type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn identity(certificate: &Path, key: &Path) -> Result<Identity, TlsFileError> {
    let chain = certificates(certificate)?;
    let key_der = PrivateKeyDer::from_pem_file(key).map_err(|error| pem_error(key, "private key", &error))?;
    Ok((chain, key_der))
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsFileError> {
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let read = read.map_err(|error| pem_error(file, "certificate", &error))?;
    if read.is_empty() {
        return Err(pem_error(file, "certificate", &rustls::pki_types::pem::Error::NoItemsFound));
    }
    Ok(read)
}

#[expect(clippy::wildcard_enum_match_arm, reason = "a library's errors, shown as they are")]
fn pem_error(file: &Path, what: &str, error: &rustls::pki_types::pem::Error) -> TlsFileError {
    use rustls::pki_types::pem::Error;
    let cause = match error {
        Error::Io(error) => error.to_string().split(" (os error").next().unwrap_or_default().to_owned(),
        Error::NoItemsFound => format!("there is no {what} in it (PEM: `-----BEGIN …`)"),
        error => error.to_string(),
    };
    TlsFileError { file: file.to_owned(), cause }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "a library's errors, shown as they are")]
fn file_error(file: &Path, error: &Error) -> TlsFileError {
    let cause = match error {
        Error::InconsistentKeys(_) => "the key does not belong to the certificate".to_owned(),
        error => error.to_string(),
    };
    TlsFileError { file: file.to_owned(), cause }
}

/// One TLS session.
pub(super) struct Session {
    tls: Connection,
    /// We have a certificate to show.
    own: bool,
    /// Something that TLS could say has come.
    heard: bool,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Session(handshaking: {})", self.tls.is_handshaking())
    }
}

impl Session {
    fn new(mut tls: Connection, own: bool) -> Self {
        tls.set_buffer_limit(None); // the connection's queue has the limit
        Self { tls, own, heard: false }
    }

    /// The session of a connection that was accepted.
    pub(super) fn server(config: Arc<ServerConfig>) -> Option<Self> {
        ServerConnection::new(config).ok().map(|tls| Self::new(tls.into(), true))
    }

    pub(super) fn is_handshaking(&self) -> bool {
        self.tls.is_handshaking()
    }

    pub(super) fn info(&self) -> TlsInfo {
        let version = if self.tls.protocol_version() == Some(ProtocolVersion::TLSv1_2) { "TLS 1.2" } else { "TLS 1.3" };
        TlsInfo { version, resumed: self.tls.handshake_kind() == Some(HandshakeKind::Resumed) }
    }

    /// Encrypts `plain` onto the end of `queue`.
    pub(super) fn seal(&mut self, plain: &[u8], queue: &mut Vec<u8>) {
        // Neither into its own buffers nor into memory can writing fail.
        let _ = self.tls.writer().write_all(plain);
        self.drain(queue);
    }

    /// Says goodbye.
    pub(super) fn close(&mut self, queue: &mut Vec<u8>) {
        self.tls.send_close_notify();
        self.drain(queue);
    }

    /// Moves what the session has to say of itself onto the end of `queue`.
    pub(super) fn drain(&mut self, queue: &mut Vec<u8>) {
        while self.tls.wants_write() && self.tls.write_tls(queue).is_ok_and(|written| written > 0) {}
    }

    /// Takes bytes from the socket; 0 is its end.
    pub(super) fn feed(&mut self, socket: &mut dyn Read) -> io::Result<usize> {
        self.tls.read_tls(socket)
    }

    /// Works on what has been taken.
    pub(super) fn process(&mut self) -> Result<(), Broken> {
        match self.tls.process_new_packets() {
            Ok(_) => {
                self.heard = true;
                Ok(())
            }
            Err(error) => Err(self.broken(&error)),
        }
    }

    /// Plain text, once there is some. `Ok(0)`: the peer has said goodbye.
    pub(super) fn open(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.tls.reader().read(buffer)
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "a library's errors: what is not told apart is corrupt")]
    fn broken(&self, error: &Error) -> Broken {
        match error {
            Error::InvalidCertificate(CertificateError::Other(other)) => match other.0.downcast_ref::<Verdict>() {
                Some(Verdict { fault, certificate }) => {
                    Broken { fault: *fault, certificate: Some(certificate.clone()) }
                }
                None => TlsFault::BadCertificate.into(),
            },
            Error::InvalidCertificate(_) => TlsFault::BadCertificate.into(),
            Error::AlertReceived(alert) => self.alert(*alert).into(),
            Error::InvalidMessage(_) if !self.heard => TlsFault::NotTls.into(),
            Error::PeerIncompatible(
                PeerIncompatible::ServerDoesNotSupportTls12Or13
                | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
                | PeerIncompatible::Tls12NotOffered
                | PeerIncompatible::Tls12NotOfferedOrEnabled,
            ) => TlsFault::Version.into(),
            Error::PeerIncompatible(_) => TlsFault::Handshake.into(),
            _ => TlsFault::Corrupt.into(),
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "alerts are an open set")]
    fn alert(&self, alert: AlertDescription) -> TlsFault {
        use AlertDescription as Alert;
        match alert {
            Alert::ProtocolVersion => TlsFault::Version,
            Alert::HandshakeFailure | Alert::InsufficientSecurity => TlsFault::Handshake,
            Alert::CertificateRequired | Alert::NoCertificate => TlsFault::ClientCertificateWanted,
            Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::UnknownCA
            | Alert::AccessDenied
            | Alert::DecryptError => {
                if self.own {
                    TlsFault::ClientCertificateRefused
                } else {
                    TlsFault::ClientCertificateWanted
                }
            }
            _ => TlsFault::Refused,
        }
    }
}
