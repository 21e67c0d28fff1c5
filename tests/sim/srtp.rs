//! Encrypted calls (SDES: RFC 4568, RFC 3711; threats D3, D4, D5): who encrypts with whom, and what strangers can do to it.

use crate::calls::{answered, ended, incoming, with_codecs};
use crate::kit::network::NatKind;
use crate::kit::peer::*;
use crate::kit::{NodeId, World};
use crate::registration::{account, registered, users};
use bellwire::api::{AudibleTo, AudioInfo, Command, Event, Reply};
use bellwire::id::CallHandle;
use bellwire::media::srtp::Srtp;
use bellwire::sdp::crypto::CryptoLine;
use bellwire::sdp::plan::{SdesKeys, Suite};
use bellwire::sdp::{MediaEncryption, Sdp};
use bellwire::time::Duration;
use bellwire::ua::UaConfig;
use std::net::SocketAddr;

const KEY: &str = "d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj";
const PBX: &str = "10.0.0.100";

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A phone that may send its keys over UDP, as all of this world do.
fn guarded(encryption: MediaEncryption) -> UaConfig {
    let mut config = with_codecs(&["pcmu"]);
    config.default_audio.encryption = encryption;
    config.default_audio.keys_in_clear = true;
    config
}

/// The same with so few suites that its INVITE fits a datagram, for peers that are played by hand.
fn brief(encryption: MediaEncryption) -> UaConfig {
    let mut config = guarded(encryption);
    config.default_audio.capabilities.suites = vec![Suite::AeadAes256Gcm, Suite::AesCm128Sha1Tag80];
    config
}

fn user(name: &str, encryption: MediaEncryption) -> UaConfig {
    let mut config = account(name, PBX, &format!("{name}-secret"));
    config.accounts[0].audio = guarded(encryption).default_audio;
    config
}

/// What was negotiated, of the last event that says so.
fn audio(world: &World, node: NodeId) -> AudioInfo {
    let of = |event: &&Event| match event {
        Event::CallAnswered { audio, .. } | Event::CallChanged { audio, .. } => audio.clone(),
        _ => None,
    };
    world.events(node).iter().rev().find_map(of).expect("the call was answered")
}

fn slug(event: &Event) -> Option<&str> {
    match event {
        Event::CallEnded { failure, .. } => failure.as_ref().map(|failure| failure.slug.as_str()),
        _ => None,
    }
}

/// Alice calls bob; true once both talk, false when bob's phone or alice's refused.
fn call(world: &mut World, alice: NodeId, bob: NodeId) -> Option<(CallHandle, CallHandle)> {
    let call = world.dial(alice, "sip:bob@10.0.0.2");
    let event = world.run_until(bob, |event| matches!(event, Event::CallIncoming { .. } | Event::CallEnded { .. }));
    let Event::CallIncoming { call: theirs, .. } = event else { return None };
    world.command(bob, Command::Answer { call: theirs, audio: None }).expect("it rings");
    let event = world.run_until(alice, |event| answered(event) || ended(event));
    if !answered(&event) {
        return None;
    }
    world.run_until(bob, answered);
    Some((call, theirs))
}

fn pair(seed: u64, alice: UaConfig, bob: UaConfig) -> (World, NodeId, NodeId) {
    let mut world = World::new(seed);
    let (a, b) = (world.ua("alice", &["10.0.0.1"], alice), world.ua("bob", &["10.0.0.2"], bob));
    world.microphone(a, 440.0);
    world.microphone(b, 1000.0);
    (world, a, b)
}

#[track_caller]
fn hear_each_other(world: &mut World, alice: NodeId, bob: NodeId) {
    world.run_for(secs(3));
    let (there, here) = (world.heard(bob).snr_db(440.0, 1.5), world.heard(alice).snr_db(1000.0, 1.5));
    assert!(there > 25.0 && here > 25.0, "{there} and {here} dB");
}

