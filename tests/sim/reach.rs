//! How a phone is reached: the address that the server sees (RFC 3581), flows (RFC 5626), GRUU (RFC 5627), Path (RFC 3327)
//! and Service-Route (RFC 3608).

use crate::calls::{answered, ended, incoming};
use crate::kit::network::NatKind;
use crate::kit::script::{Heard, Server};
use crate::kit::{NodeId, World};
use crate::registration::{account, registered, users};
use bellwire::api::{Command, Event};
use bellwire::sip::message::{Contacts, HeaderName, Method, NameAddr, Response, StatusCode};
use bellwire::time::Duration;
use bellwire::ua::UaConfig;

const SERVER: &str = "10.0.0.100";
const URN: &str = "urn:uuid:f81d4fae-7dec-41d0-a765-00a0c91e6bf6";

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn phone() -> UaConfig {
    let mut phone = UaConfig { instance: Some(URN.into()), ..account("alice", SERVER, "alice-secret") };
    phone.accounts[0].gruu = true;
    phone
}

fn alone(config: UaConfig) -> (World, NodeId, Server) {
    let mut world = World::new(1);
    let registrar = Server::new(&mut world, "registrar", SERVER);
    let alice = world.ua("alice", &["10.0.0.1"], config);
    (world, alice, registrar)
}

fn contacts(heard: &Heard) -> Vec<NameAddr> {
    match heard.request.headers.contacts() {
        Ok(Contacts::List(list)) => list,
        other => panic!("{other:?}"),
    }
}

/// 200 with the contact of the request and more headers; `seen` goes into the Via as a NAT makes it.
fn accept(world: &mut World, registrar: Server, heard: &Heard, more: &[(HeaderName, &str)], seen: Option<(&str, u16)>) {
    let mut response = Response::to(&heard.request, StatusCode::OK, Some("srv"));
    if let Some((ip, port)) = seen {
        let mut via = response.headers.via().expect("a Via");
        via.params.set("received", ip);
        via.params.set("rport", port.to_string().as_str());
        response.headers.set(HeaderName::VIA, via.to_string());
    }
    let contact = contacts(heard).remove(0).with_param("expires", "600");
    let mut contact = contact.to_string();
    for (name, value) in more {
        if *name == HeaderName::CONTACT {
            contact += value;
        } else {
            response.headers.push(name.clone(), *value);
        }
    }
    response.headers.push(HeaderName::CONTACT, contact);
    registrar.send(world, heard, &response);
}

#[test]
fn a_phone_names_itself_its_flow_and_what_it_supports() {
    let (mut world, alice, registrar) = alone(phone());
    let heard = registrar.request(&mut world, Method::Register);
    let contact = &contacts(&heard)[0];
    assert_eq!(contact.params.get("+sip.instance"), Some(&*format!("<{URN}>")));
    assert_eq!(contact.params.get("reg-id"), Some("1"));
    assert!(contact.to_string().contains(&format!("+sip.instance=\"<{URN}>\"")), "{contact}");
    assert_eq!(heard.request.headers.tokens(&HeaderName::SUPPORTED), ["path", "gruu", "outbound"]);
    accept(&mut world, registrar, &heard, &[], None);
    world.run_until(alice, registered);
    // An account that wants no GRUU asks for none.
    let mut plain = phone();
    plain.accounts[0].gruu = false;
    let (mut world, _, registrar) = alone(plain);
    let heard = registrar.request(&mut world, Method::Register);
    assert_eq!(heard.request.headers.tokens(&HeaderName::SUPPORTED), ["path", "outbound"]);
    // Without a name there is no flow to tell of, and nothing that needs one.
    let (mut world, _, registrar) = alone(account("alice", SERVER, "x"));
    let heard = registrar.request(&mut world, Method::Register);
    assert!(contacts(&heard)[0].params.is_empty());
    assert_eq!(heard.request.headers.tokens(&HeaderName::SUPPORTED), ["path"]);
}

