//! Session descriptions against a second reader, and the laws of offer and answer.

use bellwire::engine::Lease;
use bellwire::id::{SetId, SocketId};
use bellwire::media::codec::{CODECS, CodecSpec};
use bellwire::sdp::plan::{Direction, MediaPlan, PayloadTypes};
use bellwire::sdp::{
    Attribute, Capabilities, Connection, Host, MediaEncryption, NegotiationError, Negotiator, Sdp, Wish,
};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::time::Duration;

/// The same description as two readers see it, in words that both can be put into.
#[derive(Debug, PartialEq)]
struct Seen {
    origin: [String; 4],
    name: String,
    connection: Option<String>,
    bandwidths: Vec<String>,
    attributes: Vec<(String, String)>,
    media: Vec<SeenMedia>,
}

#[derive(Debug, PartialEq)]
struct SeenMedia {
    head: (String, u16, Option<u16>, String, String),
    connections: Vec<String>,
    bandwidths: Vec<String>,
    attributes: Vec<(String, String)>,
}

fn ours(sdp: &Sdp) -> Seen {
    let host = |host: &Host| match host {
        Host::Ip(ip) => ip.to_string(),
        Host::Name { name, .. } => name.clone(),
    };
    let connection = |connection: &Connection| match &connection.suffix {
        Some(suffix) => format!("{}/{suffix}", host(&connection.host)),
        None => host(&connection.host),
    };
    let attributes = |attributes: &[Attribute]| {
        let pair = |attribute: &Attribute| (attribute.name.clone(), attribute.value.clone().unwrap_or_default());
        attributes.iter().map(pair).collect()
    };
    let origin = &sdp.origin;
    Seen {
        origin: [origin.username.clone(), origin.session_id.clone(), origin.version.clone(), host(&origin.host)],
        name: sdp.name.clone(),
        connection: sdp.connection.as_ref().map(connection),
        bandwidths: sdp.bandwidths.clone(),
        attributes: attributes(&sdp.attributes),
        media: sdp
            .media
            .iter()
            .map(|m| SeenMedia {
                head: (m.kind.clone(), m.port, m.port_count, m.protocol.clone(), m.formats.join(" ")),
                connections: m.connections.iter().map(connection).collect(),
                bandwidths: m.bandwidths.clone(),
                attributes: attributes(&m.attributes),
            })
            .collect(),
    }
}

fn theirs(sdp: &sdp_types::Session) -> Seen {
    let attributes = |attributes: &[sdp_types::Attribute]| {
        let pair = |a: &sdp_types::Attribute| (a.attribute.clone(), a.value.clone().unwrap_or_default());
        attributes.iter().map(pair).collect()
    };
    let bandwidths = |bandwidths: &[sdp_types::Bandwidth]| {
        bandwidths.iter().map(|b| format!("{}:{}", b.bwtype, b.bandwidth)).collect()
    };
    let origin = &sdp.origin;
    Seen {
        origin: [
            origin.username.clone().unwrap_or_else(|| "-".into()),
            origin.sess_id.clone(),
            origin.sess_version.to_string(),
            origin.unicast_address.clone(),
        ],
        name: sdp.session_name.clone(),
        connection: sdp.connection.as_ref().map(|connection| connection.connection_address.clone()),
        bandwidths: bandwidths(&sdp.bandwidths),
        attributes: attributes(&sdp.attributes),
        media: sdp
            .medias
            .iter()
            .map(|m| SeenMedia {
                head: (m.media.clone(), m.port, m.num_ports, m.proto.clone(), m.fmt.clone()),
                connections: m.connections.iter().map(|connection| connection.connection_address.clone()).collect(),
                bandwidths: bandwidths(&m.bandwidths),
                attributes: attributes(&m.attributes),
            })
            .collect(),
    }
}

fn both_read(body: &[u8]) -> (Seen, Seen) {
    let text = String::from_utf8_lossy(body);
    let first = Sdp::parse(body).unwrap_or_else(|error| panic!("we refuse: {error}\n{text}"));
    let second = sdp_types::Session::parse(body).unwrap_or_else(|error| panic!("sdp-types refuses: {error}\n{text}"));
    (ours(&first), theirs(&second))
}

