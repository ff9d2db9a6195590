"""Processes that need not import what is slow to import: one server per session of tests has imported it and is forked.

A list of notebooks is executed in such a fork by `execute`. And a kernel, or the command `ambiscale`, that a test starts as a process
of its own becomes a *stand-in* (see `sitecustomize`): it asks for a fork with its arguments, environment and files, hands signals
on, and ends as the fork ends; a stand-in that is killed takes its fork along. The package itself is imported anew in each fork.
Tests of processes themselves do without: `real_processes` in conftest.
"""
import array
import atexit
import json
import os
import re
import resource
import runpy
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import traceback
from functools import cache
from importlib import import_module
from multiprocessing.spawn import spawn_main
from pathlib import Path

HEAVY = ('torch', 'transformers.models.auto.processing_auto', 'transformers.models.qwen2_audio.modeling_qwen2_audio',
         'transformers.models.qwen2_audio.processing_qwen2_audio', 'pandas', 'pyarrow.parquet', 'scipy.stats', 'scipy.optimize',
         'matplotlib.pyplot', 'seaborn', 'statsmodels.api', 'sklearn.linear_model', 'duckdb', 'joblib', 'pydantic', 'typer',
         'execnb.shell', 'papermill', 'distributed', 'yaml')

LOW = 512  # files below this number are a fork's


@cache
def server(pid):
    "The address of the server of this session, or else of this process; it ends with the process that started it."
    if known := os.environ.get('AMBISCALE_FORKS'): return known
    folder = tempfile.TemporaryDirectory(prefix='forks-', dir='/tmp')  # a short path, for a socket
    process = subprocess.Popen([sys.executable, __file__, f'{folder.name}/s'], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               env=os.environ | dict(TQDM_DISABLE='1'))
    process.stdout.readline()
    def end():
        process.stdin.close()
        process.wait()
        folder.cleanup()
    atexit.register(end)
    return f'{folder.name}/s'


