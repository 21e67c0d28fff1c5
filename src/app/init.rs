//! `bellwire config init|check|show|path`.

use super::args::{Cli, ConfigCommand, Init};
use super::config::value::quoted;
use super::config::{FULL, Overrides, Severity, Source, places};
use super::console::Console;
use super::exit::Exit;
use super::run::{Stop, load, object, tell};
use crate::api::Failure;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

/// `bellwire config …`
pub(crate) fn command(command: &ConfigCommand, cli: &Cli, console: &mut Console) -> Result<Exit, Stop> {
    let unreadable = |e: places::Unreadable| Failure::new("config.unreadable").with("cause", e.to_string());
    match command {
        ConfigCommand::Init(options) => init(options, cli, console),
        ConfigCommand::Check => {
            let loaded = load(cli).map_err(unreadable)?;
            tell(&loaded, console);
            let files: Vec<&str> = loaded.sources.iter().map(|s| s.file.as_str()).collect();
            if loaded.findings.iter().any(|f| f.severity == Severity::Error) {
                return Err(Stop::Told(Exit::Config));
            }
            console.say(&match files.as_slice() {
                [] => format!(
                    "there is no config; all values are the defaults ({} is looked for)",
                    places::user_file().display()
                ),
                files => format!("{}: no error", files.join(", ")),
            });
            Ok(Exit::Done)
        }
        ConfigCommand::Show { origin } => {
            let loaded = load(cli).map_err(unreadable)?;
            tell(&loaded, console);
            for setting in &loaded.settings {
                let Some(value) = &setting.value else { continue };
                let from = if *origin { format!("    # {}", setting.origin) } else { String::new() };
                console.say(&format!("{} = {}{from}", setting.key, Console::safe(value)));
                console.object(
                    "config.setting",
                    &object([
                        ("key", setting.key.as_str().into()),
                        ("value", Console::safe(value).into()),
                        ("origin", setting.origin.as_str().into()),
                    ]),
                );
            }
            Ok(if loaded.config.is_some() { Exit::Done } else { Exit::Config })
        }
        ConfigCommand::Path => {
            let user = cli.global.config.clone().unwrap_or_else(places::user_file);
            for path in [user.clone(), user.with_file_name("conf.d"), places::system_file()] {
                let there = if path.exists() { "" } else { "    (not there)" };
                console.say(&format!("{}{there}", path.display()));
                let pairs = [("path", path.display().to_string().into()), ("exists", path.exists().into())];
                console.object("config.path", &object(pairs));
            }
            Ok(Exit::Done)
        }
    }
}

fn init(options: &Init, cli: &Cli, console: &mut Console) -> Result<Exit, Stop> {
    let path = cli.global.config.clone().unwrap_or_else(places::user_file);
    if path.exists() && !options.yes {
        return Err(Failure::new("config.exists").with("file", path.display().to_string()).into());
    }
    let text = if options.full { FULL.to_owned() } else { ask(options, console)? };
    let source = Source { file: path.display().to_string(), text, dir: PathBuf::new(), exposed: false };
    let loaded = super::config::Loaded::read(vec![source.clone()], &Overrides::default());
    if loaded.config.is_none() {
        tell(&loaded, console);
        return Err(Stop::Told(Exit::Usage));
    }
    write(&path, &source.text).map_err(|e| {
        Failure::new("config.unreadable")
            .with("cause", format!("{} cannot be written: {}", path.display(), places::words(&e)))
    })?;
    let next = if options.full { "fill in [account.work]" } else { "bellwire register --once" };
    console.say(&format!("wrote {} ({} lines). Next: {next}", path.display(), source.text.lines().count()));
    Ok(Exit::Done)
}

/// A file that only its owner can read, in a folder that only he can read.
fn write(path: &Path, text: &str) -> std::io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
    if let Some(folder) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    // Written beside and moved over, so that a full disk leaves the old file as it was.
    let beside = path.with_extension("toml.new");
    let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(beside, path)
}

fn ask(options: &Init, console: &Console) -> Result<String, Stop> {
    let terminal = std::io::stdin().is_terminal();
    let answer = |given: &Option<String>, flag: &str, question: &str| match given {
        Some(value) => Ok(value.clone()),
        None if terminal => {
            console.prompt(question);
            let mut line = String::new();
            std::io::stdin().read_line(&mut line).map_err(|e| missing(flag, &e.to_string()))?;
            Ok(line.trim().to_owned())
        }
        None => Err(missing(flag, "this is no terminal, so nothing can be asked")),
    };
    let address = answer(&options.address, "--address", "Your SIP address (user@server): ")?;
    let bare = address.strip_prefix("sip:").unwrap_or(&address);
    let Some((user, server)) = bare.split_once('@').filter(|(u, s)| !u.is_empty() && !s.is_empty()) else {
        return Err(missing("--address", "it needs a user and a server: 1001@pbx.example.org").into());
    };
    let command = answer(
        &options.password_command,
        "--password-command",
        "A command that prints your password [pass show sip/work]: ",
    )?;
    let command = if command.is_empty() { "pass show sip/work".to_owned() } else { command };
    let lines = [("server", server), ("user", user), ("password_command", &command)];
    let lines: Vec<String> = lines.iter().map(|(key, value)| format!("{key} = {}\n", quoted(value))).collect();
    Ok(format!("[account.work]\n{}", lines.concat()))
}

fn missing(flag: &str, cause: &str) -> Failure {
    Failure::new("usage.argument").with("what", flag).with("value", "left out or so").with("cause", cause)
}
