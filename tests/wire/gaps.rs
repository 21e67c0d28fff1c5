//! What the `rsip` crate refuses, loses or damages when it is used bare, and what our facade makes of the same bytes.

use bellwire::rng::Rng;
use bellwire::secret::Secret;
use bellwire::sip::auth::{Credentials, DigestClient};
use bellwire::sip::message::{
    Contacts, HeaderName, Host, Message, Method, NameAddr, ParseErrorKind, Request, Response, Scheme, StatusCode, Uri,
    Via,
};

/// A request with these lines in place of, or besides, the plain ones.
fn wire(start: &str, lines: &str) -> Vec<u8> {
    let mut text = format!("{start}\r\n");
    let lower = lines.to_ascii_lowercase();
    let has = |names: &[&str]| {
        names
            .iter()
            .any(|name| lower.lines().any(|line| line.split(':').next().is_some_and(|start| start.trim() == *name)))
    };
    let method = start.split(' ').next().expect("a method");
    if !has(&["via", "v"]) {
        text.push_str("Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKgap\r\n");
    }
    if !has(&["from", "f"]) {
        text.push_str("From: <sip:ann@example.com>;tag=one\r\n");
    }
    if !has(&["to", "t"]) {
        text.push_str("To: <sip:bob@example.com>\r\n");
    }
    if !has(&["call-id", "i"]) {
        text.push_str("Call-ID: gap@192.0.2.1\r\n");
    }
    if !has(&["cseq"]) {
        let method = if method.eq_ignore_ascii_case("SIP/2.0") { "INVITE" } else { method };
        text.push_str(&format!("CSeq: 1 {method}\r\n"));
    }
    text.push_str(lines);
    text.push_str("\r\n");
    text.into_bytes()
}

fn request(start: &str, lines: &str) -> Request {
    match Message::parse(&wire(start, lines)) {
        Ok(Message::Request(request)) => request,
        other => panic!("{start} {lines}: {other:?}"),
    }
}

fn options(lines: &str) -> Request {
    request("OPTIONS sip:bob@example.com SIP/2.0", lines)
}

fn response(start: &str, lines: &str) -> Response {
    match Message::parse(&wire(start, lines)) {
        Ok(Message::Response(response)) => response,
        other => panic!("{start} {lines}: {other:?}"),
    }
}

#[test]
fn challenges_of_every_algorithm_stay_whole() {
    let line = "Digest realm=\"r\", nonce=\"n\", algorithm=SHA-256, qop=\"auth,auth-int\"";
    let second = "Digest realm=\"r\", nonce=\"m\", algorithm=SHA-512-256, qop=\"auth\"";
    let answer = response(
        "SIP/2.0 401 Unauthorized",
        &format!("WWW-Authenticate: {line}\r\nWWW-Authenticate: {second}\r\nWWW-Authenticate: Bearer scope=\"x\"\r\n"),
    );
    let challenges: Vec<_> = answer.headers.get_all(&HeaderName::WWW_AUTHENTICATE).collect();
    assert_eq!(challenges, [line, second, "Bearer scope=\"x\""]);
}

#[test]
fn ipv6_stands_wherever_a_host_may() {
    let invite = request(
        "INVITE sip:bob@[2001:db8::10]:5070;transport=tcp SIP/2.0",
        "Via: SIP/2.0/UDP [2001:db8::1]:5062;branch=z9hG4bKsix;received=2001:db8::2;rport=5063\r\n\
         From: \"Ann\" <sip:ann@[2001:db8::1]>;tag=one\r\nContact: <sip:ann@[2001:db8::1]:5062>\r\n",
    );
    let ip = |text: &str| Host::Ip(text.parse().expect("an address"));
    assert_eq!((invite.uri.host.clone(), invite.uri.port), (Some(ip("2001:db8::10")), Some(5070)));
    let via = invite.headers.via().expect("a Via");
    assert_eq!((via.host.clone(), via.port), (ip("2001:db8::1"), Some(5062)));
    assert_eq!(via.params.get("received"), Some("2001:db8::2"));
    assert_eq!((via.received(), via.rport()), ("2001:db8::2".parse().ok(), Some(5063)));
    assert_eq!(via.to_string(), "SIP/2.0/UDP [2001:db8::1]:5062;branch=z9hG4bKsix;received=2001:db8::2;rport=5063");
    assert_eq!(invite.headers.from().map(|from| from.uri.to_string()), Ok("sip:ann@[2001:db8::1]".to_owned()));
    assert_eq!(invite.headers.contact().map(|contact| contact.uri.port), Ok(Some(5062)));
    assert!(invite.encode().starts_with(b"INVITE sip:bob@[2001:db8::10]:5070;transport=tcp SIP/2.0\r\n"));
}

