//! `call`, `listen`, `register`, `ping`: from options and config to a softphone and what it is for.

use super::args::{Call, Cli, Command, Listen, Ping, Register};
use super::config::{Audio, Config, Loaded, Transport, places};
use super::console::Console;
use super::exit::Exit;
use super::run::{Phone, Stop, config, names, ready};
use super::session::{AutoAnswer, Goal, Sound};
use super::setup;
use crate::api::{AudioRoute, Failure};
use crate::device::wav::{Sound as Wav, WavError};
use crate::id::AccountId;
use crate::media::command::{AudioSink, AudioSource};
use std::path::Path;

/// Source and sink from `--play` and `--record`, checked.
fn own_sound(play: Option<&Path>, record: Option<&Path>, config: &Config) -> Result<Sound, Failure> {
    let text = |path: &Path| path.display().to_string();
    let words = |error: &WavError| error.to_string().split(" (os error").next().unwrap_or_default().to_owned();
    let refuse = |option: &str, path: &Path, cause: String| {
        Failure::new("usage.file").with("option", option).with("file", text(path)).with("cause", cause)
    };
    if let Some(path) = play {
        Wav::load(path).map_err(|error| refuse("--play", path, words(&error)))?;
    }
    if let Some(path) = record {
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
        if let Some(folder) = folder.filter(|f| !f.is_dir()) {
            return Err(refuse("--record", path, format!("there is no folder {}", text(folder))));
        }
    }
    // Who records goes on hearing what is recorded: the default account's device, or the phone's.
    let base = config.accounts.first().map_or_else(|| route(&config.audio), |a| route(&a.audio));
    let sink = record.map(|path| match &base.sink {
        AudioSink::Device(device) | AudioSink::DeviceAndFile(device, _) => {
            AudioSink::DeviceAndFile(device.clone(), text(path))
        }
        AudioSink::None | AudioSink::File(_) => AudioSink::File(text(path)),
    });
    let source = play.map(|path| AudioSource::File { path: text(path), repeat: false });
    let accounts = config.accounts.iter().map(|a| route(&a.audio)).collect();
    Ok(Sound { source, sink, base: Some(route(&config.audio)), accounts })
}

fn route(audio: &Audio) -> AudioRoute {
    AudioRoute { source: audio.input.clone(), sink: audio.output.clone() }
}

fn find(config: &Config, name: &str) -> Result<AccountId, Failure> {
    let at = config.accounts.iter().position(|a| a.name == name).and_then(|n| u32::try_from(n).ok());
    at.map(AccountId).ok_or_else(|| {
        let all: Vec<_> = config.accounts.iter().map(|a| format!("\"{}\"", a.name)).collect();
        let all = if all.is_empty() { "none".to_owned() } else { all.join(", ") };
        Failure::new("usage.account").with("account", name).with("accounts", all)
    })
}

/// `bellwire call`
pub(crate) fn call(options: &Call, cli: &Cli, console: &mut Console) -> Result<Exit, Stop> {
    let (mut config, _) = config(cli, console)?;
    own_audio(&mut config, cli);
    let account = options.account.as_deref().map(|name| find(&config, name)).transpose()?;
    let sound = own_sound(options.play.as_deref(), options.record.as_deref(), &config)?;
    let mut target = options.target.clone();
    use_transport(&mut config, options.transport.as_deref(), Some(&mut target));
    let mut ua = setup::named_ua(&config)?;
    // A call needs no registration, and must not take the place of a phone that has one.
    for account in &mut ua.accounts {
        account.register = false;
    }
    let mut phone = Phone::new(&config, &cli.global, console)?;
    let bound = phone.bind(&setup::binds(&config))?;
    phone.add_ua(ua, &bound)?;
    ready(console, "call", &bound);
    let goal = Goal::Call {
        target,
        account,
        sound,
        dtmf: options.dtmf.clone(),
        transfer: options.transfer.clone(),
        duration: options.duration,
        after_register: false,
    };
    let names = names(&config);
    Ok(phone.run(console, names, goal)?.0)
}

/// `--codecs` and `--null-audio` count for every account, whatever its own table says.
fn own_audio(config: &mut Config, cli: &Cli) {
    let codecs = match &cli.command {
        Command::Call(call) => !call.codecs.is_empty(),
        Command::Listen(listen) => !listen.codecs.is_empty(),
        Command::Try(_)
        | Command::Register(_)
        | Command::Ping(_)
        | Command::Pbx(_)
        | Command::Devices { .. }
        | Command::Codecs
        | Command::Config(_)
        | Command::Explain { .. }
        | Command::Version => false,
    };
    for account in &mut config.accounts {
        if codecs {
            account.audio.codecs.clone_from(&config.audio.codecs);
        }
        if cli.global.null_audio {
            (account.audio.input, account.audio.output) = (config.audio.input.clone(), config.audio.output.clone());
        }
    }
}