#[test]
fn two_phones_encrypt_with_every_suite_and_nobody_on_the_way_hears_a_thing() {
    for (seed, suite) in (0..).zip(Suite::ALL) {
        let mut config = guarded(MediaEncryption::Required);
        config.default_audio.capabilities.suites = vec![suite];
        let (mut world, alice, bob) = pair(seed, config.clone(), config);
        world.watch_media();
        let (mine, _) = call(&mut world, alice, bob).expect("both can");
        hear_each_other(&mut world, alice, bob);
        let info = audio(&world, alice);
        assert_eq!((info.srtp.as_deref(), info.suite.as_deref()), (Some("sdes"), Some(suite.name())));
        assert_eq!(info.audible_to, AudibleTo::Signalling, "the keys went over UDP");
        let [from, to] = ["10.0.0.1:16384", "10.0.0.2:16384"].map(|text| text.parse::<SocketAddr>().unwrap());
        let [(_, a), (_, b)] = [(from, to), (to, from)].map(|(from, to)| (from, world.media_seen(from, to).unwrap()));
        let tag = match suite {
            Suite::AeadAes128Gcm | Suite::AeadAes256Gcm => 16,
            Suite::AesCm128Sha1Tag80 | Suite::AesCm256Sha1Tag80 => 10,
            Suite::AesCm128Sha1Tag32 | Suite::AesCm256Sha1Tag32 => 4,
        };
        assert_eq!([a.len(), b.len()], [12 + 160 + tag; 2], "{suite:?}");
        let rtcp = world.media_seen("10.0.0.1:16385".parse().unwrap(), "10.0.0.2:16385".parse().unwrap());
        world.run_for(secs(10));
        let rtcp =
            rtcp.or_else(|| world.media_seen("10.0.0.1:16385".parse().unwrap(), "10.0.0.2:16385".parse().unwrap()));
        let rtcp = rtcp.expect("a report");
        assert!(!rtcp.windows(4).any(|four| four == [0x01, 0x10, 0, 0]) && rtcp.len() > 28 + 14, "{rtcp:?}");
        let Ok(Reply::Snapshot(snapshot)) = world.command(alice, Command::Snapshot) else { panic!("no snapshot") };
        assert_eq!(snapshot.calls[0].srtp.as_deref(), Some(suite.name()));
        assert_eq!(snapshot.calls[0].audible_to, Some(AudibleTo::Signalling));
        let warned = |event: &&Event| matches!(event, Event::MediaWarning { failure, .. } if failure.slug == "tls.srtp-clear-keys");
        assert_eq!(world.events(alice).iter().copied().filter(|event| warned(event)).count(), 1);
        world.command(alice, Command::HangUp { call: mine }).unwrap();
        let end = world.run_until(alice, ended);
        let Event::CallEnded { stats: Some(stats), .. } = end else { panic!("{end:?}") };
        assert_eq!((stats.srtp.as_deref(), stats.forged, stats.replayed), (Some(suite.name()), 0, 0));
        assert!(stats.rtt_ms.is_some(), "RTCP gets through as well");
        world.assert_quiet();
    }
}

/// Threats D4.
#[test]
fn no_key_leaves_a_phone_over_udp_or_tcp_unless_it_was_allowed() {
    let mut config = guarded(MediaEncryption::Preferred);
    config.default_audio.keys_in_clear = false;
    let (mut world, alice, bob) = pair(1, config.clone(), config.clone());
    let (mine, _) = call(&mut world, alice, bob).expect("in the clear");
    hear_each_other(&mut world, alice, bob);
    assert_eq!((audio(&world, bob).srtp, audio(&world, bob).audible_to), (None, AudibleTo::Anyone));
    world.command(alice, Command::HangUp { call: mine }).unwrap();
    world.run_until(bob, ended);
    assert!(world.ladder.iter().all(|arrow| !arrow.text.contains("crypto")), "no key on the way");

    // Who requires encryption makes no such call, and takes none.
    config.default_audio.encryption = MediaEncryption::Required;
    let (mut world, alice, bob) = pair(2, config, guarded(MediaEncryption::Preferred));
    world.dial(alice, "sip:bob@10.0.0.2");
    assert_eq!(slug(&world.run_until(alice, ended)), Some("tls.srtp-keys"));
    assert!(world.ladder.is_empty(), "nothing was sent");
    let call = world.dial(bob, "sip:alice@10.0.0.1");
    assert_eq!(slug(&world.run_until(alice, ended)), Some("tls.srtp-keys"));
    let end = world.run_until(bob, ended);
    assert!(matches!(end, Event::CallEnded { call: over, code: Some(488), .. } if over == call), "{end:?}");
    world.assert_quiet();
}

