//! Our readings against those of `ezk-sip-types`, on random sound messages.
//!
//! Left out is what that crate is known to refuse: other schemes than sip and sips, escapes and nothing at all in quoted display names, a Via in
//! lower case. Everything else has to come out the same.

use crate::generate::Generator;
use bellwire::sip::message::{Contacts, Host, Message, NameAddr};
use ezk_sip_types::header::typed::{CSeq, CallID, Contact, FromTo, Routing, Via};
use ezk_sip_types::host::{Host as TheirHost, HostPort};
use ezk_sip_types::msg::{Line, MessageLine, PullParser};
use ezk_sip_types::uri::{SipUri, SipUriUserPart};
use ezk_sip_types::{_private_reexport::Bytes, Headers, Name};

/// The oracle's reading of the head.
fn their_head(wire: &[u8]) -> (MessageLine, Headers) {
    let bytes = Bytes::copy_from_slice(wire);
    let mut lines = PullParser::new(&bytes, 0);
    let text = |line: &[u8]| std::str::from_utf8(line).expect("UTF-8").to_owned();
    let first = lines.next().expect("a start line").expect("a whole one");
    let start = text(first).parse().expect("a start line they read");
    let mut headers = Headers::new();
    for line in lines {
        // Its readers want lines unfolded.
        let line = text(line.expect("a whole line")).replace("\r\n", "");
        let source = Bytes::copy_from_slice(line.as_bytes());
        let (_, line) = Line::parse(&source, std::str::from_utf8(&source).expect("UTF-8")).expect("a header");
        headers.insert(line.name, line.value);
    }
    (start, headers)
}

fn same_host(ours: &Host, our_port: Option<u16>, theirs: &HostPort) -> bool {
    let host = match (ours, &theirs.host) {
        (Host::Ip(ip), TheirHost::IP4(other)) => ip == other,
        (Host::Ip(ip), TheirHost::IP6(other)) => ip == other,
        (Host::Name(name), TheirHost::Name(other)) => name.eq_ignore_ascii_case(other),
        (Host::Ip(_), TheirHost::Name(_)) | (Host::Name(_), TheirHost::IP4(_) | TheirHost::IP6(_)) => false,
    };
    host && our_port == theirs.port
}

fn assert_same_uri(ours: &bellwire::sip::message::Uri, theirs: &SipUri) {
    assert_eq!(ours.is_sips(), theirs.sips, "{ours}");
    assert!(same_host(ours.host.as_ref().expect("a host"), ours.port, &theirs.host_port), "{ours} {theirs:?}");
    let user = match &theirs.user_part {
        SipUriUserPart::Empty => None,
        SipUriUserPart::User(user) => Some(user.to_string()),
        SipUriUserPart::UserPw(both) => Some(both.user.to_string()),
    };
    assert_eq!(ours.user_unescaped(), user, "{ours}");
    for (name, value) in ours.params.iter() {
        assert!(theirs.uri_params.get(name).is_some(), "{ours} {name}");
        assert_eq!(value, theirs.uri_params.get_val(name).map(|text| &**text), "{ours} {name}");
    }
}

fn assert_same_from(ours: &NameAddr, theirs: &FromTo) {
    assert_same_uri(&ours.uri, &theirs.uri.uri);
    assert_eq!(ours.tag(), theirs.tag.as_deref());
    // It takes the spaces inside the quotes off; they are part of the name.
    let name = ours.display.as_deref().unwrap_or_default().trim();
    assert_eq!(name, theirs.uri.name.as_deref().unwrap_or_default().trim());
}

#[test]
fn sound_messages_mean_to_us_what_they_mean_to_another_reader() {
    for seed in 0..3_000 {
        let wire = Generator::new(seed).message(false);
        let show = String::from_utf8_lossy(&wire).into_owned();
        let ours = Message::parse(&wire).unwrap_or_else(|error| panic!("seed {seed}: {error}\n{show}"));
        let (start, theirs) = their_head(&wire);
        match (&ours, start) {
            (Message::Request(request), MessageLine::Request(line)) => {
                assert_eq!(request.method.as_str(), line.method.to_string());
                assert_same_uri(&request.uri, &line.uri);
            }
            (Message::Response(response), MessageLine::Response(line)) => {
                assert_eq!(response.status.code(), line.code.into_u16());
                assert_eq!(Some(response.reason.as_str()), line.reason.as_deref());
            }
            (ours, line) => panic!("seed {seed}: {ours:?} against {line:?}"),
        }
        let headers = ours.headers();
        let vias = headers.vias().expect("Vias");
        let their_vias: Vec<Via> = theirs.get(Name::VIA).unwrap_or_else(|error| panic!("{error:?}\n{show}"));
        assert_eq!(vias.len(), their_vias.len(), "seed {seed}\n{show}");
        for (via, other) in vias.iter().zip(&their_vias) {
            assert_eq!(via.transport, other.transport.to_string());
            assert!(same_host(&via.host, via.port, &other.sent_by), "{via} {other:?}");
            for name in ["branch", "received", "rport"] {
                assert_eq!(via.params.get(name), other.params.get_val(name).map(|text| &**text), "{via}");
            }
        }
        assert_same_from(&headers.from().expect("a From"), &theirs.get(Name::FROM).expect("their From"));
        assert_same_from(&headers.to().expect("a To"), &theirs.get(Name::TO).expect("their To"));
        let id: CallID = theirs.get_named().expect("their Call-ID");
        assert_eq!(headers.call_id(), Ok(&*id.0));
        let cseq: CSeq = theirs.get_named().expect("their CSeq");
        assert_eq!(
            headers.cseq().map(|ours| (ours.seq, ours.method.to_string())),
            Ok((cseq.cseq, cseq.method.to_string()))
        );
        let Ok(Contacts::List(contacts)) = headers.contacts() else { panic!("contacts") };
        let their_contacts: Vec<Contact> =
            theirs.try_get(Name::CONTACT).transpose().expect("theirs").unwrap_or_default();
        assert_eq!(contacts.len(), their_contacts.len(), "seed {seed}\n{show}");
        for (contact, other) in contacts.iter().zip(&their_contacts) {
            assert_same_uri(&contact.uri, &other.uri.uri);
        }
        for (name, ours) in [(Name::ROUTE, headers.routes()), (Name::RECORD_ROUTE, headers.record_routes())] {
            let ours = ours.expect("routes");
            let other: Vec<Routing> = theirs.try_get(name).transpose().expect("theirs").unwrap_or_default();
            assert_eq!(ours.len(), other.len(), "seed {seed}\n{show}");
            for (route, other) in ours.iter().zip(&other) {
                assert_same_uri(&route.uri, &other.uri.uri);
            }
        }
    }
}
