"""Every line of `conf/paper.yaml`, with models of the capabilities of its eight and four clips in the place of each corpus:
to scores, figures and claims."""
import json
import os
import re
from pathlib import Path

import pandas as pd
import pytest
from in_one import execute
from loopback import Loopback, chance, total

from ambiscale_nb.corpora import registry as corpora
from ambiscale_nb.models import contract as models
from ambiscale_nb.core import ROOT, load_file
from ambiscale_nb.study.config import read_study, run_name
from ambiscale_nb.study.plans import plan_run
from ambiscale_nb.study.run import study_tasks

WHOLE = bool(os.getenv('AMBISCALE_WHOLE_GRID')) # All lines, also those whose models differ in name alone: minutes
KINDS = ('qwen2-audio', 'gemini-3.8-flash', 'gpt-audio-1.5') # And one line of Ultravox
LOCAL = ('qwen2-audio', 'qwen2.5-omni', 'voxtral', 'audio-flamingo-3')
SERVED = ('ultravox-v0.3', 'ultravox-v0.4', 'gemini-3.8-flash', 'gpt-audio-1.5')


def answers(sound, question, ask, n, beam):
    "What the server says: yes or no, a label, or shares, after reasons where they are wanted."
    if 'yes or no' in question: words = ['yes', 'no']
    else:
        words = re.split(', | or ', re.search(r'(?:word: |choose )(.+?)[.?]', question)[1])
        if 'JSON' in question:
            few = 40//(len(words)-1)
            words = [json.dumps(dict.fromkeys(words, few) | {o: 100-few*(len(words)-1)}) for o in words]
        if 'First' in question: words = [f'The pitch varies. Answer: {o}' for o in words]
        if beam: words = [f'{o}{dot}' for o in words for dot in ('', '.')]
    if beam or ask.get('temperature', 1) < .05:
        return sorted(words, key=lambda o: -total(sound, question, o))[:n]
    return [words[int(chance(sound, question, ask.get('seed', 0), i)*len(words))] for i in range(n)]


def grid(server):
    "The study, small: its lines are as they are, but that served models are asked here."
    study = read_study(ROOT/'conf/paper.yaml')
    def here(run):
        url = server.gemini if 'gemini' in run.model else server.url
        return run.model_copy(update=dict(load=dict(base_urls=url, key='')) if run.model in SERVED else {})
    ultravox = next(o for o in study.runs if o.model == 'ultravox-v0.4' and o.corpus == 'crema_d')
    runs = [here(o) for o in study.runs if WHOLE or o.model in KINDS or o is ultravox]
    return study.model_copy(update=dict(limit=4, n=2, ks=[1, 2], runs=runs) | ({} if WHOLE else dict(widths=[2, 7])))


@pytest.fixture(scope='module')
def study(tmp_path_factory):
    "Its configuration; its folder, sampled, scored and drawn; the requests that the server got."
    root = tmp_path_factory.mktemp('grid')
    with pytest.MonkeyPatch.context() as patch, Loopback() as server:
        patch.setenv('AMBISCALE_PLUGINS', str(Path(__file__).parents[1]/'grid.py'))
        patch.setattr('loopback.answers', answers)
        config = grid(server)
        execute(root, *[(notebook, told) for notebook, _, told in study_tasks(config)],
                (ROOT/'nbs/experiments/02_score.ipynb', dict(study='paper', ks=[1, 2], progress=False)),
                *[(ROOT/f'nbs/figures/{o}.ipynb', dict(study='paper', out='figures')) for o in config.figures])
    return config, root/'results/paper', server.asked


def table(study, name): return pd.read_parquet(study[1]/f'{name}.parquet')


def test_every_line_is_planned_and_estimated(monkeypatch):
    "Also those that differ in the model's name alone from one that is run below."
    whole = read_study(ROOT/'conf/paper.yaml')
    assert {o.model for o in whole.runs} == {*SERVED, *LOCAL} and len({run_name(o) for o in whole.runs}) == len(whole.runs)
    monkeypatch.setattr(models, 'MODELS', dict(models.MODELS))
    monkeypatch.setattr(corpora, 'CORPORA', dict(corpora.CORPORA))
    load_file(Path(__file__).parents[1]/'grid.py')
    able = {'qwen2-audio': True, 'gemini-3.8-flash': False, 'gpt-audio-1.5': False, 'ultravox-v0.4': True}
    for run in whole.runs:
        model, plans, _, labels = plan_run(whole.model_copy(update=dict(limit=4)), run)
        plan = plans['plans']
        assert plan.uid.nunique() == 4 and len(labels) == dict(iemocap=4, crema_d=6, msp_podcast=8, emov_db=5)[run.corpus]
        widths = {2, 3, 5, 7} if run.condition == 'none' and able.get(run.model, True) else set()
        assert set(plan.width[plan.decode.eq('beam')]) == widths
        assert ('verdict_plans' in plans) == (run.condition == 'none')


def test_every_line_is_scored(study):
    config, _, _ = study
    scores, want = table(study, 'scores'), set()
    for o in config.runs: want.add((o.model, f'{o.corpus}{"-four" if o.labels else ""}', o.condition))
    found = set(zip(scores.model, scores.corpus, scores.condition, strict=True))
    assert {(m, c.removesuffix('-test1'), s) for m, c, s in found} == want
    assert scores[scores.condition.eq('none')].groupby(['model', 'corpus']).style.agg(set).map({'direct', 'cot'}.issubset).all()
    assert (scores[scores.reading.eq('plain')].unparsed == 0).all()


def test_beams_are_there_or_not_applicable(study):
    config, root, asked = study
    scores = table(study, 'scores')
    beams = scores[scores.decoding.eq('beam')].groupby('model').width.agg(set).to_dict()
    local = {o.model for o in config.runs}-{'gemini-3.8-flash', 'gpt-audio-1.5'}
    assert beams == dict.fromkeys(local, set(config.widths))
    for path in root.glob('plans/*--none.json'):
        run = json.loads(path.read_text())
        lacks = [] if run['model'] in local else [f"{run['model']} has no beams", f"{run['model']} has no label_scoring"]
        assert run['lacks'] == lacks
    assert not [o for _, o in asked if o.get('use_beam_search') and 'gpt' in o.get('model', '')]


def test_figures_and_claims_are_there(study):
    config, root, _ = study
    for o in config.figures: assert (root.parent.parent/'figures'/f'{o}.png').exists(), o
    claims = table(study, 'claims')
    assert claims.verdict.ne('').all() and claims.claim.str[0].nunique() == 6
