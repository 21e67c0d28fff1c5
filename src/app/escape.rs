//! Text from the network or from files, made safe to show (threats A14).

/// The most characters of one foreign text that are shown.
const SHOWN: usize = 256;

/// `text` with control characters, bidirectional overrides and invisible marks written out, cut at 256 characters.
pub fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len().min(SHOWN));
    for (count, c) in text.chars().enumerate() {
        if count == SHOWN {
            out.push('…');
            break;
        }
        match c {
            c if c.is_control() => out.extend(c.escape_default()),
            '\u{ad}'
            | '\u{61c}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}' => {
                out.extend(c.escape_default());
            }
            c => out.push(c),
        }
    }
    out
}

/// True if nothing in `text` needs [`clean`], but for line ends.
pub fn is_clean(text: &str) -> bool {
    text.split('\n').all(|line| line.chars().count() > SHOWN || clean(line) == line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moves_the_cursor_or_the_reading_direction_is_written_out() {
        assert_eq!(clean("Bob\u{1b}]0;title\u{7}"), "Bob\\u{1b}]0;title\\u{7}");
        assert_eq!(clean("a\r\nb\tc\u{9b}2J"), "a\\r\\nb\\tc\\u{9b}2J");
        assert_eq!(clean("x\u{202e}gpj.exe\u{200b}"), "x\\u{202e}gpj.exe\\u{200b}");
        assert_eq!(clean("Grüße, 世界"), "Grüße, 世界");
    }

    #[test]
    fn long_text_is_cut_at_256_characters() {
        assert_eq!(clean(&"é".repeat(70_000)), "é".repeat(256) + "…");
    }

    #[test]
    fn clean_text_says_so() {
        assert!(is_clean("one\ntwo"));
        assert!(!is_clean("one\rtwo"));
    }
}
