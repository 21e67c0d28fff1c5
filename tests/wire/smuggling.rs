//! Forms that make two readers see two messages: ours sees one, or none.

use bellwire::sip::message::{HeaderName, MAX_HEADERS, MAX_LINE, MAX_VIAS, Message, ParseErrorKind, StatusCode};

const PLAIN: &str = "Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKs\r\nFrom: <sip:a@h>;tag=1\r\nTo: <sip:b@h>\r\nCall-ID: s@h\r\nCSeq: 1 OPTIONS\r\n";

fn parse(lines: &str) -> Result<Message, (Option<u16>, ParseErrorKind)> {
    let wire = format!("OPTIONS sip:b@h SIP/2.0\r\n{PLAIN}{lines}\r\n");
    Message::parse(wire.as_bytes()).map_err(|error| (error.status().map(StatusCode::code), error.kind))
}

#[test]
fn single_headers_may_not_stand_twice_in_any_spelling() {
    for (long, compact, value) in [
        ("From", "f", "<sip:x@h>;tag=2"),
        ("To", "t", "<sip:x@h>"),
        ("Call-ID", "i", "x@h"),
        ("CSeq", "cSEQ", "2 OPTIONS"),
    ] {
        for name in
            [long.to_owned(), compact.to_owned(), long.to_uppercase(), format!("{long} "), format!("{compact}\t ")]
        {
            let result = parse(&format!("{name}: {value}\r\n"));
            assert_eq!(result, Err((Some(400), ParseErrorKind::Duplicate(HeaderName::new(long)))), "{name}");
        }
    }
    for (first, second) in
        [("Content-Length", "l"), ("l", "Content-Length"), ("L", "l"), ("Content-Length", "content-length")]
    {
        for lengths in [(0, 0), (0, 4), (4, 0)] {
            let result = parse(&format!("{first}: {}\r\n{second}: {}\r\n", lengths.0, lengths.1));
            assert_eq!(result, Err((Some(400), ParseErrorKind::Duplicate(HeaderName::CONTENT_LENGTH))));
        }
    }
    for (name, value) in
        [("Max-Forwards", "70"), ("Content-Type", "a/b"), ("c", "a/b"), ("Expires", "1"), ("Refer-To", "<sip:a@h>")]
    {
        let result = parse(&format!("{name}: {value}\r\n{name}: {value}\r\n"));
        assert_eq!(result, Err((Some(400), ParseErrorKind::Duplicate(HeaderName::new(name)))), "{name}");
    }
}

#[test]
fn only_spaces_and_tabs_may_stand_before_the_colon() {
    for name in [
        "Content-Length\x0b",
        "Content-Length\0",
        "Content-Length\r",
        "Content\u{a0}Length",
        "Content Length",
        "\x0cl",
        "",
        "l\x7f",
        "(l)",
        "\"l\"",
    ] {
        assert_eq!(parse(&format!("{name}: 0\r\n")), Err((Some(400), ParseErrorKind::HeaderLine)), "{name:?}");
    }
    assert_eq!(parse("no colon here\r\n"), Err((Some(400), ParseErrorKind::HeaderLine)));
}

#[test]
fn no_control_character_hides_in_a_value() {
    for control in (0u8..32).chain([127]).filter(|byte| !b"\t\n".contains(byte)) {
        let c = char::from(control);
        let result = parse(&format!("Subject: a{c}b\r\n"));
        assert_eq!(result, Err((Some(400), ParseErrorKind::ControlCharacter)), "{control}");
        assert_eq!(parse(&format!("Subject: \"a{c}b\"\r\n")), result, "{control} in quotes");
    }
}

#[test]
fn a_content_length_is_digits_and_nothing_else() {
    for value in
        ["-1", "+1", "0x0", "1 1", "1,1", "1;1", "", "one", "0.0", "٣", "18446744073709551616", "4294967295", "1"]
    {
        let result = parse(&format!("Content-Length: {value}\r\n")).map_err(|(status, _)| status);
        assert_eq!(result, Err(Some(400)), "{value}");
    }
    for value in ["0", "00", "0000000000000000000000000000"] {
        assert!(parse(&format!("Content-Length: {value}\r\n")).is_ok(), "{value}");
    }
}