#[test]
fn tel_and_urn_uris_are_read_everywhere() {
    let call = request(
        "INVITE tel:+15550100;phone-context=example.com SIP/2.0",
        "From: <tel:+1-555-0199>;tag=one\r\nTo: <urn:service:sos>\r\n",
    );
    assert_eq!((call.uri.scheme.clone(), call.uri.user.as_deref()), (Scheme::Tel, Some("+15550100")));
    assert_eq!(call.uri.params.get("phone-context"), Some("example.com"));
    assert_eq!(call.headers.from().map(|from| from.uri.to_string()), Ok("tel:+1-555-0199".to_owned()));
    assert_eq!(call.headers.to().map(|to| to.uri.scheme), Ok(Scheme::Other("urn".to_owned())));
    let sos = request("INVITE urn:service:sos SIP/2.0", "");
    assert_eq!(sos.uri.to_string(), "urn:service:sos");
}

#[test]
fn compact_names_are_the_long_ones() {
    let compact = request(
        "NOTIFY sip:bob@example.com SIP/2.0",
        "v: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKc\r\nf: <sip:a@h>;tag=1\r\nt: <sip:b@h>\r\ni: id\r\nm: <sip:a@h>\r\n\
         c: text/plain\r\ne: gzip\r\nk: path\r\ns: hi\r\nu: presence\r\no: presence\r\nr: <sip:c@h>\r\nb: <sip:d@h>\r\n\
         x: 90\r\nl: 2\r\n\r\nhi",
    );
    let long = [
        (HeaderName::VIA, "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKc"),
        (HeaderName::FROM, "<sip:a@h>;tag=1"),
        (HeaderName::TO, "<sip:b@h>"),
        (HeaderName::CALL_ID, "id"),
        (HeaderName::CONTACT, "<sip:a@h>"),
        (HeaderName::CONTENT_TYPE, "text/plain"),
        (HeaderName::CONTENT_ENCODING, "gzip"),
        (HeaderName::SUPPORTED, "path"),
        (HeaderName::SUBJECT, "hi"),
        (HeaderName::ALLOW_EVENTS, "presence"),
        (HeaderName::EVENT, "presence"),
        (HeaderName::REFER_TO, "<sip:c@h>"),
        (HeaderName::REFERRED_BY, "<sip:d@h>"),
        (HeaderName::SESSION_EXPIRES, "90"),
    ];
    for (name, value) in long {
        assert_eq!(compact.headers.get(&name), Some(value), "{name}");
    }
    assert_eq!(compact.body, b"hi");
    let written = String::from_utf8(compact.encode()).expect("UTF-8");
    assert!(written.contains("\r\nSession-Expires: 90\r\nContent-Length: 2\r\n\r\nhi"), "{written}");
}

#[test]
fn folds_loose_colons_and_leading_line_ends_are_cleaned() {
    let mut bytes = b"\r\n\r\n".to_vec();
    bytes.extend(wire(
        "OPTIONS sip:bob@example.com SIP/2.0",
        "Via \t:\r\n SIP/2.0/UDP 192.0.2.1\r\n\t;branch=z9hG4bKfold\r\nSubject: one\r\n  two\r\n\tthree\r\n",
    ));
    let Ok(Message::Request(read)) = Message::parse(&bytes) else { panic!("a request") };
    assert_eq!(read.headers.via().map(|via| via.branch().map(str::to_owned)), Ok(Some("z9hG4bKfold".to_owned())));
    assert_eq!(read.headers.get(&HeaderName::SUBJECT), Some("one two three"));
    for keep_alive in [&b"\r\n\r\n"[..], b"\r\n", b""] {
        let error = Message::parse(keep_alive).expect_err("nothing there");
        assert_eq!((error.status(), error.kind), (None, ParseErrorKind::Empty));
    }
}