def ask(address, request, files=()):
    "Ask for a fork; the connection, from which its number is read, then how it ended."
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(address)
    connection.sendmsg([b'x'], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', files))] if files else [])
    connection.sendall(json.dumps(request).encode()+b'\n')
    return connection


def number(connection): return struct.unpack('i', connection.recv(4, socket.MSG_WAITALL))[0]


def execute(root, *steps, stop=True):
    "Execute steps, (notebook, parameters), that write under `root`; the error of each, '' where there was none."
    env = os.environ | dict(AMBISCALE_ROOT=str(root), TQDM_DISABLE='1')
    with tempfile.TemporaryDirectory() as folder, open(f'{folder}/err', 'w') as err:
        steps = [(str(notebook), parameters) for notebook, parameters in steps]
        asked = dict(steps=steps, out=f'{folder}/out', env=env, cwd=os.getcwd(), files=[0, 1, 2])
        with ask(server(os.getpid()), asked, [0, err.fileno(), err.fileno()]) as connection:
            number(connection)
            code = number(connection)
        assert code == 0, (code, Path(err.name).read_text()[-3000:])
        found = json.loads(Path(f'{folder}/out').read_text())
    if stop: assert not any(found), found
    return found


def run(notebook, parameters):
    "Execute a notebook in a shell of its own; what went wrong."
    from execnb.nbio import read_nb
    from execnb.shell import CaptureShell
    nb, shell = read_nb(notebook), CaptureShell(path=str(Path(notebook).parent))
    cell = next(o for o in nb.cells if 'parameters' in o.metadata.get('tags', []))
    cell.source += ''.join(f'\n{k} = {v!r}' for k, v in parameters.items())
    try: shell.run_all(nb, exc_stop=True)
    except Exception as e: return f'{type(e).__name__}: {e}'
    finally: atexit.unregister(shell.atexit_operations)  # or each shell would collect all garbage of the process at its end
    return ''


# A process that becomes a stand-in

SCRIPTS = ('ambiscale', 'papermill', 'exec_nb', 'second_day.py')


def wanted(argv):
    "What a fork can do for a command line: a kernel, a worker process, or a command of this environment; None for all others."
    if 'ipykernel_launcher' in argv: return dict(module='ipykernel_launcher', argv=argv[argv.index('ipykernel_launcher'):])
    if spawned := re.search(r'spawn_main\(tracker_fd=(\d+), pipe_handle=(\d+)\)', ' '.join(argv)):
        spawn = [int(o) for o in spawned.groups()]
        return dict(spawn=spawn, argv=[argv[0], '--multiprocessing-fork']) if max(spawn) < LOW else None
    script = next((o for o in argv[1:] if not o.startswith('-')), '')
    if Path(script).name in SCRIPTS: return dict(path=script, argv=argv[argv.index(script):])
    return None


def is_open(file):
    try: os.fstat(file)
    except OSError: return False
    return True


def stand_in(address, asked):
    "Be a fork of the server: this process hands signals on, and ends as that ends; it returns only if there is no server."
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    files = [o for o in range(LOW) if is_open(o)]  # a worker process was given some under their numbers
    request = asked | dict(env=dict(os.environ), cwd=os.getcwd(), mask=[int(o) for o in mask], files=files)
    parent = os.getppid()
    try: connection = ask(address, request, files)
    except OSError: return signal.pthread_sigmask(signal.SIG_SETMASK, mask)  # no server: it goes on by itself
    fork = number(connection)
    for o in (signal.SIGINT, signal.SIGTERM): signal.signal(o, lambda number, frame: os.killpg(fork, number))
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    while not select.select([connection], [], [], .5)[0]:
        if os.getppid() != parent: os._exit(1)  # as a kernel does
    code = number(connection)
    if code < 0:
        if -code != signal.SIGKILL: signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(abs(code))


# The server

def serve(address):
    "Fork for each request until standard input ends."
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < 4*LOW: resource.setrlimit(resource.RLIMIT_NOFILE, (4*LOW if hard < 0 else min(4*LOW, hard), hard))
    for _ in range(LOW): os.open(os.devnull, os.O_RDONLY)  # its own files get higher numbers, so that forks have the lower
    listener, forks = socket.socket(socket.AF_UNIX), {}
    listener.bind(address)
    listener.listen(64)
    print('ready', flush=True)
    wake, signalled = socket.socketpair()
    signalled.setblocking(False)
    signal.set_wakeup_fd(signalled.fileno(), warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *about: None)
    while True:
        ready = select.select([listener, wake, sys.stdin], [], [])[0]
        if sys.stdin in ready: return
        if wake in ready: wake.recv(4096)
        for pid in [o for o in forks if os.waitid(os.P_PID, o, os.WEXITED | os.WNOHANG | os.WNOWAIT)]:
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            with forks.pop(pid) as connection: tell(connection, code)
        if listener not in ready: continue
        connection, _ = listener.accept()
        files = array.array('i')
        _, found, _, _ = connection.recvmsg(1, socket.CMSG_SPACE(253*files.itemsize))
        for *_, data in found: files.frombytes(data)
        with connection.makefile('rb') as f: line = f.readline()
        if not line: continue
        for o in HEAVY: import_module(o)
        if (pid := os.fork()) == 0: be_asked(json.loads(line), connection, files, [listener, wake, signalled, *forks.values()])
        for o in files: os.close(o)
        forks[pid] = connection
        tell(connection, pid)


def tell(connection, value):
    try: connection.sendall(struct.pack('i', value))
    except OSError: pass  # who asked is gone


def be_asked(asked, connection, files, others):
    "Do in this process, a fork, what was asked; it ends."
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()
        for o in others: o.close()
        os.closerange(3, LOW)
        for own, file in zip(files, asked['files'], strict=True): os.dup2(own, file)
        for o in files: os.close(o)
        os.environ.clear()
        os.environ.update(asked['env'])
        os.chdir(asked['cwd'])
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, asked.get('mask', ()))
        threading.Thread(target=end_with, args=(connection,), daemon=True).start()
        code = work(asked)
    except SystemExit as e: code = e.code if isinstance(e.code, int) else int(e.code is not None)
    except BaseException: traceback.print_exc()
    finally:
        atexit._run_exitfuncs()
        for o in (sys.stdout, sys.stderr): o.flush()
        os._exit(code)


def end_with(connection):
    "End at once with the process that asked, as does all that is in its process group."
    connection.recv(1)
    os.killpg(0, signal.SIGKILL)


def work(asked):
    if 'steps' in asked:
        Path(asked['out']).write_text(json.dumps([run(*o) for o in asked['steps']]))
        return 0
    import sitecustomize
    sitecustomize.hold()
    sys.argv = asked['argv']
    sys.path[0] = str(Path(asked['path']).parent) if 'path' in asked else asked['cwd']
    if 'path' in asked: runpy.run_path(asked['path'], run_name='__main__')
    elif 'module' in asked: runpy.run_module(asked['module'], run_name='__main__', alter_sys=True)
    else: spawn_main(tracker_fd=asked['spawn'][0], pipe_handle=asked['spawn'][1])
    return 0


if __name__ == '__main__': serve(sys.argv[1])
