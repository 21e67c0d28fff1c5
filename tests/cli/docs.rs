//! Every example of README and manual is run: `$ ` begins a command, what follows up to the next one is its output, `…` stands for anything.

use crate::kit::{CANARY, Done, Home, Pbx, blocks, repository};
use nix::sys::signal::Signal;
use std::time::Duration;

const DOCUMENTS: [&str; 9] = [
    "src/manual/tls.md",
    "README.md",
    "src/manual/first-call.md",
    "src/manual/calls.md",
    "src/manual/incoming.md",
    "src/manual/transfer.md",
    "src/manual/commands.md",
    "src/manual/config.md",
    "src/manual/security.md",
];

/// A home whose config is that of a user of a running PBX, and in which the names of the examples exist.
fn prepared() -> (Home, Pbx) {
    let home = Home::alone();
    let pbx = Pbx::start(&home);
    let phone = pbx.phone(&home, "alice");
    let text = std::fs::read_to_string(home.path(&phone)).unwrap();
    home.write(".config/bellwire/config.toml", &text);
    std::fs::create_dir(home.path("rec")).unwrap();
    home.write(
        "broken.toml",
        "[account.work]\nserver = \"pbx.example.org\"\nuser = 1001\npasword_command = \"pass show sip/work\"\n",
    );
    std::fs::copy(concat!(env!("CARGO_MANIFEST_DIR"), "/src/assets/speech.wav"), home.path("speech.wav")).unwrap();
    (home, pbx)
}

#[test]
fn every_example_does_what_the_page_says() {
    let mut ran = 0;
    for document in DOCUMENTS {
        for block in blocks(&repository(document), "console") {
            let (home, _pbx) = prepared();
            for example in block.split("$ ").filter(|e| !e.trim().is_empty()) {
                let (command, shown) = example.split_once('\n').unwrap_or((example, ""));
                let done = run(&home, command);
                let all = format!("{}{}", done.out, done.err);
                for line in shown.lines().filter(|l| !l.trim().is_empty()) {
                    let there = all.lines().any(|got| fits(line, got));
                    assert!(there, "{document}: `{command}` does not say\n{line}\nbut\n{all}");
                }
                assert!(!all.contains(CANARY), "{document}: `{command}` shows a password");
                ran += 1;
            }
        }
    }
    assert!(ran >= 12, "only {ran} examples");
}

/// Runs an example; one that would go on for ever is interrupted once it has started.
fn run(home: &Home, command: &str) -> Done {
    let args: Vec<&str> = command.split_whitespace().collect();
    let args = args.strip_prefix(&["bellwire"]).unwrap_or_else(|| panic!("`{command}` is not ours"));
    let endless = ["pbx", "listen", "register"].contains(&args[0])
        && !args.contains(&"--once")
        && !args.contains(&"--print-config");
    let running = home.start(args);
    if endless {
        running.until_out(|line| line.contains("udp:"));
        std::thread::sleep(Duration::from_millis(700));
        running.signal(Signal::SIGINT);
    }
    running.wait()
}

/// Whether `got` is `wanted`, in which `…` stands for anything.
fn fits(wanted: &str, got: &str) -> bool {
    let mut rest = got.trim_end();
    let mut pieces = wanted.trim_end().split('…');
    let Some(after) = rest.strip_prefix(pieces.next().unwrap_or_default()) else { return false };
    rest = after;
    let pieces: Vec<&str> = pieces.collect();
    for (n, piece) in pieces.iter().enumerate() {
        if n + 1 == pieces.len() {
            return rest.ends_with(piece);
        }
        let Some(at) = rest.find(piece) else { return false };
        rest = &rest[at + piece.len()..];
    }
    rest.is_empty()
}

#[test]
fn dots_stand_for_anything_and_nothing_else_does() {
    assert!(fits("a … c", "a b c") && fits("a…", "abc") && fits("abc", "abc  "));
    assert!(!fits("a … c", "a b d") && !fits("abc", "abcd") && !fits("b…", "abc"));
}

#[test]
fn the_manual_names_every_command_and_every_option() {
    use clap::CommandFactory;
    let manual = repository("src/manual/commands.md");
    fn walk(command: &clap::Command, path: &str, manual: &str, missing: &mut Vec<String>) {
        for arg in command.get_arguments().filter(|a| a.get_id() != "help" && a.get_id() != "version") {
            if let Some(long) = arg.get_long()
                && !manual.contains(&format!("`--{long}"))
            {
                missing.push(format!("{path} --{long}"));
            }
        }
        for sub in command.get_subcommands().filter(|s| s.get_name() != "help") {
            let path = format!("{path} {}", sub.get_name());
            if !manual.contains(path.trim_start()) {
                missing.push(path.clone());
            }
            walk(sub, &path, manual, missing);
        }
    }
    let mut missing = Vec::new();
    walk(&bellwire::app::args::Cli::command(), "bellwire", &manual, &mut missing);
    assert_eq!(missing, [""; 0], "not in src/manual/commands.md");
}

#[test]
fn the_manual_names_every_key_and_its_default() {
    let home = Home::new();
    home.write("a.toml", "[account.NAME]\nserver = \"pbx.example.org\"\nuser = \"1001\"\n");
    let done = home.run(&["config", "show", "-c", "a.toml", "--json"]).expect(0, &[]);
    let manual = repository("src/manual/config.md");
    let mut missing = Vec::new();
    for setting in done.events("config.setting") {
        let (key, value) = (setting["key"].as_str().unwrap(), setting["value"].as_str().unwrap());
        if key.starts_with("account.NAME.audio") {
            continue;
        }
        let name = key.rsplit('.').next().unwrap();
        let table = key.strip_suffix(name).unwrap().trim_end_matches('.');
        let section = manual.split(&format!("## `[{table}]`")).nth(1).and_then(|s| s.split("\n## ").next());
        let section = if table.is_empty() { Some(manual.as_str()) } else { section };
        let row = section.and_then(|s| s.lines().find(|l| l.starts_with(&format!("| `{name}` |"))));
        if !row.is_some_and(|row| row.contains(&format!("`{value}`")) || ["server", "user"].contains(&name)) {
            missing.push(format!("{key} = {value}"));
        }
    }
    assert_eq!(missing, [""; 0], "not in src/manual/config.md");
    for key in ["password_command", "password_env", "password_file", "password"] {
        assert!(manual.contains(&format!("| `{key}` |")), "{key}");
    }
}

#[test]
fn the_manual_names_every_exit_code_and_every_event() {
    let manual = repository("src/manual/commands.md");
    for exit in bellwire::app::exit::Exit::ALL {
        let row = format!("| {} | {} |", exit.code(), exit.meaning());
        assert!(manual.contains(&row), "{row}");
    }
    let api = repository("src/api.rs");
    for name in api.split("#[serde(rename = \"").skip(1).filter_map(|s| s.split('"').next()) {
        assert!(manual.contains(&format!("`{name}`")) || name == "stopped", "{name}");
    }
}
