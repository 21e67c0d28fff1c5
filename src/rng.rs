//! Randomness: one ChaCha20 generator per engine, seeded with 32 bytes by whoever owns the engine.
//!
//! The driver takes the seed from the operating system; only tests use a fixed one, which makes a run repeatable.

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng as _, SeedableRng as _};
use std::fmt;

/// The seeded generator of one engine.
pub struct Rng(ChaCha20Rng);

impl fmt::Debug for Rng {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Rng(..)") // the state would reveal every tag and nonce to come
    }
}

impl Rng {
    /// A generator that repeats itself for the same seed.
    pub fn new(seed: [u8; 32]) -> Self {
        Self(ChaCha20Rng::from_seed(seed))
    }

    /// A generator of its own for a part of the engine (a media set, say).
    #[must_use]
    pub fn fork(&mut self) -> Self {
        Self::new(self.bytes())
    }

    /// 32 uniform bits.
    pub fn u32(&mut self) -> u32 {
        self.0.next_u32()
    }

    /// 64 uniform bits.
    pub fn u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// `N` uniform bytes.
    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.0.fill_bytes(&mut bytes);
        bytes
    }

    /// A number in `0..bound`; 0 when `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { ((u128::from(self.u64()) * u128::from(bound)) >> 64) as u64 }
    }

    /// A number in `0.0..1.0`.
    pub fn unit(&mut self) -> f64 {
        (self.u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// `bits` random bits (rounded up to 8) in lower-case hex; for tags, Call-IDs and nonces.
    pub fn token(&mut self, bits: usize) -> String {
        let mut token = String::with_capacity(bits / 4 + 2);
        for _ in 0..bits.div_ceil(8) {
            let byte = self.u32() as u8;
            for nibble in [byte >> 4, byte & 15] {
                token.push(char::from(b"0123456789abcdef"[usize::from(nibble)]));
            }
        }
        token
    }

    /// A Via branch with the RFC 3261 §8.1.1.7 cookie and 96 random bits.
    pub fn branch(&mut self) -> String {
        format!("z9hG4bK{}", self.token(96))
    }

    /// A From or To tag with 80 random bits (RFC 3261 §19.3 asks for 32, threats D12 for 64).
    pub fn tag(&mut self) -> String {
        self.token(80)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_tokens() {
        let (mut a, mut b) = (Rng::new([7; 32]), Rng::new([7; 32]));
        assert_eq!(a.branch(), b.branch());
        assert_eq!(a.fork().tag(), b.fork().tag());
        assert_ne!(a.tag(), a.tag());
        assert_eq!(a.tag().len(), 20);
    }

    #[test]
    fn below_stays_below_its_bound() {
        let mut rng = Rng::new([1; 32]);
        assert_eq!(rng.below(0), 0);
        assert!((0..1000).all(|_| rng.below(7) < 7));
        assert!((0..1000).all(|_| (0.0..1.0).contains(&rng.unit())));
    }
}