#[test]
fn lines_that_end_in_lf_alone_are_lines() {
    let text = String::from_utf8(wire("OPTIONS sip:bob@example.com SIP/2.0", "Content-Length: 3\r\n")).expect("UTF-8");
    let lf = text.replace("\r\n", "\n") + "abc";
    let Ok(Message::Request(read)) = Message::parse(lf.as_bytes()) else { panic!("a request") };
    assert_eq!(read.body, b"abc");
}

#[test]
fn several_values_on_a_line_are_several_entries() {
    let read = options(
        "Via: SIP/2.0/UDP a.example.com;branch=z9hG4bK1, SIP/2.0/TCP b.example.com;branch=z9hG4bK2\r\n\
         Via: SIP/2.0/WS c.example.com;branch=z9hG4bK3\r\n\
         Record-Route: <sip:p1.example.com;lr>, <sip:p2.example.com;lr;transport=tcp>\r\n\
         Contact: \"A, B <x>\" <sip:a@h>;q=0.5, <sip:b@h;x=1,2>, sip:c@h;expires=7\r\n",
    );
    let hosts: Vec<_> = read.headers.vias().expect("Vias").iter().map(|via| via.host.to_string()).collect();
    assert_eq!(hosts, ["a.example.com", "b.example.com", "c.example.com"]);
    assert_eq!(read.headers.get_all(&HeaderName::VIA).count(), 3);
    let routes = read.headers.record_routes().expect("routes");
    assert_eq!((routes.len(), routes[1].uri.transport()), (2, Some("tcp")));
    let Ok(Contacts::List(contacts)) = read.headers.contacts() else { panic!("contacts") };
    assert_eq!(contacts.len(), 3);
    assert_eq!(contacts[0].display.as_deref(), Some("A, B <x>"));
    assert_eq!(contacts[1].uri.params.get("x"), Some("1,2"));
    assert_eq!((contacts[2].uri.to_string().as_str(), contacts[2].params.get("expires")), ("sip:c@h", Some("7")));
}

#[test]
fn display_names_keep_quotes_and_backslashes() {
    let read = options("From: \"Ann \\\"the\\\\ voice\\\" <no>\" <sip:ann@example.com>;TAG=Upper\r\n");
    let from = read.headers.from().expect("a From");
    assert_eq!((from.display.as_deref(), from.tag()), (Some("Ann \"the\\ voice\" <no>"), Some("Upper")));
    assert_eq!(from.to_string().parse::<NameAddr>(), Ok(from));
}

#[test]
fn gruu_and_outbound_parameters_come_through_both_ways() {
    let contact = "<sip:ann@192.0.2.1:5062;gr=urn:uuid:f81d4fae-7dec;ob>;+sip.instance=\"<urn:uuid:0000-1111>\";reg-id=1;x=\"q, ;\"";
    let read = options(&format!("Contact: {contact}\r\n"));
    let parsed = read.headers.contact().expect("a contact");
    assert_eq!(parsed.uri.params.get("gr"), Some("urn:uuid:f81d4fae-7dec"));
    assert!(parsed.uri.params.has("ob"));
    assert_eq!(parsed.params.get("+sip.instance"), Some("<urn:uuid:0000-1111>"));
    assert_eq!(parsed.params.get("x"), Some("q, ;"));
    assert_eq!(parsed.to_string(), contact);
}

#[test]
fn unknown_methods_are_kept_for_a_405_or_501() {
    let read = request("FOOBAR sip:bob@example.com SIP/2.0", "Allow: INVITE, FOOBAR, ACK\r\n");
    assert_eq!(read.method, Method::Other("FOOBAR".to_owned()));
    assert_eq!(read.headers.tokens(&HeaderName::ALLOW), ["INVITE", "FOOBAR", "ACK"]);
    let lower = request("invite sip:bob@example.com SIP/2.0", "");
    assert_eq!(lower.method, Method::Other("invite".to_owned()), "methods are case-sensitive");
}

