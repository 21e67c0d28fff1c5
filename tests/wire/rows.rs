//! Everything that the crates behind our facades are known to get wrong, with the test that shows it right in ours.
//!
//! The first column says what and of which crate; the second and third where its test is. A row whose test is gone or
//! renamed fails here.

use std::path::Path;

const GAPS: &str = "tests/wire/gaps.rs";
const READ: &str = "src/sdp/read/tests.rs";
const AUTH: &str = "src/sip/auth/tests.rs";
const RTP: &str = "tests/wire/rtp.rs";
const SDP: &str = "tests/wire/sdp.rs";
const FRAMER: &str = "src/sip/transport/framer/tests.rs";

const ROWS: &[(&str, &str, &str)] = &[
    ("rsip: SHA-256 and SHA-512-256 challenges are refused", GAPS, "challenges_of_every_algorithm_stay_whole"),
    ("rsip: SHA-512-256 is taken for plain SHA-512", AUTH, "rfc_7616_3_9_2_gives_the_response_of_its_erratum_4897"),
    ("rsip: a list in qop is refused", GAPS, "a_list_in_qop_is_answered_with_auth"),
    ("rsip: the nonce count is printed as decimal", GAPS, "the_tenth_use_of_a_nonce_is_counted_in_hex"),
    ("rsip: -sess is not computed", AUTH, "a_session_algorithm_hashes_nonce_and_cnonce_into_ha1"),
    ("rsip: IPv6 in URI, Via and received is refused or cut", GAPS, "ipv6_stands_wherever_a_host_may"),
    ("rsip: tel: and urn: are refused", GAPS, "tel_and_urn_uris_are_read_everywhere"),
    ("rsip: compact names are unknown headers", GAPS, "compact_names_are_the_long_ones"),
    (
        "rsip: folds, space before the colon, line ends before the start",
        GAPS,
        "folds_loose_colons_and_leading_line_ends_are_cleaned",
    ),
    ("rsip: lines that end in LF alone", GAPS, "lines_that_end_in_lf_alone_are_lines"),
    ("rsip: the second value of a line is dropped", GAPS, "several_values_on_a_line_are_several_entries"),
    ("rsip: brackets, commas and escaped quotes in display names", GAPS, "display_names_keep_quotes_and_backslashes"),
    (
        "rsip: gr=urn:…, quoted parameters and +sip.instance are cut or refused",
        GAPS,
        "gruu_and_outbound_parameters_come_through_both_ways",
    ),
    ("rsip: unknown methods, also in Allow, are refused", GAPS, "unknown_methods_are_kept_for_a_405_or_501"),
    ("rsip: the reason phrase is replaced, and needs a space before it", GAPS, "the_reason_phrase_is_the_peers_own"),
    (
        "rsip: Session-Expires, RSeq, Subscription-State and others have no type",
        GAPS,
        "headers_without_a_type_are_text_under_their_name",
    ),
    ("rsip: Contact: * is a host", GAPS, "a_star_is_no_host"),
    (
        "rsip: users with parameters and URIs with headers are refused",
        GAPS,
        "users_with_parameters_and_uris_with_headers_are_read",
    ),
    ("rsip: a Latin-1 byte is refused", GAPS, "latin_1_text_is_read_as_such"),
    (
        "rsip: loose, lower-case and unknown-transport Vias are refused",
        GAPS,
        "a_via_may_be_loose_lower_case_and_of_any_transport",
    ),
    ("rsip: an empty Allow is refused", GAPS, "an_empty_list_header_is_there_and_empty"),
    ("rsip: headers that do not end are taken for whole", GAPS, "headers_without_an_end_are_an_error"),
    (
        "rsip: Content-Length is ignored, other bytes than UTF-8 are spoilt",
        GAPS,
        "the_body_is_what_content_length_says_and_any_bytes",
    ),
    ("rsip: transport=tcp is printed as TCP", GAPS, "uris_are_written_as_they_came"),
    ("rsip: two messages of a stream come out as one", FRAMER, "the_same_messages_come_out_in_any_chunks"),
    ("sdp-rs: the last line without CRLF is lost", READ, "the_last_line_counts_without_its_line_end"),
    (
        "sdp-rs: a blank first line, line ends of other kinds",
        READ,
        "line_feeds_carriage_returns_and_blank_lines_end_lines_too",
    ),
    ("sdp-rs: an unknown line letter drops all media", READ, "a_line_with_an_unknown_letter_costs_only_itself"),
    (
        "sdp-rs: b= or c= after a= drops what follows",
        READ,
        "connection_and_bandwidth_after_attributes_are_kept_with_all_that_follows",
    ),
    ("sdp-rs: missing s= or t=, a= before t=", READ, "session_lines_out_of_order_or_missing_are_forgiven"),
    ("sdp-rs: a host name in o= or c= is refused", READ, "a_host_name_is_kept_for_whoever_needs_the_address"),
    ("sdp-rs: a huge number in r= panics", READ, "repeat_lines_never_reach_the_parser_that_panics_on_them"),
    ("sdp-rs: rtpmap is printed wrong", READ, "the_channels_of_an_rtpmap_come_out_with_a_slash"),
    (
        "sdp-rs: a bad rtpmap or ptime refuses the whole body",
        READ,
        "an_attribute_that_cannot_be_read_costs_only_itself",
    ),
    (
        "sdp-rs: odd b=, protocols, port counts, multicast",
        READ,
        "odd_bandwidths_protocols_ports_and_addresses_are_understood",
    ),
    ("sdp-rs: text that is not UTF-8", READ, "text_that_is_not_utf_8_is_read_all_the_same"),
    (
        "sdp-rs: bodies of known phones read and written",
        SDP,
        "descriptions_of_known_phones_read_as_sdp_types_reads_them_and_write_as_they_were",
    ),
    ("rtp-rs: padding", RTP, "padding_is_taken_off_only_where_it_lies_within_the_payload"),
    ("rtp-rs: CSRC and extension overrun", RTP, "contributing_sources_and_extensions_that_overrun_are_refused"),
    ("rtp-rs: RTCP is not told from RTP", RTP, "other_versions_and_rtcp_are_told_apart_from_rtp"),
    ("rtp-rs: builder limits", RTP, "what_cannot_be_written_is_an_error_and_not_a_shorter_packet"),
    ("rtp-rs: Seq is no total order", RTP, "sequence_numbers_are_plain_numbers_outside_the_facade"),
    ("rtcp-types: unknown blocks", RTP, "an_unknown_block_in_a_compound_packet_is_skipped_by_its_length"),
    ("rtcp-types: lengths", RTP, "lengths_that_do_not_add_up_end_the_reading"),
    ("rtcp-types: cumulative loss is unsigned", RTP, "the_sum_of_losses_has_a_sign"),
];