#[test]
fn phones_of_every_policy_meet_and_either_talk_as_both_want_or_say_why_not() {
    use MediaEncryption::{Off, Preferred, Required};
    for (caller, callee, outcome) in [
        (Off, Off, Ok(false)),
        (Off, Preferred, Ok(false)),
        (Off, Required, Err(("media.no-common-codec", "tls.srtp-required"))),
        (Preferred, Off, Ok(false)),
        (Preferred, Preferred, Ok(true)),
        (Preferred, Required, Ok(true)),
        (Required, Off, Err(("tls.srtp-required", "tls.srtp-off"))),
        (Required, Preferred, Ok(true)),
        (Required, Required, Ok(true)),
    ] {
        let (mut world, alice, bob) = pair(7, guarded(caller), guarded(callee));
        match (call(&mut world, alice, bob), outcome) {
            (Some((mine, _)), Ok(encrypted)) => {
                hear_each_other(&mut world, alice, bob);
                for node in [alice, bob] {
                    assert_eq!(audio(&world, node).srtp.is_some(), encrypted, "{caller:?} calls {callee:?}");
                }
                world.command(alice, Command::HangUp { call: mine }).unwrap();
            }
            (None, Err((here, there))) => {
                let slugs = |world: &World, node| {
                    world.events(node).iter().filter_map(|event| slug(event)).map(str::to_owned).collect::<Vec<_>>()
                };
                world.run_for(secs(1));
                assert_eq!((slugs(&world, alice), slugs(&world, bob)), (vec![here.into()], vec![there.into()]));
            }
            (up, _) => panic!("{caller:?} calls {callee:?}: {up:?}"),
        }
        world.assert_quiet();
    }
}

/// Bob, played by hand, with keys of his own.
struct Spy {
    scene: Scene,
    call: CallHandle,
    dialog: Dialog,
    /// Where alice hears.
    to: SocketAddr,
    srtp: Srtp,
    sound: Stream,
    mine: CryptoLine,
}

fn lines_of(text: &str) -> Vec<CryptoLine> {
    let sdp = Sdp::parse(body(text).as_bytes()).expect("a description");
    sdp.media[0].attributes_named("crypto").map(|value| CryptoLine::parse(value).expect("one of ours")).collect()
}

/// Bob's description with his key for one of alice's lines.
fn sdp_with(profile: &str, line: &CryptoLine) -> String {
    sdp("10.0.0.9", BOB_RTP).replace("RTP/AVP", profile) + &format!("a=crypto:{}\r\n", line.encode())
}

fn keys(alice: &CryptoLine, bob: &CryptoLine) -> SdesKeys {
    SdesKeys { suite: bob.suite, send: bob.key.clone(), receive: alice.key.clone(), mki: None }
}

fn line(tag: u32, letter: char) -> CryptoLine {
    let key: String = std::iter::repeat_n(letter, 40).collect();
    CryptoLine::parse(&format!("{tag} AES_CM_128_HMAC_SHA1_80 inline:{key}")).expect("a key")
}

impl Spy {
    /// Alice has called bob, who has answered with a key.
    fn answered(encryption: MediaEncryption) -> Self {
        let (mut scene, call, invite) = Scene::dialled(brief(encryption));
        let theirs = lines_of(&invite).into_iter().find(|line| line.suite == Suite::AesCm128Sha1Tag80).unwrap();
        let mine = line(theirs.tag, 'b');
        let profile = if body(&invite).contains("RTP/SAVP") { "RTP/SAVP" } else { "RTP/AVP" };
        scene.say(&reply(&invite, "200 OK", "b", CONTACT, &sdp_with(profile, &mine)));
        scene.hear("ACK");
        scene.world.run_until(scene.alice, answered);
        let to = rtp_of(&invite);
        let dialog = Dialog::of_callee(&invite, "b");
        let srtp = Srtp::new(&keys(&theirs, &mine));
        Self { scene, call, dialog, to, srtp, sound: Stream::new(BOB_RTP, to, 600.0), mine }
    }

