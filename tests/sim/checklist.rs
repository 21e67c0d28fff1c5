//! What RFC 3261 asks of us, rule by rule, each with the tests that show it; and a test that no rule is without one.
//!
//! The rules are in the order of the core protocol checklist of the design. A rule that waits for a later part of the
//! program says so in place of its tests.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// One row of the checklist: its subject, where it is written, and its rules.
struct Subject {
    name: &'static str,
    source: &'static str,
    rules: &'static [(&'static str, Proof)],
}

enum Proof {
    /// Names of tests anywhere in the tree.
    Tests(&'static [&'static str]),
    /// Not built yet, for this reason.
    Later(&'static str),
}

use Proof::{Later, Tests};

const CHECKLIST: &[Subject] = &[
    Subject {
        name: "parsing",
        source: "RFC 3261 §7, §25; RFC 4475; RFC 5118",
        rules: &[
            (
                "the torture messages are read or refused as the RFCs say",
                Tests(&[
                    "every_torture_message_is_read_as_the_table_says",
                    "every_torture_message_that_is_read_is_read_the_same_once_written",
                    "the_copies_of_other_stacks_fare_as_ours_do",
                ]),
            ),
            (
                "short names, folds and loose colons are cleaned",
                Tests(&["compact_names_are_the_long_ones", "folds_loose_colons_and_leading_line_ends_are_cleaned"]),
            ),
            ("several values on a line are several entries", Tests(&["several_values_on_a_line_are_several_entries"])),
            (
                "brackets, quotes and escapes divide where the grammar says",
                Tests(&[
                    "display_names_keep_quotes_and_backslashes",
                    "a_semicolon_may_stand_in_the_user_part_and_divides_a_bare_contact",
                    "escapes_mean_what_they_stand_for_only_where_they_may_stand",
                ]),
            ),
            (
                "lengths that are missing, doubled or wrong end a stream",
                Tests(&[
                    "a_length_that_is_missing_doubled_or_no_number_ends_the_stream",
                    "a_declared_body_over_64_kib_is_refused_before_it_is_kept",
                    "what_follows_the_content_length_in_a_datagram_is_cut",
                ]),
            ),
            (
                "stray line ends, NUL and bytes that are no UTF-8 do no harm",
                Tests(&[
                    "empty_lines_are_no_message_under_way",
                    "no_control_character_hides_in_a_value",
                    "latin_1_text_is_read_as_such",
                    "a_binary_body_comes_through_unharmed",
                ]),
            ),
            (
                "what is written is read the same, and no bytes at all cause a panic",
                Tests(&["what_is_written_is_read_the_same", "any_bytes_at_all_are_read_without_a_panic"]),
            ),
        ],
    },
    Subject {
        name: "transactions",
        source: "RFC 3261 §17; RFC 6026; RFC 4320",
        rules: &[
            (
                "timers A, B, D and M of an INVITE",
                Tests(&[
                    "timer_a_doubles_until_timer_b_gives_up_at_64_t1",
                    "a_failure_is_acknowledged_each_time_and_told_once_until_timer_d",
                    "every_2xx_reaches_the_user_until_timer_m",
                ]),
            ),
            (
                "timers E, F and K of another request",
                Tests(&[
                    "timer_e_backs_off_to_t2_and_timer_f_gives_up_at_64_t1",
                    "after_a_provisional_response_timer_e_runs_every_t2",
                    "a_final_response_is_told_once_and_its_copies_are_absorbed_until_timer_k",
                ]),
            ),
            (
                "timers G, H, I and L of an answered INVITE",
                Tests(&[
                    "timer_g_repeats_a_refusal_until_timer_h",
                    "the_ack_of_a_refusal_is_absorbed_until_timer_i",
                    "after_a_2xx_copies_are_absorbed_and_acks_handed_on_until_timer_l",
                ]),
            ),
            ("timer J of another answered request", Tests(&["copies_get_the_response_again_until_timer_j"])),
            ("T1, T2 and T4 can be set", Tests(&["timers_follow_t1_t2_and_t4_as_they_are_set"])),
            (
                "nothing is repeated over a stream",
                Tests(&[
                    "over_a_stream_only_timer_b_runs",
                    "over_a_stream_only_timer_f_runs",
                    "over_a_stream_only_timer_h_runs",
                    "timer_d_is_zero_over_a_stream",
                    "timer_i_is_zero_over_a_stream",
                    "timer_j_is_zero_over_a_stream",
                    "timer_k_is_zero_over_a_stream",
                ]),
            ),
            (
                "messages find their transaction by branch, sent-by and method, old ones without a branch too",
                Tests(&[
                    "a_response_with_a_strange_branch_or_two_vias_is_dropped",
                    "an_answer_to_nothing_we_asked_is_dropped_and_the_right_one_is_taken",
                    "a_cancel_with_a_foreign_branch_or_before_its_invite_is_481_and_it_rings_on",
                    "a_request_of_rfc_2543_is_matched_without_a_branch",
                ]),
            ),
            (
                "they hold at every share of loss",
                Tests(&[
                    "calls_are_set_up_and_ended_at_every_loss_up_to_sixty_percent",
                    "no_seed_breaks_a_call",
                    "a_planted_fault_is_found_within_200_seeds",
                ]),
            ),
        ],
    },
    Subject {
        name: "Via and rport",
        source: "RFC 3261 §18.2; RFC 3581",
        rules: &[
            ("our requests ask for rport", Tests(&["a_request_carries_our_via_with_rport_and_a_fresh_branch"])),
            (
                "a response goes to the source, or to the port of the Via, and is stamped",
                Tests(&["a_response_goes_to_the_source_with_rport_and_else_to_the_port_of_the_via"]),
            ),
            (
                "it goes over a new connection when the old one is gone",
                Tests(&["a_response_whose_connection_is_gone_goes_to_the_sent_by_over_a_new_one"]),
            ),
            (
                "phones behind NATs are reached",
                Tests(&[
                    "a_phone_behind_any_nat_registers_calls_and_is_called",
                    "two_phones_behind_different_nats_hear_each_other_through_the_pbx",
                ]),
            ),
        ],
    },
    Subject {
        name: "ACK of a 2xx",
        source: "RFC 3261 §13.2.2.4",
        rules: &[
            (
                "it has a branch of its own and the number and credentials of the INVITE",
                Tests(&[
                    "every_2xx_is_told_and_the_ack_gets_a_branch_of_its_own",
                    "the_ack_of_a_2xx_has_the_number_and_the_credentials_of_the_invite",
                ]),
            ),
            (
                "every copy of the 2xx gets one, as long as copies come",
                Tests(&[
                    "a_repeated_200_is_acknowledged_each_time_even_after_the_hang_up",
                    "a_repeated_2xx_to_the_first_invite_gets_its_own_ack_even_after_a_change",
                    "a_change_that_is_accepted_while_we_hang_up_is_acknowledged",
                ]),
            ),
            (
                "it follows the routes and the Contact",
                Tests(&[
                    "requests_follow_loose_and_strict_routers_as_they_were_recorded",
                    "two_proxies_are_followed_in_reverse_by_the_caller_and_in_order_by_the_callee",
                ]),
            ),
            (
                "it brings the answer when the offer came in the 2xx",
                Tests(&[
                    "a_late_offer_is_ours_in_the_200_and_the_ack_brings_the_answer_and_the_sound",
                    "a_re_invite_without_offer_gets_ours_and_its_answer_in_the_ack",
                ]),
            ),
        ],
    },
    Subject {
        name: "ACK of a refusal",
        source: "RFC 3261 §17.1.1.3",
        rules: &[
            (
                "it has the branch of the INVITE and the To of the refusal",
                Tests(&[
                    "a_failed_invite_is_acknowledged_on_its_own_branch_with_the_to_tag_of_the_failure",
                    "every_refusal_ends_the_call_and_is_acknowledged_as_long_as_it_is_repeated",
                ]),
            ),
            (
                "it goes to the address of the INVITE",
                Tests(&["the_ack_of_a_refusal_goes_to_the_address_of_its_invite"]),
            ),
        ],
    },
    Subject {
        name: "our 2xx until its ACK",
        source: "RFC 3261 §13.3.1.4",
        rules: &[
            (
                "it is repeated until its own ACK",
                Tests(&["our_200_is_repeated_until_its_own_ack_and_nothing_else_stops_it"]),
            ),
            (
                "after 64·T1 the call ends with BYE and the user is told",
                Tests(&[
                    "a_peer_that_never_acknowledges_is_left_after_32_seconds_and_the_user_is_told",
                    "a_change_that_is_never_acknowledged_ends_the_call_after_32_seconds",
                ]),
            ),
        ],
    },
    Subject {
        name: "forking",
        source: "RFC 3261 §13.2.2.4, §12.1; RFC 3264",
        rules: &[
            (
                "each early dialog has an answer of its own; the first 2xx is kept, others get ACK and BYE",
                Tests(&[
                    "forks_have_early_dialogs_of_their_own_and_only_the_first_200_is_kept",
                    "only_the_first_fork_to_answer_is_kept_and_each_has_its_own_answer",
                    "the_bye_of_a_fork_that_lost_does_not_end_the_call",
                ]),
            ),
            (
                "any number of provisional responses leaves the call answerable",
                Tests(&["a_storm_of_provisional_responses_leaves_the_call_answerable"]),
            ),
            ("a PBX rings all phones of a user", Tests(&["all_phones_of_a_user_ring_and_the_first_answer_wins"])),
        ],
    },
    Subject {
        name: "races of CANCEL",
        source: "RFC 3261 §9",
        rules: &[
            (
                "it waits for a provisional response and goes the way of its INVITE",
                Tests(&[
                    "cancel_waits_for_the_first_provisional_response_and_the_487_is_acknowledged",
                    "cancel_waits_for_a_provisional_response_and_is_sent_once",
                ]),
            ),
            (
                "a 200 that crosses it gets ACK and BYE, whatever the CANCEL is answered",
                Tests(&[
                    "a_200_that_crosses_the_cancel_is_acknowledged_and_ended",
                    "every_interleaving_of_cancel_and_answer_ends_without_a_ghost",
                ]),
            ),
            (
                "without any final answer the INVITE is forgotten",
                Tests(&[
                    "a_cancelled_invite_without_answer_fails_after_64_t1",
                    "a_peer_that_never_answers_the_cancelled_invite_holds_nobody",
                ]),
            ),
            (
                "one that comes too late changes nothing; one without INVITE is 481",
                Tests(&[
                    "a_cancel_after_our_200_is_answered_and_the_call_stays_up",
                    "a_cancel_that_comes_too_late_changes_nothing_and_one_without_invite_gets_481",
                    "a_cancelled_change_is_answered_once_and_leaves_the_call_as_it_was",
                ]),
            ),
        ],
    },
    Subject {
        name: "merged requests",
        source: "RFC 3261 §8.2.2.2",
        rules: &[(
            "the same request over another path is 482, its copy is absorbed",
            Tests(&["an_invite_is_heard_once_however_often_it_comes", "the_same_request_over_another_path_is_a_loop"]),
        )],
    },
    Subject {
        name: "dialogs",
        source: "RFC 3261 §12",
        rules: &[
            (
                "numbers must rise",
                Tests(&["the_cseq_of_the_peer_must_rise", "requests_out_of_order_or_unknown_do_no_harm"]),
            ),
            (
                "a re-INVITE and its 2xx move the target, other requests do not",
                Tests(&[
                    "a_moved_contact_is_where_our_next_request_goes",
                    "a_re_invite_moves_the_target_and_an_info_does_not",
                ]),
            ),
            (
                "who knows less than both tags, the Call-ID and the number finds no dialog",
                Tests(&[
                    "only_the_right_tags_call_id_and_number_end_a_call",
                    "a_request_under_another_tag_of_the_peer_finds_no_dialog",
                ]),
            ),
            (
                "the dialogs of one call are told apart by the peer's tag, and BYEs that cross are both accepted",
                Tests(&["the_bye_of_a_fork_that_lost_does_not_end_the_call", "byes_that_cross_are_both_accepted"]),
            ),
            (
                "a change that is refused moves nothing, one that finds nobody ends the call",
                Tests(&[
                    "a_refused_change_leaves_the_remote_target_where_it_was",
                    "a_change_that_the_peer_does_not_know_or_does_not_answer_ends_the_call",
                ]),
            ),
            ("tags may be absent as in RFC 2543", Tests(&["an_absent_tag_of_an_old_peer_is_empty_and_stays_away"])),
        ],
    },
    Subject {
        name: "routing",
        source: "RFC 3261 §12.2.1.1, §16.12",
        rules: &[
            (
                "loose and strict routers, in the order recorded and in reverse",
                Tests(&[
                    "requests_follow_loose_and_strict_routers_as_they_were_recorded",
                    "two_proxies_are_followed_in_reverse_by_the_caller_and_in_order_by_the_callee",
                    "a_strict_router_goes_into_the_request_line_and_the_target_last",
                ]),
            ),
            (
                "what is known as a connection stays on it",
                Tests(&[
                    "one_connection_carries_a_registration_and_all_its_calls_both_ways",
                    "a_call_outlives_its_connection_and_is_hung_up_over_a_new_one",
                ]),
            ),
        ],
    },
    Subject {
        name: "hold",
        source: "RFC 3264 §8.4; RFC 6337 §5.3; RFC 6263",
        rules: &[
            (
                "we hold by sendonly, by inactive while the peer holds us, and each side resumes alone",
                Tests(&[
                    "we_hold_and_resume_and_the_peer_hears_silence_meanwhile",
                    "who_is_held_and_holds_too_makes_it_inactive_and_each_side_resumes_alone",
                    "an_offer_that_asks_for_ours_while_we_hold_gets_sendonly",
                ]),
            ),
            ("the version rises by one with each change", Tests(&["versions_rise_by_one_with_each_hold_and_resume"])),
            (
                "a refused hold leaves the session as it was; 408 and 481 end the call",
                Tests(&[
                    "a_refused_hold_is_told_and_the_old_sound_goes_on",
                    "a_hold_that_the_peer_no_longer_knows_ends_the_call",
                ]),
            ),
            (
                "holds that collide come through, whoever holds",
                Tests(&[
                    "a_hold_that_collides_waits_as_the_rfc_says_and_comes_through",
                    "both_hold_at_once_and_agree_in_the_end_whatever_the_network_does",
                    "a_peer_that_collides_for_ever_is_asked_ten_times",
                ]),
            ),
            ("a held stream is kept open at least every 15 s", Tests(&["a_held_stream_is_silent_but_for_keep_alives"])),
            (
                "one of several calls is active",
                Tests(&[
                    "a_second_call_waits_is_answered_and_the_calls_take_turns",
                    "a_call_is_held_and_a_second_one_answered_by_single_keys",
                ]),
            ),
        ],
    },
    Subject {
        name: "UPDATE",
        source: "RFC 3311",
        rules: &[
            (
                "an offer in it is answered in its 200, before and after the answer to the INVITE",
                Tests(&[
                    "an_update_with_an_offer_is_answered_at_once_and_needs_no_ack",
                    "an_answer_in_a_reliable_response_is_heard_and_holds_when_the_200_brings_none",
                ]),
            ),
            ("without an offer it moves the target", Tests(&["an_update_without_an_offer_only_moves_the_target"])),
            (
                "491 while our offer is open, 500 with Retry-After while theirs is",
                Tests(&[
                    "an_update_waits_for_our_change_and_a_second_one_for_the_first",
                    "an_update_while_it_rings_has_to_wait_for_the_answer_to_the_invite",
                    "a_callee_that_has_not_answered_our_offer_cannot_update_it",
                ]),
            ),
            (
                "a refused one moves nothing",
                Tests(&[
                    "an_update_that_cannot_be_taken_is_refused_and_moves_nothing",
                    "updates_out_of_order_of_strangers_or_for_no_call_do_nothing",
                ]),
            ),
        ],
    },
    Subject {
        name: "reliable provisional responses",
        source: "RFC 3262",
        rules: &[
            (
                "PRACK for each RSeq, in order, in each early dialog, none for copies",
                Tests(&[
                    "each_reliable_response_gets_one_prack_in_order_and_copies_get_none",
                    "several_early_dialogs_count_each_for_itself",
                    "a_prack_that_is_lost_or_refused_does_not_harm_the_call",
                ]),
            ),
            (
                "ours are repeated, T1 doubling, until the PRACK; after 64·T1 the INVITE is refused",
                Tests(&[
                    "who_requires_reliable_responses_gets_them_repeated_until_the_prack",
                    "a_reliable_response_that_is_never_acknowledged_refuses_the_call_after_32_seconds",
                    "two_phones_that_require_it_ring_and_talk_through_loss",
                ]),
            ),
            (
                "481 to a PRACK for nothing; one after the 2xx is taken",
                Tests(&[
                    "who_requires_reliable_responses_gets_them_repeated_until_the_prack",
                    "a_call_that_is_answered_before_the_prack_takes_the_late_one",
                ]),
            ),
            (
                "an offer or answer in a reliable response, and in its PRACK",
                Tests(&[
                    "an_answer_in_a_reliable_response_is_heard_and_holds_when_the_200_brings_none",
                    "an_invite_without_offer_gets_it_in_the_reliable_response_and_answers_in_the_prack",
                ]),
            ),
            (
                "not required unless the config says so; 420 and 421",
                Tests(&[
                    "our_invites_say_what_the_config_says",
                    "off_refuses_who_requires_and_required_refuses_who_cannot",
                ]),
            ),
        ],
    },
    Subject {
        name: "changes across a bridge",
        source: "RFC 3261 §14; RFC 3262; RFC 3311; RFC 4028; RFC 7092",
        rules: &[
            (
                "hold, re-INVITE and UPDATE pass end to end, their answers come back",
                Tests(&[
                    "a_hold_goes_through_the_bridge_and_back_again",
                    "a_hold_by_update_passes_as_a_change_and_its_answer_comes_back",
                    "a_hold_of_ours_passes_the_bridge_to_the_other_phone",
                ]),
            ),
            (
                "early sound, reliable responses and early changes pass",
                Tests(&[
                    "early_sound_passes_the_bridge_before_the_answer",
                    "reliable_responses_and_early_changes_pass_hop_by_hop",
                ]),
            ),
            (
                "a change that is refused or cancelled leaves both sides where they were",
                Tests(&[
                    "a_refused_change_leaves_both_sides_where_they_were",
                    "a_change_that_is_cancelled_is_taken_back_on_the_other_side",
                ]),
            ),
            ("each leg has its own session timer", Tests(&["each_leg_has_a_session_timer_of_its_own"])),
        ],
    },
    Subject {
        name: "other changes",
        source: "RFC 3264 §8; RFC 5621; RFC 6086",
        rules: &[
            (
                "codec and packet length change in the middle of a call, from either side",
                Tests(&[
                    "we_take_another_codec_and_the_sound_goes_on",
                    "a_codec_that_the_peer_does_not_want_leaves_the_old_one",
                    "the_peer_changes_codec_and_packet_length_and_back",
                ]),
            ),
            (
                "a description is found among several parts; a part that must be understood and is not is 415",
                Tests(&[
                    "a_description_is_found_among_the_parts_of_a_body",
                    "an_answer_among_parts_is_an_answer",
                    "a_part_that_must_be_understood_and_is_not_refuses_the_call",
                ]),
            ),
            (
                "INFO: 200 without a body, digits, 415, 469",
                Tests(&[
                    "info_and_options_in_a_call_are_answered_and_digits_are_read",
                    "digits_are_read_in_every_way_they_are_written",
                ]),
            ),
        ],
    },
    Subject {
        name: "early media",
        source: "RFC 3960; RFC 6228; RFC 3261 §13.2.2.4",
        rules: &[
            (
                "ringback of our own until sound really comes, in whatever order 180 and 183 come",
                Tests(&[
                    "ringback_sounds_until_sound_comes_and_after_it_has_ceased",
                    "without_ringing_there_is_no_ringback",
                ]),
            ),
            (
                "an announcement is heard before the refusal that follows it",
                Tests(&["an_announcement_is_heard_and_then_the_refusal_told"]),
            ),
            (
                "each early dialog has its own answer; one is heard, the next one after a 199",
                Tests(&[
                    "of_several_callees_one_is_heard_and_after_its_199_the_next",
                    "whoever_answers_is_heard_whichever_rang_first",
                ]),
            ),
            ("nothing of ours is sent before the answer", Tests(&["what_we_say_begins_with_the_answer"])),
        ],
    },
    Subject {
        name: "session timers",
        source: "RFC 4028",
        rules: &[
            (
                "the refresher refreshes at half the interval, by UPDATE where it is allowed",
                Tests(&[
                    "we_refresh_at_half_the_interval_by_update_where_the_peer_takes_it",
                    "we_refresh_by_re_invite_with_the_same_version_where_the_peer_knows_no_update",
                    "a_peer_that_says_it_can_update_and_cannot_gets_a_re_invite",
                    "two_phones_keep_a_call_for_hours_and_a_dead_one_ends_it",
                ]),
            ),
            (
                "without a refresh BYE goes out before the interval ends",
                Tests(&["a_peer_that_was_to_refresh_and_does_not_gets_bye_before_the_end"]),
            ),
            (
                "who refreshes: as asked, by us for peers that cannot, and in changes as before",
                Tests(&[
                    "as_the_callee_we_grant_what_is_asked_and_refuse_what_is_too_short",
                    "a_refresh_of_the_peers_counts_by_update_and_by_re_invite",
                    "a_hold_in_a_timed_call_keeps_the_roles_and_refreshes",
                ]),
            ),
            (
                "422 and Min-SE both ways",
                Tests(&[
                    "a_422_raises_the_interval_and_the_call_is_placed_again",
                    "as_the_callee_we_grant_what_is_asked_and_refuse_what_is_too_short",
                    "a_refresh_that_fails_is_tried_again_and_in_the_end_the_call_is_over",
                ]),
            ),
            (
                "peers without support, and those that set a timer unasked",
                Tests(&[
                    "without_a_timer_in_the_200_the_call_is_never_asked",
                    "a_timer_that_nobody_asked_for_is_honoured_and_its_refreshes_are_ours",
                ]),
            ),
        ],
    },
    Subject {
        name: "re-INVITE",
        source: "RFC 3261 §14; RFC 5407",
        rules: &[
            (
                "offers that collide are 491; the owner of the Call-ID waits 2.1 to 4 s, the other up to 2 s",
                Tests(&["a_collision_of_re_invites_is_491_to_both_and_both_come_through_later"]),
            ),
            (
                "a second offer before the answer to the first is 500 with Retry-After, while ours is open 491",
                Tests(&[
                    "an_offer_before_the_answer_to_the_first_is_500_and_moves_no_remote_target",
                    "a_change_during_a_change_waits",
                    "a_change_before_the_answer_to_our_offer_has_to_wait",
                ]),
            ),
            (
                "one before the ACK shows that our 2xx arrived",
                Tests(&[
                    "a_second_change_before_the_ack_of_the_first_shows_that_our_200_arrived",
                    "a_change_before_the_ack_says_that_our_2xx_has_arrived",
                ]),
            ),
            (
                "a refused change leaves the session as it was",
                Tests(&[
                    "a_change_that_cannot_be_is_refused_and_the_old_sound_goes_on",
                    "a_refused_change_leaves_everything_as_it_was",
                ]),
            ),
            (
                "hold, resume, another address, another codec",
                Tests(&[
                    "the_peer_holds_in_every_way_there_is_and_resumes",
                    "a_changed_address_takes_the_sound_along_both_ways",
                    "another_codec_and_other_numbers_by_re_invite_are_taken_in_stride",
                ]),
            ),
        ],
    },
    Subject {
        name: "provisional responses",
        source: "RFC 3261 §13.2.2.1, §17.1.1.2",
        rules: &[
            ("the first one stops the repetition", Tests(&["a_provisional_response_stops_both_timers_for_good"])),
            (
                "nobody answers: CANCEL after the time that is set",
                Tests(&[
                    "nobody_answers_within_the_answer_timeout",
                    "endless_trying_ends_with_the_answer_timeout_and_a_cancel",
                    "nobody_here_answers_within_the_ring_timeout",
                ]),
            ),
            ("ringing is told again each minute", Tests(&["the_caller_is_told_every_minute_that_it_still_rings"])),
            (
                "early media is heard, and the microphone waits for the answer",
                Tests(&["early_media_is_heard_but_the_microphone_stays_shut_until_the_answer"]),
            ),
        ],
    },
    Subject {
        name: "redirection",
        source: "RFC 3261 §8.1.3.4, §21.3",
        rules: &[
            (
                "contacts are tried by q",
                Tests(&["a_redirection_is_followed_over_its_contacts_by_q_until_somebody_answers"]),
            ),
            ("circles and endless lists are left", Tests(&["redirections_in_a_circle_or_without_end_are_left"])),
            (
                "what cannot be called, and 6xx, ends it",
                Tests(&["a_redirection_without_a_usable_contact_ends_the_call_and_so_does_600_on_the_way"]),
            ),
            ("the password stays at home", Tests(&["a_redirection_elsewhere_takes_no_credentials_along"])),
        ],
    },
    Subject {
        name: "401 and 407",
        source: "RFC 3261 §22; RFC 7616; RFC 8760",
        rules: &[
            (
                "credentials by realm, several challenges, both headers",
                Tests(&[
                    "server_and_proxy_are_answered_in_one_request",
                    "a_registrar_and_a_proxy_that_both_ask_both_get_an_answer",
                    "of_several_challenges_the_strongest_known_one_is_answered_once",
                    "proxies_in_a_row_each_see_their_credentials_again",
                    "a_proxy_and_the_registrar_behind_it_may_ask_in_realms_of_their_own",
                ]),
            ),
            (
                "stale is no refusal",
                Tests(&["a_stale_nonce_is_no_refusal", "a_server_that_always_says_stale_is_left_after_three_times"]),
            ),
            (
                "a wrong password is tried once and told",
                Tests(&[
                    "a_wrong_password_is_tried_once_and_never_again_by_itself",
                    "a_server_that_challenges_without_end_is_left_and_the_user_is_told",
                ]),
            ),
            (
                "calls and their BYE are authorized too",
                Tests(&["a_challenged_call_and_its_bye_carry_credentials_and_go_through"]),
            ),
        ],
    },
    Subject {
        name: "refusals told apart",
        source: "RFC 3261 §21",
        rules: &[(
            "403, 404, 410, 480, 486, 600, 603, 607 have their own words and exit codes",
            Tests(&[
                "final_responses_have_their_own_slug",
                "every_refusal_has_its_words_and_its_code",
                "every_status_of_the_table_has_its_code",
            ]),
        )],
    },
    Subject {
        name: "refusals that name what would do",
        source: "RFC 3261 §8.2, §8.1.3.5, §10.2.8",
        rules: &[
            (
                "405, 415, 416, 420, 488, 501, 505 of ours say Allow, Accept, Unsupported",
                Tests(&[
                    "what_we_cannot_take_is_refused_in_the_order_of_the_rfc",
                    "methods_that_we_do_not_have_are_refused_and_the_call_goes_on",
                ]),
            ),
            ("423 is answered with a longer interval", Tests(&["an_interval_too_brief_is_raised_and_kept"])),
            (
                "421, 493 and all others end a call with their reason",
                Tests(&["every_refusal_ends_the_call_and_is_acknowledged_as_long_as_it_is_repeated"]),
            ),
        ],
    },
    Subject {
        name: "408 and silence",
        source: "RFC 3261 §8.1.3.1; RFC 4320",
        rules: &[
            ("silence ends a call with its own reason", Tests(&["silence_ends_a_call_after_32_seconds"])),
            (
                "a registration goes on to the next address",
                Tests(&["a_registrar_whose_first_address_is_dead_is_registered_at_by_the_second"]),
            ),
            (
                "we never send 408 to another request than INVITE",
                Tests(&["a_request_nobody_answers_is_forgotten_without_408"]),
            ),
        ],
    },
    Subject {
        name: "482 and 483",
        source: "RFC 3261 §16.3, §21.4.20",
        rules: &[
            (
                "they are told in plain words",
                Tests(&["every_refusal_has_its_words_and_its_code", "codes_are_explained_too"]),
            ),
            (
                "a server without hops left says 483",
                Tests(&["unknown_users_are_404_absent_ones_480_and_the_last_hop_483"]),
            ),
        ],
    },
    Subject {
        name: "500, 503 and Retry-After",
        source: "RFC 3261 §20.33, §21.5.4; RFC 3263 §4.3",
        rules: &[
            (
                "the next address of the server is tried, each once",
                Tests(&[
                    "the_next_server_is_tried_after_silence_or_503_with_a_branch_of_its_own",
                    "when_every_server_is_overloaded_each_is_asked_once",
                    "the_next_address_of_the_server_is_tried_when_one_is_overloaded",
                ]),
            ),
            (
                "the delay is kept and no server is hammered",
                Tests(&["retry_after_is_honoured", "no_answer_of_a_server_makes_a_phone_hammer_it"]),
            ),
            ("the next target of an SRV record", Later("names are looked up as addresses only so far")),
        ],
    },
    Subject {
        name: "SDES-SRTP",
        source: "RFC 3711, RFC 4568, RFC 6188, RFC 7714; threats C1, D3, D4, D5, D7",
        rules: &[
            (
                "key streams, derived keys and whole packets are those of the RFCs",
                Tests(&[
                    "the_key_stream_of_counter_mode_is_that_of_the_rfc",
                    "session_keys_are_derived_as_the_rfcs_say",
                    "whole_packets_are_those_of_other_implementations",
                    "gcm_packets_are_those_of_the_rfc",
                ]),
            ),
            (
                "the rollover counter survives wrap, loss, a late join and another SSRC",
                Tests(&[
                    "the_rollover_counter_survives_loss_and_disorder_around_the_wrap",
                    "who_joins_late_finds_the_rollover_counter_within_some_packets",
                    "sound_goes_on_through_the_wrap_a_gap_and_a_new_ssrc",
                ]),
            ),
            (
                "forged and repeated packets change nothing",
                Tests(&[
                    "each_suite_opens_what_it_sealed_and_nothing_that_was_touched",
                    "rtcp_is_encrypted_counted_and_replayed_by_nobody",
                    "forged_packets_are_counted_and_change_nothing",
                    "a_replay_of_the_whole_call_adds_not_one_sample",
                ]),
            ),
            (
                "keys change by re-INVITE, and stay where nothing asks for new ones",
                Tests(&[
                    "a_re_invite_with_a_new_key_gets_a_new_one_of_ours_and_the_sound_goes_on",
                    "keys_stay_while_nothing_asks_for_new_ones",
                    "after_a_change_of_keys_the_old_ones_are_good_for_a_moment",
                    "the_keys_of_no_two_calls_are_the_same",
                ]),
            ),
            (
                "where encryption is required nothing clear is offered, taken, sent or heard",
                Tests(&[
                    "no_answer_takes_the_encryption_away_where_it_is_required",
                    "an_answer_that_takes_the_encryption_away_ends_the_call_before_a_packet_is_sent",
                    "an_offer_in_the_clear_is_refused_where_encryption_is_required",
                    "a_re_invite_without_keys_is_refused_where_encryption_is_required",
                ]),
            ),
            (
                "optimistic keys beside RTP/AVP, and RTP/SAVP for who refuses them",
                Tests(&[
                    "phones_of_every_policy_meet_and_either_talk_as_both_want_or_say_why_not",
                    "who_refuses_keys_beside_clear_sound_is_asked_again_with_srtp_alone",
                ]),
            ),
            (
                "no key goes where others can read it",
                Tests(&["no_key_leaves_a_phone_over_udp_or_tcp_unless_it_was_allowed"]),
            ),
            (
                "authentic packets move the address, nothing else does",
                Tests(&["an_encrypted_call_follows_a_nat_that_changes_its_port"]),
            ),
        ],
    },
    Subject {
        name: "staying reachable",
        source: "RFC 3581, RFC 5626, RFC 5627, RFC 3327, RFC 3608",
        rules: &[
            (
                "the Contact follows the address that the server sees",
                Tests(&[
                    "the_contact_follows_the_address_that_the_server_sees",
                    "a_contact_is_left_alone_where_the_config_says_so",
                    "a_phone_behind_a_nat_registers_its_outer_address_and_is_called_there",
                ]),
            ),
            (
                "instance, reg-id and what is supported; 439 leaves the flow out",
                Tests(&[
                    "a_phone_names_itself_its_flow_and_what_it_supports",
                    "a_first_hop_without_outbound_gets_a_registration_without_flow",
                    "the_name_of_the_phone_is_made_once_and_kept",
                ]),
            ),
            (
                "another address, or a sleep: registered again at once, and calls move by re-INVITE",
                Tests(&[
                    "a_call_moves_to_the_new_address_within_three_seconds",
                    "a_phone_without_any_network_for_a_while_takes_its_call_up_again",
                    "a_registered_phone_is_registered_from_its_new_address_at_once_and_its_call_goes_on",
                    "a_phone_that_has_slept_registers_within_five_seconds_of_waking",
                    "a_network_that_comes_back_ends_the_wait_for_the_next_try",
                ]),
            ),
            (
                "Service-Route is preloaded on all requests, the GRUU is our Contact",
                Tests(&["requests_take_the_service_route_and_show_the_gruu"]),
            ),
        ],
    },
    Subject {
        name: "OPTIONS",
        source: "RFC 3261 §11",
        rules: &[
            (
                "it is answered idle and in a call and touches nothing",
                Tests(&[
                    "options_is_answered_idle_and_in_a_call_and_touches_nothing",
                    "options_are_answered_with_what_we_can",
                ]),
            ),
            ("ours come back or say why not", Tests(&["a_ping_comes_back_or_says_why_not"])),
        ],
    },
    Subject {
        name: "Require, Supported, Unsupported",
        source: "RFC 3261 §8.2.2.3",
        rules: &[(
            "what is required and unknown is 420 and named",
            Tests(&[
                "what_we_cannot_take_is_refused_in_the_order_of_the_rfc",
                "what_cannot_be_a_contact_or_is_required_is_refused",
            ]),
        )],
    },
    Subject {
        name: "hops and loops",
        source: "RFC 3261 §8.1.1.6, §16.3",
        rules: &[
            (
                "70 hops at first, one less behind a PBX, none left: 483",
                Tests(&[
                    "a_call_rings_is_answered_and_relayed_and_the_callee_hangs_up",
                    "unknown_users_are_404_absent_ones_480_and_the_last_hop_483",
                ]),
            ),
            (
                "the last hop is where the request wanted to go",
                Tests(&["a_request_that_has_used_up_its_hops_has_arrived_all_the_same"]),
            ),
            ("Vias, routes and headers have their caps", Tests(&["the_caps_hold_and_not_one_less"])),
        ],
    },
    Subject {
        name: "comparing URIs, tel:",
        source: "RFC 3261 §19.1.4, §19.1.6; RFC 3966",
        rules: &[
            (
                "as the RFC's own list says",
                Tests(&["uris_compare_as_rfc_3261_19_1_4_lists", "a_uri_is_the_same_as_itself_in_any_spelling"]),
            ),
            (
                "tel: numbers belong to the account's domain",
                Tests(&["whatever_names_a_callee_becomes_a_request_uri", "tel_and_urn_uris_are_read_everywhere"]),
            ),
        ],
    },
    Subject {
        name: "size of messages",
        source: "RFC 3261 §18.1.1",
        rules: &[(
            "over 1300 bytes a stream, and back to datagrams where there is none",
            Tests(&[
                "a_request_over_1300_bytes_goes_over_a_stream",
                "a_large_request_falls_back_to_a_datagram_where_no_stream_is_taken_and_the_next_goes_there_at_once",
                "a_large_request_goes_over_a_stream_and_falls_back_where_there_is_none",
            ]),
        )],
    },
    Subject {
        name: "TLS",
        source: "RFC 3261 §26; RFC 5922; RFC 5630",
        rules: &[
            (
                "chains, names, purpose and age of certificates",
                Tests(&[
                    "certificates_are_taken_and_refused_as_rfc_5922_and_rfc_5280_say",
                    "a_domain_is_named_exactly_and_by_a_wildcard_only_where_that_is_allowed",
                    "wildcards_pins_and_self_signed_certificates_are_trusted_where_that_is_asked_for",
                ]),
            ),
            (
                "the configured domain is checked, and no word is said to anybody else",
                Tests(&["not_a_word_is_said_to_a_server_with_a_bad_certificate_and_each_fault_has_its_name"]),
            ),
            (
                "one connection for a registration, its calls and their dialogs, for one name only",
                Tests(&[
                    "one_verified_connection_carries_a_registration_and_all_its_calls",
                    "a_connection_verified_for_one_name_is_never_used_for_another",
                    "a_lost_connection_is_opened_and_verified_again",
                    "a_secure_dialog_stays_on_its_connection_whatever_the_contact_says",
                ]),
            ),
            (
                "sips: never goes in clear, and shows a sips: Contact",
                Tests(&[
                    "a_sips_call_goes_over_tls_whatever_the_account_says_and_shows_a_sips_contact",
                    "a_sips_call_never_falls_back_to_clear",
                    "a_sips_request_that_came_in_clear_is_refused",
                    "a_sips_call_reaches_no_phone_that_registered_in_clear",
                    "a_sips_call_is_not_led_to_an_address_in_clear_by_a_redirection",
                ]),
            ),
            (
                "handshakes are few at once and limited in time; what is no TLS is thrown out",
                Tests(&[
                    "half_handshakes_have_ten_seconds_and_sixteen_places",
                    "a_listener_serves_tls_and_throws_out_what_is_none",
                    "what_is_no_tls_or_ends_early_is_told_apart",
                ]),
            ),
        ],
    },
    Subject {
        name: "REFER",
        source: "RFC 3515; RFC 3420; RFC 3892; RFC 4488; RFC 5589; RFC 6665",
        rules: &[
            (
                "a transfer of ours is followed by its NOTIFYs to the result",
                Tests(&[
                    "a_call_that_is_handed_over_ends_when_the_other_one_has_answered",
                    "a_transfer_that_fails_is_told_and_the_call_goes_on",
                    "a_refused_refer_leaves_the_call_and_a_forgotten_call_ends",
                    "silence_after_the_202_is_told_and_keeps_the_call",
                    "a_far_end_that_hangs_up_while_it_transfers_may_still_tell_the_result",
                    "a_refer_that_is_challenged_is_known_by_its_new_number",
                ]),
            ),
            (
                "NOTIFYs that fit no subscription, package, type or order are refused",
                Tests(&[
                    "a_notify_may_come_before_the_202_twice_late_or_wrong",
                    "nobody_makes_us_call_what_we_should_not",
                ]),
            ),
            (
                "a wish of the peer is followed as policy and user say, and its sender is told",
                Tests(&[
                    "a_wish_of_the_far_end_is_followed_when_the_user_says_so",
                    "a_wish_is_declined_by_the_user_by_time_or_by_policy",
                    "a_wish_that_leads_to_nobody_keeps_the_old_call",
                    "a_far_end_that_does_not_hang_up_after_the_transfer_is_left",
                    "a_far_end_that_asks_and_leaves_is_still_followed",
                ]),
            ),
            (
                "nobody makes us call from outside a call, elsewhere than to sip:, or round and round",
                Tests(&[
                    "nobody_makes_us_call_what_we_should_not",
                    "phones_that_send_us_in_a_circle_are_left_after_four_rounds",
                ]),
            ),
            (
                "norefersub is understood on both sides",
                Tests(&[
                    "a_far_end_that_wants_no_news_gets_none",
                    "a_far_end_that_will_not_tell_leaves_the_result_open",
                ]),
            ),
        ],
    },
    Subject {
        name: "callers and policies",
        source: "RFC 3323; RFC 3325; RFC 3326; RFC 4916; RFC 5373; RFC 5806; RFC 5876; RFC 7044; RFC 7433",
        rules: &[
            (
                "asserted identity, diversion and wishes are believed from the own server only",
                Tests(&[
                    "what_the_server_says_of_a_caller_is_shown_and_what_a_stranger_says_is_not",
                    "only_the_own_server_is_believed",
                    "a_call_answers_itself_only_for_callers_that_the_account_names",
                ]),
            ),
            (
                "a call answered elsewhere is not missed, and other reasons are told in words",
                Tests(&[
                    "a_call_that_another_phone_has_answered_is_not_missed",
                    "the_words_of_a_bye_are_told",
                    "causes_and_texts_are_put_into_words",
                ]),
            ),
            ("a changed far end is shown", Tests(&["the_far_end_that_changes_is_told_where_the_server_says_so"])),
            (
                "privacy is asked of the own server only",
                Tests(&["privacy_hides_us_from_the_callee_and_not_from_our_server"]),
            ),
            (
                "calls are sent on by 302 with Diversion, and never round",
                Tests(&[
                    "calls_are_sent_on_always_when_busy_or_when_nobody_answers",
                    "a_call_that_would_come_back_or_go_round_is_not_sent_on",
                ]),
            ),
        ],
    },
    Subject {
        name: "INFO",
        source: "RFC 6086",
        rules: &[
            (
                "digits go and come as dtmf-relay and dtmf bodies",
                Tests(&[
                    "digits_go_by_info_one_after_the_other_where_the_far_end_takes_no_events",
                    "a_far_end_that_knows_the_digit_alone_gets_it_so_and_one_that_refuses_is_told",
                    "the_config_says_how_digits_go_whatever_the_far_end_takes",
                    "two_phones_press_keys_by_info",
                ]),
            ),
            (
                "200 on empty, 415 and 469 on what is not known, nothing outside a call",
                Tests(&["digits_that_come_by_info_are_told_once_and_what_is_no_digit_is_refused"]),
            ),
        ],
    },
    Subject {
        name: "Replaces",
        source: "RFC 3891; RFC 5589 §7",
        rules: &[
            (
                "an attended transfer names the other call by its tags, swapped and escaped",
                Tests(&[
                    "two_calls_are_joined_and_the_one_in_the_middle_leaves",
                    "a_refer_with_replaces_swaps_the_tags_and_escapes_them",
                    "replaces_in_a_refer_to_is_escaped_and_read_back",
                ]),
            ),
            (
                "a call is taken over by who knows its tags, also while it rings at the far end",
                Tests(&[
                    "a_call_that_is_up_is_taken_over_by_who_knows_its_tags",
                    "a_call_that_rings_at_the_far_end_is_picked_up_by_another_phone",
                    "who_is_muted_or_on_hold_stays_so_in_the_call_that_takes_over",
                ]),
            ),
            (
                "400, 481, 486 and 603 where it is not to be",
                Tests(&[
                    "a_replaces_that_fits_no_call_of_ours_is_refused_and_nothing_rings",
                    "a_call_that_rings_here_or_must_not_be_touched_stays_what_it_is",
                    "only_an_invite_can_take_the_place_of_a_call",
                ]),
            ),
        ],
    },
];

