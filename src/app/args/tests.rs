use super::*;
use clap::CommandFactory;

#[test]
fn the_command_tree_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn every_option_has_a_help_text() {
    fn walk(command: &clap::Command) {
        assert!(command.get_about().is_some(), "{} has no text", command.get_name());
        for arg in command.get_arguments() {
            assert!(arg.get_help().is_some(), "{} of {} has no text", arg.get_id(), command.get_name());
        }
        command.get_subcommands().for_each(walk);
    }
    walk(&Cli::command());
}

#[test]
fn every_config_key_that_a_help_text_names_exists() {
    let text = "[account.NAME]\nserver = \"a\"\nuser = \"b\"\n";
    let source =
        crate::app::config::Source { file: "x".into(), text: text.into(), dir: PathBuf::new(), exposed: false };
    let known: Vec<String> = crate::app::config::Loaded::read(vec![source], &Overrides::default())
        .settings
        .into_iter()
        .map(|s| s.key)
        .collect();
    fn walk(command: &clap::Command, known: &[String], named: &mut usize) {
        for arg in command.get_arguments() {
            let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
            let Some((_, keys)) = help.split_once("(config: ") else { continue };
            let keys = keys.split([')', '=']).next().unwrap_or("");
            for key in keys.split(" and ").map(str::trim).filter(|k| !k.is_empty()) {
                assert!(known.iter().any(|k| k == key), "{key} of --{} is no key", arg.get_id());
                *named += 1;
            }
        }
        command.get_subcommands().for_each(|c| walk(c, known, named));
    }
    let mut named = 0;
    walk(&Cli::command(), &known, &mut named);
    assert!(named > 10);
}

#[test]
fn every_option_that_sets_something_lasting_names_its_key() {
    // What belongs to one run only: how it is shown, where one call goes, what one command is about.
    const ONE_RUN: [&str; 27] = [
        "config",
        "quiet",
        "verbose",
        "json",
        "color",
        "trace",
        "set",
        "record",
        "speech",
        "duration",
        "account",
        "dtmf",
        "transfer",
        "once",
        "users",
        "print_config",
        "transport",
        "full",
        "address",
        "password_command",
        "yes",
        "origin",
        "help",
        "version",
        "what",
        "all",
        "device",
    ];
    fn walk(command: &clap::Command) {
        for arg in command.get_arguments().filter(|a| a.get_long().is_some()) {
            let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
            let due = !ONE_RUN.contains(&arg.get_id().as_str());
            assert!(!due || help.contains("(config: "), "--{} of {} names no key", arg.get_id(), command.get_name());
        }
        command.get_subcommands().for_each(walk);
    }
    walk(&Cli::command());
}

#[test]
fn options_set_the_keys_they_stand_for() {
    let cli = Cli::parse_from([
        "bellwire",
        "call",
        "600",
        "--port",
        "5070",
        "--codecs",
        "pcma,opus",
        "--timeout",
        "3s",
        "--null-audio",
        "--set",
        "call.max=9",
    ]);
    let loaded = crate::app::config::Loaded::read(Vec::new(), &cli.overrides());
    let config = loaded.config.unwrap();
    assert_eq!(config.network.port, 5070);
    assert_eq!(config.audio.codecs, ["pcma", "opus"]);
    assert_eq!(config.call.answer_timeout, Duration::from_secs(3));
    assert_eq!(config.audio.input, crate::media::command::AudioSource::Silence);
    assert_eq!(config.call.max, 9);
}

#[test]
fn auto_answer_takes_a_delay_only_after_an_equals_sign() {
    let listen = |args: &[&str]| match Cli::try_parse_from(args).unwrap().command {
        Command::Listen(listen) => listen.auto_answer,
        other => panic!("{other:?}"),
    };
    assert_eq!(listen(&["bellwire", "listen"]), None);
    assert_eq!(listen(&["bellwire", "listen", "--auto-answer"]), Some(Duration::ZERO));
    assert_eq!(listen(&["bellwire", "listen", "--auto-answer=2s"]), Some(Duration::from_secs(2)));
}
