//! Where a password comes from, and fetching it only when it is needed.

use super::places::words as io_words;
use crate::app::escape::clean;
use crate::secret::Secret;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where a password comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PasswordSource {
    /// The first line that a command prints; run without a shell.
    Command(String),
    /// An environment variable.
    Env(String),
    /// The first line of a file.
    File(PathBuf),
    /// Written in the config.
    Inline(Secret),
}

/// A password cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// The command is malformed or failed.
    #[error("`{command}` {what}")]
    Command {
        /// As in the config.
        command: String,
        /// What went wrong.
        what: String,
    },
    /// The variable is not set.
    #[error("the variable {0} is not set")]
    Env(String),
    /// The file cannot be read.
    #[error("{path}: {what}")]
    File {
        /// Which file.
        path: String,
        /// What went wrong.
        what: String,
    },
}

impl PasswordSource {
    /// Fetches the password.
    ///
    /// # Errors
    /// When there is none; never with the password in it.
    pub fn fetch(&self) -> Result<Secret, PasswordError> {
        match self {
            Self::Inline(secret) => Ok(secret.clone()),
            Self::Env(name) => std::env::var(name).map(Secret::new).map_err(|_| PasswordError::Env(name.clone())),
            Self::File(path) => {
                let fail = |what: String| PasswordError::File { path: path.display().to_string(), what };
                if let Some(what) = readable_by_others(path) {
                    return Err(fail(what));
                }
                let text = std::fs::read_to_string(path).map_err(|e| fail(io_words(&e)))?;
                first_line(&text).ok_or_else(|| fail("its first line is empty".into()))
            }
            Self::Command(command) => run(command),
        }
    }
}

fn first_line(text: &str) -> Option<Secret> {
    text.lines().next().filter(|l| !l.is_empty()).map(|l| Secret::new(l.to_owned()))
}

/// Says so when the group or others may read `path`.
pub fn readable_by_others(path: &Path) -> Option<String> {
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(path).ok()?.permissions().mode() & 0o777;
    (mode & 0o077 != 0).then(|| format!("others can read it (mode {mode:04o}); chmod 600 mends that"))
}

fn run(command: &str) -> Result<Secret, PasswordError> {
    let fail = |what: String| PasswordError::Command { command: clean(command), what };
    let words = words(command).ok_or_else(|| fail("has a quote that is not closed".into()))?;
    let (program, args) = words.split_first().ok_or_else(|| fail("is empty".into()))?;
    let output = Command::new(program)
        .args(args)
        .stdin(Stdio::inherit())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|e| fail(format!("did not start: {}", io_words(&e))))?;
    if !output.status.success() {
        return Err(fail(format!("ended with {}", output.status)));
    }
    let text = String::from_utf8(output.stdout).map_err(|_| fail("printed something that is not text".into()))?;
    first_line(&text).ok_or_else(|| fail("printed an empty first line".into()))
}

/// Splits a command at spaces; single and double quotes keep words together, a backslash keeps the next character.
fn words(command: &str) -> Option<Vec<String>> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    let mut chars = command.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(q), c) if c == q => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None | Some('"'), '\\') => word.get_or_insert_default().push(chars.next()?),
            (None, ' ' | '\t') => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    quote.is_none().then_some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_split_without_a_shell() {
        assert_eq!(
            words("pass show 'sip/my work' \"a b\" c\\ d ''").unwrap(),
            ["pass", "show", "sip/my work", "a b", "c d", ""]
        );
        assert_eq!(words("pass 'show"), None);
        assert_eq!(words("echo $HOME; rm x").unwrap(), ["echo", "$HOME;", "rm", "x"]);
    }

    #[test]
    fn the_first_line_of_the_output_is_the_password() {
        let got = PasswordSource::Command("printf 'secret one\\nsecond'".into()).fetch().unwrap();
        assert_eq!(got.expose(), "secret one");
        let failed = PasswordSource::Command("false".into()).fetch().unwrap_err();
        assert_eq!(failed.to_string(), "`false` ended with exit status: 1");
    }

    #[test]
    fn a_password_file_that_others_can_read_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pass");
        std::fs::write(&path, "hidden\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(PasswordSource::File(path.clone()).fetch().unwrap_err().to_string().contains("mode 0644"));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(PasswordSource::File(path).fetch().unwrap().expose(), "hidden");
    }
}
