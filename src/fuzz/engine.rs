//! Whole engines with a call in progress under hostile datagrams and stream bytes.

use super::town::Town;
use crate::api::{Command, Event, Reply};
use crate::engine::StreamEvent;
use crate::id::AccountId;
use crate::pbx::{PbxConfig, PbxUser};
use crate::secret::Secret;
use crate::sip::auth::Credentials;
use crate::sip::message::Message;
use crate::time::Duration;
use crate::ua::{AccountConfig, CallConfig, UaConfig};
use std::net::SocketAddr;

/// Stands between the datagrams of one input.
pub const SEPARATOR: &[u8] = b"\r\n\x0c\r\n";

const HERE: &str = "192.0.2.1:5060";
const THERE: &str = "192.0.2.2:5060";
const MIDDLE: &str = "192.0.2.9:5060";
/// Who never called; the torture messages claim to come from anywhere.
const STRANGER: &str = "198.51.100.66:5060";
/// Nobody answers there.
const NOBODY: &str = "sip:carol@192.0.2.3";

/// A softphone in a call, with a call of its own and a registration under way, gets the datagrams of an input from its
/// peer and from a stranger by turns: it may not stop or leave anything behind, and unless the input knows the tags of
/// the call, the call goes on and can be ended.
pub fn softphone(input: &[u8]) {
    let (mut town, [here, there]) = two_phones();
    let secrets = tags(&town, here);
    town.command(here, dial(NOBODY)).expect("a call may be placed");
    town.command(here, Command::Register { account: Some(AccountId(0)) }).expect("an account may register");
    town.take_outside();
    assail(&mut town, here, THERE, input);
    let knows = secrets.iter().any(|secret| holds(input, secret));
    if !knows {
        // A sound INVITE in the input may have made more calls of this kind.
        let talking = |town: &Town| town.nodes[here].host.states().iter().filter(|state| *state == "talking").count();
        let before = talking(&town);
        assert!(before > 0, "the call is up: {:?}", town.nodes[here].host.states());
        hang_up_from(&mut town, there);
        assert_eq!(talking(&town), before - 1, "the peer can hang up");
    }
    town.assert_comes_to_rest();
}

/// A PBX with a bridged call between two registered phones, under the same datagrams.
pub fn switchboard(input: &[u8]) {
    let (mut town, [pbx, alice, bob]) = bridged();
    let secrets = tags(&town, pbx);
    assail(&mut town, pbx, HERE, input);
    let knows = secrets.iter().any(|secret| holds(input, secret));
    if !knows {
        assert_eq!(town.nodes[pbx].host.states().len(), 2, "both legs are up");
        assert_eq!(town.nodes[bob].host.states(), ["talking"]);
        hang_up_from(&mut town, alice);
        assert_eq!(town.nodes[bob].host.states(), [""; 0], "the other phone hears of it");
    }
    town.assert_comes_to_rest();
}

/// What the node under attack hears in a plain run, one datagram after another: the corpus of both harnesses.
pub fn conversations() -> Vec<Vec<u8>> {
    let heard = |town: &Town, node: usize| -> Vec<Vec<u8>> {
        town.log.iter().filter(|(at, _)| *at == node).map(|(_, bytes)| bytes.clone()).collect()
    };
    let (mut town, [here, there]) = two_phones();
    hang_up_from(&mut town, there);
    let mut corpus = heard(&town, here);
    let (mut town, [pbx, alice, _]) = bridged();
    hang_up_from(&mut town, alice);
    corpus.extend(heard(&town, pbx));
    let whole = corpus.join(SEPARATOR);
    corpus.push(whole);
    corpus
}

/// Two softphones in a call that the second one placed.
fn two_phones() -> (Town, [usize; 2]) {
    let mut town = Town::default();
    let mut account = AccountConfig::new("a", uri("sip:bob@192.0.2.4"), uri("sip:192.0.2.4"));
    (account.register, account.auto_answer) = (false, Some(Duration::ZERO));
    let config = UaConfig { accounts: vec![account], accept_any: true, ..answering() };
    let here = town.ua(HERE, config);
    let there = town.ua(THERE, UaConfig::default());
    town.command(there, dial("sip:bob@192.0.2.1")).expect("a call may be placed");
    town.advance(Duration::from_millis(10));
    assert_eq!(town.nodes[here].host.states(), ["talking"]);
    (town, [here, there])
}

