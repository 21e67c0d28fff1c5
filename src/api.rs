//! [`Command`] and [`Event`]: the one contract between an engine and its clients (CLI, JSON, window, tests).

use crate::id::{AccountId, CallHandle};
use crate::media::command::{AudioSink, AudioSource, MediaStats};
use serde::{Deserialize, Serialize};

/// Something a client wants.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case")]
pub enum Command {
    /// Places a call. Reply: [`Reply::Call`].
    Dial {
        /// Number, `user@host` or URI.
        target: String,
        /// Which account; the first one by default.
        account: Option<AccountId>,
        /// Sound of this call; the account's by default.
        audio: Option<AudioRoute>,
    },
    /// Accepts an incoming call.
    Answer {
        /// Which call.
        call: CallHandle,
        /// Sound of this call; the account's by default.
        audio: Option<AudioRoute>,
    },
    /// Refuses an incoming call (486 by default).
    Reject {
        /// Which call.
        call: CallHandle,
        /// SIP status, 400..=699.
        code: Option<u16>,
    },
    /// Ends a call in any state: CANCEL, BYE or a refusal.
    HangUp {
        /// Which call.
        call: CallHandle,
    },
    /// Puts the peer on hold: it hears silence, and we do not hear it. [`Event::CallChanged`] follows, or
    /// [`Event::CallChangeRefused`].
    Hold {
        /// Which call.
        call: CallHandle,
    },
    /// Goes on with a call that we hold. The others are held then, unless the config says otherwise.
    Resume {
        /// Which call.
        call: CallHandle,
    },
    /// Goes on with other codecs: [`Event::CallChanged`] follows, or [`Event::CallChangeRefused`].
    Codecs {
        /// Which call.
        call: CallHandle,
        /// Names, best first; none: the one after the codec in use, of those that the call may use.
        codecs: Vec<String>,
    },
    /// Mutes or unmutes what we send.
    Mute {
        /// Which call.
        call: CallHandle,
        /// On or off.
        on: bool,
    },
    /// Sends DTMF.
    Dtmf {
        /// Which call.
        call: CallHandle,
        /// 0-9 * # A-D and `,` for a pause.
        digits: String,
    },
    /// Hands a call over: the far end calls somebody else (REFER, RFC 3515). It ends when that works and goes on when
    /// not; [`Event::Transfer`] tells.
    Transfer {
        /// Which call.
        call: CallHandle,
        /// Number, `user@host` or URI.
        target: String,
    },
    /// Hands a call over to the far end of another one (Replaces, RFC 3891): both end when that works.
    TransferTo {
        /// Which call.
        call: CallHandle,
        /// The other one.
        to: CallHandle,
    },
    /// Does what the far end has asked for by [`Event::TransferAsked`].
    AcceptTransfer {
        /// The call whose far end asked.
        call: CallHandle,
    },
    /// Declines it; the call goes on.
    RejectTransfer {
        /// The call whose far end asked.
        call: CallHandle,
    },
    /// Registers an account (again), or all.
    Register {
        /// Which one.
        account: Option<AccountId>,
    },
    /// Removes the registration of an account, or of all.
    Unregister {
        /// Which one.
        account: Option<AccountId>,
    },
    /// Sends OPTIONS. Answered by [`Event::Pong`].
    Ping {
        /// Number, `user@host`, URI or host.
        target: String,
    },
    /// Full state. Reply: [`Reply::Snapshot`].
    Snapshot,
    /// Hangs up everything, unregisters, and emits [`Event::Stopped`].
    Stop,
}

/// Sound of one call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AudioRoute {
    /// Sent to the peer.
    pub source: AudioSource,
    /// Heard from the peer.
    pub sink: AudioSink,
}

/// The immediate answer to a [`Command`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Reply {
    /// Done or under way.
    Ok,
    /// The new call.
    Call(CallHandle),
    /// Full state.
    Snapshot(Box<Snapshot>),
}

