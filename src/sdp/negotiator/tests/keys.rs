//! Which calls are encrypted, and with which keys (RFC 4568; threats D3).

use super::super::super::crypto::{MasterKey, Suite};
use super::super::super::plan::SdesKeys;
use super::*;
use MediaEncryption::{Off, Preferred, Required};

fn pair() -> (Negotiator, Negotiator) {
    (Negotiator::new(1, "a").with_keys([1; 32]), Negotiator::new(2, "b").with_keys([2; 32]))
}

fn ours(capabilities: &Capabilities, encryption: MediaEncryption) -> Wish<'_> {
    Wish { encryption, ..wish(capabilities) }
}

fn theirs(capabilities: &Capabilities, encryption: MediaEncryption) -> Wish<'_> {
    Wish { encryption, ..peers_wish(capabilities) }
}

/// Offer of `a`, answer of `b`; the plans of both.
fn exchange(
    (a, b): &mut (Negotiator, Negotiator),
    offerer: &Wish<'_>,
    answerer: &Wish<'_>,
) -> Result<(MediaPlan, MediaPlan), NegotiationError> {
    let offer = a.offer(offerer)?;
    b.handle_offer(Sdp::parse(&offer.encode()).expect("we write SDP"))?;
    let (answer, far) = b.answer(answerer)?;
    let near = a.handle_answer(Sdp::parse(&answer.encode()).expect("we write SDP"))?;
    Ok((near, far))
}

fn keys(plan: &MediaPlan) -> Option<&SdesKeys> {
    match &plan.transports[0].protection {
        Protection::None => None,
        Protection::Sdes(keys) => Some(keys),
    }
}

#[test]
fn every_pair_of_policies_comes_out_as_it_must() {
    let pcmu = with(&["pcmu"]);
    for (offerer, answerer, encrypted) in [
        (Off, Off, Some(false)),
        (Off, Preferred, Some(false)),
        (Off, Required, None),
        (Preferred, Off, Some(false)),
        (Preferred, Preferred, Some(true)),
        (Preferred, Required, Some(true)),
        (Required, Off, None),
        (Required, Preferred, Some(true)),
        (Required, Required, Some(true)),
    ] {
        let result = exchange(&mut pair(), &ours(&pcmu, offerer), &theirs(&pcmu, answerer));
        assert_eq!(result.is_ok(), encrypted.is_some(), "{offerer:?} calls {answerer:?}: {result:?}");
        if let Ok((near, far)) = result {
            assert_eq!(keys(&near).is_some(), encrypted == Some(true), "{offerer:?} calls {answerer:?}");
            if let (Some(near), Some(far)) = (keys(&near), keys(&far)) {
                assert_eq!((&near.send, &near.receive), (&far.receive, &far.send));
                assert_ne!(near.send, near.receive);
                assert_eq!(near.suite, Suite::AeadAes256Gcm, "the best of all");
            }
        }
    }
}

#[test]
fn the_answer_takes_the_suite_that_we_prefer_among_those_of_the_offer() {
    let pcmu = with(&["pcmu"]);
    let few = Capabilities {
        suites: vec![Suite::AesCm128Sha1Tag32, Suite::AesCm256Sha1Tag80, Suite::AeadAes128Gcm],
        ..with(&["pcmu"])
    };
    let (near, _) = exchange(&mut pair(), &ours(&pcmu, Required), &theirs(&few, Required)).expect("common suites");
    assert_eq!(keys(&near).map(|keys| keys.suite), Some(Suite::AesCm128Sha1Tag32));
    let one = Capabilities { suites: vec![Suite::AeadAes128Gcm], ..with(&["pcmu"]) };
    let other = Capabilities { suites: vec![Suite::AesCm128Sha1Tag80], ..with(&["pcmu"]) };
    let error = exchange(&mut pair(), &ours(&one, Required), &theirs(&other, Required)).expect_err("nothing common");
    assert_eq!(error.status(), 488);
    assert!(matches!(error, NegotiationError::NoCommonSuite { .. }), "{error:?}");
}

