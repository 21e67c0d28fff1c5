//! The command tree. What is listed here is built; nothing else is accepted.

#[cfg(test)]
mod tests;

use super::config::Overrides;
use super::config::value::duration;
use super::exit::Exit;
use crate::time::Duration;
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// A SIP softphone.
#[derive(Debug, Clone, Parser)]
#[command(name = "bellwire", version, about, long_about = None, after_long_help = Exit::table(), arg_required_else_help = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Options that every command takes.
    #[command(flatten)]
    pub global: Global,
}

/// Options that every command takes.
#[derive(Debug, Clone, Default, Args)]
pub struct Global {
    /// Read this config file instead of the user's
    #[arg(short, long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Say less: only results and errors
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Say more; twice for the log, three times for all of it
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Write the log to FILE instead of stderr (config: log.file)
    #[arg(long, global = true, value_name = "FILE")]
    pub log: Option<PathBuf>,
    /// Print one JSON object a line on stdout
    #[arg(long, global = true)]
    pub json: bool,
    /// Use colours
    #[arg(long, global = true, value_enum, default_value_t = Colour::Auto, value_name = "WHEN")]
    pub color: Colour,
    /// Write every SIP message to FILE, `-` for stderr; secrets are blanked
    #[arg(long, global = true, value_name = "FILE")]
    pub trace: Option<PathBuf>,
    /// Use no sound card: silence goes out, nothing is played (config: audio.input and audio.output)
    #[arg(long, global = true)]
    pub null_audio: bool,
    /// SIP port, 0 for any free one (config: network.port)
    #[arg(long, global = true, value_name = "PORT")]
    pub port: Option<String>,
    /// Change any key of the config for this run, such as `--set audio.frame=40ms`
    #[arg(long = "set", global = true, value_name = "KEY=VALUE", value_parser = assignment)]
    pub set: Vec<(String, String)>,
}

/// When to use colours.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Colour {
    /// In a terminal that can, unless NO_COLOR is set
    #[default]
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// What to do.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Call yourself: a PBX inside, its echo, a verdict; no config and no server needed
    Try(Try),
    /// Call somebody
    Call(Call),
    /// Wait for calls (registers if there is an account)
    Listen(Listen),
    /// Register and show the contact and how long it lasts
    Register(Register),
    /// Ask whether somebody can be reached (SIP OPTIONS), with which codecs, and how long it takes
    Ping(Ping),
    /// Run the mini PBX alone, for tests and demos
    Pbx(Pbx),
    /// List or try sound devices
    Devices {
        /// What to do with them; to list them, if left out
        #[command(subcommand)]
        what: Option<DevicesCommand>,
    },
    /// List codecs
    Codecs,
    /// Make, check or show the config
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Explain an error name or a SIP code
    Explain {
        /// Such as `auth.wrong-password` or 486
        #[arg(value_name = "SLUG|CODE")]
        what: String,
    },
    /// Show the version and what is built in
    Version,
}

/// `bellwire try`
#[derive(Debug, Clone, Default, Args)]
pub struct Try {
    /// Keep what was heard in FILE
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
    /// Say the built-in speech even where there is a microphone
    #[arg(long)]
    pub speech: bool,
    /// How long to talk
    #[arg(long, value_name = "TIME", value_parser = time, default_value = "6s")]
    pub duration: Duration,
}

/// `bellwire call`
#[derive(Debug, Clone, Args)]
pub struct Call {
    /// Number, user@host, sip: or tel: URI, or address
    #[arg(value_name = "TARGET")]
    pub target: String,
    /// Call from this account instead of the first one
    #[arg(long, value_name = "NAME")]
    pub account: Option<String>,
    /// Say what is in this WAV file, once (config: audio.input)
    #[arg(long, value_name = "FILE")]
    pub play: Option<PathBuf>,
    /// Write what is heard to this WAV file; `{call}` becomes the call's name (config: audio.output)
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
    /// Offer these codecs only, best first (config: audio.codecs)
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    pub codecs: Vec<String>,
    /// Send these digits once the call is answered; `,` waits half a second
    #[arg(long, value_name = "DIGITS", value_parser = digits)]
    pub dtmf: Option<String>,
    /// Do not tell the callee who you are (config: call.privacy)
    #[arg(long)]
    pub privacy: bool,
    /// Send this text along with the call (config: call.user_to_user)
    #[arg(long, value_name = "TEXT")]
    pub uui: Option<String>,
    /// Hand the call over to this number or address once it is answered
    #[arg(long, value_name = "TARGET")]
    pub transfer: Option<String>,
    /// Hang up after so long
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub duration: Option<Duration>,
    /// Give up when nobody answers for so long (config: call.answer_timeout)
    #[arg(long, value_name = "TIME")]
    pub timeout: Option<String>,
    /// Hang up when no packet comes for so long (config: call.media_timeout)
    #[arg(long, value_name = "TIME")]
    pub media_timeout: Option<String>,
    /// Call over this transport (config: account.NAME.transport)
    #[arg(long, value_name = "udp|tcp|tls", value_parser = ["udp", "tcp", "tls"])]
    pub transport: Option<String>,
}