/// RFC 5626 §11.6.
#[test]
fn a_first_hop_without_outbound_gets_a_registration_without_flow() {
    let (mut world, alice, registrar) = alone(phone());
    let first = registrar.request(&mut world, Method::Register);
    registrar.reply(&mut world, &first, 439, &[]);
    let second = registrar.request(&mut world, Method::Register);
    assert!(contacts(&second)[0].params.get("reg-id").is_none());
    assert!(contacts(&second)[0].params.has("+sip.instance"));
    assert_eq!(second.request.headers.tokens(&HeaderName::SUPPORTED), ["path", "gruu"]);
    accept(&mut world, registrar, &second, &[], None);
    world.run_until(alice, registered);
}

#[test]
fn the_contact_follows_the_address_that_the_server_sees() {
    for with_name in [true, false] {
        let config = if with_name { phone() } else { account("alice", SERVER, "x") };
        let (mut world, alice, registrar) = alone(config);
        let first = registrar.request(&mut world, Method::Register);
        let before = contacts(&first)[0].uri.clone();
        accept(&mut world, registrar, &first, &[], Some(("203.0.113.7", 61_000)));
        let second = registrar.request(&mut world, Method::Register);
        let sent = contacts(&second);
        assert_eq!(
            (sent[0].uri.host.as_ref().map(ToString::to_string).as_deref(), sent[0].uri.port),
            (Some("203.0.113.7"), Some(61_000))
        );
        assert_eq!(sent[0].uri.user, before.user);
        // The old one goes: by its name, or by our word.
        match (with_name, sent.get(1)) {
            (true, None) => {}
            (false, Some(old)) => assert_eq!((&old.uri, old.params.get("expires")), (&before, Some("0"))),
            other => panic!("{other:?}"),
        }
        assert!(!world.events(alice).into_iter().any(registered), "not told yet");
        accept(&mut world, registrar, &second, &[], Some(("203.0.113.7", 61_000)));
        let event = world.run_until(alice, registered);
        assert!(
            matches!(&event, Event::Registered { contact, refreshed: false, .. } if contact.contains("203.0.113.7:61000")),
            "{event:?}"
        );
        // Calls say the same.
        world.dial(alice, "bob");
        let invite = registrar.request(&mut world, Method::Invite);
        assert_eq!(contacts(&invite)[0].uri, sent[0].uri);
        registrar.reply(&mut world, &invite, 486, &[]);
        world.run_until(alice, ended);
        world.run_for(secs(2));
        registrar.requests(&mut world);
        // The NAT changes its mind.
        let third = registrar.patient_request(&mut world, secs(600));
        accept(&mut world, registrar, &third, &[], Some(("203.0.113.8", 1024)));
        let fourth = registrar.request(&mut world, Method::Register);
        assert_eq!(contacts(&fourth)[0].uri.port, Some(1024));
        accept(&mut world, registrar, &fourth, &[], Some(("203.0.113.8", 1024)));
        // One that changes it with every packet is not run after.
        let mut heard = registrar.patient_request(&mut world, secs(600));
        for port in [2000, 2001, 2002] {
            accept(&mut world, registrar, &heard, &[], Some(("203.0.113.8", port)));
            world.run_for(secs(5));
            match registrar.requests(&mut world).pop() {
                Some(next) => heard = next,
                None => assert_eq!(port, 2002, "it gave up after two"),
            }
        }
        registrar.silence(&mut world, secs(20));
    }
}

#[test]
fn a_contact_is_left_alone_where_the_config_says_so() {
    let mut config = phone();
    config.accounts[0].contact_rewrite = false;
    let (mut world, alice, registrar) = alone(config);
    let first = registrar.request(&mut world, Method::Register);
    accept(&mut world, registrar, &first, &[], Some(("203.0.113.7", 61_000)));
    let event = world.run_until(alice, registered);
    assert!(matches!(&event, Event::Registered { contact, .. } if contact.contains("10.0.0.1")), "{event:?}");
    registrar.silence(&mut world, secs(20));
}