/// Descriptions in the manner of known phones, written by hand.
fn corpus() -> Vec<(String, Vec<u8>)> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/sdp");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .expect("the folder is there")
        .filter_map(|file| file.ok().map(|file| file.path()))
        .filter(|path| path.extension().is_some_and(|found| found == "sdp"))
        .map(|path| {
            let body = std::fs::read(&path).expect("a readable file");
            (path.file_stem().expect("a name").to_string_lossy().into_owned(), body)
        })
        .collect();
    files.sort();
    files
}

#[test]
fn descriptions_of_known_phones_read_as_sdp_types_reads_them_and_write_as_they_were() {
    let corpus = corpus();
    assert_eq!(corpus.len(), 7);
    for (name, body) in corpus {
        let (first, second) = both_read(&body);
        assert_eq!(first, second, "{name}");
        let written = Sdp::parse(&body).expect("it was read above").to_string();
        assert_eq!(written, String::from_utf8(body).expect("the corpus is text"), "{name}");
    }
}

#[test]
#[cfg(feature = "opus")]
fn each_known_phone_gets_the_answer_that_fits_it() {
    let capabilities = Capabilities::default();
    let answer = |name: &str, wish: &Wish<'_>| {
        let (_, body) = corpus().into_iter().find(|(found, _)| found == name).expect("a file of the corpus");
        let mut negotiator = Negotiator::new(1, "-");
        negotiator.handle_offer(Sdp::parse(&body).expect("a readable file")).expect("nothing waits");
        negotiator.answer(wish).map(|(answer, plan)| {
            let heads: Vec<_> = answer
                .media
                .iter()
                .map(|media| format!("{} {} {}", media.kind, media.port, media.formats.join(" ")))
                .collect();
            let stream = &plan.streams[0];
            (heads.join(", "), stream.codec.name.clone(), stream.dtmf.map(|dtmf| dtmf.pt.send), stream.direction)
        })
    };
    let (direction, encryption) = (Direction::SendRecv, MediaEncryption::Off);
    let v4 = Wish { capabilities: &capabilities, lease: lease("192.0.2.1"), direction, latch: false, encryption };
    let v6 = Wish { lease: lease("2001:db8::1"), ..v4 };
    let both = Direction::SendRecv;
    assert_eq!(answer("asterisk", &v4), Ok(("audio 4000 107 9 0 8 101".into(), "opus".into(), Some(101), both)));
    assert_eq!(
        answer("linphone", &v6),
        Ok(("audio 4000 96 0 8 99 100, video 0 96".into(), "opus".into(), Some(99), both))
    );
    assert_eq!(
        answer("baresip", &v4),
        Ok(("audio 0 111 0, audio 0 0, audio 4000 8 0 101, application 0 *".into(), "pcma".into(), Some(101), both))
    );
    assert_eq!(answer("pjsua", &v4), Ok(("audio 4000 0 8 9 96".into(), "pcmu".into(), Some(96), both)));
    assert_eq!(answer("hold", &v4), Ok(("audio 4000 0 8 101".into(), "pcmu".into(), Some(101), Direction::RecvOnly)));
    let fax = vec!["audio RTP/AVP (port 0)".to_owned(), "image udptl".to_owned()];
    assert_eq!(answer("fax", &v4), Err(NegotiationError::NoAudio { offered: fax }));
    assert_eq!(
        answer("session", &v4),
        Ok(("audio 4000 0, text 0 98".into(), "pcmu".into(), None, Direction::SendOnly))
    );
}

