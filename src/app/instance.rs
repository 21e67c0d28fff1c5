//! The URN of this phone (RFC 5626 §4.1), the same for ever: a file in the user's state folder.

use super::config::places;
use std::io::Write;
use std::path::Path;

/// `urn:uuid:…`; `None` when there is no place to keep one. Then the phone registers without.
pub(crate) fn urn() -> Option<String> {
    at(&places::state_folder()?)
}

fn at(folder: &Path) -> Option<String> {
    let file = folder.join("instance");
    if let Some(known) = read(&file) {
        return Some(known);
    }
    std::fs::create_dir_all(folder).ok()?;
    let urn = fresh()?;
    // Whoever comes second takes what the first has written.
    let made = std::fs::OpenOptions::new().write(true).create_new(true).open(&file);
    match made.and_then(|mut made| writeln!(made, "{urn}")) {
        Ok(()) => Some(urn),
        Err(_) => read(&file),
    }
}

fn read(file: &Path) -> Option<String> {
    let text = std::fs::read_to_string(file).ok()?;
    let text = text.trim();
    let uuid = text.strip_prefix("urn:uuid:")?;
    let good = uuid.len() == 36 && uuid.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    good.then(|| text.to_owned())
}

/// A random UUID (RFC 9562 §5.4).
fn fresh() -> Option<String> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes).ok()?;
    bytes[6] = bytes[6] & 0x0F | 0x40;
    bytes[8] = bytes[8] & 0x3F | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let cut = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    Some(format!("urn:uuid:{}-{}-{}-{}-{}", cut(0, 8), cut(8, 12), cut(12, 16), cut(16, 20), cut(20, 32)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_the_phone_is_made_once_and_kept() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("state/bellwire");
        let first = at(&folder).unwrap();
        assert!(first.starts_with("urn:uuid:") && first.len() == 45 && first.as_bytes()[23] == b'4', "{first}");
        assert_eq!(at(&folder), Some(first.clone()));
        assert_ne!(at(&home.path().join("other")), Some(first));
        std::fs::write(folder.join("instance"), "nonsense\n").unwrap();
        assert_eq!(at(&folder), None, "what somebody has broken is not written over");
        assert_eq!(at(Path::new("/proc/no-such-place")), None);
    }
}
