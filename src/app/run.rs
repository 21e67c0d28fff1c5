//! From arguments to an exit code: config, console, driver and session around a command.

use super::args::{Cli, Command, Global};
use super::config::places::{self, Unreadable};
use super::config::{Config, Loaded, Overrides, Source, Transport};
use super::console::{self, Console};
use super::exit::Exit;
use super::input::Inputs;
use super::session::{AccountNames, Goal, Outcome, Session};
use super::texts::{self, Facts};
use super::trace::Tracer;
use super::writer::Writer;
use super::{commands, devices, info, init, setup};
use crate::api::Failure;
use crate::driver::{Bind, Bound, Driver, DriverError, EngineId, TlsFileError, TlsSettings};
use crate::engine::Engine;
use crate::id::TlsId;
use crate::ua::{Ua, UaConfig};
use clap::Parser;
use serde_json::{Map, Value, json};
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

/// Why nothing could be done: a failure with its words, or something already said.
#[derive(Debug)]
pub(crate) enum Stop {
    /// To be told.
    Failure(Failure),
    /// Told already.
    Told(Exit),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

/// The whole program.
pub fn main() -> Exit {
    harden();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let failed = error.use_stderr();
            // A closed pipe is nobody's loss here.
            let _ = error.print();
            return if failed { Exit::Usage } else { Exit::Done };
        }
    };
    let Ok(mut console) = Console::new(&cli.global) else { return Exit::Bug };
    let exit = match command(&cli, &mut console) {
        Ok(exit) | Err(Stop::Told(exit)) => exit,
        Err(Stop::Failure(failure)) => console.failure(&failure, &Facts::new(), true),
    };
    console::restore();
    console.flush(Duration::from_millis(500));
    exit
}

/// Core dumps hold passwords (threats D8); a panic must give the terminal back.
fn harden() {
    use nix::sys::resource::{Resource, setrlimit};
    if !cfg!(debug_assertions) {
        // Where the system refuses, a core dump is as likely as before.
        let _ = setrlimit(Resource::RLIMIT_CORE, 0, 0);
    }
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        console::restore();
        before(info);
    }));
}

fn command(cli: &Cli, console: &mut Console) -> Result<Exit, Stop> {
    match &cli.command {
        Command::Version => Ok(info::version(console)),
        Command::Codecs => Ok(info::codecs(console)),
        Command::Devices { what } => devices::command(what.as_ref(), cli, console),
        Command::Explain { what } => match texts::explain(what) {
            Some(page) => {
                console.print(&page);
                Ok(Exit::Done)
            }
            None => {
                let failure = Failure::new("usage.explain").with("what", what);
                Err(match texts::nearest(what) {
                    Some(near) => failure.with("near", format!("; did you mean {near}?")).with("try", near),
                    None => failure,
                }
                .into())
            }
        },
        Command::Config(config) => init::command(config, cli, console),
        Command::Call(options) => commands::call(options, cli, console),
        Command::Listen(options) => commands::listen(options, cli, console),
        Command::Register(options) => commands::register(options, cli, console),
        Command::Ping(options) => commands::ping(options, cli, console),
        Command::Pbx(options) => super::pbx::pbx(options, cli, console),
        Command::Try(options) => super::try_it::run(options, cli, console),
    }
}

/// Reads the config of this run, tells its findings, and starts the log.
pub(crate) fn config(cli: &Cli, console: &mut Console) -> Result<(Config, Loaded), Stop> {
    let mut loaded =
        load_by(cli, Loaded::read_lean).map_err(|e| Failure::new("config.unreadable").with("cause", e.to_string()))?;
    tell(&loaded, console);
    match loaded.config.take() {
        Some(config) => {
            super::log::start(&config.log, cli.global.verbose, console);
            Ok((config, loaded))
        }
        None => Err(Stop::Told(refusal(&loaded))),
    }
}

/// The exit code of a config that is no good.
pub(crate) fn refusal(loaded: &Loaded) -> Exit {
    if loaded.is_wrong_usage() { Exit::Usage } else { Exit::Config }
}