#[test]
fn hostile_descriptions_are_answered_or_refused_first_and_later_and_cost_no_session() {
    let head = "v=0\no=- 1 1 IN IP4 192.0.2.9\ns=-\nc=IN IP4 192.0.2.9\nt=0 0\n";
    let audio = "m=audio 5000 RTP/AVP 0\n";
    let capabilities = Capabilities::default();
    let wish = Wish {
        capabilities: &capabilities,
        lease: lease("192.0.2.1"),
        direction: Direction::SendRecv,
        latch: false,
        encryption: MediaEncryption::Preferred,
    };
    let most = format!("m=audio 5000 RTP/AVP{}\n", (0..64).map(|n| format!(" {n}")).collect::<String>());
    let answered = Ok(());
    for (lines, expected) in [
        (format!("{audio}{}", "m=audio 0 RTP/AVP 0\n".repeat(999)), Err(488)),
        (format!("m=audio 5000 RTP/AVP{}\n", " 0".repeat(65)), Err(488)),
        (format!("{most}{}", "a=rtpmap:0 PCMU/8000\n".repeat(3000)), answered),
        (most.repeat(32), answered),
        ("m=audio 5000 RTP/AVP 0".into(), answered),
        (format!("{audio}b=\nb=AS\nb=:\n"), answered),
        (format!("{audio}a=fmtp:\na=fmtp:0\na=fmtp:0 \na=fmtp\n"), answered),
        (format!("{audio}a=rtcp-fb:0\na=rtcp-fb:*\na=rtcp-fb\n"), answered),
        ("m=audio 5000 RTP/AVP 255\n".into(), Err(488)),
        ("m=audio 5000 RTP/AVP 0 255 -1 x\n".into(), answered),
        (format!("{audio}a=ptime:0\n"), answered),
        (format!("{audio}a=ptime:2147483648\na=maxptime:-1\n"), answered),
        (format!("{audio}a=rtpmap:0 PCMU/0\n"), answered),
        (format!("{audio}a=rtpmap:0 PCMU/99999999999\n"), answered),
        (format!("{audio}a=rtpmap:0 PCMU/16000\n"), Err(488)),
        (format!("{audio}c=IN IP4 sbc.example.org\n"), Err(488)),
        (format!("{audio}c=IN IP4 0.0.0.0\n"), answered),
        (format!("{audio}c=IN IP4 255.255.255.255\n"), Err(488)),
        (format!("{audio}c=IN IP4\n"), Err(400)),
        (format!("{audio}c=IN IP6 ::ffff:192.0.2.9\n"), answered),
        (format!("{audio}c=IN IP6 ::ffff:224.0.0.9\n"), Err(488)),
        (format!("{audio}c=IN IP6 2001:db8::9\n"), Err(488)),
        ("m=audio 65536 RTP/AVP 0\n".into(), Err(400)),
    ] {
        let body = format!("{head}{lines}");
        let mut fresh = Negotiator::new(1, "-");
        let mut engaged = Negotiator::new(1, "-");
        engaged.handle_offer(Sdp::parse(format!("{head}{audio}").as_bytes()).expect("plain")).expect("nothing waits");
        engaged.answer(&wish).expect("PCMU is common");
        for negotiator in [&mut fresh, &mut engaged] {
            let before = (negotiator.local().cloned(), negotiator.remote().cloned());
            let outcome = Sdp::parse(body.as_bytes()).map_err(|error| error.status()).and_then(|offer| {
                negotiator.handle_offer(offer).expect("nothing waits");
                negotiator.answer(&wish).map(|_| ()).map_err(|error| error.status())
            });
            let shown: String = lines.chars().take(100).collect();
            assert_eq!(outcome, expected, "{shown}");
            assert!(
                outcome.is_ok() || (negotiator.local().cloned(), negotiator.remote().cloned()) == before,
                "{shown}"
            );
        }
    }
}

fn lease(host: &str) -> Lease {
    let address = |port| (host.parse::<std::net::IpAddr>().expect("a test address"), port).into();
    let (rtp_addr, rtcp_addr) = (address(4000), address(4001));
    Lease { set: SetId(0), rtp: SocketId(0), rtcp: SocketId(1), rtp_addr, rtcp_addr }
}

