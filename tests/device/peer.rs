//! A peer of a few lines that answers one call and counts the packets.

use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt, sockopt};
use std::io::IoSliceMut;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

/// What a call sent us.
#[derive(Debug, Default)]
pub(crate) struct Packets {
    /// When the kernel got each RTP packet: on the loopback interface that is when it was sent.
    pub(crate) at: Vec<Duration>,
    /// Samples of PCMU that were not silence.
    pub(crate) loud: usize,
}

impl Packets {
    /// The most packets within any `span`.
    pub(crate) fn most_in(&self, span: Duration) -> usize {
        let within = |first: &Duration| self.at.iter().filter(|at| **at >= *first && **at < *first + span).count();
        self.at.iter().map(within).max().unwrap_or(0)
    }

    /// Packets per second from the first to the last.
    pub(crate) fn per_second(&self) -> f64 {
        let (Some(first), Some(last)) = (self.at.first(), self.at.last()) else { return 0.0 };
        (self.at.len() - 1) as f64 / (*last - *first).as_secs_f64()
    }
}

/// The peer before its call.
pub(crate) struct Peer {
    sip: UdpSocket,
    rtp: UdpSocket,
}

impl Peer {
    pub(crate) fn new() -> Self {
        let bind = || UdpSocket::bind("127.0.0.1:0").expect("a port");
        Self { sip: bind(), rtp: bind() }
    }

    /// Its URI.
    pub(crate) fn uri(&self) -> String {
        format!("sip:peer@{}", self.sip.local_addr().expect("it is bound"))
    }

    /// Answers the first INVITE with PCMU, and the BYE; returns what came in between. Ends after `patience` at the latest.
    pub(crate) fn serve(self, patience: Duration) -> Packets {
        let end = Instant::now() + patience;
        self.sip.set_read_timeout(Some(Duration::from_millis(1))).expect("a socket option");
        self.rtp.set_nonblocking(true).expect("a socket option");
        setsockopt(&self.rtp, sockopt::ReceiveTimestampns, &true).expect("a socket option");
        let (mut packets, mut buf) = (Packets::default(), [0; 4096]);
        while Instant::now() < end {
            while let Some((length, at)) = self.receive(&mut buf) {
                // One byte of PCMU is silence when it is 0xFF or 0x7F.
                packets.at.push(at);
                packets.loud += buf[12..length].iter().filter(|byte| **byte | 0x80 != 0xFF).count();
            }
            let Ok((length, from)) = self.sip.recv_from(&mut buf) else { continue };
            let text = String::from_utf8_lossy(&buf[..length]).into_owned();
            if text.starts_with("INVITE ") {
                self.reply(&text, from, &self.description());
            } else if text.starts_with("BYE ") {
                self.reply(&text, from, "");
                return packets;
            }
        }
        packets
    }

    fn receive(&self, buf: &mut [u8]) -> Option<(usize, Duration)> {
        let mut space = nix::cmsg_space!(nix::sys::time::TimeSpec);
        let mut pieces = [IoSliceMut::new(buf)];
        let fd = self.rtp.as_raw_fd();
        let message = recvmsg::<SockaddrStorage>(fd, &mut pieces, Some(&mut space), MsgFlags::empty()).ok()?;
        let stamp = message.cmsgs().ok()?.find_map(|cmsg| match cmsg {
            ControlMessageOwned::ScmTimestampns(at) => Some(Duration::from(at)),
            _ => None,
        });
        Some((message.bytes, stamp.expect("it was asked for")))
    }

    fn description(&self) -> String {
        let port = self.rtp.local_addr().expect("it is bound").port();
        format!("v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio {port} RTP/AVP 0\r\n")
    }

    fn reply(&self, request: &str, to: SocketAddr, body: &str) {
        let mut reply = "SIP/2.0 200 OK\r\n".to_owned();
        for line in request.lines().take_while(|line| !line.is_empty()) {
            let name = line.split(':').next().unwrap_or_default();
            if ["Via", "From", "Call-ID", "CSeq", "Record-Route"].iter().any(|kept| name.eq_ignore_ascii_case(kept)) {
                reply += &format!("{line}\r\n");
            } else if name.eq_ignore_ascii_case("To") {
                let tag = if line.contains(";tag=") { "" } else { ";tag=peer" };
                reply += &format!("{line}{tag}\r\n");
            }
        }
        let contact = self.uri();
        reply += &format!("Contact: <{contact}>\r\nContent-Length: {}\r\n", body.len());
        if !body.is_empty() {
            reply += "Content-Type: application/sdp\r\n";
        }
        self.sip.send_to(format!("{reply}\r\n{body}").as_bytes(), to).expect("sent");
    }
}
