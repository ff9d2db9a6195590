"""What cannot be scored is refused with its reason and stops nothing else: strategies of one's own that fail in every way,
verdicts that cannot be read, corpora without a stratum, plans that are broken; nothing old passes for new."""
import json
import os
import shutil
from dataclasses import replace
from importlib import import_module

import numpy as np
import pandas as pd
import pytest

from ambiscale_nb.study import results, run as studies
from ambiscale_nb.strategies import pool as strategies
from ambiscale_nb.core import ROOT, InputError, rng_of
from ambiscale_nb.study.notebooks import stamp_for, stamp_of
from ambiscale_nb.study.figures import plain_rows
from ambiscale_nb import label_set, pool_of, strategy
from ambiscale_nb.study.report import call_table, failures_page, refused_cells
from ambiscale_nb.study.readings import Verifier
from ambiscale_nb.study.imports import import_file
from ambiscale_nb.study.results import FAILED, Study, outdate, replacing, summary, unscored, unscored_text
from ambiscale_nb.study.scoring import pool_tables, score_study
from ambiscale_nb.study.truth import truth_of
from ambiscale_nb.strategies.paper import majority
from ambiscale_nb.study.config import StudyConfig
from ambiscale_nb.study.run import forget_plans, run_tasks

FOUR = label_set('four').labels
SETTING = dict(model='m', corpus='c', condition='none', mode='label', style='direct', decoding='sample', width=0, reading='plain',
               calibration='', wording='0', label_set='four', votes='rater', failed=0, verifier='m', role='self', prompt='p')

def utterances(p, rng, n=10):
    votes = pd.DataFrame(rng.multinomial(n, p), columns=[f'votes_{o}' for o in FOUR]).astype(float)
    return votes.assign(corpus='c', uid=[f'u{i}' for i in range(len(p))], speaker=[f's{i%6}' for i in range(len(p))],
                        path='nowhere.wav', n_raters=float(n), ambiguity_source='votes', flags='')

@pytest.fixture(scope='module')
def made():
    "Twenty-four clips of six speakers with four answers each, and the votes on them."
    rng = rng_of('totality')
    p = rng.dirichlet(np.full(4, .6), 24)
    said = [[FOUR[rng.choice(4, p=o)] for _ in range(4)] for o in p]
    pool = pool_of(said, FOUR, uids=[f'u{i}' for i in range(24)], n_tokens=np.full((24, 4), 2.),
                   sum_logprob=-rng.gamma(2., 1., (24, 4)), text_id=np.tile(np.arange(4), (24, 1)))
    return pool, truth_of(utterances(p, rng), None, label_set('four'))

def tables(pool, truth, heard=None): return pool_tables(pool, SETTING, truth, None, (1, 2, 4), (), heard)

@pytest.fixture
def registry(monkeypatch):
    monkeypatch.setattr(strategies, 'STRATEGIES', strategies.STRATEGIES.copy())
    for module in ('study.scores', 'study.readings', 'study.scoring', 'strategies.budget', 'strategies.calibration',
                   'strategies.adaptive', 'strategies.beyond', 'strategies.costs'):
        found = import_module(f'ambiscale_nb.{module}')
        if hasattr(found, 'STRATEGIES'): monkeypatch.setattr(found, 'STRATEGIES', strategies.STRATEGIES)

class Mute(Exception):
    def __str__(self): raise RuntimeError('no message either')

def fails(e):
    def rule(pool): raise e
    return rule

def changed(**how):
    "The majority vote with fields that are changed."
    def rule(pool):
        p = majority(pool)
        return replace(p, **{k: change(getattr(p, k)) for k, change in how.items()})
    return rule

