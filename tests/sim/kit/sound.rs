//! Sources and sinks of the world, and what can be said about the sound that was heard.

use bellwire::media::tones;
use std::sync::{Arc, Mutex};

/// The samples a sink has taken, at its rate.
#[derive(Clone, Debug, Default)]
pub struct Heard {
    pub rate: u32,
    samples: Arc<Mutex<Vec<i16>>>,
}

impl Heard {
    pub fn new(rate: u32) -> Self {
        Self { rate, samples: Arc::default() }
    }

    pub fn push(&self, pcm: &[i16]) {
        self.samples.lock().expect("no test panics while it holds the lock").extend_from_slice(pcm);
    }

    pub fn samples(&self) -> Vec<i16> {
        self.samples.lock().expect("no test panics while it holds the lock").clone()
    }

    /// The loudest sample of the last seconds.
    pub fn peak(&self, seconds: f64) -> i16 {
        let all = self.samples();
        let from = all.len().saturating_sub((seconds * f64::from(self.rate)) as usize);
        all[from..].iter().map(|sample| sample.saturating_abs()).max().unwrap_or(0)
    }

    /// Signal to noise ratio of a sine of `hz` in the last `seconds`, dB.
    pub fn snr_db(&self, hz: f64, seconds: f64) -> f64 {
        let samples = self.samples();
        let wanted = (seconds * f64::from(self.rate)) as usize;
        let tail = &samples[samples.len().saturating_sub(wanted)..];
        tones::snr_db(hz, self.rate, tail)
    }
}

/// The file whose sound is a planted fault.
pub const PANICS: &str = "a planted fault";

/// Silence for half a second, then a panic.
#[derive(Default)]
pub struct Panics(usize);

impl bellwire::media::set::SoundSource for Panics {
    fn rate(&self) -> u32 {
        16_000
    }
    fn read(&mut self, out: &mut [i16]) -> usize {
        self.0 += out.len();
        assert!(self.0 < 8000, "{PANICS}");
        out.fill(0);
        out.len()
    }
}
