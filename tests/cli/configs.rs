//! Config files as a user writes them, right and wrong.

use crate::kit::{Home, Pbx, repository};
use std::os::unix::fs::PermissionsExt;

const BROKEN: &str = "[account.work]
server = \"pbx.example.org\"
user = 1001
pasword_command = \"pass show sip/work\"

[audio]
jitter_min = \"200ms\"
jitter_max = \"20ms\"
codecs = [\"opsu\"]
port = 5060

[call]
max = \"four\"
do_not_disturb = 1
record = true
";

#[test]
fn every_mistake_is_told_at_once_with_its_place_and_what_was_meant() {
    let home = Home::new();
    home.write("broken.toml", BROKEN);
    for command in [&["config", "check"][..], &["call", "600"], &["listen"], &["register"], &["ping", "x"], &["pbx"]] {
        let done = home.run(&[command, &["-c", "broken.toml"]].concat());
        done.expect(
            3,
            &[
                "broken.toml:3:8",
                "expected text in quotes, found a whole number",
                "error[config.unknown-key]: `pasword_command` is no key of [account.work]",
                "broken.toml:4:1",
                "did you mean `password_command`?",
                "`jitter_max` must be at least `jitter_min`",
                "broken.toml:8:14",
                "minimum set here",
                "no codec \"opsu\"; did you mean \"opus\"?",
                "error[config.wrong-table]: `port` belongs in [network]",
                "broken.toml:13:7",
                "expected a whole number, found text",
                "broken.toml:14:18",
                "expected true or false, found a whole number",
                "error[config.not-built]: `call.record` is not built yet",
                "broken.toml: 8 errors. Nothing was changed.",
            ],
        );
    }
}

#[test]
fn no_finding_shows_a_password() {
    let home = Home::new();
    let canary = crate::kit::CANARY;
    let account = "[account.work]\nserver = \"a\"\nuser = \"b\"\n";
    for line in [
        format!("pasword = \"{canary}\""),
        format!("password = \"{canary}"),
        format!("password = \"{canary}\"\npassword_env = \"X\""),
        format!("password = [\"{canary}\"]"),
        format!("passphrase = \"{canary}\""),
    ] {
        home.write("bad.toml", &format!("{account}{line}\n"));
        for more in [&[][..], &["--json"], &["-vvv"]] {
            let done = home.run(&[&["config", "check", "-c", "bad.toml"], more].concat()).expect(3, &["bad.toml"]);
            assert!(!done.out.contains(canary) && !done.err.contains(canary), "{line}:\n{}{}", done.out, done.err);
        }
    }
}

#[test]
fn findings_are_objects_with_json() {
    let home = Home::new();
    home.write("broken.toml", BROKEN);
    let done = home.run(&["config", "check", "-c", "broken.toml", "--json"]).expect(3, &[]);
    let found = done.events("config.finding");
    assert_eq!(found.len(), 8);
    let typo = found.iter().find(|f| f["slug"] == "config.unknown-key").unwrap();
    assert_eq!(
        (&typo["line"], &typo["col"], &typo["len"], &typo["suggestion"], &typo["severity"]),
        (&4.into(), &1.into(), &15.into(), &"password_command".into(), &"error".into())
    );
}

#[test]
fn broken_toml_is_told_with_its_place() {
    let home = Home::new();
    home.write("broken.toml", "[account.work\nserver = \"x\"\n");
    home.run(&["config", "check", "-c", "broken.toml"]).expect(3, &["error[config.syntax]", "broken.toml:1:"]);
}

#[test]
fn a_config_that_is_not_there_is_told_when_it_was_named() {
    let home = Home::new();
    home.run(&["call", "600", "-c", "none.toml"])
        .expect(3, &["error[config.unreadable]", "none.toml: no such file or directory"]);
    home.run(&["config", "check"]).expect(0, &["there is no config; all values are the defaults"]);
}

#[test]
fn four_lines_are_a_config() {
    let home = Home::new();
    let pbx = Pbx::start(&home);
    let readme = crate::kit::blocks(&repository("README.md"), "toml").remove(0);
    assert_eq!(readme.lines().count(), 4, "{readme}");
    assert_eq!(readme, repository("config/minimal.toml"));
    let mine = readme
        .replace("pbx.example.org", &pbx.udp)
        .replace("1001", "alice")
        .replace("pass show sip/work", &format!("printf '{}-alice'", crate::kit::CANARY));
    home.write(".config/bellwire/config.toml", &mine);
    home.run(&["register", "--once"]).expect(0, &["  registered alice at "]);
    home.run(&["call", "600", "--duration", "1s", "--null-audio"]).expect(0, &["  answered "]);
}

#[test]
fn a_password_comes_from_a_command_a_variable_a_file_or_the_config() {
    let home = Home::new();
    let pbx = Pbx::start(&home);
    let secret = format!("{}-alice", crate::kit::CANARY);
    home.write("secrets/pass", &format!("{secret}\nsecond line\n"));
    for line in [
        "password_command = \"head -n 1 secrets/pass\"".to_owned(),
        "password_env = \"MY_PASSWORD\"".to_owned(),
        "password_file = \"secrets/pass\"".to_owned(),
        format!("password = \"{secret}\""),
    ] {
        home.write("p.toml", &format!("[account.work]\nserver = \"{}\"\nuser = \"alice\"\n{line}\n", pbx.udp));
        let mut command = home.command(&["register", "--once", "-c", "p.toml"]);
        command.env("MY_PASSWORD", &secret);
        let done = crate::kit::Running::of(command, &["register"]).wait().expect(0, &["  registered alice "]);
        assert_eq!(done.err, "", "{line}");
    }
}

#[test]
fn a_password_that_cannot_be_had_is_told() {
    let home = Home::new();
    let account = "[account.work]\nserver = \"127.0.0.1\"\nuser = \"alice\"\n";
    for (line, words) in [
        ("password_command = \"false\"", "`false` ended with exit status: 1"),
        ("password_command = \"no-such-program\"", "`no-such-program` did not start"),
        ("password_env = \"NOT_SET\"", "the variable NOT_SET is not set"),
        ("password_file = \"none\"", "none: "),
    ] {
        home.write("p.toml", &format!("{account}{line}\n"));
        let start = home.run(&["register", "--once", "-c", "p.toml"]);
        let done = start.expect(3, &["error[config.password]: the password of work cannot be had", words]);
        assert!(!done.err.contains("os error"), "{}", done.err);
    }
}

#[test]
fn a_password_that_others_can_read_warns_or_is_refused() {
    let home = Home::new();
    let account = "[account.work]\nserver = \"127.0.0.1\"\nuser = \"alice\"\n";
    let path = home.write("open.toml", &format!("{account}password = \"{}\"\n", crate::kit::CANARY));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let done =
        home.run(&["config", "check", "-c", "open.toml"]).expect(0, &["warning[config.exposed-password]", "chmod 600"]);
    assert!(!done.err.contains(crate::kit::CANARY), "{}", done.err);
    let pass = home.write("pass", "x\n");
    std::fs::set_permissions(&pass, std::fs::Permissions::from_mode(0o640)).unwrap();
    home.write("file.toml", &format!("{account}password_file = \"pass\"\n"));
    home.run(&["register", "--once", "-c", "file.toml"]).expect(3, &["others can read it (mode 0640)"]);
}

#[test]
fn show_tells_every_value_and_where_it_is_from_but_no_password() {
    let home = Home::new();
    let text = format!(
        "[account.work]\nserver = \"a\"\nuser = \"b\"\npassword = \"{}\"\n[call]\nmax = 9\n",
        crate::kit::CANARY
    );
    home.write("s.toml", &text);
    let mut command = home.command(&["config", "show", "--origin", "-c", "s.toml", "--port", "5070"]);
    command.env("BELLWIRE_AUDIO_FRAME", "40ms");
    let done = crate::kit::Running::of(command, &["config", "show"]).wait().expect(
        0,
        &[
            "call.max = 9    # s.toml:6",
            "network.port = 5070    # --port",
            "audio.frame = \"40ms\"    # BELLWIRE_AUDIO_FRAME",
            "audio.input = \"default\"    # default",
            "account.work.password = \"***\"    # s.toml:4",
        ],
    );
    assert!(!done.out.contains(crate::kit::CANARY));
}

#[test]
fn init_writes_a_config_that_is_good_and_only_mine() {
    let home = Home::new();
    let args = ["config", "init", "--address", "1001@pbx.example.org", "--password-command", "pass show sip/work"];
    home.run(&args).expect(0, &["wrote ", "(4 lines). Next: bellwire register --once"]);
    let path = home.path(".config/bellwire/config.toml");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), repository("config/minimal.toml"));
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    home.run(&args).expect(3, &["error[config.exists]", "--yes"]);
    home.run(&["config", "init", "--full", "--yes"]).expect(0, &["fill in [account.work]"]);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), repository("config/softphone.toml"));
    home.run(&["config", "check"]).expect(0, &["no error"]);
    home.run(&["config", "path"]).expect(0, &[".config/bellwire/config.toml\n"]);
}

#[test]
fn init_asks_nobody_who_is_not_there() {
    let home = Home::new();
    home.run(&["config", "init"]).expect(2, &["--address", "this is no terminal"]);
    home.run(&["config", "init", "--address", "1001"]).expect(2, &["it needs a user and a server"]);
}

#[test]
fn the_examples_of_the_repository_are_good() {
    let home = Home::new();
    for name in ["softphone.toml", "minimal.toml", "pbx.toml"] {
        home.write(name, &repository(&format!("config/{name}")));
        home.run(&["config", "check", "-c", name]).expect(0, &[&format!("{name}: no error")]);
    }
}