WRONG = {
    'value': (fails(ValueError('no\nway \x07 out')), 'ValueError: no way out'),
    'key': (fails(KeyError('mood')), "KeyError: 'mood'"),
    'memory': (fails(MemoryError()), 'MemoryError: no message'),
    'mute': (fails(Mute()), 'Mute: no message'), 'long': (fails(ValueError('a\n\tb\x1b[31m'+'x'*9000)), 'ValueError: a b [31mxxx'),
    'own': (fails(InputError('two moods are needed')), 'two moods are needed'),
    'division': (lambda pool: 1/0, 'ZeroDivisionError: division by zero'),
    'nan': (changed(dist=lambda o: o*np.nan), 'is not finite, first for clip'),
    'inf': (changed(dist=lambda o: o+np.inf), 'is not finite, first for clip'),
    'shape': (changed(dist=lambda o: o[..., :3]), 'has shape (..., 24, 3), not'),
    'clips': (changed(L=lambda o: o[..., 1:, :]), '`L` of the strategy'),
    'negative': (changed(dist=lambda o: o+np.array([-2, 2, 0, 0])), 'is negative'),
    'zero': (changed(dist=lambda o: o*0), 'sums to 0, not 1'),
    'half': (changed(dist=lambda o: o/2), 'sums to 0.5, not 1'),
    'credit': (changed(L=lambda o: o*2), 'sums to 2, not 1'),
    'counts': (changed(ess=lambda o: o*np.nan), '`ess` of the strategy'),
    'array': (lambda pool: pool.dist.mean(-2), 'returned ndarray, not a Prediction'),
    'none': (lambda pool: None, 'returned NoneType, not a Prediction')}

def test_strategies_that_fail_are_refused_alone(made, registry):
    before = tables(*made)
    for name, (rule, _) in WRONG.items():
        rule.__name__ = rule.__qualname__ = f'my_{name}'
        strategy()(rule)
    after = tables(*made)
    for o in ('scores', 'predictions', 'bounds', 'costs'):
        assert not after[o].strategy.str.startswith('my_').any()
        pd.testing.assert_frame_equal(before[o].reset_index(drop=True), after[o].reset_index(drop=True))
    for name, (_, why) in WRONG.items():
        mine = after['refusals'][after['refusals'].strategy.eq(f'my_{name}')]
        assert set(mine.kind)=={FAILED} and mine.reason.str.contains(why, regex=False).any(), (name, mine.reason.tolist())
        assert not mine.reason.str.contains(r'[\n\x00-\x1f]').any() and mine.reason.str.len().max()<600, name

def test_a_budget_or_a_score_that_fails_is_refused_alone(made, registry):
    "A strategy that needs two answers has no score at k = 1, and those of the majority elsewhere."
    def two(pool):
        if pool.n<2: raise RuntimeError('two answers are needed')
        return majority(pool)
    def likeliest(pool): return majority(pool)
    strategy(exact='')(two)
    strategy(exact='select', score=lambda pool: pool.parsed[..., :1]*1.)(likeliest)
    found = tables(*made)
    own, vote = (found['scores'].query(f"strategy=='{o}' and reading=='plain'") for o in ('two', 'majority'))
    jsd = [o.query("metric=='jsd' and stratum=='all'").set_index('k').value for o in (own, vote)]
    assert set(own.k)=={2, 4} and jsd[0][4]==pytest.approx(jsd[1][4]) and jsd[0][2]==pytest.approx(jsd[1][2], abs=.02)
    reasons = found['refusals'].groupby('strategy').reason.agg(list)
    assert reasons['two']==['at k = 1: RuntimeError: two answers are needed'] and 'two' in set(found['predictions'].strategy)
    assert any('score has shape (24, 1), not (24, 4)' in o for o in reasons['likeliest'])

def test_verdicts_that_cannot_be_read_refuse_what_needs_them(made):
    pool, truth = made
    nothing = pd.DataFrame(np.nan, pool.uids, list(FOUR))
    found = tables(replace(pool, label_verdict=nothing.to_numpy()), truth, Verifier('m', 'c', nothing, None))
    lost = found['refusals'].query("kind==@FAILED")
    assert {'alm_v', 'w_alm_v'}<=set(lost.strategy) and lost.reason.eq(
        'm judged 96 labels of clips, and none of its verdicts can be read').all()
    assert {'majority', 'mean', 'bon'}<=set(found['scores'].strategy)
    assert found['audits'].query("audit=='alone'").value.isna().all()

def test_a_model_that_nobody_can_read_is_scored_as_saying_nothing(made):
    pool, truth = made
    silent = pool_of([[None]*4]*24, FOUR, uids=pool.uids)
    scores = tables(silent, truth)['scores']
    right = scores.query("strategy=='majority' and stratum=='all' and reading=='plain'")
    assert right[right.metric.eq('accuracy')].value.eq(0).all() and right.unparsed.eq(1).all()

