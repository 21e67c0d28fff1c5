//! Where our readings and those of `ezk-sip-types` and `sdp-types` part, each with the reason; everywhere else they agree
//! (`oracle`, `sdp`). A row that no longer differs fails too, so that the tables stay true.

use bellwire::sdp::Sdp;
use bellwire::sip::message::{Contacts, Message};
use ezk_sip_types::header::typed::{CSeq, Contact, FromTo, Via};
use ezk_sip_types::msg::{Line, MessageLine, PullParser};
use ezk_sip_types::{_private_reexport::Bytes, Headers, Name};

/// What a reader makes of an input: its reading in words, or nothing.
type Reading = Option<String>;

/// A whole request around one start line and one header line.
fn message(start: &str, line: &str) -> Vec<u8> {
    let name = line.split(':').next().unwrap_or_default().trim().to_ascii_lowercase();
    let method = start.split(' ').next().filter(|first| *first != "SIP/2.0").unwrap_or("OPTIONS");
    let sequence = format!("CSeq: 1 {method}");
    // The compact name of a line stands in for the long one.
    let name = match &*name {
        "v" => "via".to_owned(),
        "f" => "from".to_owned(),
        _ => name,
    };
    let plain = [
        ("via", "Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKd"),
        ("from", "From: <sip:a@h>;tag=1"),
        ("to", "To: <sip:b@h>"),
        ("call-id", "Call-ID: d@h"),
        ("cseq", &sequence),
    ];
    let plain: String =
        plain.iter().filter(|(plain, _)| *plain != name).map(|(_, line)| format!("{line}\r\n")).collect();
    format!("{start}\r\n{plain}{line}{}\r\n", if line.is_empty() { "" } else { "\r\n" }).into_bytes()
}

fn their_headers(wire: &[u8]) -> Option<(MessageLine, Headers)> {
    let bytes = Bytes::copy_from_slice(wire);
    let mut lines = PullParser::new(&bytes, 0);
    let start = std::str::from_utf8(lines.next()?.ok()?).ok()?.parse().ok()?;
    let mut headers = Headers::new();
    for line in lines {
        let line = std::str::from_utf8(line.ok()?).ok()?.replace("\r\n", "");
        let source = Bytes::copy_from_slice(line.as_bytes());
        let (_, line) = Line::parse(&source, std::str::from_utf8(&source).ok()?).ok()?;
        headers.insert(line.name, line.value);
    }
    Some((start, headers))
}

/// What is looked at in a message.
#[derive(Debug, Clone, Copy)]
enum Part {
    Start,
    Via,
    From,
    Contact,
    Sequence,
}

fn ours(part: Part, wire: &[u8]) -> Reading {
    let message = Message::parse(wire).ok()?;
    let headers = message.headers();
    Some(match part {
        Part::Start => match &message {
            Message::Request(request) => {
                let host = request.uri.host.as_ref().map_or_else(|| request.uri.to_string(), ToString::to_string);
                format!("{} {host} {:?}", request.method, request.uri.port)
            }
            Message::Response(response) => format!("{} {}", response.status.code(), response.reason),
        },
        Part::Via => {
            let vias = headers.vias().ok()?;
            let via = |via: &bellwire::sip::message::Via| format!("{} {} {:?}", via.transport, via.host, via.port);
            vias.iter().map(via).collect::<Vec<_>>().join(", ")
        }
        Part::From => {
            let from = headers.from().ok()?;
            let host = from.uri.host.as_ref().map_or_else(|| from.uri.to_string(), ToString::to_string);
            format!("{:?} {host} {:?}", from.display, from.tag())
        }
        Part::Contact => match headers.contacts().ok()? {
            Contacts::Star => "*".to_owned(),
            Contacts::List(list) => list
                .iter()
                .map(|contact| contact.uri.user_unescaped().unwrap_or_default())
                .collect::<Vec<_>>()
                .join(", "),
        },
        Part::Sequence => headers.cseq().ok().map(|c| format!("{} {}", c.seq, c.method))?,
    })
}

