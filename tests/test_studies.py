"""A study by the command: stopped by a limit and continued, in parts, and the same as a plain papermill loop."""
import base64
import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import pandas as pd
import pytest
import yaml

from ambiscale_nb.core import ROOT
from loopback import END, Loopback

SHARED = dict(n=8, temperature=1., widths=[3], limit=10, beam_limit=4)
RUNS = [dict(model='tiny-alm-nano', parts=2),
        dict(model='tiny-alm-nano', condition='swap', modes=['label'], n=0, widths=[], score=False, verify=False)]


def call(root, *words):
    "A command under `root`; what it said."
    env = os.environ | {'AMBISCALE_ROOT': str(root), 'OMP_NUM_THREADS': '1'}
    done = subprocess.run([*words], env=env, capture_output=True, text=True, timeout=400, cwd=root, check=False)
    return done.returncode, done.stdout+done.stderr


def place(folder):
    "A project's root with the notebooks and the package, and results of its own."
    for o in ('nbs', 'ambiscale_nb', 'conf'): (folder/o).symlink_to(ROOT/o)
    return folder


def tool(name): return str(Path(sys.executable).with_name(name))


@pytest.fixture(scope='module')
def commanded(tmp_path_factory):
    "`ambiscale run`, once with a limit that stops it and once more; the folder and what was said."
    root = place(tmp_path_factory.mktemp('commanded'))
    study = dict(SHARED, name='small', ks=[1, 4, 8], runs=RUNS)
    (root/'limited.yaml').write_text(yaml.safe_dump(study | dict(limits=dict(calls=60))))
    (root/'study.yaml').write_text(yaml.safe_dump(study))
    said = [call(root, tool('ambiscale'), 'run', 'limited.yaml'),
            call(root, tool('ambiscale'), 'status', 'limited.yaml'),
            call(root, tool('ambiscale'), 'estimate', 'study.yaml'),
            call(root, tool('ambiscale'), 'run', 'study.yaml'),
            call(root, tool('ambiscale'), 'status', 'study.yaml', '--verify')]
    return root, said


@pytest.fixture(scope='module')
def looped(tmp_path_factory):
    "The same by papermill alone."
    root = place(tmp_path_factory.mktemp('looped'))
    def papermill(notebook, **parameters):
        words = [o for k, v in parameters.items() for o in ('-y', yaml.safe_dump({k: v}))]
        code, said = call(root, tool('papermill'), '-k', 'python3', '--cwd', str(ROOT/'nbs/experiments'),
                          str(ROOT/'nbs/experiments'/notebook), str(root/notebook), *words)
        assert code == 0, said[-3000:]
    for run in RUNS:
        papermill('01_sample.ipynb', study='small', **SHARED | {k: v for k, v in run.items() if k != 'parts'})
    papermill('02_score.ipynb', study='small', ks=[1, 4, 8])
    return root


def test_a_limit_stops_the_study_and_says_how_to_go_on(commanded):
    _, ((code, said), (_, status), (_, rest), (again, _), _) = commanded
    assert (code, again) == (1, 0)
    assert 'stopped at the limit on calls' in said and 'calls remain' in said
    assert 'ambiscale run limited.yaml' in said
    assert 'missing' in status and 'Spent: 6' in status  # sixty calls, or those that were under way besides
    assert 'tiny-alm-nano--toyspeech--none' in rest


def test_the_finished_study_is_whole_and_sound(commanded):
    root, (*_, (code, said)) = commanded
    assert code == 0 and 'Every file is sound.' in said
    table = pd.read_parquet(root/'results/small/scores.parquet')
    assert set(table.condition) == {'none', 'swap'} and table.k.max() == 8
    done = sorted(o.name for o in (root/'results/small/runs').glob('*.ipynb'))
    assert done == ['02_score.ipynb', 'tiny-alm-nano--toyspeech--none--1of2.ipynb',
                    'tiny-alm-nano--toyspeech--none--2of2.ipynb', 'tiny-alm-nano--toyspeech--swap.ipynb']


@pytest.mark.parametrize('table', ['scores', 'predictions', 'settings', 'refusals', 'marginals', 'bounds', 'claims'])
def test_a_papermill_loop_gives_the_same_tables(commanded, looped, table):
    a, b = ((o/'results/small'/f'{table}.parquet').read_bytes() for o in (commanded[0], looped))
    assert a == b


def test_a_papermill_loop_gives_the_same_answers(commanded, looped):
    from ambiscale_nb.pool import CANDIDATES, Store
    from ambiscale_nb.verify import VERDICTS
    for table in (CANDIDATES, VERDICTS):
        ours, theirs = (Store(o/'results/small').read(table) for o in (commanded[0], looped))
        same = [c for c in ours if not c.endswith('_measured')]
        assert len(ours) >= 60
        pd.testing.assert_frame_equal(*(o[same].sort_values('key').reset_index(drop=True) for o in (ours, theirs)))


def test_no_folder_of_this_machine_is_in_an_executed_notebook(commanded):
    root = commanded[0]
    for o in (root/'results/small/runs').glob('*.ipynb'):
        assert str(root) not in o.read_text() and str(Path.home()) not in o.read_text(), o.name


# A served model, by the command

KEY = 'sk-sentinel+0123/456789=abc'


@pytest.fixture(scope='module')
def served(tmp_path_factory):
    "A study of a model behind a server, and the same again from recordings, when the server is gone."
    root = place(tmp_path_factory.mktemp('served'))
    def study(name, **load):
        run = dict(model='vllm', load=dict(model='demo', key='DEMO_API_KEY', **load))
        text = yaml.safe_dump(dict(name=name, n=4, limit=5, ks=[1, 4], runs=[run],
                                   limits=dict(fail_on_error=3)))
        (root/f'{name}.yaml').write_text(text)
        return call(root, tool('ambiscale'), 'run', f'{name}.yaml')
    os.environ['DEMO_API_KEY'] = KEY
    try:
        with Loopback() as server:
            server.faults = ['429', None, 'bad_request', '500']
            live = study('live', base_urls=[server.url], end=END, max_seconds=30.)
        again = study('again', replay='live/recordings', end=END, max_seconds=30.)
    finally: del os.environ['DEMO_API_KEY']
    return root, live, again


def test_a_served_study_runs_and_is_repeated_from_its_recordings(served):
    root, *said = served
    for code, text in said: assert code == 0, text[-3000:]
    for table in ('scores', 'predictions', 'marginals', 'refusals'):
        a, b = ((root/f'results/{o}/{table}.parquet').read_bytes() for o in ('live', 'again'))
        assert a == b
    scores = pd.read_parquet(root/'results/live/scores.parquet')
    assert set(scores.model) == {'demo'} and scores.value.notna().any()
    lost = scores[scores.stratum.eq('all') & scores.metric.eq('jsd')]
    assert (lost.n+lost.failed == 5).all() and sorted(set(lost.failed)) == [0, 1]  # one call failed, and is told


def test_no_key_is_in_any_file(served):
    root = served[0]
    forms = [KEY, quote(KEY, safe=''), base64.b64encode(KEY.encode()).decode(), KEY.replace('/', '\\/')]
    files = [o for o in (root/'results').rglob('*') if o.is_file()]
    assert any('recordings' in o.parts for o in files) and len(files) > 10
    for o in files:
        data = o.read_bytes()
        assert not any(form.encode() in data for form in forms), o
    assert not any(form in text for form in forms for _, text in served[1:])
