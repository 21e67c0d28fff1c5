//! One function per table of the config: its keys, their defaults and limits.

use super::findings::Severity;
use super::password::PasswordSource;
use super::read::{Bad, Place, Reader, Table};
use super::value::{duration, filled, quoted, show_duration, sink, source, text};
use super::{
    Account, Audio, Call, Config, Encryption, Level, Limits, Log, Network, Opus, Pbx, PbxUser, Source, Tls, Transport,
};
use crate::media::codec::CODECS;
use crate::media::command::{AudioSink, AudioSource};
use crate::sdp::MediaEncryption;
use crate::sdp::plan::Suite;
use crate::secret::Secret;
use crate::time::Duration;
use crate::ua::{DtmfMode, Forward, Reliable, TransferPolicy};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use toml::de::DeValue;

/// Tables whose functions are not built: refused as a whole.
const LATER: [&str; 8] = ["video", "ring", "history", "report", "ui", "control", "metrics", "hooks"];

pub(super) fn config(r: &mut Reader<'_>, sources: &[Source]) -> Config {
    let mut root = r.root();
    let r = &mut *r;
    r.number(&mut root, "schema", 1, 1..=1);
    let mut table = r.table(&mut root, "audio");
    let audio = audio(r, &mut table, None);
    r.finish(table);
    let call = call(r, &mut root);
    let network = network(r, &mut root, sources);
    let limits = limits(r, &mut root);
    let log = log(r, &mut root);
    let pbx = pbx(r, &mut root, sources);
    let all = r.table(&mut root, "account");
    let mut accounts = Vec::new();
    for (name, table) in r.named(&all) {
        accounts.extend(account(r, &all, &name, table, (&audio, &call.encryption), sources));
    }
    for table in LATER {
        r.not_built(&mut root, table, "");
    }
    r.finish(root);
    Config { accounts, audio, call, network, limits, log, pbx }
}

fn audio<'a>(r: &mut Reader<'a>, t: &mut Table<'a>, above: Option<&Audio>) -> Audio {
    let base = above.cloned().unwrap_or_else(|| Audio {
        input: AudioSource::Device("default".into()),
        output: AudioSink::Device("default".into()),
        codecs: CODECS.iter().map(|c| c.name.to_owned()).collect(),
        frame: Duration::from_millis(20),
        jitter_adaptive: true,
        jitter_min: Duration::from_millis(20),
        jitter_max: Duration::from_secs(2),
        opus: Opus { bitrate: 32_000, complexity: 5, expected_loss: None, fec: true, dtx: false },
    });
    let input =
        r.value(t, "input", base.input, |v| source(text(v)?).map_err(Bad::value), |v| Some(quoted(&show_source(v))));
    let output =
        r.value(t, "output", base.output, |v| sink(text(v)?).map_err(Bad::value), |v| Some(quoted(&show_sink(v))));
    let show = |v: &Vec<String>| Some(format!("[{}]", v.iter().map(|c| quoted(c)).collect::<Vec<_>>().join(", ")));
    let codecs = r.value(t, "codecs", base.codecs, codecs, show);
    let frames = [10, 20, 40, 60].map(Duration::from_millis);
    let words = ["10ms", "20ms", "40ms", "60ms"];
    let frame = r.choice(t, "frame", base.frame, &std::array::from_fn::<_, 4, _>(|i| (words[i], frames[i])), &[]);
    let kinds = [("adaptive", true), ("fixed", false)];
    let jitter_adaptive = r.choice(t, "jitter_buffer", base.jitter_adaptive, &kinds, &[]);
    let within = (Duration::ZERO, Duration::from_secs(10));
    let (jitter_min, min_at) = r.span(t, "jitter_min", base.jitter_min, within);
    let (jitter_max, max_at) = r.span(t, "jitter_max", base.jitter_max, within);
    if jitter_max < jitter_min {
        let other = min_at.as_ref().map(|p| (p, "minimum set here".to_owned()));
        let place = max_at.as_ref().or(min_at.as_ref());
        if let Some(place) = place {
            let text = "`jitter_max` must be at least `jitter_min`".to_owned();
            let label = if max_at.is_some() { "smaller" } else { "greater than jitter_max" };
            let other = if max_at.is_some() { other } else { None };
            r.tell(Severity::Error, "config.value", place, text, label.into(), None, other);
        }
    }
    for key in ["ring_output", "echo_cancel", "noise_suppress", "gain"] {
        r.not_built(t, key, "");
    }
    let mut o = r.table(t, "opus");
    let opus = Opus {
        bitrate: to(r.number(&mut o, "bitrate", base.opus.bitrate.into(), 6000..=510_000)),
        complexity: to(r.number(&mut o, "complexity", base.opus.complexity.into(), 0..=10)),
        expected_loss: r.value(&mut o, "expected_loss", base.opus.expected_loss, loss, |v| {
            Some(v.map_or_else(|| quoted("auto"), |loss| quoted(&format!("{}%", (loss * 1000.0).round() / 10.0))))
        }),
        fec: r.flag(&mut o, "fec", base.opus.fec),
        dtx: r.flag(&mut o, "dtx", base.opus.dtx),
    };
    r.not_built(&mut o, "stereo", "");
    r.finish(o);
    Audio { input, output, codecs, frame, jitter_adaptive, jitter_min, jitter_max, opus }
}