/// `bellwire listen`
#[derive(Debug, Clone, Default, Args)]
pub struct Listen {
    /// Answer by itself, after TIME if given (config: account.NAME.auto_answer)
    #[arg(long, value_name = "TIME", num_args = 0..=1, require_equals = true, default_missing_value = "0s", value_parser = time)]
    pub auto_answer: Option<Duration>,
    /// Leave after the first call
    #[arg(long)]
    pub once: bool,
    /// Say what is in this WAV file, once for each call (config: audio.input)
    #[arg(long, value_name = "FILE")]
    pub play: Option<PathBuf>,
    /// Write what is heard to this WAV file; `{call}` becomes the call's name (config: audio.output)
    #[arg(long, value_name = "FILE|DIR/{call}.wav")]
    pub record: Option<PathBuf>,
    /// Offer and accept these codecs only, best first (config: audio.codecs)
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    pub codecs: Vec<String>,
    /// Hang up when no packet comes for so long (config: call.media_timeout)
    #[arg(long, value_name = "TIME")]
    pub media_timeout: Option<String>,
}

/// `bellwire register`
#[derive(Debug, Clone, Default, Args)]
pub struct Register {
    /// Only this account
    #[arg(value_name = "ACCOUNT")]
    pub account: Option<String>,
    /// Leave as soon as it is registered or refused
    #[arg(long)]
    pub once: bool,
    /// Register over this transport (config: account.NAME.transport)
    #[arg(long, value_name = "udp|tcp|tls", value_parser = ["udp", "tcp", "tls"])]
    pub transport: Option<String>,
}

/// `bellwire ping`
#[derive(Debug, Clone, Args)]
pub struct Ping {
    /// Number, user@host, URI, name or address
    #[arg(value_name = "TARGET")]
    pub target: String,
    /// Ask over this transport
    #[arg(long, value_name = "udp|tcp|tls", value_parser = ["udp", "tcp", "tls"])]
    pub transport: Option<String>,
}

/// `bellwire pbx`
#[derive(Debug, Clone, Default, Args)]
pub struct Pbx {
    /// Listen on this address and port (config: pbx.listen)
    #[arg(long, value_name = "ADDR:PORT")]
    pub bind: Option<String>,
    /// Listen for TLS on this address and port, once there is a certificate (config: pbx.tls_listen)
    #[arg(long, value_name = "ADDR:PORT")]
    pub tls_bind: Option<String>,
    /// The certificate, with its chain, to show to phones that come over TLS: PEM (config: pbx.tls_cert)
    #[arg(long, value_name = "FILE")]
    pub tls_cert: Option<String>,
    /// The private key of that certificate: PEM (config: pbx.tls_key)
    #[arg(long, value_name = "FILE")]
    pub tls_key: Option<String>,
    /// Make N users with random passwords and print them
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub users: Option<u16>,
    /// Print the config that `--users` makes, and leave
    #[arg(long, requires = "users")]
    pub print_config: bool,
}

/// `bellwire devices`
#[derive(Debug, Clone, Subcommand)]
pub enum DevicesCommand {
    /// List the devices that a call can use
    List {
        /// Other ways to the same devices too
        #[arg(long)]
        all: bool,
    },
    /// Try a device: show the level of a microphone, or play a tone
    Test {
        /// Which kind of device
        #[arg(value_enum, default_value_t = DeviceKind::Mic)]
        kind: DeviceKind,
        /// A device like in `audio.input` and `audio.output`; without it the one of the config
        #[arg(long, value_name = "NAME")]
        device: Option<String>,
        /// For how long
        #[arg(long, value_name = "TIME", value_parser = time, default_value = "3s")]
        duration: Duration,
    },
}