/// A PBX and two phones that have registered and talk.
fn bridged() -> (Town, [usize; 3]) {
    let mut town = Town::default();
    let users = ["alice", "bob"].map(|name| PbxUser::new(name, "pbx.example", &Secret::new(secret(name))));
    let config = PbxConfig { realm: "pbx.example".to_owned(), users: users.into(), ..PbxConfig::default() };
    let pbx = town.pbx(MIDDLE, config);
    let alice = town.ua(HERE, UaConfig { accounts: vec![account("alice")], ..UaConfig::default() });
    let bob = town.ua(THERE, UaConfig { accounts: vec![account("bob")], ..answering() });
    town.command(alice, dial("sip:bob@192.0.2.9")).expect("a call may be placed");
    town.advance(Duration::from_millis(10));
    assert_eq!(town.nodes[bob].host.states(), ["talking"]);
    (town, [pbx, alice, bob])
}

fn secret(name: &str) -> String {
    format!("{name}-secret")
}

fn account(name: &str) -> AccountConfig {
    let credentials = Credentials { user: name.to_owned(), password: Secret::new(secret(name)), realm: None };
    let mut account = AccountConfig::new(name, uri(&format!("sip:{name}@192.0.2.9")), uri("sip:192.0.2.9"));
    account.credentials = Some(credentials);
    account.auto_answer = Some(Duration::ZERO);
    account
}

fn answering() -> UaConfig {
    let call = CallConfig { auto_answer: Some(Duration::ZERO), max: 0, hold_others: false, ..CallConfig::default() };
    UaConfig { call, ..UaConfig::default() }
}

fn uri(text: &str) -> crate::sip::message::Uri {
    text.parse().expect("a literal URI")
}

fn dial(target: &str) -> Command {
    Command::Dial { target: target.to_owned(), account: None, audio: None }
}

fn hang_up_from(town: &mut Town, node: usize) {
    let placed = |event: &Event| if let Event::CallOutgoing { call, .. } = event { Some(*call) } else { None };
    let call = town.nodes[node].events.iter().find_map(placed).expect("it placed the call");
    assert_eq!(town.command(node, Command::HangUp { call }), Ok(Reply::Ok), "the call is there to be ended");
    town.advance(Duration::from_millis(10));
}

/// Sends the datagrams of an input, from the peer and from a stranger by turns; the last one also as a stream.
fn assail(town: &mut Town, node: usize, peer: &str, input: &[u8]) {
    let sources: [SocketAddr; 2] = [peer, STRANGER].map(|text| text.parse().expect("a literal address"));
    let mut last: &[u8] = b"";
    for (bytes, source) in split(input).zip(sources.iter().cycle()) {
        town.datagram(node, *source, bytes);
        town.advance(Duration::from_millis(200));
        last = bytes;
    }
    let conn = town.accept(node, 0, sources[1]);
    let (one, two) = last.split_at(last.len() / 2);
    for piece in [one, two] {
        town.stream(node, conn, StreamEvent::Data(piece));
    }
    town.stream(node, conn, StreamEvent::Closed);
    town.advance(Duration::from_secs(1));
    town.take_outside();
}

/// The datagrams of an input, at most sixteen.
fn split(input: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(input);
    std::iter::from_fn(move || {
        let bytes = rest?;
        let at = bytes.windows(SEPARATOR.len()).position(|found| found == SEPARATOR);
        rest = at.and_then(|at| bytes.get(at + SEPARATOR.len()..));
        bytes.get(..at.unwrap_or(bytes.len()))
    })
    .take(16)
}

/// The node's own tags, without which nothing may touch its dialogs: as its peers wrote them to it.
fn tags(town: &Town, node: usize) -> Vec<Vec<u8>> {
    let heard = town.log.iter().filter(|(at, _)| *at == node);
    let mut tags: Vec<_> = heard
        .filter_map(|(_, bytes)| match Message::parse(bytes).ok()? {
            Message::Request(request) => request.headers.to().ok(),
            Message::Response(response) => response.headers.from().ok(),
        })
        .filter_map(|address| address.tag().map(|tag| tag.as_bytes().to_vec()))
        .collect();
    tags.sort();
    tags.dedup();
    tags
}

fn holds(input: &[u8], part: &[u8]) -> bool {
    !part.is_empty() && input.windows(part.len()).any(|found| found == part)
}
