//! [`Config`]: what the user wants, read from TOML files, options and `BELLWIRE_*` variables.
//!
//! ```text
//!   options > BELLWIRE_* > --config file, else user file > conf.d/*.toml beside it > /etc/bellwire/config.toml > defaults
//! ```
//! All findings are told at once, each with its place; a config with one error starts nothing.

pub mod findings;
pub mod password;
pub mod places;
pub mod read;
mod tables;
#[cfg(test)]
mod tests;
pub mod value;

use crate::media::command::{AudioSink, AudioSource};
use crate::sdp::MediaEncryption;
use crate::sdp::plan::Suite;
use crate::time::Duration;
use crate::ua::{DtmfMode, Forward, Reliable, TransferPolicy};
pub use findings::{Finding, Severity};
pub use password::PasswordSource;
use read::{Layer, Reader};
pub use read::{Overrides, Setting};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use toml::de::DeTable;

/// The example with every key, which `config init --full` writes.
pub const FULL: &str = include_str!("../../../config/softphone.toml");

/// The most findings that are shown at once: each is drawn with its lines, and nobody reads more.
const MOST_SHOWN: usize = 100;

/// Everything that can be set.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// In the order of the files; the first one is the default.
    pub accounts: Vec<Account>,
    /// `[audio]`
    pub audio: Audio,
    /// `[call]`
    pub call: Call,
    /// `[network]`
    pub network: Network,
    /// `[limits]`
    pub limits: Limits,
    /// `[log]`
    pub log: Log,
    /// `[pbx]`
    pub pbx: Pbx,
}

/// `[account.NAME]`
#[derive(Debug, Clone, PartialEq)]
pub struct Account {
    /// As in the table's name.
    pub name: String,
    /// Name or address of the server, with `:port` if given.
    pub server: String,
    /// Left part of the address.
    pub user: String,
    /// Right part of the address, if it differs from the server.
    pub domain: Option<String>,
    /// Shown to those who are called.
    pub display_name: Option<String>,
    /// Login name, if it differs from the user.
    pub auth_user: Option<String>,
    /// Where the password comes from, if there is one.
    pub password: Option<PasswordSource>,
    /// Whether to register.
    pub register: bool,
    /// For how long.
    pub expires: Duration,
    /// How SIP travels.
    pub transport: Transport,
    /// How the server's certificate is judged, and ours.
    pub tls: Tls,
    /// Outbound proxy.
    pub proxy: Option<String>,
    /// Answer by itself after so long.
    pub auto_answer: Option<Duration>,
    /// How digits are sent.
    pub dtmf: DtmfMode,
    /// Callers that may have themselves answered.
    pub auto_answer_from: Vec<String>,
    /// `[audio]` with the keys of `audio.` in this account.
    pub audio: Audio,
    /// That of `[call]` with the keys of this account.
    pub encryption: Encryption,
    /// Whether the Contact follows the address that the server sees.
    pub contact_rewrite: bool,
    /// Whether a flow is registered (RFC 5626).
    pub outbound: bool,
    /// Contact by a GRUU (RFC 5627).
    pub gruu: bool,
}

/// Whether sound is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Encryption {
    /// `media_encryption`
    pub media: MediaEncryption,
    /// `srtp_keys_in_clear`: keys may go over SIP that others can read.
    pub keys_in_clear: bool,
}

/// How SIP travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// UDP for now.
    Auto,
    /// Datagrams.
    Udp,
    /// A stream.
    Tcp,
    /// A stream that nobody on the way can read.
    Tls,
}

/// The `tls_…` keys of an account.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tls {
    /// Trust these certificates instead of the system's.
    pub ca: Option<PathBuf>,
    /// Trust exactly the certificate or key with this SHA-256.
    pub pin: Option<[u8; 32]>,
    /// The name that the certificate must be for, instead of the server's.
    pub server_name: Option<String>,
    /// Take certificates with a wildcard.
    pub wildcards: bool,
    /// Certificate and key to show to servers that ask.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// `[audio]`
