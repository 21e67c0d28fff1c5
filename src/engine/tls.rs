//! What core and driver say to each other about TLS connections (RFC 8446, RFC 5922).
//!
//! The core decides whom a connection must lead to ([`TlsPolicy`]); the driver runs the handshake and says what came of
//! it: [`TlsInfo`], or a [`TlsFault`] with the [`PeerCertificate`] that it is about. Keys and CA files stay in the driver.

use crate::id::TlsId;

/// Whom a TLS connection must lead to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct TlsPolicy {
    /// The name that the certificate must be for, also sent as SNI: the domain or address of the URI as it was configured
    /// or typed, never what DNS made of it (RFC 5922 §4). Lower case; an IPv6 address without brackets.
    pub domain: String,
    /// The driver's settings that judge the certificate: CAs, pin, our own certificate.
    pub settings: TlsId,
}

/// A TLS connection that is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TlsInfo {
    /// `TLS 1.2` or `TLS 1.3`.
    pub version: &'static str,
    /// An earlier session was resumed, whose certificate had been judged.
    pub resumed: bool,
}

/// Why a TLS connection is not to be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum TlsFault {
    /// The certificate is for other names.
    #[error("the certificate is for another name")]
    WrongName,
    /// The certificate is for the domain only by a wildcard, which RFC 5922 §7.2 does not allow.
    #[error("the certificate names the domain only by a wildcard")]
    Wildcard,
    /// The certificate names no domain and no address at all (a common name does not count).
    #[error("the certificate names no domain")]
    NoName,
    /// The certificate, or one above it, has run out.
    #[error("the certificate has expired")]
    Expired,
    /// The certificate, or one above it, is not valid yet.
    #[error("the certificate is not valid yet")]
    NotYetValid,
    /// The certificate was signed by itself.
    #[error("the certificate is self-signed")]
    SelfSigned,
    /// The certificate was signed by nobody whom we trust.
    #[error("the certificate was signed by an authority that is not trusted here")]
    UnknownAuthority,
    /// The certificate is for clients, mail or code, not for servers.
    #[error("the certificate is not meant for servers")]
    WrongPurpose,
    /// The certificate is not the pinned one.
    #[error("the certificate is not the pinned one")]
    PinMismatch,
    /// The certificate or its chain is broken: encoding, signature, too small a key, an unknown algorithm.
    #[error("the certificate is broken or too weak")]
    BadCertificate,
    /// The server asks for a client certificate and we have none.
    #[error("the server wants a client certificate")]
    ClientCertificateWanted,
    /// The server does not take our client certificate.
    #[error("the server refuses our client certificate")]
    ClientCertificateRefused,
    /// What answers does not speak TLS.
    #[error("what answers there is not TLS")]
    NotTls,
    /// Only TLS versions below 1.2 are offered.
    #[error("only versions of TLS below 1.2 are offered")]
    Version,
    /// No cipher suite in common, or the handshake was refused without a better reason.
    #[error("the handshake was refused: no cipher in common, or a certificate is missing")]
    Handshake,
    /// The peer ended the handshake with another alert.
    #[error("the other side refused the handshake")]
    Refused,
    /// The peer closed the connection in the middle of the handshake.
    #[error("the other side closed the connection during the handshake")]
    Closed,
    /// The handshake was not finished in time.
    #[error("the handshake was not finished in time")]
    Timeout,
    /// What came after the handshake was not what TLS allows: changed on its way, or garbage.
    #[error("what came is not what was sent")]
    Corrupt,
    /// A `sips:` request would have had to leave in clear, and did not.
    #[error("a sips: request may only leave over TLS")]
    ClearRefused,
}

impl TlsFault {
    /// The stable name of the failure for users.
    pub const fn slug(self) -> &'static str {
        match self {
            Self::WrongName => "tls.name-mismatch",
            Self::Wildcard => "tls.wildcard",
            Self::NoName => "tls.no-name",
            Self::Expired => "tls.expired",
            Self::NotYetValid => "tls.not-yet-valid",
            Self::SelfSigned => "tls.self-signed",
            Self::UnknownAuthority => "tls.untrusted",
            Self::WrongPurpose => "tls.wrong-purpose",
            Self::PinMismatch => "tls.pin-mismatch",
            Self::BadCertificate => "tls.bad-certificate",
            Self::ClientCertificateWanted => "tls.client-certificate-wanted",
            Self::ClientCertificateRefused => "tls.client-certificate-refused",
            Self::NotTls => "tls.not-tls",
            Self::Version => "tls.version",
            Self::Handshake => "tls.handshake",
            Self::Refused => "tls.refused",
            Self::Closed => "tls.closed",
            Self::Timeout => "tls.timeout",
            Self::Corrupt => "tls.corrupt",
            Self::ClearRefused => "tls.required",
        }
    }
}

/// What a person needs to know of a certificate that was refused.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PeerCertificate {
    /// The domains and addresses that it is for (subject alternative names), as it writes them.
    pub names: Vec<String>,
    /// Common name of its subject.
    pub subject: String,
    /// Common name, or else organisation, of its issuer.
    pub issuer: String,
    /// First day of its validity, `2026-01-31`.
    pub valid_from: String,
    /// Last day of its validity.
    pub valid_until: String,
    /// SHA-256 of the whole certificate, hex: what `tls_pin` takes.
    pub sha256: String,
}
