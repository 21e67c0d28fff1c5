//! Opus through libopus (RFC 6716; RTP payload and parameters RFC 7587). Mono both ways; a stereo stream is mixed down by the decoder.

use super::{CodecError, CodecSpec, Decoder, Encoder, EncoderSettings};
use ::opus::{Application, Bandwidth, Bitrate, Channels, Repacketizer};

/// Opus at 48 kHz, announced with two channels as RFC 7587 §7 demands.
pub(super) const SPEC: CodecSpec = CodecSpec {
    name: "opus",
    clock_rate: RATE,
    sample_rate: RATE,
    channels: 2,
    static_pt: None,
    recv_fmtp: "minptime=10;useinbandfec=1",
    encoder: |settings| Ok(Box::new(OpusEncoder::new(settings)?)),
    decoder: |_| Ok(Box::new(OpusDecoder { inner: ::opus::Decoder::new(RATE, Channels::Mono)? })),
};

/// What the peer wishes to receive (RFC 7587 §6.1). Unknown or bad parameters are ignored, as that section allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Fmtp {
    max_average_bitrate: Option<u32>,
    max_playback_rate: u32,
    use_inband_fec: bool,
    use_dtx: bool,
    constant_bitrate: bool,
}

impl Fmtp {
    fn parse(text: &str) -> Self {
        let mut fmtp = Self {
            max_average_bitrate: None,
            max_playback_rate: RATE,
            use_inband_fec: false,
            use_dtx: false,
            constant_bitrate: false,
        };
        for parameter in text.split(';') {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let number = value.trim().parse::<u32>().ok();
            match name.trim().to_ascii_lowercase().as_str() {
                "maxaveragebitrate" => fmtp.max_average_bitrate = number.filter(|n| (6_000..=510_000).contains(n)),
                "maxplaybackrate" => fmtp.max_playback_rate = number.filter(|&n| n >= 8_000).unwrap_or(RATE),
                "useinbandfec" => fmtp.use_inband_fec = number == Some(1),
                "usedtx" => fmtp.use_dtx = number == Some(1),
                "cbr" => fmtp.constant_bitrate = number == Some(1),
                _ => {} // "stereo" too: mono is always allowed
            }
        }
        fmtp
    }

    fn bandwidth(&self) -> Bandwidth {
        match self.max_playback_rate {
            0..12_000 => Bandwidth::Narrowband,
            12_000..16_000 => Bandwidth::Mediumband,
            16_000..24_000 => Bandwidth::Wideband,
            24_000..48_000 => Bandwidth::Superwideband,
            48_000.. => Bandwidth::Fullband,
        }
    }
}

struct OpusEncoder {
    inner: ::opus::Encoder,
    /// Joins 10 ms frames into packets whose length libopus does not encode in one go (30 and 50 ms).
    repacketizer: Repacketizer,
    scratch: Box<[[u8; MAX_FRAME]; 6]>,
    dtx: bool,
    follows_reports: bool,
}

impl OpusEncoder {
    fn new(settings: &EncoderSettings) -> Result<Self, CodecError> {
        let (fmtp, wish) = (Fmtp::parse(&settings.fmtp), settings.opus);
        let mut inner = ::opus::Encoder::new(RATE, Channels::Mono, Application::Voip)?;
        let bitrate = wish.bitrate.clamp(6_000, 510_000).min(fmtp.max_average_bitrate.unwrap_or(u32::MAX));
        let dtx = wish.dtx || fmtp.use_dtx;
        inner.set_bitrate(Bitrate::Bits(bitrate as i32))?;
        inner.set_complexity(i32::from(wish.complexity.min(10)))?;
        inner.set_max_bandwidth(fmtp.bandwidth())?;
        inner.set_vbr(!fmtp.constant_bitrate)?;
        inner.set_dtx(dtx)?;
        inner.set_inband_fec(wish.fec && fmtp.use_inband_fec)?;
        inner.set_packet_loss_perc(percent(wish.expected_loss.unwrap_or(FIRST_LOSS)))?;
        Ok(Self {
            inner,
            repacketizer: Repacketizer::new()?,
            scratch: Box::new([[0; MAX_FRAME]; 6]),
            dtx,
            follows_reports: wish.expected_loss.is_none(),
        })
    }

    fn encode_joined(&mut self, pcm: &[i16], out: &mut [u8]) -> Result<usize, CodecError> {
        let mut state = self.repacketizer.begin();
        for (frame, place) in pcm.chunks(TEN_MS).zip(self.scratch.iter_mut()) {
            let length = self.inner.encode(frame, place)?;
            // Fails when the encoder changes its mode between two frames: one packet is lost, which is rare and heals.
            state.cat(&place[..length])?;
        }
        Ok(state.out(out)?)
    }
}

