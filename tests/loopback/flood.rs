//! Floods within bounds on the loopback interface: limits hold, and a call that runs suffers no gap (threats B1 to B5).

use crate::calls::{Pbx, assert_tone, silent};
use crate::kit::Home;
use crate::sound::{Sound, measure_tone};
use std::io::Write;
use std::net::{TcpStream, UdpSocket};
use std::time::{Duration, Instant};

/// Requests a second, and for how long.
const RATE: u32 = 1000;
const SECONDS: u32 = 5;

fn request(method: &str, n: u32, local: &str, pbx: &str) -> String {
    let uri = if method == "REGISTER" { format!("sip:{pbx}") } else { format!("sip:1001@{pbx}") };
    format!(
        "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {local};branch=z9hG4bK{method}{n};rport\r\nMax-Forwards: 70\r\n\
         From: <sip:mallory@{pbx}>;tag=f{n}\r\nTo: <sip:mallory@{pbx}>\r\nCall-ID: flood-{method}-{n}\r\nCSeq: 1 {method}\r\n\
         Contact: <sip:mallory@{local}>\r\nContent-Length: 0\r\n\r\n"
    )
}

/// What a flood brought: bytes out and back, and how many answers of each status.
#[derive(Debug, Default)]
struct Echo {
    sent: usize,
    sent_bytes: usize,
    taken_bytes: usize,
    challenged: usize,
    refused: usize,
}

fn flood(method: &str, pbx: &str) -> Echo {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_nonblocking(true).unwrap();
    let local = socket.local_addr().unwrap().to_string();
    let (start, mut echo, mut buffer) = (Instant::now(), Echo::default(), [0; 4096]);
    let mut take = |echo: &mut Echo| {
        while let Ok(length) = socket.recv(&mut buffer) {
            echo.taken_bytes += length;
            echo.challenged += usize::from(buffer.starts_with(b"SIP/2.0 401"));
            echo.refused += usize::from(buffer.starts_with(b"SIP/2.0 503"));
        }
    };
    for n in 0..RATE * SECONDS {
        let text = request(method, n, &local, pbx);
        if socket.send_to(text.as_bytes(), pbx).is_ok() {
            echo.sent += 1;
            echo.sent_bytes += text.len();
        }
        take(&mut echo);
        let due = Duration::from_secs(1) * n / RATE;
        std::thread::sleep(due.saturating_sub(start.elapsed()));
    }
    std::thread::sleep(Duration::from_secs(1));
    take(&mut echo);
    println!("{method}: {echo:?} in {:?}", start.elapsed());
    echo
}

#[test]
fn a_call_goes_on_through_floods_of_every_kind() {
    let home = Home::alone();
    let pbx = Pbx::start(&home, "127.0.0.1:0", 2, &[]);
    let callee = pbx.phone(&home, 0, &silent(500.0, "callee.wav"), "");
    let caller = pbx.phone(&home, 1, &silent(800.0, "caller.wav"), "");
    let listener = home.start(&["listen", "--auto-answer", "--once", "--json", "-c", &callee]);
    listener.until("registration.ok");
    let call = home.start(&["call", "1001", "--json", "-c", &caller]);
    call.until("call.answered");
    let answered = Instant::now();
    std::thread::sleep(Duration::from_secs(7));
    let flooded_from = answered.elapsed().as_secs_f64();

    let seconds = SECONDS as usize;
    let memory = resident(pbx.running.pid());
    for method in ["INVITE", "REGISTER", "OPTIONS"] {
        let start = Instant::now();
        let echo = flood(method, &pbx.udp);
        assert!(echo.sent > 100, "{echo:?}");
        assert!(echo.taken_bytes <= 2 * echo.sent_bytes, "{method} is amplified: {echo:?}");
        if method == "INVITE" {
            // 20 a second from one address, and a second's worth at once; the rest is turned away.
            let most = 20 * (start.elapsed().as_secs() as usize + 2);
            assert!((1..=most).contains(&echo.challenged), "at most {most} are looked at: {echo:?}");
            assert!(echo.refused > 0, "{echo:?}");
        } else {
            assert!(echo.challenged >= seconds, "{echo:?}");
        }
    }
    let grown = resident(pbx.running.pid()).saturating_sub(memory);
    println!("{grown} KiB more after the floods");
    assert!(grown <= 32 * 1024, "{grown} KiB more than before the floods");
    // The media ports too: garbage and foreign RTP to every port of the range that a socket may have.
    let strangers = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut packet = vec![0x80, 0, 0, 1, 0, 0, 0, 160, 1, 2, 3, 4];
    packet.resize(172, 0x55);
    for _ in 0..3 {
        for port in 16_384..=32_767_u16 {
            let _ = strangers.send_to(&packet, ("127.0.0.1", port));
            if port % 64 == 0 {
                std::thread::sleep(Duration::from_millis(2));
            }
        }
    }
    strangers.set_nonblocking(true).unwrap();
    assert!(strangers.recv(&mut [0; 2048]).is_err(), "nothing of ours went to the stranger");

    call.signal(nix::sys::signal::Signal::SIGINT);
    let done = call.wait().expect(130, &["call.ended"]);
    listener.wait().expect(0, &[]);
    // The same call before the floods says what this machine is capable of now.
    for (file, hz) in [("callee.wav", 800.0), ("caller.wav", 500.0)] {
        assert_tone(&home.path(file), hz, 20.0);
        let heard = Sound::read(&home.path(file), 0).unwrap();
        let quiet = measure_tone(&heard.cut(1.0, 5.0)).unwrap();
        let flooded = measure_tone(&heard.cut(flooded_from, heard.seconds() - flooded_from - 1.0)).unwrap();
        println!("{file}: before {quiet:?}, under floods {flooded:?}");
        assert!(flooded.gaps <= quiet.gaps + 0.05, "{file}: {:.1} % gaps under floods", flooded.gaps * 100.0);
    }
    let ended = done.events("call.ended").remove(0);
    println!("{ended}");
    // And the PBX still takes calls.
    home.run(&["call", "600", "--json", "--duration", "1s", "-c", &caller]).expect(0, &["call.answered"]);
}

