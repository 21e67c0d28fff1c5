//! `bellwire pbx`, and the PBX inside `bellwire try`.

use super::args::{self, Cli};
use super::config::password::PasswordError;
use super::config::value::quoted;
use super::config::{Config, places};
use super::console::Console;
use super::exit::Exit;
use super::run::{Phone, Stop, config, driver_failure, object, ready};
use super::session::Goal;
use super::setup::{self, audio, limits, rules};
use crate::api::Failure;
use crate::driver::{Bind, Bound, Driver};
use crate::engine::Protocol;
use crate::pbx::{Pbx, PbxConfig, PbxUser};
use crate::secret::Secret;
use crate::ua::Rules;
use std::net::SocketAddr;

/// What the PBX engine is made with; fetches the passwords of the config and adds `more` users.
///
/// # Errors
/// When a password cannot be had.
pub(crate) fn engine_config(config: &Config, more: &[(String, Secret)]) -> Result<PbxConfig, Failure> {
    let realm = &config.pbx.realm;
    let mut users = Vec::new();
    for user in &config.pbx.users {
        let fail = |e: PasswordError| {
            Failure::new("config.password").with("account", user.name.as_str()).with("cause", e.to_string())
        };
        users.push(PbxUser::new(&user.name, realm, &user.password.fetch().map_err(fail)?));
    }
    users.extend(more.iter().map(|(name, password)| PbxUser::new(name, realm, password)));
    let audio = audio(&config.audio, config.call.encryption, config);
    Ok(PbxConfig {
        realm: realm.clone(),
        users,
        max_calls: config.pbx.max_calls,
        capabilities: audio.capabilities,
        media: audio.settings,
        limits: limits(&config.limits),
        rules: Rules { replaces: false, ..rules(config) },
        ..PbxConfig::default()
    })
}

/// `bellwire pbx`
pub(crate) fn pbx(options: &args::Pbx, cli: &Cli, console: &mut Console) -> Result<Exit, Stop> {
    let (config, loaded) = config(cli, console)?;
    let made = make_users(options.users.unwrap_or(0)).map_err(|e| Failure::new("bug").with("cause", e.to_string()))?;
    if options.print_config {
        console.print(&tables(config.pbx.listen, &made));
        return Ok(Exit::Done);
    }
    if config.pbx.users.is_empty() && made.is_empty() {
        let file = loaded.sources.first().map_or_else(|| places::user_file().display().to_string(), |s| s.file.clone());
        let password = made_password()?;
        let exit = console.failure(
            &Failure::new("pbx.no-users").with("file", file.as_str()),
            &super::texts::Facts::new(),
            true,
        );
        // Without [pbx], which may stand there already: a table cannot be named twice.
        let lines = user_tables(&[("alice".to_owned(), password)]);
        console.complain(&format!("\nor paste these lines into {file}:\n\n{lines}"));
        return Ok(exit);
    }
    let mut phone = Phone::new(&config, &cli.global, console)?;
    let mut wanted = [Protocol::Udp, Protocol::Tcp].map(|protocol| Bind { protocol, addr: config.pbx.listen }).to_vec();
    if let Some((addr, certificate, key)) = &config.pbx.tls {
        phone.serve_tls(certificate, key)?;
        wanted.push(Bind { protocol: Protocol::Tls, addr: *addr });
    }
    let bound = add(&mut phone, engine_config(&config, &made)?, &wanted)?;
    ready(console, "pbx", &bound);
    for (name, password) in &made {
        // What was made here and stands nowhere else has to be told once; that is what was asked for.
        console.say(&format!("  user     {name}   password {}", password.expose()));
        console.object("pbx.user", &object([("user", name.as_str().into()), ("password", password.expose().into())]));
    }
    console.progress("  numbers  600 echo  601 announcement  602 music  603 busy  604 no answer  605 digits");
    Ok(phone.run(console, Vec::new(), Goal::Pbx)?.0)
}

/// Adds a PBX that listens where it is `wanted`.
pub(crate) fn add(phone: &mut Phone, config: PbxConfig, wanted: &[Bind]) -> Result<Bound, Stop> {
    let bound = phone.bind(wanted)?;
    let seed = Driver::seed().map_err(|e| driver_failure(&e))?;
    let pbx = Pbx::new(phone.driver.now(), config, bound.sockets.clone(), bound.listeners.clone(), seed);
    phone.add(Box::new(pbx), &bound);
    Ok(bound)
}

fn made_password() -> Result<Secret, Failure> {
    setup::random_password().map_err(|e| Failure::new("bug").with("cause", e.to_string()))
}

/// Users 1001, 1002, … with random passwords.
fn make_users(count: u16) -> std::io::Result<Vec<(String, Secret)>> {
    (0..count).map(|n| Ok(((1001 + u32::from(n)).to_string(), setup::random_password()?))).collect()
}

fn tables(listen: SocketAddr, users: &[(String, Secret)]) -> String {
    format!("[pbx]\nlisten = {}\n{}", quoted(&listen.to_string()), user_tables(users))
}

fn user_tables(users: &[(String, Secret)]) -> String {
    let table =
        |(name, password): &(String, Secret)| format!("[pbx.user.{name}]\npassword = {}\n", quoted(password.expose()));
    users.iter().map(table).collect()
}
