use super::*;
use crate::rng::Rng;
use crate::sdp::plan::{MasterKey, Suite};
use aes::Aes128;
use aes::cipher::{KeyIvInit, StreamCipher};

const NOW: Instant = Instant::ZERO;

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<_> = text.chars().filter(|c| !c.is_whitespace()).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(&pair.iter().collect::<String>(), 16).unwrap()).collect()
}

fn pair(suite: Suite) -> (Srtp, Srtp) {
    let mut rng = Rng::new([5; 32]);
    let (send, receive) = (MasterKey::random(suite, &mut rng), MasterKey::random(suite, &mut rng));
    let keys = SdesKeys { suite, send, receive, mki: None };
    (Srtp::new(&keys), Srtp::new(&turned(&keys)))
}

fn turned(keys: &SdesKeys) -> SdesKeys {
    SdesKeys { send: keys.receive.clone(), receive: keys.send.clone(), ..keys.clone() }
}

fn rtp(ssrc: u32, seq: u16) -> Vec<u8> {
    let mut packet = vec![0x80, 0];
    packet.extend(seq.to_be_bytes());
    packet.extend([0, 0, 0, 160]);
    packet.extend(ssrc.to_be_bytes());
    packet.extend((0..160).map(|byte| byte as u8 ^ seq as u8));
    packet
}

fn sealed(srtp: &mut Srtp, packet: &[u8]) -> Vec<u8> {
    let mut buf = [0; 1500];
    buf[..packet.len()].copy_from_slice(packet);
    let length = srtp.protect_rtp(&mut buf, packet.len()).expect("it fits");
    buf[..length].to_vec()
}

fn opened(srtp: &mut Srtp, packet: &[u8]) -> Result<Vec<u8>, Refused> {
    let mut buf = packet.to_vec();
    let opened = srtp.unprotect_rtp(NOW, &mut buf)?;
    Ok(buf[..opened.length].to_vec())
}

/// RFC 3711 appendix B.2.
#[test]
fn the_key_stream_of_counter_mode_is_that_of_the_rfc() {
    let key: [u8; 16] = hex("2B7E151628AED2A6ABF7158809CF4F3C").try_into().unwrap();
    let iv: [u8; 16] = hex("F0F1F2F3F4F5F6F7F8F9FAFBFCFD0000").try_into().unwrap();
    let mut stream = vec![0; 0xFF02 * 16];
    ctr::Ctr128BE::<Aes128>::new(&key.into(), &iv.into()).apply_keystream(&mut stream);
    let block = |at: usize| stream[at * 16..at * 16 + 16].to_vec();
    assert_eq!(block(0), hex("E03EAD0935C95E80E166B16DD92B4EB4"));
    assert_eq!(block(1), hex("D23513162B02D0F72A43A2FE4A5F97AB"));
    assert_eq!(block(2), hex("41E95B3BB0A2E8DD477901E4FCA894C0"));
    assert_eq!(block(0xFEFF), hex("EC8CDF7398607CB0F2D21675EA9EA1E4"));
    assert_eq!(block(0xFF00), hex("362B7C3C6773516318A077D7FC5073AE"));
    assert_eq!(block(0xFF01), hex("6A2CC3787889374FBEB4C81B17BA6C44"));
}

