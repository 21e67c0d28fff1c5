//! What can be wrong with a session description or with an offer/answer exchange.

use std::net::IpAddr;

/// A body that is no usable session description.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SdpError {
    /// The body is longer than we read.
    #[error("the session description has {bytes} bytes, more than {most}")]
    TooLong {
        /// Its length.
        bytes: usize,
        /// Our limit.
        most: usize,
    },
    /// More m-lines or formats than we read (threats A5).
    #[error("the session description has {count} {what}, more than {most}")]
    TooMany {
        /// `media lines` or `formats`.
        what: &'static str,
        /// How many there are.
        count: usize,
        /// Our limit.
        most: usize,
    },
    /// There is no line that a description must have (RFC 8866 §5).
    #[error("the session description has no {letter}= line")]
    Missing {
        /// The letter of the line.
        letter: char,
    },
    /// A line cannot be read.
    #[error("the {letter}= line of the session description cannot be read: {line:?}")]
    Malformed {
        /// The letter of the line.
        letter: char,
        /// The line, cut to 120 characters.
        line: String,
    },
}

impl SdpError {
    /// The SIP status to refuse the request with: 400 for a broken body, 488 for one beyond our limits.
    pub const fn status(&self) -> u16 {
        match self {
            Self::TooLong { .. } | Self::TooMany { .. } => 488,
            Self::Missing { .. } | Self::Malformed { .. } => 400,
        }
    }
}

/// Why an offer/answer exchange failed. The session that was in force before stays so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NegotiationError {
    /// The peer's description names no audio stream that we can serve (RTP/AVP, RTP/SAVP or one of them with feedback, port not 0).
    #[error("no audio stream that we can serve among {}", list(offered))]
    NoAudio {
        /// Its m-lines, each as `audio RTP/SAVP`.
        offered: Vec<String>,
    },
    /// No codec is known to both sides.
    #[error("no common codec: the peer has {}, we have {}", list(theirs), list(ours))]
    NoCommonCodec {
        /// The peer's codecs, each as `opus/48000/2`.
        theirs: Vec<String>,
        /// Ours.
        ours: Vec<String>,
    },
    /// The peer's sound would be in the clear, and that is not allowed here (threats D3).
    #[error("the peer does not encrypt sound ({protocol}), and this is required here")]
    NotEncrypted {
        /// Its profile, such as `RTP/AVP`.
        protocol: String,
    },
    /// The peer insists on encrypted sound, and that is off here.
    #[error("the peer only talks encrypted ({protocol}), and encryption is off here")]
    EncryptionOff {
        /// Its profile, such as `RTP/SAVP`.
        protocol: String,
    },
    /// None of the peer's keys can be used.
    #[error("no common encryption: {}", list(theirs))]
    NoCommonSuite {
        /// What is wrong with each line, or that there is none.
        theirs: Vec<String>,
    },
    /// The peer answered the audio stream with port 0.
    #[error("the peer refused the audio stream")]
    Refused,
    /// There is no c= line for the audio stream.
    #[error("the peer names no media address")]
    NoAddress,
    /// The c= line holds a host name, which we do not resolve.
    #[error("the peer's media address {name:?} is a host name, not an IP address")]
    HostName {
        /// The name.
        name: String,
    },
    /// The media address cannot be sent to: multicast or broadcast.
    #[error("the peer's media address {address} is not that of one host")]
    NotUnicast {
        /// The address.
        address: IpAddr,
    },
    /// The media address is of the other IP family than our socket.
    #[error("the peer's media address {theirs} is of another IP version than ours, {ours}")]
    Family {
        /// The peer's address.
        theirs: IpAddr,
        /// Ours.
        ours: IpAddr,
    },
    /// An offer came while ours waits for its answer (RFC 3261 §14.2).
    #[error("an offer came while ours was waiting for its answer")]
    Glare,
    /// An offer came, or was to be made, while the peer's waits for our answer.
    #[error("an offer is still waiting for its answer")]
    Pending,
    /// An answer came, or was to be made, without an offer.
    #[error("there is no offer to answer")]
    NoOffer,
    /// No codec is configured.
    #[error("there is no codec to offer")]
    NothingToOffer,
}

impl NegotiationError {
    /// The SIP status to refuse the request with: 491 on glare, 500 out of turn, else 488.
    pub const fn status(&self) -> u16 {
        match self {
            Self::NoAudio { .. }
            | Self::NoCommonCodec { .. }
            | Self::NotEncrypted { .. }
            | Self::EncryptionOff { .. }
            | Self::NoCommonSuite { .. }
            | Self::Refused
            | Self::NoAddress
            | Self::HostName { .. }
            | Self::NotUnicast { .. }
            | Self::Family { .. }
            | Self::NothingToOffer => 488,
            Self::Glare => 491,
            Self::Pending | Self::NoOffer => 500,
        }
    }
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "none".into() } else { names.join(", ") }
}
