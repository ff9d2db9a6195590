"""Kernels of notebooks: of this interpreter, over sockets of their own, started again when they end while starting. The
benchmark `benchmarks/kernels.py` starts 200 of them in pairs."""
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import nbformat
import psutil
import pytest

from ambiscale_nb.study import fanout, notebooks
from small_run import notebook
from waiting import PATIENCE, until

pytestmark = pytest.mark.usefixtures('real_processes')
TELL = ('import sys\nfrom IPython import get_ipython\napp = get_ipython().kernel.parent\n'
        'print(sys.executable, app.transport, app.ip)')

def told(path): return nbformat.read(path, 4).cells[-1].outputs[0].text.split()

def tell(folder):
    "What a kernel tells of itself: interpreter, transport, address."
    notebooks.run_notebook(notebook(folder/'s.ipynb', TELL, x=1), folder/'t.ipynb', {})
    return told(folder/'t.ipynb')

def left_over(): return sorted(o for o in Path(tempfile.gettempdir()).glob('kernel-*'))

@pytest.fixture(autouse=True)
def own_temporary_folder(monkeypatch, tmp_path):  # pytest makes its own first
    "Other kernels of this machine have their folders elsewhere. Its path is short."
    with tempfile.TemporaryDirectory(dir='/tmp') as folder:
        monkeypatch.setattr(tempfile, 'tempdir', folder)
        yield

@pytest.fixture
def command(monkeypatch):
    "A function that replaces the command of the kernel by a script of ours."
    from ipykernel import kernelspec
    own = kernelspec.get_kernel_dict
    def use(folder, code):
        (folder/'kernel.py').write_text(code)
        argv = [sys.executable, str(folder/'kernel.py'), '-f', '{connection_file}']
        monkeypatch.setattr(kernelspec, 'get_kernel_dict', lambda: own() | dict(argv=argv))
    return use

def started(folder, dying):
    "A kernel that ends while it starts, so many times."
    return (f'import pathlib, runpy, sys\nledger = pathlib.Path({str(folder/"ledger")!r})\n'
            'n = len(ledger.read_text()) if ledger.exists() else 0\nledger.write_text("x"*(n+1))\n'
            f'if n < {dying}: sys.exit("out of memory, or whatever")\n'
            'runpy.run_module("ipykernel_launcher", run_name="__main__")')

def test_a_kernel_is_this_interpreter_over_sockets_of_its_own(tmp_path):
    seen = [tell(tmp_path) for _ in range(2)]
    assert [o[1] for o in seen] == ['ipc', 'ipc'] and seen[0][2] != seen[1][2]
    assert Path(seen[0][0].replace('./', f'{notebooks.ROOT}/')) == Path(sys.executable)
    assert not left_over()  # their folders go with them

def test_a_kernel_of_another_installation_is_not_used(tmp_path, monkeypatch):
    place = tmp_path/'kernels/python3'
    place.mkdir(parents=True)
    (place/'kernel.json').write_text(json.dumps(dict(argv=['/bin/false', '{connection_file}'], display_name='other', language='python')))
    monkeypatch.setenv('JUPYTER_PATH', str(tmp_path))
    assert tell(tmp_path)[0].endswith(Path(sys.executable).name)

@pytest.mark.parametrize('dying', [1, 2])
def test_a_kernel_that_ends_while_it_starts_is_started_again(tmp_path, command, dying, caplog, capfd):
    command(tmp_path, started(tmp_path, dying))
    assert tell(tmp_path)[1] == ('ipc', 'tcp')[dying-1] and len((tmp_path/'ledger').read_text()) == dying+1
    assert not caplog.records and 'out of memory' not in capfd.readouterr().err

def test_a_kernel_that_never_starts_is_named_with_what_it_wrote(tmp_path, command):
    command(tmp_path, started(tmp_path, 9))
    out = fanout.run_shard((notebook(tmp_path/'s.ipynb', TELL, x=1), tmp_path/'t.ipynb', {}))
    assert (out.status, len((tmp_path/'ledger').read_text())) == ('failed', 3) and not left_over()
    assert f'The kernel python3 of this environment ({sys.executable} {tmp_path}/kernel.py' in out.error
    assert 'did not start in 3 tries; its last line: out of memory, or whatever' in out.error

