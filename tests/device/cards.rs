//! ALSA without a card, and ALSA's null device, which keeps no time.

use crate::bellwire::{alsa, run};
use crate::peer::Peer;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(40);
const NULL: &str = "pcm.!default { type null }\nctl.!default { type null }\n";

/// Calls a peer for `seconds` with the default devices of an ALSA configuration.
fn call(config: &str, seconds: u64) -> (crate::bellwire::Run, crate::peer::Packets) {
    let _turn = crate::pulse::turn();
    let folder = tempfile::tempdir().expect("a folder");
    let peer = Peer::new();
    let (uri, duration) = (peer.uri(), format!("{seconds}s"));
    let serving = std::thread::spawn(move || peer.serve(PATIENCE));
    let args = ["call", &uri, "--port", "0", "--duration", &duration, "--codecs", "pcmu"];
    let run = run(&args, &alsa(folder.path(), config), PATIENCE);
    (run, serving.join().expect("the peer served"))
}

/// It gives and takes millions of samples a second.
#[test]
fn alsas_null_device_cannot_make_us_send_over_51_packets_a_second() {
    let _guard = crate::among_others();
    let (run, packets) = call(NULL, 7);
    assert_eq!(run.code, Some(0), "{run:#?}");
    // Over 5 s, so that a machine that stalls and sends two packets at once afterwards does not count.
    let (five, one) = (packets.most_in(Duration::from_secs(5)), packets.most_in(Duration::from_secs(1)));
    println!("{one} packets in the worst second, {five} in the worst five, {:.2} a second", packets.per_second());
    assert!(five <= 5 * 51 + 1, "{five} in 5 s");
    assert!((45.0..=51.0).contains(&packets.per_second()), "{} a second", packets.per_second());
    assert_eq!(run.warnings(), ["media.no-incoming-audio", "media.silent-microphone"], "{run:#?}");
}

#[test]
fn without_a_sound_card_the_call_goes_on_and_says_so() {
    let _guard = crate::among_others();
    let (run, packets) = call("", 2);
    assert_eq!(run.code, Some(0), "{run:#?}");
    let mut warnings = run.warnings();
    warnings.sort_unstable();
    assert_eq!(warnings, ["audio.no-input", "audio.no-output"], "{run:#?}");
    assert!((45.0..=51.0).contains(&packets.per_second()), "{} packets of silence a second", packets.per_second());
    assert!(!run.errors.contains("ALSA lib"), "alsa-lib is kept off the terminal: {}", run.errors);
    for word in ["no microphone found", "no loudspeaker found", "bellwire devices list"] {
        assert!(run.errors.contains(word), "{word}: {}", run.errors);
    }
}

#[test]
fn a_null_device_opens_and_closes_again_and_again() {
    let _guard = crate::among_others();
    let folder = tempfile::tempdir().expect("a folder");
    for _ in 0..3 {
        for kind in ["mic", "speaker"] {
            let run = run(&["devices", "test", kind, "--duration", "500ms"], &alsa(folder.path(), NULL), PATIENCE);
            let expected = if kind == "mic" { 14 } else { 0 };
            assert_eq!(run.code, Some(expected), "{run:#?}");
        }
    }
}

#[test]
fn a_device_that_the_config_names_and_that_is_not_there_is_told_by_name() {
    let _guard = crate::among_others();
    let folder = tempfile::tempdir().expect("a folder");
    let run = run(&["devices", "test", "mic", "--device", "Bluetooth"], &alsa(folder.path(), ""), PATIENCE);
    assert_eq!(run.code, Some(12), "{run:#?}");
    assert!(run.errors.contains("no microphone like \"Bluetooth\""), "{}", run.errors);
}