/// Reads the files, then the variables for the keys that there are, then the options.
pub(crate) fn load(cli: &Cli) -> Result<Loaded, Unreadable> {
    load_by(cli, Loaded::read)
}

fn load_by(cli: &Cli, read: fn(Vec<Source>, &Overrides) -> Loaded) -> Result<Loaded, Unreadable> {
    let named = cli.global.config.as_deref();
    let vars = std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)));
    let vars: Vec<_> = vars.filter(|(name, _)| name.starts_with(places::PREFIX)).collect();
    if vars.is_empty() {
        return Ok(read(places::sources(named)?, &cli.overrides()));
    }
    let sources = places::sources(named)?;
    let settings = Loaded::read(sources.clone(), &cli.overrides()).settings;
    let known: Vec<String> = settings.into_iter().map(|s| s.key).collect();
    let mut overrides = places::environment(vars, &known);
    overrides.extend(cli.overrides());
    Ok(read(sources, &overrides))
}

/// Tells all findings: in words on stderr, with `--json` as objects too.
pub(crate) fn tell(loaded: &Loaded, console: &mut Console) {
    let text = loaded.render(console.colour());
    if !text.is_empty() {
        console.complain(&text);
    }
    if console.json {
        for finding in &loaded.findings {
            let line = serde_json::to_string(&finding.json()).unwrap_or_default();
            console.print(&format!("{line}\n"));
        }
    }
}

/// A driver with its engines, ready to run.
pub(crate) struct Phone {
    pub(crate) driver: Driver,
    pub(crate) engines: Vec<EngineId>,
    /// The TLS settings of each account.
    tls: Vec<TlsId>,
}

impl Phone {
    /// A driver without engines; `--trace` is on from now on.
    pub(crate) fn new(config: &Config, global: &Global, console: &Console) -> Result<Self, Stop> {
        let mut driver = Driver::new(setup::driver(config)).map_err(|e| driver_failure(&e))?;
        if let Some(file) = &global.trace {
            let mut tracer = Tracer::new(trace_file(file, console)?, driver.epoch());
            driver.set_trace(Box::new(move |traced| tracer.handle(traced)));
        }
        let mut tls = Vec::new();
        for account in &config.accounts {
            let settings = setup::tls(account);
            // The system's CAs take a moment to read: now where they are needed for sure, else when they are.
            let needed = account.transport == Transport::Tls || settings != TlsSettings::default();
            tls.push(if needed { driver.add_tls(&settings).map_err(|e| tls_file(&e))? } else { TlsId::default() });
        }
        Ok(Self { driver, engines: Vec::new(), tls })
    }

    pub(crate) fn bind(&mut self, wanted: &[Bind]) -> Result<Bound, Stop> {
        self.driver.bind(wanted).map_err(|e| driver_failure(&e).into())
    }

    /// The certificate that TLS listeners bound from now on show.
    pub(crate) fn serve_tls(&mut self, certificate: &Path, key: &Path) -> Result<(), Stop> {
        self.driver.serve_tls(certificate, key).map_err(|e| tls_file(&e).into())
    }

    /// Adds the softphone on `bound`.
    pub(crate) fn add_ua(&mut self, mut config: UaConfig, bound: &Bound) -> Result<(), Stop> {
        for (account, id) in config.accounts.iter_mut().zip(&self.tls) {
            account.tls.settings = *id;
        }
        let seed = Driver::seed().map_err(|e| driver_failure(&e))?;
        let ua = Ua::new(self.driver.now(), config, bound.sockets.clone(), bound.listeners.clone(), seed);
        self.add(Box::new(ua), bound);
        Ok(())
    }

    pub(crate) fn add(&mut self, engine: Box<dyn Engine + Send>, bound: &Bound) {
        self.engines.push(self.driver.add_engine(engine, bound));
    }