fn codecs(value: &DeValue<'_>) -> Result<Vec<String>, Bad> {
    let Some(list) = value.as_array() else { return Err(Bad::kind("a list of names", value)) };
    let mut names = Vec::new();
    for item in list.iter() {
        let name = text(item.get_ref())?;
        if !CODECS.iter().any(|c| c.name == name) {
            let suggestion = super::findings::nearest(name, CODECS.iter().map(|c| c.name)).map(str::to_owned);
            let all: Vec<_> = CODECS.iter().map(|c| c.name).collect();
            let label = match &suggestion {
                Some(s) => format!("no codec \"{name}\"; did you mean \"{s}\"?"),
                None => format!("no codec \"{name}\"; there are {}", all.join(", ")),
            };
            return Err(Bad { slug: "config.value", label, suggestion });
        }
        if !names.iter().any(|n| n == name) {
            names.push(name.to_owned());
        }
    }
    if names.is_empty() {
        return Err(Bad::value("name at least one codec"));
    }
    Ok(names)
}

fn loss(value: &DeValue<'_>) -> Result<Option<f32>, Bad> {
    let text = text(value)?;
    if text == "auto" {
        return Ok(None);
    }
    let share = text.strip_suffix('%').and_then(|t| t.trim().parse::<f32>().ok());
    share
        .filter(|s| (0.0..=100.0).contains(s))
        .map(|s| Some(s / 100.0))
        .ok_or_else(|| Bad::value("\"auto\" or a share such as \"5%\""))
}

/// The source as the config writes it.
pub(crate) fn show_source(source: &AudioSource) -> String {
    match source {
        AudioSource::None => "none".into(),
        AudioSource::Silence => "silence".into(),
        AudioSource::Tone(hz) => format!("tone:{hz}"),
        AudioSource::Echo => "echo".into(),
        AudioSource::File { path, .. } => format!("file:{path}"),
        AudioSource::Builtin(_) => "builtin".into(),
        AudioSource::Device(name) | AudioSource::DeviceAndFile(name, _) => name.clone(),
    }
}

/// The sink as the config writes it.
pub(crate) fn show_sink(sink: &AudioSink) -> String {
    match sink {
        AudioSink::None => "none".into(),
        AudioSink::File(path) => format!("file:{path}"),
        AudioSink::Device(name) | AudioSink::DeviceAndFile(name, _) => name.clone(),
    }
}

