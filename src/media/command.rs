//! What the signalling engines tell a media set, and what it tells them (seam 1).

use crate::id::MediaId;
use crate::sdp::plan::MediaPlan;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A command for one media session; the driver routes it to the set that owns the session's lease.
#[derive(Debug, Clone, PartialEq)]
pub enum MediaCommand {
    /// Starts the session. Nothing is sent before it.
    Open {
        /// What was negotiated.
        plan: MediaPlan,
        /// Where sound comes from and goes to.
        route: Route,
        /// Codec and buffer settings of the account.
        settings: MediaSettings,
    },
    /// A later offer/answer: keeps SSRC, sequence and jitter state of streams that go on.
    SetPlan(MediaPlan),
    /// Changes source and sink.
    Route(Route),
    /// Sends silence instead of the source (RTP goes on).
    Mute(bool),
    /// Plays ringback to the sink, whenever nothing has been heard of the peer for a while.
    Ringback(bool),
    /// Queues DTMF digits (RFC 4733; `,` is a pause of half a second).
    SendDtmf {
        /// Characters 0-9 * # A-D and `,`.
        digits: String,
        /// How long each lasts.
        duration: Duration,
    },
    /// Ends the session: RTCP BYE, then the sockets are the core's again.
    Close,
}

/// Where the sound of a session comes from and goes to.
#[derive(Debug, Clone, PartialEq)]
pub enum Route {
    /// Own source and sink.
    Local {
        /// Sent to the peer.
        source: AudioSource,
        /// Heard from the peer.
        sink: AudioSink,
    },
    /// Packets are relayed undecoded to and from another session of the same kind (the PBX bridge).
    Relay {
        /// The other leg.
        peer: MediaId,
    },
}

/// What a session sends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum AudioSource {
    /// Nothing: no RTP but keep-alives.
    None,
    /// Frames of zeros (a muted phone).
    Silence,
    /// A sine of so many Hz at -12 dBFS.
    Tone(f64),
    /// What was heard, through jitter buffer and codec.
    Echo,
    /// A WAV file (resampled).
    File {
        /// Its path.
        path: String,
        /// From the start again at the end; otherwise silence follows.
        repeat: bool,
    },
    /// A sound built into the program.
    Builtin(Builtin),
    /// The capture device of the graph, by name (`default` or part of its name).
    Device(String),
    /// The capture device, and what it gives is written to a WAV file too.
    DeviceAndFile(String, String),
}

/// Sounds that come with the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Builtin {
    /// The human speech clip.
    Speech,
    /// The announcement of extension 601.
    Announcement,
    /// Endless music or tone of extension 602.
    Music,
}

/// What becomes of what a session hears.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum AudioSink {
    /// Decoded and thrown away.
    None,
    /// Written to a WAV file.
    File(String),
    /// The playback device of the graph.
    Device(String),
    /// The playback device and a WAV file.
    DeviceAndFile(String, String),
}

/// Codec and buffer settings of a session.
#[derive(Debug, Clone, PartialEq)]
pub struct MediaSettings {
    /// Adaptive or fixed jitter buffer delay.
    pub jitter_adaptive: bool,
    /// Least delay.
    pub jitter_min: Duration,
    /// Most delay.
    pub jitter_max: Duration,
    /// Opus bit rate, bit/s.
    pub opus_bitrate: u32,
    /// Opus complexity 0..=10.
    pub opus_complexity: u8,
    /// Opus in-band FEC.
    pub opus_fec: bool,
    /// Opus DTX.
    pub opus_dtx: bool,
    /// Expected loss 0..=1 for FEC; `None` follows RTCP.
    pub opus_expected_loss: Option<f32>,
    /// DSCP of RTP packets, 0..=63.
    pub dscp: u8,
    /// Nothing received for so long: [`MediaEvent::RtpLost`]. `None`: never.
    pub media_timeout: Option<Duration>,
}

impl Default for MediaSettings {
    fn default() -> Self {
        Self {
            jitter_adaptive: true,
            jitter_min: Duration::from_millis(20),
            jitter_max: Duration::from_secs(2),
            opus_bitrate: 32_000,
            opus_complexity: 5,
            opus_fec: true,
            opus_dtx: false,
            opus_expected_loss: None,
            dscp: 46,
            media_timeout: None,
        }
    }
}

/// What a media session reports.
#[derive(Debug, Clone, PartialEq)]
pub enum MediaEvent {
    /// The first RTP packet was accepted.
    FirstPacket,
    /// A DTMF digit ended (RFC 4733), reported once.
    Digit {
        /// 0-9 * # A-D.
        digit: char,
        /// How long it was held.
        duration: Duration,
    },
    /// The digits of a `SendDtmf` are all out.
    DtmfSent,
    /// Nothing was received for 5 s after the start, though the direction says the peer sends.
    NoIncomingAudio,
    /// Packets came in the first 5 s, but none was encrypted with the key that was agreed.
    NotAuthentic {
        /// How many.
        packets: u64,
    },
    /// The capture side gives digital silence for 5 s.
    SilentMicrophone,
    /// Nothing was received for `media_timeout`.
    RtpLost,
    /// A fault of ours ended the session: it hears and sends nothing any more, and still wants to be closed.
    Broken,
    /// A source that does not repeat has been sent to its end.
    SourceEnded,
    /// A device or file could not be used; the session goes on with silence or without sink.
    DeviceFailed {
        /// `audio.no-input`, `audio.no-output`, `audio.busy`, `audio.file`.
        slug: String,
        /// The fact, in words.
        cause: String,
    },
    /// Figures, about once a second.
    Stats(Box<MediaStats>),
    /// The session is closed: last figures. The lease may be released.
    Closed(Box<MediaStats>),
}

/// Figures of one audio stream. `None` means unknown, never invented.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct MediaStats {
    /// Codec name, lower case.
    pub codec: String,
    /// Sample rate of the codec, Hz.
    pub rate: u32,
    /// RTP packets sent.
    pub sent: u64,
    /// RTP packets received and accepted.
    pub received: u64,
    /// Packets lost on the way to us (RFC 3550 A.3), never negative here.
    pub lost: u64,
    /// Packets that came too late to be played.
    pub late: u64,
    /// Duplicates.
    pub duplicate: u64,
    /// The SRTP suite, once a packet of the peer was found authentic; `None` for clear sound, and until then.
    pub srtp: Option<String>,
    /// Packets that were not encrypted with the agreed key, or changed on their way.
    pub forged: u64,
    /// SRTP packets that had come before.
    pub replayed: u64,
    /// Packets refused by the source rules (threats C1), malformed, forged or replayed.
    pub refused: u64,
    /// Milliseconds of sound that had to be concealed.
    pub concealed_ms: u64,
    /// Interarrival jitter, ms (RFC 3550 A.8).
    pub jitter_ms: f64,
    /// Round trip, ms, from RTCP.
    pub rtt_ms: Option<f64>,
    /// Loss fraction 0..=1 the peer reports of what we send.
    pub remote_loss: Option<f64>,
    /// Delay of the jitter buffer now, ms.
    pub buffer_ms: f64,
    /// Estimated MOS (E-model); `None` before there is enough to tell.
    pub mos: Option<f64>,
    /// RMS level sent, dBFS, last second.
    pub mic_db: Option<f64>,
    /// RMS level heard, dBFS, last second.
    pub speaker_db: Option<f64>,
    /// Bytes of RTP payload sent.
    pub bytes_sent: u64,
    /// Bytes of RTP payload received.
    pub bytes_received: u64,
}
