"""A study from end to end: killed and resumed, renamed, and started with wrong input."""
import os
import shutil
import signal
import subprocess
import sys

import pandas as pd
import psutil
import pytest
from in_one import execute
from waiting import PATIENCE, until

from ambiscale_nb import load_model, prompt
from ambiscale_nb.core import ROOT, InputError
from ambiscale_nb.corpora.audio import load_wave, probe
from ambiscale_nb.corpora.registry import audio_path, limit
from ambiscale_nb.corpora.toyspeech import EMOTIONS
from ambiscale_nb.sampling.files import CANDIDATES, Store
from ambiscale_nb.sampling.store import Draw, sample_pool
from ambiscale_nb.sampling.verify import VERDICTS
from ambiscale_nb.strategies.pool import STRATEGIES
from ambiscale_nb.study import scoring  # noqa: F401 (registers every strategy)
from ambiscale_nb.study.config import read_study
from ambiscale_nb.study.notebooks import run_notebook

SAMPLE, SCORE = (ROOT/'nbs/experiments'/o for o in ('01_sample.ipynb', '02_score.ipynb'))
SMALL = dict(study='small', model='tiny-alm-nano', limit=30, beam_limit=6, n=8, widths=[3])
SCORED = dict(study='small', ks=[1, 4, 8], workers=1)

