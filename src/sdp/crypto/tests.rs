use super::*;

const KEY: &str = "d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj";

fn line(rest: &str) -> Result<CryptoLine, CryptoError> {
    CryptoLine::parse(&format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}{rest}"))
}

#[test]
fn the_examples_of_rfc_4568_are_read() {
    let line = CryptoLine::parse(&format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|2^20|1:4 FEC_ORDER=FEC_SRTP WSH=64"))
        .unwrap();
    assert_eq!((line.tag, line.suite), (1, Suite::AesCm128Sha1Tag80));
    assert_eq!([line.key.key().len(), line.key.salt().len()], [16, 14]);
    let mki = line.mki.unwrap();
    assert!(mki.is(&[0, 0, 0, 1]) && !mki.is(&[0, 0, 0, 2]) && !mki.is(&[1]));
}

#[test]
fn a_line_is_read_back_as_it_was_written() {
    let mut rng = Rng::new([1; 32]);
    for (tag, suite) in (1..).zip(Suite::ALL) {
        let line = CryptoLine { tag, suite, key: MasterKey::random(suite, &mut rng), mki: None };
        assert_eq!(CryptoLine::parse(&line.encode()), Ok(line.clone()));
        assert_eq!(CryptoLine::parse(line.encode().trim_end_matches('=')), Ok(line), "without padding");
    }
}

#[test]
fn lifetime_and_mki_may_be_missing_in_any_combination() {
    for rest in ["", "|2^48", "|1:1", "|1048576", "|2^20|255:1", "|2^31|1:16", " KDR=0", " -FUTURE=1"] {
        assert!(line(rest).is_ok(), "{rest}");
    }
    for rest in ["|", "|2^49", "|0", "|1:0", "|1:17", "|256:1", "|1:1|2^20", "|2^20|1:1|2:1", "|x", "|-1:1", "|+1:1"] {
        assert_eq!(line(rest), Err(CryptoError::Key), "{rest}");
    }
}

#[test]
fn lines_that_would_leave_packets_open_are_refused() {
    for word in ["UNENCRYPTED_SRTP", "UNENCRYPTED_SRTCP", "UNAUTHENTICATED_SRTP", "unencrypted_srtp", "KDR=5", "NEW"] {
        assert!(matches!(line(&format!(" {word}")), Err(CryptoError::Parameter(_))), "{word}");
    }
}

#[test]
fn broken_lines_are_refused() {
    for value in ["", "1", "1 AES_CM_128_HMAC_SHA1_80", "x AES_CM_128_HMAC_SHA1_80 inline:x", "1234567890 A inline:x"] {
        assert_eq!(CryptoLine::parse(value), Err(CryptoError::Malformed), "{value}");
    }
    assert!(matches!(CryptoLine::parse("1 F8_128_HMAC_SHA1_80 inline:x"), Err(CryptoError::Suite(_))));
    for value in ["inline:short", "uri:x", "inline:====", &format!("inline:{KEY};inline:{KEY}")] {
        let value = format!("1 AES_CM_128_HMAC_SHA1_80 {value}");
        assert_eq!(CryptoLine::parse(&value), Err(CryptoError::Key), "{value}");
    }
    let long = format!("1 AES_256_CM_HMAC_SHA1_80 inline:{KEY}");
    assert_eq!(CryptoLine::parse(&long), Err(CryptoError::Key), "a key of the wrong length");
}

#[test]
fn keys_do_not_show_themselves() {
    let text = format!("{:?}", line("").unwrap());
    assert!(!text.contains("d0Rm") && text.contains("***"), "{text}");
    // Nor do the descriptions that they travel in.
    let sdp = format!(
        "v=0\no=- 7 1 IN IP4 192.0.2.9\ns=-\nc=IN IP4 192.0.2.9\nt=0 0\nm=audio 5000 RTP/SAVP 0\na=ptime:20\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}\n"
    );
    let text = format!("{:?}", crate::sdp::Sdp::parse(sdp.as_bytes()).unwrap());
    assert!(!text.contains("d0Rm") && text.contains("\"ptime\""), "{text}");
}
