"""What can go wrong and what then happens: tests show each line, and their run writes the table.

    AMBISCALE_WRITE_FAULTS=1 make test     # writes tests/faults.md and tests/server_faults.md
"""
import re
from pathlib import Path

HERE = Path(__file__).parent
FAULTS = (  # promise, fault, what happens, tests that show it
    ('P1', 'a writer is killed while it writes or makes Parquet', 'no acknowledged answer is lost, none is there twice',
     'test_fault_table::test_twenty_kills'),
    ('P1', 'a writer is killed while a journal becomes Parquet', 'its answers are read from either, once, and stay the same',
     'test_store::test_kill_inside_a_seal'),
    ('P1', 'the machine stops in the middle of a line', 'the torn line is cut and counted, the rest is read',
     'test_store::test_a_torn_tail_is_cut_and_counted test_store::test_a_line_of_rubbish_costs_one_group'),
    ('P1', 'the disk is full', 'the run stops; the next one goes on',
     'test_store::test_a_full_disk_stops_the_run_and_the_next_one_goes_on'),
    ('P1', 'a sealed file is damaged', 'it is named, with the remedy',
     'test_store::test_a_damaged_shard_is_named test_store::test_altered_rows_are_found'),
    ('P2', 'two workers store the same answers', 'the first answer counts and never changes',
     'test_store::test_racing_writers_give_one_answer_that_never_changes '
     'test_store::test_a_journal_at_work_is_not_cleared_away'),
    ('P3', 'a worker is killed', 'another takes its notebook and pays for the rest only',
     'test_fanout::test_a_worker_is_killed_and_another_goes_on'),
    ('P3', 'the scheduler is lost', 'unfinished runs are reported as open; the same call continues',
     'test_fanout::test_a_worker_and_then_the_scheduler_are_lost '
     'test_fanout::test_a_scheduler_that_goes_while_it_is_asked_leaves_the_run_open'),
    ('P3', 'a notebook kills every worker that has it', 'it is reported, and the others finish',
     'test_fanout::test_a_notebook_that_kills_its_worker_is_reported_and_the_rest_goes_on'),
    ('P3', 'Ctrl-C', 'nothing is left behind; what remains is reported',
     'test_fanout::test_stopping_leaves_nothing_behind_and_everything_to_resume'),
    ('P4', 'a study is killed in the middle', 'started again it makes the missing calls, and gives the same bytes',
     'test_study::test_a_killed_study_has_the_same_answers_tables_and_costs '
     'test_store::test_an_interrupted_run_pays_only_for_what_is_missing'),
    ('P5', 'a server asks to wait: seconds, a date, nothing, nonsense', 'it is waited for, never longer than the cap',
     'test_endpoint::test_p5_waits test_endpoint::test_p5_backs_off_at_random_and_gives_up '
     'test_endpoint::test_p5_garbage_says_nothing'),
    ('P6', 'errors of a server, resets, silence, broken or empty answers', 'a few tries, then an error row with a name',
     'test_endpoint::test_p6_p7_bounded_tries_then_a_named_row test_endpoint::test_p6_one_fault_changes_no_answer'),
    ('P7', 'a wrong key, name or request', 'nothing is tried again; a wrong key ends the run and keeps what it has',
     'test_endpoint::test_p7_ends_the_run test_endpoint::test_what_was_answered_before_a_wrong_key_is_kept'),
    ('P8', 'calls fail', 'they are rows without an answer, tried again by the next run, and never scored',
     'test_store::test_one_bad_clip_fails_alone_and_is_tried_again test_store::test_an_error_has_no_text_and_no_label '
     'test_store::test_limits_hold_over_runs'),
    ('P9', 'a limit on calls, tokens, money or time is reached', 'the run stops, in this and in later runs, and says how '
     'to go on', 'test_store::test_limits_hold_over_runs test_endpoint::test_money_is_counted_and_limited '
     'test_studies::test_a_limit_stops_the_study_and_says_how_to_go_on'),
    ('P10', 'revision, prompt, audio, temperature, seed or condition changes', 'the answers are drawn anew',
     'test_store::test_a_key_changes_with_what_was_asked test_store::test_a_verdict_key_changes_with_what_was_asked '
     'test_store::test_another_revision_prompt_seed_or_temperature_is_drawn_anew'),
    ('P10', 'a path, an order or a type changes; N grows', 'the answers are reused',
     'test_store::test_a_key_does_not_change_with_anything_else test_store::test_raising_n_reuses_blocks'),
    ('P11', 'a key is in use', 'no form of it is in any file that is written, nor a folder of this machine',
     'test_endpoint::test_no_key_in_anything_that_is_written test_fanout::test_no_key_and_no_private_path_stays test_studies::test_no_key_is_in_any_file '
     'test_studies::test_no_folder_of_this_machine_is_in_an_executed_notebook'),
    ('P12', 'audio files are broken or hostile', 'each is refused by name, and listed',
     'test_hostile_files::test_refused_with_a_name'),
    ('P13', 'a model answers with markup, scripts, formulas', 'the report shows it as text and nothing runs',
     'test_report::test_nothing_hostile_is_markup test_report::test_no_text_becomes_a_formula '
     'test_report::test_in_a_browser_nothing_is_asked_for_and_nothing_hostile_runs'),
    ('P14', 'the report is opened offline', 'no request leaves it; each cell is there or called missing',
     'test_report::test_every_cell_is_there_or_called_missing test_report::test_the_page_forbids_what_it_does_not_need'),
)
COLUMNS = '| promise | fault | what happens | cases | held |\n|---|---|---|--:|--:|\n'

def test_of(nodeid):
    "`tests/test_store.py::test_x[1]` -> `test_store::test_x`."
    return re.sub(r'(?:.*/)?(\w+)\.py(::\w+).*', r'\1\2', nodeid)

def table(outcomes):
    "One line per fault; `outcomes`: test -> outcomes of its cases."
    lines = []
    for promise, fault, happens, tests in FAULTS:
        cases = [o for name in tests.split() for o in outcomes.get(name, ())]
        lines.append(f"| {promise} | {fault} | {happens} | {len(cases)} | {cases.count('passed')} |")
    return COLUMNS+'\n'.join(lines)+'\n'

SERVERS = """# What servers do, and what then happens

Written by a run of the tests, see `test_server_faults.py`. A study of 12 clips, one call each, meets the fault in every
request. `ends` is a run that ends with one sentence; calls that failed or were not made are made by the next run.

| fault | protocol | outcome | requests | calls of the next run |
|---|---|---|--:|--:|
"""

def server_table(rows):
    "One line per fault and protocol."
    return SERVERS+''.join(f"| {' | '.join(map(str, o))} |\n" for o in sorted(rows, key=lambda o: (o[2], o[0], o[1])))