/// The names of all tests below a directory: functions that follow the attribute.
fn tests_below(directory: &Path, found: &mut BTreeMap<String, usize>) {
    for entry in std::fs::read_dir(directory).expect("a directory of the repository") {
        let path = entry.expect("its entry").path();
        if path.is_dir() {
            tests_below(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).expect("source text");
            let mut marked = false;
            for line in text.lines().map(str::trim) {
                match line.strip_prefix("fn ").and_then(|rest| rest.split('(').next()) {
                    Some(name) if marked => {
                        *found.entry(name.to_owned()).or_default() += 1;
                        marked = false;
                    }
                    Some(_) => {}
                    None if line == "#[test]" => marked = true,
                    None => marked &= line.starts_with("#[") || line.starts_with("//"),
                }
            }
        }
    }
}

#[test]
fn every_rule_of_the_checklist_names_tests_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = BTreeMap::new();
    for directory in ["src", "tests"] {
        tests_below(&root.join(directory), &mut found);
    }
    assert!(found.contains_key("every_rule_of_the_checklist_names_tests_that_exist") && found.len() > 400, "{found:?}");
    let faults = faults(CHECKLIST, &found);
    assert!(faults.is_empty(), "{faults:#?}");
    assert_eq!(CHECKLIST.len(), 39, "a subject of the checklist was lost");
    for subject in CHECKLIST {
        for (rule, proof) in subject.rules {
            if let Later(why) = proof {
                println!("{}: {rule}: later ({why})", subject.name);
            }
        }
    }
}