    /// Runs until the goal is reached; the driver has this thread, the session its own.
    pub(crate) fn run(
        mut self,
        console: &mut Console,
        accounts: Vec<AccountNames>,
        goal: Goal,
    ) -> Result<(Exit, Outcome), Stop> {
        let bug = |what: String| Failure::new("bug").with("cause", what);
        let keys = match goal {
            Goal::Call { .. } | Goal::Listen { .. } => !console.json,
            Goal::Register { .. } | Goal::Ping { .. } | Goal::Pbx => false,
        };
        let (inputs, commander) = Inputs::start(&mut self.driver, keys).map_err(|e| bug(e.to_string()))?;
        let epoch = self.driver.epoch();
        let engines = self.engines.clone();
        let (ran, ended) = std::thread::scope(|scope| {
            let session = scope.spawn(move || {
                let guard = ShutDown(commander.clone());
                let mut session = Session::new(console, commander, epoch, engines, accounts, goal);
                let exit = session.run(&inputs);
                drop(guard);
                (exit, session.outcome)
            });
            (self.driver.run(), session.join())
        });
        match (ran, ended) {
            (Ok(()), Ok(ended)) => Ok(ended),
            (Err(error), _) => Err(driver_failure(&error).into()),
            (Ok(()), Err(_)) => Err(bug("the session panicked".into()).into()),
        }
    }
}

/// Ends the driver when the session ends, however it ends.
struct ShutDown(crate::driver::Commander);

impl Drop for ShutDown {
    fn drop(&mut self) {
        // It is gone already when all engines have stopped.
        let _ = self.0.shut_down();
    }
}

fn trace_file(file: &Path, console: &Console) -> Result<Writer, Stop> {
    use std::os::unix::fs::OpenOptionsExt;
    if file == Path::new("-") {
        return Ok(console.stderr());
    }
    let opened = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(file);
    let fail = |e: std::io::Error| {
        let value = format!("`{}`", file.display());
        Failure::new("usage.argument").with("what", "--trace").with("value", value).with("cause", places::words(&e))
    };
    let writer = opened.and_then(|f| Writer::new("trace", f)).map_err(fail)?;
    console.beside(writer.clone());
    Ok(writer)
}

fn tls_file(error: &TlsFileError) -> Failure {
    Failure::new("tls.file").with("file", error.file.display().to_string()).with("cause", error.cause.as_str())
}

/// The words for a driver that cannot start or go on.
#[expect(clippy::wildcard_enum_match_arm, reason = "the system has errors without end")]
pub(crate) fn driver_failure(error: &DriverError) -> Failure {
    match error {
        DriverError::Bind { protocol, addr, source } => {
            let slug = match source.kind() {
                ErrorKind::AddrInUse => "net.port-in-use",
                ErrorKind::PermissionDenied => "net.port-forbidden",
                ErrorKind::AddrNotAvailable => "net.no-such-address",
                _ => "net.unreachable",
            };
            Failure::new(slug)
                .with("port", addr.port().to_string())
                .with("transport", protocol.as_str())
                .with("address", addr.to_string())
                .with("server", addr.to_string())
                .with("cause", places::words(source))
        }
        DriverError::System { .. } | DriverError::Engine(_) => Failure::new("bug").with("cause", error.to_string()),
    }
}

/// The names of all accounts, for texts.
pub(crate) fn names(config: &Config) -> Vec<AccountNames> {
    let name = |a: &super::config::Account| AccountNames {
        name: a.name.clone(),
        user: a.user.clone(),
        server: a.server.clone(),
    };
    config.accounts.iter().map(name).collect()
}

/// Tells where we listen.
pub(crate) fn ready(console: &mut Console, what: &str, bound: &Bound) {
    let sockets = bound.sockets.iter().map(|s| format!("udp:{}", s.local));
    let listeners = bound.listeners.iter().map(|l| format!("{}:{}", l.protocol.as_str().to_lowercase(), l.local));
    let all: Vec<String> = sockets.chain(listeners).collect();
    let mut map = Map::new();
    map.insert("role".into(), what.into());
    map.insert("sip".into(), json!(all));
    console.object("ready", &map);
    if what != "call" || console.verbose > 0 {
        console.progress(&format!("  {what}   {}", all.join("  ")));
    }
}

/// A JSON object out of pairs.
pub(crate) fn object<const N: usize>(pairs: [(&str, Value); N]) -> Map<String, Value> {
    pairs.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()
}
