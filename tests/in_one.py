"""Executes notebooks one after the other in one process, which imports torch once: a kernel for each takes seconds.

`execute` starts that process; by itself this file reads steps from standard input and writes what went wrong.
"""
import atexit
import json
import os
import subprocess
import sys
from pathlib import Path

from waiting import PATIENCE


def execute(root, *steps, stop=True):
    "Execute steps, (notebook, parameters), that write under `root`; the error of each, '' where there was none."
    env = os.environ | dict(AMBISCALE_ROOT=str(root), TQDM_DISABLE='1')
    told = json.dumps([(str(notebook), parameters) for notebook, parameters in steps])
    done = subprocess.run([sys.executable, __file__], input=told, env=env, capture_output=True, text=True, timeout=PATIENCE,
                          check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
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
    finally: atexit.unregister(shell.atexit_operations) # Or each shell would collect all garbage of the process at its end
    return ''


if __name__ == '__main__':
    print(json.dumps([run(*o) for o in json.load(sys.stdin)]))