@pytest.mark.parametrize('empty', ['clear', 'ambiguous'])
def test_an_empty_stratum_stops_nothing(made, empty):
    pool, rng = made[0], rng_of('empty stratum')
    p = np.eye(4)[rng.integers(4, size=24)] if empty=='ambiguous' else np.full((24, 4), .25)
    votes = utterances(p, rng)
    if empty=='clear': votes = votes.assign(**{f'votes_{o}': 2.+(i<2) for i, o in enumerate(FOUR)})
    found = tables(pool, truth_of(votes, None, label_set('four')))
    jsd = found['scores'].query("strategy=='majority' and metric=='jsd' and k==4 and reading=='plain'").set_index('stratum')
    assert np.isfinite(jsd.value['all']) and np.isnan(jsd.value[empty]) and jsd.n[empty]==0 and jsd.reason[empty]

# --- whole studies -----------------------------------------------------------------------------------------------------
def score(study, *ks): score_study(study, ks, progress=False)

@pytest.fixture(scope='module')
def imported(tmp_path_factory):
    "The folder of a study of one import, scored at one answer and, as sixteen are more than there are, at nine."
    root, rng = tmp_path_factory.mktemp('imported'), rng_of('an import')
    votes = utterances(rng.dirichlet(np.full(4, .6), 24), rng)
    votes[['uid', 'speaker', *(f'votes_{o}' for o in FOUR)]].to_csv(root/'votes.csv', index=False)
    lines = [dict(uid=u, label=FOUR[rng.integers(4)], logprob=-1., sample=i) for u in votes.uid for i in range(9)]
    pd.DataFrame(lines).to_csv(root/'said.csv', index=False)
    with pytest.MonkeyPatch.context() as m:
        m.setattr(results, 'RESULTS', root)
        import_file(root/'said.csv', 'theirs', str(root/'votes.csv'), labels='four', model='they')
        score(Study('theirs'), 1, 2, 4, 8, 16)
    return root/'theirs'

@pytest.fixture
def study(imported, tmp_path, monkeypatch):
    "A copy of this study."
    shutil.copytree(imported, tmp_path/'theirs')
    monkeypatch.setattr(results, 'RESULTS', tmp_path)
    return Study('theirs')

def test_an_import_is_scored_at_its_own_number_and_what_counts_tokens_is_refused(study):
    scores, lost = plain_rows(study.read('scores')), unscored(study)
    assert set(scores[scores.strategy.eq('majority')].k)=={1, 2, 4, 8, 9} and 'mean' in set(scores.strategy)
    assert lost.strategies.str.contains('bon').any() and lost.reason.str.contains('n_tokens').any()
    page = failures_page(study, call_table(study))
    assert 'they on votes' in unscored_text(study) and 'Cells that could not be scored' in page and 'n_tokens' in page
    assert not any('n_tokens' in o for o in refused_cells(study).values())

def test_runs_that_cannot_be_read_stop_no_other(study):
    "One has no plan, the other no corpus."
    before, run = study.read('scores'), json.loads((study.root/'plans/they--votes--none.json').read_text())
    for model, more in (('lost', {}), ('nowhere', dict(corpus='gone'))):
        (study.root/f'plans/{model}--votes--none.json').write_text(json.dumps(run | dict(model=model) | more))
    score(study, 1, 2, 4, 8, 16)
    pd.testing.assert_frame_equal(study.read('scores'), before)
    lost = unscored(study).set_index('model').strategies
    assert lost['lost']==lost['nowhere']=='all strategies'

def test_where_nothing_can_be_scored_the_tables_say_so(study):
    assert 'scores.parquet' in outdate(study) and not list(study.root.glob('*.parquet')) and outdate(study)=={}
    (study.root/'plans/they--votes--none.parquet').unlink()
    score(study, 9)
    scores = study.read('scores')
    assert scores.empty and {'model', 'metric', 'value'}<=set(scores) and summary(scores).empty
    assert unscored(study).cells.sum()==1