#[test]
fn the_caps_hold_and_not_one_less() {
    let via = |n: usize| "Via: SIP/2.0/UDP a;branch=z9hG4bK1\r\n".repeat(n);
    assert!(parse(&via(MAX_VIAS - 1)).is_ok());
    assert_eq!(parse(&via(MAX_VIAS)), Err((Some(400), ParseErrorKind::TooManyHeaders)));
    let on_one_line = format!("Via: {}SIP/2.0/UDP a\r\n", "SIP/2.0/UDP a, ".repeat(MAX_VIAS - 1));
    assert_eq!(parse(&on_one_line), Err((Some(400), ParseErrorKind::TooManyHeaders)));
    for name in ["Route", "Record-Route"] {
        assert!(parse(&format!("{name}: <sip:p;lr>\r\n").repeat(64)).is_ok());
        assert_eq!(
            parse(&format!("{name}: <sip:p;lr>\r\n").repeat(65)),
            Err((Some(400), ParseErrorKind::TooManyHeaders))
        );
    }
    assert!(parse(&"Y: y\r\n".repeat(MAX_HEADERS - 5)).is_ok());
    assert_eq!(parse(&"Y: y\r\n".repeat(MAX_HEADERS - 4)), Err((Some(400), ParseErrorKind::TooManyHeaders)));
    let line = |n: usize| format!("Subject: {}\r\n", "x".repeat(n - "Subject: ".len()));
    assert!(parse(&line(MAX_LINE)).is_ok());
    assert_eq!(parse(&line(MAX_LINE + 1)), Err((Some(400), ParseErrorKind::LineTooLong)));
    let folded = format!("Subject: a\r\n{}", " bbbbbbb\r\n".repeat(1_025));
    assert_eq!(parse(&folded), Err((Some(400), ParseErrorKind::LineTooLong)));
    let huge = format!("OPTIONS sip:b@h SIP/2.0\r\n{PLAIN}\r\n{}", "x".repeat(65_536));
    let error = Message::parse(huge.as_bytes()).expect_err("too large");
    assert_eq!((error.status().map(StatusCode::code), error.kind), (Some(513), ParseErrorKind::TooLarge));
}

#[test]
fn a_uri_that_could_be_two_is_none() {
    for uri in [
        "sip:a@evil.example@good.example",
        "sip:@h",
        "sip:",
        "sip:a@",
        "sip:a@h:",
        "sip:a@h:99999",
        "sip:a@h:5060:5060",
        "sip:a@[::1",
        "sip:a@::1",
        "sip:a@[::1]x",
        "sip:a@h\\evil",
        "sip:a@1.2.3.4.5",
        "sip:a@256.1.1.1",
        "sip:a@h/x",
        "a@h",
        "1sip:a@h",
        ":a@h",
        "sip:a@h%00",
        "sip:a@[fe80::1%25eth0]",
    ] {
        let wire = format!("OPTIONS {uri} SIP/2.0\r\n{PLAIN}\r\n");
        let error = Message::parse(wire.as_bytes()).expect_err(uri);
        assert_eq!(error.status(), Some(StatusCode::BAD_REQUEST), "{uri}");
    }
}

#[test]
fn acks_and_responses_are_never_answered() {
    for start in [
        "ACK <sip:b@h> SIP/2.0",
        "ACK sip:b@h SIP/3.0",
        "SIP/2.0 0200 OK",
        "SIP/2.0 99 Low",
        "SIP/2.0 700 High",
        "SIP/3.0 200 OK",
        "SIP/2.0 2OO OK",
    ] {
        let wire = format!("{start}\r\n{PLAIN}\r\n").replace("1 OPTIONS", "1 ACK");
        assert_eq!(Message::parse(wire.as_bytes()).expect_err(start).status(), None, "{start}");
    }
    for start in [
        "",
        " ",
        "HELO there",
        "GET / HTTP/1.1",
        "OPTIONS sip:b@h",
        "OPTIONS sip:b@h SIP/2",
        "\0",
        "OPTIONS\tsip:b@h\tSIP/2.0",
    ] {
        let wire = format!("{start}\r\n{PLAIN}\r\n");
        assert_eq!(Message::parse(wire.as_bytes()).expect_err(start).status(), None, "{start}");
    }
}

#[test]
fn no_value_of_ours_can_break_out_of_its_line() {
    let Ok(Message::Request(mut request)) = parse("") else { panic!("a request") };
    request.headers.push(HeaderName::SUBJECT, "a\r\nContact: <sip:evil@h>\r\n\r\nbody");
    request.headers.set(HeaderName::new("X-Evil\r\nRoute"), "b\nc");
    let mut from = request.headers.from().expect("a From");
    from.display = Some("x\"\r\nRoute: <sip:evil@h>".to_owned());
    from.params.set("p", "a\"b;c\r\nd");
    request.headers.set(HeaderName::FROM, from.to_string());
    let Ok(Message::Request(read)) = Message::parse(&request.encode()) else { panic!("a request") };
    assert!(!read.headers.has(&HeaderName::CONTACT) && !read.headers.has(&HeaderName::ROUTE));
    assert_eq!(read.headers.len(), request.headers.len());
    assert_eq!(
        read.headers.from().map(|from| from.params.get("p").map(str::to_owned)),
        Ok(Some("a\"b;c  d".to_owned()))
    );
}
