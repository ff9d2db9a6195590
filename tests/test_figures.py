"""Figure notebooks on a small study that was sampled here: each is drawn, twice to the same bytes, from stored rows
alone; a study that lacks what a figure needs is told so."""
import json
import os
import subprocess
import sys

import pandas as pd
import pytest

from ambiscale_nb.core import ROOT

STEMS = sorted(o.stem for o in (ROOT/'nbs/figures').glob('*.ipynb') if o.stem.startswith('fig') or o.stem=='claims')
DRAW = """
import json, sys
import matplotlib
matplotlib.use('Agg')
for stem in sys.argv[2:]:
    space = {}
    for cell in json.load(open(ROOT_OF/f'{stem}.ipynb'))['cells']:
        if cell['cell_type']!='code': continue
        exec(''.join(cell['source']), space)
        if 'parameters' in cell['metadata'].get('tags', []): space.update(json.loads(sys.argv[1]))
"""
SMALL = """
import sys
from ambiscale_nb.fanout import run_notebook
from ambiscale_nb.core import RESULTS
source = sys.argv[1]
for model in ('tiny-alm-nano', 'tiny-alm-tiny'):
    run_notebook(source+'/01_sample.ipynb', RESULTS/'small/runs'/f'{model}.ipynb',
                 dict(study='small', model=model, limit=24, n=4, widths=[], beam_limit=0))
run_notebook(source+'/01_sample.ipynb', RESULTS/'small/runs'/'swap.ipynb', dict(study='small', model='tiny-alm-nano',
             limit=24, n=0, widths=[], score=False, verify=False, condition='swap', modes=['label']))
run_notebook(source+'/02_score.ipynb', RESULTS/'small/runs/02_score.ipynb', dict(study='small', ks=[1, 4]))
"""


def python(code, root, *args):
    "Run code in a process that writes under a folder."
    code = code.replace('ROOT_OF', f'__import__("pathlib").Path({str(ROOT/"nbs/figures")!r})')
    got = subprocess.run([sys.executable, '-c', code, *map(str, args)], text=True, capture_output=True,
                         env=os.environ|{'AMBISCALE_ROOT': str(root), 'MPLBACKEND': 'Agg'})
    assert got.returncode==0, got.stderr[-3000:]


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    "A study of two models with samples, verdicts and a run on swapped audio."
    root = tmp_path_factory.mktemp('figures')
    python(SMALL, root, ROOT/'nbs/experiments')
    python(DRAW, root, json.dumps(dict(study='small', out='a')), *STEMS)
    python(DRAW, root, json.dumps(dict(study='small', out='b')), *STEMS[::3])
    return root


@pytest.mark.parametrize('stem', STEMS)
def test_each_figure_is_drawn_from_stored_rows_and_twice_the_same(root, stem):
    out = {turn: {o.suffix: o.read_bytes() for o in (root/turn).glob(f'{stem}.*')} for turn in 'ab'}
    assert set(out['a'])=={'.pdf', '.svg', '.png', '.csv'}
    if stem in STEMS[::3]: assert out['a']==out['b'], 'the same rows gave another file'
    assert len(pd.read_csv(root/'a'/f'{stem}.csv'))>=2


def test_every_figure_of_a_study_has_its_notebook_and_its_data():
    drawn = {o.stem for o in (ROOT/'figures').glob('*.csv')}
    assert drawn<={*STEMS}
    assert {*STEMS}<=drawn, 'draw it: make figures'


@pytest.mark.parametrize('stem', ['fig5_gain', 'fig10_utterance'])
def test_a_model_that_is_not_there_is_told(root, stem):
    with pytest.raises(AssertionError, match='No model of this study|No run of'):
        python(DRAW, root, json.dumps(dict(study='small', out='c', model='nobody')), stem)