def test_nothing_old_passes_for_new(study):
    picture = study.root/'figures/fig1_budget.png'
    picture.parent.mkdir(), picture.write_text('drawn of these scores')
    score(study, 1, 2, 4, 8, 16)
    assert picture.exists() and not (study.root/'outdated').exists()  # the same scores
    score(study, 9)
    assert not picture.exists() and (study.root/'outdated/figures/fig1_budget.png').exists()
    assert set(study.read('scores').k)=={9} and not list((study.root/'outdated').glob('*.parquet'))
    study.write(pd.DataFrame(dict(claim=['1a'])), 'claims')
    with pytest.raises(KeyboardInterrupt), replacing(study): raise KeyboardInterrupt
    with pytest.raises(InputError, match='No scores in study'): study.read('scores')
    assert not study.table('claims').exists() and (study.root/'outdated/claims.parquet').exists()

# --- a study by its file -------------------------------------------------------------------------------------------------
@pytest.fixture
def config(tmp_path, monkeypatch):
    "A study of two runs by its file, and its folder; its notebooks do nothing but write scores."
    monkeypatch.setattr(results, 'RESULTS', tmp_path/'results')
    monkeypatch.setattr(studies, 'ROOT', tmp_path)
    (tmp_path/'nbs').symlink_to(ROOT/'nbs')
    here = tmp_path/'results/s'
    for run in ('tiny-alm-nano', 'tiny-alm-tiny'):
        path = here/f'plans/{run}--toyspeech--none.json'
        path.parent.mkdir(parents=True, exist_ok=True), path.write_text('{}')
    (here/'figures').mkdir()
    return StudyConfig(name='s', figures=['fig1_budget', 'fig6_pareto'],
                       runs=[dict(model='tiny-alm-nano'), dict(model='tiny-alm-tiny')]), here

def finished(config, run):
    "Note that a run was finished as the study has it."
    _, target, parameters = run_tasks(config, run, studies.run_name(run), lists_of=[])[0]
    target.parent.mkdir(exist_ok=True), target.write_text('{}')
    stamp_of(target).write_text(json.dumps(stamp_for(ROOT/'nbs/experiments/01_sample.ipynb', parameters)))

def test_a_run_that_is_to_be_made_anew_is_not_scored_as_it_was(config):
    study, here = config
    finished(study, study.runs[0])
    forget_plans(study)
    assert [o.name for o in here.glob('plans/*.json')]==['tiny-alm-nano--toyspeech--none.json']
    forget_plans(study.model_copy(update=dict(n=99)))  # none was finished like that
    assert not list(here.glob('plans/*.json'))

def test_where_no_run_is_left_no_table_is(config):
    study, here = config
    for o in here.glob('plans/*.json'): o.unlink()
    (here/'figures/fig1_budget.png').write_text('of before')
    Study('s').write(pd.DataFrame(dict(value=[1.])), 'scores')
    assert studies.score_and_draw(study, False)==[]
    assert not (here/'scores.parquet').exists() and not (here/'figures').exists()
    assert (here/'outdated/scores.parquet').exists() and (here/'outdated/figures/fig1_budget.png').exists()

def test_a_picture_that_cannot_be_drawn_again_is_not_left_among_new_ones(config, monkeypatch):
    study, here = config
    for o in ('fig1_budget', 'fig6_pareto'): (here/f'figures/{o}.png').write_text('of before')

    def notebook(source, target, parameters, **how): Study('s').write(pd.DataFrame(dict(value=[2.])), 'scores')
    def drawing(config, out, progress):
        (here/'figures').mkdir(exist_ok=True)
        os.utime(here/'scores.parquet', (1e9, 1e9))
        (here/'figures/fig1_budget.png').write_text('new')
        return [('fig6_pareto', 'no answers')]
    monkeypatch.setattr(studies, 'run_notebook', notebook)
    monkeypatch.setattr(studies, 'draw_all', drawing)
    os.utime(here/'figures/fig6_pareto.png', (1e8, 1e8))
    assert studies.score_and_draw(study)==[('fig6_pareto', 'no answers')]
    assert [o.name for o in (here/'figures').iterdir()]==['fig1_budget.png'] and (here/'outdated/fig6_pareto.png').exists()