/// Why a command was refused; nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum CommandError {
    /// The call is over or never was.
    #[error("there is no call {0}")]
    NoSuchCall(CallHandle),
    /// The account does not exist.
    #[error("there is no account number {}", .0.0)]
    NoSuchAccount(AccountId),
    /// The target cannot be understood.
    #[error("`{target}` is no number, address or SIP URI: {reason}")]
    BadTarget {
        /// What was typed.
        target: String,
        /// What is wrong.
        reason: String,
    },
    /// Only possible in another state.
    #[error("{call} is {state}: it cannot be {wanted}")]
    WrongState {
        /// Which call.
        call: CallHandle,
        /// Its state in words.
        state: String,
        /// What was asked for, as a participle.
        wanted: String,
    },
    /// `call.max` is reached.
    #[error("{max} calls are up already (call.max)")]
    TooManyCalls {
        /// The limit.
        max: usize,
    },
    /// The call cannot use this codec.
    #[error("`{0}` is no codec that this call may use")]
    BadCodec(String),
    /// The digits hold something else than 0-9 * # A-D and `,`.
    #[error("`{0}` is no DTMF digit")]
    BadDigit(char),
    /// The status code cannot refuse a call.
    #[error("{0} is no status that refuses a call (400 to 699)")]
    BadStatus(u16),
    /// Nobody has asked for a transfer there.
    #[error("the other side of {0} has not asked for a transfer")]
    NoTransfer(CallHandle),
    /// This engine has no such command.
    #[error("this is not possible here")]
    NotSupported,
}

