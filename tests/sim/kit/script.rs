//! A server that the test plays by hand, message by message.

use super::{NodeId, World};
use bellwire::sip::message::{HeaderName, Message, Method, Request, Response, StatusCode};
use bellwire::time::{Duration, Instant};
use std::net::SocketAddr;

/// A script node and the words for what it hears and says.
#[derive(Clone, Copy)]
pub struct Server(pub NodeId);

/// A request that came, and from where.
#[derive(Clone, Debug)]
pub struct Heard {
    pub at: Instant,
    pub from: SocketAddr,
    pub request: Request,
}

impl Server {
    pub fn new(world: &mut World, name: &str, ip: &str) -> Self {
        Self(world.script(name, ip))
    }

    /// The next request; responses on the way to it are a fault of the test.
    pub fn request(self, world: &mut World, method: Method) -> Heard {
        let (from, text) = world.hear(self.0);
        let at = world.now;
        match Message::parse(text.as_bytes()) {
            Ok(Message::Request(request)) if request.method == method => Heard { at, from, request },
            other => world.fail(&format!("{method} expected from {from}, got {other:?}")),
        }
    }

    /// The next request, however long it takes up to `most`; the clock goes on in steps of 100 ms.
    pub fn patient_request(self, world: &mut World, most: Duration) -> Heard {
        let end = world.now + most;
        while world.now < end {
            world.run_for(Duration::from_millis(100));
            if let Some(heard) = self.requests(world).into_iter().next() {
                return heard;
            }
        }
        world.fail(&format!("no request within {most:?}"))
    }

    /// What has come without waiting, copies of the same request left out.
    pub fn requests(self, world: &mut World) -> Vec<Heard> {
        let mut all: Vec<Heard> = Vec::new();
        while let Some((from, text)) = world.hear_now(self.0) {
            let Ok(Message::Request(request)) = Message::parse(text.as_bytes()) else { continue };
            if all.iter().all(|known| known.request != request) {
                all.push(Heard { at: world.now, from, request });
            }
        }
        all
    }

    /// Answers with `headers` besides those that every response has.
    pub fn reply(self, world: &mut World, heard: &Heard, code: u16, headers: &[(HeaderName, &str)]) {
        let status = StatusCode::new(code).expect("a status");
        let mut response = Response::to(&heard.request, status, Some("srv"));
        for (name, value) in headers {
            response.headers.push(name.clone(), *value);
        }
        self.send(world, heard, &response);
    }

    /// 200 with the contact of the request, for `expires` seconds.
    pub fn accept(self, world: &mut World, heard: &Heard, expires: u32) {
        let contact = heard.request.headers.contact().expect("a phone registers one contact").uri;
        let contact = format!("<{contact}>;expires={expires}");
        self.reply(world, heard, 200, &[(HeaderName::CONTACT, contact.as_str())]);
    }

    /// Sends a response to where the request came from.
    pub fn send(self, world: &mut World, heard: &Heard, response: &Response) {
        let text = String::from_utf8(Message::Response(response.clone()).encode()).expect("we write text");
        world.say(self.0, &heard.from.to_string(), &text);
    }

    /// Nothing comes for so long.
    pub fn silence(self, world: &mut World, time: Duration) {
        world.run_for(time);
        if let Some((from, text)) = world.hear_now(self.0) {
            world.fail(&format!("silence expected, but {from} said {text}"));
        }
    }
}
