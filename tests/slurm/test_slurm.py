"""The same study on a real SLURM of one node: workers are SLURM jobs, one of them is cancelled.

It needs root, `apt-get install slurm-wlm munge` and `pip install dask-jobqueue==0.9.0`, starts a controller,
a node and munge of its own on free ports of the loopback address, and stops them. Where something is
missing, it says so and is skipped. On its own:

    python -m pytest -rP tests/slurm
"""
import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import time
import warnings
from contextlib import ExitStack, contextmanager
from pathlib import Path
import psutil
import pytest
from waiting import PATIENCE
sys.path.insert(0, str(Path(__file__).parents[1]/'study'))
from test_fanout import check_whole, drive, finish, ledger, nothing_goes_on, small_study, until  # noqa: E402, F401

HOST = socket.gethostname().split('.')[0]
BLOCK = dict(queue='debug', memory='1GB', walltime='00:10:00', interface='lo')

def what_is_missing():
    "Why this cannot run here, or ''."
    lacking = [o for o in ('munged', 'slurmctld', 'slurmd', 'sbatch', 'scancel') if not shutil.which(o)]
    if lacking: return f"no {', '.join(lacking)}: apt-get install slurm-wlm munge"
    if not importlib.util.find_spec('dask_jobqueue'): return 'no dask-jobqueue: pip install dask-jobqueue==0.9.0'
    if os.geteuid() != 0: return 'a node of SLURM is started by root'
    return ''

@pytest.fixture(autouse=True, scope='module')
def loud():
    if why := what_is_missing():
        warnings.warn(f'SLURM IS NOT TESTED: {why}', stacklevel=1)
        pytest.skip(f'SLURM IS NOT TESTED: {why}')

def free_port():
    with socket.socket() as s: s.bind(('127.0.0.1', 0)); return s.getsockname()[1]

def configure(folder):
    "Write slurm.conf and a key."
    words = dict(HOST=HOST, DIR=folder, PORT1=free_port(), PORT2=free_port(), CPUS=os.cpu_count(),
                 MEMORY=int(psutil.virtual_memory().total/2**20*.9))
    text = Path(__file__).with_name('slurm.conf').read_text()
    for name, value in words.items(): text = text.replace(f'@{name}@', str(value))
    for o in ('spool', 'state'): (folder/o).mkdir()
    (folder/'slurm.conf').write_text(text)
    (folder/'munge.key').write_bytes(os.urandom(1024))
    (folder/'munge.key').chmod(0o600)

@contextmanager
def daemon(*command, env=None):
    "A process that is ended with the block."
    process = subprocess.Popen(list(map(str, command)), env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try: yield process
    finally:
        process.terminate()
        try: process.wait(10)
        except subprocess.TimeoutExpired: process.kill(); process.wait()

def ask(env, *command):
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    return done.stdout.split() if done.returncode == 0 else []

@pytest.fixture(scope='module')
def slurm(tmp_path_factory):
    "A running SLURM; the environment to reach it."
    folder = tmp_path_factory.mktemp('slurm')
    configure(folder)
    env = os.environ | dict(SLURM_CONF=str(folder/'slurm.conf'))
    with ExitStack() as stack:
        stack.enter_context(daemon('munged', '--foreground', '--force', '--key-file', folder/'munge.key',
            '--socket', folder/'munge.socket', '--pid-file', folder/'munged.pid',
            '--log-file', folder/'munged.log', '--seed-file', folder/'munge.seed'))
        until((folder/'munge.socket').exists, 'no munge')
        stack.enter_context(daemon('slurmctld', '-D', '-i', env=env))
        stack.enter_context(daemon('slurmd', '-D', '-N', HOST, env=env))
        until(lambda: ask(env, 'sinfo', '-ho', '%t') == ['idle'], 'the node is not idle')
        try: yield env
        finally:
            ask(env, 'scancel', '--user', 'root')
            end = time.monotonic()+20
            while ask(env, 'squeue', '-ho', '%i') and time.monotonic() < end: time.sleep(.5)

def listening(names):
    "Addresses on which processes of these names listen."
    return {c.laddr.ip for o in psutil.process_iter(['name']) if o.info['name'] in names
            for c in o.net_connections('tcp') if c.status == psutil.CONN_LISTEN}

def test_a_cancelled_job_is_replaced_and_the_study_is_whole(slurm, tmp_path):
    tasks, env = small_study(tmp_path), slurm | dict(AMBISCALE_ROOT=str(tmp_path))
    assert listening(('slurmctld', 'slurmd')) <= {'127.0.0.1'}
    process = drive(tmp_path, tasks, env, slurm=BLOCK)
    until(lambda: len(ledger(tmp_path)) >= 5, 'no run began')
    jobs = ask(slurm, 'squeue', '-ho', '%i')
    assert len(jobs) == 2
    ask(slurm, 'scancel', jobs[0])
    out, said = finish(process)
    assert {o[0] for o in out.values()} == {'done'}, (out, said)
    check_whole(tmp_path, 'scancel of a SLURM worker job', lost=2)
    until(lambda: not ask(slurm, 'squeue', '-ht', 'R', '-o', '%i'), 'jobs are left')
    again, _ = finish(drive(tmp_path, tasks, env, slurm=BLOCK))
    assert {o[0] for o in again.values()} == {'had'}

def test_a_stopped_study_leaves_no_job_and_no_key(slurm, tmp_path):
    tasks = small_study(tmp_path)
    process = drive(tmp_path, tasks, slurm | dict(AMBISCALE_ROOT=str(tmp_path)), slurm=BLOCK)
    until(lambda: len(ledger(tmp_path)) >= 3, 'no run began')
    own = tmp_path/'results'/'.dask'
    keys = list(own.glob('*.key.*'))
    assert keys and all(o.stat().st_mode & 0o77 == 0 for o in (own, *keys))
    os.kill(process.pid, 2)
    said = process.communicate(timeout=PATIENCE)[1]
    assert 'Stopped: ' in said
    until(lambda: not ask(slurm, 'squeue', '-ht', 'R', '-o', '%i'), 'jobs are left')
    assert not list(own.glob('*.key.*'))
    out, _ = finish(drive(tmp_path, tasks))
    assert {o[0] for o in out.values()} <= {'done', 'had'}
    check_whole(tmp_path, 'Ctrl-C of a study on SLURM, continued on this machine alone', lost=3)
