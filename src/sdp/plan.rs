//! What a finished offer/answer exchange means for media: all that `media` ever learns of SDP.

pub use super::crypto::{MasterKey, Mki, SdesKeys, Suite};

use crate::engine::Lease;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::time::Duration;

/// The result of one offer/answer exchange for one call leg.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaPlan {
    /// Socket pairs and remote addresses; streams point into this list by index.
    pub transports: Vec<TransportPlan>,
    /// The accepted streams (rejected m-lines have none).
    pub streams: Vec<StreamPlan>,
}

/// One media transport (seam 2): sockets, remote addresses, protection. Knows no codec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransportPlan {
    /// Our socket pair.
    pub lease: Lease,
    /// Where packets go and come from.
    pub remote: Remote,
    /// How packets are protected.
    pub protection: Protection,
    /// RTP and RTCP share the RTP socket (RFC 5761). Not offered yet.
    pub rtcp_mux: bool,
}

/// The far end of a transport; ICE is a variant to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remote {
    /// The addresses of the SDP. RTP may latch once to another source by the rule of threats C1 when `latch` is set.
    Signalled {
        /// RTP destination.
        rtp: SocketAddr,
        /// RTCP destination (`a=rtcp`, else port + 1).
        rtcp: SocketAddr,
        /// Whether a symmetric-RTP source may take over if nothing came from the signalled one.
        latch: bool,
    },
    /// No usable address (`c=0.0.0.0` hold of RFC 2543): nothing is sent.
    None,
}

/// Protection of a transport; DTLS is a variant to come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Protection {
    /// Clear RTP.
    None,
    /// SRTP with keys from the descriptions (RFC 4568).
    Sdes(Box<SdesKeys>),
}

/// One accepted m-line: codecs and direction, without addresses or keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamPlan {
    /// Index of the m-line in the SDP.
    pub index: usize,
    /// Index into [`MediaPlan::transports`].
    pub transport: usize,
    /// Audio; video is a variant to come.
    pub kind: MediaKind,
    /// Seen from us.
    pub direction: Direction,
    /// What we send, and first choice of what we receive.
    pub codec: NegotiatedCodec,
    /// Everything we must be ready to receive (includes `codec`).
    pub receive: Vec<NegotiatedCodec>,
    /// telephone-event payload types, if agreed (RFC 4733).
    pub dtmf: Option<DtmfPlan>,
    /// Duration of the packets we send.
    pub ptime: Duration,
}

/// The kind of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MediaKind {
    /// Sound.
    Audio,
}

/// Who sends, seen from us (RFC 3264 §5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Both.
    SendRecv,
    /// We only send.
    SendOnly,
    /// We only receive.
    RecvOnly,
    /// Nobody.
    Inactive,
}

impl Direction {
    /// Whether we may send.
    pub const fn sends(self) -> bool {
        matches!(self, Self::SendRecv | Self::SendOnly)
    }

    /// Whether we may receive.
    pub const fn receives(self) -> bool {
        matches!(self, Self::SendRecv | Self::RecvOnly)
    }

    /// The same stream seen from the other end.
    #[must_use]
    pub const fn reversed(self) -> Self {
        match self {
            Self::SendOnly => Self::RecvOnly,
            Self::RecvOnly => Self::SendOnly,
            same @ (Self::SendRecv | Self::Inactive) => same,
        }
    }

    /// Built from its two halves.
    pub const fn from_halves(sends: bool, receives: bool) -> Self {
        match (sends, receives) {
            (true, true) => Self::SendRecv,
            (true, false) => Self::SendOnly,
            (false, true) => Self::RecvOnly,
            (false, false) => Self::Inactive,
        }
    }
}

/// A codec that both sides named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NegotiatedCodec {
    /// Encoding name as in [`crate::media::codec::CodecSpec::name`], lower case.
    pub name: String,
    /// RTP clock rate in Hz.
    pub clock_rate: u32,
    /// Channels as in rtpmap.
    pub channels: u8,
    /// Payload types, which may differ per direction.
    pub pt: PayloadTypes,
    /// The peer's fmtp: rules what we send.
    pub send_fmtp: String,
    /// Our fmtp: what the peer was told.
    pub recv_fmtp: String,
}

/// Payload type numbers of one format (RFC 3264 §5.1: each side names what it wants to receive).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PayloadTypes {
    /// In packets that we send.
    pub send: u8,
    /// In packets that we receive.
    pub recv: u8,
}

/// telephone-event (RFC 4733).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DtmfPlan {
    /// Payload types.
    pub pt: PayloadTypes,
    /// Clock rate in Hz: that of the codec it goes with.
    pub clock_rate: u32,
}
