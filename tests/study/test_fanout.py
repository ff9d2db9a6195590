"""Fan-out under faults: a worker, a scheduler, a person who stops it; a poisoned notebook; what a notebook
may hold; parts of a run; progress. Each fault ends in one line `fault -> outcome`."""
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from unittest.mock import MagicMock, Mock, call

import nbformat
import pandas as pd
import psutil
import pytest

from ambiscale_nb.models.contract import cleaner
from ambiscale_nb.study import fanout, notebooks
from ambiscale_nb import Capabilities, prompt
from ambiscale_nb.sampling.files import CANDIDATES, Store, spent_on
from ambiscale_nb.sampling.store import Draw, parts_of, plan_pool, take_part
from small_run import CALLS, CODE, NOTES, hold, notebook, release
from waiting import PATIENCE, until

pytestmark = pytest.mark.usefixtures('real_processes')
NAMES, STARTED = ('a', 'b', 'c', 'd'), []

def small_study(folder):
    "Four runs."
    source = notebook(folder/'run.ipynb', CODE, home=str(Path(__file__).parents[1]), folder=str(folder), name='a')
    return [(source, folder/'runs'/f'{o}.ipynb', dict(name=o)) for o in NAMES]

def ledger(folder):
    "What was paid for: (call, worker) in order."
    file = folder/'ledger'
    return [tuple(o.split()) for o in file.read_text().splitlines()] if file.exists() else []