impl Encoder for OpusEncoder {
    fn encode(&mut self, pcm: &[i16], out: &mut [u8]) -> Result<usize, CodecError> {
        let length = match pcm.len() {
            480 | 960 | 1920 | 2880 => self.inner.encode(pcm, out)?,
            1440 | 2400 => self.encode_joined(pcm, out)?,
            samples => return Err(CodecError::FrameSize { samples }),
        };
        // RFC 6716 §2.1.9 / libopus: a packet of one or two bytes need not be sent.
        Ok(if self.dtx && length <= 2 { 0 } else { length })
    }

    fn set_expected_loss(&mut self, loss: f32) {
        if self.follows_reports {
            // A setter on a live encoder fails for values out of range only.
            self.inner.set_packet_loss_perc(percent(loss.max(LEAST_LOSS))).ok();
        }
    }
}

struct OpusDecoder {
    inner: ::opus::Decoder,
}

impl Decoder for OpusDecoder {
    fn decode(&mut self, payload: &[u8], pcm: &mut [i16]) -> Result<usize, CodecError> {
        let Some(needed) = self.samples(payload) else {
            return Err(CodecError::Malformed { bytes: payload.len() });
        };
        let given = pcm.len();
        let Some(pcm) = pcm.get_mut(..needed) else {
            return Err(CodecError::OutputTooSmall { needed, given });
        };
        Ok(self.inner.decode(payload, pcm, false)?)
    }

    fn conceal(&mut self, next: Option<&[u8]>, pcm: &mut [i16]) {
        // libopus wants a multiple of 2.5 ms; what is left over repeats its last value.
        let whole = pcm.len() / QUARTER_FRAME * QUARTER_FRAME;
        let next = next.filter(|payload| self.samples(payload).is_some_and(|samples| samples <= whole));
        let (sound, rest) = pcm.split_at_mut(whole);
        for chunk in sound.chunks_mut(MAX_SAMPLES) {
            let result = self.inner.decode(next.unwrap_or(&[]), chunk, next.is_some());
            if !matches!(result, Ok(written) if written == chunk.len()) {
                chunk.fill(0);
            }
        }
        rest.fill(sound.last().copied().unwrap_or(0));
    }

    fn has_redundancy(&self, payload: &[u8]) -> bool {
        has_lbrr(payload).unwrap_or(false)
    }

    fn has_comfort_noise(&self) -> bool {
        true
    }

    fn samples(&self, payload: &[u8]) -> Option<usize> {
        self.inner.get_nb_samples(payload).ok().filter(|samples| (1..=MAX_SAMPLES).contains(samples))
    }
}

/// Reads the flag for a low bit rate copy of the frame before (RFC 6716 §4.2.4); `None` if the packet ends before it.
fn has_lbrr(payload: &[u8]) -> Option<bool> {
    let (&toc, rest) = payload.split_first()?;
    if toc >= 0x80 {
        return Some(false); // CELT only
    }
    let first = match toc & 3 {
        0 | 1 => *rest.first()?,
        // Two frames of different length: the first length takes two bytes from 252 on (§3.2.1).
        2 => *rest.get(if *rest.first()? < 252 { 1 } else { 2 })?,
        // Any number of frames: the count byte, padding length and frame lengths come first. Nobody sends this with FEC.
        _ => return Some(false),
    };
    // SILK frames of 20 ms (or one of 10): a voice activity flag each, then the flag sought; the same again for a side channel.
    let silk_frames = match (toc >> 3) & 3 {
        2 if toc < 0x60 => 2,
        3 if toc < 0x60 => 3,
        _ => 1,
    };
    let middle = (first >> (7 - silk_frames)) & 1;
    let side = if toc & 4 == 0 || silk_frames == 3 { 0 } else { (first >> (6 - 2 * silk_frames)) & 1 };
    Some(middle | side == 1)
}

impl From<::opus::Error> for CodecError {
    fn from(error: ::opus::Error) -> Self {
        Self::Library { call: error.function(), reason: error.code().description() }
    }
}

fn percent(loss: f32) -> i32 {
    (loss.clamp(0.0, 1.0) * 100.0).ceil() as i32
}

const RATE: u32 = 48_000;
const TEN_MS: usize = 480;
const QUARTER_FRAME: usize = 120;
/// 120 ms, the longest packet (RFC 6716 §3.2).
const MAX_SAMPLES: usize = 5760;
/// The longest compressed frame (RFC 6716 §3.2.1) and its TOC.
const MAX_FRAME: usize = 1276;
/// Loss assumed until the first report: enough for libopus to add redundancy at usual rates.
const FIRST_LOSS: f32 = 0.05;
/// Loss assumed when reports say none: the next burst comes unannounced.
const LEAST_LOSS: f32 = 0.01;

#[cfg(test)]
mod tests;
