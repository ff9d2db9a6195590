"""A study from end to end: killed and resumed, renamed, started with wrong input; and the same stored answers, read
otherwise: judged by another model or side by side, with both prompts, calibrated."""
import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pandas as pd
import psutil
import pytest
from in_one import execute
from waiting import PATIENCE, until

from ambiscale_nb import core
from ambiscale_nb.core import ROOT, InputError
from ambiscale_nb.corpora.labels import label_set
from ambiscale_nb.sampling import store as pool
from ambiscale_nb.sampling.verify import VERDICTS
from ambiscale_nb.strategies.paper import with_verdicts
from ambiscale_nb.strategies.pool import STRATEGIES, predict
from ambiscale_nb.study import results
from ambiscale_nb.study.readings import verifier_of
from ambiscale_nb.study.results import Study, plain_scores
from ambiscale_nb.study.sample import plans_of
from ambiscale_nb.study.scoring import run_pools

PROJECT = ROOT
SAMPLE, SCORE = (PROJECT/'nbs/experiments'/o for o in ('01_sample.ipynb', '02_score.ipynb'))
SMALL = dict(study='small', model='tiny-alm-nano', limit=30, beam_limit=6, n=8, widths=[3])
SCORED = dict(study='small', ks=[1, 4, 8], workers=1)


