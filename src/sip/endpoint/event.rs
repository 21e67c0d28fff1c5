//! What an endpoint tells its user and asks of the driver.

use crate::engine::{Flow, Protocol, Query, StreamFault, TlsPolicy, Transmit};
use crate::id::{ConnId, RequestId};
use crate::sip::message::{Headers, Request, Response, StatusCode};
use crate::sip::transaction::TxnId;
use crate::sip::transport::route::{Route, RouteError, RouteId};
use std::net::SocketAddr;

/// What an endpoint wants done.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "most outputs are events with messages, and none is kept for long")]
pub enum EndpointOutput {
    /// Send bytes.
    Transmit(Transmit),
    /// Open a stream connection.
    Connect {
        /// The handle that the endpoint chose.
        conn: ConnId,
        /// A stream protocol.
        protocol: Protocol,
        /// Where to.
        peer: SocketAddr,
        /// Of a secure protocol: who has to be there.
        secure: Option<TlsPolicy>,
    },
    /// Close a stream connection after what is queued has been written.
    Close(ConnId),
    /// Resolve a name.
    Resolve {
        /// Names the question in its answer.
        id: RequestId,
        /// The question.
        query: Query,
    },
    /// Tell which local address reaches `peer`.
    LocalAddress {
        /// Names the question in its answer.
        id: RequestId,
        /// The destination.
        peer: SocketAddr,
    },
    /// Something for the transaction user.
    Event(EndpointEvent),
}

/// What happened to a transaction, a route or a request from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EndpointEvent {
    /// A new request (not a retransmission, never ACK or CANCEL); answer it by `Endpoint::respond`.
    Request {
        /// Its server transaction.
        txn: TxnId,
        /// The request; its top Via holds `received` and `rport` as RFC 3581 says.
        request: Request,
        /// Where it came from.
        flow: Flow,
    },
    /// An ACK that belongs to no failed INVITE: for a 2xx, find the dialog (§13.3.1.4).
    Ack {
        /// The ACK.
        request: Request,
        /// Where it came from.
        flow: Flow,
    },
    /// A CANCEL for an INVITE without final response; the CANCEL itself has been answered. Answer the INVITE by 487 (§9.2).
    Cancelled {
        /// The INVITE's server transaction.
        txn: TxnId,
        /// The CANCEL's headers: it may say why (RFC 3326).
        headers: Headers,
    },
    /// A response: every provisional one but 100, each 2xx to INVITE with its retransmissions and forks, other final ones once.
    Response {
        /// The client transaction.
        txn: TxnId,
        /// The response.
        response: Response,
        /// Where it came from.
        flow: Flow,
    },
    /// A client transaction found no final response; it is gone.
    Failed {
        /// The client transaction.
        txn: TxnId,
        /// Why.
        error: TxnError,
    },
    /// The answer to `Endpoint::route` or `Endpoint::next_target`.
    Routed {
        /// Names the question.
        id: RouteId,
        /// The route.
        result: Result<Route, RouteError>,
    },
    /// A connection that was up is gone; its transactions have been told already.
    Disconnected {
        /// The connection.
        conn: ConnId,
    },
    /// A transaction is gone; nothing more comes of it.
    Terminated {
        /// The transaction.
        txn: TxnId,
    },
}

/// Why a client transaction ended without a final response (§8.1.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TxnError {
    /// Nothing came within 64·T1 (timer B or F).
    #[error("no answer in time")]
    Timeout,
    /// The stream connection could not be opened or broke.
    #[error("the connection failed")]
    Transport(StreamFault),
}

impl TxnError {
    /// The status that stands for this failure: 408 or 503 (§8.1.3.1).
    pub fn status(self) -> StatusCode {
        let code = match self {
            Self::Timeout => 408,
            Self::Transport(_) => 503,
        };
        StatusCode::new(code).expect("both codes lie in 100..=699")
    }
}
