//! Plays the scripts in `tests/data/*.jitter` (an idea of pjproject's `Jbtest.dat`).
//!
//! A script is a line of letters per episode, `*N` at its end to repeat it, `#` for comments:
//!
//! | letter | what happens |
//! |---|---|
//! | `P` | the next packet of 20 ms is sent and arrives |
//! | `L` | the next packet is sent and lost |
//! | `H` | the next packet is sent and held up by the network |
//! | `R` | all packets held up arrive, oldest first |
//! | `D` | the packet that arrived last arrives again |
//! | `S` | the sender is silent for 20 ms: its clock goes on, nothing is sent |
//! | `J` | the sender starts anew: other sequence numbers, other timestamps |
//! | `G` | 10 ms of sound are pulled, then 10 ms pass |
//!
//! `seq N` and `time N` set the first numbers. `= …` states the counters at this point exactly.

use super::at;
use crate::media::codec;
use crate::media::playout::{JitterSettings, Playout, Pulled};
use std::path::Path;

struct Player {
    playout: Playout,
    encoder: Box<dyn codec::Encoder>,
    seq: u16,
    time: u32,
    sample: u64,
    held: Vec<(u16, u32, Vec<u8>)>,
    last: Option<(u16, u32, Vec<u8>)>,
    now_ms: u64,
    /// Blocks pulled since the last `=` line, by kind.
    pulled: [u64; 3],
}

impl Player {
    fn new() -> Self {
        let spec = codec::by_name("pcmu").expect("always built");
        Self {
            playout: Playout::new(spec, "", &JitterSettings::default()).expect("in the table"),
            encoder: (spec.encoder)(&codec::EncoderSettings::default()).expect("in the table"),
            seq: 1,
            time: 0,
            sample: 0,
            held: Vec::new(),
            last: None,
            now_ms: 1000,
            pulled: [0; 3],
        }
    }

    /// The next packet: a 125 Hz triangle wave, periodic enough to be stretched.
    fn send(&mut self) -> (u16, u32, Vec<u8>) {
        let frame: Vec<i16> =
            (self.sample..self.sample + 160).map(|i| (((i % 64) as i16 - 32).abs() - 16) * 400).collect();
        let mut payload = vec![0; 160];
        self.encoder.encode(&frame, &mut payload).expect("a legal frame");
        let packet = (self.seq, self.time, payload);
        self.seq = self.seq.wrapping_add(1);
        self.silent();
        packet
    }

    fn silent(&mut self) {
        self.time = self.time.wrapping_add(160);
        self.sample += 160;
    }

    fn arrive(&mut self, packet: (u16, u32, Vec<u8>)) {
        self.playout.insert(at(self.now_ms), packet.0, packet.1, false, &packet.2);
        self.last = Some(packet);
    }

    fn step(&mut self, letter: char) {
        match letter {
            'P' => {
                let packet = self.send();
                self.arrive(packet);
            }
            'L' => drop(self.send()),
            'H' => {
                let packet = self.send();
                self.held.push(packet);
            }
            'R' => {
                for packet in std::mem::take(&mut self.held) {
                    self.arrive(packet);
                }
            }
            'D' => {
                let packet = self.last.clone().expect("D follows a packet");
                self.arrive(packet);
            }
            'S' => self.silent(),
            'J' => (self.seq, self.time) = (self.seq.wrapping_add(20_000), self.time.wrapping_add(1 << 30)),
            'G' => {
                let mut block = [0; 80];
                let kind = match self.playout.pull(at(self.now_ms + 4), &mut block) {
                    Pulled::Decoded => 0,
                    Pulled::Concealed => 1,
                    Pulled::Silence => 2,
                };
                self.pulled[kind] += 1;
                self.now_ms += 10;
            }
            other => panic!("unknown letter {other:?}"),
        }
    }

    fn figures(&mut self) -> String {
        let stats = self.playout.stats();
        let [decoded, concealed, silent] = std::mem::take(&mut self.pulled);
        format!(
            "blocks {decoded} decoded {concealed} concealed {silent} silent; packets {} played {} lost {} late \
             {} duplicate {} refused; stretch +{} -{} ms; delay {} of {} ms; queue {}",
            stats.played,
            stats.lost,
            stats.late,
            stats.duplicate,
            stats.malformed,
            stats.expanded_ms,
            stats.accelerated_ms,
            stats.delay.as_millis(),
            stats.target.as_millis(),
            stats.queued,
        )
    }

    fn line(&mut self, line: &str) -> Result<(), String> {
        let number = |text: &str| text.trim().parse::<u32>().expect("a number");
        if line.is_empty() || line.starts_with('#') {
            Ok(())
        } else if let Some(text) = line.strip_prefix("seq ") {
            self.seq = number(text) as u16;
            Ok(())
        } else if let Some(text) = line.strip_prefix("time ") {
            self.time = number(text);
            Ok(())
        } else if let Some(expected) = line.strip_prefix("= ") {
            let found = self.figures();
            if found == expected { Ok(()) } else { Err(format!("expected = {expected}\n   found = {found}")) }
        } else {
            let (letters, times) = line.split_once('*').unwrap_or((line, "1"));
            for _ in 0..number(times) {
                letters.trim().chars().for_each(|letter| self.step(letter));
            }
            Ok(())
        }
    }
}

#[test]
fn every_jitter_script_ends_with_the_figures_that_it_states() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let mut scripts: Vec<_> = std::fs::read_dir(folder)
        .expect("tests/data is part of the source")
        .map(|entry| entry.expect("the folder can be read").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "jitter"))
        .collect();
    scripts.sort();
    let (mut wrong, mut stated) = (Vec::new(), 0);
    for path in &scripts {
        let mut player = Player::new();
        let text = std::fs::read_to_string(path).expect("a script is UTF-8");
        for (number, line) in text.lines().enumerate() {
            stated += usize::from(line.starts_with("= "));
            if let Err(difference) = player.line(line.trim()) {
                wrong.push(format!("{}:{}: {difference}", path.display(), number + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    assert!(scripts.len() >= 10 && stated >= scripts.len(), "{} scripts state {stated} results", scripts.len());
}
