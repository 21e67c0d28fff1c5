//! G.711 µ-law and A-law (ITU-T G.711; payload types 0 and 8 of RFC 3551 §4.5.14).
//!
//! One byte a sample at 8 kHz. Decoding is a table of 256 values, encoding a segment search by leading zeros.

use super::plc::Concealer;
use super::{CodecError, CodecSpec, Decoder, Encoder};

/// µ-law, the law of North America and Japan.
pub(super) const PCMU: CodecSpec = CodecSpec {
    name: "pcmu",
    clock_rate: RATE,
    sample_rate: RATE,
    channels: 1,
    static_pt: Some(0),
    recv_fmtp: "",
    encoder: |_| Ok(Box::new(LawEncoder { encode: ulaw_encode })),
    decoder: |_| Ok(Box::new(LawDecoder::new(&ULAW))),
};

/// A-law, the law of everybody else.
pub(super) const PCMA: CodecSpec = CodecSpec {
    name: "pcma",
    static_pt: Some(8),
    encoder: |_| Ok(Box::new(LawEncoder { encode: alaw_encode })),
    decoder: |_| Ok(Box::new(LawDecoder::new(&ALAW))),
    ..PCMU
};

struct LawEncoder {
    encode: fn(i16) -> u8,
}

impl Encoder for LawEncoder {
    fn encode(&mut self, pcm: &[i16], out: &mut [u8]) -> Result<usize, CodecError> {
        let given = out.len();
        let Some(out) = out.get_mut(..pcm.len()) else {
            return Err(CodecError::OutputTooSmall { needed: pcm.len(), given });
        };
        for (byte, &sample) in out.iter_mut().zip(pcm) {
            *byte = (self.encode)(sample);
        }
        Ok(pcm.len())
    }
}

struct LawDecoder {
    table: &'static [i16; 256],
    concealer: Concealer,
}

impl LawDecoder {
    fn new(table: &'static [i16; 256]) -> Self {
        Self { table, concealer: Concealer::new(RATE) }
    }
}

impl Decoder for LawDecoder {
    fn decode(&mut self, payload: &[u8], pcm: &mut [i16]) -> Result<usize, CodecError> {
        let given = pcm.len();
        let Some(out) = pcm.get_mut(..payload.len()) else {
            return Err(CodecError::OutputTooSmall { needed: payload.len(), given });
        };
        for (sample, &byte) in out.iter_mut().zip(payload) {
            *sample = self.table[usize::from(byte)];
        }
        Ok(self.concealer.handle_decoded(pcm, payload.len()))
    }

    fn conceal(&mut self, _next: Option<&[u8]>, pcm: &mut [i16]) {
        self.concealer.conceal(pcm);
    }

    fn samples(&self, payload: &[u8]) -> Option<usize> {
        (!payload.is_empty()).then_some(payload.len())
    }
}

/// Compresses one sample by the µ-law: sign, 3 bits of segment, 4 of step, all inverted.
fn ulaw_encode(sample: i16) -> u8 {
    const BIAS: u32 = 0x84;
    const CLIP: u32 = 32_635;
    let sign = if sample < 0 { 0x80 } else { 0 };
    let magnitude = u32::from(sample.unsigned_abs()).min(CLIP) + BIAS; // 132..=32767: bit 7 or higher is set
    let segment = 24 - magnitude.leading_zeros();
    let step = (magnitude >> (segment + 3)) & 0x0f;
    !(sign | (segment << 4) | step) as u8
}

/// Compresses one sample by the A-law: as above, without bias, the even bits inverted.
fn alaw_encode(sample: i16) -> u8 {
    // The law works on 13 bits and is symmetric about -1/2, so a negative value is its one's complement.
    let sign = if sample < 0 { 0 } else { 0x80 };
    let magnitude = u32::from((if sample < 0 { !sample } else { sample }).unsigned_abs()) >> 3;
    let coded = if magnitude < 32 {
        magnitude >> 1 // segments 0 and 1 share the finest step
    } else {
        let segment = 27 - magnitude.leading_zeros();
        (segment << 4) | ((magnitude >> segment) & 0x0f)
    };
    ((sign | coded) ^ 0x55) as u8
}

const fn ulaw_decode(byte: u8) -> i16 {
    let bits = !byte;
    let segment = (bits >> 4) & 7;
    let magnitude = (((((bits & 0x0f) as i16) << 3) + 0x84) << segment) - 0x84;
    if bits & 0x80 != 0 { -magnitude } else { magnitude }
}