/// RFC 3711 appendix B.3, RFC 6188 §7.
#[test]
fn session_keys_are_derived_as_the_rfcs_say() {
    let derive = |suite, key: &str, salt: &str, label, length| {
        let master = MasterKey::new(suite, &hex(&format!("{key}{salt}"))).unwrap();
        let mut out = vec![0; length];
        cipher::derive(&master, label, &mut out);
        out
    };
    let short = |label, length| {
        let (key, salt) = ("E1F97A0D3E018BE0D64FA32C06DE4139", "0EC675AD498AFEEBB6960B3AABE6");
        derive(Suite::AesCm128Sha1Tag80, key, salt, label, length)
    };
    assert_eq!(short(0, 16), hex("C61E7A93744F39EE10734AFE3FF7A087"));
    assert_eq!(short(2, 14), hex("30CBBC08863D8C85D49DB34A9AE1"));
    assert_eq!(short(1, 20), hex("CEBE321F6FF7716B6FD4AB49AF256A156D38BAA4"));
    let long = |label, length| {
        let key = "f0f04914b513f2763a1b1fa130f10e2998f6f6e43e4309d1e622a0e332b9f1b6";
        derive(Suite::AesCm256Sha1Tag80, key, "3b04803de51ee7c96423ab5b78d2", label, length)
    };
    assert_eq!(long(0, 32), hex("5ba1064e30ec51613cad926c5a28ef731ec7fb397f70a960653caf06554cd8c4"));
    assert_eq!(long(2, 14), hex("fa31791685ca444a9e07c6c64e93"));
    assert_eq!(long(1, 20), hex("fd9c32d39ed5fbb5a9dc96b30818454d1313dc05"));
}

/// Packets that other implementations test themselves with, under the master key of RFC 3711 appendix B.3.
#[test]
fn whole_packets_are_those_of_other_implementations() {
    let key = hex("e1f97a0d3e018be0d64fa32c06de41390ec675ad498afeebb6960b3aabe6");
    let key = MasterKey::new(Suite::AesCm128Sha1Tag80, &key).unwrap();
    let keys = SdesKeys { suite: Suite::AesCm128Sha1Tag80, send: key.clone(), receive: key, mki: None };
    let mut srtp = Srtp::new(&keys);
    let clear = hex("800f1234decafbadcafebabe abababababababababababababababab");
    let secret = hex("800f1234decafbadcafebabe4e55dc4ce79978d88ca4d215949d2402b78d6acc99ea179b8dbb");
    assert_eq!(sealed(&mut srtp, &clear), secret);
    assert_eq!(opened(&mut srtp, &secret), Ok(clear));
    let clear = hex("81c8000bcafebabe abababababababababababababababab");
    let secret = hex("81c8000bcafebabe7128035be487b9bdbef89041f977a5a880000001993e08cd54d6c1230798");
    let mut buf = [0; 100];
    buf[..clear.len()].copy_from_slice(&clear);
    let length = srtp.protect_rtcp(&mut buf, clear.len()).unwrap();
    assert_eq!(buf[..length], secret);
    let length = srtp.unprotect_rtcp(NOW, &mut buf[..length]).unwrap();
    assert_eq!(buf[..length], clear);
}

/// RFC 7714 §16: the session keys are given there.
#[test]
fn gcm_packets_are_those_of_the_rfc() {
    let clear = hex(
        "8040f17b 8041f8d3 5501a0b2 47616c6c 69612065 7374206f 6d6e6973 20646976 69736120 696e2070 61727465 73207472 6573",
    );
    let short = "8040f17b8041f8d35501a0b2 f24de3a3fb34de6cacba861c9d7e4bcabe633bd50d294e6f42a5f47a51c7d19b36de3adf8833\
                 899d7f27beb16a9152cf765ee4390cce";
    let long = "8040f17b8041f8d35501a0b2 32b1de78a822fe12ef9f78fa332e33aab18012389a58e2f3b50b2a0276ffae0f1ba63799b87b\
                7aa3db36dfffd6b0f9bb7878d7a76c13";
    for (suite, length, secret) in [(Suite::AeadAes128Gcm, 16, short), (Suite::AeadAes256Gcm, 32, long)] {
        let key: Vec<u8> = (0..length).collect();
        let cipher = cipher::Cipher::with_session_keys(suite, &key, &hex("51756964 2070726f 2071756f"));
        let mut buf = clear.clone();
        buf.resize(clear.len() + 16, 0);
        assert_eq!(cipher.seal_rtp(&mut buf, clear.len(), 12, 0x5501_A0B2, 0xF17B), Some(buf.len()));
        assert_eq!(buf, hex(secret), "{suite:?}");
        let length = buf.len();
        assert_eq!(cipher.open_rtp(&mut buf, length, 12, 0x5501_A0B2, 0xF17B), Some(clear.len()));
        assert_eq!(buf[..clear.len()], clear);
    }
}

