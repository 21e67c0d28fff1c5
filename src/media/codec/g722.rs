//! G.722 at 64 kbit/s (ITU-T G.722, mode 1; payload type 9 of RFC 3551 §4.5.2).
//!
//! ```text
//! 16 kHz ─▶ QMF ─┬─ low band, 8 kHz ──▶ 6-bit ADPCM ─┐
//!                └─ high band, 8 kHz ─▶ 2-bit ADPCM ─┴─▶ one octet (IH IH IL IL IL IL IL IL)
//! ```
//! RTP counts its timestamps at 8000 Hz although the samples are 16000 a second: one octet is two samples.
//! Names in capitals in the comments are the blocks of the Recommendation's section 6.

use super::plc::Concealer;
use super::{CodecError, CodecSpec, Decoder, Encoder};

/// G.722, wide band without any library.
pub(super) const SPEC: CodecSpec = CodecSpec {
    name: "g722",
    clock_rate: 8000,
    sample_rate: RATE,
    channels: 1,
    static_pt: Some(9),
    recv_fmtp: "",
    encoder: |_| Ok(Box::new(G722Encoder::default())),
    decoder: |_| Ok(Box::new(G722Decoder::default())),
};

/// The transmitting side: quadrature mirror filter and the two quantizers.
#[derive(Default)]
struct G722Encoder {
    qmf: Qmf,
    low: Band<LowBand>,
    high: Band<HighBand>,
}

impl Encoder for G722Encoder {
    fn encode(&mut self, pcm: &[i16], out: &mut [u8]) -> Result<usize, CodecError> {
        let (pairs, rest) = pcm.as_chunks::<2>();
        if !rest.is_empty() {
            return Err(CodecError::FrameSize { samples: pcm.len() });
        }
        let given = out.len();
        let Some(out) = out.get_mut(..pairs.len()) else {
            return Err(CodecError::OutputTooSmall { needed: pairs.len(), given });
        };
        for (octet, pair) in out.iter_mut().zip(pairs) {
            *octet = self.octet(*pair);
        }
        Ok(pairs.len())
    }
}

impl G722Encoder {
    fn octet(&mut self, [first, second]: [i16; 2]) -> u8 {
        let (even, odd) = self.qmf.push(i32::from(first), i32::from(second));
        let (low, high) = ((odd + even) >> 14, (odd - even) >> 14);

        // QUANTL: the first decision level above the error, scaled by the current step.
        let error = saturate(low - self.low.predictor.estimate);
        let magnitude = if error >= 0 { error } else { !error };
        let level = Q6.iter().position(|q| magnitude < (q * self.low.step) >> 12).unwrap_or(Q6.len());
        let il = if error >= 0 { 61 - level as i32 } else { NEGATIVE_LOW[level] };
        self.low.adapt(il >> 2);

        // QUANTH
        let error = saturate(high - self.high.predictor.estimate);
        let magnitude = if error >= 0 { error } else { !error };
        let outer = magnitude >= (564 * self.high.step) >> 12;
        let ih = match (error >= 0, outer) {
            (true, false) => 3,
            (true, true) => 2,
            (false, false) => 1,
            (false, true) => 0,
        };
        self.high.adapt(ih);
        (ih << 6 | il) as u8
    }
}

/// The receiving side, with concealment for what does not arrive.
struct G722Decoder {
    qmf: Qmf,
    low: Band<LowBand>,
    high: Band<HighBand>,
    concealer: Concealer,
}

impl Default for G722Decoder {
    fn default() -> Self {
        Self { qmf: Qmf::default(), low: Band::default(), high: Band::default(), concealer: Concealer::new(RATE) }
    }
}

impl Decoder for G722Decoder {
    fn decode(&mut self, payload: &[u8], pcm: &mut [i16]) -> Result<usize, CodecError> {
        let (given, needed) = (pcm.len(), payload.len().saturating_mul(2));
        let Some(out) = pcm.get_mut(..needed) else {
            return Err(CodecError::OutputTooSmall { needed, given });
        };
        for (pair, &octet) in out.as_chunks_mut::<2>().0.iter_mut().zip(payload) {
            *pair = self.pair(octet);
        }
        Ok(self.concealer.handle_decoded(pcm, needed))
    }

    fn conceal(&mut self, _next: Option<&[u8]>, pcm: &mut [i16]) {
        self.concealer.conceal(pcm);
    }

    fn samples(&self, payload: &[u8]) -> Option<usize> {
        (!payload.is_empty()).then_some(payload.len().saturating_mul(2))
    }
}

