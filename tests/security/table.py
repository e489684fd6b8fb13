"""Every attack: its class (the file in attacks/), its name, what comes of it in the jail, where it is shown to work.

In the jail. `refused`: it raises or returns nothing, and the tool's own interpreter may live on. `contained`: it may do
what it likes to its own interpreter or results. Else the statuses that its call may come back with. The same invariants
hold after all of them.

Shown to work, so that no test passes because the attack is broken:
  unsafe         without a jail (UnsafePool), on this machine; `unsafe:root` needs a root who is one
  outer:SIGN     without a jail, inside an outer jail; outer.py says what the signs are
  naive:SIGN     there, against a server that runs text as Python in its own process, as ReCall's does
  weak:KIND      in our jail without one of its parts; weakened.py has the kinds
  host:KIND      in our jail, with a host that believes too much; weakened.py has those kinds too. `later`: what it
                 believes is the answer to the call after this one
"""

from typing import NamedTuple

_ROWS = """
introspection read_the_hosts_environment refused unsafe
introspection read_the_environment_before_python refused unsafe
introspection find_a_host_path_in_memory refused unsafe
introspection find_a_host_path_in_the_frames_above refused unsafe
introspection find_a_host_path_in_a_traceback refused unsafe
introspection find_a_host_path_in_the_modules refused unsafe
introspection find_a_host_path_in_the_arguments refused unsafe
introspection find_a_host_path_in_the_interpreters_own refused unsafe
introspection find_the_source_of_the_supervisor refused unsafe
introspection find_the_secret_of_a_sibling refused naive:value
introspection call_the_tools_of_a_sibling refused naive:value
introspection learn_the_hosts_name refused unsafe
introspection learn_who_runs_this refused unsafe
introspection learn_when_the_host_thinks_it_is refused naive:value
introspection learn_the_hosts_session refused unsafe
introspection break_json contained naive:broken
introspection break_the_builtins contained naive:broken
introspection break_the_import_of_modules contained naive:broken
introspection break_every_class_to_come contained naive:broken
introspection break_compiling contained naive:broken
introspection break_the_modules_table contained naive:broken
introspection break_with_an_audit_hook contained naive:broken
introspection break_with_a_trace contained naive:broken
introspection break_with_a_profile contained naive:broken
introspection break_with_a_signal_to_come contained naive:broken
introspection break_with_a_thread contained naive:broken
introspection break_with_little_room_to_recurse contained naive:broken
introspection break_with_warnings contained naive:broken
introspection break_chance contained naive:broken
introspection break_the_standard_output contained naive:broken
introspection break_the_descriptors contained naive:broken
introspection break_the_working_folder contained naive:broken
introspection break_arithmetic contained naive:broken
introspection break_a_builtin_type contained naive:broken
introspection break_decimals contained naive:broken
introspection break_the_collector contained naive:broken
introspection break_the_hash_of_a_shared_tree contained naive:broken
introspection break_with_limits contained naive:broken

files read_a_host_file refused unsafe
files overwrite_a_host_file refused unsafe
files delete_a_host_file refused unsafe
files rename_a_file_over_a_host_file refused unsafe
files link_a_host_file_into_the_scratch_folder refused outer:value
files make_a_host_file_executable_by_all refused unsafe
files take_a_host_file_for_oneself refused unsafe
files read_the_password_file refused unsafe
files climb_out_with_dots refused unsafe
files climb_out_from_an_open_folder refused unsafe
files go_through_a_symlink_to_the_root refused unsafe
files look_into_the_home_folder refused unsafe
files look_into_the_repository refused unsafe
files find_a_strange_device refused unsafe
files write_into_the_standard_library refused unsafe:root
files write_into_the_guest refused unsafe
files list_proc refused unsafe
files list_sys refused unsafe
files read_the_environment_of_the_parent refused unsafe
files make_a_disk_device refused unsafe:root
files make_a_fifo_to_wait_at refused unsafe
files change_the_root refused outer:value
files mount_something refused outer:value
files unmount_a_folder refused outer:value
files make_a_read_only_mount_writable refused outer:value
files pivot_the_root refused outer:machine
files open_a_new_file_system violation outer:value
files clone_the_tree_of_mounts violation outer:value
files set_attributes_of_a_mount violation outer:value
files pick_a_mounted_file_system violation outer:value
files read_host_paths_from_the_table_of_mounts refused unsafe
files name_a_file_by_its_handle refused unsafe
files open_a_host_file_by_handle violation unsafe:root
files lock_a_library_for_everyone refused unsafe
files watch_who_opens_a_library refused unsafe
files watch_through_an_argument_of_64_bits refused unsafe
files watch_with_inotify refused unsafe
files watch_with_fanotify refused unsafe:root
files see_what_others_have_read refused unsafe
files write_out_the_disks_of_the_machine refused unsafe
files write_out_one_disk_of_the_machine refused unsafe
files use_an_inherited_descriptor refused naive:value

processes fork refused outer:value
processes clone_by_number refused outer:value
processes clone_by_the_newest_number refused outer:value
processes clone_into_a_user_namespace refused outer:value
processes run_a_program refused outer:value
processes spawn_a_program refused outer:value
processes ask_a_shell refused outer:value
processes run_a_program_with_a_terminal refused unsafe
processes become_another_program refused outer:files
processes become_a_program_through_the_loader refused outer:files
processes become_a_program_by_its_descriptor refused outer:files
processes become_a_program_in_memory refused outer:files
processes leave_a_daemon refused outer:process
processes signal_the_host refused unsafe
processes signal_whoever_is_there refused outer:value
processes see_the_parent refused unsafe
processes kill_everyone refused outer:bystander
processes kill_the_group contained weak:group
processes kill_a_sibling refused outer:bystander
processes kill_a_thread_of_a_sibling refused outer:bystander
processes queue_a_signal_for_a_sibling refused outer:bystander
processes kill_a_sibling_by_a_handle refused outer:bystander
processes kill_a_sibling_by_asynchronous_input refused outer:bystander
processes stop_a_sibling refused outer:bystander
processes signal_the_host_through_the_wire refused unsafe
processes trace_a_process violation outer:value
processes be_traced violation outer:value
processes read_another_process violation outer:value
processes write_into_another_process violation outer:value
processes read_another_process_through_a_file refused outer:value
processes take_a_descriptor_of_another_process violation outer:value
processes compare_oneself_with_another_process refused outer:value
processes advise_on_the_memory_of_another_process refused unsafe:root
processes limit_another_process refused outer:value
processes be_root refused outer:value
processes become_root refused outer:value
processes become_the_root_group refused outer:value
processes join_more_groups refused outer:value
processes take_all_capabilities refused outer:value
processes make_a_user_namespace refused outer:value
processes make_a_mount_namespace refused outer:value
processes make_a_network_namespace refused outer:value
processes enter_the_namespaces_of_another refused outer:value
processes outlive_the_parent refused outer:value
processes adopt_orphans refused outer:value
processes hide_from_the_supervisor refused outer:value
processes keep_capabilities_over_a_change_of_user refused outer:value
processes supervise_ones_own_system_calls refused outer:value
processes take_off_the_limits_through_a_round_pointer refused outer:value
processes raise_ones_priority refused unsafe:root
processes lower_everyones_priority refused outer:value
processes run_before_everyone refused unsafe:root
processes read_the_disk_before_everyone refused outer:value

network connect_to_the_host refused unsafe
network connect_to_the_host_over_ipv6 refused unsafe
network fetch_a_page refused unsafe
network look_up_a_name refused unsafe
network connect_to_an_abstract_socket refused unsafe
network connect_to_a_socket_in_a_folder refused unsafe
network send_a_datagram_to_the_host refused unsafe
network make_a_datagram_socket refused unsafe
network make_an_ipv6_socket refused unsafe
network make_a_raw_socket refused unsafe:root
network make_a_netlink_socket refused unsafe
network make_a_packet_socket refused unsafe:root
network listen_on_a_port refused unsafe
network list_the_interfaces refused unsafe
network listen_for_other_episodes refused unsafe
network listen_in_the_scratch_folder refused unsafe
network bind_one_end_of_a_pair refused unsafe
network let_the_kernel_name_a_socket refused unsafe
network connect_one_end_of_a_pair_elsewhere refused unsafe
network connect_the_wire_elsewhere refused unsafe
network put_a_program_on_a_socket refused unsafe
network enlarge_a_socket_beyond_its_bounds refused unsafe:root
network learn_the_hosts_process_from_the_wire refused unsafe
network get_a_handle_on_the_host_from_the_wire refused unsafe
network find_a_descriptor_smuggled_by_the_host refused unsafe

resources fill_the_memory out_of_memory unsafe
resources fill_the_memory_in_one_piece out_of_memory unsafe
resources fill_the_memory_behind_an_except refused unsafe
resources fill_the_memory_with_text out_of_memory unsafe
resources fill_the_memory_with_a_number out_of_memory unsafe
resources fill_the_memory_with_a_list out_of_memory unsafe
resources fill_the_memory_with_a_bomb_of_zeros out_of_memory unsafe
resources fill_the_memory_with_permutations out_of_memory unsafe
resources map_more_memory_than_allowed refused unsafe
resources map_memory_that_is_shared refused unsafe
resources map_memory_that_is_not_reserved refused unsafe
resources grow_the_heap_by_hand refused unsafe
resources lock_memory refused weak:limits
resources lock_all_memory refused naive:value
resources map_memory_locked refused weak:limits
resources fill_the_disk refused unsafe
resources fill_the_disk_with_deleted_files refused unsafe
resources write_one_huge_file refused unsafe
resources write_far_behind_the_end refused weak:limits
resources stretch_a_file refused weak:limits
resources write_huge_pages_of_a_mapped_file violation unsafe
resources make_many_files refused unsafe
resources make_many_links refused unsafe
resources make_many_names_of_one_file refused unsafe
resources make_deep_folders refused unsafe
resources give_a_file_many_attributes refused outer:value
resources open_many_descriptors refused unsafe
resources open_many_watchers refused unsafe
resources open_many_counters refused unsafe
resources keep_descriptors_in_flight refused outer:value
resources fill_pipes refused unsafe
resources fill_sockets refused unsafe
resources start_many_threads refused unsafe
resources start_many_threads_by_number refused unsafe
resources set_many_timers refused weak:limits
resources queue_many_signals refused weak:limits
resources recurse_for_ever tool_error|violation|out_of_memory naive:broken
resources recurse_in_c tool_error|violation|out_of_memory naive:dead
resources crash violation naive:dead
resources crash_in_a_destructor violation naive:dead
resources abort violation naive:dead
resources return_too_much output_truncated naive:value
resources return_too_many output_truncated naive:value

hangs spin timeout naive:hang
hangs sleep timeout naive:hang
hangs sleep_in_an_event_loop timeout naive:hang
hangs await_for_ever timeout naive:hang
hangs wait_for_a_lock_one_holds timeout naive:hang
hangs wait_for_a_queue timeout naive:hang
hangs wait_for_a_thread timeout naive:hang
hangs wait_for_a_pipe timeout naive:hang
hangs wait_for_a_signal timeout naive:hang
hangs wait_for_nothing_at_all timeout naive:hang
hangs wait_for_a_socket timeout naive:hang
hangs spin_in_a_regular_expression timeout naive:hang
hangs spin_in_a_power timeout|out_of_memory naive:hang
hangs spin_in_an_iterator timeout naive:hang
hangs spin_in_sqlite timeout naive:hang
hangs spin_in_colliding_hashes timeout naive:hang
hangs spin_in_machine_code timeout naive:hang
hangs spin_deaf_to_signals timeout naive:hang
hangs spin_in_a_handler timeout naive:hang
hangs swallow_every_exception timeout naive:hang
hangs spin_in_a_finally timeout naive:hang
hangs spin_in_a_trace timeout naive:hang
hangs spin_when_read_as_json timeout|out_of_memory naive:hang
hangs return_what_never_ends timeout|out_of_memory naive:hang
hangs raise_what_never_ends timeout naive:hang
hangs print_for_ever timeout naive:broken
hangs start_threads_for_ever timeout naive:hang
hangs spin_in_all_threads timeout naive:hang

wire send_nothing_and_then_a_reply violation host:empty
wire answer_for_itself ok|violation host:later
wire answer_twice ok|violation host:later
wire attach_descriptors violation host:receive
wire attach_a_socket_of_its_own violation host:receive
wire send_more_than_a_frame violation host:receive+decode+believe
wire make_the_guest_claim_a_timeout violation host:believe
wire make_the_guest_add_a_key violation host:decode
wire make_the_guest_echo_another_nonce violation host:nonce
wire make_the_guest_answer_twice ok|violation host:later
wire guess_nonces violation host:nonce+quiet
wire flood_the_host violation host:decode+nonce+quiet
wire close_the_wire violation naive:broken
wire shut_the_wire_for_writing violation naive:broken
wire put_another_socket_in_the_wires_place violation naive:broken
wire leave_without_a_word violation naive:broken
wire leave_with_nsjails_code_for_a_time_limit violation naive:broken
wire leave_by_a_signal_of_its_own violation naive:broken

results one_that_runs_when_unpickled contained naive:files
results one_that_runs_when_its_state_is_set contained naive:files
results one_that_runs_as_text contained naive:files
results one_that_runs_when_shown contained naive:files
results one_that_runs_when_formatted contained naive:files
results one_that_runs_when_tested contained naive:files
results one_that_runs_when_compared contained naive:files
results one_that_runs_when_hashed contained naive:files
results one_that_runs_when_measured contained naive:files
results one_that_runs_when_iterated contained naive:files
results one_that_runs_when_searched contained naive:files
results one_that_runs_when_indexed contained naive:files
results one_that_runs_when_asked_its_class contained naive:files
results one_that_runs_on_any_attribute contained naive:files
results one_that_runs_when_copied contained naive:files
results one_that_runs_when_collected contained naive:files
results a_text_that_runs contained naive:files
results a_number_that_runs contained naive:files
results a_fraction_that_runs contained naive:files
results a_dict_that_runs contained naive:files
results a_list_that_runs contained naive:files
results a_key_that_runs contained naive:files
results a_date_that_runs contained naive:files
results a_choice_that_runs contained naive:files
results a_record_that_runs contained naive:files
results a_class_and_not_an_object contained naive:files
results a_generator_that_runs contained naive:files
results a_mapping_that_runs contained naive:files
results an_error_that_runs contained naive:files
results an_exit_that_runs contained naive:broken
results an_error_group_that_runs contained naive:files

episodes a_file refused unsafe
episodes a_link_to_fall_into refused unsafe
episodes a_module_to_import refused unsafe
episodes a_fifo refused unsafe
episodes a_listener refused unsafe
episodes a_socket_that_the_kernel_names refused unsafe
episodes a_lock_on_a_library refused unsafe
episodes shared_memory refused unsafe
episodes a_semaphore refused unsafe
episodes a_queue refused naive:value
episodes a_key refused unsafe
episodes a_posix_share refused outer:value
episodes a_name_of_the_machine refused outer:value
episodes a_variable_of_the_environment refused naive:value
episodes a_builtin refused naive:value
episodes a_module_in_the_table refused naive:value
episodes a_change_to_a_class refused naive:value
episodes a_thread refused naive:value
episodes a_number_for_a_seed refused naive:value
episodes an_open_descriptor refused naive:value

doors talk_to_the_hypervisor refused unsafe
doors use_the_kernels_ciphers refused unsafe
doors load_the_module_of_a_rare_network refused unsafe
doors load_the_module_of_bluetooth refused unsafe
doors open_a_socket_for_raw_frames refused unsafe:root
doors load_a_module_through_a_pair refused unsafe
doors make_a_pair_of_another_family refused unsafe
doors set_up_an_io_uring violation unsafe
doors enter_an_io_uring violation unsafe
doors register_with_an_io_uring violation unsafe
doors draw_on_the_machines_count_of_requests refused unsafe
doors store_a_key_in_the_kernel violation unsafe
doors search_the_kernels_keyrings violation unsafe
doors ask_for_a_key violation unsafe
doors keep_memory_in_a_memfd refused unsafe
doors keep_memory_from_the_kernel refused unsafe
doors handle_ones_own_page_faults violation unsafe
doors load_a_bpf_map violation unsafe:root
doors count_what_the_processor_does violation unsafe:root
doors put_oneself_under_landlock refused unsafe
doors share_memory_by_key refused unsafe
doors share_a_semaphore_by_key refused unsafe
doors share_a_queue_by_key refused unsafe
doors share_a_posix_queue refused naive:value
doors share_posix_memory refused unsafe
doors change_ones_personality refused unsafe
doors bind_memory_to_a_node refused unsafe
doors move_ones_pages refused unsafe
doors set_the_home_of_memory refused unsafe
doors write_a_local_descriptor_table violation unsafe
doors ask_for_the_ports_of_the_machine violation weak:filters
doors ask_for_another_kernel violation weak:filters
doors ask_for_another_kernel_from_a_file violation weak:filters
doors ask_for_a_module violation weak:filters
doors ask_for_a_module_from_a_file violation weak:filters
doors ask_to_drop_a_module violation weak:filters
doors ask_for_swap violation weak:filters
doors ask_for_less_swap violation weak:filters
doors ask_for_accounts_of_all_processes violation weak:filters
doors ask_for_quotas violation weak:filters
doors ask_for_a_restart violation weak:filters
doors ask_for_the_clock refused weak:filters
doors ask_for_the_day refused unsafe:root
doors read_the_discipline_of_the_clock refused unsafe
doors read_the_discipline_of_another_clock refused unsafe
doors read_the_kernels_log violation unsafe:root
doors rename_the_machine refused outer:value
doors rename_the_domain refused outer:value
doors call_through_the_x32_gate violation weak:filters
doors call_through_the_32_bit_gate violation unsafe
doors fork_through_machine_code refused unsafe
"""
X86_ONLY = frozenset({
    "write_a_local_descriptor_table", "ask_for_the_ports_of_the_machine", "call_through_the_x32_gate",
    "call_through_the_32_bit_gate", "fork_through_machine_code",
})  # fmt: skip