    /// The next packet of bob's sound, protected.
    fn packet(&mut self) -> Vec<u8> {
        protect(&mut self.srtp, &self.sound.packet())
    }

    fn talk(&mut self, seconds: u64) {
        for _ in 0..seconds * 50 {
            let packet = self.packet();
            self.send(BOB_RTP, packet);
        }
    }

    /// Sends a packet and lets 20 ms pass.
    fn send(&mut self, from: u16, packet: Vec<u8>) {
        self.scene.world.say_bytes(self.scene.bob, from, self.to, packet);
        self.scene.world.run_for(Duration::from_millis(20));
    }

    fn hears(&self) -> f64 {
        self.scene.world.heard(self.scene.alice).snr_db(600.0, 1.0)
    }

    /// Alice's packets that came to `port` and could be opened.
    fn opened(&mut self, port: u16) -> usize {
        let now = self.scene.world.now;
        let packets = self.scene.world.packets(self.scene.bob, port);
        packets.into_iter().filter(|(_, bytes)| self.srtp.unprotect_rtp(now, &mut bytes.clone()).is_ok()).count()
    }

    fn stats(&mut self) -> bellwire::media::command::MediaStats {
        self.scene.world.run_for(secs(1));
        let events = self.scene.world.events(self.scene.alice);
        let latest = events.into_iter().rev().find_map(|event| match event {
            Event::Stats { audio, .. } => Some((**audio).clone()),
            _ => None,
        });
        latest.expect("a second has passed")
    }
}

fn protect(srtp: &mut Srtp, packet: &[u8]) -> Vec<u8> {
    let mut buf = [0; 300];
    buf[..packet.len()].copy_from_slice(packet);
    let length = srtp.protect_rtp(&mut buf, packet.len()).expect("it fits");
    buf[..length].to_vec()
}

/// Threats D5: forged packets.
#[test]
fn forged_packets_are_counted_and_change_nothing() {
    let mut spy = Spy::answered(MediaEncryption::Preferred);
    spy.talk(2);
    let mut other = Srtp::new(&keys(&line(1, 'x'), &line(1, 'y')));
    let mut stranger = Stream::new(BOB_RTP, spy.to, 1500.0);
    (stranger.ssrc, stranger.seq) = (spy.sound.ssrc, spy.sound.seq);
    for n in 0..2000_u32 {
        let good = spy.packet();
        let clear = stranger.packet();
        // Clear, under another key, with a wrong tag, a new SSRC, ahead by far, from elsewhere.
        let mut touched = good.clone();
        touched[20 + n as usize % 100] ^= 1;
        let mut ahead = good.clone();
        ahead[2] ^= 0x40;
        let mut stolen = good.clone();
        stolen[11] ^= 1;
        for forged in [clear.clone(), protect(&mut other, &clear), touched, ahead, stolen] {
            spy.scene.world.say_bytes(spy.scene.bob, BOB_RTP, spy.to, forged.clone());
            spy.scene.world.say_bytes(spy.scene.bob, 7777, spy.to, forged);
        }
        spy.scene.world.say_bytes(
            spy.scene.bob,
            4001,
            SocketAddr::new(spy.to.ip(), spy.to.port() + 1),
            vec![0x81, 203, 0, 1, 0, 0, 0x0b, 0x0b],
        );
        spy.send(BOB_RTP, good);
    }
    assert!(spy.hears() > 25.0, "{} dB", spy.hears());
    let opened = spy.opened(BOB_RTP);
    assert!(opened > 1900, "{opened}");
    let stats = spy.stats();
    assert!(stats.forged >= 10_000 && stats.lost == 0, "{stats:?}");
    assert!(spy.scene.world.packets(spy.scene.bob, 7777).is_empty(), "nobody else gets our sound");
    spy.scene.finish(spy.call);
}

