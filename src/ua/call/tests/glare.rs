//! Two calls that talk to each other: collisions of re-INVITEs (RFC 3261 §14.1).

use super::super::*;
use crate::engine::{BoundSocket, FlowVia};
use crate::id::{CallHandle, SocketId};
use crate::rng::Rng;
use crate::sip::endpoint::{Endpoint, EndpointOutput, Limits};
use crate::sip::message::Message;
use crate::time::{Duration, earliest};

/// One end of the call and what has become of its offers.
struct End {
    endpoint: Endpoint,
    calls: Calls,
    rng: Rng,
    logins: BTreeMap<AccountId, crate::ua::login::Login>,
    local: SocketAddr,
    call: Option<CallHandle>,
    established: bool,
    /// When our re-INVITE goes out (again).
    offer_at: Option<Instant>,
    waits: Vec<Duration>,
    answered: u32,
    refused: u32,
    taken: u32,
}

impl End {
    fn new(seed: u64, local: &str) -> Self {
        let mut bytes = [local.len() as u8; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let mut rng = Rng::new(bytes);
        let local: SocketAddr = local.parse().expect("an address");
        let socket = BoundSocket { socket: SocketId(0), local };
        Self {
            endpoint: Endpoint::new(Instant::ZERO, rng.fork(), vec![socket], Vec::new(), Limits::NONE),
            calls: Calls::new(),
            rng,
            logins: BTreeMap::new(),
            local,
            call: None,
            established: false,
            offer_at: None,
            waits: Vec::new(),
            answered: 0,
            refused: 0,
            taken: 0,
        }
    }

    fn act<R>(&mut self, act: impl FnOnce(&mut Calls, &mut Core<'_>) -> R) -> R {
        let mut core = Core { endpoint: &mut self.endpoint, rng: &mut self.rng, logins: &mut self.logins };
        act(&mut self.calls, &mut core)
    }

    fn tell(&mut self, now: Instant, command: CallCommand) -> Result<(), WrongState> {
        let call = self.call.expect("there is a call");
        self.act(|calls, core| calls.command(now, core, call, command))
    }

    fn offer(&mut self, now: Instant) {
        if self.tell(now, CallCommand::Offer { body: b"offer".to_vec() }).is_ok() {
            self.offer_at = None;
        } else {
            // Theirs is under way: after it.
            self.offer_at = Some(now + Duration::from_millis(50));
        }
    }

    fn handle(&mut self, now: Instant, event: CallEvent) {
        match event {
            CallEvent::Routed { .. } => {
                self.tell(now, CallCommand::Offer { body: b"offer".to_vec() }).expect("it asked for it");
            }
            CallEvent::Offer { id, .. } => {
                let answer = CallCommand::Answer { id, body: b"answer".to_vec() };
                self.tell(now, answer).expect("it waits for it");
            }
            CallEvent::Answer { .. } if self.established => self.answered += 1,
            CallEvent::Established { .. } => self.established = true,
            CallEvent::ChangeDone => self.taken += 1,
            CallEvent::OfferRefused { status, retry_after } => {
                assert!(matches!(status.code(), 491 | 500), "{status:?}");
                self.refused += 1;
                self.waits.extend(retry_after);
                self.offer_at = Some(now + retry_after.unwrap_or(Duration::from_secs(1)));
            }
            CallEvent::Answer { .. }
            | CallEvent::Ringing { .. }
            | CallEvent::OfferDue
            | CallEvent::Digit { .. }
            | CallEvent::OfferWithdrawn { .. }
            | CallEvent::EarlyEnded { .. } => {}
            CallEvent::OfferWanted { .. }
            | CallEvent::Declined
            | CallEvent::Moved { .. }
            | CallEvent::Ended(_)
            | CallEvent::InfoAnswered { .. }
            | CallEvent::Referred(_)
            | CallEvent::Refer(_) => panic!("{event:?}"),
        }
    }

    /// Works everything off; gives what is to be sent.
    fn drain(&mut self, now: Instant) -> Vec<Vec<u8>> {
        let mut sent = Vec::new();
        loop {
            if let Some((_, event)) = self.calls.poll_event() {
                self.handle(now, event);
                continue;
            }
            match self.endpoint.poll_output() {
                Some(EndpointOutput::Event(event)) => {
                    let Some(event) = self.act(|calls, core| calls.handle_event(now, core, event)) else { continue };
                    let crate::sip::endpoint::EndpointEvent::Request { txn, request, flow } = event else { continue };
                    let accept = Accept {
                        contact_user: None,
                        login: None,
                        user_agent: "test".into(),
                        ring_timeout: None,
                        stay_on_flow: false,
                        rules: Rules::default(),
                    };
                    let call = self.act(|calls, core| calls.incoming(now, core, txn, request, flow, accept));
                    self.call = Some(call.expect("a good INVITE"));
                }
                Some(EndpointOutput::Transmit(transmit)) => {
                    assert!(matches!(transmit.flow.via, FlowVia::Socket(_)));
                    Message::parse(&transmit.bytes).expect("we send what can be read");
                    sent.push(transmit.bytes);
                }
                Some(other) => panic!("{other:?}"),
                None => return sent,
            }
        }
    }

    fn deadline(&self) -> Option<Instant> {
        earliest(earliest(self.endpoint.poll_timeout(), self.calls.poll_timeout()), self.offer_at)
    }
}

/// Both ends change the session at about the same time; gives both ends 20 s later.
fn collide(seed: u64) -> [End; 2] {
    let mut ends = [End::new(seed, "10.0.0.1:5060"), End::new(seed, "10.0.0.22:5060")];
    let mut rng = Rng::new([seed as u8; 32]);
    let (latency, loss) = (1 + rng.below(150), rng.below(4) as f64 * 0.05);
    let dial = Dial {
        target: "sip:b@10.0.0.22".parse().expect("a URI"),
        to: None,
        from: NameAddr::new("sip:a@10.0.0.1".parse().expect("a URI")),
        contact_user: None,
        next_hop: NextHop::Target,
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
    ends[0].call = Some(ends[0].act(|calls, core| calls.dial(Instant::ZERO, core, dial)));
    let start = Instant::ZERO + Duration::from_secs(10);
    let mut now = Instant::ZERO;
    let mut wire: BTreeMap<(Instant, u64), (usize, Vec<u8>)> = BTreeMap::new();
    for step in 0_u64.. {
        for at in [0, 1] {
            for bytes in ends[at].drain(now) {
                if rng.unit() >= loss {
                    wire.insert((now + Duration::from_millis(latency), step), (1 - at, bytes));
                }
            }
        }
        let due = [wire.keys().next().map(|(at, _)| *at), ends[0].deadline(), ends[1].deadline()];
        let Some(at) = due.into_iter().flatten().min().filter(|at| *at < start + Duration::from_secs(60)) else {
            break;
        };
        if now < start && at >= start {
            assert!(ends.iter().all(|end| end.established), "seed {seed}");
            for end in &mut ends {
                end.offer_at = Some(start + Duration::from_millis(rng.below(2 * latency)));
            }
            now = start;
            continue;
        }
        now = now.max(at);
        if let Some(((at, order), _)) = wire.first_key_value().map(|(key, value)| (*key, value))
            && at <= now
            && let Some((to, bytes)) = wire.remove(&(at, order))
        {
            let (local, source) = (ends[to].local, ends[1 - to].local);
            ends[to].endpoint.handle_datagram(now, SocketId(0), local, source, &bytes);
            continue;
        }
        for end in &mut ends {
            if end.offer_at.is_some_and(|at| at <= now) {
                end.offer(now);
            }
            end.endpoint.handle_timeout(now);
            end.act(|calls, core| calls.handle_timeout(now, core));
        }
        assert!(step < 20_000, "seed {seed}: it does not come to rest");
    }
    ends
}

#[test]
fn a_collision_of_re_invites_is_491_to_both_and_both_come_through_later() {
    let mut collisions = 0;
    for seed in 0..1000 {
        let [caller, callee] = collide(seed);
        for (end, other) in [(&caller, &callee), (&callee, &caller)] {
            assert_eq!(end.answered, 1, "seed {seed}: our change is answered once");
            assert_eq!(end.taken, 1, "seed {seed}: theirs is taken once");
            assert!(end.refused <= 6 && other.offer_at.is_none(), "seed {seed}: {} refusals", end.refused);
        }
        collisions += usize::from(caller.refused > 0 && callee.refused > 0);
        let range = |end: &End, from, to| {
            let (from, to) = (Duration::from_millis(from), Duration::from_millis(to));
            let ten = Duration::from_millis(10).as_nanos();
            end.waits.iter().all(|wait| (from..=to).contains(wait) && wait.as_nanos() % ten == 0)
        };
        assert!(range(&caller, 2100, 4000), "seed {seed}: {:?}: who made the Call-ID waits longer", caller.waits);
        assert!(range(&callee, 0, 2000), "seed {seed}: {:?}", callee.waits);
    }
    assert!(collisions > 200, "{collisions} seeds collided");
}
