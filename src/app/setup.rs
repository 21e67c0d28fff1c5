//! From [`Config`] to what engines and driver are made with.

use super::config::password::PasswordError;
use super::config::{Account, Audio, Config, Encryption, Limits, Transport};
use crate::api::{AudioRoute, Failure};
use crate::driver::{Bind, DriverConfig, TlsSettings};
use crate::engine::Protocol;
use crate::media::codec::CODECS;
use crate::media::command::MediaSettings;
use crate::sdp::Capabilities;
use crate::secret::Secret;
use crate::sip::auth::Credentials;
use crate::sip::endpoint::TlsWish;
use crate::sip::message::Uri;
use crate::time::Duration;
use crate::ua::{AccountConfig, AudioConfig, CallConfig, Rules, UaConfig};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The sound settings as an engine takes them.
pub(crate) fn audio(audio: &Audio, encryption: Encryption, config: &Config) -> AudioConfig {
    let codecs = audio.codecs.iter().filter_map(|name| CODECS.iter().find(|c| c.name == name)).collect();
    let settings = MediaSettings {
        jitter_adaptive: audio.jitter_adaptive,
        jitter_min: audio.jitter_min,
        jitter_max: audio.jitter_max,
        opus_bitrate: audio.opus.bitrate,
        opus_complexity: audio.opus.complexity,
        opus_fec: audio.opus.fec,
        opus_dtx: audio.opus.dtx,
        opus_expected_loss: audio.opus.expected_loss,
        dscp: config.network.dscp_audio,
        media_timeout: some(config.call.media_timeout),
    };
    let suites = config.call.srtp_suites.clone();
    AudioConfig {
        capabilities: Capabilities { suites, ..Capabilities::new(codecs, true, audio.frame).with_settings(&settings) },
        settings,
        route: AudioRoute { source: audio.input.clone(), sink: audio.output.clone() },
        encryption: encryption.media,
        keys_in_clear: encryption.keys_in_clear,
    }
}

fn some(span: Duration) -> Option<Duration> {
    (!span.is_zero()).then_some(span)
}

pub(crate) fn limits(limits: &Limits) -> crate::sip::endpoint::Limits {
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    crate::sip::endpoint::Limits {
        invites_per_source: limits.invites_per_source,
        ringing: number(limits.ringing),
        unanswered: number(limits.unanswered),
        dialogs: number(limits.dialogs),
    }
}

/// What the softphone engine is made with; fetches the passwords.
///
/// # Errors
/// When a password cannot be had or an address makes no URI.
pub(crate) fn ua(config: &Config) -> Result<UaConfig, Failure> {
    let accounts = config.accounts.iter().map(|a| account(a, config)).collect::<Result<_, _>>()?;
    Ok(UaConfig {
        accounts,
        default_audio: audio(&config.audio, config.call.encryption, config),
        call: CallConfig {
            max: config.call.max,
            hold_others: config.call.hold_others,
            ring_timeout: config.call.ring_timeout,
            answer_timeout: config.call.answer_timeout,
            media_timeout: some(config.call.media_timeout),
            do_not_disturb: config.call.do_not_disturb,
            do_not_disturb_code: config.call.do_not_disturb_code,
            forward: config.call.forward.clone(),
            redirects: config.call.redirects,
            privacy: config.call.privacy,
            user_to_user: config.call.user_to_user.clone(),
            transfer_policy: config.call.transfer_policy,
            auto_answer: None,
            rules: rules(config),
        },
        limits: limits(&config.limits),
        accept_any: config.network.accept_any,
        ..UaConfig::default()
    })
}

/// The same with the name of this phone, if an account registers.
///
/// # Errors
/// As [`ua`].
pub(crate) fn named_ua(config: &Config) -> Result<UaConfig, Failure> {
    let registers = config.accounts.iter().any(|account| account.register);
    let instance = if registers { super::instance::urn() } else { None };
    Ok(UaConfig { instance, ..ua(config)? })
}

/// The extensions of SIP that calls use.
pub(crate) fn rules(config: &Config) -> Rules {
    let seconds = |span: Duration| u32::try_from(span.as_secs()).unwrap_or(u32::MAX);
    Rules {
        reliable: config.call.reliable_provisional,
        session_expires: seconds(config.call.session_timer),
        replaces: true,
        min_se: seconds(config.call.session_timer_min),
    }
}

