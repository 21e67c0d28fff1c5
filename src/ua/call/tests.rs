//! Changes that we ask for ourselves, as the PBX does: what the softphone never sends yet.

mod glare;

use super::*;
use crate::engine::{BoundSocket, FlowVia};
use crate::id::{CallHandle, SocketId};
use crate::rng::Rng;
use crate::sip::endpoint::{Endpoint, EndpointOutput, Limits};
use crate::sip::message::Message;
use crate::time::Duration;
use std::collections::VecDeque;

const HERE: &str = "192.0.2.1:5060";
const THERE: &str = "192.0.2.2:5060";

/// One caller with what it sent and said.
struct Caller {
    now: Instant,
    endpoint: Endpoint,
    rng: Rng,
    logins: BTreeMap<AccountId, crate::ua::login::Login>,
    calls: Calls,
    sent: VecDeque<Request>,
}

impl Caller {
    fn new() -> Self {
        let mut rng = Rng::new([7; 32]);
        let socket = BoundSocket { socket: SocketId(1), local: HERE.parse().expect("an address") };
        let now = Instant::ZERO;
        let endpoint = Endpoint::new(now, rng.fork(), vec![socket], Vec::new(), Limits::NONE);
        Self { now, endpoint, rng, logins: BTreeMap::new(), calls: Calls::new(), sent: VecDeque::new() }
    }

    fn act<R>(&mut self, act: impl FnOnce(Instant, &mut Calls, &mut Core<'_>) -> R) -> R {
        let mut core = Core { endpoint: &mut self.endpoint, rng: &mut self.rng, logins: &mut self.logins };
        let result = act(self.now, &mut self.calls, &mut core);
        while let Some(output) = core.endpoint.poll_output() {
            match output {
                EndpointOutput::Event(event) => drop(self.calls.handle_event(self.now, &mut core, event)),
                EndpointOutput::Transmit(transmit) => {
                    if let Ok(Message::Request(request)) = Message::parse(&transmit.bytes) {
                        self.sent.push_back(request);
                    }
                }
                other => panic!("{other:?}"),
            }
        }
        result
    }

    fn tell(&mut self, call: CallHandle, command: CallCommand) {
        self.act(|now, calls, core| calls.command(now, core, call, command)).expect("it makes sense now");
    }

    #[track_caller]
    fn request(&mut self, method: Method) -> Request {
        match self.sent.pop_front() {
            Some(request) if request.method == method => request,
            other => panic!("{method} expected, got {other:#?}"),
        }
    }

    fn answer(&mut self, request: &Request, code: u16) {
        let mut response = Response::to(request, status(code), Some("b"));
        response.headers.set(HeaderName::CONTACT, format!("<sip:bob@{THERE}>"));
        let (here, there) = (HERE.parse().expect("an address"), THERE.parse().expect("an address"));
        let bytes = response.encode();
        self.endpoint.handle_datagram(self.now, SocketId(1), here, there, &bytes);
        self.act(|_, _, _| {});
    }

    /// Lets time pass, timer by timer, for at most a thousand of them.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        for _ in 0..1000 {
            let next = earliest(self.endpoint.poll_timeout(), self.calls.poll_timeout());
            let Some(at) = next.filter(|at| *at <= end) else { break };
            self.now = at;
            self.endpoint.handle_timeout(at);
            self.act(|now, calls, core| calls.handle_timeout(now, core));
        }
        self.now = end;
    }

    /// A call that is up, and the INVITE that made it.
    fn up(&mut self) -> (CallHandle, Request) {
        let (here, there) = (HERE.parse().expect("an address"), THERE.parse().expect("an address"));
        let flow = Flow { protocol: Protocol::Udp, local: here, peer: there, via: FlowVia::Socket(SocketId(1)) };
        let route = self.endpoint.route_back(&flow);
        let dial = Dial {
            target: "sip:bob@192.0.2.2".parse().expect("a URI"),
            to: None,
            from: "<sip:alice@192.0.2.1>".parse().expect("an address"),
            contact_user: None,
            next_hop: NextHop::Route(route),
            transport: None,
            tls: Default::default(),
            login: None,
            max_forwards: 70,
            user_agent: "test".into(),
            answer_timeout: None,
            redirects: 0,
            headers: Vec::new(),
            rules: Rules::default(),
        };
        let call = self.act(|now, calls, core| calls.dial(now, core, dial));
        self.tell(call, CallCommand::Offer { body: b"v=0".to_vec() });
        let invite = self.request(Method::Invite);
        self.answer(&invite, 200);
        self.request(Method::Ack);
        (call, invite)
    }
}

fn seq(request: &Request) -> u32 {
    request.headers.cseq().expect("CSeq").seq
}

#[test]
fn a_repeated_2xx_to_the_first_invite_gets_its_own_ack_even_after_a_change() {
    let mut caller = Caller::new();
    let (call, invite) = caller.up();
    caller.tell(call, CallCommand::Offer { body: b"v=0".to_vec() });
    let change = caller.request(Method::Invite);
    caller.answer(&change, 200);
    assert_eq!(seq(&caller.request(Method::Ack)), 2);
    caller.answer(&invite, 200);
    assert_eq!(seq(&caller.request(Method::Ack)), 1);
    caller.answer(&change, 200);
    assert_eq!(seq(&caller.request(Method::Ack)), 2);
    assert!(caller.sent.is_empty());
}

#[test]
fn a_change_that_is_accepted_while_we_hang_up_is_acknowledged() {
    let mut caller = Caller::new();
    let (call, _) = caller.up();
    caller.tell(call, CallCommand::Offer { body: b"v=0".to_vec() });
    let change = caller.request(Method::Invite);
    caller.tell(call, CallCommand::HangUp);
    let bye = caller.request(Method::Bye);
    assert_eq!(seq(&bye), 3);
    caller.answer(&change, 200);
    assert_eq!(seq(&caller.request(Method::Ack)), 2);
    caller.answer(&bye, 200);
    assert!(caller.sent.is_empty() && caller.calls.get(call).is_none_or(Call::is_settled));
}

#[test]
fn a_change_that_the_peer_does_not_know_or_does_not_answer_ends_the_call() {
    for code in [408, 481] {
        let mut caller = Caller::new();
        let (call, _) = caller.up();
        caller.tell(call, CallCommand::Offer { body: b"v=0".to_vec() });
        let change = caller.request(Method::Invite);
        caller.answer(&change, code);
        caller.request(Method::Ack);
        let bye = caller.request(Method::Bye);
        assert!(caller.calls.get(call).is_some_and(Call::is_over), "{code}");
        caller.answer(&bye, 481);
    }
    let mut caller = Caller::new();
    let (call, _) = caller.up();
    caller.tell(call, CallCommand::Offer { body: b"v=0".to_vec() });
    caller.pass(Duration::from_secs(33));
    let last = caller.sent.pop_back().expect("something was sent");
    assert_eq!(last.method, Method::Bye);
    assert!(caller.calls.get(call).is_some_and(Call::is_over));
}