/// A well-formed description with lines of every kind that both readers know.
fn description() -> impl Strategy<Value = String> {
    let word = "[a-zA-Z0-9][a-zA-Z0-9._-]{0,9}";
    let value = "[a-zA-Z0-9/;=,.*-]([a-zA-Z0-9/;=,.* :-]{0,20}[a-zA-Z0-9/;=,.*-])?";
    let host =
        prop_oneof!["IP4 (192[.]0[.]2|10[.]9[.]8)[.][1-9]", "IP6 2001:db8::[1-9a-f]", "IP4 [a-z]{1,8}[.]example"];
    let connection = prop_oneof![host.clone(), "IP4 233[.]252[.]0[.][1-9]/[1-9][0-9]?(/[1-9])?".prop_map(|text| text)];
    let attribute = (word, proptest::option::of(value)).prop_map(|(name, value)| match value {
        Some(value) => format!("a={name}:{value}\r\n"),
        None => format!("a={name}\r\n"),
    });
    let attributes = proptest::collection::vec(attribute, 0..6).prop_map(|lines| lines.concat());
    let bandwidth = (word, any::<u32>()).prop_map(|(name, value)| format!("b={name}:{value}\r\n"));
    let bandwidths = proptest::collection::vec(bandwidth, 0..3).prop_map(|lines| lines.concat());
    let connections = proptest::collection::vec(connection.clone(), 0..3)
        .prop_map(|hosts| hosts.iter().map(|host| format!("c=IN {host}\r\n")).collect::<String>());
    let head = (word, any::<u16>(), proptest::option::of(1_u16..9), word, proptest::collection::vec(word, 1..8));
    let media = (head, connections, bandwidths.clone(), attributes.clone()).prop_map(
        |((kind, port, count, protocol, formats), connections, bandwidths, attributes)| {
            let count = count.map(|count| format!("/{count}")).unwrap_or_default();
            let formats = formats.join(" ");
            format!("m={kind} {port}{count} {protocol} {formats}\r\n{connections}{bandwidths}{attributes}")
        },
    );
    let media = proptest::collection::vec(media, 0..5).prop_map(|media| media.concat());
    let origin = (word, any::<u64>(), any::<u64>(), host)
        .prop_map(|(name, id, version, host)| format!("o={name} {id} {version} IN {host}\r\n"));
    let connection = proptest::option::of(connection)
        .prop_map(|host| host.map(|host| format!("c=IN {host}\r\n")).unwrap_or_default());
    (origin, value, connection, bandwidths, attributes, media).prop_map(
        |(origin, name, connection, bandwidths, attributes, media)| {
            format!("v=0\r\n{origin}s={name}\r\n{connection}{bandwidths}t=0 0\r\n{attributes}{media}")
        },
    )
}

/// What one side brings to an exchange.
#[derive(Debug, Clone)]
struct Side {
    codecs: Vec<&'static CodecSpec>,
    dtmf: bool,
    direction: Direction,
}

fn side() -> impl Strategy<Value = Side> {
    let all: Vec<_> = CODECS.iter().collect();
    let codecs = proptest::sample::subsequence(all, 1..=CODECS.len()).prop_shuffle();
    let direction = prop_oneof![
        Just(Direction::SendRecv),
        Just(Direction::SendOnly),
        Just(Direction::RecvOnly),
        Just(Direction::Inactive)
    ];
    (codecs, any::<bool>(), direction).prop_map(|(codecs, dtmf, direction)| Side { codecs, dtmf, direction })
}

fn capabilities(side: &Side) -> Capabilities {
    Capabilities::new(side.codecs.clone(), side.dtmf, Duration::from_millis(20))
}

fn wish<'a>(capabilities: &'a Capabilities, side: &Side, host: &str) -> Wish<'a> {
    Wish { capabilities, lease: lease(host), direction: side.direction, latch: false, encryption: MediaEncryption::Off }
}

/// One exchange through the wire; the plans of offerer and answerer with the two descriptions.
fn exchange(
    offerer: &mut Negotiator,
    answerer: &mut Negotiator,
    sides: [&Side; 2],
) -> Result<(Sdp, Sdp, MediaPlan, MediaPlan), NegotiationError> {
    let reread = |sdp: Sdp| Sdp::parse(&sdp.encode()).expect("our own writing");
    let (ours, theirs) = (capabilities(sides[0]), capabilities(sides[1]));
    let offer = reread(offerer.offer(&wish(&ours, sides[0], "192.0.2.1")).expect("nothing waits"));
    answerer.handle_offer(offer.clone()).expect("nothing waits");
    let answered = answerer.answer(&wish(&theirs, sides[1], "192.0.2.2"));
    if answered.is_err() {
        offerer.rollback();
    }
    let (answer, far) = answered?;
    let answer = reread(answer);
    let near = offerer.handle_answer(answer.clone()).expect("an answer to what was offered");
    Ok((offer, answer, near, far))
}

/// The meaning of every number in the audio line, and no number twice.
fn meanings(sdp: &Sdp) -> BTreeMap<String, String> {
    let media = &sdp.media[0];
    let mut meanings = BTreeMap::new();
    for value in media.attributes_named("rtpmap") {
        let (number, name) = value.split_once(' ').expect("our own rtpmap");
        assert_eq!(meanings.insert(number.to_owned(), name.to_owned()), None, "{sdp}");
    }
    assert_eq!(meanings.len(), media.formats.len(), "{sdp}");
    meanings
}