fn call<'a>(r: &mut Reader<'a>, root: &mut Table<'a>) -> Call {
    let mut t = r.table(root, "call");
    let long = (Duration::from_secs(1), Duration::from_secs(3600));
    let day = Duration::from_secs(86_400);
    let least = (Duration::from_secs(90), day);
    let kinds = [("off", Reliable::Off), ("supported", Reliable::Supported), ("required", Reliable::Required)];
    let call = Call {
        max: to(r.number(&mut t, "max", 4, 0..=100_000)),
        hold_others: r.flag(&mut t, "hold_others", true),
        ring_timeout: r.span(&mut t, "ring_timeout", Duration::from_secs(60), long).0,
        answer_timeout: r.span(&mut t, "answer_timeout", Duration::from_secs(120), long).0,
        media_timeout: r.span(&mut t, "media_timeout", Duration::from_secs(60), (Duration::ZERO, long.1)).0,
        do_not_disturb: r.flag(&mut t, "do_not_disturb", false),
        encryption: encryption(r, &mut t, None),
        srtp_suites: r.value(&mut t, "srtp_suites", Suite::ALL.to_vec(), suites, |v| show_suites(v)),
        do_not_disturb_code: to(r.number(&mut t, "do_not_disturb_code", 480, 400..=699)),
        forward: Forward {
            always: r.optional(&mut t, "forward_always"),
            busy: r.optional(&mut t, "forward_busy"),
            no_answer: r.optional(&mut t, "forward_no_answer"),
        },
        redirects: to(r.number(&mut t, "redirects", 5, 0..=20)),
        privacy: r.flag(&mut t, "privacy", false),
        user_to_user: r.optional(&mut t, "user_to_user"),
        transfer_policy: r.choice(
            &mut t,
            "transfer_policy",
            TransferPolicy::Ask,
            &[("ask", TransferPolicy::Ask), ("allow", TransferPolicy::Allow), ("deny", TransferPolicy::Deny)],
            &[],
        ),
        reliable_provisional: r.choice(&mut t, "reliable_provisional", Reliable::Supported, &kinds, &[]),
        session_timer: r.span(&mut t, "session_timer", Duration::from_secs(1800), (Duration::ZERO, day)).0,
        session_timer_min: r.span(&mut t, "session_timer_min", Duration::from_secs(90), least).0,
    };
    for key in ["wait_tone", "record"] {
        r.not_built(&mut t, key, if key == "record" { "; `--record FILE` can" } else { "" });
    }
    r.finish(t);
    call
}

/// `media_encryption` and what belongs to it, of all calls or of those of an account.
fn encryption<'a>(r: &mut Reader<'a>, t: &mut Table<'a>, above: Option<&Encryption>) -> Encryption {
    let base = above.copied().unwrap_or(Encryption { media: MediaEncryption::Preferred, keys_in_clear: false });
    let kinds = [
        ("off", MediaEncryption::Off),
        ("preferred", MediaEncryption::Preferred),
        ("required", MediaEncryption::Required),
    ];
    Encryption {
        media: r.choice(t, "media_encryption", base.media, &kinds, &[]),
        keys_in_clear: r.flag(t, "srtp_keys_in_clear", base.keys_in_clear),
    }
}

fn show_suites(suites: &[Suite]) -> Option<String> {
    Some(format!("[{}]", suites.iter().map(|suite| quoted(suite.name())).collect::<Vec<_>>().join(", ")))
}

fn suites(value: &DeValue<'_>) -> Result<Vec<Suite>, Bad> {
    let Some(list) = value.as_array() else { return Err(Bad::kind("a list of names", value)) };
    let mut suites = Vec::new();
    for item in list.iter() {
        let name = text(item.get_ref())?;
        let Some(suite) = Suite::by_name(name) else {
            let all = Suite::ALL.map(Suite::name);
            let suggestion = super::findings::nearest(name, all).map(str::to_owned);
            let label = format!("no suite \"{name}\"; there are {}", all.join(", "));
            return Err(Bad { slug: "config.value", label, suggestion });
        };
        if !suites.contains(&suite) {
            suites.push(suite);
        }
    }
    if suites.is_empty() {
        return Err(Bad::value("name at least one suite"));
    }
    Ok(suites)
}