NOT_EVERYWHERE = {  # without a jail either: the error that then comes of it, and why
    "run_before_everyone": ("PermissionError", "this machine gives its control groups no real-time share"),
}


# Forged frames (attacks/wire.py), each a violation in the jail: what the host that believes it has lost.
FRAMES = {
    "another nonce": "nonce",
    "no nonce": "nonce",
    "an empty nonce": "nonce",
    "a nonce in a list": "nonce",
    "a nonce in capitals": "nonce",
    "the next nonce": "nonce",
    "the host's own status": "believe",
    "a timeout it claims": "believe",
    "a violation it claims": "believe",
    "a status that is no text": "believe",
    "a status that is not there": "believe",
    "a status of its own": "believe",
    "a value beyond the limit": "believe",
    "a list beyond the limit": "believe",
    "a print beyond the limit": "believe",
    "a print that is no text": "believe",
    "an error beyond the limit": "believe",
    "a name of an error beyond the limit": "believe",
    "an error that is a number": "believe",
    "an error that is an object": "believe",
    "an unknown key": "decode",
    "a key of a request": "decode",
    "a key that is missing": "decode",
    "NaN": "decode",
    "infinity": "decode",
    "a number out of range": "decode",
    "nested too deep": "decode",
    "in UTF-16": "decode",
    "in UTF-32": "decode",
    "with a byte order mark": "decode",
    "in raw UTF-8": "decode",
    "two in one datagram": "decode",
    "with rubbish behind it": "decode",
    "with an end of line inside a text": "decode",
    "a list": "decode",
    "a text": "decode",
    "a pickle": "pickle",
    "a pickle that runs": "pickle",
    "a Python literal": "literal",
    "Python to run": "python",
}


class Attack(NamedTuple):
    kind: str
    name: str
    outcome: str
    shown: str


ATTACKS = {row.split()[1]: Attack(*row.split()) for row in _ROWS.splitlines() if row}