#[test]
fn each_suite_opens_what_it_sealed_and_nothing_that_was_touched() {
    for suite in Suite::ALL {
        let (mut near, mut far) = pair(suite);
        let clear = rtp(7, 100);
        let secret = sealed(&mut near, &clear);
        assert_ne!(secret[12..100], clear[12..100], "{suite:?} encrypts");
        for at in 0..secret.len() {
            let mut touched = secret.clone();
            touched[at] ^= 0x20;
            assert!(opened(&mut far, &touched).is_err(), "{suite:?}, byte {at}");
        }
        assert!(far.receiver.streams.is_empty(), "{suite:?}: what is forged leaves no trace");
        assert_eq!(opened(&mut far, &secret), Ok(clear), "{suite:?}");
        assert_eq!(opened(&mut far, &secret), Err(Refused::Replayed), "{suite:?}");
    }
}

#[test]
fn rtcp_is_encrypted_counted_and_replayed_by_nobody() {
    for suite in Suite::ALL {
        let (mut near, mut far) = pair(suite);
        let report: Vec<u8> = (0..52)
            .map(|at| {
                if at == 0 {
                    0x81
                } else if at == 1 {
                    200
                } else {
                    at
                }
            })
            .collect();
        let mut before = Vec::new();
        for _ in 0..3 {
            let mut buf = [0; 200];
            buf[..52].copy_from_slice(&report);
            let length = near.protect_rtcp(&mut buf, 52).unwrap();
            let secret = buf[..length].to_vec();
            assert_ne!(secret, before, "{suite:?}: an index of its own");
            let mut touched = secret.clone();
            touched[length - 15] ^= 1;
            assert_eq!(far.unprotect_rtcp(NOW, &mut touched), Err(Refused::Forged), "{suite:?}");
            assert_eq!(far.unprotect_rtcp(NOW, &mut buf[..length]), Ok(52), "{suite:?}");
            assert_eq!(buf[..52], report);
            assert_eq!(far.unprotect_rtcp(NOW, &mut secret.clone()), Err(Refused::Replayed), "{suite:?}");
            before = secret;
        }
        let mut clear = report.clone();
        assert_eq!(far.unprotect_rtcp(NOW, &mut clear), Err(Refused::Forged), "{suite:?}: clear RTCP");
    }
}

/// Threats D5: wrap, with loss around it and order upset.
#[test]
fn the_rollover_counter_survives_loss_and_disorder_around_the_wrap() {
    let (mut near, mut far) = pair(Suite::AesCm128Sha1Tag80);
    let packets: Vec<_> = (0..200_000_u32)
        .map(|n| (65_000 + n) as u16)
        .map(|seq| if seq % 1000 < 120 || !(1000..64_500).contains(&seq) { Some(rtp(9, seq)) } else { None })
        .collect();
    let mut held = None;
    for (n, packet) in packets.into_iter().enumerate() {
        let seq = (65_000 + n) as u16;
        // The numbering goes on where nothing is sent.
        let Some(packet) = packet else {
            held = None;
            continue;
        };
        let secret = sealed(&mut near, &packet);
        // 30 s of loss over each wrap, and every seventh packet comes after the next one.
        if (64_900..65_536).contains(&u32::from(seq)) || seq < 900 && n > 10_000 {
            held = None;
            continue;
        }
        if seq.is_multiple_of(7) && held.is_none() {
            held = Some((secret, packet));
            continue;
        }
        assert_eq!(opened(&mut far, &secret), Ok(packet), "{n}");
        if let Some((secret, packet)) = held.take() {
            assert_eq!(opened(&mut far, &secret), Ok(packet), "{n}, late");
        }
    }
    assert_eq!(far.counts().forged, 0);
}