fn theirs(part: Part, wire: &[u8]) -> Reading {
    let (start, headers) = their_headers(wire)?;
    Some(match part {
        Part::Start => match start {
            MessageLine::Request(line) => {
                format!("{} {} {:?}", line.method, line.uri.host_port.host, line.uri.host_port.port)
            }
            MessageLine::Response(line) => {
                format!("{} {}", line.code.into_u16(), line.reason.as_deref().unwrap_or_default())
            }
        },
        Part::Via => {
            let vias: Vec<Via> = headers.get(Name::VIA).ok()?;
            let via = |via: &Via| format!("{} {} {:?}", via.transport, via.sent_by.host, via.sent_by.port);
            vias.iter().map(via).collect::<Vec<_>>().join(", ")
        }
        Part::From => {
            let from: FromTo = headers.get(Name::FROM).ok()?;
            format!("{:?} {} {:?}", from.uri.name.as_deref(), from.uri.uri.host_port.host, from.tag.as_deref())
        }
        Part::Contact => {
            let contacts: Vec<Contact> = headers.get(Name::CONTACT).ok()?;
            use ezk_sip_types::uri::SipUriUserPart;
            let user = |contact: &Contact| match &contact.uri.uri.user_part {
                SipUriUserPart::Empty => String::new(),
                SipUriUserPart::User(user) => user.to_string(),
                SipUriUserPart::UserPw(both) => both.user.to_string(),
            };
            contacts.iter().map(user).collect::<Vec<_>>().join(", ")
        }
        Part::Sequence => headers.get_named::<CSeq>().ok().map(|c| format!("{} {}", c.cseq, c.method))?,
    })
}

const PLAIN: &str = "OPTIONS sip:b@h SIP/2.0";

/// Hand-written lines that both must read the same.
const SAME: &[(Part, &str, &str)] = &[
    (Part::Start, "OPTIONS sip:b@[2001:db8::1]:5070 SIP/2.0", ""),
    (Part::Start, "FOOBAR sip:b@h SIP/2.0", ""),
    (Part::Start, "SIP/2.0 486 Busy Here", ""),
    (Part::Via, PLAIN, "Via: SIP/2.0/TCP [2001:db8::1]:5070;branch=z9hG4bKx;received=2001:db8::2"),
    (Part::Via, PLAIN, "v: SIP/2.0/UDP a.example.com;branch=z9hG4bK1, SIP/2.0/TLS b.example.com:5061;branch=z9hG4bK2"),
    (Part::Via, PLAIN, "Via: SIP/2.0/NEW h;branch=z9hG4bKx"),
    (Part::From, PLAIN, "From: \"Ann, the <first>\" <sip:ann@example.com>;tag=88"),
    (Part::From, PLAIN, "f: Ann <sip:ann@192.0.2.4:5080;transport=tcp>;x=y;tag=88"),
    (Part::From, PLAIN, "From: sip:ann@example.com;tag=88"),
    (Part::From, PLAIN, "From: <sip:a@example.com.>;tag=1"),
    (Part::Contact, PLAIN, "Contact: <sip:a@h>;q=0.5, <sip:b@h;x=1>, <sip:c%41@h>;+sip.instance=\"<urn:uuid:1>\""),
    (Part::Contact, PLAIN, "m: \"A, B\" <sip:a@h>"),
    (Part::Sequence, PLAIN, "CSeq: 1 OPTIONS"),
];

/// What is told apart: the line, whether we read it, whether they do, and why ours is right.
const APART: &[(Part, &str, &str, bool, bool, &str)] = &[
    (Part::Start, "OPTIONS tel:+15550100 SIP/2.0", "", true, false, "callers with a number have tel: URIs (RFC 3966)"),
    (
        Part::Start,
        "OPTIONS urn:service:sos SIP/2.0",
        "",
        true,
        false,
        "a scheme we do not serve is answered 416, so it must be read",
    ),
    (Part::From, PLAIN, "From: <tel:+15550100>;tag=1", true, false, "a From may be a tel: URI"),
    (
        Part::From,
        PLAIN,
        "From: \"a \\\" b\" <sip:a@h>;tag=1",
        true,
        false,
        "a quoted string has escapes (RFC 3261 §25.1)",
    ),
    (
        Part::From,
        PLAIN,
        "From: <sip:a@h>;TAG=1",
        true,
        true,
        "names of parameters have no case (§7.3.1): ours finds the tag",
    ),
    (
        Part::Via,
        "OPTIONS sip:b@h SIP/2.0",
        "Via: sip/2.0/udp 192.0.2.1;branch=z9hG4bKx",
        true,
        true,
        "a Via has no case (§7.3.1): theirs is an empty list",
    ),
    (Part::Sequence, PLAIN, "CSeq: 2147483648 OPTIONS", false, true, "a sequence number is below 2^31 (§8.1.1.5)"),
    (Part::Sequence, PLAIN, "CSeq: 1 INVITE", false, true, "the method must be that of the request (§8.1.1.5)"),
    (Part::Contact, PLAIN, "Contact: *", true, true, "a star removes all contacts (§10.2.2): theirs is an empty list"),
];

