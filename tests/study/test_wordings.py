"""Wordings share the samples of a question: their calls, pools, ensemble and variance in a small study; and questions
of one's own."""
import json

import numpy as np
import pandas as pd
import pytest
from in_one import execute
from test_study import SAMPLE, SCORE

from ambiscale_nb.core import InputError
from ambiscale_nb.corpora.labels import label_set
from ambiscale_nb.models.contract import MODELS
from ambiscale_nb.models.prompts import MODES, OURS, STYLES, prompt, prompt_set
from ambiscale_nb.sampling.files import CANDIDATES, Store, group_key
from ambiscale_nb.sampling.estimate import stand_in
from ambiscale_nb.sampling.store import answers
from ambiscale_nb.study.config import read_study
from ambiscale_nb.study.plans import plans_for
from ambiscale_nb.study.readings import below_wording

SIX = label_set('six').labels
ONE = dict(study='worded', model='tiny-alm-nano', limit=30, n=13, wordings=3, widths=[], styles=['direct'])
STEM = 'tiny-alm-nano--toyspeech--none'

@pytest.fixture(scope='module')
def worded(tmp_path_factory):
    "One model, three wordings, 13 samples: 5, 4 and 4."
    root = tmp_path_factory.mktemp('worded')
    execute(root, (SAMPLE, ONE), (SCORE, dict(study='worded', ks=[1, 2, 4], workers=1)))
    return root/'results/worded'

def test_texts_of_the_first_wording_are_those_of_old_stores():
    "A changed comma would be a new prompt, so nothing stored before would be found again."
    shas = {(m, s): prompt(m, s, SIX).sha for m in MODES for s in STYLES}
    assert shas == {('label', 'direct'): '0f013405b73ab79c062bba997b57e300', ('label', 'cot'): '495a9c9d2cf58aa40071be0ee04649a2',
                    ('dist', 'direct'): '8e6ce3adec42fe46704cfa7c50a15811', ('dist', 'cot'): '0edc99eefa3fa80576e25869222bba53'}
    task = dict(decode='sample', temperature=1., width=0, max_new_tokens=64, run_seed=0, audio_sha='a', model='m', revision='r',
                prompt_sha=shas['label', 'direct'], condition='none', block=0, block_size=16)
    assert group_key(task) == '8530b8b550cee08ec3560c29b01152fc'
    every = [prompt(m, s, SIX, w).sha for w in OURS.wordings for m in MODES for s in STYLES]
    assert len(OURS.wordings) >= 3 and len({*every}) == len(every)

def test_wordings_share_the_samples(worded):
    rows = Store(worded).read(CANDIDATES)
    sampled = rows[rows.decode.eq('sample')].groupby(['mode', 'wording']).size()/30
    assert sampled.unstack('wording').to_numpy().tolist() == [[5, 4, 4]]*2
    assert set(rows.wording[rows.decode.ne('sample')]) == {'0'}
    record = json.loads((worded/f'plans/{STEM}.json').read_text())
    assert record['wordings'] == ['0', '1', '2'] and record['prompts'] == ''

def test_wordings_are_compared_at_the_same_budgets(worded):
    scores = pd.read_parquet(worded/'scores.parquet').query("metric=='jsd' and stratum=='all' and strategy=='majority'")
    assert scores[scores.calibration.eq('')].groupby('wording').k.agg(set).to_dict() == dict.fromkeys('012', {1, 2, 4})
    assert set(scores.reading[scores.wording.eq('0')]) <= {'plain', 'calibrated'}
    assert set(scores.reading[scores.wording.eq('2')]) == {'other wording'}
    for o in ('predictions', 'settings', 'costs', 'refusals'): assert 'wording' in pd.read_parquet(worded/f'{o}.parquet')

def test_the_ensemble_costs_what_one_wording_with_all_samples_costs(worded):
    scores, costs = (pd.read_parquet(worded/f'{o}.parquet') for o in ('scores', 'costs'))
    some = scores[scores.strategy.eq('prompt_ensemble') & scores.metric.eq('jsd')]
    assert {*some.k} == {1, 2, 4, 13} and {*some.reading} == {'all wordings'} and {*some['style']} == {'direct'}
    one, all_ = (costs[costs.strategy.eq(s) & costs.k.eq(4) & costs['mode'].eq('label') & costs.wording.eq(w)].answers.item()
                 for s, w in (('majority', '0'), ('prompt_ensemble', 'all wordings')))
    assert one == all_ == 4
    said = pd.read_parquet(worded/'predictions.parquet').query("mode=='label'")
    rows = Store(worded).read(CANDIDATES, decode='sample', mode='label')
    found = rows[rows.uid.eq(uid := rows.uid.iloc[0])]
    dist = answers(found, label_set('six')).set_index('key').dist.reindex(found.key)
    each = [dist[list(own)].dropna() for _, own in found.groupby('wording').key]
    want = np.mean([np.mean([*o], 0) for o in each if len(o)], 0)
    assert np.allclose(said[said.uid.eq(uid) & said.strategy.eq('prompt_ensemble')].dist.item(), want)