/// Threats D5: a recording of the call is played into it at ten times its pace.
#[test]
fn a_replay_of_the_whole_call_adds_not_one_sample() {
    let mut spy = Spy::answered(MediaEncryption::Required);
    let mut capture = Vec::new();
    for n in 0..500_usize {
        let packet = spy.packet();
        capture.push(packet.clone());
        for copy in 0..10 {
            let old = capture[(n * 10 + copy) % capture.len()].clone();
            let from = if copy.is_multiple_of(2) { BOB_RTP } else { 6666 };
            if n > 0 {
                spy.scene.world.say_bytes(spy.scene.bob, from, spy.to, old);
            }
        }
        spy.send(BOB_RTP, packet);
    }
    assert!(spy.hears() > 25.0, "{} dB", spy.hears());
    let stats = spy.stats();
    assert!(stats.replayed > 2000 && stats.duplicate == 0 && stats.received == 500, "{stats:?}");
    // Silence from bob does not let a stranger in with what is old.
    for old in &capture {
        spy.send(6666, old.clone());
    }
    assert!(spy.scene.world.packets(spy.scene.bob, 6666).is_empty());
    assert_eq!(spy.stats().received, 500);
    spy.scene.finish(spy.call);
}

/// RFC 3711 §3.3.1: the counter of turns goes on through the wrap, 30 s of loss over it, and another SSRC.
#[test]
fn sound_goes_on_through_the_wrap_a_gap_and_a_new_ssrc() {
    let mut spy = Spy::answered(MediaEncryption::Required);
    spy.talk(2); // starts at 65500: it has wrapped
    assert!(spy.sound.seq < 100 && spy.hears() > 25.0, "{}", spy.hears());
    spy.sound.seq = 65_000;
    spy.sound.time += 65_000 * 160;
    spy.talk(2);
    assert!(spy.hears() > 25.0);
    for _ in 0..1500 {
        spy.packet(); // lost, the wrap with them
    }
    spy.scene.world.run_for(secs(30));
    spy.talk(2);
    assert!(spy.hears() > 25.0, "after the gap: {}", spy.hears());
    (spy.sound.ssrc, spy.sound.seq) = (0xFEED, 40_000);
    spy.talk(2);
    assert!(spy.hears() > 25.0, "with a new SSRC: {}", spy.hears());
    spy.scene.finish(spy.call);
}

#[test]
fn a_re_invite_with_a_new_key_gets_a_new_one_of_ours_and_the_sound_goes_on() {
    let mut spy = Spy::answered(MediaEncryption::Required);
    spy.talk(2);
    let in_flight: Vec<_> = (0..3).map(|_| spy.packet()).collect();
    let offered = line(5, 'c');
    let text = spy.dialog.request("INVITE", "", &later(&sdp_with("RTP/SAVP", &offered)));
    spy.scene.say(&text);
    let answer = spy.scene.hear("200");
    spy.scene.say(&spy.dialog.ack(spy.dialog.seq, ""));
    let [theirs] = lines_of(&answer).try_into().expect("one line");
    assert_eq!((theirs.tag, theirs.suite), (5, Suite::AesCm128Sha1Tag80));
    assert_ne!(theirs.key, spy.srtp.keys().receive, "D7: our key is new too");
    for packet in in_flight {
        spy.send(BOB_RTP, packet);
    }
    spy.srtp = Srtp::new(&keys(&theirs, &offered));
    spy.scene.world.packets(spy.scene.bob, BOB_RTP);
    spy.talk(3);
    assert!(spy.hears() > 25.0, "{}", spy.hears());
    assert!(spy.opened(BOB_RTP) > 140);
    let stats = spy.stats();
    assert_eq!((stats.lost, stats.forged), (0, 0), "what was on its way under the old key was heard");
    // The same key once more: nothing changes, the counters go on.
    let text = spy.dialog.request("INVITE", "", &sdp_with("RTP/SAVP", &offered).replace("o=- 1 1 ", "o=- 1 3 "));
    spy.scene.say(&text);
    let answer = spy.scene.hear("200");
    spy.scene.say(&spy.dialog.ack(spy.dialog.seq, ""));
    assert_eq!(lines_of(&answer)[0].key, theirs.key);
    spy.talk(2);
    assert!(spy.hears() > 25.0);
    assert!(spy.opened(BOB_RTP) > 90);
    spy.scene.finish(spy.call);
}