#[derive(Debug, Clone, PartialEq)]
pub struct Audio {
    /// What the peer hears.
    pub input: AudioSource,
    /// Where we hear the peer.
    pub output: AudioSink,
    /// Codec names in order of preference.
    pub codecs: Vec<String>,
    /// Sound per packet.
    pub frame: Duration,
    /// Whether the delay of the jitter buffer follows the network.
    pub jitter_adaptive: bool,
    /// Least delay.
    pub jitter_min: Duration,
    /// Most delay.
    pub jitter_max: Duration,
    /// `[audio.opus]`
    pub opus: Opus,
}

/// `[audio.opus]`
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Opus {
    /// Bits a second.
    pub bitrate: u32,
    /// 0 to 10.
    pub complexity: u8,
    /// Share of packets 0 to 1; `None` follows what the peer reports.
    pub expected_loss: Option<f32>,
    /// Redundancy in the stream.
    pub fec: bool,
    /// Silence is not sent.
    pub dtx: bool,
}

/// `[call]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Calls at once; 0: no limit.
    pub max: usize,
    /// Answering, placing or resuming a call holds the others.
    pub hold_others: bool,
    /// An incoming call rings for so long.
    pub ring_timeout: Duration,
    /// An outgoing call waits for so long.
    pub answer_timeout: Duration,
    /// No packet for so long ends the call; 0: never.
    pub media_timeout: Duration,
    /// Refuse all calls.
    pub do_not_disturb: bool,
    /// Of calls without account, and what accounts start from.
    pub encryption: Encryption,
    /// Suites of SRTP in order of preference.
    pub srtp_suites: Vec<Suite>,
    /// By this status.
    pub do_not_disturb_code: u16,
    /// Where calls are sent on to.
    pub forward: Forward,
    /// Contacts of redirections (3xx) that are tried; 0: none.
    pub redirects: u8,
    /// Who we are is kept from the callee.
    pub privacy: bool,
    /// Sent along with every call.
    pub user_to_user: Option<String>,
    /// What becomes of a far end's wish that we call somebody else.
    pub transfer_policy: TransferPolicy,
    /// Reliable provisional responses (RFC 3262).
    pub reliable_provisional: Reliable,
    /// The session interval to ask for (RFC 4028); 0: none.
    pub session_timer: Duration,
    /// The least session interval to take.
    pub session_timer_min: Duration,
}

/// `[network]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// SIP port; 0: any.
    pub port: u16,
    /// RTP ports, first and last.
    pub rtp_ports: (u16, u16),
    /// Whether IPv6 is used.
    pub ipv6: bool,
    /// Address to bind; `None`: all.
    pub interface: Option<IpAddr>,
    /// DSCP of RTP.
    pub dscp_audio: u8,
    /// Whether anybody may call, not only the server we are registered with.
    pub accept_any: bool,
    /// Port, certificate and key of a phone that listens for TLS.
    pub tls: Option<(u16, PathBuf, PathBuf)>,
}

/// `[limits]`, 0: no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// New INVITEs a second from one address.
    pub invites_per_source: u32,
    /// Calls that ring at once.
    pub ringing: usize,
    /// Server transactions without a final response.
    pub unanswered: usize,
    /// Dialogs besides those of calls.
    pub dialogs: usize,
}

/// `[log]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// Least level that is written.
    pub level: Level,
    /// File instead of stderr.
    pub file: Option<PathBuf>,
}

/// How much is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Level {
    Off,
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// `[pbx]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pbx {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Where it listens for TLS, with which certificate and key.
    pub tls: Option<(SocketAddr, PathBuf, PathBuf)>,
    /// Name of its realm.
    pub realm: String,
    /// Calls at once; 0: no limit.
    pub max_calls: usize,
    /// Who may register.
    pub users: Vec<PbxUser>,
}

/// `[pbx.user.NAME]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PbxUser {
    /// As in the table's name.
    pub name: String,
    /// Its password.
    pub password: PasswordSource,
}