fn network<'a>(r: &mut Reader<'a>, root: &mut Table<'a>, sources: &[Source]) -> Network {
    let mut t = r.table(root, "network");
    let port = to(r.number(&mut t, "port", 0, 0..=65_535));
    let show = |v: &(u16, u16)| Some(quoted(&format!("{}-{}", v.0, v.1)));
    let rtp_ports = r.value(&mut t, "rtp_ports", (16_384, 32_767), ports, show);
    let address = |v: &DeValue<'_>| match text(v)? {
        "auto" => Ok(None),
        ip => ip.parse::<IpAddr>().map(Some).map_err(|_| Bad::value("\"auto\" or an address of this computer")),
    };
    let show = |v: &Option<IpAddr>| Some(quoted(&v.map_or_else(|| "auto".to_owned(), |ip| ip.to_string())));
    let tls_port = to(r.number(&mut t, "tls_port", 5061, 0..=65_535));
    let tls = identity(r, &mut t, sources).map(|(certificate, key)| (tls_port, certificate, key));
    let network = Network {
        port,
        tls,
        rtp_ports,
        ipv6: r.flag(&mut t, "ipv6", true),
        interface: r.value(&mut t, "interface", None, address, show),
        dscp_audio: to(r.number(&mut t, "dscp_audio", 46, 0..=63)),
        accept_any: r.choice(&mut t, "accept_from", false, &[("proxy", false), ("any", true)], &[]),
    };
    for key in ["dscp_video", "keepalive"] {
        r.not_built(&mut t, key, "");
    }
    r.finish(t);
    network
}

fn ports(value: &DeValue<'_>) -> Result<(u16, u16), Bad> {
    let bad = || Bad::value("first and last port, 1024 to 65535, such as \"16384-32767\"");
    let (first, last) = text(value)?.split_once('-').ok_or_else(bad)?;
    let first: u16 = first.trim().parse().map_err(|_| bad())?;
    let last: u16 = last.trim().parse().map_err(|_| bad())?;
    if first < 1024 || last <= first {
        return Err(bad());
    }
    Ok((first, last))
}

fn limits<'a>(r: &mut Reader<'a>, root: &mut Table<'a>) -> Limits {
    let mut t = r.table(root, "limits");
    let limits = Limits {
        invites_per_source: to(r.number(&mut t, "invites_per_source", 20, 0..=1_000_000)),
        ringing: to(r.number(&mut t, "ringing", 4, 0..=1_000_000)),
        unanswered: to(r.number(&mut t, "unanswered", 1024, 0..=1_000_000)),
        dialogs: to(r.number(&mut t, "dialogs", 512, 0..=1_000_000)),
    };
    r.finish(t);
    limits
}

fn log<'a>(r: &mut Reader<'a>, root: &mut Table<'a>) -> Log {
    let mut t = r.table(root, "log");
    let levels = [
        ("off", Level::Off),
        ("error", Level::Error),
        ("warn", Level::Warn),
        ("info", Level::Info),
        ("debug", Level::Debug),
        ("trace", Level::Trace),
    ];
    let log = Log {
        level: r.choice(&mut t, "level", Level::Info, &levels, &[]),
        file: r.optional(&mut t, "file").map(Into::into),
    };
    r.not_built(&mut t, "sip", "; `--trace FILE` can");
    r.finish(t);
    log
}

