"Every notebook runs from top to bottom: the library as nbdev runs it, experiments by papermill, figures of what they made."
import os
import sys
from pathlib import Path
import pytest
from execnb.nbio import read_nb, write_nb
from execnb.shell import CaptureShell
from in_one import execute
from ambiscale_nb.core import load_plugins
from ambiscale_nb.corpora.registry import CORPORA
from ambiscale_nb.study.notebooks import run_notebook
from ambiscale_nb.models.contract import MODELS
from ambiscale_nb.strategies.pool import STRATEGIES
ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT/'scripts'))
from check import library, said  # noqa: E402
LIBRARY = library()
EXPERIMENTS = sorted(ROOT.glob('nbs/experiments/*.ipynb')) # numbered in the order in which they build
FIGURES = sorted(ROOT.glob('nbs/figures/*.ipynb')) # read what experiments wrote

@pytest.fixture
def registries():
    "What is registered, before and after: a notebook registers its own definitions in place of the package's."
    load_plugins()
    before = [(o, dict(o)) for o in (MODELS, CORPORA, STRATEGIES)]
    yield
    for o, was in before: o.clear(); o.update(was)

@pytest.mark.parametrize('path', LIBRARY, ids=lambda o: o.stem)
def test_library(path, registries, monkeypatch, tmp_path):
    """Definitions, demonstrations and tests of a module, in this process. With AMBISCALE_SAME_OUTPUTS, its text outputs are
    those committed; elsewhere they need not be, since another processor may round otherwise."""
    monkeypatch.setenv('IN_TEST', '1') # as nbdev does
    monkeypatch.chdir(path.parent)
    nb, shell = read_nb(path), CaptureShell(path)
    try: shell.run_all(nb, exc_stop=True)
    except Exception: pytest.fail(shell.prettytb(path), pytrace=False)
    write_nb(nb, tmp_path/path.name)
    if os.getenv('AMBISCALE_SAME_OUTPUTS'): assert said(tmp_path/path.name)==said(path)

@pytest.fixture(scope='module')
def run(tmp_path_factory):
    "A function that runs an experiment once, under a root that had nothing in it."
    root, done = tmp_path_factory.mktemp('root'), set()
    with pytest.MonkeyPatch.context() as m:
        m.setenv('AMBISCALE_ROOT', str(root))
        m.setenv('TQDM_DISABLE', '1')
        def once(path):
            if path not in done: run_notebook(path, root/path.name, {})
            done.add(path)
            return root
        yield once

@pytest.fixture(scope='module')
def drawn(run):
    "Every figure, drawn from what the experiments made: what went wrong, the files there are, and whether ours were touched."
    for o in EXPERIMENTS: root = run(o)
    ours = lambda: {o: o.stat().st_mtime_ns for o in (ROOT/'figures').rglob('*')}
    before, told = ours(), dict(study='smoke', out='results/smoke/figures')
    with pytest.MonkeyPatch.context() as m:
        m.delenv('MPLBACKEND', raising=False) # a notebook shows its figures
        errors = execute(root, *((o, {} if o.stem=='corpus_card' else told) for o in FIGURES), stop=False)
    return dict(zip([o.stem for o in FIGURES], errors, strict=True)), written(root), before==ours()

def written(root): return {o.relative_to(root).as_posix() for o in root.rglob('*') if o.is_file()}

@pytest.mark.parametrize('path', EXPERIMENTS, ids=lambda o: o.stem)
def test_experiment(path, run):
    "The smoke run of an experiment, after those numbered before it; results go under the root."
    before = written(ROOT/'figures')
    for o in EXPERIMENTS[:EXPERIMENTS.index(path)+1]: root = run(o)
    assert any(o.startswith('results/smoke/') for o in written(root))
    assert written(ROOT/'figures')==before

@pytest.mark.parametrize('path', FIGURES, ids=lambda o: o.stem)
def test_figure(path, drawn):
    "A figure from the smoke study, or a corpus card; it writes files of its own stem, and none into the repository."
    errors, files, untouched = drawn
    assert errors[path.stem]=='' and untouched
    if path.stem=='fig11_real' and not os.getenv('AMBISCALE_REAL_OUTPUTS'): return # Draws nothing, and says what it needs
    files = [o for o in files if o.startswith(('results/smoke/figures/', 'results/cards/'))]
    assert any(Path(o).stem.startswith(path.stem.partition('_')[0]) for o in files), files