#[test]
fn the_reason_phrase_is_the_peers_own() {
    assert_eq!(response("SIP/2.0 491 Request Pending", "").reason, "Request Pending");
    assert_eq!(response("SIP/2.0 486 Bin gerade weg", "").reason, "Bin gerade weg");
    let bare = response("SIP/2.0 200", "");
    assert_eq!((bare.status, bare.reason.as_str()), (StatusCode::OK, ""));
    assert_eq!(response("sip/2.0 699 Later", "").status.code(), 699);
}

#[test]
fn headers_without_a_type_are_text_under_their_name() {
    let read = options(
        "Session-Expires: 1800;refresher=uac\r\nMin-SE: 90\r\nRSeq: 7\r\nRAck: 7 1 INVITE\r\nSubscription-State: active;expires=60\r\n\
         Replaces: id;to-tag=a;from-tag=b\r\nPath: <sip:p@h;lr>\r\nSIP-ETag: e\r\nReason: Q.850;cause=16;text=\"x, y\"\r\n",
    );
    let rows = [
        (HeaderName::SESSION_EXPIRES, "1800;refresher=uac"),
        (HeaderName::MIN_SE, "90"),
        (HeaderName::RSEQ, "7"),
        (HeaderName::RACK, "7 1 INVITE"),
        (HeaderName::SUBSCRIPTION_STATE, "active;expires=60"),
        (HeaderName::REPLACES, "id;to-tag=a;from-tag=b"),
        (HeaderName::PATH, "<sip:p@h;lr>"),
        (HeaderName::SIP_ETAG, "e"),
        (HeaderName::REASON, "Q.850;cause=16;text=\"x, y\""),
    ];
    for (name, value) in rows {
        assert_eq!(read.headers.get(&name), Some(value), "{name}");
    }
}

#[test]
fn a_star_is_no_host() {
    let read = request("REGISTER sip:example.com SIP/2.0", "Contact: *\r\nExpires: 0\r\n");
    assert_eq!(read.headers.contacts(), Ok(Contacts::Star));
    assert!(read.headers.contact().is_err());
    let both = Message::parse(&wire("REGISTER sip:example.com SIP/2.0", "Contact: *\r\nContact: <sip:a@h>\r\n"));
    assert_eq!(both.expect_err("a star stands alone").status(), Some(StatusCode::BAD_REQUEST));
}

#[test]
fn users_with_parameters_and_uris_with_headers_are_read() {
    let odd = request("INVITE sip:+1-555;phone-context=x@gw.example.com SIP/2.0", "");
    assert_eq!(odd.uri.user.as_deref(), Some("+1-555;phone-context=x"));
    let headers = request("INVITE sip:bob@example.com?Subject=x&Priority=urgent SIP/2.0", "");
    assert_eq!(headers.uri.headers.as_deref(), Some("Subject=x&Priority=urgent"));
    assert!(headers.encode().starts_with(b"INVITE sip:bob@example.com?Subject=x&Priority=urgent SIP/2.0\r\n"));
}

#[test]
fn latin_1_text_is_read_as_such() {
    let mut bytes = wire("OPTIONS sip:bob@example.com SIP/2.0", "Subject: caf@\r\n");
    let at = bytes.windows(4).position(|four| four == b"caf@").expect("it is there") + 3;
    bytes[at] = 0xe9;
    let Ok(Message::Request(read)) = Message::parse(&bytes) else { panic!("a request") };
    assert_eq!(read.headers.get(&HeaderName::SUBJECT), Some("café"));
}

#[test]
fn a_via_may_be_loose_lower_case_and_of_any_transport() {
    for text in
        ["sip/2.0/udp 192.0.2.1:5060;branch=z9hG4bKx", "SIP / 2.0 / UDP \t 192.0.2.1 : 5060 ; branch = z9hG4bKx"]
    {
        let via: Via = text.parse().expect("a Via");
        assert_eq!(via.to_string(), "SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKx", "{text}");
    }
    let via: Via = "SIP/2.0/DTLS-SCTP h;branch=1;rport".parse().expect("a Via");
    assert_eq!((via.transport.as_str(), via.params.has("rport"), via.rport()), ("DTLS-SCTP", true, None));
    let read = options("Via: sip/2.0/udp 192.0.2.1;branch=z9hG4bKx\r\n");
    assert_eq!(read.headers.vias().map(|vias| vias.len()), Ok(1));
}

