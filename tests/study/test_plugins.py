"What registers itself is found by name: whatever was imported before, and from files that a user names."
import sys

import pandas as pd
import pytest

from ambiscale_nb import core
from ambiscale_nb.core import InputError, load_plugins
from test_studies import call, place, tool

MINE = """
from ambiscale_nb import Capabilities, ModelInfo, Reply, register_model, strategy
from ambiscale_nb.strategies.pool import blend

class Calm:
    name, revision, n_params = 'calm', '1', 0
    capabilities = Capabilities(logprobs=False, label_scoring=False, beams=False, verify=False)
    def greedy(self, wave, prompt): return Reply('neutral', [], 'stop')
    def sample(self, wave, prompt, n, seed, temperature): return [self.greedy(wave, prompt)]*n

register_model(ModelInfo('calm', Calm, 'local', 0, Calm.capabilities, 'hears no emotion at all'))

@strategy()
def first(pool):
    "The first answer that can be read."
    one = pool.parsed & (pool.parsed.cumsum(-1)==1)
    return blend(pool, one, one*1.)
"""
STUDY = """{name: own, n: 4, ks: [1, 2, 4], limit: 12, workers: 2,
runs: [{model: calm, corpus: toyspeech, modes: [label], widths: [], verify: false}]}
"""

@pytest.mark.parametrize('code', [
    "from ambiscale_nb.models.contract import check_ready; check_ready('tiny-alm-nano')",
    "from ambiscale_nb.models.contract import model_table; assert {'tiny-alm-nano', 'gemini', 'vllm'}<set(model_table().model)",
    "from ambiscale_nb.corpora.registry import data_name; data_name('toyspeech', '', '', 'rater')",
    "from ambiscale_nb import pool_of, predict; predict('mbr', pool_of([['a', 'b', 'a']], ('a', 'b')))"])
def test_a_name_is_found_whatever_was_imported(code, tmp_path):
    assert call(tmp_path, sys.executable, '-c', code) == (0, '')

@pytest.fixture(scope='module')
def study(tmp_path_factory):
    "A study of a model and with a strategy of one's own, by the command; its folder and what was said."
    root = place(tmp_path_factory.mktemp('own'))
    (root/'mine.py').write_text(MINE)
    (root/'study.yaml').write_text(STUDY)
    return root, *(call(root, tool('ambiscale'), 'run', 'study.yaml', **more) for more in ({}, dict(AMBISCALE_PLUGINS='mine.py')))

def test_a_study_takes_in_what_a_file_registers(study):
    root, _, (code, said) = study
    assert code == 0, said
    scores = pd.read_parquet(root/'results/own/scores.parquet')
    mine = scores[scores.strategy.eq('first') & scores.decoding.eq('sample') & scores.reading.eq('plain')]
    assert set(mine.model) == {'calm'} and set(mine.k) == {1, 2, 4} and mine[mine.metric.eq('jsd')].value.notna().all()
    assert '`ambiscale figure 1 own` draws one' in said

def test_without_the_file_its_names_are_unknown(study):
    _, (code, said), _ = study
    assert code == 2 and "Unknown model 'calm'" in said and 'Traceback' not in said

@pytest.mark.parametrize(('text', 'match'), [(None, 'which is no file'), ('1/0', 'fails: ZeroDivisionError')])
def test_a_file_that_cannot_be_loaded_is_named(tmp_path, monkeypatch, text, match):
    monkeypatch.setattr(core, 'ROOT', tmp_path)
    monkeypatch.setenv(core.PLUGINS, 'broken.py')
    if text: (tmp_path/'broken.py').write_text(text)
    with pytest.raises(InputError, match=match): load_plugins()
    with pytest.raises(InputError, match=match): core.look_up('x', {}, 'model')
