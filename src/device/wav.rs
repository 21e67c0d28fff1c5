//! WAV files: any chunk order, rate, width and number of channels in; 16-bit PCM out.
//!
//! Files come from anywhere: lengths are believed only as far as there are bytes, and memory is bounded before it is taken.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Samples that one sound may have after mixing to one channel (128 MiB; 23 minutes at 48 kHz).
const MOST_SAMPLES: usize = 64 << 20;
/// Bytes that a file may have.
const MOST_BYTES: u64 = 512 << 20;

/// A sound in memory, one channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sound {
    /// Samples per second.
    pub rate: u32,
    /// The samples.
    pub samples: Vec<i16>,
}

/// Why a file is no sound for us.
#[derive(Debug, thiserror::Error)]
pub enum WavError {
    /// It cannot be read.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It is a directory, a pipe or a device.
    #[error("it is no regular file")]
    NotAFile,
    /// It does not begin with RIFF and WAVE.
    #[error("it is no WAV file")]
    NotWav,
    /// There is no format or no data chunk.
    #[error("it has no `{0}` chunk")]
    Missing(&'static str),
    /// A compressed or odd format.
    #[error("its format is not understood: {0}")]
    Format(String),
    /// Longer than we keep in memory.
    #[error("it is too long")]
    TooLong,
}

/// How one sample is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Width {
    U8,
    I16,
    I24,
    I32,
    F32,
    F64,
}

impl Width {
    const fn bytes(self) -> usize {
        match self {
            Self::U8 => 1,
            Self::I16 => 2,
            Self::I24 => 3,
            Self::I32 | Self::F32 => 4,
            Self::F64 => 8,
        }
    }

    /// The sample at the start of `bytes`, -1.0..=1.0 scaled to 16 bit.
    fn read(self, bytes: &[u8]) -> f32 {
        match *bytes {
            [a, ..] if self == Self::U8 => (f32::from(a) - 128.0) * 256.0,
            [a, b, ..] if self == Self::I16 => f32::from(i16::from_le_bytes([a, b])),
            [a, b, c, ..] if self == Self::I24 => i32::from_le_bytes([0, a, b, c]) as f32 / 65_536.0,
            [a, b, c, d, ..] if self == Self::I32 => i32::from_le_bytes([a, b, c, d]) as f32 / 65_536.0,
            [a, b, c, d, ..] if self == Self::F32 => f32::from_le_bytes([a, b, c, d]) * 32_768.0,
            [a, b, c, d, e, f, g, h] if self == Self::F64 => {
                (f64::from_le_bytes([a, b, c, d, e, f, g, h]) * 32_768.0) as f32
            }
            _ => 0.0,
        }
    }
}

struct Format {
    width: Width,
    channels: usize,
    rate: u32,
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn format(chunk: &[u8]) -> Result<Format, WavError> {
    let short = || WavError::Missing("fmt ");
    let mut tag = u16_at(chunk, 0).ok_or_else(short)?;
    let channels = u16_at(chunk, 2).ok_or_else(short)?;
    let rate = u32_at(chunk, 4).ok_or_else(short)?;
    let bits = u16_at(chunk, 14).ok_or_else(short)?;
    if tag == 0xFFFE {
        tag = u16_at(chunk, 24).ok_or_else(short)?; // the first two bytes of the extensible format's GUID
    }
    let width = match (tag, bits) {
        (1, 8) => Width::U8,
        (1, 16) => Width::I16,
        (1, 24) => Width::I24,
        (1, 32) => Width::I32,
        (3, 32) => Width::F32,
        (3, 64) => Width::F64,
        _ => return Err(WavError::Format(format!("number {tag}, {bits} bits"))),
    };
    if !(1..=32).contains(&channels) {
        return Err(WavError::Format(format!("{channels} channels")));
    }
    if !(4_000..=384_000).contains(&rate) {
        return Err(WavError::Format(format!("{rate} samples a second")));
    }
    Ok(Format { width, channels: usize::from(channels), rate })
}

impl Sound {
    /// Reads a whole file. Blocks on the disk: not for the loop.
    ///
    /// # Errors
    /// [`WavError`] says what is wrong with it.
    pub fn load(path: &Path) -> Result<Self, WavError> {
        // Looked at before it is opened: opening a pipe would wait for its writer.
        let about = std::fs::metadata(path)?;
        if !about.is_file() {
            return Err(WavError::NotAFile);
        }
        if about.len() > MOST_BYTES {
            return Err(WavError::TooLong);
        }
        let mut bytes = Vec::new();
        File::open(path)?.take(MOST_BYTES).read_to_end(&mut bytes)?;
        Self::parse(&bytes)
    }

    /// Understands the bytes of a WAV file and mixes its channels to one.
    ///
    /// # Errors
    /// [`WavError`] says what is wrong with them.
    pub fn parse(bytes: &[u8]) -> Result<Self, WavError> {
        if bytes.get(..4) != Some(b"RIFF") || bytes.get(8..12) != Some(b"WAVE") {
            return Err(WavError::NotWav);
        }
        let (mut at, mut form) = (12, None);
        while let (Some(name), Some(length)) = (bytes.get(at..at + 4), u32_at(bytes, at + 4)) {
            let start = at + 8;
            // Recorders that were cut off leave 0 or 0xFFFFFFFF, others too much: what is there counts.
            let end = start.saturating_add(length as usize).min(bytes.len());
            let chunk = bytes.get(start..end).unwrap_or_default();
            match (name, &form) {
                (b"fmt ", _) => form = Some(format(chunk)?),
                (b"data", Some(form)) => {
                    let data = if length == 0 { bytes.get(start..).unwrap_or_default() } else { chunk };
                    return Self::mix(form, data);
                }
                _ => {}
            }
            at = end + (length as usize & 1);
        }
        Err(WavError::Missing(if form.is_some() { "data" } else { "fmt " }))
    }

    fn mix(form: &Format, data: &[u8]) -> Result<Self, WavError> {
        let frame = form.width.bytes() * form.channels;
        if data.len() / frame > MOST_SAMPLES {
            return Err(WavError::TooLong);
        }
        let share = 1.0 / form.channels as f32;
        let mixed = |frame: &[u8]| {
            let sum: f32 = frame.chunks_exact(form.width.bytes()).map(|sample| form.width.read(sample)).sum();
            (sum * share).round() as i16 // `as` saturates, and makes 0 of NaN
        };
        Ok(Self { rate: form.rate, samples: data.chunks_exact(frame).map(mixed).collect() })
    }
}

/// The 44 bytes before the samples of a 16-bit mono file that holds so many samples.
pub fn header(rate: u32, samples: u64) -> [u8; 44] {
    let data = u32::try_from(samples.saturating_mul(2)).unwrap_or(u32::MAX - 36);
    let mut header = [0; 44];
    let mut put = |at: usize, bytes: &[u8]| {
        for (place, byte) in header.iter_mut().skip(at).zip(bytes) {
            *place = *byte;
        }
    };
    put(0, b"RIFF");
    put(4, &data.saturating_add(36).to_le_bytes());
    put(8, b"WAVEfmt ");
    put(16, &16_u32.to_le_bytes());
    put(20, &1_u16.to_le_bytes()); // PCM
    put(22, &1_u16.to_le_bytes()); // one channel
    put(24, &rate.to_le_bytes());
    put(28, &rate.saturating_mul(2).to_le_bytes());
    put(32, &2_u16.to_le_bytes()); // bytes per frame
    put(34, &16_u16.to_le_bytes());
    put(36, b"data");
    put(40, &data.to_le_bytes());
    header
}

#[cfg(test)]
mod tests;