/// The same description from a peer that counts its dynamic numbers from elsewhere.
fn renumbered(sdp: &Sdp, shift: u8) -> Sdp {
    let other = |number: &str| match number.parse::<u8>().expect("our own number") {
        fixed @ ..96 => fixed.to_string(),
        dynamic => (96 + (dynamic - 96 + shift) % 32).to_string(),
    };
    let mut sdp = sdp.clone();
    for media in &mut sdp.media {
        media.formats = media.formats.iter().map(|number| other(number)).collect();
        for attribute in media.attributes.iter_mut().filter(|a| a.is("rtpmap") || a.is("fmtp")) {
            let value = attribute.value.take().expect("both have values");
            let (number, rest) = value.split_once(' ').expect("both have two words");
            attribute.value = Some(format!("{} {rest}", other(number)));
        }
    }
    sdp
}

fn mirrored(pt: PayloadTypes) -> PayloadTypes {
    PayloadTypes { send: pt.recv, recv: pt.send }
}

fn check(offer: &Sdp, answer: &Sdp, near: &MediaPlan, far: &MediaPlan, sides: [&Side; 2]) {
    let (near, far) = (&near.streams[0], &far.streams[0]);
    let (offered, answered) = (meanings(offer), meanings(answer));
    let order = |sdp: &Sdp, names: &BTreeMap<String, String>| -> Vec<String> {
        sdp.media[0].formats.iter().map(|number| names[number].clone()).collect()
    };
    let kept: Vec<_> = {
        let names = order(answer, &answered);
        order(offer, &offered).into_iter().filter(|name| names.contains(name)).collect()
    };
    assert_eq!(order(answer, &answered), kept, "the answer keeps the offer's order");
    let first = sides[0].codecs.iter().find(|spec| sides[1].codecs.iter().any(|other| other.name == spec.name));
    assert_eq!(Some(near.codec.name.as_str()), first.map(|spec| spec.name), "the offerer's first common codec");
    assert_eq!(near.direction, far.direction.reversed());
    let (a, b) = (sides[0].direction, sides[1].direction);
    let agreed = Direction::from_halves(a.sends() && b.receives(), a.receives() && b.sends());
    assert_eq!(near.direction, agreed);
    assert_eq!(near.receive.len(), far.receive.len());
    for (one, other) in near.receive.iter().zip(&far.receive) {
        assert_eq!((&one.name, one.clock_rate, one.channels), (&other.name, other.clock_rate, other.channels));
        assert_eq!(one.pt, mirrored(other.pt), "each sends what the other expects");
        assert_eq!((&one.send_fmtp, &one.recv_fmtp), (&other.recv_fmtp, &other.send_fmtp));
    }
    assert_eq!(near.dtmf.map(|dtmf| (mirrored(dtmf.pt), dtmf.clock_rate)), far.dtmf.map(|d| (d.pt, d.clock_rate)));
    assert_eq!(
        near.dtmf.map(|dtmf| dtmf.clock_rate),
        (sides[0].dtmf && sides[1].dtmf).then_some(near.codec.clock_rate)
    );
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn well_formed_descriptions_read_as_sdp_types_reads_them_and_write_as_they_were(body in description()) {
        let (first, second) = both_read(body.as_bytes());
        prop_assert_eq!(first, second);
        prop_assert_eq!(Sdp::parse(body.as_bytes()).expect("it was read above").to_string(), body);
    }

    #[test]
    fn both_sides_of_any_exchange_agree_and_it_fails_only_without_a_common_codec(a in side(), b in side()) {
        let (mut one, mut two) = (Negotiator::new(1, "a"), Negotiator::new(2, "b"));
        let is_common = a.codecs.iter().any(|spec| b.codecs.iter().any(|other| other.name == spec.name));
        match exchange(&mut one, &mut two, [&a, &b]) {
            Ok((offer, answer, near, far)) => {
                prop_assert!(is_common);
                check(&offer, &answer, &near, &far, [&a, &b]);
            }
            Err(error) => {
                prop_assert!(!is_common, "{error}");
                let is_that = matches!(error, NegotiationError::NoCommonCodec { .. });
                prop_assert!(is_that, "{error}");
                prop_assert!(!one.has_pending_offer() && !two.has_pending_offer());
            }
        }
    }

    #[test]
    fn over_many_exchanges_numbers_keep_their_meaning_and_versions_count_changes(
        steps in proptest::collection::vec((any::<bool>(), side(), side()), 1..8)
    ) {
        let mut ends = [Negotiator::new(1, "a"), Negotiator::new(2, "b")];
        let mut known = [BTreeMap::new(), BTreeMap::new()];
        let mut sent: [Option<Sdp>; 2] = [None, None];
        for (turned, a, b) in steps {
            let [one, two] = &mut ends;
            let (offerer, answerer, from) = if turned { (two, one, 1) } else { (one, two, 0) };
            let Ok((offer, answer, near, far)) = exchange(offerer, answerer, [&a, &b]) else {
                sent[from] = None; // the refused offer had a version too
                continue;
            };
            check(&offer, &answer, &near, &far, [&a, &b]);
            for (end, sdp) in [(from, offer), (1 - from, answer)] {
                for (number, name) in meanings(&sdp) {
                    let before = known[end].insert(number.clone(), name.clone());
                    prop_assert!(before.is_none() || before.as_ref() == Some(&name), "{number} was {before:?}, is {name}");
                }
                if let Some(last) = sent[end].replace(sdp.clone()) {
                    let version = |sdp: &Sdp| sdp.origin.version.parse::<u64>().expect("our own number");
                    let mut same = sdp.clone();
                    same.origin.version = last.origin.version.clone();
                    prop_assert_eq!(version(&sdp), version(&last) + u64::from(same != last));
                    prop_assert_eq!(&sdp.origin.session_id, &last.origin.session_id);
                }
            }
        }
    }

    #[test]
    fn we_send_by_the_peers_numbers_and_receive_by_ours_however_it_renumbers(
        steps in proptest::collection::vec((any::<bool>(), side(), side(), 0_u8..32), 1..8)
    ) {
        let mut ours = Negotiator::new(1, "a");
        let mut known = BTreeMap::new();
        for (we_offer, a, b, shift) in steps {
            let mut peer = Negotiator::new(2, "b");
            let (can_a, can_b) = (capabilities(&a), capabilities(&b));
            let (wish_a, wish_b) = (wish(&can_a, &a, "192.0.2.1"), wish(&can_b, &b, "192.0.2.2"));
            let (sent, got, plan) = if we_offer {
                let offer = ours.offer(&wish_a).expect("nothing waits");
                peer.handle_offer(offer.clone()).expect("nothing waits");
                let Ok((answer, _)) = peer.answer(&wish_b) else {
                    ours.rollback();
                    continue;
                };
                let answer = renumbered(&answer, shift);
                let plan = ours.handle_answer(answer.clone()).expect("an answer to what was offered");
                (offer, answer, plan)
            } else {
                let offer = renumbered(&peer.offer(&wish_b).expect("nothing waits"), shift);
                ours.handle_offer(offer.clone()).expect("nothing waits");
                let Ok((answer, plan)) = ours.answer(&wish_a) else { continue };
                (answer, offer, plan)
            };
            let (announced, theirs) = (meanings(&sent), meanings(&got));
            for (number, name) in &announced {
                let before = known.insert(number.clone(), name.clone());
                prop_assert!(before.is_none() || before.as_ref() == Some(name), "{number} was {before:?}, is {name}");
            }
            let stream = &plan.streams[0];
            let events = stream.dtmf.map(|dtmf| (format!("telephone-event/{}", dtmf.clock_rate), dtmf.pt));
            let codecs = stream.receive.iter().map(|codec| {
                let channels = if codec.channels > 1 { format!("/{}", codec.channels) } else { String::new() };
                (format!("{}/{}{channels}", codec.name, codec.clock_rate), codec.pt)
            });
            for (name, pt) in codecs.chain(events) {
                for (numbers, number) in [(&theirs, pt.send), (&announced, pt.recv)] {
                    let meaning = numbers.get(&number.to_string()).map(|name| name.to_ascii_lowercase());
                    prop_assert_eq!(meaning.as_ref(), Some(&name));
                }
            }
        }
    }
}