const fn alaw_decode(byte: u8) -> i16 {
    let bits = byte ^ 0x55;
    let segment = (bits >> 4) & 7;
    let step = (((bits & 0x0f) as i16) << 4) + 8; // the middle of the step
    let magnitude = if segment == 0 { step } else { (step + 0x100) << (segment - 1) };
    if bits & 0x80 != 0 { magnitude } else { -magnitude }
}

const fn table(decode_alaw: bool) -> [i16; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = if decode_alaw { alaw_decode(byte as u8) } else { ulaw_decode(byte as u8) };
        byte += 1;
    }
    table
}

static ULAW: [i16; 256] = table(false);
static ALAW: [i16; 256] = table(true);
const RATE: u32 = 8000;

#[cfg(test)]
mod tests {
    use super::*;

    /// Decision and output values as the tables 1a to 2b of G.711 build them: 8 segments of 16 steps
    /// that double in width. Written from the tables, not from the bit layout above.
    struct Law {
        /// Upper decision value (exclusive) and code for each interval of positive input, in 16-bit units.
        intervals: Vec<(i32, u8)>,
    }

    fn ulaw_table() -> Law {
        let mut intervals = vec![(4, 0xff)]; // decision value 1 on the 14-bit scale
        let (mut top, mut code) = (4, 0xfe_u8);
        for segment in 0..8 {
            let width = 8 << segment;
            for _ in 0..(if segment == 0 { 15 } else { 16 }) {
                top += width;
                intervals.push((top, code));
                code = code.wrapping_sub(1);
            }
        }
        Law { intervals }
    }

    fn alaw_table() -> Law {
        let (mut intervals, mut top, mut code) = (Vec::new(), 0, 0x80_u8);
        for segment in 0..8 {
            let width = if segment == 0 { 16 } else { 8 << segment };
            for _ in 0..16 {
                top += width;
                intervals.push((top, code ^ 0x55));
                code = code.wrapping_add(1);
            }
        }
        Law { intervals }
    }

    impl Law {
        fn positive(&self, magnitude: i32) -> u8 {
            let found = self.intervals.iter().find(|(top, _)| magnitude < *top);
            found.or_else(|| self.intervals.last()).expect("the table has 128 rows").1
        }
    }

    #[test]
    fn all_65536_samples_encode_as_the_decision_tables_of_g711_say() {
        let (ulaw, alaw) = (ulaw_table(), alaw_table());
        for sample in i16::MIN..=i16::MAX {
            let value = i32::from(sample);
            // µ-law is symmetric about 0, A-law about -1/2.
            let expected = ulaw.positive(value.abs()) & if value < 0 { 0x7f } else { 0xff };
            assert_eq!(ulaw_encode(sample), expected, "µ-law of {sample}");
            let magnitude = if value < 0 { -value - 1 } else { value };
            let expected = alaw.positive(magnitude) ^ if value < 0 { 0x80 } else { 0 };
            assert_eq!(alaw_encode(sample), expected, "A-law of {sample}");
        }
    }

    #[test]
    fn every_code_decodes_to_the_middle_of_its_interval_and_back() {
        let (ulaw, alaw) = (ulaw_table(), alaw_table());
        for (law, table, first) in [(&ulaw, &ULAW, 0), (&alaw, &ALAW, 8)] {
            let mut bottom = 0;
            for (row, &(top, code)) in law.intervals.iter().enumerate() {
                let middle = if row == 0 { first } else { (bottom + top) / 2 };
                assert_eq!(i32::from(table[usize::from(code)]), middle, "code {code:#04x}");
                assert_eq!(i32::from(table[usize::from(code ^ 0x80)]), -middle, "code {:#04x}", code ^ 0x80);
                bottom = top;
            }
        }
        for code in 0..=255_u8 {
            assert_eq!(alaw_encode(ALAW[usize::from(code)]), code);
            // Negative zero is the one code that does not come back.
            let expected = if code == 0x7f { 0xff } else { code };
            assert_eq!(ulaw_encode(ULAW[usize::from(code)]), expected);
        }
    }

    #[test]
    fn a_buffer_that_is_too_small_is_an_error_and_not_a_panic() {
        let mut encoder = LawEncoder { encode: ulaw_encode };
        assert_eq!(encoder.encode(&[0; 4], &mut [0; 3]), Err(CodecError::OutputTooSmall { needed: 4, given: 3 }));
        let mut decoder = LawDecoder::new(&ALAW);
        assert_eq!(decoder.decode(&[0; 4], &mut [0; 3]), Err(CodecError::OutputTooSmall { needed: 4, given: 3 }));
    }
}
