//! Audio codecs: the two traits that every codec implements and the table that lists them.
//!
//! Adding a codec is one file and one row of [`CODECS`]. Sample data is mono 16 bit everywhere.

mod g711;
mod g722;
#[cfg(feature = "opus")]
mod opus;
pub mod plc;

use crate::time::Duration;

/// Turns frames of sound into RTP payloads.
pub trait Encoder: Send {
    /// Encodes one whole frame (10 to 60 ms at the codec's sample rate) and returns the bytes written into `out`.
    ///
    /// 0 means discontinuous transmission: there is nothing to send for this frame.
    fn encode(&mut self, pcm: &[i16], out: &mut [u8]) -> Result<usize, CodecError>;

    /// Tells the share of packets (0..=1) that the receiver reports as lost, for codecs that can add redundancy.
    fn set_expected_loss(&mut self, _loss: f32) {}
}

/// Turns RTP payloads into sound and makes up for those that are missing.
pub trait Decoder: Send {
    /// Decodes one payload and returns the samples written into `pcm`.
    ///
    /// They are [`Decoder::samples`] many, except right after concealed sound: a codec may then lengthen or shorten
    /// them by up to 5 ms to join both in phase, if `pcm` has room for it.
    fn decode(&mut self, payload: &[u8], pcm: &mut [i16]) -> Result<usize, CodecError>;

    /// Fills `pcm` with a substitute for lost sound that continues what was decoded last.
    ///
    /// `next` is the payload that follows the gap directly, if it is already known: some codecs carry redundancy in it.
    fn conceal(&mut self, next: Option<&[u8]>, pcm: &mut [i16]);

    /// True if `payload` carries a copy of the frame before it that [`Decoder::conceal`] can use.
    fn has_redundancy(&self, _payload: &[u8]) -> bool {
        false
    }

    /// True if long concealment ends in the background noise of the last pause instead of nothing.
    fn has_comfort_noise(&self) -> bool {
        false
    }

    /// Number of samples that `payload` would decode to; `None` if it is malformed.
    fn samples(&self, payload: &[u8]) -> Option<usize>;
}

/// Why a codec could not be made or refused its input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// The frame's length is not one that the codec can encode.
    #[error("a frame of {samples} samples cannot be encoded")]
    FrameSize {
        /// Samples given.
        samples: usize,
    },
    /// The output buffer is too small for the result.
    #[error("the output needs {needed} places, the buffer has {given}")]
    OutputTooSmall {
        /// Bytes or samples needed.
        needed: usize,
        /// Bytes or samples given.
        given: usize,
    },
    /// The payload is not of this codec.
    #[error("malformed payload of {bytes} bytes")]
    Malformed {
        /// Its length.
        bytes: usize,
    },
    /// The codec library refused.
    #[error("{call} failed: {reason}")]
    Library {
        /// The library's function.
        call: &'static str,
        /// Its own words.
        reason: &'static str,
    },
}

/// What an encoder is made with.
#[derive(Debug, Clone)]
pub struct EncoderSettings {
    /// The peer's `a=fmtp` parameters for this codec, without the payload type; may be empty.
    pub fmtp: String,
    /// Sound per packet.
    pub ptime: Duration,
    /// Our own wishes for Opus.
    pub opus: OpusSettings,
}

impl Default for EncoderSettings {
    fn default() -> Self {
        Self { fmtp: String::new(), ptime: Duration::from_millis(20), opus: OpusSettings::default() }
    }
}

/// Our own wishes for the Opus encoder; the peer's fmtp may lower them (RFC 7587 §6.1).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OpusSettings {
    /// Target bit rate in bit/s, 6000 to 510000.
    pub bitrate: u32,
    /// Computational effort, 0 to 10.
    pub complexity: u8,
    /// Send redundancy inside the stream if the peer can use it.
    pub fec: bool,
    /// Stop sending during silence.
    pub dtx: bool,
    /// Loss (0..=1) to protect against from the start; `None` follows the receiver's reports.
    pub expected_loss: Option<f32>,
}

impl Default for OpusSettings {
    fn default() -> Self {
        Self { bitrate: 32_000, complexity: 5, fec: true, dtx: false, expected_loss: None }
    }
}