/// Threats D3 in a call: the encryption is taken away, and refused.
#[test]
fn a_re_invite_without_keys_is_refused_where_encryption_is_required() {
    let mut spy = Spy::answered(MediaEncryption::Required);
    spy.talk(1);
    let mine = spy.mine.encode();
    for offer in [
        later(&sdp("10.0.0.9", BOB_RTP)),
        later(&sdp("10.0.0.9", BOB_RTP)).replace("RTP/AVP", "RTP/SAVP"),
        later(&sdp("10.0.0.9", BOB_RTP)).replace("RTP/AVP", "RTP/SAVP")
            + &format!("a=crypto:{mine} UNENCRYPTED_SRTP\r\n"),
    ] {
        let text = spy.dialog.request("INVITE", "", &offer);
        spy.scene.say(&text);
        spy.scene.hear("488");
        spy.scene.say(&text.replace("INVITE", "ACK"));
        spy.scene.world.packets(spy.scene.bob, BOB_RTP);
        spy.talk(2);
        assert!(spy.hears() > 25.0, "the old session goes on");
        assert!(spy.opened(BOB_RTP) > 90);
    }
    // Clear packets are not heard, whatever was said.
    let mut clear = Stream::new(BOB_RTP, spy.to, 1500.0);
    clear.seq = spy.sound.seq;
    spy.scene.stream(&mut clear, secs(2));
    assert!(spy.scene.world.heard(spy.scene.alice).snr_db(1500.0, 1.0) < 0.0, "not one clear frame is played");
    spy.scene.finish(spy.call);
}

/// Threats D3: bob answers a call that requires encryption.
#[test]
fn an_answer_that_takes_the_encryption_away_ends_the_call_before_a_packet_is_sent() {
    let savp = sdp("10.0.0.9", BOB_RTP).replace("RTP/AVP", "RTP/SAVP");
    for (case, answer, slug_wanted) in [
        ("clear", sdp("10.0.0.9", BOB_RTP), "tls.srtp-required"),
        ("no key", savp.clone(), "tls.srtp-suite"),
        ("a suite that is none", format!("{savp}a=crypto:1 NULL_HMAC_SHA1_80 inline:{KEY}\r\n"), "tls.srtp-suite"),
        (
            "unencrypted",
            format!("{savp}a=crypto:4 AES_CM_128_HMAC_SHA1_80 inline:{KEY} UNENCRYPTED_SRTP\r\n"),
            "tls.srtp-suite",
        ),
        ("another tag", format!("{savp}a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}\r\n"), "tls.srtp-suite"),
    ] {
        let (mut scene, _, invite) = Scene::dialled(brief(MediaEncryption::Required));
        assert!(body(&invite).contains(" RTP/SAVP 0 101\r\n"), "{invite}");
        scene.say(&reply(&invite, "200 OK", "b", CONTACT, &answer));
        scene.hear("ACK");
        let bye = scene.hear("BYE");
        scene.say(&reply(&bye, "200 OK", "", "", ""));
        assert_eq!(slug(&scene.ended()), Some(slug_wanted), "{case}");
        assert!(scene.world.packets(scene.bob, BOB_RTP).is_empty(), "{case}: nothing clear was sent");
        scene.world.assert_quiet();
    }
    // A refusal of the encrypted offer is the end as well: nothing clear is tried after it.
    let (mut scene, _, invite) = Scene::dialled(brief(MediaEncryption::Required));
    scene.say(&reply(&invite, "488 Not Acceptable Here", "b", "", ""));
    scene.hear("ACK");
    assert_eq!(slug(&scene.ended()), Some("tls.srtp-required"));
    scene.world.assert_quiet();
}