/// Something that happened. Every failure carries a [`Failure`] with its slug.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event")]
pub enum Event {
    /// A REGISTER was accepted.
    #[serde(rename = "registration.ok")]
    Registered {
        /// Which account.
        account: AccountId,
        /// Our contact.
        contact: String,
        /// Seconds until it expires.
        expires: u32,
        /// How it travels: `udp`, `tcp` or `tls`.
        transport: String,
        /// True for a refresh of a standing registration.
        refreshed: bool,
    },
    /// A REGISTER failed; it is tried again after `retry_s` unless that is `None`.
    #[serde(rename = "registration.failed")]
    RegistrationFailed {
        /// Which account.
        account: AccountId,
        /// Why.
        failure: Failure,
        /// When it is tried again, seconds.
        retry_s: Option<u32>,
    },
    /// The registration was removed.
    #[serde(rename = "registration.ended")]
    Unregistered {
        /// Which account.
        account: AccountId,
    },
    /// We call somebody.
    #[serde(rename = "call.outgoing")]
    CallOutgoing {
        /// Which call.
        call: CallHandle,
        /// Which account, if any.
        account: Option<AccountId>,
        /// The request-URI.
        to: String,
    },
    /// Somebody calls us.
    #[serde(rename = "call.incoming")]
    CallIncoming {
        /// Which call.
        call: CallHandle,
        /// Which account, if any.
        account: Option<AccountId>,
        /// The From URI.
        from: String,
        /// The From display name, controls escaped.
        display: Option<String>,
        /// The request-URI.
        to: String,
        /// What else is known of the caller.
        #[serde(flatten)]
        caller: Box<CallerInfo>,
    },
    /// A call to us was sent on to somebody else (302).
    #[serde(rename = "call.forwarded")]
    CallForwarded {
        /// The call that rang here; `None` when it never did.
        call: Option<CallHandle>,
        /// Who called.
        from: String,
        /// To whom it was sent.
        to: String,
        /// `unconditional`, `user-busy` or `no-answer`.
        reason: String,
    },
    /// The far end is somebody else than before, as our server says (RFC 5876).
    #[serde(rename = "call.identity")]
    CallIdentity {
        /// Which call.
        call: CallHandle,
        /// Name and address.
        identity: String,
    },
    /// 18x: the far end rings (or early media comes).
    #[serde(rename = "call.ringing")]
    CallRinging {
        /// Which call.
        call: CallHandle,
        /// The provisional status.
        code: u16,
        /// Milliseconds since the call was placed.
        after_ms: u64,
    },
    /// The call is answered: sound flows.
    #[serde(rename = "call.answered")]
    CallAnswered {
        /// Which call.
        call: CallHandle,
        /// Milliseconds since it was placed or came in.
        after_ms: u64,
        /// What was negotiated.
        audio: Option<AudioInfo>,
        /// How its signalling travels: `udp`, `tcp` or `tls`.
        transport: String,
    },
    /// The peer or we changed the session (hold, resume, address, codec).
    #[serde(rename = "call.changed")]
    CallChanged {
        /// Which call.
        call: CallHandle,
        /// What holds now.
        audio: Option<AudioInfo>,
        /// We hold the peer.
        held: bool,
        /// The peer does not listen to us (their hold).
        held_by_peer: bool,
    },
    /// The peer refused our change (hold, resume); the call goes on as it was.
    #[serde(rename = "call.change-refused")]
    CallChangeRefused {
        /// Which call.
        call: CallHandle,
        /// Why.
        failure: Failure,
    },
    /// A transfer that we asked for gets on.
    #[serde(rename = "call.transfer")]
    Transfer {
        /// The call that is handed over.
        call: CallHandle,
        /// To whom, as it was typed.
        to: String,
        /// How far it is.
        state: TransferState,
        /// The status of the far end's call, where it has told one.
        code: Option<u16>,
        /// Why it failed.
        failure: Option<Failure>,
    },
    /// The far end wants us to call somebody else instead.
    #[serde(rename = "call.transfer-asked")]
    TransferAsked {
        /// Whose far end.
        call: CallHandle,
        /// Whom we are to call.
        to: String,
        /// Who asks, as it says (Referred-By).
        by: Option<String>,
        /// The new call takes over one that somebody else has with the callee.
        attended: bool,
        /// Seconds to decide by [`Command::AcceptTransfer`] or [`Command::RejectTransfer`]; `None`: the policy decides.
        waits_s: Option<u64>,
    },
    /// That wish was followed or declined, by us, by the policy or since nobody decided.
    #[serde(rename = "call.transfer-answered")]
    TransferAnswered {
        /// Whose far end asked.
        call: CallHandle,
        /// Whether it is followed.
        accepted: bool,
        /// The call that was placed for it.
        new_call: Option<CallHandle>,
    },
    /// Another call has taken the place of one of ours (Replaces), which ends; the new one is being answered.
    #[serde(rename = "call.replaced")]
    CallReplaced {
        /// The call that ends.
        call: CallHandle,
        /// The call that goes on.
        new_call: CallHandle,
        /// Its account, if any.
        account: Option<AccountId>,
        /// Its From URI.
        from: String,
        /// Its From display name, controls escaped.
        display: Option<String>,
    },
    /// The call is over; its handle is dead.
    #[serde(rename = "call.ended")]
    CallEnded {
        /// Which call.
        call: CallHandle,
        /// Who ended it.
        by: EndedBy,
        /// SIP status, where there is one.
        code: Option<u16>,
        /// Why, when it did not end normally.
        failure: Option<Failure>,
        /// What the far end says about it (Reason, RFC 3326).
        reason: Option<String>,
        /// Milliseconds from answer to end; `None` when it was never answered.
        duration_ms: Option<u64>,
        /// Last figures of its sound.
        stats: Option<Box<MediaStats>>,
    },
    /// A DTMF digit came.
    #[serde(rename = "dtmf.received")]
    DtmfReceived {
        /// Which call.
        call: CallHandle,
        /// 0-9 * # A-D.
        digit: char,
        /// Milliseconds.
        duration_ms: u64,
    },
    /// The digits of a [`Command::Dtmf`] are all out.
    #[serde(rename = "dtmf.sent")]
    DtmfSent {
        /// Which call.
        call: CallHandle,
    },
    /// A source that does not repeat has been played to its end.
    #[serde(rename = "media.played")]
    SourceEnded {
        /// Which call.
        call: CallHandle,
    },
    /// Figures, about once a second.
    #[serde(rename = "media.stats")]
    Stats {
        /// Which call.
        call: CallHandle,
        /// The figures.
        audio: Box<MediaStats>,
    },
    /// Something is wrong with the sound; the call goes on.
    #[serde(rename = "media.warning")]
    MediaWarning {
        /// Which call.
        call: CallHandle,
        /// What.
        failure: Failure,
    },
    /// The answer to [`Command::Ping`].
    #[serde(rename = "ping")]
    Pong {
        /// What was asked for.
        target: String,
        /// The answer, or why there is none.
        result: Result<PongInfo, Failure>,
    },
    /// The embedded PBX: a phone registered or its binding ended.
    #[serde(rename = "pbx.binding")]
    PbxBinding {
        /// The user.
        user: String,
        /// Its contact.
        contact: String,
        /// Seconds; 0 when it is gone.
        expires: u32,
    },
    /// The embedded PBX: a call through it began or ended.
    #[serde(rename = "pbx.call")]
    PbxCall {
        /// Who calls.
        from: String,
        /// Whom or which extension.
        to: String,
        /// `ringing`, `answered`, `ended`, `refused`.
        state: String,
        /// SIP status, where there is one.
        code: Option<u16>,
    },
    /// Everything is shut down.
    #[serde(rename = "stopped")]
    Stopped,
}

/// What a call says of its caller beyond From. Only the account's own server is believed, but for `user_to_user`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CallerInfo {
    /// Who it is (P-Asserted-Identity, RFC 3325).
    pub identity: Option<String>,
    /// The caller wants not to be known to others (Privacy, RFC 3323).
    pub private: bool,
    /// Who has forwarded it, the latest first (Diversion, RFC 5806; History-Info, RFC 7044).
    pub diverted: Vec<Diverted>,
    /// How it should ring (Alert-Info); nothing is fetched.
    pub alert_info: Option<String>,
    /// About the caller (Call-Info); nothing is fetched.
    pub call_info: Option<String>,
    /// What the caller sends along (User-to-User, RFC 7433); from anybody.
    pub user_to_user: Option<String>,
}