/// One file, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// As it is shown.
    pub file: String,
    /// Its text.
    pub text: String,
    /// Its folder: relative password files are looked for there.
    pub dir: PathBuf,
    /// Whether others may read it.
    pub exposed: bool,
}

/// A config and what there is to say about it.
#[derive(Debug)]
pub struct Loaded {
    /// The config, if there is no error in it.
    pub config: Option<Config>,
    /// All findings, in the order of files and lines.
    pub findings: Vec<Finding>,
    /// All keys, their values and where they came from; none after [`Self::read_lean`].
    pub settings: Vec<Setting>,
    /// Table (with `*` for free names) and name of every key there is.
    pub known: Vec<(String, &'static str)>,
    /// The files, best first.
    pub sources: Vec<Source>,
}

impl Loaded {
    /// Reads `sources`, best first.
    pub fn read(sources: Vec<Source>, overrides: &Overrides) -> Self {
        Self::read_with(sources, overrides, true)
    }

    /// The same without [`Self::settings`], which with many accounts take more memory than all else.
    pub fn read_lean(sources: Vec<Source>, overrides: &Overrides) -> Self {
        Self::read_with(sources, overrides, !overrides.is_empty())
    }

    fn read_with(sources: Vec<Source>, overrides: &Overrides, noting: bool) -> Self {
        let mut findings = Vec::new();
        let mut layers = Vec::new();
        for source in &sources {
            let (root, errors) = DeTable::parse_recoverable(&source.text);
            for error in errors {
                let mut finding = Finding {
                    severity: Severity::Error,
                    slug: "config.syntax",
                    file: source.file.clone(),
                    span: Some(error.span().unwrap_or(0..0)),
                    text: "this is no TOML".into(),
                    label: error.message().to_owned(),
                    suggestion: None,
                    other: None,
                    line: 0,
                    col: 0,
                };
                finding.locate(&source.text);
                findings.push(finding);
            }
            layers.push(Layer { file: &source.file, text: &source.text, root });
        }
        let mut reader = Reader::new(&layers, overrides, noting);
        let config = tables::config(&mut reader, &sources);
        reader.judge_unknown();
        findings.append(&mut reader.findings);
        let (settings, known) = (reader.settings, reader.known);
        findings.sort_by(|a, b| (&a.file, a.line, a.col).cmp(&(&b.file, b.line, b.col)));
        let good = !findings.iter().any(|f| f.severity == Severity::Error);
        drop(layers);
        Self { config: good.then_some(config), findings, settings, known, sources }
    }

    /// True if all that is wrong came from options: the usage is wrong, not the config.
    pub fn is_wrong_usage(&self) -> bool {
        let mut errors = self.findings.iter().filter(|f| f.severity == Severity::Error).peekable();
        errors.peek().is_some() && errors.all(|f| f.file.starts_with("--"))
    }

    /// All findings as a person reads them, with a last line that counts them; empty if there are none.
    pub fn render(&self, colour: bool) -> String {
        let mut text = String::new();
        for finding in self.findings.iter().take(MOST_SHOWN) {
            let source = self.sources.iter().find(|s| s.file == finding.file).map_or("", |s| s.text.as_str());
            text += &finding.render(source, colour);
            text.push('\n');
        }
        if let Some(more) = self.findings.len().checked_sub(MOST_SHOWN).filter(|more| *more > 0) {
            text += &format!("… and {more} more\n");
        }
        let errors = self.findings.iter().filter(|f| f.severity == Severity::Error).count();
        if errors > 0 && !self.is_wrong_usage() {
            let wrong = self.findings.iter().filter(|f| f.severity == Severity::Error);
            let mut files: Vec<_> = wrong.map(|f| f.file.as_str()).collect();
            files.dedup();
            let plural = if errors == 1 { "" } else { "s" };
            text += &format!("{}: {errors} error{plural}. Nothing was changed.\n", files.join(", "));
        }
        text
    }
}

impl Default for Config {
    fn default() -> Self {
        Loaded::read(Vec::new(), &Overrides::default()).config.expect("the defaults have no errors")
    }
}
