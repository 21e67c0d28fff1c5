//! What a [`crate::ua::Ua`] is made with: accounts and the rules for calls.

pub use super::call::{Reliable, Rules};
pub use crate::sdp::{Capabilities, MediaEncryption};
pub use crate::sip::auth::Credentials;

use super::digits::DtmfMode;
use super::forward::Forward;

use crate::api::AudioRoute;
use crate::engine::Protocol;
use crate::media::command::MediaSettings;
use crate::sip::endpoint::{Limits, TlsWish};
use crate::sip::message::Uri;
use crate::time::Duration;

/// Everything a softphone engine needs to know; made by `app` from the config file.
#[derive(Debug, Clone)]
pub struct UaConfig {
    /// The accounts in the order of the config file; the first one is the default. May be empty.
    pub accounts: Vec<AccountConfig>,
    /// Sound of calls that belong to no account (direct calls by address).
    pub default_audio: AudioConfig,
    /// Rules for calls.
    pub call: CallConfig,
    /// What we take from strangers.
    pub limits: Limits,
    /// Calls are taken from anywhere, even while an account is registered (`accept_from = "any"`; threats C4).
    pub accept_any: bool,
    /// The URN of this phone, the same for ever (RFC 5626 §4.1): `urn:uuid:…`. Without it there is neither outbound nor GRUU.
    pub instance: Option<String>,
    /// User-Agent and Server header, such as `Bellwire/0.1.0`.
    pub user_agent: String,
}

impl Default for UaConfig {
    fn default() -> Self {
        Self {
            accounts: Vec::new(),
            default_audio: AudioConfig::default(),
            call: CallConfig::default(),
            limits: Limits::default(),
            accept_any: false,
            instance: None,
            user_agent: concat!("Bellwire/", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }
}

/// One identity of ours.
#[derive(Debug, Clone)]
pub struct AccountConfig {
    /// Its name in the config.
    pub name: String,
    /// The address of record, `sip:user@domain`.
    pub aor: Uri,
    /// Where it registers, `sip:server`.
    pub registrar: Uri,
    /// Where all its requests go instead of to the registrar or the callee.
    pub proxy: Option<Uri>,
    /// The name shown to the callee.
    pub display_name: Option<String>,
    /// Login name, password and realm for digest; without them a challenge ends the request.
    pub credentials: Option<Credentials>,
    /// Registers at the start (else only calls).
    pub register: bool,
    /// The lifetime of a registration to ask for.
    pub expires: Duration,
    /// Forces a transport; else the URI says, else UDP.
    pub transport: Option<Protocol>,
    /// How its server's certificate is judged.
    pub tls: TlsWish,
    /// Sound of its calls.
    pub audio: AudioConfig,
    /// Incoming calls are answered by themselves after this delay.
    pub auto_answer: Option<Duration>,
    /// The Contact follows the address that the server sees (RFC 3581).
    pub contact_rewrite: bool,
    /// Registers a flow (RFC 5626); needs [`UaConfig::instance`].
    pub outbound: bool,
    /// Asks for a GRUU (RFC 5627) and shows it as our Contact. Some proxies give one and then do not route by it inside calls.
    pub gruu: bool,
    /// How digits are sent.
    pub dtmf: DtmfMode,
    /// Callers whose wish to be answered at once is followed (Answer-Mode, answer-after): numbers, `user@host`, `*` for all.
    pub auto_answer_from: Vec<String>,
}

impl AccountConfig {
    /// An account that registers for 10 minutes and does nothing special.
    pub fn new(name: &str, aor: Uri, registrar: Uri) -> Self {
        Self {
            name: name.to_owned(),
            aor,
            registrar,
            proxy: None,
            display_name: None,
            credentials: None,
            register: true,
            expires: Duration::from_secs(600),
            transport: None,
            tls: TlsWish::default(),
            audio: AudioConfig::default(),
            auto_answer: None,
            contact_rewrite: true,
            outbound: true,
            gruu: false,
            dtmf: DtmfMode::Auto,
            auto_answer_from: Vec::new(),
        }
    }
}

/// Sound of the calls of one account.
#[derive(Debug, Clone)]
pub struct AudioConfig {
    /// What is offered and accepted.
    pub capabilities: Capabilities,
    /// Codec and buffer settings.
    pub settings: MediaSettings,
    /// Source and sink where the command names none.
    pub route: AudioRoute,
    /// Whether sound is encrypted.
    pub encryption: MediaEncryption,
    /// Keys may be sent where others can read the signalling (threats D4); otherwise only secure transports carry them.
    pub keys_in_clear: bool,
}

impl Default for AudioConfig {
    fn default() -> Self {
        use crate::media::command::{AudioSink, AudioSource};
        Self {
            capabilities: Capabilities::default(),
            settings: MediaSettings::default(),
            route: AudioRoute { source: AudioSource::Silence, sink: AudioSink::None },
            encryption: MediaEncryption::Preferred,
            keys_in_clear: false,
        }
    }
}

/// Rules for calls.
#[derive(Debug, Clone)]
pub struct CallConfig {
    /// Calls that may be up at once, either way; 0 is no limit.
    pub max: usize,
    /// Answering, placing or resuming a call by hand holds the others.
    pub hold_others: bool,
    /// An incoming call that nobody answers is refused (480) after this time.
    pub ring_timeout: Duration,
    /// An outgoing call that nobody answers is cancelled after this time.
    pub answer_timeout: Duration,
    /// Nothing heard for so long ends a call; `None` never does.
    pub media_timeout: Option<Duration>,
    /// Incoming calls are refused without ringing.
    pub do_not_disturb: bool,
    /// By this status, 400 to 699.
    pub do_not_disturb_code: u16,
    /// Where calls are sent on to.
    pub forward: Forward,
    /// Who we are is kept from the callee (Privacy: id, RFC 3325).
    pub privacy: bool,
    /// Sent along with every call of ours (User-to-User, RFC 7433).
    pub user_to_user: Option<String>,
    /// Incoming calls that belong to no account are answered by themselves after this delay.
    pub auto_answer: Option<Duration>,
    /// Extensions of SIP that calls use.
    pub rules: Rules,
    /// Contacts that a call may be redirected to (3xx), one after the other; 0 follows none.
    pub redirects: u8,
    /// What becomes of a peer's wish that we call somebody else instead (REFER).
    pub transfer_policy: TransferPolicy,
}

/// What becomes of a peer's wish that we call somebody else instead (threats C6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransferPolicy {
    /// The user is asked.
    Ask,
    /// It is done at once.
    Allow,
    /// It is refused (603).
    Deny,
}

impl Default for CallConfig {
    fn default() -> Self {
        Self {
            max: 4,
            hold_others: true,
            ring_timeout: Duration::from_secs(60),
            answer_timeout: Duration::from_secs(120),
            media_timeout: Some(Duration::from_secs(60)),
            do_not_disturb: false,
            do_not_disturb_code: 480,
            forward: Forward::default(),
            privacy: false,
            user_to_user: None,
            auto_answer: None,
            rules: Rules::default(),
            redirects: 5,
            transfer_policy: TransferPolicy::Ask,
        }
    }
}