fn pbx<'a>(r: &mut Reader<'a>, root: &mut Table<'a>, sources: &[Source]) -> Pbx {
    let mut t = r.table(root, "pbx");
    let address = |v: &DeValue<'_>| {
        text(v)?.parse::<SocketAddr>().map_err(|_| Bad::value("address and port, such as \"127.0.0.1:5060\""))
    };
    let default = SocketAddr::from((Ipv4Addr::LOCALHOST, 5060));
    let listen = r.value(&mut t, "listen", default, address, |v| Some(quoted(&v.to_string())));
    let secure = SocketAddr::from((Ipv4Addr::LOCALHOST, 5061));
    let secure = r.value(&mut t, "tls_listen", secure, address, |v| Some(quoted(&v.to_string())));
    let tls = identity(r, &mut t, sources).map(|(certificate, key)| (secure, certificate, key));
    let realm = r.value(&mut t, "realm", "bellwire".to_owned(), filled, |v| Some(quoted(v)));
    let max_calls = to(r.number(&mut t, "max_calls", 100, 0..=100_000));
    let all = r.table(&mut t, "user");
    let mut users = Vec::new();
    for (name, mut table) in r.named(&all) {
        let at = r.place_of(&all, &name);
        r.not_built(&mut table, "ha1_sha256", "; use `password_command` or `password_file`");
        match password(r, &mut table, sources, &at) {
            Some(password) => users.push(PbxUser { name, password }),
            None => {
                let text = format!("[{}] has no password", table.path);
                let label = "add password_command, password_file, password_env or password".to_owned();
                r.tell(Severity::Error, "config.missing-key", &at, text, label, None, None);
            }
        }
        r.finish(table);
    }
    r.finish(t);
    Pbx { listen, tls, realm, max_calls, users }
}

/// The one password source of a table; two of them are an error.
fn password<'a>(r: &mut Reader<'a>, t: &mut Table<'a>, sources: &[Source], at: &Place) -> Option<PasswordSource> {
    let mut found: Vec<(&str, PasswordSource, Place)> = Vec::new();
    for key in ["password_command", "password_env", "password_file", "password"] {
        let Some((text, place)) =
            r.get(t, key, |v| if key == "password" { text(v).map(str::to_owned) } else { filled(v) })
        else {
            continue;
        };
        let source = match key {
            "password_command" => PasswordSource::Command(text),
            "password_env" => PasswordSource::Env(text),
            "password_file" => PasswordSource::File(
                place.layer().and_then(|l| sources.get(l)).map_or_else(|| text.clone().into(), |s| s.dir.join(&text)),
            ),
            _ => PasswordSource::Inline(Secret::new(text)),
        };
        let shown = if key == "password" { quoted("***") } else { quoted(&shown(&source)) };
        r.note(t, key, Some(shown), place.origin());
        found.push((key, source, place));
    }
    r.not_built(t, "password_keyring", "; password_command = \"secret-tool lookup …\" can");
    if let [(first, _, a), (second, _, b), ..] = found.as_slice() {
        let text = format!("[{}] has two passwords: `{first}` and `{second}`", t.path);
        let (a, b) = (a.clone(), b.clone());
        r.tell(
            Severity::Error,
            "config.value",
            &b,
            text,
            "keep only one".into(),
            None,
            Some((&a, "the other one".into())),
        );
    }
    let (key, source, place) = found.into_iter().next()?;
    let exposed = place.layer().and_then(|l| sources.get(l)).is_some_and(|s| s.exposed);
    if key == "password" && exposed {
        let text = "others can read this file and so this password".to_owned();
        let label = "chmod 600 this file, or use `password_command`".to_owned();
        r.tell(Severity::Warning, "config.exposed-password", at, text, label, None, None);
    }
    Some(source)
}

fn shown(source: &PasswordSource) -> String {
    match source {
        PasswordSource::Command(command) => command.clone(),
        PasswordSource::Env(name) => name.clone(),
        PasswordSource::File(path) => path.display().to_string(),
        PasswordSource::Inline(_) => "***".into(),
    }
}