/// Resident memory of a process, KiB.
fn resident(pid: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a figure");
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number")
}

fn descriptors(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).expect("it runs").count()
}

#[test]
fn silent_slow_and_deaf_connections_shut_nobody_out_and_leave_nothing_behind() {
    let home = Home::alone();
    let pbx = Pbx::start(&home, "127.0.0.1:0", 3, &[]);
    let tcp = "transport = \"tcp\"";
    let callee = pbx.phone(&home, 0, &silent(500.0, "callee.wav"), tcp);
    let listener = home.start(&["listen", "--auto-answer", "--once", "--json", "-c", &callee]);
    listener.until("registration.ok");
    let (memory, files) = (resident(pbx.running.pid()), descriptors(pbx.running.pid()));

    let mut held = Vec::new();
    for n in 0..300_u32 {
        let Ok(mut stream) = TcpStream::connect(&pbx.tcp) else { continue };
        stream.set_nonblocking(true).unwrap();
        match n % 3 {
            0 => {} // silent
            1 => drop(stream.write(b"INVITE sip:1001@")),
            // Deaf: asks again and again, and never reads what comes back.
            _ => {
                for k in 0..2000 {
                    let text = request("OPTIONS", n * 10_000 + k, "127.0.0.1:9", &pbx.tcp).replace("/UDP", "/TCP");
                    if stream.write(text.as_bytes()).is_err() {
                        break;
                    }
                }
            }
        }
        held.push(stream);
    }
    // While they are all there: another phone comes in, and calls the one that was there before.
    let caller = pbx.phone(&home, 1, &silent(800.0, "caller.wav"), tcp);
    let done = home.run(&["call", "1001", "--json", "--duration", "3s", "-c", &caller]);
    done.expect(0, &["call.answered"]);
    let listened = listener.wait().expect(0, &[]);
    assert_eq!(listened.events("registration.ok").len(), 1, "its connection was never lost");
    assert_tone(&home.path("callee.wav"), 800.0, 1.5);

    let grown = resident(pbx.running.pid()).saturating_sub(memory);
    println!("{grown} KiB more, {} descriptors more", descriptors(pbx.running.pid()).saturating_sub(files));
    assert!(grown <= 32 * 1024, "{grown} KiB more than before");
    assert!(descriptors(pbx.running.pid()) <= files + 64 + 16);
    drop(held);
    let end = Instant::now() + Duration::from_secs(30);
    while descriptors(pbx.running.pid()) > files + 2 {
        assert!(Instant::now() < end, "{} descriptors are left", descriptors(pbx.running.pid()));
        std::thread::sleep(Duration::from_millis(100));
    }
}
