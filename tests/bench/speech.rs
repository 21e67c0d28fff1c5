//! What is said in the calls: our own clip at any rate, as frames of any codec, as a file.

use bellwire::device::builtin;
use bellwire::device::wav::header;
use bellwire::media::codec::{self, EncoderSettings, OpusSettings};
use bellwire::media::command::Builtin;
use bellwire::media::resample::Resampler;
use std::collections::HashMap;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

/// Speech as payloads of 20 ms, to be sent over and over.
pub(crate) struct Frames {
    /// The encoding name of its rtpmap, with clock rate and channels.
    pub(crate) rtpmap: &'static str,
    /// Its fmtp, may be empty.
    pub(crate) fmtp: &'static str,
    pub(crate) payload_type: u8,
    /// Timestamp units of a frame.
    pub(crate) step: u32,
    pub(crate) payloads: Vec<Vec<u8>>,
    /// For PCMU: where each window of bytes stands in the stream.
    pub(crate) places: HashMap<[u8; WINDOW], usize>,
}

/// Bytes by which a place in a PCMU stream is found again.
pub(crate) const WINDOW: usize = 16;

/// Speech of at least `seconds` at `rate`, with a floor of noise, so that no two places are alike.
pub(crate) fn samples(rate: u32, seconds: usize) -> Vec<i16> {
    let clip = builtin::sound(Builtin::Speech);
    let mut resampler = Resampler::new(clip.rate, rate).expect("a usual pair of rates");
    let mut noise = 0x2545_f491_u32;
    let mut all = Vec::new();
    while all.len() < seconds * rate as usize {
        let mut place = vec![0; resampler.most_output(clip.samples.len())];
        let length = resampler.process(&clip.samples, &mut place);
        all.extend(place[..length].iter().map(|sample| {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            sample.saturating_add((noise >> 16) as i16 / 512)
        }));
    }
    all
}

/// Speech as a WAV file.
pub(crate) fn write_wav(path: &Path, rate: u32) {
    let samples = samples(rate, 90);
    let mut file = std::fs::File::create(path).expect("the temporary directory can be written");
    let bytes: Vec<u8> = samples.iter().flat_map(|sample| sample.to_le_bytes()).collect();
    file.write_all(&header(rate, samples.len() as u64)).and_then(|()| file.write_all(&bytes)).expect("written");
}

/// The frames of a codec: "pcmu", "g722" or "opus" (24 kbit/s with FEC).
pub(crate) fn frames(name: &str) -> Arc<Frames> {
    let spec = codec::by_name(name).expect("a codec of this build");
    let opus = OpusSettings { bitrate: 24_000, complexity: 9, ..OpusSettings::default() };
    let settings = EncoderSettings { fmtp: "useinbandfec=1".into(), opus, ..EncoderSettings::default() };
    let mut encoder = (spec.encoder)(&settings).expect("an encoder");
    let samples = samples(spec.sample_rate, 30);
    let mut payloads = Vec::new();
    for frame in samples.chunks_exact(spec.sample_rate as usize / 50) {
        let mut payload = vec![0; 1400];
        let length = encoder.encode(frame, &mut payload).expect("encoded");
        payload.truncate(length);
        payloads.push(payload);
    }
    let mut places = HashMap::new();
    if name == "pcmu" {
        let stream: Vec<u8> = payloads.concat();
        for (place, window) in stream.windows(WINDOW).enumerate() {
            places.insert(window.try_into().expect("windows have their length"), place);
        }
    }
    let (rtpmap, fmtp, payload_type) = match name {
        "pcmu" => ("PCMU/8000", "", 0),
        "g722" => ("G722/8000", "", 9),
        _ => ("opus/48000/2", "useinbandfec=1", 96),
    };
    Arc::new(Frames { rtpmap, fmtp, payload_type, step: spec.clock_rate / 50, payloads, places })
}