/// One who has forwarded a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diverted {
    /// Name and address.
    pub by: String,
    /// Why: `unconditional`, `user-busy`, `no-answer` …
    pub reason: Option<String>,
}

/// How far a transfer is that we asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TransferState {
    /// The far end tries it.
    Accepted,
    /// It has got so far (180: it rings there).
    Progress,
    /// They talk to each other; our call ends.
    Done,
    /// It did not work; our call goes on.
    Failed,
    /// The far end has not said how it went.
    Unknown,
}

/// Who ended a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EndedBy {
    /// We.
    Local,
    /// The peer.
    Remote,
    /// A timer or a fault.
    Fault,
}

/// What was negotiated for sound.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AudioInfo {
    /// Codec name, lower case.
    pub codec: String,
    /// Sample rate, Hz.
    pub rate: u32,
    /// Channels as in rtpmap.
    pub channels: u8,
    /// Where the keys of SRTP come from: `sdes`, the session descriptions (RFC 4568). `None` while unprotected.
    pub srtp: Option<String>,
    /// The SRTP suite as in `a=crypto`.
    pub suite: Option<String>,
    /// Who could listen besides the two ends.
    pub audible_to: AudibleTo,
    /// Seen from us.
    pub direction: crate::sdp::plan::Direction,
    /// Where our packets go.
    pub remote: Option<String>,
}

/// Who could listen to a call besides its two ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AudibleTo {
    /// Whoever sees the packets: they are not encrypted.
    #[default]
    Anyone,
    /// Whoever saw the call being set up: the keys were sent there, readable.
    Signalling,
    /// The servers that set the call up, and nobody on the way to the first of them.
    Server,
}

/// Answer to an OPTIONS request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PongInfo {
    /// SIP status.
    pub code: u16,
    /// Reason phrase.
    pub reason: String,
    /// Server or User-Agent.
    pub server: Option<String>,
    /// Codecs of its SDP, if it sent one.
    pub codecs: Vec<String>,
    /// Methods of its Allow.
    pub allow: Vec<String>,
    /// How it travelled: `udp`, `tcp` or `tls`.
    pub transport: String,
    /// Round trip, ms.
    pub rtt_ms: u64,
}

/// A failure as a fact: `app` turns slug and facts into text (cause, try) and an exit code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Stable name, such as `auth.wrong-password`.
    pub slug: String,
    /// SIP status, where there is one.
    pub code: Option<u16>,
    /// Reason phrase of that status, controls escaped.
    pub reason: Option<String>,
    /// Facts by name (`server`, `user`, `realm`, `algorithm`, `address`, `transport`, `offered`, `answered` …).
    pub facts: std::collections::BTreeMap<String, String>,
}

impl Failure {
    /// A failure without facts.
    pub fn new(slug: &str) -> Self {
        Self { slug: slug.to_owned(), code: None, reason: None, facts: std::collections::BTreeMap::new() }
    }

    /// Adds a fact.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.facts.insert(name.to_owned(), value.into());
        self
    }

    /// Adds the SIP status that caused it.
    #[must_use]
    pub fn with_status(mut self, code: u16, reason: &str) -> Self {
        self.code = Some(code);
        self.reason = Some(reason.to_owned());
        self
    }
}

/// Full state for a client that joins late.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Snapshot {
    /// Accounts by number: AOR and whether it is registered.
    pub accounts: Vec<AccountState>,
    /// Live calls.
    pub calls: Vec<CallSummary>,
}

/// One account of a [`Snapshot`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountState {
    /// Its handle.
    pub account: AccountId,
    /// Its name in the config.
    pub name: String,
    /// `sip:user@domain`.
    pub aor: String,
    /// Whether a registration stands.
    pub registered: bool,
    /// How the registration travels, while one stands: `udp`, `tcp` or `tls`.
    pub transport: Option<String>,
}

/// One call of a [`Snapshot`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallSummary {
    /// Its handle.
    pub call: CallHandle,
    /// The far end.
    pub peer: String,
    /// `calling`, `ringing`, `incoming`, `talking`, `held`, `ending`.
    pub state: String,
    /// True when they called us.
    pub incoming: bool,
    /// Who the far end is, as our server says.
    pub identity: Option<String>,
    /// The SRTP suite; `None` while the sound is not encrypted.
    pub srtp: Option<String>,
    /// Who could listen besides the two ends; `None` in a PBX, which passes packets on as they are.
    pub audible_to: Option<AudibleTo>,
    /// How its signalling travels, once that is known: `udp`, `tcp` or `tls`.
    pub transport: Option<String>,
}
