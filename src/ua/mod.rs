//! The softphone: accounts, registrations and calls on one [`crate::sip`] endpoint.

pub mod account;
pub mod call;
pub mod login;
pub mod screen;

pub use account::{AccountConfig, AudioConfig, CallConfig, UaConfig};

use crate::api::{Command, CommandError, Event, Reply, Snapshot};
use crate::engine::{
    BoundListener, BoundSocket, Engine, Lease, NoLease, NoRoute, Output, Record, ResolveError, StreamEvent,
};
use crate::id::{ConnId, MediaId, RequestId, SocketId};
use crate::media::command::MediaEvent;
use crate::rng::Rng;
use crate::sip::endpoint::{Endpoint, EndpointOutput};
use crate::time::Instant;
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

/// A softphone engine.
#[derive(Debug)]
pub struct Ua {
    config: UaConfig,
    rng: Rng,
    endpoint: Endpoint,
    out: VecDeque<Output>,
}

impl Ua {
    /// A softphone on sockets that the driver has bound; registers its accounts at once.
    pub fn new(
        now: Instant,
        config: UaConfig,
        sockets: Vec<BoundSocket>,
        listeners: Vec<BoundListener>,
        seed: [u8; 32],
    ) -> Self {
        let mut rng = Rng::new(seed);
        let endpoint = Endpoint::new(now, rng.fork(), sockets, listeners, config.limits);
        Self { config, rng, endpoint, out: VecDeque::new() }
    }

    /// True when no call, transaction, lease or timer but those of registrations is left.
    pub fn is_quiet(&self) -> bool {
        self.endpoint.is_quiet()
    }

    /// Full state for a client that joins late.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::default()
    }
}

impl Engine for Ua {
    fn handle_datagram(
        &mut self,
        now: Instant,
        socket: SocketId,
        local: SocketAddr,
        source: SocketAddr,
        payload: &[u8],
    ) {
        self.endpoint.handle_datagram(now, socket, local, source, payload);
    }

    fn handle_stream(&mut self, now: Instant, conn: ConnId, event: StreamEvent<'_>) {
        self.endpoint.handle_stream(now, conn, event);
    }

    fn handle_resolved(&mut self, now: Instant, id: RequestId, answer: Result<Vec<Record>, ResolveError>) {
        self.endpoint.handle_resolved(now, id, answer);
    }

    fn handle_local_address(&mut self, now: Instant, id: RequestId, answer: Result<IpAddr, NoRoute>) {
        self.endpoint.handle_local_address(now, id, answer);
    }

    fn handle_lease(&mut self, _now: Instant, _id: RequestId, answer: Result<Lease, NoLease>) {
        if let Ok(lease) = answer {
            self.out.push_back(Output::Release(lease));
        }
    }

    fn handle_media(&mut self, _now: Instant, _media: MediaId, _event: MediaEvent) {}

    fn handle_command(&mut self, _now: Instant, command: Command) -> Result<Reply, CommandError> {
        match command {
            Command::Snapshot => Ok(Reply::Snapshot(Box::new(self.snapshot()))),
            Command::Stop => {
                self.out.push_back(Output::Event(Event::Stopped));
                Ok(Reply::Ok)
            }
            Command::Dial { .. }
            | Command::Answer { .. }
            | Command::Reject { .. }
            | Command::HangUp { .. }
            | Command::Mute { .. }
            | Command::Dtmf { .. }
            | Command::Register { .. }
            | Command::Unregister { .. }
            | Command::Ping { .. } => Err(CommandError::NotSupported),
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.endpoint.handle_timeout(now);
    }

    fn poll_output(&mut self) -> Output {
        if let Some(output) = self.out.pop_front() {
            return output;
        }
        while let Some(output) = self.endpoint.poll_output() {
            match output {
                EndpointOutput::Transmit(transmit) => return Output::Transmit(transmit),
                EndpointOutput::Connect { conn, protocol, peer } => return Output::Connect { conn, protocol, peer },
                EndpointOutput::Close(conn) => return Output::Close(conn),
                EndpointOutput::Resolve { id, query } => return Output::Resolve { id, query },
                EndpointOutput::LocalAddress { id, peer } => return Output::LocalAddress { id, peer },
                EndpointOutput::Event(_) => {}
            }
        }
        Output::Timeout(self.endpoint.poll_timeout())
    }
}
