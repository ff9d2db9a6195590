"""The file that `ambiscale models new` writes: it passes every check, is read in every mode by the parser, and takes a whole
study as it stands; the command is also a module."""
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from in_one import execute
from typer.testing import CliRunner

from ambiscale_nb.models import contract as models
from ambiscale_nb.models.check import check_clips, check_model, passed
from ambiscale_nb.study.cli import app
from ambiscale_nb.core import InputError, ROOT, load_file
from ambiscale_nb.corpora.labels import label_set
from ambiscale_nb.models.parser import parse, parse_list, parse_verdict
from ambiscale_nb.models.prompts import MODES, STYLES, listwise_prompt, prompt, verify_prompt
from ambiscale_nb.models.template import new_model, plugin_setting

WAVE, OTHER = check_clips()

@pytest.fixture
def mine(tmp_path, monkeypatch):  # The model that is written
    monkeypatch.setattr(models, 'MODELS', dict(models.MODELS))
    load_file(new_model('my-model', tmp_path))
    return models.load_model('my-model')

def test_it_passes_every_check_as_it_stands(mine):
    table = check_model(mine, WAVE, OTHER).set_index('check').ok
    assert passed(table.reset_index()) and table[table.isna()].index.tolist() == [
        'alone_and_in_a_batch', 'words', 'beams', 'choices']

@pytest.mark.parametrize('name', ['four', 'six', 'sixteen', 'four+other'])
def test_every_mode_is_read_under_every_label_set(mine, name):
    chosen = label_set(name)
    for mode in MODES:
        for style in STYLES:
            ask = prompt(mode, style, chosen.labels)
            assert ask.labels == chosen.labels
            for reply in [mine.greedy(WAVE, ask), *mine.sample(WAVE, ask, 8, 3, 1.)]:
                got = parse(reply.text, mode, style, chosen.labels, chosen.merged, reply.finish)
                assert got.status == 'ok', (reply.text, got)
    judged = {parse_verdict(mine.sample(WAVE, verify_prompt(o, chosen.labels), 1, 0, 1.)[0].text)
              for o in chosen.labels}
    assert judged <= {0., 1.}
    ask = listwise_prompt(('sad', 'happy'), 'text')
    assert ask.labels == ('sad', 'happy')
    assert set(parse_list(mine.greedy(WAVE, ask).text, ask.labels).values()) == {.6, .4}
    ask = prompt('label', 'direct', chosen.labels)
    assert np.isclose(np.exp(mine.score(WAVE, ask, list(chosen.labels))).sum(), 1)

def test_a_study_of_it_is_scored(tmp_path, monkeypatch):
    path = new_model('my-model', tmp_path)
    monkeypatch.setenv('AMBISCALE_PLUGINS', str(path))
    execute(tmp_path, (ROOT/'nbs/experiments/01_sample.ipynb',
                       dict(model='my-model', limit=8, n=4, listwise=2, audit=4, progress=False)),
            (ROOT/'nbs/experiments/02_score.ipynb', dict(progress=False)))
    scores = pd.read_parquet(tmp_path/'results/smoke/scores.parquet')
    assert set(scores['mode']) == set(MODES) and {'direct', 'cot'} <= set(scores['style'])
    assert (scores.unparsed == 0).all() and {'alm_v', 'label_logprob', 'w_bon'} <= set(scores.strategy)
    refused = pd.read_parquet(tmp_path/'results/smoke/refusals.parquet')
    assert 'my-model' in set(refused.model)  # it has no beams: said, not left out

@pytest.mark.parametrize(('name', 'match'), [
    ('', 'cannot name'), ('-x', 'cannot name'), ('tiny-alm-nano', 'There is a model')])
def test_names_that_cannot_be_are_refused(tmp_path, name, match):
    with pytest.raises(InputError, match=match): new_model(name, tmp_path)
    assert not [*tmp_path.iterdir()]

def test_the_setting_keeps_other_files(tmp_path, monkeypatch):
    monkeypatch.delenv('AMBISCALE_PLUGINS', raising=False)
    assert plugin_setting(ROOT/'x.py') == 'AMBISCALE_PLUGINS=x.py'
    monkeypatch.setenv('AMBISCALE_PLUGINS', 'a.py')
    assert plugin_setting(tmp_path/'x.py') == f'AMBISCALE_PLUGINS=a.py{os.pathsep}{tmp_path/"x.py"}'

def test_the_command_says_how_to_go_on(tmp_path, monkeypatch):
    monkeypatch.delenv('AMBISCALE_PLUGINS', raising=False)
    def new(name): return CliRunner().invoke(app, ['models', 'new', name, '--folder', str(tmp_path)])
    said, path = new('My.Model'), tmp_path/'my_model.py'
    assert said.exit_code == 0 and f'export AMBISCALE_PLUGINS={path}' in said.output
    assert 'ambiscale models check My.Model' in said.output
    path.write_text('mine')  # a file is never overwritten
    again = new('my-model')
    assert again.exit_code == 2 and 'exists and is kept' in again.output and path.read_text() == 'mine'

def test_the_package_is_the_command():
    def called(*words): return subprocess.run([sys.executable, '-m', 'ambiscale_nb', *words], capture_output=True, text=True)
    done, helped = called('models', 'check', 'tiny-alm'), called('--help')
    assert done.returncode == 2 and "Did you mean 'tiny-alm-" in done.stderr and 'Traceback' not in done.stderr
    assert helped.returncode == 0 and 'Usage: ambiscale ' in helped.stdout