#[test]
fn keys_stay_while_nothing_asks_for_new_ones() {
    let pcmu = with(&["pcmu"]);
    let mut both = pair();
    let (wish, peers) = (ours(&pcmu, Preferred), theirs(&pcmu, Preferred));
    let (first, _) = exchange(&mut both, &wish, &peers).expect("common");
    let (again, far) = exchange(&mut both, &wish, &peers).expect("common");
    assert_eq!(keys(&again), keys(&first), "a refresh changes nothing");
    // The other side offers now.
    let (mut a, mut b) = both;
    let offer = b.offer(&peers).expect("stable");
    a.handle_offer(offer).expect("stable");
    let (_, turned) = a.answer(&wish).expect("common");
    assert_eq!(keys(&turned).map(|keys| &keys.receive), keys(&far).map(|keys| &keys.send), "its key is the same");
    assert_eq!(keys(&turned), keys(&first));
}

#[test]
fn a_peer_with_a_new_key_gets_a_new_one_of_ours() {
    let pcmu = with(&["pcmu"]);
    let (mut a, mut b) = pair();
    let (wish, peers) = (ours(&pcmu, Required), theirs(&pcmu, Required));
    let first = keys(&exchange(&mut (a.clone(), b.clone()), &wish, &peers).expect("common").0).cloned();
    let (near, _) = {
        let mut both = (a, b);
        let plans = exchange(&mut both, &wish, &peers).expect("common");
        (a, b) = both;
        plans
    };
    assert_eq!(keys(&near).cloned(), first, "the same seeds");
    a.renew_keys();
    let offer = a.offer(&wish).expect("stable");
    b.handle_offer(offer).expect("stable");
    let (answer, far) = b.answer(&peers).expect("common");
    let near = a.handle_answer(answer).expect("common");
    let (first, second) = (first.expect("encrypted"), keys(&near).expect("encrypted"));
    assert_ne!(second.send, first.send);
    assert_ne!(second.receive, first.receive);
    assert_eq!(keys(&far).map(|keys| &keys.send), Some(&second.receive));
}

/// The key of each suite in an offer.
fn offered(a: &mut Negotiator, wish: &Wish<'_>) -> Vec<(Suite, MasterKey)> {
    let offer = a.offer(wish).expect("stable");
    let lines = offer.media[0].attributes_named("crypto").map(|line| CryptoLine::parse(line).expect("ours"));
    lines.map(|line| (line.suite, line.key)).collect()
}

/// Its counters are gone with it, so its key stream would begin again (RFC 3711 §9.1; threats D7).
#[test]
fn a_key_that_was_given_up_is_never_offered_again() {
    let pcmu = with(&["pcmu"]);
    let wish = ours(&pcmu, Preferred);
    let one = Capabilities { suites: vec![Suite::AesCm128Sha1Tag80], ..with(&["pcmu"]) };
    for (case, answerer) in [("another suite", theirs(&one, Preferred)), ("in the clear", theirs(&pcmu, Off))] {
        let mut both = pair();
        let (near, _) = exchange(&mut both, &wish, &theirs(&pcmu, Preferred)).expect("common");
        let first = keys(&near).expect("encrypted").send.clone();
        let (near, _) = exchange(&mut both, &wish, &answerer).expect("common");
        let second = keys(&near).map(|keys| keys.send.clone());
        assert_ne!(second, Some(first.clone()), "{case}");
        let lines = offered(&mut both.0, &wish);
        assert!(lines.iter().all(|(_, key)| *key != first), "{case}");
        assert!(second.is_none_or(|second| lines.iter().any(|(_, key)| *key == second)), "{case}: what holds stays");
    }
}

/// RFC 4568 §7.1.4.
#[test]
fn from_another_address_every_key_is_new() {
    let pcmu = with(&["pcmu"]);
    let (wish, peers) = (ours(&pcmu, Preferred), theirs(&pcmu, Preferred));
    let moved = Wish { lease: lease("198.51.100.1:4000"), ..ours(&pcmu, Preferred) };
    let mut both = pair();
    let (near, _) = exchange(&mut both, &wish, &peers).expect("common");
    let first = keys(&near).expect("encrypted").clone();
    // We offer from there,
    let (mut a, mut b) = both.clone();
    assert!(offered(&mut a, &moved).iter().all(|(_, key)| *key != first.send));
    // or answer from there.
    let (mut a, offer) = (both.0, b.offer(&peers).expect("stable"));
    a.handle_offer(offer).expect("stable");
    let (_, plan) = a.answer(&moved).expect("common");
    let second = keys(&plan).expect("encrypted");
    assert_eq!(second.receive, first.receive, "its key is the same");
    assert_ne!(second.send, first.send);
}

