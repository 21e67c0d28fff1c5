//! SRTP: packets of a stranger who does not know the key.

use super::media::split;
use crate::media::srtp::Srtp;
use crate::rng::Rng;
use crate::sdp::crypto::CryptoLine;
use crate::sdp::plan::{MasterKey, SdesKeys, Suite};
use crate::time::Instant;

/// Packets, each behind its length in two bytes, and the text of an `a=crypto` line: nothing that was made without the key
/// is opened or changed, and what was made with it still is afterwards.
pub fn srtp(input: &[u8]) {
    let suite = Suite::ALL[input.first().map_or(0, |byte| usize::from(*byte) % Suite::ALL.len())];
    let mut rng = Rng::new([6; 32]);
    let [send, receive] = [0; 2].map(|_| MasterKey::random(suite, &mut rng));
    let keys = SdesKeys { suite, send: send.clone(), receive: receive.clone(), mki: None };
    let (mut near, mut far) = (Srtp::new(&keys), Srtp::new(&SdesKeys { send: receive, receive: send, ..keys }));
    let now = Instant::ZERO;
    for bytes in split(input) {
        for control in [false, true] {
            let mut packet = bytes.to_vec();
            let opened = if control {
                far.unprotect_rtcp(now, &mut packet).is_ok()
            } else {
                far.unprotect_rtp(now, &mut packet).is_ok()
            };
            assert!(!opened, "what a stranger made is not opened");
            assert_eq!(packet, bytes, "and not changed");
        }
        // What may be protected is what comes out again.
        let mut packet = bytes.to_vec();
        packet.resize(bytes.len() + 64, 0);
        if let Some(length) = near.protect_rtp(&mut packet, bytes.len()) {
            match far.unprotect_rtp(now, &mut packet[..length]) {
                Ok(opened) => assert_eq!(&packet[..opened.length], bytes, "it comes through"),
                Err(refused) => assert_ne!(refused, crate::media::srtp::Refused::Replayed, "a number is new to us"),
            }
        }
        if let Ok(text) = std::str::from_utf8(bytes)
            && let Ok(line) = CryptoLine::parse(text)
        {
            let again = CryptoLine { mki: None, ..line };
            assert_eq!(CryptoLine::parse(&again.encode()), Ok(again), "a line read and written is the same line");
        }
    }
}
