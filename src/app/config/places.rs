//! Where config files are, and reading them.

use super::password::readable_by_others;
use super::{Overrides, Source};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What the names of variables that set a key begin with.
pub const PREFIX: &str = "BELLWIRE_";
/// A config file is longer than this: it is not read.
const MOST: u64 = 1024 * 1024;

/// A config file cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {what}")]
pub struct Unreadable {
    /// Which.
    pub path: String,
    /// Why.
    pub what: String,
}

/// The user's config file, by the XDG rules.
pub fn user_file() -> PathBuf {
    folder("XDG_CONFIG_HOME", ".config").join("config.toml")
}

fn folder(variable: &str, below_home: &str) -> PathBuf {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
    absolute(variable).or_else(|| absolute("HOME").map(|h| h.join(below_home))).unwrap_or_default().join("bellwire")
}

/// The user's folder for what the program itself remembers, by the XDG rules; `None` without a home.
pub fn state_folder() -> Option<PathBuf> {
    let folder = folder("XDG_STATE_HOME", ".local/state");
    folder.is_absolute().then_some(folder)
}

/// The system's config file.
pub fn system_file() -> PathBuf {
    PathBuf::from("/etc/bellwire/config.toml")
}

/// Reads the files that count, best first: `named` alone with its folder's `conf.d`, or the user's, and the system's.
///
/// # Errors
/// When `named` does not exist, or a file cannot be read.
pub fn sources(named: Option<&Path>) -> Result<Vec<Source>, Unreadable> {
    let first = named.map_or_else(user_file, Path::to_owned);
    let mut sources = Vec::new();
    if named.is_some() || first.exists() {
        sources.push(read(&first)?);
    }
    if named.is_none() {
        let mut beside: Vec<PathBuf> = match std::fs::read_dir(first.with_file_name("conf.d")) {
            Ok(entries) => entries.filter_map(|e| e.ok().map(|e| e.path())).collect(),
            Err(_) => Vec::new(),
        };
        beside.retain(|p| p.extension().is_some_and(|e| e == "toml"));
        beside.sort();
        for path in beside.into_iter().rev().chain([system_file()]) {
            if path.exists() {
                sources.push(read(&path)?);
            }
        }
    }
    Ok(sources)
}

fn read(path: &Path) -> Result<Source, Unreadable> {
    let fail = |what: String| Unreadable { path: path.display().to_string(), what };
    let meta = std::fs::metadata(path).map_err(|e| fail(words(&e)))?;
    if meta.len() > MOST {
        return Err(fail("larger than 1 MiB, this is no config".into()));
    }
    let bytes = std::fs::read(path).map_err(|e| fail(words(&e)))?;
    let text = String::from_utf8(bytes).map_err(|_| fail("not UTF-8 text".into()))?;
    let dir = path.parent().map(Path::to_owned).unwrap_or_default();
    Ok(Source { file: path.display().to_string(), text, dir, exposed: readable_by_others(path).is_some() })
}

/// An OS error in words, without its number.
pub fn words(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_lowercase()
}

/// Overrides from `BELLWIRE_TABLE_KEY` variables, for the keys in `known`.
pub fn environment(vars: impl IntoIterator<Item = (String, String)>, known: &[String]) -> Overrides {
    let by_variable: BTreeMap<_, _> = known.iter().rev().map(|key| (variable(key), key)).collect();
    let mut overrides = Overrides::default();
    for (name, value) in vars {
        if let Some(key) = by_variable.get(&name) {
            overrides.set(key, value, &name);
        }
    }
    overrides
}

/// The variable that sets `key`.
pub fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.replace(['.', '-'], "_").to_uppercase())
}
