"""Executes notebooks one after the other in one process. What takes longest there, importing torch and transformers, is
done once for all tests of this worker: the process is forked from one that has these modules, and none that looks at the
variables of a test."""
import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import forkserver, get_context
from pathlib import Path

import pytest

HEAVY = ['pandas', 'scipy.stats', 'torch', 'transformers.processing_utils', 'transformers.generation']


def execute(root, *steps, stop=True):
    "Execute steps, (notebook, parameters), that write under `root`; the error of each, '' where there was none."
    forks, env = get_context('forkserver'), os.environ | dict(AMBISCALE_ROOT=str(root), TQDM_DISABLE='1')
    forks.set_forkserver_preload(HEAVY)
    with pytest.MonkeyPatch.context() as m:
        m.setenv('TQDM_DISABLE', '1')  # read when it is imported
        forkserver.ensure_running()
    with ProcessPoolExecutor(1, forks, surround, (env,)) as pool:
        found = [pool.submit(run, *o).result() for o in steps]
    if stop: assert not any(found), found
    return found


def surround(env):
    "Variables as this test has them, not as the first one had."
    os.environ.clear()
    os.environ.update(env)


def run(notebook, parameters):
    "Execute a notebook in a shell of its own; what went wrong."
    from execnb.nbio import read_nb
    from execnb.shell import CaptureShell
    nb, shell = read_nb(notebook), CaptureShell(path=str(Path(notebook).parent))
    cell = next(o for o in nb.cells if 'parameters' in o.metadata.get('tags', []))
    cell.source += ''.join(f'\n{k} = {v!r}' for k, v in parameters.items())
    try: shell.run_all(nb, exc_stop=True)
    except Exception as e: return f'{type(e).__name__}: {e}'
    return ''
