"""A study by the command: stopped by a limit and continued, in parts, and the same as a plain papermill loop."""
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml

from ambiscale_nb.core import ROOT

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


@pytest.mark.parametrize('table', ['scores', 'predictions', 'settings', 'refusals', 'marginals'])
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