#[test]
fn a_rule_without_a_test_or_with_one_that_is_not_there_is_found() {
    let found = BTreeMap::from([("here".to_owned(), 1)]);
    let fault = |rules| faults(&[Subject { name: "s", source: "RFC", rules }], &found).len();
    assert_eq!(fault(&[("a", Tests(&["here"])), ("b", Later("later"))]), 0);
    assert_eq!(fault(&[("a", Tests(&[]))]), 1);
    assert_eq!(fault(&[("a", Tests(&["here", "gone", "there"]))]), 2);
    assert_eq!(fault(&[("a", Later(""))]), 1);
    assert_eq!(fault(&[("a", Tests(&["here"])), ("a", Tests(&["here"]))]), 1);
    assert_eq!(fault(&[]), 1);
}

/// What is wrong with a checklist: rules without proof, with tests that do not exist, or twice.
fn faults(checklist: &[Subject], found: &BTreeMap<String, usize>) -> Vec<String> {
    let mut faults = Vec::new();
    let mut seen = BTreeSet::new();
    for subject in checklist {
        if subject.source.is_empty() || subject.rules.is_empty() {
            faults.push(format!("{}: no source or no rule", subject.name));
        }
        for (rule, proof) in subject.rules {
            let rule = format!("{}: {rule}", subject.name);
            match proof {
                Tests([]) => faults.push(format!("{rule}: no test")),
                Tests(names) => {
                    let missing = names.iter().filter(|name| !found.contains_key(**name));
                    faults.extend(missing.map(|name| format!("{rule}: there is no test {name}")));
                }
                Later("") => faults.push(format!("{rule}: later, but why?")),
                Later(_) => {}
            }
            if !seen.insert(rule.clone()) {
                faults.push(format!("{rule}: stands twice"));
            }
        }
    }
    faults
}