impl G722Decoder {
    fn pair(&mut self, octet: u8) -> [i16; 2] {
        let (il, ih) = (i32::from(octet & 0x3f), i32::from(octet >> 6));

        // INVQBL: all six bits for the output, the upper four for the adaptation, as in the encoder.
        let difference = (self.low.step * inverse6(il)) >> 15;
        let low = (self.low.predictor.estimate + difference).clamp(-16_384, 16_383);
        self.low.adapt(il >> 2);

        let difference = (self.high.step * HighBand::inverse(ih)) >> 15;
        let high = (self.high.predictor.estimate + difference).clamp(-16_384, 16_383);
        self.high.adapt(ih);

        // The phases swap roles on the way back: the mirrored one gives the earlier sample.
        let (second, first) = self.qmf.push(low + high, low - high);
        [saturate(first >> 11) as i16, saturate(second >> 11) as i16]
    }
}

/// The 24-tap quadrature mirror filter, split into its two phases (TRANSMIT QMF, RECEIVE QMF).
#[derive(Default)]
struct Qmf {
    /// Two copies of the last 12 pairs, so that a window is always contiguous.
    even: [i32; 24],
    odd: [i32; 24],
    next: usize,
}

impl Qmf {
    /// Takes two samples and returns the sums of both phases, older phase first.
    fn push(&mut self, even: i32, odd: i32) -> (i32, i32) {
        for at in [self.next, self.next + 12] {
            self.even[at] = even;
            self.odd[at] = odd;
        }
        self.next = (self.next + 1) % 12;
        let window = self.next..self.next + 12; // oldest first
        let sum_even: i32 = self.even[window.clone()].iter().zip(&QMF).map(|(x, h)| x * h).sum();
        let sum_odd: i32 = self.odd[window].iter().zip(QMF.iter().rev()).map(|(x, h)| x * h).sum();
        (sum_even, sum_odd)
    }
}

/// What differs between the two bands: code book and step adaptation.
trait BandRules {
    const FIRST_STEP: i32;
    const LOG_MAX: i32;
    const SHIFT: i32;
    /// Inverse quantizer output for the bits that adapt.
    fn inverse(code: i32) -> i32;
    /// Change of the logarithmic step (LOGSCL, LOGSCH).
    fn log_step(code: i32) -> i32;
}

#[derive(Default)]
struct LowBand;

impl BandRules for LowBand {
    const FIRST_STEP: i32 = 32;
    const LOG_MAX: i32 = 18_432;
    const SHIFT: i32 = 8;
    fn inverse(code: i32) -> i32 {
        QM4[(code & 15) as usize]
    }
    fn log_step(code: i32) -> i32 {
        WL[(code & 15) as usize]
    }
}

#[derive(Default)]
struct HighBand;

impl BandRules for HighBand {
    const FIRST_STEP: i32 = 8;
    const LOG_MAX: i32 = 22_528;
    const SHIFT: i32 = 10;
    fn inverse(code: i32) -> i32 {
        [-7408, -1616, 7408, 1616][(code & 3) as usize]
    }
    fn log_step(code: i32) -> i32 {
        [798, -214][(code & 1) as usize]
    }
}

/// One ADPCM band: quantizer step and predictor.
struct Band<R> {
    step: i32,
    log_step: i32,
    predictor: Predictor,
    rules: std::marker::PhantomData<R>,
}

impl<R: BandRules> Default for Band<R> {
    fn default() -> Self {
        Self { step: R::FIRST_STEP, log_step: 0, predictor: Predictor::default(), rules: std::marker::PhantomData }
    }
}

impl<R: BandRules> Band<R> {
    fn adapt(&mut self, code: i32) {
        let difference = (self.step * R::inverse(code)) >> 15;
        self.log_step = (((self.log_step * 127) >> 7) + R::log_step(code)).clamp(0, R::LOG_MAX);
        // SCALEL, SCALEH: the antilogarithm, 32 steps an octave.
        let mantissa = ILB[((self.log_step >> 6) & 31) as usize];
        let shift = R::SHIFT - (self.log_step >> 11);
        self.step = (if shift < 0 { mantissa << -shift } else { mantissa >> shift }) << 2;
        self.predictor.adapt(difference);
    }
}

/// The predictor of one band: two poles, six zeros, adapted by signs (section 6.2.1, block 4).
#[derive(Default)]
struct Predictor {
    /// The estimate S of the next sample.
    estimate: i32,
    zeros_estimate: i32,
    poles: [i32; 2],
    zeros: [i32; 6],
    reconstructed: [i32; 2],
    partial: [i32; 2],
    differences: [i32; 6],
}

