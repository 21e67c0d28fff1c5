//! One test for each thing that sdp-rs by itself loses, refuses or breaks on.

use super::super::plan::Direction;
use super::*;

const BODY: &str = "v=0\r\no=alice 1 2 IN IP4 192.0.2.1\r\ns=call\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n\
                    m=audio 4000 RTP/AVP 0 96\r\na=rtpmap:96 opus/48000/2\r\na=ptime:20\r\na=sendonly\r\n";

fn parse(text: &str) -> Sdp {
    Sdp::parse(text.as_bytes()).expect("a description that we forgive")
}

/// The body with `from` replaced, which must be there.
fn changed(from: &str, to: &str) -> String {
    assert!(BODY.contains(from), "{from}");
    BODY.replacen(from, to, 1)
}

#[test]
fn what_is_in_order_comes_out_as_it_went_in() {
    assert_eq!(parse(BODY).to_string(), BODY);
}

#[test]
fn the_last_line_counts_without_its_line_end() {
    let cut = BODY.strip_suffix("\r\n").expect("it ends so");
    assert_eq!(parse(cut), parse(BODY));
    assert_eq!(parse(cut).direction_of(&parse(cut).media[0]), Direction::SendOnly);
}

#[test]
fn line_feeds_carriage_returns_and_blank_lines_end_lines_too() {
    assert_eq!(parse(&BODY.replace("\r\n", "\n")), parse(BODY));
    assert_eq!(parse(&BODY.replace("\r\n", "\r")), parse(BODY));
    assert_eq!(parse(&format!("\r\n\n{}", BODY.replace("\r\n", " \r\n\r\n"))), parse(BODY));
}

#[test]
fn a_line_with_an_unknown_letter_costs_only_itself() {
    assert_eq!(parse(&changed("t=0 0\r\n", "x=what\r\nt=0 0\r\nq=0.7\r\n")), parse(BODY));
    assert_eq!(parse(&changed("a=ptime:20\r\n", "y=1\r\na=ptime:20\r\nnonsense\r\n")), parse(BODY));
}

#[test]
fn connection_and_bandwidth_after_attributes_are_kept_with_all_that_follows() {
    let sdp = parse(&changed("a=sendonly\r\n", "c=IN IP4 192.0.2.7\r\nb=AS:64\r\na=sendonly\r\n"));
    assert_eq!(sdp.media[0].connections, [Connection::new([192, 0, 2, 7].into())]);
    assert_eq!(sdp.media[0].bandwidths, ["AS:64"]);
    assert_eq!(sdp.direction_of(&sdp.media[0]), Direction::SendOnly);
}

#[test]
fn session_lines_out_of_order_or_missing_are_forgiven() {
    let expected = parse(BODY);
    assert_eq!(parse(&changed("s=call\r\n", "")).name, "-");
    assert_eq!(parse(&changed("s=call", "s=")).name, "-");
    assert_eq!(parse(&changed("t=0 0\r\n", "")), expected);
    let moved = changed("t=0 0\r\n", "a=inactive\r\nt=0 0\r\n");
    assert!(parse(&moved).attributes.iter().any(|attribute| attribute.is("inactive")));
    assert_eq!(parse(&moved).media, expected.media);
}

#[test]
fn a_host_name_is_kept_for_whoever_needs_the_address() {
    let sdp = parse(&BODY.replace("192.0.2.1", "media.example.org"));
    let name = Host::Name { family: "IP4".into(), name: "media.example.org".into() };
    assert_eq!(sdp.origin.host, name);
    assert_eq!(sdp.connection, Some(Connection { host: name, suffix: None }));
}

#[test]
fn repeat_lines_never_reach_the_parser_that_panics_on_them() {
    let text = changed("t=0 0\r\n", "t=0 0\r\nr=9223372036854775807d 1h 0\r\nz=2882844526 -1h\r\n");
    let inner = std::panic::catch_unwind(|| sdp_rs::SessionDescription::try_from(text.as_str()).is_ok());
    assert!(inner.is_err(), "sdp-rs no longer panics: the detour can go");
    assert_eq!(parse(&text).timing, ["t=0 0", "r=9223372036854775807d 1h 0", "z=2882844526 -1h"]);
    assert_eq!(parse(&text).to_string(), text);
}

#[test]
fn the_channels_of_an_rtpmap_come_out_with_a_slash() {
    assert!(parse(BODY).to_string().contains("a=rtpmap:96 opus/48000/2\r\n"));
    let theirs = sdp_rs::SessionDescription::try_from(BODY).expect("plain enough").to_string();
    assert!(theirs.contains("a=rtpmap:96 opus/48000 2\r\n"), "sdp-rs prints rtpmap right now: {theirs}");
}