fn account<'a>(
    r: &mut Reader<'a>,
    all: &Table<'a>,
    name: &str,
    mut t: Table<'a>,
    above: (&Audio, &Encryption),
    sources: &[Source],
) -> Option<Account> {
    let at = r.place_of(all, name);
    let need = |r: &mut Reader<'a>,
                t: &mut Table<'a>,
                key: &'static str,
                example: &str,
                check: fn(&str) -> Result<(), String>| {
        let before = r.findings.len();
        let read = |v: &DeValue<'_>| {
            let text = filled(v)?;
            check(&text).map_err(Bad::value)?;
            Ok(Some(text))
        };
        let value = r.value(t, key, None, read, |v| v.as_deref().map(quoted));
        if value.is_none() && r.findings.len() == before {
            let text = format!("[{}] lacks `{key}`", t.path);
            r.tell(Severity::Error, "config.missing-key", &at, text, format!("add {key} = \"{example}\""), None, None);
        }
        value
    };
    let server = need(r, &mut t, "server", "pbx.example.org", server_name);
    let user = need(r, &mut t, "user", "1001", user_name);
    let domain = r.optional(&mut t, "domain");
    let display_name = r.optional(&mut t, "display_name");
    let auth_user = r.optional(&mut t, "auth_user");
    let password = password(r, &mut t, sources, &at);
    let register = r.flag(&mut t, "register", true);
    let expires =
        r.span(&mut t, "expires", Duration::from_secs(600), (Duration::from_secs(30), Duration::from_secs(86_400))).0;
    let kinds = [("auto", Transport::Auto), ("udp", Transport::Udp), ("tcp", Transport::Tcp), ("tls", Transport::Tls)];
    let transport = r.choice(&mut t, "transport", Transport::Auto, &kinds, &[]);
    let tls = tls(r, &mut t, sources);
    let proxy = r.optional(&mut t, "proxy");
    r.choice(&mut t, "nat", (), &[("auto", ())], &["stun", "ice", "off"]);
    let encryption = encryption(r, &mut t, Some(above.1));
    let contact_rewrite = r.flag(&mut t, "contact_rewrite", true);
    let outbound = r.flag(&mut t, "outbound", true);
    let gruu = r.flag(&mut t, "gruu", false);
    let modes = [("auto", DtmfMode::Auto), ("rfc4733", DtmfMode::Rfc4733), ("info", DtmfMode::Info)];
    let dtmf = r.choice(&mut t, "dtmf", DtmfMode::Auto, &modes, &["inband"]);
    let auto_answer = r.value(&mut t, "auto_answer", None, auto_answer, |v| {
        Some(v.map_or_else(|| "false".into(), |d| quoted(&show_duration(d))))
    });
    let show = |v: &Vec<String>| Some(format!("[{}]", v.iter().map(|c| quoted(c)).collect::<Vec<_>>().join(", ")));
    let auto_answer_from = r.value(&mut t, "auto_answer_from", Vec::new(), callers, show);
    r.not_built(&mut t, "stun", "");
    let mut own = r.table(&mut t, "audio");
    let audio = audio(r, &mut own, Some(above.0));
    r.finish(own);
    for table in ["video", "call", "network", "ring"] {
        r.not_built(&mut t, table, &format!("; [{table}] holds for all accounts"));
    }
    r.finish(t);
    let (server, user) = (server?, user?);
    Some(Account {
        name: name.to_owned(),
        server,
        user,
        domain,
        display_name,
        auth_user,
        password,
        register,
        expires,
        transport,
        tls,
        proxy,
        auto_answer,
        auto_answer_from,
        dtmf,
        audio,
        encryption,
        contact_rewrite,
        outbound,
        gruu,
    })
}

fn tls<'a>(r: &mut Reader<'a>, t: &mut Table<'a>, sources: &[Source]) -> Tls {
    Tls {
        ca: file(r, t, "tls_ca", sources),
        pin: r.value(t, "tls_pin", None, pin, |v| v.map(|pin| quoted(&show_pin(&pin)))),
        server_name: r.optional(t, "tls_server_name"),
        wildcards: r.flag(t, "tls_wildcards", false),
        identity: identity(r, t, sources),
    }
}

/// `tls_cert` and `tls_key`: both or none.
fn identity<'a>(r: &mut Reader<'a>, t: &mut Table<'a>, sources: &[Source]) -> Option<(PathBuf, PathBuf)> {
    let found = ["tls_cert", "tls_key"].map(|key| (key, placed_file(r, t, key, sources)));
    match found {
        [(_, Some((certificate, _))), (_, Some((key, _)))] => return Some((certificate, key)),
        [(_, None), (_, None)] => {}
        [(here, Some((_, at))), (lacks, None)] | [(lacks, None), (here, Some((_, at)))] => {
            let text = format!("[{}] has `{here}` without `{lacks}`", t.path);
            r.tell(Severity::Error, "config.missing-key", &at, text, format!("add {lacks}"), None, None);
        }
    }
    None
}

