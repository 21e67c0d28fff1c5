//! What a [`super::Pbx`] is made with.

use crate::media::command::MediaSettings;
use crate::sdp::Capabilities;
use crate::secret::Secret;
use crate::sip::auth::{Algorithm, StoredHa1};
use crate::sip::endpoint::Limits;
use crate::time::Duration;
use crate::ua::call::Rules;

/// Everything the PBX engine needs to know; made by `app` from the config file or by `try`.
#[derive(Debug, Clone)]
pub struct PbxConfig {
    /// The digest realm, also a name of the domain served.
    pub realm: String,
    /// Further names of the domain, lower case. Our own addresses belong to it anyway.
    pub domains: Vec<String>,
    /// Who may register and call.
    pub users: Vec<PbxUser>,
    /// Digest algorithms that are offered, preferred first; empty: SHA-256 and MD5.
    pub algorithms: Vec<Algorithm>,
    /// Whether 600 to 605 answer.
    pub extensions: bool,
    /// Calls through the PBX at once (a bridge is one); more are answered 503. 0 is no limit.
    pub max_calls: usize,
    /// What the extensions offer and accept; bridges pass everything.
    pub capabilities: Capabilities,
    /// Codec and buffer settings of the extensions.
    pub media: MediaSettings,
    /// What we take from strangers.
    pub limits: Limits,
    /// Shortest lifetime of a registration (423 below it).
    pub min_expires: Duration,
    /// Longest lifetime of a registration (longer ones are cut).
    pub max_expires: Duration,
    /// A called user who does not answer for so long has not answered (480).
    pub answer_timeout: Duration,
    /// Extensions of SIP on each leg of a call.
    pub rules: Rules,
    /// Server and User-Agent header.
    pub user_agent: String,
}

impl Default for PbxConfig {
    fn default() -> Self {
        Self {
            realm: "bellwire".to_owned(),
            domains: Vec::new(),
            users: Vec::new(),
            algorithms: Vec::new(),
            extensions: true,
            max_calls: 50,
            capabilities: Capabilities::default(),
            media: MediaSettings { media_timeout: Some(Duration::from_secs(60)), ..MediaSettings::default() },
            limits: Limits::default(),
            min_expires: Duration::from_secs(60),
            max_expires: Duration::from_secs(3600),
            answer_timeout: Duration::from_secs(120),
            // The calls that it could name are the legs of bridges, which nobody takes over.
            rules: Rules { replaces: false, ..Rules::default() },
            user_agent: concat!("Bellwire-PBX/", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }
}

/// One user of the PBX: name in SIP addresses and for digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PbxUser {
    /// The name, such as `1001` or `alice`.
    pub name: String,
    /// What its digests are checked with.
    pub ha1: StoredHa1,
}

impl PbxUser {
    /// A user with a password; only the HA1 for `realm` are kept.
    pub fn new(name: &str, realm: &str, password: &Secret) -> Self {
        Self { name: name.to_owned(), ha1: StoredHa1::from_password(name, realm, password) }
    }
}