#[test]
fn an_empty_list_header_is_there_and_empty() {
    let read = options("Allow:\r\nAccept: \r\nSupported: ,,\r\n");
    assert_eq!(read.headers.get(&HeaderName::ALLOW), Some(""));
    assert!(
        read.headers.tokens(&HeaderName::ALLOW).is_empty() && read.headers.tokens(&HeaderName::SUPPORTED).is_empty()
    );
    assert!(read.headers.has(&HeaderName::ACCEPT) && !read.headers.has(&HeaderName::REQUIRE));
}

#[test]
fn headers_without_an_end_are_an_error() {
    let whole = wire("OPTIONS sip:bob@example.com SIP/2.0", "");
    let error = Message::parse(&whole[..whole.len() - 2]).expect_err("the empty line is missing");
    assert_eq!(error.kind, ParseErrorKind::Unterminated);
    for end in 0..whole.len() {
        assert!(Message::parse(&whole[..end]).is_err(), "cut at {end}");
    }
}

#[test]
fn the_body_is_what_content_length_says_and_any_bytes() {
    let mut bytes = wire("MESSAGE sip:bob@example.com SIP/2.0", "Content-Length: 4\r\n");
    bytes.extend_from_slice(&[0xff, 0, 0xc3, 0x28, b'x', b'y']);
    let Ok(Message::Request(read)) = Message::parse(&bytes) else { panic!("a request") };
    assert_eq!(read.body, [0xff, 0, 0xc3, 0x28]);
    assert!(read.encode().ends_with(&[b'4', b'\r', b'\n', b'\r', b'\n', 0xff, 0, 0xc3, 0x28]));
}

#[test]
fn uris_are_written_as_they_came() {
    for text in [
        "sip:bob@example.com;transport=tcp",
        "sip:bob@example.com:5060;transport=TCP;lr",
        "sips:bob:secret@example.com;maddr=239.255.255.1;ttl=15",
        "sip:example.com",
        "sip:bob@192.0.2.1?Subject=a%20b",
        "tel:+1-555-0100;ext=7",
        "urn:uuid:f81d4fae",
        "mailto:bob@example.com",
        "sip:bob@example.com.",
    ] {
        let uri: Uri = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(uri.to_string(), text);
    }
}

/// A client that has answered this challenge, and its request.
fn authorized(challenge: &str) -> (DigestClient, Request) {
    let answer = response("SIP/2.0 401 Unauthorized", &format!("WWW-Authenticate: {challenge}\r\n"));
    let password = Secret::new("p".to_owned());
    let mut client = DigestClient::new(Credentials { user: "ann".to_owned(), password, realm: None });
    let mut request = options("");
    client.authorize(&mut Rng::new([1; 32]), &answer, &mut request).expect("a challenge we know");
    (client, request)
}

#[test]
fn the_tenth_use_of_a_nonce_is_counted_in_hex() {
    let (mut client, mut request) = authorized("Digest realm=\"r\", nonce=\"n\", algorithm=SHA-256, qop=\"auth\"");
    for count in 2..=17 {
        client.preemptive(&mut request);
        let sent = request.headers.get(&HeaderName::AUTHORIZATION).expect("credentials").to_owned();
        assert!(sent.contains(&format!("nc={count:08x},")) || sent.ends_with(&format!("nc={count:08x}")), "{sent}");
    }
    assert!(request.headers.get(&HeaderName::AUTHORIZATION).is_some_and(|sent| sent.contains("nc=00000011")));
}

#[test]
fn a_list_in_qop_is_answered_with_auth() {
    for list in ["auth,auth-int", "auth-int, auth", " auth ,auth-int"] {
        let (_, request) = authorized(&format!("Digest realm=\"r\", nonce=\"n\", qop=\"{list}\""));
        let sent = request.headers.get(&HeaderName::AUTHORIZATION).expect("credentials");
        assert!(sent.contains("qop=auth,") || sent.ends_with("qop=auth"), "{list}: {sent}");
        assert!(sent.contains("nc=00000001") && sent.contains("cnonce="), "{list}: {sent}");
    }
}