def start(root, notebook, parameters, **env):
    "Execute a notebook in a process group of its own, writing under `root`."
    code = ("from ambiscale_nb.study.cli import run_notebook; "
            f"run_notebook({str(notebook)!r}, {str(root/'runs'/notebook.name)!r}, {parameters!r})")
    return subprocess.Popen([sys.executable, '-c', code], env=os.environ | {'AMBISCALE_ROOT': str(root)} | env,
                            start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def journalled(root): return sum(o.read_bytes().count(b'\n') for o in root.rglob('*.jsonl'))


def stored(root):
    "All candidates and verdicts, without what was measured."
    from ambiscale_nb.sampling.files import CANDIDATES, Store
    parts = {}
    for table in (CANDIDATES, VERDICTS):
        df = Store(root/'results'/'small').read(table)
        df = df[[c for c in df if not c.endswith('_measured')]]
        parts[table.name] = df.sort_values('key').reset_index(drop=True)
    return parts


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
    execute(root, (SAMPLE, SMALL), (SCORE, SCORED))
    return root


def test_a_killed_study_has_the_same_answers_tables_and_costs(whole, resumed):
    both = [stored(o) for o in (whole, resumed)]
    for name, df in both[0].items():
        assert len(df) > 100
        pd.testing.assert_frame_equal(df, both[1][name])
    a, b = (o/'results'/'small' for o in (whole, resumed))
    for table in ('scores', 'predictions', 'settings', 'refusals', 'marginals', 'bounds', 'claims'):
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
    assert set(scores.strategy) | set(refused.strategy) == set(STRATEGIES) | stopped and len(stopped) == 2
    assert refused.reason.ne('').all()
    plain = scores[scores.reading == 'plain']
    assert set(zip(plain['mode'], plain['style'], strict=True)) == {(m, s) for m in ('label', 'dist')
                                                       for s in ('direct', 'cot')}
    assert scores[['value', 'noise_floor', 'one_more_rater', 'prior', 'uniform', 'calls', 'unparsed']].notna().all().all()
    assert (scores.low.isna() == scores.reason.ne('')).all()
    jsd = scores[(scores.metric == 'jsd') & (scores.stratum == 'all') & (scores.decoding == 'sample') & (scores.reading == 'plain')]
    assert (jsd.noise_floor < jsd.value).all() and (jsd.value <= 1).all()


def test_running_again_samples_nothing(whole):
    def files(): return {o: o.stat().st_mtime_ns for t in ('candidates', 'verdicts')
                         for o in (whole/'results/small'/t).rglob('*.parquet')}
    before = files()
    execute(whole, (SAMPLE, SMALL))
    assert before == files() and not list((whole/'results').rglob('*.jsonl'))


def test_names_of_clips_change_no_answer(whole):
    "The model is given sound and prompt only: the same sound under other names answers the same."
    from ambiscale_nb.corpora.audio import load_wave, probe
    from ambiscale_nb.corpora.registry import audio_path, limit
    from ambiscale_nb.corpora.toyspeech import EMOTIONS
    from ambiscale_nb.models.contract import load_model
    from ambiscale_nb.models.prompts import prompt
    from ambiscale_nb.sampling.files import CANDIDATES, Store
    from ambiscale_nb.sampling.store import Draw, sample_pool
    some = limit(pd.read_parquet(whole/'results'/'small'/'utterances'/'toyspeech.parquet'), 30).head(5)
    names, folder = {uid: f'renamed-{i}' for i, uid in enumerate(some.uid)}, whole/'renamed'
    folder.mkdir(exist_ok=True)
    paths = {names[u]: shutil.copy(audio_path(p, 'toyspeech'), folder/f'{names[u]}.wav')
             for u, p in zip(some.uid, some.path, strict=True)}
    clips, _ = probe(some.assign(uid=some.uid.map(names), path=list(paths.values())), 3.)
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
    from ambiscale_nb.study.notebooks import run_notebook
    for wrong, told in ((dict(modle='x'), "Unknown parameter of 01_sample.ipynb 'modle'"),
                        (dict(model='tiny-alm-huge'), "Unknown model 'tiny-alm-huge'")):
        with pytest.raises(Exception, match='.') as e: run_notebook(SAMPLE, tmp_path/'x.ipynb', {**SMALL, **wrong})
        assert told in str(e.value) and not (tmp_path/'x.ipynb').exists()
    assert not list(tmp_path.rglob('plans/*'))


def test_the_shipped_studies_are_valid():
    from ambiscale_nb.study.config import read_study
    for path in (PROJECT/'conf').glob('*.yaml'):
        for o in read_study(path).figures: assert (PROJECT/'nbs/figures'/f'{o}.ipynb').exists(), o
    with pytest.raises(InputError, match='there are: conf|there are conf'): read_study(PROJECT/'conf/none.yaml')


# The same answers, read otherwise

ONE = SMALL | dict(modes=['label'])
SIX = label_set('six').labels


@pytest.fixture(scope='module')
def both(whole, tmp_path_factory):
    "Two models that judge each other; one has answered only half of the clips, the other's answers are those of `whole`."
    root = tmp_path_factory.mktemp('both')
    shutil.copytree(whole/'results', root/'results')
    judge = dict(listwise=2, listwise_limit=6)
    execute(root, (SAMPLE, ONE | judge), (SAMPLE, ONE | judge | dict(model='tiny-alm-tiny', limit=16)))
    before, sign = len(verdicts(root)), root/'results/small/plans/tiny-alm-tiny--toyspeech--none.json'
    sign.rename(sign.with_suffix('.off'))  # as if it judged the answers of the other model meanwhile
    execute(root, (SAMPLE, ONE | judge | dict(lists_of=['tiny-alm-tiny'])))  # when both have answered
    sign.with_suffix('.off').rename(sign)
    assert len(verdicts(root)) > before
    execute(root, (SCORE, SCORED))
    return root


def verdicts(root):
    "All verdicts of the study."
    return pool.Store(root/'results/small').read(VERDICTS)


@pytest.fixture
def study(both, monkeypatch):
    "The study of two models."
    for module in (core, pool, results): monkeypatch.setattr(module, 'RESULTS', both/'results', raising=False)
    return Study('small')


def is_pool(setting, reading='plain', verifier=None):
    "Whether a setting is that of samples under a reading."
    return (setting['decoding'] == 'sample' and setting['reading'] == reading
            and verifier in (None, setting['verifier']))


def table(root, name): return pd.read_parquet(root/'results/small'/f'{name}.parquet')


def test_plain_rows_do_not_change_when_another_model_joins(whole, both):
    "Nor when other modes were asked for."
    def of(root):
        df = plain_scores(table(root, 'scores'))
        df = df[(df.model=='tiny-alm-nano') & df['mode'].eq('label')].reset_index(drop=True)
        return df[[c for c in df if not c.endswith('_measured')]]
    pd.testing.assert_frame_equal(of(whole), of(both))


def test_columns_tell_readings_apart(both):
    "Each reading has rows of its own in scores and settings, at the full budget."
    scores, settings = table(both, 'scores'), table(both, 'settings')
    assert set(scores.reading) == {'plain', 'other verifier', 'both prompts', 'calibrated', 'side by side'}
    key, columns = ['model', 'corpus', 'condition', 'mode', 'style'], ['decoding', 'width', 'verifier', 'reading', 'calibration']
    assert not settings.duplicated([*key, *columns]).any()
    used, without = scores[scores.verifier.ne('')], [*key, *(o for o in columns if o!='verifier')]
    for rows, names in ((used, [*key, *columns]), (scores, without)):
        assert {*rows[names].itertuples(index=False)} <= {*settings[names].itertuples(index=False)}
    assert not scores.duplicated([*key, *columns, 'strategy', 'k', 'stratum', 'metric']).any()
    assert set(scores.decoding) == {'greedy', 'sample', 'score', 'beam'} and set(scores.width[scores.decoding.eq('beam')]) == {3}
    assert set(scores.calibration) == {'', 'temperature', 'prior', 'dirichlet'}
    judged = scores[scores.strategy.isin(['alm_v', 'w_alm_v'])]
    assert judged.verifier.str.startswith('tiny-alm').all() and scores.verifier[scores.strategy.eq('majority')].eq('').all()
    for name in ('predictions', 'costs', 'refusals'): assert set(columns) <= set(table(both, name))
    many = scores[scores.model=='tiny-alm-nano'].groupby(['reading', 'decoding', 'width', 'verifier', 'calibration', 'strategy', 'style']).k.nunique()
    assert (many.drop('plain') == 1).all() and many['plain'].max() == 3


def test_the_other_model_judges_as_by_hand(study):
    runs = {o['model']: o for o in study.runs()}
    heard = {m: verifier_of(study, o, SIX) for m, o in runs.items()}
    tiny, nano = 'tiny-alm-tiny', 'tiny-alm-nano'
    found, _ = run_pools(study, runs[tiny], tuple(heard.values()), set(runs))
    (made, how, _, _), = [o for o in found if is_pool(o[1], 'other verifier', nano) and o[0].style == 'cot']
    assert how['role'] == 'cross' and how['verifier'] == nano
    own = next(o[0] for o in found if is_pool(o[1]) and o[0].style == 'cot')
    view = heard[nano].verdicts.loc[own.uids].to_numpy()
    want = predict('w_alm_v', with_verdicts(own, view, verifier=nano, role='cross')).dist
    np.testing.assert_array_equal(predict('w_alm_v', made).dist, want)
    said = study.read('predictions')
    said = said[said.reading.eq(how['reading']) & said.verifier.eq(nano) & said.decoding.eq('sample') & said.strategy.eq('w_alm_v') & said['style'].eq('cot')]
    np.testing.assert_allclose(np.stack(said.set_index('uid').dist[list(own.uids)]), want)


def test_who_has_not_judged_every_clip_is_refused_and_who_has_costs_calls(both):
    refused, scores = table(both, 'refusals'), table(both, 'scores')
    by_tiny = dict(decoding='sample', reading='other verifier', verifier='tiny-alm-tiny')
    why = refused[refused[[*by_tiny]].eq(pd.Series(by_tiny)).all(axis=1)]
    assert set(why.reason) == {'tiny-alm-tiny judged all but 14 of 30 clips'}
    assert {'alm_v', 'w_alm_v'} <= set(why.strategy)
    assert not scores[[*by_tiny]].eq(pd.Series(by_tiny)).all(axis=1).any()
    costs = table(both, 'costs').query("model=='tiny-alm-tiny' and strategy=='w_alm_v' and k==8 and style=='cot' and "
                                    "decoding=='sample'")
    calls = costs.set_index(['reading', 'verifier']).calls
    assert calls['other verifier', 'tiny-alm-nano'] == calls['plain', 'tiny-alm-tiny'] > 1


def test_joined_prompts_are_the_mean_of_their_halves(study):
    said = study.read('predictions')
    run = next(o for o in study.runs() if o['model'] == 'tiny-alm-nano')
    found, _ = run_pools(study, run)
    parts = [o[0] for o in found if is_pool(o[1]) and o[0].style in ('cot', 'direct')]
    half = parts[0].n//2
    share = [(p.dist[:, :half].sum(1), p.parsed[:, :half].sum(1)) for p in parts]
    want = np.mean([s/np.maximum(n, 1)[:, None] for s, n in share], 0)
    use = np.all([n > 0 for _, n in share], 0)
    one = said[said.model.eq('tiny-alm-nano') & said.strategy.eq('prompt_ensemble')].set_index('uid')
    assert (one['style'] == 'both').all() and use.sum() > 20
    np.testing.assert_allclose(np.stack(one.dist[list(parts[0].uids)])[use], want[use])


def test_whoever_saw_the_lists_of_another_model_judges_its_pools(both):
    rows = verdicts(both)
    listed = rows[rows.verifier.eq('listwise')]
    assert set(listed.model) == {'tiny-alm-nano', 'tiny-alm-tiny'} and not listed.duplicated(['key']).any()
    scores = table(both, 'scores')
    side = scores[scores.reading.eq('side by side')]
    by = side[side.decoding.eq('sample') & side.verifier.ne('')].groupby(['model', 'verifier']).n.max()
    assert by['tiny-alm-tiny', 'tiny-alm-nano'] > 0
    assert ('tiny-alm-nano', 'tiny-alm-tiny') not in by  # it was not asked to
    settings = table(both, 'settings')
    roles = settings[settings.reading.eq('side by side')].groupby(['model', 'verifier']).role.first()
    assert roles.to_dict() == {('tiny-alm-nano', 'tiny-alm-nano'): 'self', ('tiny-alm-tiny', 'tiny-alm-tiny'): 'self',
                               ('tiny-alm-tiny', 'tiny-alm-nano'): 'cross'}


def test_verdicts_side_by_side_of_another_model_are_those_it_gave(study):
    runs = {o['model']: o for o in study.runs()}
    heard = [verifier_of(study, o, SIX) for o in runs.values()]
    found, refused = run_pools(study, runs['tiny-alm-tiny'], heard, set(runs))
    judged = next(o[0] for o in found if is_pool(o[1], 'side by side', 'tiny-alm-nano'))
    given = next(o for o in heard if o.model == 'tiny-alm-nano').listed
    u = int(np.argmax((judged.dist > 0).any(1).sum(1)))
    names = {o for o, on in zip(SIX, (judged.dist[u] > 0).any(0), strict=True) if on}
    mine = given[given.uid.eq(judged.uids[u])].groupby('group').filter(lambda g: set(g.label) == names)
    want = mine.groupby('label').score.mean()
    assert len(want) > 1 and mine['repeat'].nunique() == 2
    got = judged.label_verdict[u]
    np.testing.assert_allclose([got[SIX.index(o)] for o in want.index], want.to_numpy())
    assert not any(o['reading'] == 'side by side' for o in refused)


def test_who_has_not_answered_all_is_not_judged(study):
    plan = study.read('plans', 'tiny-alm-tiny--toyspeech--none')
    assert len(plans_of(study, ['tiny-alm-tiny'], 'tiny-alm-nano', 'toyspeech', 2)[0]) == len(plan)
    study.write(plan.assign(group=plan.group+'x'), 'plans', 'late--toyspeech--none')
    for models, told in ((['late'], 'late has still [0-9]+ calls to make'), (['nobody'], 'No plans/nobody'),
                         (['tiny-alm-nano'], 'name other models than tiny-alm-nano')):
        with pytest.raises(InputError, match=told): plans_of(study, models, 'tiny-alm-nano', 'toyspeech', 2)
