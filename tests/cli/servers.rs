//! `bellwire pbx` from the outside.

use crate::kit::{Home, Pbx};

#[test]
fn without_users_it_exits_with_3_and_prints_lines_that_work() {
    let home = Home::new();
    home.write(".config/bellwire/config.toml", "[pbx]\nlisten = \"127.0.0.1:0\"\n");
    let done =
        home.run(&["pbx"]).expect(3, &["error[pbx.no-users]: the PBX has no users", "try:   bellwire pbx --users 2"]);
    let (_, lines) = done.err.split_once("paste these lines").expect("lines");
    let (_, lines) = lines.split_once(":\n\n").expect("lines");
    assert!(lines.contains("password = \""), "{lines}");
    // Pasted below what stands there already, they make a config that starts.
    home.write(".config/bellwire/config.toml", &format!("[pbx]\nlisten = \"127.0.0.1:0\"\n{lines}"));
    let running = home.start(&["pbx"]);
    running.until("  pbx   udp:127.0.0.1:");
}

#[test]
fn it_makes_users_with_random_passwords_and_says_them_once() {
    let home = Home::new();
    let args = ["pbx", "--users", "3", "--bind", "127.0.0.1:0", "--json"];
    let first = home.start(&args);
    first.until("\"user\":\"1003\"");
    let second = home.start(&args);
    second.until("\"user\":\"1003\"");
    let passwords = |text: String| -> Vec<String> {
        let users = crate::kit::events(&text).into_iter().filter(|e| e["event"] == "pbx.user");
        users.map(|e| e["password"].as_str().unwrap().to_owned()).collect()
    };
    let mut all = passwords(first.out());
    all.extend(passwords(second.out()));
    assert!(all.iter().all(|p| p.len() >= 16), "{all:?}");
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 6);
}

#[test]
fn the_config_it_prints_for_its_users_starts_it() {
    let home = Home::new();
    let done =
        home.run(&["pbx", "--users", "2", "--print-config", "--bind", "127.0.0.1:0"]).expect(0, &["[pbx.user.1002]"]);
    home.write("printed.toml", &done.out);
    home.run(&["config", "check", "-c", "printed.toml"]).expect(0, &["no error"]);
    home.start(&["pbx", "-c", "printed.toml"]).until("  pbx   udp:127.0.0.1:");
}

#[test]
fn it_listens_on_loopback_unless_told() {
    let home = Home::new();
    let done = home.run(&["config", "show"]);
    done.expect(0, &["pbx.listen = \"127.0.0.1:5060\""]);
    let running = home.start(&["pbx", "--users", "1", "--bind", "0.0.0.0:0"]);
    running.until("  pbx   udp:0.0.0.0:");
}

#[test]
fn two_phones_talk_through_it() {
    let home = Home::new();
    let pbx = Pbx::start(&home);
    let bob = pbx.phone_with(&home, "bob", "input = \"echo\"\noutput = \"none\"\n", "");
    let alice = pbx.phone(&home, "alice");
    let listener = home.start(&["listen", "--auto-answer", "--once", "-c", &bob]);
    listener.until("  registered bob ");
    let done = home.run(&["call", "bob", "-c", &alice, "--duration", "3s", "--json"]).expect(0, &[]);
    let ended = done.events("call.ended").remove(0);
    assert!(ended["stats"]["rx"].as_u64().unwrap() > 50, "{ended}");
    assert_eq!(ended["stats"]["lost"], 0, "{ended}");
    listener.wait().expect(0, &["incoming ", "by them after 00:0"]);
    let ended = |line: &str| line.contains("\"pbx.call\"") && line.contains("\"ended\"");
    assert!(pbx.running.until_out(ended).contains("\"alice\""));
}