#[test]
fn an_attribute_that_cannot_be_read_costs_only_itself() {
    for bad in
        ["a=rtpmap:x", "a=rtpmap:", "a=rtpmap", "a=ptime: 20", "a=ptime:", "a=ptime:nan", "a=orient:up", "a=", "a=:"]
    {
        let sdp = parse(&changed("a=ptime:20", bad));
        assert_eq!(sdp.direction_of(&sdp.media[0]), Direction::SendOnly, "{bad}");
        assert_eq!(sdp.media[0].attribute("rtpmap"), Some("96 opus/48000/2"), "{bad}");
    }
}

#[test]
fn odd_bandwidths_protocols_ports_and_addresses_are_understood() {
    let text = "v=0\no=- 123456789012345678901234567890 1 IN IP6 2001:db8::1\ns=-\nc=IN IP6 2001:db8::1\nb=X-YZ:1\nb=RS\n\
                t=0 0\nm=audio 49170/2 RTP/AVP 0\nc=IN IP4 224.2.1.1/127/3\nb=TIAS:50000\nb=\n\
                m=image 0 udptl t38\nm=video  0   UDP/TLS/RTP/SAVPF\nm=application 9 UDP/DTLS/SCTP webrtc-datachannel\n";
    let sdp = parse(text);
    assert_eq!(sdp.origin.session_id, "123456789012345678901234567890");
    assert_eq!(sdp.bandwidths, ["X-YZ:1", "RS"]);
    assert_eq!((sdp.media[0].port, sdp.media[0].port_count), (49170, Some(2)));
    assert_eq!(sdp.media[0].connections[0].to_string(), "IN IP4 224.2.1.1/127/3");
    assert_eq!(sdp.media[0].bandwidths, ["TIAS:50000", ""]);
    let protocols: Vec<_> = sdp.media.iter().map(|media| media.protocol.as_str()).collect();
    assert_eq!(protocols, ["RTP/AVP", "udptl", "UDP/TLS/RTP/SAVPF", "UDP/DTLS/SCTP"]);
    assert_eq!(sdp.media[2].formats, ["0"]);
}

#[test]
fn text_that_is_not_utf_8_is_read_all_the_same() {
    let mut body = BODY.as_bytes().to_vec();
    let at = BODY.find("call").expect("the session name");
    body[at] = 0xe9;
    assert_eq!(Sdp::parse(&body).expect("only the name is odd").media, parse(BODY).media);
}

#[test]
fn a_key_line_is_not_passed_on() {
    assert_eq!(parse(&changed("a=ptime", "k=clear:secret\r\na=ptime")), parse(BODY));
}

#[test]
fn what_must_be_there_is_asked_for() {
    assert_eq!(Sdp::parse(b""), Err(SdpError::Missing { letter: 'v' }));
    let no_origin = changed("o=alice 1 2 IN IP4 192.0.2.1\r\n", "");
    assert_eq!(Sdp::parse(no_origin.as_bytes()), Err(SdpError::Missing { letter: 'o' }));
    for (from, to, letter) in [
        ("o=alice 1 2 IN IP4 192.0.2.1", "o=alice 1 2", 'o'),
        ("c=IN IP4 192.0.2.1", "c=IN", 'c'),
        ("c=IN IP4 192.0.2.1", "c=IN IP4 /127", 'c'),
        ("4000 RTP/AVP 0 96", "4000 RTP/AVP", 'm'),
        ("audio 4000", "audio 65536", 'm'),
        ("audio 4000", "audio -1", 'm'),
        ("audio 4000", "audio 4000/x", 'm'),
    ] {
        let error = Sdp::parse(changed(from, to).as_bytes()).expect_err(to);
        assert!(matches!(error, SdpError::Malformed { letter: found, .. } if found == letter), "{to}: {error}");
        assert_eq!(error.status(), 400);
    }
}

#[test]
fn more_than_we_read_is_refused_with_488() {
    let lines = format!("{BODY}{}", "m=audio 0 RTP/AVP 0\r\n".repeat(999));
    let error = SdpError::TooMany { what: "media lines", count: 1000, most: 32 };
    assert_eq!((Sdp::parse(lines.as_bytes()), error.status()), (Err(error), 488));
    let most = format!("{BODY}{}", "m=audio 0 RTP/AVP 0\r\n".repeat(31));
    assert_eq!(parse(&most).media.len(), 32);
    let formats = changed("RTP/AVP 0 96", &format!("RTP/AVP{}", " 0".repeat(65)));
    assert_eq!(Sdp::parse(formats.as_bytes()), Err(SdpError::TooMany { what: "formats", count: 65, most: 64 }));
    assert_eq!(Sdp::parse(&vec![b'a'; 65_537]), Err(SdpError::TooLong { bytes: 65_537, most: 65_536 }));
}

#[test]
fn control_characters_become_spaces() {
    assert_eq!(parse(&changed("s=call", "s=a\u{1b}[31mb\u{0}c")).name, "a [31mb c");
    assert_eq!(parse(&changed("audio 4000 RTP", "audio\t4000\u{b}RTP")), parse(BODY));
}