/// `--transport`: of every account, and of a target that is an address of its own.
fn use_transport(config: &mut Config, transport: Option<&str>, target: Option<&mut String>) {
    let Some(transport) = transport else { return };
    let kinds = [("udp", Transport::Udp), ("tcp", Transport::Tcp), ("tls", Transport::Tls)];
    let Some((_, kind)) = kinds.into_iter().find(|(word, _)| *word == transport) else { return };
    config.accounts.iter_mut().for_each(|account| account.transport = kind);
    let Some(target) = target else { return };
    let named = target.starts_with("tel:") || target.starts_with("sips:") || target.contains("transport=");
    if target.contains(['.', ':', '@']) && !named {
        let scheme = if target.starts_with("sip:") { "" } else { "sip:" };
        *target = format!("{scheme}{};transport={transport}", setup::bracketed(target));
    }
}

/// `bellwire listen`
pub(crate) fn listen(options: &Listen, cli: &Cli, console: &mut Console) -> Result<Exit, Stop> {
    let (mut config, _) = config(cli, console)?;
    own_audio(&mut config, cli);
    let sound = own_sound(options.play.as_deref(), options.record.as_deref(), &config)?;
    let mut ua = setup::named_ua(&config)?;
    let mut auto_answer = AutoAnswer::default();
    // Calls that nobody answers by hand, nobody listens to alone.
    ua.call.hold_others &= options.auto_answer.is_none();
    if sound.is_own() {
        // The session answers, with files for each call.
        auto_answer.all = options.auto_answer;
        auto_answer.accounts = config.accounts.iter().map(|a| a.auto_answer).collect();
        ua.accounts.iter_mut().for_each(|a| a.auto_answer = None);
    } else if options.auto_answer.is_some() {
        ua.call.auto_answer = options.auto_answer;
        ua.accounts.iter_mut().for_each(|a| a.auto_answer = options.auto_answer);
    }
    // Who waits for calls without any account waits for everybody.
    ua.accept_any |= !ua.accounts.iter().any(|a| a.register);
    let mut phone = Phone::new(&config, &cli.global, console)?;
    if let Some((_, certificate, key)) = &config.network.tls {
        phone.serve_tls(certificate, key)?;
    }
    let bound = phone.bind(&[setup::binds(&config), setup::tls_binds(&config)].concat())?;
    phone.add_ua(ua, &bound)?;
    ready(console, "listening", &bound);
    let names = names(&config);
    Ok(phone.run(console, names, Goal::Listen { sound, auto_answer, once: options.once })?.0)
}

/// `bellwire register`
pub(crate) fn register(options: &Register, cli: &Cli, console: &mut Console) -> Result<Exit, Stop> {
    let (mut config, loaded) = config(cli, console)?;
    if config.accounts.is_empty() {
        return Err(no_account(&loaded).into());
    }
    if let Some(name) = &options.account {
        find(&config, name)?;
        config.accounts.retain(|a| a.name == *name);
    }
    config.accounts.iter_mut().for_each(|a| a.register = true);
    use_transport(&mut config, options.transport.as_deref(), None);
    let ua = setup::named_ua(&config)?;
    let mut phone = Phone::new(&config, &cli.global, console)?;
    let bound = phone.bind(&setup::binds(&config))?;
    phone.add_ua(ua, &bound)?;
    let goal = Goal::Register { accounts: config.accounts.len(), once: options.once };
    let names = names(&config);
    Ok(phone.run(console, names, goal)?.0)
}

fn no_account(loaded: &Loaded) -> Failure {
    let failure = Failure::new("config.no-account");
    match loaded.sources.first() {
        Some(source) => failure.with("file", source.file.as_str()),
        None => failure.with("file", places::user_file().display().to_string()),
    }
}

/// `bellwire ping`
pub(crate) fn ping(options: &Ping, cli: &Cli, console: &mut Console) -> Result<Exit, Stop> {
    let (mut config, _) = config(cli, console)?;
    let mut target = options.target.clone();
    use_transport(&mut config, options.transport.as_deref(), Some(&mut target));
    let mut ua = setup::named_ua(&config)?;
    ua.accounts.iter_mut().for_each(|a| a.register = false);
    let mut phone = Phone::new(&config, &cli.global, console)?;
    let bound = phone.bind(&setup::binds(&config))?;
    phone.add_ua(ua, &bound)?;
    let names = names(&config);
    Ok(phone.run(console, names, Goal::Ping { target })?.0)
}
