//! What the owner of a call says to it and hears from it.

use super::Rules;
use crate::api::EndedBy;
use crate::engine::{Flow, Protocol};
use crate::id::AccountId;
use crate::sip::endpoint::{Route, RouteError, TlsWish, TxnError};
use crate::sip::message::{HeaderName, NameAddr, ReferTo, Response, StatusCode, Uri};
use crate::time::Duration;
use crate::ua::call::Reason;
use crate::ua::login::LoginError;
use std::net::SocketAddr;

/// Names one offer of the peer until it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct OfferId(pub u32);

/// Names one (early) dialog of a call: a fork of an outgoing INVITE, or the only one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LegId(pub u32);

/// How to place a call.
#[derive(Debug, Clone)]
pub struct Dial {
    /// The Request-URI.
    pub target: Uri,
    /// To; made from the target when absent.
    pub to: Option<NameAddr>,
    /// Who we are, without tag.
    pub from: NameAddr,
    /// User part of our Contact.
    pub contact_user: Option<String>,
    /// Where the INVITE goes.
    pub next_hop: NextHop,
    /// Forces a transport.
    pub transport: Option<Protocol>,
    /// How secure connections are judged.
    pub tls: TlsWish,
    /// Whose credentials answer a challenge of the next hop; only for the account's own server (threats C8).
    pub login: Option<AccountId>,
    /// Hops that the INVITE may still take.
    pub max_forwards: u8,
    /// User-Agent.
    pub user_agent: String,
    /// Cancelled when nobody answers for so long.
    pub answer_timeout: Option<Duration>,
    /// Contacts of 3xx responses that may be tried in all; 0 follows none.
    pub redirects: u8,
    /// Further headers of the INVITE (Referred-By, Replaces …).
    pub headers: Vec<(HeaderName, String)>,
    /// Extensions.
    pub rules: Rules,
}

/// Where an outgoing INVITE goes first.
#[derive(Debug, Clone)]
pub enum NextHop {
    /// To the host of the Request-URI.
    Target,
    /// To this server, without a Route header (the registrar of our domain).
    Server(Uri),
    /// Through this outbound proxy, as a loose route.
    Proxy(Uri),
    /// Through these hops, as loose routes (an outbound proxy and the Service-Route of the registrar, RFC 3608).
    Routes(Vec<NameAddr>),
    /// Along a known route (the flow of a binding).
    Route(Route),
}

/// How to take a call.
#[derive(Debug, Clone)]
pub struct Accept {
    /// User part of our Contact.
    pub contact_user: Option<String>,
    /// Whose credentials answer a challenge on this flow; only when it is the account's own server.
    pub login: Option<AccountId>,
    /// Server header.
    pub user_agent: String,
    /// Refused (480) when not answered for so long.
    pub ring_timeout: Option<Duration>,
    /// Requests to the peer always go back along the flow that it came on, whatever its Contact says (a PBX, whose
    /// phones may sit behind NAT and must not send it elsewhere).
    pub stay_on_flow: bool,
    /// Extensions.
    pub rules: Rules,
}

