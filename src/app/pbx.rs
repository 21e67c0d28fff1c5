//! The engines of `bellwire pbx` and of `bellwire try`.

use super::config::Config;
use super::config::password::PasswordError;
use super::setup::{audio, limits};
use crate::api::Failure;
use crate::pbx::{PbxConfig, PbxUser};
use crate::secret::Secret;

/// What the PBX engine is made with; fetches the passwords of the config and adds `more` users.
///
/// # Errors
/// When a password cannot be had.
pub(crate) fn pbx(config: &Config, more: &[(String, Secret)]) -> Result<PbxConfig, Failure> {
    let realm = &config.pbx.realm;
    let mut users = Vec::new();
    for user in &config.pbx.users {
        let fail =
            |e: PasswordError| Failure::new("config.password").with("account", user.name.as_str()).with("cause", e.to_string());
        users.push(PbxUser::new(&user.name, realm, &user.password.fetch().map_err(fail)?));
    }
    users.extend(more.iter().map(|(name, password)| PbxUser::new(name, realm, password)));
    let audio = audio(&config.audio, config);
    Ok(PbxConfig {
        realm: realm.clone(),
        users,
        max_calls: config.pbx.max_calls,
        capabilities: audio.capabilities,
        media: audio.settings,
        limits: limits(&config.limits),
        ..PbxConfig::default()
    })
}