#[test]
fn who_joins_late_finds_the_rollover_counter_within_some_packets() {
    let (mut near, mut far) = pair(Suite::AeadAes128Gcm);
    for turn in 0..5_u32 {
        for seq in (0..=65_535).step_by(16_384) {
            sealed(&mut near, &rtp(3, seq));
        }
        sealed(&mut near, &rtp(3, 65_535 - turn as u16));
    }
    let lost = (1..100).take_while(|&seq| opened(&mut far, &sealed(&mut near, &rtp(3, seq))).is_err()).count();
    assert!((1..=16).contains(&lost), "{lost} packets were lost");
}

#[test]
fn contexts_are_kept_for_each_ssrc_up_to_a_limit() {
    let (_, mut far) = pair(Suite::AesCm128Sha1Tag32);
    let near = || pair(Suite::AesCm128Sha1Tag32).0;
    for ssrc in 0..64 {
        assert!(opened(&mut far, &sealed(&mut near(), &rtp(ssrc, 5))).is_ok(), "{ssrc}");
    }
    assert_eq!(opened(&mut far, &sealed(&mut near(), &rtp(64, 5))), Err(Refused::Forged));
    assert!(opened(&mut far, &sealed(&mut near(), &rtp(0, 6))).is_ok(), "those that are known go on");
    assert_eq!(opened(&mut far, &sealed(&mut near(), &rtp(63, 5))), Err(Refused::Replayed));
}

/// Threats D7.
#[test]
fn a_key_that_is_used_up_sends_nothing_more() {
    let (mut near, _) = pair(Suite::AesCm128Sha1Tag80);
    sealed(&mut near, &rtp(1, 1));
    near.sender.streams[0].index = Some(RTP_MOST - 2);
    assert!(
        near.protect_rtp(
            &mut {
                let mut buf = rtp(1, 0xFFFF);
                buf.resize(400, 0);
                buf
            },
            172
        )
        .is_some()
    );
    assert_eq!(
        near.protect_rtp(
            &mut {
                let mut buf = rtp(1, 0);
                buf.resize(400, 0);
                buf
            },
            172
        ),
        None
    );
    near.sender.streams[0].control = RTCP_MOST;
    let mut buf = [0x81; 100];
    buf[4..8].copy_from_slice(&[0, 0, 0, 1]);
    assert_eq!(near.protect_rtcp(&mut buf, 28), None);
}

#[test]
fn after_a_change_of_keys_the_old_ones_are_good_for_a_moment() {
    let (mut near, mut far) = pair(Suite::AesCm128Sha1Tag80);
    let on_its_way = sealed(&mut near, &rtp(1, 10));
    let mut far_away = sealed(&mut near, &rtp(1, 11));
    let mut rng = Rng::new([9; 32]);
    let suite = Suite::AeadAes256Gcm;
    let keys = SdesKeys {
        suite,
        send: MasterKey::random(suite, &mut rng),
        receive: MasterKey::random(suite, &mut rng),
        mki: None,
    };
    near.set_keys(NOW, &keys);
    far.set_keys(NOW, &turned(&keys));
    let new = sealed(&mut near, &rtp(1, 12));
    assert_eq!(opened(&mut far, &new), Ok(rtp(1, 12)));
    assert_eq!(opened(&mut far, &on_its_way), Ok(rtp(1, 10)));
    let later = NOW + OLD_KEYS;
    assert_eq!(far.unprotect_rtp(later, &mut far_away), Err(Refused::Forged));
    // The same keys again change nothing: the windows stay.
    far.set_keys(later, &turned(&keys));
    assert_eq!(opened(&mut far, &new), Err(Refused::Replayed));
}

