use super::*;
use crate::app::args::Cli;
use crate::app::config::{Loaded, Overrides, Source};
use clap::Parser;

fn none() -> Facts {
    Facts::new()
}

#[test]
fn every_slug_is_there_once_with_a_page() {
    for (n, text) in TEXTS.iter().enumerate() {
        assert!(TEXTS[..n].iter().all(|t| t.slug != text.slug), "{} twice", text.slug);
        assert!(text.page.len() > 40, "{} has no page", text.slug);
        assert!(explain(text.slug).unwrap().contains(text.page));
        assert!(text.kind == Kind::Result || !text.tries.is_empty(), "{} proposes nothing", text.slug);
    }
}

#[test]
fn every_slug_that_the_engines_name_has_a_text() {
    let mut found = 0;
    for dir in ["src/ua", "src/pbx", "src/media", "src/driver", "src/device", "src/sip", "src/app"] {
        walk(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(dir), &mut |source| {
            for word in source.split('"').skip(1).step_by(1) {
                let mut parts = word.split('.');
                let (Some(area), Some(name), None) = (parts.next(), parts.next(), parts.next()) else { continue };
                let slug = ["auth", "net", "media", "audio"].contains(&area)
                    && name.len() > 2
                    && name.chars().all(|c| c.is_ascii_lowercase() || c == '-')
                    && ![
                        "media.stats",
                        "media.warning",
                        "media.played",
                        "audio.input",
                        "audio.output",
                        "audio.codecs",
                        "audio.frame",
                        "audio.opus",
                    ]
                    .contains(&word);
                if slug {
                    assert!(text(word).is_some(), "no text for {word}");
                    found += 1;
                }
            }
        });
    }
    assert!(found > 20);
}

fn walk(dir: &std::path::Path, each: &mut impl FnMut(&str)) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(&path, each);
        } else if path.extension().is_some_and(|e| e == "rs") {
            each(&std::fs::read_to_string(&path).unwrap());
        }
    }
}

#[test]
fn every_command_to_try_is_one_that_exists() {
    for text in TEXTS {
        for t in text.tries {
            let Try::Command(command, _) = t else { continue };
            let command = fill(command, &none());
            let parsed = Cli::try_parse_from(command.split_whitespace());
            let help = parsed.as_ref().is_err_and(|e| e.kind() == clap::error::ErrorKind::DisplayHelp);
            assert!(parsed.is_ok() || help, "{}: `{command}`", text.slug);
        }
    }
}

#[test]
fn every_config_line_to_try_is_a_good_one() {
    for text in TEXTS {
        for t in text.tries {
            let Try::Key(table, line, _) = t else { continue };
            let table = fill(table, &none());
            let mut file = format!("[{table}]\n{}\n", fill(line, &none()));
            for key in ["server", "user"] {
                if table.starts_with("account.") && !line.starts_with(key) {
                    file += &format!("{key} = \"x\"\n");
                }
            }
            let source = Source { file: "x".into(), text: file, dir: "".into(), exposed: false };
            let loaded = Loaded::read(vec![source], &Overrides::default());
            assert_eq!(loaded.render(false), "", "{}: {line}", text.slug);
        }
    }
}

#[test]
fn no_text_is_longer_than_sixty_words() {
    for text in TEXTS {
        let shown = show(&Failure::new(text.slug), &none()).render(false);
        assert!(shown.split_whitespace().count() <= 60, "{shown}");
    }
}

#[test]
fn a_wrong_password_reads_like_this() {
    let failure = Failure::new("auth.wrong-password")
        .with_status(401, "Unauthorized")
        .with("server", "pbx.example.org")
        .with("user", "1001")
        .with("realm", "asterisk")
        .with("algorithm", "SHA-256");
    let around = Facts::from([("account".to_owned(), "work".to_owned())]);
    assert_eq!(
        show(&failure, &around).render(false),
        "error[auth.wrong-password]: pbx.example.org did not accept the password of 1001
  cause: answered 401 Unauthorized again after the password was sent (realm \"asterisk\", SHA-256)
  try:   auth_user = \"…\" in [account.work]    if your provider gave you a separate login name
         bellwire config show --origin    shows which password source is used
"
    );
    assert_eq!(exit(&failure).code(), 4);
}

#[test]
fn what_the_network_says_cannot_move_the_cursor() {
    let failure = Failure::new("call.failed").with_status(500, "\x1b[2JBoom\r\n");
    let shown = show(&failure, &none()).render(false);
    assert!(super::super::escape::is_clean(&shown), "{shown:?}");
}

#[test]
fn an_unknown_slug_is_told_by_its_status() {
    assert_eq!(exit(&Failure::new("who.knows").with_status(486, "Busy Here")), Exit::Busy);
    assert_eq!(of(&Failure::new("who.knows").with_status(486, "Busy Here")).slug, "call.busy");
    assert_eq!(exit(&Failure::new("who.knows")), Exit::OtherSip);
}

#[test]
fn codes_are_explained_too() {
    assert!(explain("486").unwrap().contains("bellwire exits with 8"));
    assert!(explain("180").unwrap().contains("Provisional"));
    assert_eq!(explain("99"), None);
    assert_eq!(explain("nonsense"), None);
}