def test_variance_is_split_over_wordings(worded):
    found = pd.read_parquet(worded/'variance.parquet')
    for metric in ('jsd', 'accuracy'):
        part = found[found.strategy.eq('majority') & found['mode'].eq('label') & found.metric.eq(metric)].set_index('source')
        assert part.levels['prompt'] == 3 and np.isfinite(part.high['prompt']) and {*part.k} == {2}
        assert {'prompt', 'seed', 'speaker', 'uid × prompt'} <= {*part.index}
    assert pd.read_parquet(worded/'scores.parquet').below_wording.dtype == bool

@pytest.mark.parametrize(('n', 'sources'), [(3, {'prompt', 'uid × prompt'}), (8, {'prompt', 'seed', 'prompt × seed'})])
def test_wordings_with_few_samples_are_compared(tmp_path, n, sources):
    "One answer per wording is one level; two or three answers are halves of one answer."
    few = ONE | dict(n=n, limit=12, modes=['label'], verify=False)
    execute(tmp_path, (SAMPLE, few), (SCORE, dict(study='worded', ks=[1], workers=1)))
    found = pd.read_parquet(tmp_path/'results/worded/variance.parquet')
    part = found[found.strategy.eq('majority') & found.metric.eq('jsd')].set_index('source')
    assert {*part.k} == {1} and np.isfinite(part.high['prompt']) and sources <= {*part.index} and part.levels['prompt'] == 3
    assert ('seed' in part.index) == (n > 3)

def test_more_wordings_later_are_other_calls():
    "Answers to one wording are found again where its share has the same blocks; no block is read in part or mixed."
    clips = pd.DataFrame(dict(corpus='demo', uid=['a', 'b'], audio_sha=['s', 't'], speaker=['x', 'y']))
    asked = dict(modes=['label'], styles=['direct'], prompts='', temperature=1., seed=0, condition='none', score=False, widths=[],
                 verify=False, listwise=0, listwise_limit=0, audit=0, lists_of=[])
    def calls(n, wordings, decode='sample'):
        plan = plans_for(stand_in('tiny-alm-nano'), clips, SIX, asked | dict(n=n, wordings=wordings))['plans']
        assert (plan['take'] == plan.block_size).all() and plan.group.is_unique
        return {*plan.group[plan.decode.eq(decode)]}
    assert not calls(16, 1) & calls(16, 3) and len(calls(16, 3)) == 3*len(calls(16, 1))
    assert calls(16, 1) < calls(48, 3) and calls(16, 1, 'greedy') == calls(16, 3, 'greedy')
    assert len(calls(0, 3, 'greedy')) == 2 and not calls(0, 3)

def test_two_wordings_mark_nothing():
    rows = pd.DataFrame(dict(model=['a'], strategy='majority', value=.5))
    assert not below_wording(rows, pd.DataFrame()).any()

OWN = '''name: demo
n: {n}
wordings: {w}
prompts:
  wordings:
    plain: {{label-direct: "How does it sound: {{labels}}?"}}
    letters: {{label-direct: "How does it sound? {{options}}. One letter."}}
{more}
runs: [{{model: {model}, modes: {modes}, styles: [direct]}}]
'''

def written(path, n=4, w=2, more='', model='tiny-alm-nano', modes='[label]'):
    "A study with prompts of its own, from a file."
    path.write_text(OWN.format(n=n, w=w, more=more, model=model, modes=modes))
    return read_study(path)

@pytest.mark.parametrize(('change', 'told'), [
    (dict(n=1), '1 answers cannot be divided among 2 wordings'), (dict(w=3), '3 wordings are wanted, and there are 2'),
    (dict(modes='[label, dist]'), 'no question dist-direct'), (dict(more='  order: [sad, happy]'), 'order has to list each'),
    (dict(more='  system: Listen.'), 'system'), (dict(more='  style: cot'), "Unknown field of prompts 'style'")])
def test_a_study_whose_questions_are_not_there_is_refused(tmp_path, change, told):
    with pytest.raises(InputError, match=told): written(tmp_path/'s.yaml', **change)

def test_a_system_prompt_for_a_model_without_one_is_told_at_its_field(tmp_path):
    with pytest.raises(InputError, match=r's.yaml, line \d+: prompts.system: tiny-alm-nano: .*put its text into the questions'):
        written(tmp_path/'s.yaml', more='  system: Listen.')

def test_prompts_lie_next_to_the_study_and_may_have_an_order_alone(tmp_path):
    (tmp_path/'own.yaml').write_text('order: [sad, happy, neutral, angry, fearful, disgusted]')
    (tmp_path/'s.yaml').write_text('name: demo\nprompts: own.yaml\nruns: [{model: tiny-alm-nano}]')
    own = prompt_set(read_study(tmp_path/'s.yaml').prompts)
    assert own.wordings == OURS.wordings and own.order[0] == 'sad'

def test_own_prompts_are_part_of_the_study(tmp_path):
    "Their text is kept, their system prompt is an option of the model, their letters are known to the parser."
    study = written(tmp_path/'s.yaml', more='  system: Listen.\n  order: [sad, happy, neutral, angry, fearful, disgusted]',
                    model='gpt-audio-1.5')
    assert study.runs[0].load == dict(system='Listen.')
    own = prompt_set(study.prompts)
    assert own.first(2) == ['plain', 'letters'] and prompt_set(own) is own
    asked = prompt('label', 'direct', SIX, 'letters', own)
    assert 'A) sad, B) happy' in asked.text and asked.choices[0] == 'sad' and asked.labels == SIX
    assert MODELS # registered by reading the study
