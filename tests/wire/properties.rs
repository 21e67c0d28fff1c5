//! Laws that hold for every message: round trips, the comparison of URIs, and work that grows with the input's length.

use crate::generate::Generator;
use bellwire::sip::message::{HeaderName, Message, NameAddr, Params, Uri, Via};
use proptest::prelude::*;
use std::time::Duration;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn what_is_written_is_read_the_same(seed: u64) {
        let wire = Generator::new(seed).message(true);
        let message = Message::parse(&wire).unwrap_or_else(|error| panic!("{error}\n{}", String::from_utf8_lossy(&wire)));
        let written = message.encode();
        let read = Message::parse(&written).expect("our own writing is read");
        prop_assert_eq!(&read, &message);
        prop_assert_eq!(read.encode(), written, "written twice it is the same bytes");
    }

    #[test]
    fn typed_values_come_through_their_text(seed: u64) {
        let mut generator = Generator::new(seed);
        let uri: Uri = generator.uri().parse().expect("a URI");
        prop_assert_eq!(&uri.to_string().parse::<Uri>().expect("ours"), &uri);
        let via: Via = generator.via().replace("\r\n", "").parse().expect("a Via");
        prop_assert_eq!(&via.to_string().parse::<Via>().expect("ours"), &via);
        let address: NameAddr = generator.name_addr(true, true).replace("\r\n", "").parse().expect("an address");
        prop_assert_eq!(&address.to_string().parse::<NameAddr>().expect("ours"), &address);
    }

    #[test]
    fn any_display_name_and_parameter_value_comes_through(name in "[^\r\n]{0,20}", value in "[^\r\n]{0,20}", user in "[^\r\n]{1,12}") {
        let uri = Uri::sip(user.as_str(), "192.0.2.1".parse::<std::net::IpAddr>().expect("an address"));
        prop_assert_eq!(uri.user_unescaped(), Some(user));
        let address = NameAddr::new(uri).with_display(name.clone()).with_param("p", value.as_str());
        let read: NameAddr = address.to_string().parse().expect("ours");
        prop_assert_eq!(read.params.get("p"), Some(value.as_str()));
        prop_assert_eq!(read.display.as_deref(), Some(name.as_str()));
        prop_assert_eq!(read.uri.to_string(), address.uri.to_string());
    }

    #[test]
    fn a_uri_is_the_same_as_itself_in_any_spelling(seed: u64) {
        let text = Generator::new(seed).uri();
        let uri: Uri = text.parse().expect("a URI");
        prop_assert!(uri.same_as(&uri));
        let escaped: Uri = text.replacen("sip", "SIP", 1).replace("%41", "A").parse().expect("a URI");
        prop_assert!(uri.same_as(&escaped) && escaped.same_as(&uri), "{} {}", uri, escaped);
        prop_assert!(!uri.same_as(&uri.clone().with_param("maddr", "192.0.2.250")));
    }

    #[test]
    fn any_bytes_at_all_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), text in "\\PC{0,200}") {
        bellwire::fuzz::sip_message(&bytes);
        bellwire::fuzz::sip_message(text.as_bytes());
        bellwire::fuzz::sip_message(format!("OPTIONS sip:a@h SIP/2.0\r\n{text}\r\n\r\n").as_bytes());
        let _ = (text.parse::<Uri>(), text.parse::<NameAddr>(), text.parse::<Via>());
    }
}