def drive(folder, tasks, env=None, **options):
    """A study in a process and session of its own; its last line is what came of it. Its root is its folder:
    what counts as done shall not change when somebody edits the package meanwhile."""
    code = ('import json, sys\nfrom pathlib import Path\nfrom ambiscale_nb.study.fanout import run_shards\n'
            'if __name__ == "__main__":\n'
            '    tasks, options = json.loads(sys.argv[1])\n'
            '    out = run_shards([(Path(s), Path(t), p) for s, t, p in tasks], **options)\n'
            '    print(json.dumps({o.name: [o.status, o.error, o.tries] for o in out}))\n')
    (folder/'drive.py').write_text(code)
    told = json.dumps([[[str(s), str(t), p] for s, t, p in tasks], options])
    env = os.environ | dict(AMBISCALE_ROOT=str(folder)) | (env or {})
    process = subprocess.Popen([sys.executable, folder/'drive.py', told], start_new_session=True, text=True,
                               env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    STARTED.append(process)
    return process

@pytest.fixture(autouse=True)
def nothing_goes_on():
    "Whatever a failed test started ends with it."
    yield
    while STARTED:
        if (o := STARTED.pop()).poll() is None: os.killpg(o.pid, signal.SIGKILL)

def begin(folder, env=None):
    "The four runs and a study of them, which waits at the fourth call of each; at least five calls are paid for."
    tasks = small_study(folder)
    hold(folder, NAMES, 4)
    process = drive(folder, tasks, env)
    until(lambda: len(ledger(folder)) >= 5, 'no run began', process)
    return tasks, process

def finish(process):
    "(outcomes, stderr) of a study; fails if it hangs or breaks."
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err[-3000:]
    return json.loads(out.splitlines()[-1]), err

def check_whole(folder, fault, lost=0):
    "Every call is stored once; no run was paid for from the start again."
    rows = Store(folder/'store').read(NOTES)
    assert sorted(rows.group) == sorted(f'{n}-{i}' for n in NAMES for i in range(CALLS))
    extra = len(ledger(folder))-len(NAMES)*CALLS
    assert 0 <= extra < CALLS//2*max(lost, 1), f'{extra} calls were paid for twice'
    for o in NAMES: assert notebooks.stamp_of(folder/'runs'/f'{o}.ipynb').exists()
    print(f'{fault} -> 4 of 4 runs, {len(rows)} answers, 0 lost, 0 twice, {extra} paid for again')

def test_a_worker_is_killed_and_another_goes_on(tmp_path):
    _, process = begin(tmp_path)
    call, killed = ledger(tmp_path)[0]
    os.kill(int(killed), signal.SIGKILL)
    stamp = notebooks.stamp_of(tmp_path/'runs'/f'{call.split("-")[0]}.ipynb')
    assert not stamp.exists()  # so whoever finishes this run is another worker
    release(tmp_path, NAMES)
    out, said = finish(process)
    assert {o[0] for o in out.values()} == {'done'} and stamp.exists(), out
    assert 'Traceback' not in said
    check_whole(tmp_path, 'SIGKILL of a local worker')

@pytest.fixture
def scheduler(tmp_path):
    "A scheduler and two workers, each a process of its own, on this machine's loopback address."
    file, env, quiet = tmp_path/'scheduler.json', os.environ | dict(AMBISCALE_ROOT=str(tmp_path)), subprocess.DEVNULL
    def dask(*words):
        words = [sys.executable, '-m', 'dask', *words, '--no-dashboard', '--host', '127.0.0.1']
        return subprocess.Popen(words, stdout=quiet, stderr=quiet, env=env)
    running = [dask('scheduler', '--port', '0', '--no-show', '--scheduler-file', file)]
    until(lambda: file.exists() and file.read_text().endswith('}'), 'no scheduler', running[0])
    address = json.loads(file.read_text())['address']
    running += [dask('worker', address, '--nthreads', '1', '--no-nanny', '--local-directory', tmp_path/'dask',
                     '--death-timeout', str(PATIENCE)) for _ in range(2)]
    yield address, running
    for o in running: o.kill(); o.wait()

def test_a_worker_and_then_the_scheduler_are_lost(tmp_path, scheduler):
    address, (boss, *workers) = scheduler
    tasks, process = begin(tmp_path, dict(DASK_SCHEDULER_ADDRESS=address))
    first = int(ledger(tmp_path)[0][1])
    assert first in [o.pid for o in workers]
    os.kill(first, signal.SIGKILL)
    begun = {o.split('-')[0] for o, _ in ledger(tmp_path)}
    release(tmp_path, begun)
    until(lambda: any((tmp_path/f'runs/{o}.done.json').exists() for o in begun), 'no run was done', process)
    boss.kill()  # the others wait, so not all can be done
    out, said = finish(process)
    release(tmp_path, NAMES)
    assert 'open' in {o[0] for o in out.values()} <= {'open', 'done'}, out
    assert 'OPEN' in said and 'the scheduler is gone' in said
    for o in workers: o.kill()
    again, _ = finish(drive(tmp_path, tasks))
    assert {o[0] for o in again.values()} == {'had', 'done'}
    check_whole(tmp_path, 'SIGKILL of a stand-alone worker, then of the scheduler', lost=3)

def test_stopping_leaves_nothing_behind_and_everything_to_resume(tmp_path):
    tasks, process = begin(tmp_path)
    family = psutil.Process(process.pid).children(recursive=True)
    os.killpg(process.pid, signal.SIGINT)  # what Ctrl-C in a terminal does
    said = process.communicate(timeout=PATIENCE)[1]
    release(tmp_path, NAMES)
    assert process.returncode not in (0, None)
    assert 'Stopped: 4 of 4 runs are not finished' in said and 'to continue' in said
    assert said.count('Traceback') == 1, said  # the KeyboardInterrupt itself
    assert 'Parent appears' not in said and 'distributed.batched' not in said, said
    gone, alive = psutil.wait_procs(family, timeout=PATIENCE)
    assert len(gone) >= 4 and not alive
    out, _ = finish(drive(tmp_path, tasks))
    assert {o[0] for o in out.values()} == {'done'}
    check_whole(tmp_path, 'Ctrl-C, then the same command', lost=2)

def interrupted(process, family):
    "What a process said that was stopped by Ctrl-C: one trace, and nobody is left."
    os.killpg(process.pid, signal.SIGINT)
    said = process.communicate(timeout=PATIENCE)[1]
    assert process.returncode == -signal.SIGINT
    assert said.count('Traceback') == 1 and said.rstrip().endswith('KeyboardInterrupt'), said
    assert not psutil.wait_procs(family, timeout=PATIENCE)[1]
    return said

def test_stopping_while_workers_start_is_heard_by_one_process(tmp_path):
    process = drive(tmp_path, small_study(tmp_path))
    me = psutil.Process(process.pid)
    def started(): return [o for o in me.children() if 'spawn_main' in ' '.join(o.cmdline())]
    until(started, 'no worker was started', process)
    said = interrupted(process, me.children(recursive=True))
    assert 'Stopping before a run has begun' in said
    assert not ledger(tmp_path)

def test_stopping_ends_kernels_that_draw(tmp_path):
    "Those at work, and figures that have not begun; it waits for none of them."
    source = notebook(tmp_path/'s.ipynb', f'import time\nopen({str(tmp_path/"begun")!r}, "a").write("x")\ntime.sleep(10**6)', x=1)
    code = ('import pathlib, sys\nfrom ambiscale_nb.study import config, notebooks, run\nhere = pathlib.Path(sys.argv[1])\n'
            'def draw(stem, study, out, kernel): notebooks.run_notebook(here/"s.ipynb", here/f"{stem}.ipynb", {}, kernel)\n'
            'run.draw = draw\n'
            'run.draw_all(config.StudyConfig(name="s", workers=2, runs=[dict(model="m")], figures=["a", "b", "c"]), "out")\n')
    (tmp_path/'draw.py').write_text(code)
    process = subprocess.Popen([sys.executable, tmp_path/'draw.py', tmp_path], start_new_session=True,
                               text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    STARTED.append(process)
    until(lambda: (tmp_path/'begun').exists() and (tmp_path/'begun').read_text()=='xx', 'nothing was drawn', process)
    interrupted(process, psutil.Process(process.pid).children(recursive=True))  # twelve days are not waited for
    assert (tmp_path/'begun').read_text()=='xx' and source.exists()

def test_what_ctrl_c_was_before_it_is_again():
    before = signal.getsignal(signal.SIGINT), signal.pthread_sigmask(signal.SIG_BLOCK, ())
    with pytest.raises(OSError), fanout.ctrl_c_waits(): raise OSError
    with pytest.raises(KeyboardInterrupt), fanout.ctrl_c_waits():
        for _ in range(3): signal.raise_signal(signal.SIGINT)
        inside = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    assert signal.SIGINT in inside
    assert before == (signal.getsignal(signal.SIGINT), signal.pthread_sigmask(signal.SIG_BLOCK, ()))

def test_a_notebook_that_kills_its_worker_is_reported_and_the_rest_goes_on(tmp_path):
    poison = notebook(tmp_path/'p.ipynb', 'import os, signal, time\nos.kill(os.getppid(), signal.SIGKILL)\ntime.sleep(600)', x=1)
    good = notebook(tmp_path/'g.ipynb', 'print(x)', x=1)
    tasks = [(poison, tmp_path/'poison.ipynb', {}), *((good, tmp_path/f'good{x}.ipynb', dict(x=x)) for x in range(3))]
    late = dict(DASK_DISTRIBUTED__DEPLOY__LOST_WORKER_TIMEOUT='0s')  # as if workers took long to start again
    out, said = finish(drive(tmp_path, tasks, late, tries=2))
    assert out.pop('poison') == ['failed', 'every worker that had it died', 2]
    assert [o[0] for o in out.values()] == ['done']*3
    assert 'FAILED poison: every worker that had it died' in said
    print('a notebook that kills every worker -> reported after 2 workers, 3 of 3 others done')

@pytest.mark.parametrize('status', ['finished', 'error', 'cancelled', 'lost'])
def test_a_scheduler_that_goes_while_it_is_asked_leaves_the_run_open(tmp_path, status):
    from distributed.comm import CommClosedError
    asked = Mock(side_effect=CommClosedError('gone'))
    told = fanout.read_outcome(Mock(status=status, result=asked, exception=asked), tmp_path/'x.ipynb')
    assert (told.name, told.status, told.error) == ('x', 'open', 'the scheduler is gone')

def test_where_workers_are_is_the_surroundings_business(monkeypatch):
    "Nothing in the study's code names a cluster: an address, a block, or neither."
    client, local, slurm = (MagicMock() for _ in range(3))
    monkeypatch.setattr('distributed.Client', client)
    monkeypatch.setattr(fanout, 'local_cluster', local)
    monkeypatch.setattr(fanout, 'slurm_cluster', slurm)
    monkeypatch.delenv('DASK_SCHEDULER_ADDRESS', raising=False)
    for where in ({}, dict(slurm={}), dict(slurm=dict(queue='gpu'))):
        with fanout.connect(3, **where): pass
    monkeypatch.setenv('DASK_SCHEDULER_ADDRESS', 'tls://c:2')
    with fanout.connect(3): pass
    assert local.call_args_list == [call(3)] and slurm.call_args_list == [call(3, {}), call(3, dict(queue='gpu'))]
    assert [o.args[0] for o in client.call_args_list if isinstance(o.args[0], str)] == ['tls://c:2']

def test_what_we_start_listens_on_this_machine_alone(tmp_path):
    with fanout.connect(1) as client:
        pids = [os.getpid(), *(o['pid'] for o in client.run(lambda: dict(pid=os.getpid())).values())]
        ports = [c.laddr.ip for pid in pids for c in psutil.Process(pid).net_connections('tcp')
                 if c.status == psutil.CONN_LISTEN]
        assert client.scheduler.address.startswith('tls://127.0.0.1:')
    assert ports and set(ports) <= {'127.0.0.1', '::1'}

# --- what an executed notebook holds --------------------------------------------------------------
KEY = 'sk-proj-Ab+9/_x%21'

SPOKEN = """import base64, json, os, urllib.parse
key = os.environ['SENTINEL_API_KEY']
for o in (key, urllib.parse.quote(key, safe=''), base64.b64encode(key.encode()).decode(), json.dumps(dict(k=key))): print(o)
"""

@pytest.mark.parametrize(('last', 'times'), [('', 4), ('raise ValueError(key)', 5)])
def test_no_key_and_no_private_path_stays(tmp_path, monkeypatch, last, times):
    monkeypatch.setenv('SENTINEL_API_KEY', KEY)
    source = notebook(tmp_path/'s.ipynb', SPOKEN+last, place=str(Path.home()/'corpora'/'x'))
    try: notebooks.run_notebook(source, tmp_path/'t.ipynb', {})
    except notebooks.NotebookError as e: assert KEY not in str(e)
    text, = (o.read_text() for o in tmp_path.glob('t*.ipynb'))
    assert KEY not in text and cleaner([KEY])(text) == text and text.count('[redacted]') >= times
    assert str(Path.home())+'/' not in text and '~/corpora/x' in text
    assert nbformat.read(next(tmp_path.glob('t*.ipynb')), 4).cells

def test_a_failed_run_can_be_opened_and_goes_when_it_is_mended(tmp_path):
    source = notebook(tmp_path/'s.ipynb', 'print("so far"); assert x > 1, "x is small"', x=1)
    first = fanout.run_shard((source, tmp_path/'t.ipynb', {}))
    assert (first.status, first.error) == ('failed', 'AssertionError: x is small')
    assert 'so far' in (tmp_path/'t.failed.ipynb').read_text()
    assert fanout.run_shard((source, tmp_path/'t.ipynb', dict(x=2))).status == 'done'
    assert sorted(o.name for o in tmp_path.iterdir()) == ['s.ipynb', 't.done.json', 't.ipynb']

def test_a_run_is_done_until_its_parameters_or_its_code_change(tmp_path):
    source = notebook(tmp_path/'s.ipynb', 'print(x)', x=1)
    task = (source, tmp_path/'t.ipynb', dict(x=[1, 2.5, None]))
    assert [notebooks.run_once(*task), notebooks.run_once(*task)] == [True, False]
    task[1].unlink()
    assert not notebooks.is_done(*task)
    task[1].touch()
    assert notebooks.is_done(*task)
    notebook(source, 'print(x, x)', x=1)
    assert not notebooks.is_done(*task)

# --- parts ----------------------------------------------------------------------------------------
class Ears: name, revision, capabilities = 'ears', 'r1', Capabilities()

def test_a_swapped_clip_hears_the_same_audio_in_whichever_part():
    "The plan is made from all clips; made from a part of them, donors would differ."
    asked, draw = [prompt('label', 'direct', ('angry', 'sad'))], Draw(4, condition='swap')
    items = pd.DataFrame([dict(corpus='demo', uid=f'u{i}', speaker=f's{i%5}', audio_sha=f'{i*7919%104729:05}') for i in range(20)])
    plan = plan_pool(Ears, items, asked, draw)
    parts = pd.concat([take_part(plan, o) for o in parts_of(4)])
    assert set(parts.group) == set(plan.group)
    def heard(plan): return set(zip(plan.uid, plan.audio_sha, strict=True))
    assert heard(parts) == heard(plan)
    assert heard(plan_pool(Ears, items.iloc[:10], asked, draw)) - heard(plan)

# --- progress -------------------------------------------------------------------------------------
def answer(group, error='', n=2):
    "The rows of one call."
    text = dict.fromkeys(('uid', 'revision', 'audio_sha', 'prompt_sha', 'mode', 'style', 'decode', 'condition', 'finish',
                          'error_text', 'downgrades', 'corpus', 'model', 'prompt_id'), 'x')
    number = dict.fromkeys(('temperature', 'width', 'max_new_tokens', 'block', 'run_seed', 'seed'), 0)
    own = dict(group=group, block_size=n, error=error, text=None if error else 'sad', n_tokens=5, n_in_tokens=100, cost_measured=.01)
    return [dict.fromkeys(CANDIDATES.columns) | text | number | own | dict(key=f'{group}{i}', index=i) for i in range(n)]

def test_what_the_watch_counts_is_what_the_store_holds(tmp_path):
    "While journals grow, after sealing, and after the rest of the journal has moved."
    store, watch, looks = Store(tmp_path), fanout.StudyWatch(tmp_path), []
    for i in range(30):
        store.append(CANDIDATES, answer(f'g{i}', 'timeout' if i%10 == 9 else ''))
        if i in (4, 11, 25): looks.append(watch())
        if i == 17: store.seal(CANDIDATES)
    store.seal(CANDIDATES)
    last, rows = watch(), store.read(CANDIDATES)
    assert [o['calls'] for o in looks] == [5, 12, 26]
    assert (last['calls'], last['failed']) == (30, 3)
    spent = spent_on(rows)
    assert [last[k] for k in ('tokens', 'usd')] == pytest.approx([spent[k] for k in ('tokens', 'usd')])
    assert watch() == last

@pytest.fixture
def log(monkeypatch):
    "A function that lets Progress look at a watch until a time, on a clock of its own; what it wrote."
    clock, log = [0.], io.StringIO()
    monkeypatch.setattr(fanout.time, 'monotonic', lambda: clock[0])
    def look(watch, until):
        shown = fanout.Progress(1, lambda: watch(clock), log)
        while clock[0] < until: clock[0] += .5; shown.look(0, ['a'])
        return log.getvalue().splitlines()
    return look

def test_looking_costs_at_most_a_twentieth_of_the_time(log):
    looked = []
    def watch(clock):
        looked.append(clock[0])
        clock[0] += 2.  # a slow disk
        return dict(calls=len(looked), planned=10)
    lines = log(watch, 1000)
    assert len(looked)*2 <= 1000/20+2
    assert 10 <= len(lines) <= 18 and 'running: a' in lines[0] and '\x1b' not in ''.join(lines)

def test_waiting_for_the_first_call_is_not_taken_for_slowness(log):
    lines = log(lambda clock: dict(calls=1000+10*max(0, int(clock[0])-600), planned=2000), 665)
    assert all('left' not in o for o in lines[:-1])  # ten minutes in which a model was loaded
    assert re.search(r'about (3\d|4\d) s left', lines[-1]), lines[-1]

@pytest.mark.parametrize(('looks', 'count', 'want'), [
    ([100, 200, 400], {}, '400 of 700 calls; about 30 s left'), ([400, 400, 400], {}, '400 of 700 calls'),
    ([100, 200, 400], dict(unsure=1), '400 of at least 700 calls; at least 30 s left'),
    ([100, 200], dict(unsure=1), '400 of at least 700 calls'),  # after twenty seconds
    ([400]*3, dict(planned=400, unsure=1), '400 calls so far'), ([400]*3, dict(planned=300), '400 calls so far'),
    ([400]*3, dict(planned=400), '400 of 400 calls')])
def test_the_time_left_follows_the_last_minutes_and_promises_nothing_unknown(looks, count, want):
    "A run that resumes begins with many calls; they say nothing of its speed."
    past = [(-900., 0), *((20.*i, c) for i, c in enumerate(looks))]
    text = fanout.progress_text(dict(calls=400, planned=700) | count, past, 0, 2, [])
    assert re.sub(r'\d+ s', '30 s', text) == f'0 of 2 runs; {want}'

def planned(folder, run, calls, age=0., kind='plans'):
    "A plan of a run, made so many seconds ago."
    path = folder/kind/f'{run}.parquet'
    path.parent.mkdir(exist_ok=True)
    pd.DataFrame(dict(group=[f'{kind}{i}' for i in range(calls)])).to_parquet(path)
    os.utime(path, (time.time()-age,)*2)

def test_a_run_is_unsure_until_it_has_made_all_of_its_plans_or_is_done(tmp_path):
    source = notebook(tmp_path/'s.ipynb', 'pass', x=1)
    def task(stem, **more): return source, tmp_path/f'runs/{stem}.ipynb', dict(verify=False, listwise=0, audit=0) | more
    tasks = [task('a--c--none--1of2', part='1/2'), task('a--c--none--2of2', part='2/2'), task('b--c--none', verify=True),
             task('b--c--none--lists', lists_of=['a'], listwise=2)]
    planned(tmp_path, 'b--c--none', 50, age=900)  # of yesterday's settings, maybe
    planned(tmp_path, 'gone--c--none', 1000)  # of a run that the study has no more
    watch = fanout.StudyWatch(tmp_path, tasks)
    def now(): return tuple(watch()[o] for o in ('planned', 'unsure'))
    assert now() == (50, 3)
    planned(tmp_path, 'a--c--none', 7)
    assert now() == (57, 2)
    planned(tmp_path, 'b--c--none', 60)
    assert now() == (67, 2)  # its judgements are not planned
    for kind, calls in (('verdict_plans', 5), ('listwise_plans', 9)): planned(tmp_path, 'b--c--none', calls, kind=kind)
    assert now() == (81, 1)  # lists of all others come last
    notebooks.write_atomic(notebooks.stamp_of(tasks[-1][1]), '{}')
    assert now() == (81, 0)
    audited = task('d--c--none', audit=8)  # an audit for which no other speaker was found is never planned
    assert fanout.StudyWatch(tmp_path, [audited])()['unsure'] == 1
    for path, text in ((audited[1], {}), (notebooks.stamp_of(audited[1]), notebooks.stamp_for(source, audited[2]))):
        notebooks.write_atomic(path, json.dumps(text))
    assert fanout.StudyWatch(tmp_path, [audited])()['unsure'] == fanout.StudyWatch(tmp_path)()['unsure'] == 0

def test_a_worker_that_was_given_more_is_at_the_first():
    client = Mock(processing=lambda: dict(w=('k2', 'k1', 'other'), v=('k3',)), nthreads=lambda: dict(w=1, v=1))
    assert fanout.running_now(client, dict(k1='a', k2='b', k3='c')) == ['a', 'c']
