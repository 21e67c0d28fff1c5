use super::*;

fn source(text: &str) -> Source {
    Source { file: "config.toml".into(), text: text.into(), dir: "/etc/x".into(), exposed: false }
}

fn read(text: &str) -> Loaded {
    Loaded::read(vec![source(text)], &Overrides::default())
}

fn told(text: &str) -> Vec<String> {
    let loaded = read(text);
    loaded.findings.iter().map(|f| format!("{}:{} {} {} | {}", f.line, f.col, f.slug, f.text, f.label)).collect()
}

/// The example without its account tables and the optional tables of users.
fn without_accounts(text: &str) -> String {
    let mut out = String::new();
    let mut skipping = false;
    for line in text.lines() {
        if line.starts_with('[') {
            skipping = line.starts_with("[account.");
        }
        if !skipping {
            out += line;
            out.push('\n');
        }
    }
    out
}

#[test]
fn the_example_holds_the_defaults() {
    let loaded = read(&without_accounts(FULL));
    assert_eq!(loaded.render(false), "");
    assert_eq!(loaded.config, Some(Config::default()));
}

#[test]
fn the_example_names_every_key_and_sets_each_that_has_a_default() {
    let defaults = Loaded::read(vec![source("[account.work]\nserver = \"a\"\nuser = \"b\"\n")], &Overrides::default());
    let example = read(FULL);
    for (table, key) in &defaults.known {
        let line = |l: &str| {
            let l = l.trim_start_matches("# ");
            l.starts_with(&format!("{key} = "))
                || l.starts_with('[') && l.contains(&format!("{key}."))
                || l.contains(&format!("[{key}]"))
                || l.contains(&format!(".{key}]"))
        };
        assert!(FULL.lines().any(line), "`{key}` of [{table}] is not in the example");
    }
    for setting in defaults.settings.iter().filter(|s| s.value.is_some() && !s.key.starts_with("account.work.audio")) {
        let shown = example.settings.iter().find(|s| s.key == setting.key).unwrap();
        assert!(shown.origin.starts_with("config.toml:"), "{} is not set in the example", setting.key);
        if !["account.work.server", "account.work.user"].contains(&setting.key.as_str()) {
            assert_eq!(shown.value, setting.value, "{}", setting.key);
        }
    }
}

#[test]
fn every_key_of_the_example_has_a_comment() {
    for line in
        FULL.lines().filter(|l| l.contains(" = ") && !l.starts_with("# any") && !l.starts_with("# audio.codecs"))
    {
        let comments = line.trim_start_matches("# ").contains('#');
        let obvious = line.starts_with("# Every") || line.contains("default:");
        assert!(comments || obvious, "{line}");
    }
}

#[test]
fn the_four_line_config_is_enough() {
    let config = read(include_str!("../../../config/minimal.toml")).config.unwrap();
    let account = &config.accounts[0];
    assert_eq!((account.server.as_str(), account.user.as_str()), ("pbx.example.org", "1001"));
    assert_eq!(account.password, Some(PasswordSource::Command("pass show sip/work".into())));
    assert!(account.register);
    assert_eq!(account.audio, config.audio);
}

#[test]
fn the_example_of_a_pbx_is_read() {
    let config = read(include_str!("../../../config/pbx.toml")).config.unwrap();
    let names: Vec<_> = config.pbx.users.iter().map(|u| u.name.as_str()).collect();
    assert_eq!(names, ["alice", "bob"]);
}

#[test]
fn all_findings_come_at_once_with_place_and_proposal() {
    let text = "[account.work]\nserver = \"pbx\"\nuser = 1001\npasword_command = \"x\"\n\n[audio]\njitter_min = \"200ms\"\njitter_max = \"20ms\"\ncodecs = [\"opus\", \"pcmx\"]\nport = 5060\n\n[call]\nmax = \"four\"\n[vidoe]\n[video]\n";
    assert_eq!(
        told(text),
        [
            "3:8 config.type `account.work.user` has the wrong type | expected text in quotes, found a whole number",
            "4:1 config.unknown-key `pasword_command` is no key of [account.work] | did you mean `password_command`?",
            "8:14 config.value `jitter_max` must be at least `jitter_min` | smaller",
            "9:10 config.value `audio.codecs` cannot have this value | no codec \"pcmx\"; did you mean \"pcmu\"?",
            "10:1 config.wrong-table `port` belongs in [network] | move it below [network]",
            "13:7 config.type `call.max` has the wrong type | expected a whole number, found text",
            "14:2 config.unknown-key `vidoe` is no key of the top level | unknown",
            "15:2 config.not-built `video` is not built yet | this version cannot do that yet",
        ]
    );
    assert!(read(text).config.is_none());
}

#[test]
fn a_finding_is_drawn_below_its_line() {
    let text =
        "[account.work]\nserver = \"pbx.example.org\"\nuser = \"1001\"\npasword_command = \"pass show sip/work\"\n";
    let expected = "error[config.unknown-key]: `pasword_command` is no key of [account.work]
 --> config.toml:4:1
  |
4 | pasword_command = \"pass show sip/work\"
  | ^^^^^^^^^^^^^^^ did you mean `password_command`?
config.toml: 1 error. Nothing was changed.
";
    assert_eq!(read(text).render(false), expected);
}

#[test]
fn two_bounds_that_cross_are_shown_together() {
    let shown = read("[audio]\njitter_min = \"200ms\"\njitter_max = \"20ms\"\n").render(false);
    assert!(shown.contains("minimum set here") && shown.contains("^^^^^^ smaller"), "{shown}");
}

