"""Executes notebooks one after the other in one process. Importing torch and transformers takes seconds, so a process that
has imported them is forked for each list of notebooks; the package itself is imported anew, with the root of its test.

`execute` asks that process; by itself this file is it, and reads a list from each line of standard input.
"""
import atexit
import json
import os
import subprocess
import sys
import tempfile
import traceback
from functools import cache
from pathlib import Path

HEAVY = ('torch', 'transformers.models.auto.processing_auto', 'transformers.models.qwen2_audio.modeling_qwen2_audio',
         'transformers.models.qwen2_audio.processing_qwen2_audio', 'pandas', 'scipy.stats', 'scipy.optimize', 'matplotlib.pyplot',
         'seaborn', 'statsmodels.api', 'sklearn.linear_model', 'duckdb', 'joblib', 'pydantic', 'execnb.shell')


@cache
def server(pid):
    "The process that is forked, of this process."
    process = subprocess.Popen([sys.executable, __file__], env=os.environ | dict(TQDM_DISABLE='1'), text=True,
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    atexit.register(process.stdin.close)
    return process


def execute(root, *steps, stop=True):
    "Execute steps, (notebook, parameters), that write under `root`; the error of each, '' where there was none."
    env = os.environ | dict(AMBISCALE_ROOT=str(root), TQDM_DISABLE='1')
    process = server(os.getpid())
    with tempfile.TemporaryDirectory() as folder:
        told = json.dumps([folder, env, [(str(notebook), parameters) for notebook, parameters in steps]])
        print(told, file=process.stdin, flush=True)
        code, out = process.stdout.readline().strip(), Path(folder)/'out'
        assert code == '0' and out.exists(), (code, (Path(folder)/'err').read_text()[-3000:])
        found = json.loads(out.read_text())
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


def serve():
    "Fork for each line of standard input; say how it ended."
    from importlib import import_module
    for o in HEAVY: import_module(o)
    for line in sys.stdin:
        folder, env, steps = json.loads(line)
        if (pid := os.fork()) == 0: in_fork(Path(folder), env, steps)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


def in_fork(folder, env, steps):
    "Run the steps in this process, which ends."
    code = 1
    try:
        with open(folder/'err', 'w') as err:
            os.dup2(err.fileno(), 2)
            os.dup2(err.fileno(), 1)
        os.environ.clear()
        os.environ.update(env)
        (folder/'out').write_text(json.dumps([run(*o) for o in steps]))
        code = 0
    except BaseException: traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


if __name__ == '__main__': serve()