/// Threats D3: an incoming call in the clear.
#[test]
fn an_offer_in_the_clear_is_refused_where_encryption_is_required() {
    let plain = sdp("10.0.0.9", BOB_RTP);
    let key = |params: &str| format!("a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}{params}\r\n");
    for offer in [
        plain.clone(),
        plain.replace("RTP/AVP", "RTP/AVPF"),
        plain.replace("RTP/AVP", "RTP/SAVP"),
        plain.clone() + &key(" UNENCRYPTED_SRTP"),
        plain.clone() + &key(" UNAUTHENTICATED_SRTP"),
        plain.clone() + &key("|2^99"),
    ] {
        let mut scene = Scene::new(brief(MediaEncryption::Required));
        scene.say(&invite("in", &offer));
        let refusal = scene.hear("488");
        let ack = invite("in", "").replace("INVITE", "ACK");
        scene.say(&ack);
        assert!(!refusal.is_empty());
        assert!(slug(&scene.ended()).is_some_and(|slug| slug.starts_with("tls.srtp-")), "{offer}");
        assert_eq!(scene.count(|event| matches!(event, Event::CallIncoming { .. })), 0, "it never rang");
        scene.world.assert_quiet();
    }
}

#[test]
fn who_refuses_keys_beside_clear_sound_is_asked_again_with_srtp_alone() {
    let (mut scene, call, first) = Scene::dialled(brief(MediaEncryption::Preferred));
    assert!(body(&first).contains(" RTP/AVP 0 101\r\n") && body(&first).contains("a=crypto:1 "), "{first}");
    scene.say(&reply(&first, "488 Not Acceptable Here", "b", "", ""));
    scene.hear("ACK");
    let second = scene.hear("INVITE");
    assert!(body(&second).contains(" RTP/SAVP 0 101\r\n"), "{second}");
    assert_eq!(header(&second, "Call-ID"), header(&first, "Call-ID"));
    let theirs = lines_of(&second).into_iter().find(|line| line.suite == Suite::AesCm128Sha1Tag80).unwrap();
    scene.say(&reply(&second, "200 OK", "c", CONTACT, &sdp_with("RTP/SAVP", &line(theirs.tag, 'd'))));
    scene.hear("ACK");
    scene.world.run_until(scene.alice, answered);
    assert_eq!(audio(&scene.world, scene.alice).suite.as_deref(), Some("AES_CM_128_HMAC_SHA1_80"));
    scene.finish(call);
    // Once is enough.
    let (mut scene, _, first) = Scene::dialled(brief(MediaEncryption::Preferred));
    scene.say(&reply(&first, "488 Not Acceptable Here", "b", "", ""));
    scene.hear("ACK");
    let second = scene.hear("INVITE");
    scene.say(&reply(&second, "488 Not Acceptable Here", "b", "", ""));
    scene.hear("ACK");
    assert_eq!(slug(&scene.ended()), Some("media.no-common-codec"));
    scene.world.assert_quiet();
}

/// A NAT that changes its mind: authentic packets move the address, though nobody signals it (threats C1, E8).
#[test]
fn an_encrypted_call_follows_a_nat_that_changes_its_port() {
    let mut world = World::new(5);
    let config = guarded(MediaEncryption::Required);
    let alice = world.ua_behind("alice", "192.168.1.10", NatKind::FullCone, "203.0.113.1", config.clone());
    let bob = world.ua("bob", &["10.0.0.2"], config);
    world.microphone(alice, 440.0);
    world.microphone(bob, 1000.0);
    let (mine, _) = call(&mut world, alice, bob).expect("both encrypt");
    hear_each_other(&mut world, alice, bob);
    for _ in 0..3 {
        world.forget_mappings(alice);
        hear_each_other(&mut world, alice, bob);
    }
    world.command(alice, Command::HangUp { call: mine }).unwrap();
    world.run_until(alice, ended);
}

