//! Whether a certificate may speak for a SIP domain (RFC 5922 §7, RFC 5280).

use super::certificate::{Certificate, Name};
use crate::engine::{PeerCertificate, TlsFault};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme};
use sha2::{Digest, Sha256};
use std::net::IpAddr;
use std::sync::Arc;

/// Judges the certificates of servers.
#[derive(Debug)]
pub(super) struct Judge {
    pub(super) provider: Arc<CryptoProvider>,
    pub(super) roots: RootCertStore,
    /// The certificates that a person put into the CA file, which may be the server's own.
    pub(super) given: Vec<CertificateDer<'static>>,
    /// SHA-256 of the certificate or of its key; nothing else counts then.
    pub(super) pin: Option<[u8; 32]>,
    pub(super) wildcards: bool,
}

/// Why a certificate is refused, on its way through rustls.
#[derive(Debug, Clone)]
pub(super) struct Verdict {
    pub(super) fault: TlsFault,
    pub(super) certificate: Box<PeerCertificate>,
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.fault.fmt(f)
    }
}

impl std::error::Error for Verdict {}

impl Judge {
    fn judge(
        &self,
        der: &CertificateDer<'_>,
        above: &[CertificateDer<'_>],
        wanted: &str,
        now: UnixTime,
    ) -> Result<(), Verdict> {
        let sha256: [u8; 32] = Sha256::digest(der).into();
        let Some(read) = Certificate::read(der) else {
            return Err(Verdict { fault: TlsFault::BadCertificate, certificate: Box::default() });
        };
        let verdict = match self.pin {
            Some(pin) if pin == sha256 || pin == <[u8; 32]>::from(Sha256::digest(read.key_info)) => Ok(()),
            Some(_) => Err(TlsFault::PinMismatch),
            None => self.chain(der, &read, above, now).and_then(|()| names(&read.names, wanted, self.wildcards)),
        };
        verdict.map_err(|fault| Verdict { fault, certificate: Box::new(read.describe(sha256)) })
    }

    fn chain(
        &self,
        der: &CertificateDer<'_>,
        read: &Certificate<'_>,
        above: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), TlsFault> {
        // Self-signed certificates as tools make them call themselves a CA, which webpki takes from no server.
        if self.given.iter().any(|given| given == der) {
            let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
            return match now {
                now if now < read.not_before => Err(TlsFault::NotYetValid),
                now if now > read.not_after => Err(TlsFault::Expired),
                _ => Ok(()),
            };
        }
        let parsed = ParsedCertificate::try_from(der).map_err(|error| fault(&error, read))?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&parsed, &self.roots, above, now, algorithms)
            .map_err(|error| fault(&error, read))
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "a library's errors: what is not told apart is a broken certificate"
)]
fn fault(error: &Error, read: &Certificate<'_>) -> TlsFault {
    let Error::InvalidCertificate(error) = error else { return TlsFault::BadCertificate };
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => TlsFault::Expired,
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => TlsFault::NotYetValid,
        CertificateError::UnknownIssuer if !read.is_self_issued() => TlsFault::UnknownAuthority,
        CertificateError::UnknownIssuer => TlsFault::SelfSigned,
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => TlsFault::WrongPurpose,
        CertificateError::Other(_) if read.is_self_issued() => TlsFault::SelfSigned,
        _ => TlsFault::BadCertificate,
    }
}

/// RFC 5922 §7.2: a SIP URI or a DNS name that is the domain, letter by letter; an address for a literal one. The common name
/// does not count (§7.1 allows that, and CAs have not written names there for long).
fn names(names: &[Name], wanted: &str, wildcards: bool) -> Result<(), TlsFault> {
    let wanted = wanted.to_ascii_lowercase();
    let is_it = match wanted.parse::<IpAddr>() {
        Ok(ip) => names.contains(&Name::Ip(ip)),
        Err(_) => names.contains(&Name::Dns(wanted.clone())) || names.contains(&Name::Sip(wanted.clone())),
    };
    let parent = wanted.split_once('.').map(|(_, parent)| parent).filter(|parent| parent.contains('.'));
    let by_wildcard = parent.is_some_and(|parent| names.contains(&Name::Dns(format!("*.{parent}"))));
    match (is_it, by_wildcard) {
        (true, _) => Ok(()),
        (false, true) if wildcards => Ok(()),
        (false, true) => Err(TlsFault::Wildcard),
        (false, false) if names.is_empty() => Err(TlsFault::NoName),
        (false, false) => Err(TlsFault::WrongName),
    }
}

impl ServerCertVerifier for Judge {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.judge(end_entity, intermediates, &server_name.to_str(), now)
            .map(|()| ServerCertVerified::assertion())
            .map_err(|verdict| Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(verdict)))))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_is_named_exactly_and_by_a_wildcard_only_where_that_is_allowed() {
        let dns = |name: &str| Name::Dns(name.into());
        let certificate = [dns("pbx.example.org"), Name::Sip("example.net".into()), dns("*.example.com")];
        for (wanted, verdict) in [
            ("pbx.example.org", Ok(())),
            ("PBX.Example.ORG", Ok(())),
            ("example.net", Ok(())),
            ("example.org", Err(TlsFault::WrongName)),
            ("a.pbx.example.org", Err(TlsFault::WrongName)),
            ("sip.example.com", Err(TlsFault::Wildcard)),
            ("a.b.example.com", Err(TlsFault::WrongName)),
            ("example.com", Err(TlsFault::WrongName)),
            ("192.0.2.1", Err(TlsFault::WrongName)),
        ] {
            assert_eq!(names(&certificate, wanted, false), verdict, "{wanted}");
        }
        assert_eq!(names(&certificate, "sip.example.com", true), Ok(()));
        assert_eq!(names(&[dns("*.org")], "example.org", true), Err(TlsFault::WrongName));
        assert_eq!(names(&[dns("192.0.2.1")], "192.0.2.1", false), Err(TlsFault::WrongName));
        assert_eq!(names(&[], "example.org", false), Err(TlsFault::NoName));
    }
}