/// RFC 3608 §5.1, RFC 5627 §4.4.
#[test]
fn requests_take_the_service_route_and_show_the_gruu() {
    let (mut world, alice, registrar) = alone(phone());
    let edge = Server::new(&mut world, "edge", "10.0.0.50");
    let gruu = format!("sip:alice@example.org;gr={URN}");
    let given = format!(";pub-gruu=\"{gruu}\"");
    let more = [
        (HeaderName::CONTACT, given.as_str()),
        (HeaderName::SERVICE_ROUTE, "<sip:10.0.0.50;lr>"),
        (HeaderName::SERVICE_ROUTE, "<sip:home@core.example.org;lr>"),
    ];
    let heard = registrar.request(&mut world, Method::Register);
    accept(&mut world, registrar, &heard, &more, None);
    world.run_until(alice, registered);
    for target in ["bob", "sip:carol@elsewhere.example"] {
        world.dial(alice, target);
        let invite = edge.request(&mut world, Method::Invite);
        let routes: Vec<_> = invite.request.headers.get_all(&HeaderName::ROUTE).collect();
        assert_eq!(routes, ["<sip:10.0.0.50;lr>", "<sip:home@core.example.org;lr>"], "{target}");
        assert_eq!(contacts(&invite)[0].uri.to_string(), gruu);
        edge.reply(&mut world, &invite, 486, &[]);
        world.run_until(alice, ended);
        world.run_for(secs(1));
        edge.requests(&mut world);
    }
    world.command(alice, Command::Ping { target: "bob".into() }).unwrap();
    let options = edge.request(&mut world, Method::Options);
    assert_eq!(options.request.headers.get_all(&HeaderName::ROUTE).count(), 2);
    edge.reply(&mut world, &options, 200, &[]);
    // A REGISTER does not take it, and a 200 without one ends it.
    let refresh = registrar.patient_request(&mut world, secs(600));
    assert!(!refresh.request.headers.has(&HeaderName::ROUTE));
    assert!(contacts(&refresh)[0].uri.to_string().contains("@10.0.0.1"), "a REGISTER names the address, not the GRUU");
    accept(&mut world, registrar, &refresh, &[], None);
    world.run_for(secs(1));
    world.dial(alice, "bob");
    let invite = registrar.request(&mut world, Method::Invite);
    assert!(!invite.request.headers.has(&HeaderName::ROUTE));
    assert!(contacts(&invite)[0].uri.to_string().contains("@10.0.0.1"));
    registrar.reply(&mut world, &invite, 486, &[]);
    world.run_until(alice, ended);
}

/// Behind a NAT, with the whole stack: the server's view is what is registered, and calls come in along it.
#[test]
fn a_phone_behind_a_nat_registers_its_outer_address_and_is_called_there() {
    for (seed, kind) in (0..).zip([NatKind::FullCone, NatKind::PortRestricted, NatKind::Symmetric]) {
        let mut world = World::new(seed);
        let pbx = world.pbx("pbx", &["198.51.100.1"], users(&["alice", "bob"]));
        let config = UaConfig { instance: Some(URN.into()), ..account("alice", "198.51.100.1", "alice-secret") };
        let alice = world.ua_behind("alice", "192.168.1.10", kind, "203.0.113.1", config);
        let bob = world.ua("bob", &["198.51.100.20"], account("bob", "198.51.100.1", "bob-secret"));
        let event = world.run_until(alice, registered);
        assert!(matches!(&event, Event::Registered { contact, .. } if contact.contains("203.0.113.1:")), "{event:?}");
        world.run_until(bob, registered);
        let call = world.dial(bob, "sip:alice@198.51.100.1");
        let theirs = incoming(&mut world, alice);
        world.command(alice, Command::Answer { call: theirs, audio: None }).unwrap();
        world.run_until(bob, answered);
        world.run_for(secs(2));
        world.command(bob, Command::HangUp { call }).unwrap();
        world.run_until(alice, ended);
        let _ = pbx;
    }
}