/// Threats D3: what an answer may do to an offer that requires encryption.
#[test]
fn no_answer_takes_the_encryption_away_where_it_is_required() {
    let pcmu = with(&["pcmu"]);
    let key = "inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj";
    let savp = "m=audio 5000 RTP/SAVP 0\n";
    for (case, lines) in [
        ("stripped", savp.to_owned()),
        ("another profile", "m=audio 5000 RTP/AVP 0\n".to_owned()),
        ("a suite that was not offered", format!("{savp}a=crypto:1 F8_128_HMAC_SHA1_80 {key}\n")),
        ("the tag of another line", format!("{savp}a=crypto:1 AES_CM_128_HMAC_SHA1_80 {key}\n")),
        ("a tag of no line", format!("{savp}a=crypto:99 AES_CM_128_HMAC_SHA1_80 {key}\n")),
        ("no key", format!("{savp}a=crypto:4 AES_CM_128_HMAC_SHA1_80 inline:\n")),
        ("unencrypted", format!("{savp}a=crypto:4 AES_CM_128_HMAC_SHA1_80 {key} UNENCRYPTED_SRTP\n")),
        ("unauthenticated", format!("{savp}a=crypto:4 AES_CM_128_HMAC_SHA1_80 {key} UNAUTHENTICATED_SRTP\n")),
        ("open RTCP", format!("{savp}a=crypto:4 AES_CM_128_HMAC_SHA1_80 {key} UNENCRYPTED_SRTCP\n")),
    ] {
        let (mut a, _) = pair();
        a.offer(&ours(&pcmu, Required)).expect("codecs");
        let error = a.handle_answer(parse(&lines)).expect_err(case);
        assert_eq!(error.status(), 488, "{case}");
    }
    let (mut a, _) = pair();
    a.offer(&ours(&pcmu, Required)).expect("codecs");
    let good = format!("{savp}a=crypto:4 AES_CM_128_HMAC_SHA1_80 {key}\n");
    assert!(keys(&a.handle_answer(parse(&good)).expect("one of ours")).is_some());
}

#[test]
fn a_plain_answer_to_keys_that_were_only_preferred_is_a_plain_call() {
    let pcmu = with(&["pcmu"]);
    let (mut a, _) = pair();
    let offer = a.offer(&ours(&pcmu, Preferred)).expect("codecs");
    assert!(offer.to_string().contains("m=audio 4000 RTP/AVP 0 101\r\n"), "{offer}");
    assert_eq!(offer.to_string().matches("a=crypto:").count(), 6);
    assert_eq!(keys(&a.handle_answer(parse("m=audio 5000 RTP/AVP 0\n")).expect("common")), None);
    // But keys that are none of ours mean that neither would hear the other.
    let (mut a, _) = pair();
    a.offer(&ours(&pcmu, Preferred)).expect("codecs");
    let lines = "m=audio 5000 RTP/AVP 0\na=crypto:9 AES_CM_128_HMAC_SHA1_80 inline:x\n";
    assert!(a.handle_answer(parse(lines)).is_err());
}

#[test]
fn of_sound_that_is_offered_twice_the_encrypted_one_is_taken() {
    let key = "a=crypto:7 AES_CM_128_HMAC_SHA1_80 inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj\n";
    let lines = format!("m=audio 5000 RTP/AVP 0\nm=audio 5002 RTP/SAVP 0\n{key}");
    let pcmu = with(&["pcmu"]);
    for (encryption, index) in [(Off, 0), (Preferred, 1), (Required, 1)] {
        let (_, mut b) = pair();
        b.handle_offer(parse(&lines)).expect("stable");
        let (answer, plan) = b.answer(&theirs(&pcmu, encryption)).expect("one of them");
        assert_eq!(plan.streams[0].index, index, "{encryption:?}");
        assert_eq!(answer.to_string().contains("a=crypto:7 AES_CM_128_HMAC_SHA1_80 inline:"), index == 1);
        assert_eq!(keys(&plan).is_some(), index == 1);
    }
}

#[test]
fn without_keys_of_its_own_a_negotiator_offers_none_and_refuses_to_require_them() {
    let pcmu = with(&["pcmu"]);
    let offer = Negotiator::new(1, "-").offer(&ours(&pcmu, Preferred)).expect("codecs");
    assert!(!offer.to_string().contains("crypto"));
    assert!(Negotiator::new(1, "-").offer(&ours(&pcmu, Required)).is_err());
}