#[test]
fn uris_compare_as_rfc_3261_19_1_4_lists() {
    let same = [
        ("sip:%61lice@atlanta.com;transport=TCP", "sip:alice@AtLanTa.CoM;Transport=tcp"),
        ("sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5"),
        ("sip:carol@chicago.com", "sip:carol@chicago.com;security=on"),
        (
            "sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com",
            "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com",
        ),
        (
            "sip:alice@atlanta.com?subject=project%20x&priority=urgent",
            "sip:alice@atlanta.com?priority=urgent&subject=project%20x",
        ),
        ("tel:+1-201-555-0123", "tel:+12015550123"),
        ("tel:+1(201)555.0123;ext=7", "tel:+12015550123;EXT=7"),
    ];
    let unlike = [
        ("SIP:ALICE@AtLanTa.CoM;Transport=udp", "sip:alice@AtLanTa.CoM;Transport=UDP"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com:6000;transport=tcp"),
        ("sip:carol@chicago.com", "sip:carol@chicago.com?Subject=next%20meeting"),
        ("sip:bob@phone21.boxesbybob.com", "sip:bob@192.0.2.4"),
        ("sip:carol@chicago.com;security=on", "sip:carol@chicago.com;security=off"),
        ("sip:bob@biloxi.com", "sips:bob@biloxi.com"),
        ("sip:bob@biloxi.com", "sip:biloxi.com"),
        ("sip:bob@biloxi.com;user=phone", "sip:bob@biloxi.com"),
        ("tel:+12015550123", "tel:+12015550123;ext=7"),
        ("urn:a:b", "urn:a:c"),
    ];
    let uri = |text: &str| text.parse::<Uri>().unwrap_or_else(|error| panic!("{text}: {error}"));
    for (a, b) in same {
        assert!(uri(a).same_as(&uri(b)) && uri(b).same_as(&uri(a)), "{a} {b}");
    }
    for (a, b) in unlike {
        assert!(!uri(a).same_as(&uri(b)) && !uri(b).same_as(&uri(a)), "{a} {b}");
    }
}

#[test]
fn parameters_are_set_in_their_place_and_found_without_regard_to_case() {
    let mut address: NameAddr = "<sip:a@h>;Tag=x;q=0.5;ob".parse().expect("an address");
    address.params.set("tag", "y");
    address.params.set("expires", "60");
    assert!(address.params.remove("Q") && !address.params.remove("q"));
    assert_eq!(address.to_string(), "<sip:a@h>;Tag=y;ob;expires=60");
    let mut params = Params::new();
    params.set("text", "a \"b\"");
    params.set("flag", None);
    assert_eq!(params.to_string(), ";text=\"a \\\"b\\\"\";flag");
    assert_eq!(params.iter().collect::<Vec<_>>(), [("text", Some("a \"b\"")), ("flag", None)]);
}

#[test]
fn headers_are_changed_in_their_place() {
    let wire = b"OPTIONS sip:a@h SIP/2.0\r\nVia: SIP/2.0/UDP a\r\nFrom: <sip:a@h>;tag=1\r\nVia: SIP/2.0/UDP b\r\nTo: <sip:a@h>\r\nCall-ID: c\r\nCSeq: 1 OPTIONS\r\nVia: SIP/2.0/UDP c\r\n\r\n";
    let Ok(Message::Request(mut request)) = Message::parse(wire) else { panic!("a request") };
    request.headers.push_front(HeaderName::VIA, "SIP/2.0/UDP zero");
    assert_eq!(request.headers.pop_front(&HeaderName::new("v")).as_deref(), Some("SIP/2.0/UDP zero"));
    request.headers.set(HeaderName::VIA, "SIP/2.0/UDP one");
    let names: Vec<_> = request.headers.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(names, ["Via=SIP/2.0/UDP one", "From=<sip:a@h>;tag=1", "To=<sip:a@h>", "Call-ID=c", "CSeq=1 OPTIONS"]);
    assert!(request.headers.remove(&HeaderName::VIA) && !request.headers.remove(&HeaderName::VIA));
}

/// The processor time of this thread, which a busy machine does not lengthen.
fn processor_time() -> Duration {
    let time = nix::time::clock_gettime(nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID).expect("Linux has this clock");
    Duration::new(
        u64::try_from(time.tv_sec()).expect("no negative time"),
        u32::try_from(time.tv_nsec()).expect("below a second"),
    )
}

/// The shortest of several runs.
fn cost(wire: &[u8]) -> Duration {
    let once = || {
        let start = processor_time();
        for _ in 0..8 {
            let _ = std::hint::black_box(Message::parse(std::hint::black_box(wire)));
        }
        processor_time() - start
    };
    (0..12).map(|_| once()).min().expect("twelve runs")
}

#[test]
fn twice_as_much_of_anything_takes_about_twice_as_long() {
    let head = "OPTIONS sip:a@h SIP/2.0\r\nFrom: <sip:a@h>;tag=1\r\nTo: <sip:a@h>\r\nCall-ID: c\r\nCSeq: 1 OPTIONS\r\nVia: SIP/2.0/UDP a\r\n";
    type Row = (&'static str, usize, fn(usize) -> String);
    let rows: [Row; 9] = [
        ("unknown headers", 240, |n| (0..n).map(|k| format!("X-{k}: value\r\n")).collect()),
        ("single headers doubled", 1_024, |n| "Expires: 1\r\n".repeat(n)),
        ("list elements", 240, |n| format!("Allow: {}\r\n", "A, ".repeat(n))),
        ("contacts", 240, |n| "Contact: <sip:a@h>;q=1\r\n".repeat(n)),
        ("commas", 4_096, |n| format!("Allow: {}\r\n", ",".repeat(n))),
        ("parameters", 1_024, |n| format!("Contact: <sip:a@h>{}\r\n", ";a=b".repeat(n))),
        ("uri parameters", 1_024, |n| format!("Contact: <sip:a@h{}>\r\n", ";a=b".repeat(n))),
        ("folds", 1_024, |n| format!("Subject: a\r\n{}", " b\r\n".repeat(n))),
        ("quotes", 1_024, |n| format!("Contact: {}<sip:a@h>\r\n", "\"\\\"\" ".repeat(n))),
    ];
    for (name, most, lines) in rows {
        let wire = |n: usize| format!("{head}{}\r\n", lines(n)).into_bytes();
        // A first ratio over the bound may be the machine's doing; thrice over it is ours.
        let ratios: Vec<f64> = (0..3)
            .map(|_| cost(&wire(most)).as_secs_f64() / cost(&wire(most / 2)).as_secs_f64())
            .take_while(|ratio| *ratio > 2.3)
            .collect();
        assert!(ratios.len() < 3, "{name}: twice the input takes {ratios:?} times as long");
    }
}