/// A kind of device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DeviceKind {
    /// A microphone
    Mic,
    /// A loudspeaker
    Speaker,
}

/// `bellwire config`
#[derive(Debug, Clone, Subcommand)]
pub enum ConfigCommand {
    /// Make a config file
    Init(Init),
    /// Read the config and tell every mistake with its place
    Check,
    /// Print every key with its value; secrets are blanked
    Show {
        /// Say where each value comes from
        #[arg(long)]
        origin: bool,
    },
    /// Print where the config files are
    Path,
}

/// `bellwire config init`
#[derive(Debug, Clone, Default, Args)]
pub struct Init {
    /// Write every key with its default and what it does
    #[arg(long)]
    pub full: bool,
    /// Your SIP address, user@server
    #[arg(long, value_name = "USER@SERVER")]
    pub address: Option<String>,
    /// A command that prints your password
    #[arg(long, value_name = "COMMAND")]
    pub password_command: Option<String>,
    /// Replace a file that is there, and ask nothing
    #[arg(long)]
    pub yes: bool,
}

fn time(text: &str) -> Result<Duration, String> {
    duration(text).ok_or_else(|| "a number and ms, s, m or h, such as 30s".to_owned())
}

fn digits(text: &str) -> Result<String, String> {
    match text.chars().find(|c| !matches!(c, '0'..='9' | '*' | '#' | 'A'..='D' | ',')) {
        Some(c) => Err(format!("`{c}` is no DTMF digit; these are 0-9 * # A-D and `,` for a pause")),
        None => Ok(text.to_owned()),
    }
}

fn assignment(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("KEY=VALUE, such as audio.frame=40ms")?;
    Ok((key.trim().to_owned(), value.trim().to_owned()))
}

impl Cli {
    /// The keys of the config that the options change.
    pub fn overrides(&self) -> Overrides {
        let mut o = Overrides::default();
        if self.global.null_audio {
            // Silence and not nothing: the far end must get packets, and digits need a stream to travel in.
            o.set("audio.input", "silence", "--null-audio");
            o.set("audio.output", "none", "--null-audio");
        }
        for (key, value) in &self.global.set {
            o.set(key, value, &format!("--set {key}"));
        }
        if let Some(port) = &self.global.port {
            o.set("network.port", port, "--port");
        }
        if let Some(file) = &self.global.log {
            o.set("log.file", file.display().to_string(), "--log");
        }
        let mut codecs: &[String] = &[];
        let mut media_timeout = None;
        match &self.command {
            Command::Call(call) => {
                codecs = &call.codecs;
                media_timeout = call.media_timeout.as_deref();
                if let Some(time) = &call.timeout {
                    o.set("call.answer_timeout", time, "--timeout");
                }
                if call.privacy {
                    o.set("call.privacy", "true", "--privacy");
                }
                if let Some(text) = &call.uui {
                    o.set("call.user_to_user", text, "--uui");
                }
            }
            Command::Listen(listen) => {
                codecs = &listen.codecs;
                media_timeout = listen.media_timeout.as_deref();
            }
            Command::Pbx(pbx) => {
                for (key, value, option) in [
                    ("pbx.listen", &pbx.bind, "--bind"),
                    ("pbx.tls_listen", &pbx.tls_bind, "--tls-bind"),
                    ("pbx.tls_cert", &pbx.tls_cert, "--tls-cert"),
                    ("pbx.tls_key", &pbx.tls_key, "--tls-key"),
                ] {
                    if let Some(value) = value {
                        o.set(key, value, option);
                    }
                }
            }
            Command::Try(_)
            | Command::Register(_)
            | Command::Ping(_)
            | Command::Devices { .. }
            | Command::Codecs
            | Command::Config(_)
            | Command::Explain { .. }
            | Command::Version => {}
        }
        if !codecs.is_empty() {
            let list: Vec<_> = codecs.iter().map(|c| super::config::value::quoted(c.trim())).collect();
            o.set("audio.codecs", format!("[{}]", list.join(", ")), "--codecs");
        }
        if let Some(time) = media_timeout {
            o.set("call.media_timeout", time, "--media-timeout");
        }
        o
    }
}
