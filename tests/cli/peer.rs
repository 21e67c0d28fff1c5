//! A scripted SIP server: answers every INVITE with one status, or as an echo that can be spoilt.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How an echo treats the sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Echo {
    /// Sends every packet back.
    Clean,
    /// Sends packets of silence.
    Silent,
    /// Puts the payloads of each half second in another order.
    Scrambled,
    /// Sends everything 3 s later.
    Late,
    /// Sends nothing.
    OneWay,
}

/// What a server does with an INVITE.
#[derive(Debug, Clone, Copy)]
pub enum Script {
    /// Refuses.
    Answer(u16, &'static str),
    /// Answers with PCMU and echoes.
    Echo(Echo),
    /// Says nothing at all.
    Mute,
}

/// A server on a port of its own; ends when it is dropped.
pub struct Peer {
    pub addr: SocketAddr,
    stop: Arc<AtomicBool>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Peer {
    pub fn start(script: Script) -> Self {
        let sip = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let rtp = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let stop = Arc::new(AtomicBool::new(false));
        for socket in [&sip, &rtp] {
            socket.set_read_timeout(Some(Duration::from_millis(5))).expect("a timeout");
        }
        let (addr, media) = (sip.local_addr().expect("an address"), rtp.local_addr().expect("an address"));
        let stops = [Arc::clone(&stop), Arc::clone(&stop)];
        let [one, two] = stops;
        let mut threads = vec![std::thread::spawn(move || answer(&sip, script, media, &one))];
        if let Script::Echo(echo) = script {
            threads.push(std::thread::spawn(move || relay(&rtp, echo, &two)));
        }
        Self { addr, stop, threads }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().expect("the script");
        }
    }
}

fn answer(socket: &UdpSocket, script: Script, media: SocketAddr, stop: &AtomicBool) {
    let mut buffer = [0; 65_535];
    while !stop.load(Ordering::Relaxed) {
        let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
        let request = String::from_utf8_lossy(&buffer[..length]).into_owned();
        let method = request.split(' ').next().unwrap_or_default();
        let local = socket.local_addr().expect("an address");
        let reply = match (method, script) {
            ("ACK", _) | (_, Script::Mute) => continue,
            ("INVITE", Script::Answer(code, reason)) => response(&request, code, reason, local, ""),
            ("INVITE", Script::Echo(_)) => {
                let sdp = format!(
                    "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio {} RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n",
                    media.port()
                );
                response(&request, 200, "OK", local, &sdp)
            }
            _ => response(&request, 200, "OK", local, ""),
        };
        socket.send_to(reply.as_bytes(), from).expect("sent");
    }
}

fn response(request: &str, code: u16, reason: &str, local: SocketAddr, sdp: &str) -> String {
    let mut out = format!("SIP/2.0 {code} {reason}\r\n");
    for line in request.split("\r\n\r\n").next().unwrap_or_default().lines().skip(1) {
        let name = line.split(':').next().unwrap_or_default().trim().to_ascii_lowercase();
        match name.as_str() {
            "to" | "t" if !line.contains("tag=") => out += &format!("{line};tag=scripted\r\n"),
            "via" | "v" | "from" | "f" | "to" | "t" | "call-id" | "i" | "cseq" => out += &format!("{line}\r\n"),
            _ => {}
        }
    }
    out += &format!("Contact: <sip:scripted@{local}>\r\n");
    if !sdp.is_empty() {
        out += "Content-Type: application/sdp\r\n";
    }
    out + &format!("Content-Length: {}\r\n\r\n{sdp}", sdp.len())
}

/// Sends RTP back the way `echo` says; the header stays that of the sender.
fn relay(socket: &UdpSocket, echo: Echo, stop: &AtomicBool) {
    let mut buffer = [0; 2048];
    let mut waiting: Vec<(Instant, SocketAddr, Vec<u8>)> = Vec::new();
    let mut block: Vec<(SocketAddr, Vec<u8>)> = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let now = Instant::now();
        while waiting.first().is_some_and(|(due, ..)| *due <= now) {
            let (_, to, packet) = waiting.remove(0);
            socket.send_to(&packet, to).expect("sent");
        }
        let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
        let mut packet = buffer[..length].to_vec();
        match echo {
            Echo::Clean => drop(socket.send_to(&packet, from)),
            Echo::Silent => {
                packet[12..].fill(0xff);
                socket.send_to(&packet, from).expect("sent");
            }
            Echo::Late => waiting.push((now + Duration::from_secs(3), from, packet)),
            Echo::OneWay => {}
            Echo::Scrambled => {
                block.push((from, packet));
                if block.len() == 25 {
                    let payloads: Vec<Vec<u8>> = block.iter().map(|(_, p)| p[12..].to_vec()).collect();
                    for (n, (to, packet)) in block.drain(..).enumerate() {
                        // 7 and 25 have no common divisor: every payload is used once, none beside its neighbour.
                        let mut moved = packet[..12].to_vec();
                        moved.extend_from_slice(&payloads[(n * 7 + 3) % payloads.len()]);
                        waiting.push((now + Duration::from_millis(20) * u32::try_from(n).expect("small"), to, moved));
                    }
                }
            }
        }
    }
}