#[test]
fn broken_toml_is_told_with_its_place() {
    let told = told("[audio\ninput = \"none\"\ncodecs = [\n");
    assert!(told.iter().any(|t| t.starts_with("1:7 config.syntax")), "{told:?}");
    assert!(read("[audio]\ninput = \"none\ngain").config.is_none());
}

#[test]
fn keys_of_what_is_not_built_are_refused_as_such() {
    for text in [
        "[account.a]\nserver = \"x\"\nuser = \"y\"\nstun = \"x\"\n",
        "[account.a]\nserver = \"x\"\nuser = \"y\"\npassword_keyring = true\n",
        "[account.a]\nserver = \"x\"\nuser = \"y\"\nvideo.enabled = true\n",
        "[audio]\necho_cancel = true\n",
        "[call]\nrecord = true\n",
        "[hooks]\n",
    ] {
        let slugs: Vec<_> = read(text).findings.iter().map(|f| f.slug).collect();
        assert_eq!(slugs, ["config.not-built"], "{text}");
    }
}

#[test]
fn an_account_may_have_sound_settings_of_its_own() {
    let text = "[audio]\njitter_min = \"40ms\"\n[account.a]\nserver = \"x\"\nuser = \"y\"\naudio.codecs = [\"pcma\"]\naudio.opus.complexity = 9\n";
    let config = read(text).config.unwrap();
    assert_eq!(config.accounts[0].audio.codecs, ["pcma"]);
    assert_eq!(config.accounts[0].audio.opus.complexity, 9);
    assert_eq!(config.accounts[0].audio.jitter_min, Duration::from_millis(40));
    assert_eq!(config.audio.codecs, ["opus", "g722", "pcmu", "pcma"]);
}

#[test]
fn accounts_keep_the_order_of_the_file() {
    let text = "[account.zoe]\nserver = \"x\"\nuser = \"y\"\n[account.adam]\nserver = \"x\"\nuser = \"y\"\n";
    let names: Vec<_> = read(text).config.unwrap().accounts.into_iter().map(|a| a.name).collect();
    assert_eq!(names, ["zoe", "adam"]);
}

#[test]
fn an_account_without_server_or_user_says_what_to_add() {
    assert_eq!(
        told("[account.a]\nregister = true\n"),
        [
            "1:10 config.missing-key [account.a] lacks `server` | add server = \"pbx.example.org\"",
            "1:10 config.missing-key [account.a] lacks `user` | add user = \"1001\"",
        ]
    );
}

#[test]
fn options_beat_variables_and_these_beat_files() {
    let file = source("[network]\nport = 1\n[audio]\ninput = \"none\"\n");
    let known = ["network.port".to_owned(), "audio.input".to_owned()];
    let vars = [("BELLWIRE_NETWORK_PORT", "2"), ("BELLWIRE_AUDIO_INPUT", "tone:440"), ("BELLWIRE_OTHER", "x")];
    let mut overrides = places::environment(vars.map(|(k, v)| (k.to_owned(), v.to_owned())), &known);
    let loaded = Loaded::read(vec![file.clone()], &overrides);
    let config = loaded.config.unwrap();
    assert_eq!((config.network.port, config.audio.input), (2, AudioSource::Tone(440.0)));
    let origin = loaded.settings.iter().find(|s| s.key == "network.port").unwrap();
    assert_eq!(origin.origin, "BELLWIRE_NETWORK_PORT");
    overrides.set("network.port", "3", "--port");
    assert_eq!(Loaded::read(vec![file], &overrides).config.unwrap().network.port, 3);
}

#[test]
fn a_bad_option_is_told_by_its_name() {
    let mut overrides = Overrides::default();
    overrides.set("network.port", "70000", "--port");
    let loaded = Loaded::read(Vec::new(), &overrides);
    assert_eq!(
        loaded.render(false),
        "error[config.value]: `network.port` cannot have this value\n  --> --port: must be 0 to 65535\n"
    );
}

#[test]
fn the_first_file_wins_and_every_file_is_checked() {
    let first = source("[network]\nport = 1\n");
    let second = Source { file: "system.toml".into(), ..source("[network]\nport = 2\nipv6 = false\nprot = 3\n") };
    let loaded = Loaded::read(vec![first, second], &Overrides::default());
    let told: Vec<_> = loaded.findings.iter().map(|f| (f.file.as_str(), f.line, f.suggestion.as_deref())).collect();
    assert_eq!(told, [("system.toml", 4, Some("port"))]);
}

#[test]
fn one_account_has_one_password() {
    let text = "[account.a]\nserver = \"x\"\nuser = \"y\"\npassword_env = \"P\"\npassword = \"canary-5f3a\"\n";
    let loaded = read(text);
    assert_eq!(loaded.findings[0].text, "[account.a] has two passwords: `password_env` and `password`");
    assert!(!format!("{:?}{:?}", loaded.findings, loaded.settings).contains("canary"));
}

#[test]
fn a_password_in_a_file_that_others_can_read_warns() {
    let text = "[account.a]\nserver = \"x\"\nuser = \"y\"\npassword = \"canary-5f3a\"\n";
    let loaded = Loaded::read(vec![Source { exposed: true, ..source(text) }], &Overrides::default());
    let shown = loaded.render(false);
    assert!(shown.starts_with("warning[config.exposed-password]"), "{shown}");
    assert!(!shown.contains("canary"), "{shown}");
    assert!(loaded.config.is_some());
    assert!(!format!("{:?}", loaded.config).contains("canary"));
}

#[test]
fn a_relative_password_file_is_looked_for_beside_the_config() {
    let config = read("[account.a]\nserver = \"x\"\nuser = \"y\"\npassword_file = \"p\"\n").config.unwrap();
    assert_eq!(config.accounts[0].password, Some(PasswordSource::File("/etc/x/p".into())));
}