#[test]
fn the_two_readers_agree_on_what_is_written_by_hand() {
    for (part, start, line) in SAME {
        let wire = message(start, line);
        let (first, second) = (ours(*part, &wire), theirs(*part, &wire));
        assert!(first.is_some(), "{part:?} {start} {line}");
        assert_eq!(first, second, "{part:?} {start} {line}");
    }
}

#[test]
fn where_they_differ_the_reason_is_given() {
    let mut stale = Vec::new();
    for (part, start, line, we_read, they_read, reason) in APART {
        let wire = message(start, line);
        let (first, second) = (ours(*part, &wire), theirs(*part, &wire));
        if first == second || first.is_some() != *we_read || second.is_some() != *they_read {
            stale.push(format!("{start} | {line}: {first:?} and {second:?}, not as `{reason}` says"));
        }
    }
    assert!(stale.is_empty(), "{stale:#?}");
}

const SESSION: &str = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nt=0 0\r\n";
const AUDIO: &str = "m=audio 4000 RTP/AVP 0\r\n";

/// Bodies that one reads and the other does not, or that they read as unlike numbers of media and attributes:
/// body, ours, theirs, reason. A reading is `media/attributes of the last one/connections of it`.
const BODIES: &[(&str, Option<&str>, Option<&str>, &str)] = &[
    ("{S}{A}a=sendonly", Some("1/1/0"), Some("1/1/0"), "the last line counts without its line end: both"),
    (
        "{S}x=what\r\n{A}",
        Some("1/0/0"),
        Some("1/0/0"),
        "a line of unknown kind is left out, its body is not (RFC 8866 §5): both",
    ),
    (
        "{S}{A}a=sendonly\r\nc=IN IP4 192.0.2.7\r\n",
        Some("1/1/1"),
        Some("1/1/1"),
        "a connection behind attributes counts: both",
    ),
    ("v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\nt=0 0\r\n{A}", Some("1/0/0"), Some("1/0/0"), "s= may be missing: both"),
    ("o=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nt=0 0\r\n{A}", None, None, "without v= it is no description: neither"),
    ("{S}m=audio 65536 RTP/AVP 0\r\n", None, None, "there is no such port: neither"),
    ("{S}m=audio 0 RTP/AVP\r\n", Some("1/0/0"), None, "some phones refuse a stream with a line that ends early"),
    ("{S}{A}a=\r\n", Some("1/0/0"), Some("1/1/0"), "an attribute has a name; one without is left out"),
    (
        "v=0\r\no=- x y IN IP4 192.0.2.1\r\ns=-\r\nt=0 0\r\n{A}",
        Some("1/0/0"),
        None,
        "the version is compared as text, so any text will do",
    ),
    (
        "{S}k=clear:secret\r\n{A}",
        Some("1/0/0"),
        Some("1/0/0"),
        "k= is obsolete: read by both, passed on by theirs alone",
    ),
    ("v=0\r\no=- 1 1 IN IP4\r\ns=-\r\nt=0 0\r\n{A}", None, None, "an origin has an address: neither"),
];

#[test]
fn descriptions_that_the_two_readers_see_differently_are_listed_with_the_reason() {
    let mut stale = Vec::new();
    for (template, we_read, they_read, reason) in BODIES {
        let body = template.replace("{S}", SESSION).replace("{A}", AUDIO);
        let first = Sdp::parse(body.as_bytes()).ok().map(|sdp| {
            let last = sdp.media.last();
            let count = |what: fn(&bellwire::sdp::Media) -> usize| last.map_or(0, what);
            format!("{}/{}/{}", sdp.media.len(), count(|m| m.attributes.len()), count(|m| m.connections.len()))
        });
        let second = sdp_types::Session::parse(body.as_bytes()).ok().map(|sdp| {
            let last = sdp.medias.last();
            let count = |what: fn(&sdp_types::Media) -> usize| last.map_or(0, what);
            format!("{}/{}/{}", sdp.medias.len(), count(|m| m.attributes.len()), count(|m| m.connections.len()))
        });
        if first.as_deref() != *we_read || second.as_deref() != *they_read {
            stale.push(format!("{template}: {first:?} and {second:?}, not as `{reason}` says"));
        }
    }
    assert!(stale.is_empty(), "{stale:#?}");
}