impl Predictor {
    fn adapt(&mut self, difference: i32) {
        let reconstructed = saturate(self.estimate + difference); // RECONS
        let partial = saturate(self.zeros_estimate + difference); // PARREC
        let same = |other: i32| (partial < 0) == (other < 0);

        // UPPOL2, UPPOL1
        let slope = saturate(self.poles[0] << 2);
        let slope = if same(self.partial[0]) { saturate(-slope) } else { slope };
        let sign = if same(self.partial[1]) { 128 } else { -128 };
        let second = (sign + (slope >> 7) + ((self.poles[1] * 32_512) >> 15)).clamp(-12_288, 12_288);
        let sign = if same(self.partial[0]) { 192 } else { -192 };
        let bound = saturate(15_360 - second);
        let first = saturate(sign + ((self.poles[0] * 32_640) >> 15)).clamp(-bound, bound);
        self.poles = [first, second];

        // UPZERO
        let gain = if difference == 0 { 0 } else { 128 };
        for (zero, old) in self.zeros.iter_mut().zip(&self.differences) {
            let sign = if (difference < 0) == (*old < 0) { gain } else { -gain };
            *zero = saturate(sign + ((*zero * 32_640) >> 15));
        }

        // DELAYA
        self.differences.rotate_right(1);
        self.differences[0] = difference;
        self.reconstructed = [reconstructed, self.reconstructed[0]];
        self.partial = [partial, self.partial[0]];

        // FILTEP, FILTEZ, PREDIC
        let poles: i32 = self.poles.iter().zip(&self.reconstructed).map(|(a, r)| (a * saturate(2 * r)) >> 15).sum();
        let zeros: i32 = self.zeros.iter().zip(&self.differences).map(|(b, d)| (b * saturate(2 * d)) >> 15).sum();
        self.zeros_estimate = saturate(zeros);
        self.estimate = saturate(saturate(poles) + self.zeros_estimate);
    }
}

fn saturate(value: i32) -> i32 {
    value.clamp(-32_768, 32_767)
}

/// Output of the 6-bit inverse quantizer; codes 0 to 3 are never sent and read as the smallest negative value.
fn inverse6(code: i32) -> i32 {
    match code {
        0..=3 => -136,
        4..=31 => -QM6[(code - 4) as usize],
        32..=59 => QM6[(code - 32) as usize],
        60 => 432,
        61 => 136,
        62 => -432,
        _ => -136,
    }
}

/// Negative output codes of QUANTL by level (table of IL); the positive ones count down from 61.
const NEGATIVE_LOW: [i32; 30] =
    [63, 62, 31, 30, 29, 28, 27, 26, 25, 24, 23, 22, 21, 20, 19, 18, 17, 16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4];
/// Decision levels of QUANTL.
const Q6: [i32; 29] = [
    35, 72, 110, 150, 190, 233, 276, 323, 370, 422, 473, 530, 587, 650, 714, 786, 858, 940, 1023, 1121, 1219, 1339,
    1458, 1612, 1765, 1980, 2195, 2557, 2919,
];
/// Magnitudes of the 6-bit inverse quantizer, largest first (without the two smallest).
const QM6: [i32; 28] = [
    24_808, 21_904, 19_008, 16_704, 14_984, 13_512, 12_280, 11_192, 10_232, 9360, 8576, 7856, 7192, 6576, 6000, 5456,
    4944, 4464, 4008, 3576, 3168, 2776, 2400, 2032, 1688, 1360, 1040, 728,
];
/// The 4-bit inverse quantizer.
const QM4: [i32; 16] =
    [0, -20_456, -12_896, -8968, -6288, -4240, -2584, -1200, 20_456, 12_896, 8968, 6288, 4240, 2584, 1200, 0];
/// Logarithmic step changes of the low band, by the 4-bit code.
const WL: [i32; 16] = [-60, 3042, 1198, 538, 334, 172, 58, -30, 3042, 1198, 538, 334, 172, 58, -30, -60];
/// 2048 * 2^(n/32).
const ILB: [i32; 32] = [
    2048, 2093, 2139, 2186, 2233, 2282, 2332, 2383, 2435, 2489, 2543, 2599, 2656, 2714, 2774, 2834, 2896, 2960, 3025,
    3091, 3158, 3228, 3298, 3371, 3444, 3520, 3597, 3676, 3756, 3838, 3922, 4008,
];
/// One phase of the QMF, oldest tap first; the other phase is its mirror image.
const QMF: [i32; 12] = [3, -11, 12, 32, -210, 951, 3876, -805, 362, -156, 53, -11];
const RATE: u32 = 16_000;

#[cfg(test)]
mod tests;