/// The file that a key names; a relative path is beside the config file.
fn file<'a>(r: &mut Reader<'a>, t: &mut Table<'a>, key: &'static str, sources: &[Source]) -> Option<PathBuf> {
    placed_file(r, t, key, sources).map(|(path, _)| path)
}

fn placed_file<'a>(
    r: &mut Reader<'a>,
    t: &mut Table<'a>,
    key: &'static str,
    sources: &[Source],
) -> Option<(PathBuf, Place)> {
    let Some((text, place)) = r.get(t, key, filled) else {
        r.note(t, key, None, "default".to_owned());
        return None;
    };
    r.note(t, key, Some(quoted(&text)), place.origin());
    let dir = place.layer().and_then(|layer| sources.get(layer)).map(|source| &source.dir);
    let path = dir.map_or_else(|| PathBuf::from(&text), |dir| dir.join(&text));
    Some((path, place))
}

/// `sha256:` and 64 hex digits, perhaps with colons, or the base64 of as many bytes.
fn pin(value: &DeValue<'_>) -> Result<Option<[u8; 32]>, Bad> {
    use base64::Engine;
    let bad = || Bad::value("\"sha256:\" and the 64 hex digits of the certificate or of its key");
    let text = text(value)?.trim();
    let digits = text.strip_prefix("sha256:").or_else(|| text.strip_prefix("sha256/")).ok_or_else(bad)?;
    let hex: String = digits.chars().filter(|c| *c != ':').collect();
    let pairs = hex.as_bytes().chunks(2).map(|pair| {
        let pair = std::str::from_utf8(pair).ok().filter(|pair| pair.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
        u8::from_str_radix(pair, 16).ok().filter(|_| pair.len() == 2)
    });
    let bytes: Option<Vec<u8>> = pairs.collect();
    let bytes = bytes.filter(|bytes| bytes.len() == 32);
    let bytes = bytes.or_else(|| base64::engine::general_purpose::STANDARD.decode(digits).ok());
    bytes.and_then(|bytes| bytes.try_into().ok()).map(Some).ok_or_else(bad)
}

fn show_pin(pin: &[u8; 32]) -> String {
    pin.iter().fold("sha256:".to_owned(), |text, byte| format!("{text}{byte:02x}"))
}

fn server_name(text: &str) -> Result<(), String> {
    if text.contains(['/', '@', ' ', ';', '<', '>', '"', '?']) || text.starts_with("sip:") {
        return Err("a name or an address with optional :port, such as \"pbx.example.org\"".into());
    }
    Ok(())
}

fn user_name(text: &str) -> Result<(), String> {
    if text.contains(['@', ' ', '<', '>', '"']) {
        return Err("only the part before the @".into());
    }
    Ok(())
}

fn callers(value: &DeValue<'_>) -> Result<Vec<String>, Bad> {
    let DeValue::Array(entries) = value else {
        return Err(Bad::kind("a list such as [\"1001\", \"boss@example.org\"]", value));
    };
    entries.iter().map(|entry| filled(entry.get_ref())).collect()
}

fn auto_answer(value: &DeValue<'_>) -> Result<Option<Duration>, Bad> {
    match value {
        DeValue::Boolean(false) => Ok(None),
        DeValue::Boolean(true) => Ok(Some(Duration::ZERO)),
        DeValue::String(text) => duration(text)
            .filter(|d| *d <= Duration::from_secs(3600))
            .map(Some)
            .ok_or_else(|| Bad::value("true, false or a delay such as \"2s\"")),
        DeValue::Integer(_) | DeValue::Float(_) | DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => {
            Err(Bad::kind("true, false or a delay such as \"2s\"", value))
        }
    }
}

/// A number whose range was checked while it was read.
fn to<T: TryFrom<i64>>(number: i64) -> T {
    T::try_from(number).unwrap_or_else(|_| unreachable!("{number} was read within its range"))
}