fn account(account: &Account, config: &Config) -> Result<AccountConfig, Failure> {
    let bad = |what: &str, value: &str, cause: String| {
        Failure::new("usage.argument")
            .with("what", format!("{what} of account \"{}\"", account.name))
            .with("value", format!("\"{value}\""))
            .with("cause", cause)
    };
    let uri = |what: &str, text: &str| text.parse::<Uri>().map_err(|e| bad(what, text, e.to_string()));
    let server = bracketed(&account.server);
    let registrar = uri("server", &format!("sip:{server}"))?;
    let domain = account.domain.as_deref().map(bracketed);
    let aor = uri("user", &format!("sip:{}@{}", account.user, domain.as_deref().unwrap_or(&server)))?;
    let proxy = match &account.proxy {
        Some(proxy) if proxy.starts_with("sip:") || proxy.starts_with("sips:") => Some(uri("proxy", proxy)?),
        Some(proxy) => Some(uri("proxy", &format!("sip:{}", bracketed(proxy)))?),
        // The domain is only a name then; the server is where requests go.
        None => domain.is_some_and(|d| d != server).then(|| registrar.clone()),
    };
    let credentials = account.password.as_ref().map(|source| {
        let fail = |e: PasswordError| {
            Failure::new("config.password").with("account", account.name.as_str()).with("cause", e.to_string())
        };
        source.fetch().map_err(fail).map(|password| Credentials {
            user: account.auth_user.clone().unwrap_or_else(|| account.user.clone()),
            password,
            realm: None,
        })
    });
    Ok(AccountConfig {
        proxy,
        display_name: account.display_name.clone(),
        credentials: credentials.transpose()?,
        register: account.register,
        expires: account.expires,
        transport: match account.transport {
            Transport::Auto => None,
            Transport::Udp => Some(Protocol::Udp),
            Transport::Tcp => Some(Protocol::Tcp),
            Transport::Tls => Some(Protocol::Tls),
        },
        audio: audio(&account.audio, account.encryption, config),
        tls: TlsWish { name: account.tls.server_name.clone(), ..TlsWish::default() },
        auto_answer: account.auto_answer,
        contact_rewrite: account.contact_rewrite,
        outbound: account.outbound,
        gruu: account.gruu,
        dtmf: account.dtmf,
        auto_answer_from: account.auto_answer_from.clone(),
        ..AccountConfig::new(&account.name, aor, registrar)
    })
}

/// An IPv6 address gets its brackets.
pub(crate) fn bracketed(server: &str) -> String {
    if server.parse::<Ipv6Addr>().is_ok() { format!("[{server}]") } else { server.to_owned() }
}

/// What the driver is made with.
pub(crate) fn driver(config: &Config) -> DriverConfig {
    let (first, last) = config.network.rtp_ports;
    DriverConfig { rtp_ports: first..=last, interface: config.network.interface, ..DriverConfig::default() }
}

/// What the driver is told about the TLS connections of an account.
pub(crate) fn tls(account: &Account) -> TlsSettings {
    let tls = &account.tls;
    TlsSettings { ca: tls.ca.clone(), pin: tls.pin, wildcards: tls.wildcards, identity: tls.identity.clone() }
}

/// The SIP sockets of a phone: UDP and TCP on every address, or on the one of `network.interface`.
pub(crate) fn binds(config: &Config) -> Vec<Bind> {
    let both = [Protocol::Udp, Protocol::Tcp];
    let bind = |ip: &IpAddr| both.map(|protocol| Bind { protocol, addr: SocketAddr::new(*ip, config.network.port) });
    ips(config).iter().flat_map(bind).collect()
}

/// The TLS listeners of a phone that has a certificate.
pub(crate) fn tls_binds(config: &Config) -> Vec<Bind> {
    let Some((port, ..)) = config.network.tls else { return Vec::new() };
    ips(config).iter().map(|ip| Bind { protocol: Protocol::Tls, addr: SocketAddr::new(*ip, port) }).collect()
}

fn ips(config: &Config) -> Vec<IpAddr> {
    let mut ips: Vec<IpAddr> = match config.network.interface {
        Some(ip) => vec![ip],
        None => vec![Ipv4Addr::UNSPECIFIED.into()],
    };
    if config.network.interface.is_none() && config.network.ipv6 && has_ipv6() {
        ips.push(Ipv6Addr::UNSPECIFIED.into());
    }
    ips
}

fn has_ipv6() -> bool {
    std::net::UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).is_ok()
}

/// A random password of 20 letters and digits.
///
/// # Errors
/// When the system has no randomness.
pub(crate) fn random_password() -> std::io::Result<Secret> {
    const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let mut bytes = [0; 20];
    getrandom::fill(&mut bytes).map_err(std::io::Error::other)?;
    Ok(Secret::new(bytes.iter().map(|b| char::from(LETTERS[usize::from(b % 32)])).collect()))
}