#[test]
fn packets_that_nobody_can_open_are_told_to_the_user() {
    let mut spy = Spy::answered(MediaEncryption::Preferred);
    spy.srtp = Srtp::new(&keys(&line(1, 'x'), &line(1, 'y')));
    spy.talk(6);
    let told = spy
        .scene
        .count(|event| matches!(event, Event::MediaWarning { failure, .. } if failure.slug == "media.srtp-forged"));
    assert_eq!(told, 1);
    assert_eq!(spy.stats().srtp, None, "no lock for what was never authentic");
    spy.scene.finish(spy.call);
}

fn office(alice: MediaEncryption, bob: MediaEncryption) -> (World, NodeId, NodeId) {
    let mut world = World::new(11);
    world.pbx("pbx", &[PBX], users(&["alice", "bob"]));
    let alice = world.ua("alice", &["10.0.0.1"], user("alice", alice));
    let bob = world.ua("bob", &["10.0.0.2"], user("bob", bob));
    world.run_until(alice, registered);
    world.run_until(bob, registered);
    world.microphone(alice, 440.0);
    world.microphone(bob, 1000.0);
    (world, alice, bob)
}

#[test]
fn the_echo_of_the_pbx_answers_encrypted_and_in_the_clear_as_it_is_asked() {
    for (encryption, encrypted) in
        [(MediaEncryption::Required, true), (MediaEncryption::Preferred, true), (MediaEncryption::Off, false)]
    {
        let (mut world, alice, _) = office(encryption, MediaEncryption::Off);
        let call = world.dial(alice, "sip:600@10.0.0.100");
        world.run_until(alice, answered);
        world.run_for(secs(4));
        assert!(world.heard(alice).snr_db(440.0, 1.5) > 25.0, "{encryption:?}");
        assert_eq!(audio(&world, alice).srtp.is_some(), encrypted);
        world.command(alice, Command::HangUp { call }).unwrap();
        world.assert_quiet();
    }
}

/// The bridge passes keys on and packets undecoded: the phones encrypt to each other.
#[test]
fn two_phones_encrypt_to_each_other_through_the_pbx() {
    use MediaEncryption::{Off, Preferred, Required};
    for (caller, callee, encrypted) in
        [(Required, Required, true), (Preferred, Required, true), (Preferred, Off, false), (Off, Preferred, false)]
    {
        let (mut world, alice, bob) = office(caller, callee);
        let call = world.dial(alice, "sip:bob@10.0.0.100");
        let theirs = incoming(&mut world, bob);
        world.command(bob, Command::Answer { call: theirs, audio: None }).unwrap();
        world.run_until(alice, answered);
        world.run_until(bob, answered);
        hear_each_other(&mut world, alice, bob);
        for node in [alice, bob] {
            assert_eq!(audio(&world, node).srtp.is_some(), encrypted, "{caller:?} calls {callee:?}");
        }
        world.command(alice, Command::HangUp { call }).unwrap();
        let end = world.run_until(alice, ended);
        let Event::CallEnded { stats: Some(stats), .. } = end else { panic!("{end:?}") };
        assert_eq!((stats.srtp.is_some(), stats.forged), (encrypted, 0));
        world.assert_quiet();
    }
    let (mut world, alice, _) = office(Required, Off);
    world.dial(alice, "sip:bob@10.0.0.100");
    assert_eq!(slug(&world.run_until(alice, ended)), Some("tls.srtp-required"));
}

/// Threats D7.
#[test]
fn the_keys_of_no_two_calls_are_the_same() {
    let mut seen = std::collections::BTreeSet::new();
    let mut scene = Scene::new(brief(MediaEncryption::Preferred));
    for _ in 0..100 {
        let call = scene.world.dial(scene.alice, "sip:bob@10.0.0.9");
        let invite = scene.hear("INVITE");
        for line in body(&invite).lines().filter(|line| line.starts_with("a=crypto:")) {
            let key = line.split("inline:").nth(1).expect("a key").to_owned();
            assert!(seen.insert(key), "a key came twice");
        }
        scene.say(&reply(&invite, "486 Busy Here", "b", "", ""));
        scene.hear("ACK");
        scene
            .world
            .run_until(scene.alice, |event| matches!(event, Event::CallEnded { call: over, .. } if *over == call));
    }
    assert_eq!(seen.len(), 200);
}
