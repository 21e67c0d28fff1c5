//! The torture messages of RFC 4475 and RFC 5118 against `tests/data/torture/expected.tsv`.

use bellwire::sip::message::{Contacts, HeaderName, Host, Message, Method, Request, Response, Scheme, StatusCode};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/torture")
}

pub(crate) fn message(name: &str) -> Vec<u8> {
    let path = folder().join(format!("{name}.sip"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn request(name: &str) -> Request {
    match Message::parse(&message(name)) {
        Ok(Message::Request(request)) => request,
        other => panic!("{name}: {other:?}"),
    }
}

fn response(name: &str) -> Response {
    match Message::parse(&message(name)) {
        Ok(Message::Response(response)) => response,
        other => panic!("{name}: {other:?}"),
    }
}

/// One line of the table.
pub(crate) struct Row {
    /// The file, without its extension.
    pub(crate) name: String,
    /// What the reader makes of it: `ok`, a status or `silent`.
    pub(crate) reader: String,
    /// What an idle phone answers.
    pub(crate) phone: String,
    /// What an idle PBX answers.
    pub(crate) pbx: String,
}

/// The table.
pub(crate) fn rows() -> Vec<Row> {
    let table = std::fs::read_to_string(folder().join("expected.tsv")).expect("the table is there");
    let row = |line: &str| {
        let columns: Vec<_> = line.split('\t').map(str::to_owned).collect();
        let Ok([name, reader, phone, pbx]) = <[String; 4]>::try_from(columns) else { panic!("four columns: {line}") };
        Row { name, reader, phone, pbx }
    };
    table.lines().filter(|line| !line.starts_with('#')).map(row).collect()
}

/// The second column of the table, by message.
fn expected() -> BTreeMap<String, String> {
    rows().into_iter().map(|row| (row.name, row.reader)).collect()
}

fn outcome(wire: &[u8]) -> String {
    match Message::parse(wire) {
        Ok(_) => "ok".to_owned(),
        Err(error) => match error.status() {
            Some(status) => status.to_string(),
            None => "silent".to_owned(),
        },
    }
}

#[test]
fn every_torture_message_is_read_as_the_table_says() {
    let expected = expected();
    assert_eq!(expected.keys().filter(|name| name.starts_with("4475-")).count(), 49);
    assert_eq!(expected.keys().filter(|name| name.starts_with("5118-")).count(), 12);
    let files = std::fs::read_dir(folder()).expect("the folder is there");
    let files =
        files.filter(|file| file.as_ref().is_ok_and(|file| file.path().extension().is_some_and(|e| e == "sip")));
    assert_eq!(files.count(), 61);
    for (name, reader) in expected {
        assert_eq!(outcome(&message(&name)), reader, "{name}: {:?}", Message::parse(&message(&name)));
    }
}

#[test]
fn every_torture_message_that_is_read_is_read_the_same_once_written() {
    for name in expected().keys() {
        if let Ok(read) = Message::parse(&message(name)) {
            assert_eq!(Message::parse(&read.encode()).as_ref(), Ok(&read), "{name}");
        }
    }
}

/// The copies that other stacks carry, in the folder that `BELLWIRE_TORTURE` names.
#[test]
#[ignore = "compares with copies that are not part of the project: set BELLWIRE_TORTURE to their folder"]
fn the_copies_of_other_stacks_fare_as_ours_do() {
    let folder = std::env::var_os("BELLWIRE_TORTURE").expect("BELLWIRE_TORTURE names a folder");
    let theirs = [
        ("rfc4475/wsinv", "4475-3.1.1.01"),
        ("rfc4475/intmeth", "4475-3.1.1.02"),
        ("rfc4475/esc01", "4475-3.1.1.03"),
        ("rfc4475/escnull", "4475-3.1.1.04"),
        ("rfc4475/esc02", "4475-3.1.1.05"),
        ("rfc4475/lwsdisp", "4475-3.1.1.06"),
        ("rfc4475/longreq", "4475-3.1.1.07"),
        ("rfc4475/dblreq", "4475-3.1.1.08"),
        ("rfc4475/semiuri", "4475-3.1.1.09"),
        ("rfc4475/transports", "4475-3.1.1.10"),
        ("rfc4475/mpart01", "4475-3.1.1.11"),
        ("rfc4475/unreason", "4475-3.1.1.12"),
        ("rfc4475/noreason", "4475-3.1.1.13"),
        ("rfc4475/badinv01", "4475-3.1.2.01"),
        ("rfc4475/clerr", "4475-3.1.2.02"),
        ("rfc4475/ncl", "4475-3.1.2.03"),
        ("rfc4475/scalar02", "4475-3.1.2.04"),
        ("rfc4475/scalarlg", "4475-3.1.2.05"),
        ("rfc4475/quotbal", "4475-3.1.2.06"),
        ("rfc4475/ltgtruri", "4475-3.1.2.07"),
        ("rfc4475/lwsruri", "4475-3.1.2.08"),
        ("rfc4475/lwsstart", "4475-3.1.2.09"),
        ("rfc4475/trws", "4475-3.1.2.10"),
        ("rfc4475/escruri", "4475-3.1.2.11"),
        ("rfc4475/baddate", "4475-3.1.2.12"),
        ("rfc4475/regbadct", "4475-3.1.2.13"),
        ("rfc4475/badaspec", "4475-3.1.2.14"),
        ("rfc4475/baddn", "4475-3.1.2.15"),
        ("rfc4475/badvers", "4475-3.1.2.16"),
        ("rfc4475/mismatch01", "4475-3.1.2.17"),
        ("rfc4475/mismatch02", "4475-3.1.2.18"),
        ("rfc4475/bigcode", "4475-3.1.2.19"),
        ("rfc4475/badbranch", "4475-3.2.1"),
        ("rfc4475/insuf", "4475-3.3.01"),
        ("rfc4475/unkscm", "4475-3.3.02"),
        ("rfc4475/novelsc", "4475-3.3.03"),
        ("rfc4475/unksm2", "4475-3.3.04"),
        ("rfc4475/bext01", "4475-3.3.05"),
        ("rfc4475/invut", "4475-3.3.06"),
        ("rfc4475/regaut01", "4475-3.3.07"),
        ("rfc4475/multi01", "4475-3.3.08"),
        ("rfc4475/mcl01", "4475-3.3.09"),
        ("rfc4475/bcast", "4475-3.3.10"),
        ("rfc4475/zeromf", "4475-3.3.11"),
        ("rfc4475/cparam01", "4475-3.3.12"),
        ("rfc4475/cparam02", "4475-3.3.13"),
        ("rfc4475/regescrt", "4475-3.3.14"),
        ("rfc4475/sdp01", "4475-3.3.15"),
        ("rfc4475/inv2543", "4475-3.4.1"),
        ("rfc5118/ipv6-good", "5118-4.01"),
        ("rfc5118/ipv6-bad", "5118-4.02"),
        ("rfc5118/port-ambiguous", "5118-4.03"),
        ("rfc5118/port-unambiguous", "5118-4.04"),
        ("rfc5118/via-received-param-with-delim", "5118-4.05a"),
        ("rfc5118/via-received-param-no-delim", "5118-4.05b"),
        ("rfc5118/ipv6-in-sdp", "5118-4.06"),
        ("rfc5118/mult-ip-in-header", "5118-4.07"),
        ("rfc5118/mult-ip-in-sdp", "5118-4.08"),
        ("rfc5118/ipv4-mapped-ipv6", "5118-4.09"),
        ("rfc5118/ipv6-bug-abnf-3-colons", "5118-4.10a"),
        ("rfc5118/ipv6-correct-abnf-2-colons", "5118-4.10b"),
    ];
    assert_eq!(theirs.len(), 61);
    let expected = expected();
    for (file, section) in theirs {
        let (name, reader) = expected.iter().find(|(name, _)| name.starts_with(section)).expect("each has its row");
        let path = Path::new(&folder).join(format!("{file}.dat"));
        let mut wire = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        // One copy has lost the empty line that ends its headers.
        if !wire.windows(4).any(|bytes| bytes == b"\r\n\r\n") {
            wire.extend_from_slice(b"\r\n");
        }
        assert_eq!(&outcome(&wire), reader, "{file} against {name}: {:?}", Message::parse(&wire));
    }
}

#[test]
fn the_short_tortuous_invite_means_what_the_rfc_says() {
    let invite = request("4475-3.1.1.01-short-tortuous-invite");
    assert_eq!(invite.method, Method::Invite);
    assert_eq!(invite.uri.to_string(), "sip:noor@ward-7.example.com;oddparam");
    let to = invite.headers.to().expect("a To");
    assert_eq!((to.uri.to_string().as_str(), to.tag()), ("sip:noor@ward-7.example.com", Some("77120034q")));
    let from = invite.headers.from().expect("a From");
    assert_eq!((from.display.as_deref(), from.tag()), (Some("H Okonkwo \\\""), Some("4fz00a")));
    assert_eq!(invite.headers.max_forwards(), Ok(Some(68)));
    assert_eq!(invite.headers.cseq().map(|cseq| (cseq.seq, cseq.method)), Ok((9, Method::Invite)));
    let vias = invite.headers.vias().expect("Vias");
    let vias: Vec<_> = vias.iter().map(|via| (via.transport.as_str(), via.host.to_string(), via.branch())).collect();
    assert_eq!(
        vias,
        [
            ("UDP", "192.0.2.2".to_owned(), Some("771kqz")),
            ("TCP", "loom.example.com".to_owned(), Some("z9hG4bKloom1")),
            ("UDP", "192.168.255.9".to_owned(), Some("z9hG4bKloom2")),
        ]
    );
    assert_eq!(invite.headers.get(&HeaderName::SUBJECT), Some(""));
    assert_eq!(invite.headers.get(&HeaderName::new("newheader")), None);
    assert_eq!(invite.headers.get(&HeaderName::new("brandnewheader")), Some("first half second half"));
    assert_eq!(invite.headers.get(&HeaderName::new("HeaderOfSeparators")), Some(";;,,;;,;"));
    let routes = invite.headers.routes().expect("a Route");
    assert!(routes[0].uri.params.has("lr") && routes[0].uri.params.get("unheardof") == Some("value"));
    let Ok(Contacts::List(contacts)) = invite.headers.contacts() else { panic!("a Contact") };
    assert_eq!(contacts[0].display.as_deref(), Some("A quoted \"\" name"));
    assert_eq!((contacts[0].params.get("freshparam"), contacts[0].params.get("q")), (Some("freshvalue"), Some("0.25")));
    assert!(contacts[0].params.has("bareparam"));
    assert!(invite.body.ends_with(b"H261/90000\r\n"));
}

#[test]
fn the_wide_range_of_characters_is_kept() {
    let odd = request("4475-3.1.1.02-wide-range-of-characters");
    assert_eq!(odd.method, Method::Other("+odd-Method98765_*`.!%really'~".to_owned()));
    assert_eq!(odd.uri.user.as_deref(), Some("7_peculiar.Name~(so-it!is)&hasn't+a$care/mad?,/;;*"));
    assert_eq!(odd.uri.password.as_deref(), Some("&pw+is=9,odd!*too$much~of_it.(isn't-it)"));
    assert_eq!(odd.headers.to().map(|to| to.display), Ok(Some("BEL:\x07 NUL:\0 DEL:\x7f".to_owned())));
    let from = odd.headers.from().expect("a From");
    assert_eq!(from.display.as_deref(), Some("word1~` word2'+_ word3*%!.-"));
    assert_eq!(from.params.get("parFrom''~+*_!.-%"), Some("разговор"));
    assert_eq!(from.tag(), Some("_word~7'+`*%!-."));
    assert_eq!(odd.headers.get(&HeaderName::new("ownHeader-!.%*+_`'~")), Some("電話"));
}

#[test]
fn escapes_mean_what_they_stand_for_only_where_they_may_stand() {
    let escaped = request("4475-3.1.1.03-percent-escapes");
    assert_eq!(escaped.uri.user_unescaped().as_deref(), Some("sips:maya@example.com"));
    assert_eq!(escaped.headers.to().map(|to| to.uri.user_unescaped()), Ok(Some("maya1".to_owned())));
    let contact = escaped.headers.contact().expect("a Contact");
    assert!(
        contact.uri.same_as(&"sip:maya@host5.example.net;lr;key=val%2542".parse().expect("a URI"))
            || contact.uri.user_unescaped().as_deref() == Some("maya")
    );
    assert!(contact.uri.params.has("lr"));
    let literal = request("4475-3.1.1.05-percent-where-it-is-no-escape");
    assert_eq!(literal.method, Method::Other("OP%54IO%4ES".to_owned()));
    let Ok(Contacts::List(contacts)) = literal.headers.contacts() else { panic!("Contacts") };
    assert_eq!(contacts.len(), 2);
    assert_eq!(literal.headers.to().map(|to| to.display), Ok(Some("%Q%58".to_owned())));
    let nulls = request("4475-3.1.1.04-escaped-nulls");
    assert_eq!(nulls.headers.to().map(|to| to.uri.user_unescaped()), Ok(Some("nil-\0-nil".to_owned())));
    let Ok(Contacts::List(contacts)) = nulls.headers.contacts() else { panic!("Contacts") };
    assert!(!contacts[0].uri.same_as(&contacts[1].uri));
    assert!(contacts[0].uri.same_as(&contacts[0].uri));
}

#[test]
fn what_follows_the_content_length_in_a_datagram_is_cut() {
    let register = request("4475-3.1.1.08-octets-behind-the-datagrams-message");
    assert_eq!((register.method, register.body.len()), (Method::Register, 0));
}

#[test]
fn a_binary_body_comes_through_unharmed() {
    let wire = message("4475-3.1.1.11-multipart-message-with-binary-part");
    let read = request("4475-3.1.1.11-multipart-message-with-binary-part");
    assert!(wire.ends_with(&read.body) && read.body.contains(&0) && read.body.contains(&0xff));
    assert!(read.encode().ends_with(&read.body));
}

#[test]
fn long_values_and_many_vias_are_kept_whole() {
    let long = request("4475-3.1.1.07-long-values");
    let vias = long.headers.vias().expect("Vias");
    assert_eq!(vias.len(), 34);
    assert_eq!(vias[0].host, Host::Name("hop34.example.com".to_owned()));
    assert_eq!(vias[33].params.get("received"), Some("192.0.2.5"));
    assert!(vias[33].branch().is_some_and(|branch| branch.len() > 280));
}

#[test]
fn reason_phrases_come_through_as_they_are() {
    let odd = response("4475-3.1.1.12-unusual-reason-phrase");
    assert_eq!((odd.status, odd.reason.as_str()), (StatusCode::OK, "= 2**3 * 5**2 но сто семьдесят девять - простое"));
    let empty = response("4475-3.1.1.13-empty-reason-phrase");
    assert_eq!((empty.status, empty.reason.as_str()), (StatusCode::TRYING, ""));
}

#[test]
fn a_semicolon_may_stand_in_the_user_part_and_divides_a_bare_contact() {
    let semicolon = request("4475-3.1.1.09-semicolon-in-the-user-part");
    assert_eq!(semicolon.uri.user.as_deref(), Some("wen;ext=7%40example.net"));
    assert_eq!(semicolon.headers.tokens(&HeaderName::ACCEPT).len(), 6);
    let bare = request("4475-3.3.12-parameter-of-a-bare-contact").headers.contact().expect("a Contact");
    assert!(bare.params.has("neverheardof") && bare.uri.params.is_empty());
    let bracketed = request("4475-3.3.13-parameter-of-the-contacts-uri").headers.contact().expect("a Contact");
    assert!(bracketed.params.is_empty() && bracketed.uri.params.has("neverheardof"));
}

#[test]
fn foreign_schemes_are_kept_for_a_416() {
    assert_eq!(request("4475-3.3.02-unknown-scheme").uri.scheme, Scheme::Other("neverheardofit".to_owned()));
    let trade = request("4475-3.3.03-scheme-of-another-trade").uri;
    assert_eq!(trade.to_string(), "soap.beep://192.0.2.103:3002");
}

#[test]
fn an_answer_to_a_broken_request_carries_what_the_client_needs() {
    let error = Message::parse(&message("4475-3.1.2.06-quote-not-closed")).expect_err("the quote is open");
    let partial = error.partial.as_deref().expect("enough to answer");
    let answer = Response::to(partial, error.status().expect("a status"), Some("ours"));
    let text = String::from_utf8(answer.encode()).expect("UTF-8");
    assert_eq!(
        text,
        "SIP/2.0 400 Bad Request\r\n\
         To: \"Ms. Mia Quote <sip:m.ia@example.com>\r\n\
         From: sip:nick@example.net;tag=93334\r\n\
         Call-ID: quote.aksdj\r\n\
         CSeq: 8 INVITE\r\n\
         Via: SIP/2.0/UDP 192.0.2.59:5050;branch=z9hG4bKquo1\r\n\
         Content-Length: 0\r\n\r\n"
    );
}

#[test]
fn ipv6_references_are_addresses_with_and_without_a_port() {
    let with_port = |name: &str| {
        let uri = request(name).uri;
        (uri.host.map(|host| host.to_string()), uri.port)
    };
    assert_eq!(with_port("5118-4.01-ipv6-reference"), (Some("[2001:db8::11]".to_owned()), None));
    assert_eq!(with_port("5118-4.03-port-within-the-brackets"), (Some("[2001:db8::11:5070]".to_owned()), None));
    assert_eq!(with_port("5118-4.04-port-behind-the-brackets"), (Some("[2001:db8::11]".to_owned()), Some(5070)));
    let both = ["5118-4.05a-received-with-brackets", "5118-4.05b-received-without-brackets"];
    for name in both {
        let via = request(name).headers.via().expect("a Via");
        assert_eq!(via.received(), Some("2001:db8::a:255".parse().expect("an address")), "{name}");
    }
    let three = request("5118-4.10a-three-colons-as-the-old-grammar-says").uri;
    assert!(three.same_as(&request("5118-4.10b-two-colons").uri));
}
