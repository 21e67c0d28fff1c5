//! `bellwire listen`: many calls at once, each with its own sound, all of it settable by the config alone.

use crate::calls::direct;
use crate::kit::{Home, Pbx, Running};
use nix::sys::signal::Signal;

/// Share of the energy of a recording that a tone of `hz` holds (Goertzel over the middle second).
fn share(path: &std::path::Path, hz: f64) -> f64 {
    let mut wav = hound::WavReader::open(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let rate = wav.spec().sample_rate;
    let all: Vec<f64> = wav.samples::<i16>().map(|s| f64::from(s.unwrap())).collect();
    let length = usize::try_from(rate).unwrap();
    assert!(all.len() > 2 * length, "{}: {} samples at {rate} Hz", path.display(), all.len());
    let middle = &all[all.len() / 2 - length / 2..][..length];
    let step = std::f64::consts::TAU * hz / f64::from(rate);
    let (mut re, mut im, mut energy) = (0.0, 0.0, 0.0);
    for (n, s) in middle.iter().enumerate() {
        let angle = step * f64::from(u32::try_from(n).unwrap());
        (re, im, energy) = (re + s * angle.cos(), im + s * angle.sin(), energy + s * s);
    }
    2.0 * (re * re + im * im) / f64::from(rate) / energy.max(1.0)
}

#[test]
fn calls_at_once_have_a_reader_and_a_recorder_each() {
    let home = Home::alone();
    std::fs::create_dir(home.path("rec")).unwrap();
    // What the listener says: a second of 700 Hz and a second of silence, so that a shared reader would be heard.
    let spec =
        hound::WavSpec { channels: 1, sample_rate: 8000, bits_per_sample: 16, sample_format: hound::SampleFormat::Int };
    let mut wav = hound::WavWriter::create(home.path("say.wav"), spec).unwrap();
    for n in 0..48_000 {
        let value = (std::f64::consts::TAU * 700.0 * f64::from(n) / 8000.0).sin() * 8000.0;
        wav.write_sample(value.round() as i16).unwrap();
    }
    wav.finalize().unwrap();
    home.write("l.toml", "[call]\nmax = 3\n[limits]\nringing = 0\ninvites_per_source = 0\n[audio]\ninput = \"none\"\noutput = \"none\"\n");
    let args = ["listen", "--auto-answer", "-c", "l.toml", "--play", "say.wav", "--record", "rec/{call}.wav", "--json"];
    let listener = home.start(&args);
    let target = direct(&listener);
    let tones = [400_u32, 1000, 1700];
    let calls: Vec<Running> = tones
        .iter()
        .map(|hz| {
            let (input, file) = (format!("audio.input=tone:{hz}"), format!("heard-{hz}.wav"));
            let mut args = vec!["call", &target, "--set", "audio.output=none", "--set", &input, "--record", &file];
            args.extend(["--duration", "5s", "--codecs", "pcmu"]);
            home.start(&args)
        })
        .collect();
    for call in &calls {
        call.until("  answered ");
    }
    // The fourth is one too many.
    home.run(&["call", &target, "--null-audio"]).expect(8, &["is busy (486 "]);
    for call in calls {
        call.wait().expect(0, &[]);
    }
    listener.until_out(|l| l.contains("call.ended") && l.contains("\"c3\""));
    listener.signal(Signal::SIGTERM);
    listener.wait().expect(143, &[]);
    for hz in tones {
        let heard = share(&home.path(&format!("heard-{hz}.wav")), 700.0);
        assert!(heard > 0.9, "the caller with {hz} Hz heard the 700 Hz of its own reader by {heard:.2}");
    }
    let mut found: Vec<u32> = ["c1", "c2", "c3"]
        .iter()
        .map(|call| {
            let path = home.path(&format!("rec/{call}.wav"));
            *tones.iter().max_by(|a, b| share(&path, f64::from(**a)).total_cmp(&share(&path, f64::from(**b)))).unwrap()
        })
        .collect();
    found.sort_unstable();
    assert_eq!(found, tones, "each caller is in one recording");
}

#[test]
fn everything_that_a_bench_sets_can_be_set_by_the_config_alone() {
    let home = Home::alone();
    let pbx = Pbx::start(&home);
    let (port, rtp) = (free_port(), free_port().max(20_000));
    let secret = format!("{}-bob", crate::kit::CANARY);
    let speech = concat!(env!("CARGO_MANIFEST_DIR"), "/src/assets/speech.wav");
    let text = format!(
        "[account.peer]\nserver = \"{}\"\nuser = \"bob\"\npassword = \"{secret}\"\n[audio]\ninput = \"file:{speech}\"\noutput = \"file:rec.wav\"\ncodecs = [\"g722\"]\n[network]\ninterface = \"127.0.0.1\"\nport = {port}\nrtp_ports = \"{rtp}-{}\"\naccept_from = \"any\"\n[call]\nmax = 4\n",
        pbx.udp,
        rtp + 20
    );
    home.write("bench.toml", &text);
    let listener = home.start(&["listen", "--auto-answer", "--config", "bench.toml"]);
    listener.until("  registered bob ");
    assert!(listener.out().contains(&format!("udp:127.0.0.1:{port}")), "{}", listener.out());
    let target = format!("sip:peer@127.0.0.1:{port}");
    let args = [
        "call",
        &target,
        "--set",
        "audio.output=none",
        "--set",
        "audio.input=tone:500",
        "--duration",
        "4s",
        "--record",
        "h.wav",
        "--json",
    ];
    let done = home.run(&args).expect(0, &[]);
    let audio = done.events("call.answered").remove(0)["audio"].clone();
    assert_eq!(audio["codec"], "g722");
    let remote: u16 = audio["remote"].as_str().unwrap().rsplit(':').next().unwrap().parse().unwrap();
    assert!((rtp..=rtp + 20).contains(&remote), "{remote} is not in {rtp}-{}", rtp + 20);
    listener.until("  ended ");
    listener.signal(Signal::SIGTERM);
    listener.wait().expect(143, &[]);
    assert!(share(&home.path("rec.wav"), 500.0) > 0.9);
    assert!(hound::WavReader::open(home.path("h.wav")).unwrap().samples::<i16>().any(|s| s.unwrap().abs() > 2000));
}

fn free_port() -> u16 {
    std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port() & !1
}

#[test]
fn an_echo_by_config_sends_back_what_comes() {
    let home = Home::alone();
    home.write("e.toml", "[audio]\ninput = \"echo\"\noutput = \"none\"\n[network]\ninterface = \"127.0.0.1\"\n");
    let listener = home.start(&["listen", "--auto-answer", "-c", "e.toml", "--json"]);
    let target = direct(&listener);
    let args = [
        "call",
        &target,
        "--set",
        "audio.output=none",
        "--set",
        "audio.input=tone:600",
        "--duration",
        "4s",
        "--record",
        "back.wav",
    ];
    home.run(&args).expect(0, &[]);
    assert!(share(&home.path("back.wav"), 600.0) > 0.9);
}

#[test]
fn who_does_not_want_to_be_disturbed_is_not_reachable() {
    let home = Home::new();
    let listener =
        home.start(&["listen", "--auto-answer", "--null-audio", "--set", "call.do_not_disturb=true", "--json"]);
    let target = direct(&listener);
    home.run(&["call", &target, "--null-audio"]).expect(7, &["is not reachable now (480 "]);
}

#[test]
fn a_call_that_was_given_up_is_a_missed_one() {
    let home = Home::new();
    let listener = home.start(&["listen", "--null-audio"]);
    let ready = listener.until("  listening ");
    let port = ready.split("udp:0.0.0.0:").nth(1).unwrap().split(' ').next().unwrap();
    let target = format!("sip:x@127.0.0.1:{port}");
    home.run(&["call", &target, "--null-audio", "--timeout", "1s"]).expect(7, &["did not answer within 1 s"]);
    listener.until("  missed   ");
    assert_eq!(listener.err(), "");
}