/// What an owner tells a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallCommand {
    /// Our offer: sends the INVITE after [`CallEvent::Routed`], a re-INVITE in an established call, or an UPDATE before
    /// that, once the first offer has been answered reliably.
    Offer {
        /// SDP.
        body: Vec<u8>,
    },
    /// Our offer for an INVITE that is not the last word: a refusal of what it describes (488, 606) ends nothing but
    /// comes as [`CallEvent::Declined`].
    TryOffer {
        /// SDP.
        body: Vec<u8>,
    },
    /// Tells the caller about progress (180, 183), with SDP for early media.
    Progress {
        /// 101 to 199.
        status: StatusCode,
        /// The answer so far.
        body: Option<Vec<u8>>,
    },
    /// Accepts an offer, and with it the call or the change. To [`CallEvent::OfferWanted`] the body is our own offer.
    Answer {
        /// Which offer.
        id: OfferId,
        /// SDP.
        body: Vec<u8>,
    },
    /// Refuses an offer: before the call is answered this refuses the call.
    Refuse {
        /// Which offer.
        id: OfferId,
        /// 400 to 699.
        status: StatusCode,
    },
    /// Refuses an incoming call (300 to 699), also before its offer came up.
    Reject {
        /// The status.
        status: StatusCode,
    },
    /// Our address has changed: asks for the way to the peer anew. [`CallEvent::Moved`] follows once there is one.
    Move,
    /// Ends the call in any state: CANCEL, BYE or 480.
    HangUp,
    /// Tells the peer of an established call something (INFO); answered by [`CallEvent::InfoAnswered`].
    Info {
        /// Content-Type.
        kind: String,
        /// Body.
        body: Vec<u8>,
    },
    /// Sends the caller of an incoming call elsewhere (302).
    Redirect {
        /// Contact, Diversion.
        headers: Vec<(HeaderName, String)>,
    },
    /// Like [`Self::HangUp`], with a Reason header (RFC 3326) in the BYE.
    Leave {
        /// The header.
        reason: String,
    },
    /// Asks the peer of an established call to call somebody else (REFER); [`CallEvent::Refer`] tells how that fares.
    Refer {
        /// The Refer-To header.
        to: String,
        /// The Referred-By header.
        by: String,
    },
    /// Takes the transfer of [`CallEvent::Referred`] (202): its sender hears from [`CallCommand::ReferStatus`].
    TakeRefer,
    /// Refuses it.
    RefuseRefer {
        /// 400 to 699.
        status: StatusCode,
    },
    /// How the call fares that was placed for a transfer; a final status is the last word. Works after the end of the
    /// call too, and does nothing when nobody listens.
    ReferStatus {
        /// 100 to 699.
        status: StatusCode,
    },
}

/// What a call tells its owner.
#[derive(Debug, Clone)]
pub enum CallEvent {
    /// The way is known: our address towards the peer. Wants [`CallCommand::Offer`]. Comes again when another server is tried.
    Routed {
        /// Our SIP address; its IP is the one to announce in SDP.
        local: SocketAddr,
        /// The server that is tried.
        peer: SocketAddr,
        /// How it is reached.
        protocol: Protocol,
    },
    /// After [`CallCommand::Move`]: requests to the peer leave from here now. The peer learns it by the next offer.
    Moved {
        /// Our SIP address; its IP is the one to announce in SDP.
        local: SocketAddr,
    },
    /// What [`CallCommand::TryOffer`] described was refused. Wants [`CallCommand::Offer`]: another one, along the same way.
    Declined,
    /// The peer offers: in its INVITE, a re-INVITE, an UPDATE or a PRACK.
    Offer {
        /// Names it in the answer.
        id: OfferId,
        /// SDP as it came.
        body: Vec<u8>,
        /// The address that it came to; its IP is the one to announce.
        local: SocketAddr,
        /// The dialog that it came in.
        leg: LegId,
    },
    /// An INVITE or re-INVITE without offer: ours goes out as the body of [`CallCommand::Answer`].
    OfferWanted {
        /// Names it in the answer.
        id: OfferId,
        /// The address that it came to.
        local: SocketAddr,
    },
    /// An answer to our offer. `early`: in a provisional response, more forks may answer.
    Answer {
        /// Which dialog; each fork needs its own negotiator.
        leg: LegId,
        /// SDP as it came.
        body: Vec<u8>,
        /// Before the final response.
        early: bool,
    },
    /// 101 to 199 came.
    Ringing {
        /// Which dialog.
        leg: LegId,
        /// The status.
        status: StatusCode,
    },
    /// An early dialog is over, while others may go on (199, RFC 6228).
    EarlyEnded {
        /// Which dialog.
        leg: LegId,
    },
    /// The call is up: a 2xx came, or the ACK for ours. Its answer has come before, if there is one.
    Established {
        /// The dialog that won.
        leg: LegId,
    },
    /// Our change was refused; the session goes on as it was.
    OfferRefused {
        /// Status, 408 and 503 for silence and broken transport.
        status: StatusCode,
        /// 491: both sides offered at once; try again after this time (§14.1).
        retry_after: Option<Duration>,
    },
    /// The peer has cancelled the re-INVITE that brought this offer: nobody waits for its answer any more.
    OfferWithdrawn {
        /// Which offer.
        id: OfferId,
    },
    /// The session is to be refreshed by an offer (RFC 4028 §7.4): wants [`CallCommand::Offer`] with what holds now.
    OfferDue,
    /// The change that we accepted is confirmed by the ACK (with its answer, if ours was the offer, as `Answer`).
    ChangeDone,
    /// The peer pressed a key and says so by INFO.
    Digit {
        /// 0-9 * # A-D.
        digit: char,
        /// How long, as far as it says.
        duration: Duration,
    },
    /// The answer to our INFO; 408 and 503 for silence and broken transport.
    InfoAnswered {
        /// The status.
        status: StatusCode,
    },
    /// The peer wants us to call somebody else (RFC 3515). Wants [`CallCommand::TakeRefer`] or
    /// [`CallCommand::RefuseRefer`].
    Referred(Box<Referral>),
    /// How the transfer fares that we asked for; comes after the end of the call too.
    Refer(ReferNews),
    /// The call is over. Nothing follows but what it owes the network, and news of a transfer.
    Ended(Ending),
}