#[test]
fn a_key_identifier_is_taken_out_where_it_stands() {
    use crate::sdp::crypto::CryptoLine;
    for suite in [Suite::AesCm128Sha1Tag80, Suite::AeadAes128Gcm] {
        let (mut near, mut far) = pair(suite);
        let line = CryptoLine { tag: 1, suite, key: far.keys.receive.clone(), mki: None };
        let line = CryptoLine::parse(&format!("{}|2^31|513:2", line.encode())).unwrap();
        far = Srtp::new(&SdesKeys { mki: line.mki, ..far.keys.clone() });
        let secret = sealed(&mut near, &rtp(1, 1));
        let tag = if suite == Suite::AeadAes128Gcm { 0 } else { 10 };
        let with = |mki: [u8; 2]| {
            let (packet, tag) = secret.split_at(secret.len() - tag);
            [packet, &mki, tag].concat()
        };
        assert_eq!(opened(&mut far, &with([2, 2])), Err(Refused::Forged));
        assert_eq!(opened(&mut far, &with([2, 1])), Ok(rtp(1, 1)));
    }
}

fn mki(line: &str) -> Option<Mki> {
    let key = MasterKey::random(Suite::AesCm128Sha1Tag80, &mut Rng::new([3; 32]));
    let clear = crate::sdp::crypto::CryptoLine { tag: 1, suite: Suite::AesCm128Sha1Tag80, key, mki: None };
    crate::sdp::crypto::CryptoLine::parse(&format!("{}|{line}", clear.encode())).unwrap().mki
}

/// A protected packet with this key identifier before its tag of 80 bits.
fn with_mki(secret: &[u8], mki: [u8; 2]) -> Vec<u8> {
    let (packet, tag) = secret.split_at(secret.len() - 10);
    [packet, &mki, tag].concat()
}

#[test]
fn a_packet_with_a_key_identifier_that_is_not_opened_stays_as_it_came() {
    let (mut near, far) = pair(Suite::AesCm128Sha1Tag80);
    let mut far = Srtp::new(&SdesKeys { mki: mki("7:2"), ..far.keys });
    let secret = with_mki(&sealed(&mut near, &rtp(1, 1)), [0, 7]);
    let mut forged = secret.clone();
    forged[20] ^= 1;
    let before = forged.clone();
    assert_eq!(far.unprotect_rtp(NOW, &mut forged), Err(Refused::Forged));
    assert_eq!(forged, before);
    // The peer gives its next key the same identifier: the key before must get the packet whole.
    let receive = MasterKey::random(Suite::AesCm128Sha1Tag80, &mut Rng::new([9; 32]));
    far.set_keys(NOW, &SdesKeys { receive, ..far.keys.clone() });
    assert_eq!(opened(&mut far, &secret), Ok(rtp(1, 1)));
}

#[test]
fn another_key_identifier_for_the_same_key_opens_no_door_to_replay() {
    let (mut near, far) = pair(Suite::AesCm128Sha1Tag80);
    let mut far = Srtp::new(&SdesKeys { mki: mki("7:2"), ..far.keys });
    let secret = sealed(&mut near, &rtp(1, 1));
    assert_eq!(opened(&mut far, &with_mki(&secret, [0, 7])), Ok(rtp(1, 1)));
    far.set_keys(NOW, &SdesKeys { mki: mki("8:2"), ..far.keys.clone() });
    // No tag covers the identifier.
    assert_eq!(opened(&mut far, &with_mki(&secret, [0, 8])), Err(Refused::Replayed));
    assert_eq!(opened(&mut far, &with_mki(&sealed(&mut near, &rtp(1, 2)), [0, 8])), Ok(rtp(1, 2)));
}

#[test]
fn no_length_makes_opening_panic() {
    for suite in Suite::ALL {
        let (mut near, mut far) = pair(suite);
        let secret = sealed(&mut near, &rtp(7, 100));
        for first in [0x80, 0x8F, 0x90, 0x9F, 0xB1, 0x00, 0xFF] {
            for length in 0..secret.len() {
                let mut packet = secret[..length].to_vec();
                if let Some(byte) = packet.first_mut() {
                    *byte = first;
                }
                assert!(far.unprotect_rtp(NOW, &mut packet.clone()).is_err());
                assert!(far.unprotect_rtcp(NOW, &mut packet).is_err());
            }
        }
    }
}
