"""What one run of a study may say for itself: styles, temperature, seed, n and a name, so that one model runs several times."""
import json

import pandas as pd
import pytest
import yaml
from in_one import execute
from test_study import SCORE

from ambiscale_nb.core import InputError, ROOT
from ambiscale_nb.models.prompts import STYLES
from ambiscale_nb.study.config import read_study, run_name, run_parameters
from ambiscale_nb.study.plans import estimate_study
from ambiscale_nb.study.run import study_tasks

STUDY = dict(name='two', n=4, temperature=1., seed=0, limit=6, ks=[1, 2, 4], runs=[
    dict(model='tiny-alm-nano', alias='hot', temperature=1.5, styles=['direct'], verify=False),
    dict(model='tiny-alm-nano', alias='late', seed=3, n=2, styles=['cot'], modes=['label'], verify=False),
    dict(model='tiny-alm-nano', modes=['label'], verify=False)])
WANT = {'hot': (1.5, 0, 4, {'direct'}), 'late': (1., 3, 2, {'cot'}), 'tiny-alm-nano': (1., 0, 4, {'direct', 'cot'})}

def read(folder, **more):
    (folder/'study.yaml').write_text(yaml.safe_dump(STUDY | more))
    return read_study(folder/'study.yaml')

@pytest.fixture(scope='module')
def study(tmp_path_factory):
    root = tmp_path_factory.mktemp('two')
    config = read(root)
    figures = [(ROOT/f'nbs/figures/{o}.ipynb', dict(study='two', out='figures')) for o in ('fig1_budget', 'fig6_pareto', 'claims')]
    execute(root, *[(notebook, told) for notebook, _, told in study_tasks(config)],
            (SCORE, dict(study='two', ks=config.ks, progress=False)), *figures)
    return config, root/'results/two'

def test_each_run_is_asked_what_it_says(study):
    config, root = study
    for run in config.runs:
        temperature, seed, n, styles = WANT[run.alias or run.model]
        plan = pd.read_parquet(root/f'plans/{run_name(run)}.parquet')
        drawn = plan[plan.decode.eq('sample')]
        assert set(drawn.temperature) == {temperature} and set(drawn.run_seed) == {seed} and set(drawn['style']) == styles
        assert set(drawn.groupby(['uid', 'prompt_id']).block_size.sum()) == {n} and set(plan['mode']) == set(run.modes)
        assert set(plan.model) == {run.alias or run.model}
        assert json.loads((root/f'plans/{run_name(run)}.json').read_text())['styles'] == run.styles

def test_results_tell_the_runs_apart(study):
    _, root = study
    settings, scores = (pd.read_parquet(root/f'{o}.parquet') for o in ('settings', 'scores'))
    sampled = settings[settings.decoding.eq('sample') & settings.reading.eq('plain')]
    for i, o in enumerate(('temperature', 'seed')):
        assert sampled.groupby('model')[o].agg(set).to_dict() == {k: {v[i]} for k, v in WANT.items()}
    plain = scores[scores.decoding.eq('sample') & scores.reading.eq('plain')]
    assert plain.groupby('model').k.max().to_dict() == {k: v[2] for k, v in WANT.items()}
    assert set(scores.model) == set(WANT) and scores.value.notna().any()

def test_a_name_tells_two_runs_of_one_model_apart(tmp_path):
    twice = [dict(model='tiny-alm-nano', alias='hot'), dict(model='tiny-alm-nano', temperature=.5, alias='hot')]
    with pytest.raises(InputError, match='are both hot--toyspeech--none'): study_tasks(read(tmp_path, runs=twice))
    assert len(study_tasks(read(tmp_path, runs=[twice[0], twice[1] | dict(alias='cold')]))) == 2

@pytest.mark.parametrize(('field', 'match'), [
    (dict(styles=['cott']), "runs.0..styles: Unknown style 'cott'. Did you mean 'cot'"), (dict(styles=[]), 'styles'),
    (dict(temperature=0), 'temperature'), (dict(seed=1.5), 'seed'), (dict(n=-1), r'runs.0..n'), (dict(alias=7), 'alias')])
def test_a_wrong_value_is_refused_with_its_place(tmp_path, field, match):
    with pytest.raises(InputError, match=match): read(tmp_path, runs=[dict(model='tiny-alm-nano') | field])

def test_what_a_run_does_not_say_comes_from_the_study_and_its_styles_are_counted(tmp_path):
    study = read(tmp_path, temperature=.7, seed=5, n=8, runs=[dict(model='tiny-alm-nano'), STUDY['runs'][1]])
    plain, own = ([run_parameters(study, o)[k] for k in ('temperature', 'seed', 'n', 'styles', 'alias')] for o in study.runs)
    assert plain == [.7, 5, 8, list(STYLES), ''] and own == [.7, 3, 2, ['cot'], 'late']
    def calls(**more):
        runs = [dict(model='tiny-alm-nano', verify=False) | more]
        return estimate_study(read(tmp_path, name='nothing', runs=runs))[0].calls.sum()
    assert 2*calls(styles=['direct'], score=False) == 2*calls(styles=['cot'], score=False) == calls(score=False)

@pytest.mark.parametrize('condition', ['swap', 'transcript', 'silence'])
def test_answers_under_another_condition_are_not_judged_since_a_judge_hears_the_clip(tmp_path, condition):
    "A server of text alone refused these calls; a model that hears would have brought the sound into strategies on words."
    study = read(tmp_path, runs=[dict(model='tiny-alm-nano'), dict(model='tiny-alm-nano', condition=condition)])
    assert [run_parameters(study, o)['verify'] for o in study.runs] == [True, False]
    asked = estimate_study(read(tmp_path, name='nothing', runs=[dict(model='tiny-alm-nano', condition=condition)]))[0]
    assert {*asked['mode']} == {'label', 'dist'}