/// One row of [`CODECS`]: all that the rest of the program knows about a codec.
#[derive(Debug)]
pub struct CodecSpec {
    /// The name in `a=rtpmap`, lower case; compared without regard to case.
    pub name: &'static str,
    /// RTP timestamp units per second. Not the sample rate for G.722 (RFC 3551 §4.5.2).
    pub clock_rate: u32,
    /// Samples per second that the encoder takes and the decoder gives.
    pub sample_rate: u32,
    /// The channel count in `a=rtpmap`; 2 for Opus (RFC 7587 §7), although we code mono.
    pub channels: u8,
    /// The payload type that RFC 3551 assigns, if any.
    pub static_pt: Option<u8>,
    /// What we announce as `a=fmtp` for receiving; empty for none.
    pub recv_fmtp: &'static str,
    /// Makes an encoder.
    pub encoder: fn(&EncoderSettings) -> Result<Box<dyn Encoder>, CodecError>,
    /// Makes a decoder for the given fmtp (ours, as announced).
    pub decoder: fn(&str) -> Result<Box<dyn Decoder>, CodecError>,
}

/// Every codec of this build, in the order in which we prefer them.
pub const CODECS: &[CodecSpec] = &[
    #[cfg(feature = "opus")]
    opus::SPEC,
    g722::SPEC,
    g711::PCMU,
    g711::PCMA,
];

/// Returns the row of the codec called `name`, in any case.
pub fn by_name(name: &str) -> Option<&'static CodecSpec> {
    CODECS.iter().find(|spec| spec.name.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_order_of_preference_and_names_are_found_in_any_case() {
        let names: Vec<_> = CODECS.iter().map(|spec| spec.name).collect();
        #[cfg(feature = "opus")]
        assert_eq!(names, ["opus", "g722", "pcmu", "pcma"]);
        #[cfg(not(feature = "opus"))]
        assert_eq!(names, ["g722", "pcmu", "pcma"]);
        assert_eq!(by_name("PCMU").and_then(|spec| spec.static_pt), Some(0));
        assert_eq!(by_name("G722").map(|spec| (spec.clock_rate, spec.sample_rate)), Some((8000, 16_000)));
        assert!(by_name("g729").is_none());
    }

    #[test]
    fn every_codec_carries_frames_of_10_to_60_ms_and_conceals_after_them() {
        for spec in CODECS {
            for ms in [10, 20, 30, 40, 50, 60] {
                let settings = EncoderSettings { ptime: Duration::from_millis(ms), ..EncoderSettings::default() };
                let mut encoder = (spec.encoder)(&settings).expect("the table's encoders can be made");
                let mut decoder = (spec.decoder)("").expect("the table's decoders can be made");
                let samples = spec.sample_rate as usize * ms as usize / 1000;
                let (mut payload, mut pcm) = ([0; 1500], vec![0; samples]);
                let length = encoder.encode(&vec![1000; samples], &mut payload).expect("a legal frame");
                assert!(length > 0, "{} {ms} ms", spec.name);
                assert_eq!(decoder.samples(&payload[..length]), Some(samples), "{} {ms} ms", spec.name);
                assert_eq!(decoder.decode(&payload[..length], &mut pcm), Ok(samples), "{} {ms} ms", spec.name);
                decoder.conceal(None, &mut pcm);
            }
        }
    }

    #[test]
    fn no_payload_of_any_length_makes_a_decoder_panic() {
        for spec in CODECS {
            let mut decoder = (spec.decoder)("").expect("the table's decoders can be made");
            let mut pcm = vec![0; 5760];
            let mut state = 1_u32;
            for length in 0..400 {
                let payload: Vec<u8> = (0..length)
                    .map(|_| {
                        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                        (state >> 24) as u8
                    })
                    .collect();
                if let Some(samples) = decoder.samples(&payload)
                    && let Ok(written) = decoder.decode(&payload, &mut pcm)
                {
                    let most = spec.sample_rate as usize / 200;
                    assert!(written.abs_diff(samples) <= most, "{} {length} bytes", spec.name);
                }
                decoder.conceal(Some(&payload), &mut pcm[..480]);
            }
        }
    }
}
