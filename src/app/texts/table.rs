//! The table of texts: one row per slug.

use super::{Kind, Text, Try};
use crate::app::exit::Exit;
use Kind::{Error, Result, Warning};
use Try::{Command, Key, Words};

macro_rules! texts {
    ($($slug:literal $exit:ident $kind:ident: $what:literal; $cause:literal; [$($try:expr),* $(,)?]; $page:literal)*) => {
        /// Every slug.
        pub const TEXTS: &[Text] = &[$(Text {
            slug: $slug, exit: Exit::$exit, kind: $kind, what: $what, cause: $cause, tries: &[$($try),*], page: $page,
        }),*];
    };
}

texts! {
    "auth.wrong-password" LoginRefused Error:
    "{server|the server} did not accept the password of {user|this account}";
    "answered {code|401} {reason|Unauthorized} again after the password was sent (realm \"{realm|?}\", {algorithm|digest})";
    [Key("account.{account|work}", "auth_user = \"…\"", "if your provider gave you a separate login name"),
     Command("bellwire config show --origin", "shows which password source is used")];
    "The server asked for the password, got it (as a digest, never in clear), and asked again. Either the password is wrong, or the name it was
given with: some providers use a login name that differs from the number. Nothing was locked by bellwire: it stops after one refusal."

    "auth.forbidden" LoginRefused Error:
    "{server|the server} refuses {user|this account}";
    "answered {code|403} {reason|Forbidden}; the password was not the question";
    [Words("check user and domain with your provider, or wait: some servers block an address after failed tries")];
    "The server knows what we want and will not do it: the user may be unknown or blocked, the domain wrong, or this number may not be called from
this account."

    "auth.no-password" LoginRefused Error:
    "{server|the server} asks for a password and {account|this call} has none";
    "answered {code|401} {reason|Unauthorized} (realm \"{realm|?}\")";
    [Key("account.{account|work}", "password_command = \"pass show sip/work\"", "or password_env, password_file, password")];
    "The server wants proof of who we are. Give the account a password, or use an account if you called without one."

    "auth.unsupported" LoginRefused Error:
    "{server|the server} wants a kind of login that bellwire does not know";
    "it offers {algorithm|other algorithms} only; bellwire knows MD5, SHA-256 and SHA-512-256";
    [Words("ask the provider for digest login with MD5 or SHA-256")];
    "SIP logins are digests (RFC 7616, RFC 8760). The server offers only a kind that is not built in."

    "net.dns" NotReached Error:
    "no address for {host|the server}";
    "{cause|the name does not exist}";
    [Key("account.{account|work}", "server = \"pbx.example.org\"", "correct the name"),
     Words("an address instead of a name works without DNS")];
    "The name of the server could not be turned into an address. Either it is misspelt or no name server answers here."

    "net.timeout" NotReached Error:
    "no reply from {server|the other side}";
    "{requests|all} requests in {seconds|32} s to {address|its address} over {transport|UDP}, nothing came back";
    [Command("bellwire ping {server|pbx.example.org} --transport tcp", ""),
     Key("account.{account|work}", "transport = \"tcp\"", "if that works; if not, a firewall or VPN stands between")];
    "Datagrams went out and nothing came back until the SIP timers ran out (RFC 3261, 64 x T1 = 32 s). The address may be wrong, the server down, or a
firewall may drop the packets."

    "net.refused" NotReached Error:
    "{server|the other side} is up but nothing listens there";
    "connection refused by {address|its address} over {transport|TCP}";
    [Key("account.{account|work}", "transport = \"udp\"", "or \"tcp\""),
     Key("account.{account|work}", "server = \"pbx.example.org:5070\"", "with the right port")];
    "The computer answers but no SIP server listens on that port and transport."

    "net.unreachable" NotReached Error:
    "{server|the other side} cannot be reached from here";
    "{cause|no route to the address}";
    [Words("check the network connection, and whether the address belongs to a network you are in")];
    "The system knows no way to that address: no network, no IPv6 where only IPv6 would help, or a VPN that is down."

    "net.lost" NotReached Error:
    "the connection to {server|the server} broke";
    "{cause|closed by the other side} ({transport|TCP}, {address|its address})";
    [Command("bellwire ping {server|pbx.example.org}", "")];
    "A stream connection was closed or reset in the middle of something."

    "net.unavailable" NotReached Error:
    "{server|the server} cannot serve now";
    "answered {code|503} {reason|Service Unavailable}";
    [Words("try again in a minute")];
    "The server is there but overloaded, in maintenance, or its way on is down."

    "tls.name-mismatch" Encryption Error:
    "the certificate is for {names|another name}, not for {server|the server}";
    "TLS to {address|its address}, certificate valid until {valid_until|?}, issued by {issuer|?}";
    [Words("reach the server by the name in its certificate"),
     Key("account.{account|work}", "tls_server_name = \"{name|sip.example.net}\"", "keeps the address and checks that name instead")];
    "The server is who it says, but not whom you asked for. The name is that of the config or of the URI, never what DNS made of it (RFC 5922). Nothing was
sent: somebody in between could otherwise take your login."

    "tls.wildcard" Encryption Error:
    "the certificate names {server|the server} only by a wildcard: {names|*}";
    "TLS to {address|its address}; RFC 5922 forbids wildcards for SIP";
    [Key("account.{account|work}", "tls_wildcards = true", "if you trust whoever runs that domain with all its names")];
    "A wildcard certificate is good for every host of a domain. SIP asks for the very name; many providers do not mind, so it can be allowed."

    "tls.no-name" Encryption Error:
    "the certificate of {server|the server} names no domain and no address";
    "subject {subject|?}, issued by {issuer|?}; the common name does not count";
    [Key("account.{account|work}", "tls_pin = \"sha256:{sha256|3a9f3a9f3a9f3a9f3a9f3a9f3a9f3a9f3a9f3a9f3a9f3a9f3a9f3a9f3a9f3a9f}\"", "trusts exactly this one: compare it with the server first"),
     Words("a new certificate needs the name as a subject alternative name")];
    "Names of a certificate stand in its subject alternative names. The common name was used for that long ago and proves nothing today."

    "tls.expired" Encryption Error:
    "the certificate of {server|the server} ran out on {valid_until|some day}";
    "TLS to {address|its address}, issued by {issuer|?}; is the clock of this computer right?";
    [Words("the server needs a new certificate"),
     Key("account.{account|work}", "tls_pin = \"sha256:{sha256|3a9f3a9f3a9f3a9f3a9f3a9f3a9f3a9f3a9f3a9f3a9f3a9f3a9f3a9f3a9f3a9f}\"", "trusts exactly this one, whatever its age")];
    "A certificate, or one that signed it, is older than it may be. Often a renewal failed; sometimes the clock here is wrong."

    "tls.not-yet-valid" Encryption Error:
    "the certificate of {server|the server} is only valid from {valid_from|some day} on";
    "TLS to {address|its address}, issued by {issuer|?}; is the clock of this computer right?";
    [Words("set the clock of this computer, or of the one that made the certificate")];
    "Most often the clock here is behind: small boards without a battery start in 1970."

    "tls.self-signed" Encryption Error:
    "{server|the server} shows a certificate that it signed itself";
    "subject {subject|?}, for {names|no name}, sha256 {sha256|?}";
    [Key("account.{account|work}", "tls_pin = \"sha256:{sha256|3a9f3a9f3a9f3a9f3a9f3a9f3a9f3a9f3a9f3a9f3a9f3a9f3a9f3a9f3a9f3a9f}\"", "trusts exactly this one: compare it with the server first"),
     Key("account.{account|work}", "tls_ca = \"server.pem\"", "the same by its file")];
    "Anybody can make such a certificate, so it proves nothing until you have compared it. Usual for a PBX of your own."

    "tls.untrusted" Encryption Error:
    "cannot trust the certificate of {server|the server}";
    "issued by {issuer|somebody}, whom this computer does not know; sha256 {sha256|?}";
    [Key("account.{account|work}", "tls_ca = \"my-ca.pem\"", "trusts your own CA"),
     Key("account.{account|work}", "tls_pin = \"sha256:{sha256|3a9f3a9f3a9f3a9f3a9f3a9f3a9f3a9f3a9f3a9f3a9f3a9f3a9f3a9f3a9f3a9f}\"", "trusts exactly this one: compare it with the server first")];
    "The certificate was signed by an authority that is neither in the system's list nor in `tls_ca`, or the server does not send the certificates between."

    "tls.wrong-purpose" Encryption Error:
    "the certificate of {server|the server} is not meant for servers";
    "its extended key usage lacks serverAuth; issued by {issuer|?}";
    [Words("the server needs a certificate for servers")];
    "A certificate says what it is for. This one is for clients, mail or signing code."

    "tls.pin-mismatch" Encryption Error:
    "{server|the server} does not show the pinned certificate";
    "it shows sha256 {sha256|?}, issued by {issuer|?}, valid from {valid_from|?}";
    [Words("ask whoever runs the server whether it has a new certificate"),
     Key("account.{account|work}", "tls_pin = \"sha256:{sha256|3a9f3a9f3a9f3a9f3a9f3a9f3a9f3a9f3a9f3a9f3a9f3a9f3a9f3a9f3a9f3a9f}\"", "if so")];
    "`tls_pin` trusts one certificate, or one key, and no other. Either the server has a new one or somebody stands in between."

    "tls.bad-certificate" Encryption Error:
    "the certificate of {server|the server} is broken or too weak";
    "its encoding, its signature or its key cannot be accepted; issued by {issuer|?}";
    [Words("the server needs a certificate with an RSA key of 2048 bits or more, or with an EC key P-256 or P-384")];
    "A signature does not fit, a chain is in disorder, or a key is too small."

    "tls.client-certificate-wanted" Encryption Error:
    "{server|the server} wants a certificate of ours and {account|this account} has none";
    "TLS to {address|its address}";
    [Words("set tls_cert and tls_key of the account; the certificate comes from whoever runs the server")];
    "The server lets in only who shows a certificate of its own."

    "tls.client-certificate-refused" Encryption Error:
    "{server|the server} does not take our certificate";
    "TLS to {address|its address}: {cause|refused}";
    [Words("tls_cert of the account must be signed, with its chain, by a CA that the server knows, and not have run out")];
    "The certificate of `tls_cert` was refused: unknown CA, run out, or for somebody else."

    "tls.not-tls" Encryption Error:
    "what answers at {address|that address} does not speak TLS";
    "{server|the server} answered something else";
    [Key("account.{account|work}", "server = \"{server|pbx.example.org}:5061\"", "the usual port for TLS"),
     Key("account.{account|work}", "transport = \"tcp\"", "if there is no TLS, and you do not need it")];
    "Most often the port is the one for UDP and TCP, 5060."

    "tls.version" Encryption Error:
    "{server|the server} knows only old versions of TLS";
    "bellwire speaks TLS 1.2 and 1.3; TLS to {address|its address}";
    [Words("the server needs an update or a setting; Asterisk: `method = tlsv1_2` in its TLS transport")];
    "Versions below 1.2 can be broken and are not spoken here."

    "tls.handshake" Encryption Error:
    "{server|the server} refused the TLS handshake";
    "no cipher in common, or a certificate of ours is missing; TLS to {address|its address}";
    [Words("set tls_cert and tls_key of the account, if the server asks for a certificate"),
     Words("the server must offer ECDHE with AES-GCM or ChaCha20")];
    "The two sides found no way of encrypting that both allow, or the server asks for a client certificate and says no more than that."

    "tls.refused" Encryption Error:
    "{server|the server} ended the TLS handshake";
    "TLS to {address|its address}: {cause|refused}";
    [Words("look into the log of the server: it does not know the name, or something is wrong there")];
    "The server sent an alert that says no more. Some do not know the name that was asked for (SNI)."

    "tls.closed" Encryption Error:
    "{server|the server} closed the connection in the middle of the handshake";
    "TLS to {address|its address}";
    [Words("is it really a TLS port? look into the log of the server")];
    "Nothing was said about the reason. Some servers do that when they want a client certificate, or when they have none of their own."

    "tls.timeout" NotReached Error:
    "{server|the server} took the connection and did not finish the handshake";
    "10 s of waiting; TLS to {address|its address}";
    [Key("account.{account|work}", "server = \"{server|pbx.example.org}:5061\"", "the usual port for TLS"),
     Words("is the server overloaded?")];
    "The connection came up and then nothing, or too little, came."

    "tls.corrupt" NotReached Error:
    "what came over TLS from {server|the server} is not what was sent";
    "the connection was closed; TLS to {address|its address}";
    [Words("if it happens again, something on the way changes what passes")];
    "TLS noticed that data was changed, lost or made up on its way."

    "tls.required" Encryption Error:
    "{server|the other side} was asked for by sips: and there is no secure way";
    "nothing was sent: sips: never goes in clear";
    [Key("account.{account|work}", "transport = \"tls\"", ""),
     Words("or call the sip: address, which may go in clear")];
    "A sips: address promises encryption on the whole way (RFC 5630). Rather than to break that promise the call is not made."

    "tls.file" Config Error:
    "{file|a TLS file} cannot be used";
    "{cause|}";
    [Words("files are PEM: `-----BEGIN CERTIFICATE-----` or `-----BEGIN PRIVATE KEY-----`, the key without a password")];
    "A file that `tls_ca`, `tls_cert` or `tls_key` names is missing, is no PEM, or key and certificate do not belong together. Nothing was started."

    "net.port-in-use" Port Error:
    "port {port|5060} ({transport|UDP}) is taken";
    "address already in use on {address|this computer}";
    [Command("bellwire listen --port 0", "any free port; servers do not mind"),
     Key("network", "port = 0", "for always")];
    "Another program, perhaps another bellwire, listens on the SIP port. Phones that register need no fixed port."

    "net.port-forbidden" Port Error:
    "port {port|5060} ({transport|UDP}) may not be opened";
    "permission denied on {address|this computer}";
    [Key("network", "port = 0", "or one above 1023")];
    "Ports below 1024 are reserved for the system administrator."

    "net.no-such-address" Port Error:
    "{address|the address} is no address of this computer";
    "the system cannot bind it";
    [Key("network", "interface = \"auto\"", "or an address that `ip addr` lists")];
    "The configured address is not one of this computer's."

    "net.no-rtp-port" Port Error:
    "no free pair of ports for sound";
    "all of {ports|the configured range} are taken";
    [Key("network", "rtp_ports = \"16384-32767\"", "a larger range")];
    "Every call needs two neighbouring UDP ports. The configured range has none left."

    "media.no-common-codec" NoCommonMedia Error:
    "{peer|the other side} and this phone share no audio codec";
    "{said|}we offered {offered|our codecs}{theirs|}";
    [Key("account.{account|work}", "audio.codecs = [\"opus\", \"g722\", \"pcmu\", \"pcma\"]", "all that are built in"),
     Command("bellwire ping {peer|600}", "shows what they know")];
    "A call needs one codec that both sides know. Phones that know nothing else know pcmu or pcma."

    "tls.srtp-required" Encryption Error:
    "{peer|the other side} does not encrypt sound, and this account requires it";
    "media_encryption = \"required\"; {said|}{cause|they want clear RTP only}";
    [Key("account.{account|work}", "media_encryption = \"preferred\"", "calls may then be unencrypted; the line says which"),
     Words("switch SRTP (SDES) on at their side")];
    "The account only talks encrypted. The other side offered or answered sound in the clear, took the encryption away in the middle of the call, or
refused the call because it was encrypted. Nothing was sent or heard unprotected."

    "tls.srtp-off" Encryption Error:
    "{peer|the other side} only talks encrypted, and this account does not";
    "media_encryption = \"off\"; {cause|they want SRTP}";
    [Key("account.{account|work}", "media_encryption = \"preferred\"", "encrypt with whoever does")];
    "The other side offers SRTP and nothing else, and encryption is switched off here."

    "tls.srtp-suite" Encryption Error:
    "{peer|the other side} and this phone share no way to encrypt";
    "{cause|none of their keys can be used}";
    [Key("call", "srtp_suites = [\"AES_CM_128_HMAC_SHA1_80\"]", "the one that every SRTP has")];
    "Both sides want SRTP, but no suite with a usable key is known to both (RFC 4568). Keys that ask for less protection, such as UNENCRYPTED_SRTP, count
as unusable."

    "tls.srtp-keys" Encryption Error:
    "sound cannot be encrypted: anyone on the way to {server|the server} could read the keys";
    "SRTP keys travel in SIP, which is not encrypted here";
    [Key("account.{account|work}", "transport = \"tls\"", "if the server can"),
     Key("account.{account|work}", "srtp_keys_in_clear = true", "if nobody reads your network"),
     Key("account.{account|work}", "media_encryption = \"off\"", "if calls may be in clear")];
    "SDES puts the keys into the session description. Sent over plain UDP or TCP they are no secret, so bellwire sends none there unless you allow it."

    "tls.srtp-clear-keys" Done Warning:
    "the sound is encrypted, but its keys were readable on the way";
    "SIP went over UDP or TCP; whoever saw the call being set up can listen";
    [Key("account.{account|work}", "transport = \"tls\"", "if the server can"),
     Key("account.{account|work}", "srtp_keys_in_clear = false", "to send no keys where others can read them")];
    "The keys of SDES travel in the session description. Over plain UDP or TCP everybody on the way to the server could copy them."

    "media.srtp-forged" Media Warning:
    "you cannot hear {peer|them}: none of their packets is encrypted with the agreed key";
    "{packets|all} packets came in 5 s, and none was authentic";
    [Words("something between you changes the session descriptions or relays sound of another call"),
     Key("account.{account|work}", "media_encryption = \"off\"", "to hear whether sound comes without encryption")];
    "Every SRTP packet carries a proof that it was made with the key that the other side announced. These packets have none, so they were dropped unheard:
they are clear RTP, under another key, or changed on their way."

    "media.no-incoming-audio" Media Warning:
    "you cannot hear {peer|them}: no audio packet arrived in 5 s";
    "we expect packets on {local|our address} and send to {remote|theirs}";
    [Key("network", "interface = \"auto\"", "or the address that they can reach"),
     Words("look for a firewall or NAT on the way")];
    "The call is up but no sound comes in. Most often an address in the session description is a private one that the other side cannot reach."

    "media.silent-microphone" Media Warning:
    "{peer|they} probably cannot hear you: the microphone gives digital silence";
    "{seconds|5} s of exact zeros from {device|the microphone}; system mute or permission";
    [Command("bellwire devices test mic", "shows its level"),
     Key("audio", "input = \"default\"", "or part of another name")];
    "A working microphone always gives a little noise. Exact zeros mean that it is muted in the system or not permitted to this program."

    "media.peer-gone" Media Error:
    "{peer|the other side} vanished{after|}";
    "no packet for {timeout|the media timeout}, and the call was ended";
    [Command("bellwire ping {server|pbx.example.org}", ""),
     Key("call", "media_timeout = \"60s\"", "\"0s\" waits for ever")];
    "No sound packet came for `call.media_timeout`. The other side crashed, lost its network, or forgot us."

    "media.not-heard" Media Error:
    "the echo of what was said did not come back";
    "{cause|nothing was heard}";
    [Command("bellwire try --speech --trace try.txt", "keeps the SIP messages"),
     Words("is a firewall on for 127.0.0.1?")];
    "`bellwire try` compares what it heard with what it said: the likeness must be 0.7 or more over 3 s or more, and the level within 6 dB."

    "media.codec" Media Warning:
    "the codec {codec|of the call} does not start, the call goes on without sound";
    "{cause|it refuses its settings}";
    [Key("audio", "codecs = [\"pcmu\", \"pcma\"]", "codecs that always work")];
    "A codec was agreed on but could not be set up, most often because of settings in [audio.opus]."

    "audio.no-input" Device Warning:
    "no microphone found, the call goes on and you will be heard as silence";
    "{cause|the system lists no input}";
    [Command("bellwire devices list", "plug one in: the next call takes it"),
     Key("audio", "input = \"tone:440\"", "or \"file:hello.wav\" for tests")];
    "No sound card with an input, or not the one that the config names."

    "audio.no-output" Device Warning:
    "no loudspeaker found, the call goes on and you will hear nothing";
    "{cause|the system lists no output}";
    [Command("bellwire devices list", "shows what there is"),
     Key("audio", "output = \"file:heard.wav\"", "writes what you would hear")];
    "No sound card with an output, or not the one that the config names."

    "audio.device-lost" Device Warning:
    "a sound device stopped working, the call goes on without it";
    "{cause|it was unplugged, or its sound server ended}";
    [Words("plug it in again: it is taken at once"),
     Command("bellwire devices list", "shows what there is")];
    "A microphone or loudspeaker vanished during a call. It is tried again every two seconds for as long as the call lasts."

    "audio.forbidden" Device Warning:
    "{device|the sound card} may not be used by this user, the call goes on without it";
    "{cause|permission denied}";
    [Words("become a member of the group audio, or log in at the machine itself"),
     Command("bellwire devices list", "shows what may be used")];
    "The system does not let this user open the sound device."

    "audio.busy" Device Warning:
    "{device|the sound card} is used by another program, the call goes on without it";
    "{cause|device busy}";
    [Key("audio", "input = \"default\"", "goes through the sound server, which shares the device")];
    "A program holds the sound card for itself."

    "audio.file" Device Warning:
    "a sound file cannot be used, the call goes on without it";
    "{cause|it cannot be read}";
    [Words("WAV with 8, 16, 24 or 32 bits is read, 16 bits mono is written; is there room on the disk?")];
    "A WAV file could not be read or written. The call itself is not harmed by that."

    "call.busy" Busy Result:
    "{peer|the other side} is busy ({code|486} {reason|Busy Here}).   try later";
    ""; [];
    "The one you called speaks with somebody else."

    "call.declined" Declined Result:
    "{peer|the other side} declined the call ({code|603} {reason|Decline}).";
    ""; [];
    "The one you called does not want to answer now."

    "call.answered-elsewhere" NotAnswered Result:
    "somebody else has answered the call of {peer|the other side}";
    ""; [];
    "The call rang at several phones, and another one has answered. It is not a missed call."

    "dtmf.refused" OtherSip Warning:
    "{peer|the other side} does not take your digits";
    "it answered {code|415} {reason|Unsupported Media Type} to a digit sent by INFO";
    [Key("account.{account|work}", "dtmf = \"rfc4733\"", "sends them in the sound instead"),
     Words("hang up and call again if the far end has a number without a menu")];
    "Digits are sent as telephone-event in the sound (RFC 4733) where the far end has agreed to that, else as INFO requests. This far end refused those."

    "transfer.refused" OtherSip Error:
    "{peer|the other side} did not hand the call over to {to|them}; you still talk";
    "answered {code|408} {reason|Request Timeout}: {cause|its phone or server did not take it}";
    [Words("some servers transfer by digits, such as ##1003; ask whoever runs it"),
     Words("hang up and let them call the other number themselves")];
    "A transfer asks the far end to call somebody else (REFER, RFC 3515). Its phone or server refused that, so nothing has changed: the call goes on."

    "transfer.failed" OtherSip Error:
    "{to|the other one} did not take the call; you still talk to {peer|the other side}";
    "{peer|the other side} called there and got {code|480} {reason|Temporarily Unavailable}";
    [Words("try another number, or ask first whether they can take the call")];
    "The far end did call the other number, and that call was refused or not answered. Your own call goes on as it was."

    "transfer.unknown" OtherSip Warning:
    "nobody knows whether {to|the other one} took the call";
    "{peer|the other side} agreed to the transfer and told no result";
    [Words("ask whether they are still there, or hang up")];
    "The far end accepted the transfer and then said nothing more about it (no NOTIFY with a result). It may have worked or not; your call is kept until
one of you hangs up."

    "call.unavailable" NotAnswered Result:
    "{peer|the other side} is not reachable now ({code|480} {reason|Temporarily Unavailable}): not registered, or do-not-disturb.";
    ""; [];
    "The number exists but no phone of it can take the call now."

    "call.no-answer" NotAnswered Result:
    "{peer|the other side} did not answer{within|}{status|}.";
    ""; [];
    "It rang, or the server looked for the phone, but nobody answered in time. `--timeout` and `call.answer_timeout` say how long to wait."

    "call.cancelled" NotAnswered Result:
    "the call to {peer|the other side} was given up before an answer.";
    ""; [];
    "You, or the caller, ended the call while it rang."

    "call.not-found" NoSuchNumber Result:
    "{server|the server} knows no \"{peer|such number}\" ({code|404} {reason|Not Found}).";
    ""; [];
    "The number is wrong, or the domain of the address is not served there."

    "call.too-many" OtherSip Error:
    "no more calls at once";
    "{cause|call.max is reached}";
    [Key("call", "max = 8", "0 = no limit")];
    "The limit protects a small computer; raise it where there is room."

    "call.broken" OtherSip Error:
    "the call to {peer|the other side} could not be held together";
    "{cause|what the other side sent cannot be used}";
    [Command("bellwire call {peer|600} --trace call.txt", "keeps the SIP messages")];
    "The other phone or a server between did not do its part of a call: an answer without a usable description, an acknowledgement that never came.
The SIP messages show which."

    "call.fault" Bug Error:
    "the call to {peer|the other side} was ended by a mistake in bellwire";
    "a fault inside this call; the other calls go on";
    [Command("bellwire call {peer|600} --trace call.txt", "keeps the SIP messages for a report")];
    "A mistake in the program, kept to this one call. What the other side sent just before helps to find it."

    "call.failed" OtherSip Error:
    "the call to {peer|the other side} failed";
    "answered {code|an error} {reason|}{cause|}";
    [Command("bellwire explain {code|500}", "")];
    "The server or the other phone answered with an error of its own. The code says which."

    "call.session-expired" NotReached Error:
    "{peer|the other side} gave no sign of life any more; the call was ended";
    "the session interval of {seconds|1800} s passed without the refresh that was agreed";
    [Command("bellwire ping {server|pbx.example.org}", ""),
     Key("call", "session_timer = \"1h\"", "asks for fewer signs of life")];
    "Both sides agreed to confirm the call now and then (RFC 4028), so that one whose other end has vanished does not last for ever. The
confirmation did not come."

    "call.change-refused" OtherSip Warning:
    "{peer|the other side} did not agree to the change; the call goes on as it was";
    "answered {code|an error} {reason|}";
    [Command("bellwire explain {code|488}", "")];
    "Hold, resume and a change of codec have to be agreed with the other side. It refused; what was agreed before still holds."

    "register.failed" OtherSip Error:
    "{server|the server} did not register {user|this account}";
    "answered {code|an error} {reason|}{cause|}";
    [Command("bellwire explain {code|500}", "")];
    "The registrar answered with an error of its own. The code says which."

    "usage.target" Usage Error:
    "`{target|that}` cannot be called";
    "{cause|it is no number, address or SIP URI}";
    [Command("bellwire config init", "makes the account that a bare number needs"),
     Command("bellwire call sip:bob@192.0.2.10", "calls an address without any account")];
    "A target is a number (with an account), user@host, a sip: or tel: URI, or an address."

    "usage.account" Usage Error:
    "there is no account \"{account|…}\"";
    "the config has {accounts|none}";
    [Command("bellwire config show", "")];
    "`--account` and `register NAME` take the part after the dot of `[account.NAME]`."

    "usage.argument" Usage Error:
    "{what|an option} cannot be {value|that}";
    "{cause|}";
    [Command("bellwire --help", "")];
    "An option has a value that makes no sense here."

    "usage.file" Device Error:
    "{file|the sound file} cannot be used for {option|that}, so nothing was started";
    "{cause|it cannot be read}";
    [Words("--play takes WAV with 8, 16, 24 or 32 bits; --record makes a file in a folder that is there")];
    "A sound file that was asked for on the command line cannot be read or made. It is checked before anybody is called."

    "usage.explain" Usage Error:
    "there is no page about `{what|that}`";
    "it is neither the name of an error nor a SIP code{near|}";
    [Command("bellwire explain {try|auth.wrong-password}", "names stand in the brackets of error[…]"),
     Command("bellwire explain 486", "codes are those of SIP answers")];
    "`bellwire explain` knows the names in the brackets of error[…] and warning[…], and SIP codes from 100 to 699."

    "config.no-account" Config Error:
    "no account is configured";
    "{file|the config} has no [account.…] table";
    [Command("bellwire config init", "asks three questions"),
     Command("bellwire try", "works without any account")];
    "Registering, and calling a bare number, needs a server, a user and a password."

    "config.password" Config Error:
    "the password of {account|an account} cannot be had";
    "{cause|}";
    [Command("bellwire config show --origin", "shows where it should come from")];
    "The password comes from a command, an environment variable, a file or the config itself. Fetching it failed; nothing was started."

    "config.unreadable" Config Error:
    "the config cannot be read";
    "{cause|}";
    [Command("bellwire config path", "shows where config files are looked for"),
     Command("bellwire config init", "makes one")];
    "A config file that was named, or that is in its place, cannot be read."

    "config.exists" Config Error:
    "there is a config already";
    "{file|it} would be replaced";
    [Command("bellwire config init --yes", "replaces it")];
    "`config init` replaces nothing unless told to."

    "config.syntax" Config Error:
    "the config is no TOML";
    "{cause|}";
    [Command("bellwire config check", "")];
    "The file breaks the rules of TOML at that place: a quote or bracket that is not closed, a key without a value, a table named twice."

    "config.unknown-key" Config Error:
    "the config has a key that does not exist";
    "{cause|}";
    [Command("bellwire config init --full", "writes a file with every key")];
    "Unknown keys are refused, so that a misspelt one is not silently without effect."

    "config.wrong-table" Config Error:
    "the config has a key in the wrong table";
    "{cause|}";
    [Command("bellwire config init --full", "writes a file with every key in its place")];
    "A key that exists, but below another [table]. Keys belong to the last [table] line above them."

    "config.type" Config Error:
    "the config has a value of the wrong type";
    "{cause|}";
    [Command("bellwire config check", "")];
    "Text stands in quotes, numbers and true or false do not, durations are text with a unit such as \"20ms\"."

    "config.value" Config Error:
    "the config has a value that cannot be";
    "{cause|}";
    [Command("bellwire config check", "")];
    "The value has the right type but lies outside of what is possible or is none of the known words."

    "config.missing-key" Config Error:
    "the config lacks a key";
    "{cause|}";
    [Command("bellwire config init", "")];
    "An account needs a server and a user, a PBX user needs a password."

    "config.not-built" Config Error:
    "the config asks for something that is not built yet";
    "{cause|}";
    [Command("bellwire config show", "shows every key that works")];
    "The key is known but this version cannot do what it says. It is refused rather than ignored, so that nothing seems to work that does not."

    "config.exposed-password" Done Warning:
    "others can read a password";
    "{cause|}";
    [Key("account.{account|work}", "password_command = \"pass show sip/work\"", "keeps it out of the file")];
    "The file with the password can be read by the group or by everybody. `chmod 600` mends it; better, let a command or a variable give the password."

    "pbx.no-users" Config Error:
    "the PBX has no users, so nobody could register";
    "{file|the config} has no [pbx.user.…] table, and there is no default user";
    [Command("bellwire pbx --users 2", "makes two with random passwords and prints them")];
    "A PBX with a well-known default user is found and abused within hours. Make users of your own, each with its own password."

    "bug" Bug Error:
    "something happened in bellwire that should not";
    "{cause|}";
    [Command("bellwire version", "please report it with this and with what you did")];
    "A mistake in the program. What you did just before, and the output of `--trace`, help to find it."
}