#[test]
fn every_known_fault_of_the_crates_names_a_test_that_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (what, file, name) in ROWS {
        let text = std::fs::read_to_string(root.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        let at = text.find(&format!("fn {name}()")).unwrap_or_else(|| panic!("{what}: {file} has no test {name}"));
        let before = text[..at].trim_end();
        assert!(before.ends_with("#[test]"), "{what}: {name} is no test");
    }
}

/// Each of the crates is imported by one module alone.
#[test]
fn the_crates_stay_behind_their_facades() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let owners = [
        ("rsip::", "sip/message/rsip_head.rs"),
        ("sdp_rs::", "sdp/read.rs"),
        ("rtp_rs::", "media/packet.rs"),
        ("rtcp_types::", "media/rtcp/mod.rs"),
    ];
    let mut seen = 0;
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            if path.extension().is_none_or(|extension| extension != "rs") {
                continue;
            }
            let text = std::fs::read_to_string(&path).expect("text");
            let name = path.strip_prefix(&root).expect("below it").to_string_lossy().into_owned();
            for (import, owner) in owners {
                let imports =
                    text.lines().filter(|line| !line.trim_start().starts_with("//")).any(|line| line.contains(import));
                if imports && name != owner && !name.starts_with(owner.trim_end_matches(".rs").trim_end_matches("/mod"))
                {
                    panic!("{name} imports {import}");
                }
                seen += usize::from(imports);
            }
        }
    }
    assert!(seen >= owners.len(), "the owners import them");
}
