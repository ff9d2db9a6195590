"""A study that is run again while nothing has changed prints what it printed, without planning; any change around it is noticed:
clips, ratings, label sets, plugins, settings, results, the environment, the folder that the command is typed in."""
import json
import os
import subprocess
import sys

import pytest
import yaml
from own_corpus import write_corpus
from test_same_clips import noise
from test_studies import ask, place

MODEL = """
from ambiscale_nb.models.contract import Capabilities, ModelInfo, Reply, register_model
class Model:
    name, revision, n_params = 'steady', '1', 0
    capabilities = Capabilities(logprobs=False, label_scoring=False, beams=False, verify=False)
    def greedy(self, wave, prompt):
        if FAILS and wave[0]>0: raise RuntimeError('no answer')
        return Reply('sad', [], 'stop')
    def sample(self, wave, prompt, n, seed, temperature): return [self.greedy(wave, prompt)]*n
register_model(ModelInfo('steady', Model, 'local', 0, Model.capabilities, 'a test'))
"""
MOOD = 'labels: [happy, sad]\nsynonyms: {happy: glad}\n'
CHANGES = {
    'a rating': lambda o: o.edit('clips/ratings.csv', 'R0,happy', 'R0,sad  '),
    'a sound': lambda o: o.edit('clips/c01.wav', b'RIFF', b'RIFX'),
    'a new clip': lambda o: (o.root/'clips/c99.wav').touch(),
    'a clip less': lambda o: (o.root/'clips/c02.wav').rename(o.root/'clips/gone'),
    'a label set': lambda o: o.edit('mood.yaml', 'glad', 'gald'),
    'a question': lambda o: o.edit('asked.yaml', 'Which one', 'What kind'),
    'the study': lambda o: o.edit('s.yaml', 'n: 2', 'n: 3'),
    'a plugin': lambda o: o.edit('model.py', "'sad'", "'mad'"),
    'a table': lambda o: (o.root/'results/s/scores.parquet').touch(),
    'a stored answer': lambda o: o.answers().write_bytes(o.answers().read_bytes()+b'{'),
    'a figure less': lambda o: (o.root/'results/s/figures/fig1_budget.png').rename(o.root/'results/gone.png'),
    'a setting': lambda o: os.environ.update(AMBISCALE_OWN_CLINIC='elsewhere'),
    'the folder': lambda o: os.chdir(o.root/'clips')}
SCRIPT = """
import os, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_repeat import CHANGES
from ambiscale_nb.study.repeat import as_before

class Project:
    def __init__(self): self.root, self.saved = Path.cwd(), Path.cwd()/'saved'
    def edit(self, name, old, new):
        data = (self.root/name).read_bytes()
        old, new = (o if isinstance(o, bytes) else o.encode() for o in (old, new))
        assert old in data
        (self.root/name).write_bytes(data.replace(old, new, 1))
    def answers(self): return next(o for o in sorted((self.root/'results/s/candidates').rglob('*')) if o.is_file())

here = Project()
def own(): return [o for k in ('results/**/*', 'real/*', '*.*') for o in here.root.glob(k) if o.is_file()]
files = {{o: (o.read_bytes(), o.stat().st_mtime_ns) for o in own()}}
def restore():
    os.chdir(here.root)
    os.environ.pop('AMBISCALE_OWN_CLINIC', None)
    for o in set(own())-set(files): o.unlink()
    for o, (data, at) in files.items():
        if not o.exists() or o.read_bytes()!=data or o.stat().st_mtime_ns!=at:
            o.write_bytes(data)
            os.utime(o, ns=(at, at))
assert as_before('s.yaml'), 'as it was left'
missed = []
for what, change in CHANGES.items():
    change(here)
    if as_before('s.yaml'): missed.append(what)
    restore()
    assert as_before('s.yaml'), what+' was undone'
print(missed)
"""


def project(root, fails=False):
    "A study of one's own corpus behind a link, with a model and a label set of one's own; run once: status, what it said."
    place(root)
    said = [['happy', 'happy', 'sad'] if i%2 else ['sad']*3 for i in range(8)]
    write_corpus(root/'real', [abs(noise(1, i)) if i==3 else -abs(noise(1, i)) for i in range(8)], said, 4)
    (root/'clips').symlink_to(root/'real')
    (root/'model.py').write_text(MODEL.replace('FAILS', str(fails)))
    (root/'mood.yaml').write_text(MOOD)
    (root/'asked.yaml').write_text('wordings: {mine: {label-direct: "Which one is it: {labels}? One word."}}\n')
    run = dict(model='steady', corpus='own', root='clips', labels='mood.yaml', modes=['label'], styles=['direct'], widths=[],
               score=False, verify=False)
    (root/'s.yaml').write_text(yaml.safe_dump(dict(name='s', n=2, figures=['1'], prompts='asked.yaml', runs=[run])))
    return run_it(root)


def run_it(root): return ask(root, 'run s.yaml', AMBISCALE_PLUGINS='model.py')


def lines(said): return [o for o in said.splitlines() if not o.startswith('It took')]


@pytest.fixture(scope='module')
def mine(tmp_path_factory):
    root = tmp_path_factory.mktemp('repeat')
    status, said = project(root)
    assert status==0, said
    assert (root/'results/s/last_run.json').exists()
    return root


def test_the_second_run_says_what_a_planned_one_says(mine):
    quick = run_it(mine)
    (mine/'results/s/last_run.json').unlink()
    planned = run_it(mine)
    assert quick[0]==planned[0]==0 and lines(quick[1])==lines(planned[1])
    assert '16 of 16 calls are stored and reused' in quick[1] and 'It took' in quick[1]


def test_every_change_is_noticed(mine):
    env = os.environ | dict(AMBISCALE_ROOT=str(mine), OMP_NUM_THREADS='1', AMBISCALE_PLUGINS='model.py')
    tests = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    script = SCRIPT.format(tests=os.path.dirname(os.path.abspath(__file__)))
    done = subprocess.run([sys.executable, '-c', script], env=env | dict(PYTHONPATH=os.pathsep.join([env['PYTHONPATH'], tests])),
                          cwd=mine, capture_output=True, text=True, check=False)
    assert done.stdout=='[]\n', done.stdout+done.stderr[-2000:]


def test_a_run_with_failed_calls_is_not_remembered(tmp_path):
    "They are tried again."
    said = project(tmp_path, fails=True)[1]
    assert 'calls failed' in said and not (tmp_path/'results/s/last_run.json').exists()


def test_what_is_stored_holds_no_setting(mine):
    "Environment variables may name private folders; only their hash is kept."
    old = json.loads((mine/'results/s/last_run.json').read_text())
    assert 'AMBISCALE' not in json.dumps({k: v for k, v in old.items() if k!='text'})