def test_a_notebook_that_fails_or_whose_kernel_dies_later_is_not_tried_again(tmp_path):
    from nbclient.exceptions import DeadKernelError
    for code, error in (('raise RuntimeError("mine")', notebooks.NotebookError), ('import os; os._exit(1)', DeadKernelError)):
        (tmp_path/'ledger').unlink(missing_ok=True)
        source = notebook(tmp_path/'s.ipynb', f'with open({str(tmp_path/"ledger")!r}, "a") as f: f.write("x")\n{code}', x=1)
        with pytest.raises(error): notebooks.run_notebook(source, tmp_path/'t.ipynb', {})
        assert (tmp_path/'ledger').read_text() == 'x'

def test_a_long_path_of_the_temporary_folder_leaves_room_for_sockets(tmp_path, monkeypatch):
    deep = tmp_path/('x'*90)
    deep.mkdir()
    monkeypatch.setattr(tempfile, 'tempdir', str(deep))
    with notebooks.short_folder() as folder:
        assert len(os.fsencode(folder/'s-5')) <= 107 and not folder.is_relative_to(deep)
    assert tell(tmp_path)[1] == 'ipc'

WORKER = ('import sys, tempfile\nfrom pathlib import Path\nfrom ambiscale_nb.study.notebooks import run_notebook\n'
          'tempfile.tempdir = sys.argv[1]\nrun_notebook(Path(sys.argv[2]), Path(sys.argv[3]), {})')

def test_what_a_killed_worker_left_is_removed_by_the_next_kernel(tmp_path, request):
    "And nothing that a kernel still needs, nor what is not known to be ours."
    source = notebook(tmp_path/'s.ipynb', f'import time\nopen({str(tmp_path/"begun")!r}, "w")\ntime.sleep(10**6)', x=1)
    worker = subprocess.Popen([sys.executable, '-c', WORKER, tempfile.gettempdir(), source, tmp_path/'t.ipynb'],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    request.addfinalizer(worker.kill)  # also where the test fails; its kernel ends with it
    until((tmp_path/'begun').exists, 'no kernel began', worker)
    kernels, (folder,) = psutil.Process(worker.pid).children(recursive=True), left_over()
    (unknown := folder.with_name('kernel-unknown')).mkdir()
    with notebooks.short_folder() as second:
        assert left_over() == sorted([folder, second, unknown])  # both are in use
        with notebooks.short_folder(): pass
        assert left_over() == sorted([folder, second, unknown])
    os.kill(worker.pid, signal.SIGKILL)
    worker.wait()
    assert left_over() == sorted([folder, unknown])
    tell(tmp_path)
    assert left_over() == [unknown]
    assert not psutil.wait_procs(kernels, timeout=PATIENCE)[1]

def test_where_there_are_no_such_sockets_tcp_is_used(tmp_path, monkeypatch):
    import zmq
    monkeypatch.setattr(zmq, 'has', lambda what: False)
    assert tell(tmp_path)[1] == 'tcp'

def test_tasks_of_a_worker_share_a_kernel_until_one_fails_or_uses_a_gpu(tmp_path, monkeypatch):
    "Each begins without the variables of the one before, and without what Dask sets for memory."
    monkeypatch.setenv('MALLOC_TRIM_THRESHOLD_', '65536')
    say = ('import os, sys\nprint(os.getpid(), "mine" in globals(), os.environ.get("MALLOC_TRIM_THRESHOLD_"))\nmine = 1\n')
    card = ('from types import SimpleNamespace as N\nprint(os.getpid(), "mine" in globals(), 0)\n'
            'sys.modules["torch"] = N(cuda=N(is_initialized=lambda: True))')
    seen = []
    with notebooks.SharedKernel() as shared:
        for i, code in enumerate((say, say, say+'1/0', say, 'import os, sys\n'+card, say)):
            source, target = notebook(tmp_path/f'{i}.ipynb', code, x=1), tmp_path/f'{i}.done.ipynb'
            out = fanout.run_shard((source, target, {}), kernel=shared)
            assert out.status == ('failed' if '1/0' in code else 'done'), out.error
            seen.append(told(target.with_name(f'{i}.done.failed.ipynb') if '1/0' in code else target))
    pids = [o[0] for o in seen]
    assert pids[0] == pids[1] == pids[2] != pids[3] == pids[4] != pids[5]
    assert {o[1] for o in seen} == {'False'} and {o[2] for o in seen} == {'None', '0'}
    until(lambda: not psutil.pid_exists(int(pids[5])) or psutil.Process(int(pids[5])).status()=='zombie', 'it goes on')
    assert not left_over()