def start(root, notebook, parameters, **env):
    "Execute a notebook in a process group of its own, writing under `root`."
    target = root/'runs'/notebook.name
    code = f'from ambiscale_nb.study.cli import run_notebook; run_notebook({str(notebook)!r}, {str(target)!r}, {parameters!r})'
    return subprocess.Popen([sys.executable, '-c', code], env=os.environ | {'AMBISCALE_ROOT': str(root)} | env,
                            start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

def finish(root, notebook, parameters):
    process = start(root, notebook, parameters)
    said = process.communicate(timeout=PATIENCE)[0].decode()
    assert process.returncode == 0, said[-3000:]

def journalled(root): return sum(o.read_bytes().count(b'\n') for o in root.rglob('*.jsonl'))

def stored(root):
    "All candidates and verdicts, without what was measured."
    def read(table):
        df = Store(root/'results/small').read(table)
        return df[[c for c in df if not c.endswith('_measured')]].sort_values('key', ignore_index=True)
    return {o.name: read(o) for o in (CANDIDATES, VERDICTS)}

@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    "The small study, never interrupted."
    root = tmp_path_factory.mktemp('whole')
    execute(root, (SAMPLE, SMALL), (SCORE, SCORED))
    return root

@pytest.fixture(scope='module')
def resumed(tmp_path_factory):
    "The same study, killed with SIGKILL in the middle of sampling, then started again."
    root = tmp_path_factory.mktemp('resumed')
    process = start(root, SAMPLE, SMALL, AMBISCALE_TEST_HOLD='60')
    until(lambda: journalled(root) == 60, 'nothing was sampled', process)
    family = psutil.Process(process.pid).children(recursive=True)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not psutil.wait_procs(family, timeout=PATIENCE)[1]  # a kernel outlives its parent for a moment
    assert journalled(root) == 60 and not list((root/'results'/'small').glob('plans/*.json'))
    finish(root, SAMPLE, SMALL)
    finish(root, SCORE, SCORED)
    return root

def test_a_killed_study_has_the_same_answers_tables_and_costs(whole, resumed):
    both = [stored(o) for o in (whole, resumed)]
    for name, df in both[0].items():
        assert len(df) > 100
        pd.testing.assert_frame_equal(df, both[1][name])
    a, b = (o/'results'/'small' for o in (whole, resumed))
    for table in ('scores', 'predictions', 'settings', 'refusals', 'bounds', 'claims'):
        assert (a/f'{table}.parquet').read_bytes() == (b/f'{table}.parquet').read_bytes(), table
    a, b = (pd.read_parquet(o/'costs.parquet') for o in (a, b))
    told = [c for c in a if not c.endswith('_measured')]
    pd.testing.assert_frame_equal(a[told], b[told])
    sampled = a[a.decoding.eq('sample') & a.reading.eq('plain') & a.strategy.eq('majority') & a.k.eq(8)]
    assert sampled[['answers', 'calls', 'in_tokens', 'audio_seconds', 'out_tokens']].notna().all().all()
    assert sampled.answers.eq(8).all() and sampled.calls.eq(1).all() and sampled.unknown.str.contains('usd').all()

def test_every_cell_has_its_floor_and_one_more_rater(whole):
    scores, refused = (pd.read_parquet(whole/'results'/'small'/f'{o}.parquet') for o in ('scores', 'refusals'))
    assert set(scores.strategy) >= {'greedy', 'majority', 'mean', 'bon', 'w_bon', 'alm_v', 'w_alm_v',
                                    'label_logprob', 'verifier_alone'}
    stopped = {o for o in scores.strategy if o.startswith('adaptive_')}
    assert set(scores.strategy) | set(refused.strategy) == {*STRATEGIES, 'acoustic probe'} | stopped and len(stopped) == 2
    assert refused.reason.ne('').all()
    plain = scores[scores.reading == 'plain']
    assert set(zip(plain['mode'], plain['style'], strict=True)) == {(m, s) for m in ('label', 'dist') for s in ('direct', 'cot')}
    assert scores[['value', 'noise_floor', 'one_more_rater', 'prior', 'uniform', 'calls', 'unparsed']].notna().all().all()
    assert (scores.low.isna() == scores.reason.ne('')).all()
    jsd = scores[(scores.metric == 'jsd') & (scores.stratum == 'all') & (scores.decoding == 'sample') & (scores.reading == 'plain')]
    assert (jsd.noise_floor < jsd.value).all() and (jsd.value <= 1).all()

def test_names_of_clips_change_no_answer(whole):
    "The model is given sound and prompt only: the same sound under other names answers the same."
    some = limit(pd.read_parquet(whole/'results'/'small'/'utterances'/'toyspeech.parquet'), 30).head(5)
    (whole/'renamed').mkdir()
    paths = {f'renamed-{i}': shutil.copy(audio_path(o, 'toyspeech'), whole/f'renamed/{i}.wav') for i, o in enumerate(some.path)}
    clips, _ = probe(some.assign(uid=[*paths], path=[*paths.values()]), 3.)
    store = Store(whole/'renamed-store')
    report = sample_pool(load_model('tiny-alm-nano'), clips, lambda o: load_wave(paths[o], 3.),
                         [prompt('label', 'cot', EMOTIONS)], Draw(8, 1.), store, progress=False)
    ours = store.read(CANDIDATES).set_index('key')
    theirs = stored(whole)['candidates'].set_index('key').loc[ours.index]
    assert report.failed == 0 and len(ours) == 5*(1+8)
    assert (ours.text == theirs.text).all() and (ours.uid != theirs.uid).all()

WRONG = [(dict(condition='swapped'), "Unknown condition 'swapped'"), (dict(n=-1), 'n: Input should be greater than or equal to 0, got -1'),
         (dict(root='/nowhere/at/all', corpus='toyspech'), "Unknown corpus 'toyspech'")]

def test_wrong_input_is_told_and_leaves_nothing(tmp_path, monkeypatch):
    found = execute(tmp_path, *((SAMPLE, SMALL | wrong) for wrong, _ in WRONG), stop=False)
    for said, (_, told) in zip(found, WRONG, strict=True): assert told in said
    monkeypatch.setenv('AMBISCALE_ROOT', str(tmp_path))
    for wrong, told in ((dict(modle='x'), "Unknown parameter of 01_sample.ipynb 'modle'"),
                        (dict(model='tiny-alm-huge'), "Unknown model 'tiny-alm-huge'")):
        with pytest.raises(Exception, match='.') as e: run_notebook(SAMPLE, tmp_path/'x.ipynb', {**SMALL, **wrong})
        assert told in str(e.value) and not (tmp_path/'x.ipynb').exists()
    assert not list(tmp_path.rglob('plans/*'))

def test_the_shipped_studies_are_valid():
    for path in (ROOT/'conf').glob('*.yaml'):
        for o in read_study(path).figures: assert (ROOT/'nbs/figures'/f'{o}.ipynb').exists(), o
    with pytest.raises(InputError, match='there are: conf|there are conf'): read_study(ROOT/'conf/none.yaml')