/// What the peer's REFER asks for.
#[derive(Debug, Clone)]
pub struct Referral {
    /// Whom to call, and the call to take over.
    pub refer_to: ReferTo,
    /// The Referred-By header as it came (RFC 3892).
    pub by: Option<String>,
}

/// How our REFER fares.
#[derive(Debug, Clone)]
pub enum ReferNews {
    /// The peer tries it; more will come.
    Accepted,
    /// The peer does it and will not tell how it ends (RFC 4488).
    Untold,
    /// The peer will not.
    Refused {
        /// Its response.
        response: Box<Response>,
    },
    /// The peer did not answer.
    Unanswered {
        /// Silence or a broken connection.
        error: TxnError,
    },
    /// The call of the peer has this status; a final one is the result.
    Status {
        /// 100 to 699.
        status: StatusCode,
        /// Its reason phrase as it came.
        reason: String,
    },
    /// No more will come and no result has: it may have worked or not.
    Silence,
}

/// Why a call is over.
#[derive(Debug, Clone)]
pub struct Ending {
    /// Who ended it.
    pub by: EndedBy,
    /// The reason.
    pub cause: EndCause,
    /// What the peer says about it.
    pub reason: Option<Reason>,
}

/// The reason of an [`Ending`].
#[derive(Debug, Clone)]
pub enum EndCause {
    /// One side hung up an established call.
    HungUp,
    /// We gave up an outgoing call before it was answered.
    Cancelled,
    /// The caller gave up.
    CallerGone,
    /// We refused an incoming call.
    Refused(StatusCode),
    /// The peer or a server refused ours.
    Rejected {
        /// Its response.
        response: Box<Response>,
        /// Where it came from.
        flow: Flow,
    },
    /// Nobody answered in time: the call was cancelled, or refused by 480.
    NoAnswer {
        /// How long it rang.
        after: Duration,
    },
    /// There is no way to the callee.
    NoRoute(RouteError),
    /// The server did not react, or the connection failed.
    Unreachable {
        /// Where we sent to.
        peer: SocketAddr,
        /// UDP or TCP.
        protocol: Protocol,
        /// Silence or a broken connection.
        error: TxnError,
    },
    /// A challenge that could not be answered.
    Login {
        /// Why.
        error: LoginError,
        /// The challenge.
        response: Box<Response>,
        /// Where it came from.
        flow: Flow,
    },
    /// Our 2xx, or a reliable provisional response, was never acknowledged (64·T1).
    NoAck,
    /// Nobody refreshed the session in time (RFC 4028 §10).
    SessionExpired {
        /// The interval agreed.
        seconds: u32,
    },
    /// The peer broke the rules of dialogs (no Contact, unreadable headers).
    Broken(String),
    /// A mistake of ours: a panic in this call.
    Fault,
}

impl EndCause {
    /// The SIP status that stands for it, if there is one.
    pub fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Refused(status) => Some(*status),
            Self::Rejected { response, .. } | Self::Login { response, .. } => Some(response.status),
            Self::Unreachable { error, .. } => Some(error.status()),
            Self::CallerGone => StatusCode::new(487),
            Self::HungUp
            | Self::Cancelled
            | Self::NoAnswer { .. }
            | Self::NoRoute(_)
            | Self::NoAck
            | Self::SessionExpired { .. }
            | Self::Broken(_)
            | Self::Fault => None,
        }
    }
}

/// A command that makes no sense in the state the call is in; nothing has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the call is {state}")]
pub struct WrongState {
    /// The state in a word, as in the snapshot.
    pub state: &'static str,
}
