"""A study and its changes, in one process: after each step the calls that it made, what its estimate had said, what was told,
and whether its tables are those of a fresh study with the same inputs.

`test_second_day` starts it in a project of its own. Notebooks are executed here rather than in kernels; models of a
plugin write down each question.
"""
import hashlib
import io
import json
import sys
from contextlib import redirect_stderr
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile

from ambiscale_nb import core
from ambiscale_nb.study import config, fanout, notebooks, plans, run as running
from ambiscale_nb.core import RESULTS, ROOT
from ambiscale_nb.study.imports import import_file
from in_one import run as run_in_shell

MODELS = '''
import hashlib
import json
from functools import partial
from pathlib import Path
import numpy as np
from ambiscale_nb.core import ROOT
from ambiscale_nb.models.contract import Capabilities, ModelInfo, Reply, register_model

WORDS = ('angry', 'happy', 'neutral', 'sad', 'no idea')
CAN = Capabilities(logprobs=False, label_scoring=True, beams=False, verify=True)

class Mind:
    "Its answers depend on sound, prompt and seed alone; each question is a line in `calls.jsonl`."
    revision, n_params, capabilities = '1', 0, CAN
    def __init__(self, name):
        self.name = name
        if (ROOT/'no model').exists(): raise RuntimeError('it was loaded')
    def asked(self, wave, prompt, *how):
        line = json.dumps([self.name, hashlib.sha256(wave.tobytes()).hexdigest()[:12], prompt.sha, *map(str, how)])
        with open(ROOT/'calls.jsonl', 'a') as f: f.write(line+chr(10))
        return np.random.default_rng(int(hashlib.sha256(line.encode()).hexdigest()[:12], 16))
    def say(self, n, rng):
        return [Reply(str(o), [1], 'stop', None, dict(prompt_tokens=9, output_tokens=1)) for o in rng.choice(WORDS, n)]
    def greedy(self, wave, prompt): return self.say(1, self.asked(wave, prompt, 'greedy'))[0]
    def sample(self, wave, prompt, n, seed, temperature):
        return self.say(n, self.asked(wave, prompt, 'sample', n, seed, temperature))
    def score(self, wave, prompt, answers):
        return np.log(self.asked(wave, prompt, 'score', *answers).dirichlet(np.ones(len(answers))))

for o in ('mind', 'echo'):
    register_model(ModelInfo(o, partial(Mind, o), 'local', 0, CAN, 'thinks aloud', options=()))
'''
STRATEGY = '''
from ambiscale_nb.strategies.pool import STRATEGIES, blend, strategy
STRATEGIES.pop('one_of_them', None)
@strategy()
def one_of_them(pool):
    "The first, or the last, answer that can be read."
    order = pool.parsed[:, ::{step}]
    one = (order & (order.cumsum(-1)==1))[:, ::{step}]
    return blend(pool, one, one*1.)
'''
SCORED = ('scores', 'predictions', 'settings', 'refusals', 'bounds', 'variance', 'audits', 'costs')


def execute(source, target, parameters, **how):
    if said := run_in_shell(source, parameters): raise notebooks.NotebookError(said)
    Path(target).parent.mkdir(parents=True, exist_ok=True)
    Path(target).write_text('{}')
    return target


def one_by_one(tasks, *args, **options): return [fanout.run_shard(o) for o in tasks]


def write_plugins(step=1):
    (ROOT/'models.py').write_text(MODELS)
    (ROOT/'strategy.py').write_text(STRATEGY.format(step=step))
    for o in [o for o in sys.modules if o.startswith('ambiscale_plugin_')]: del sys.modules[o]
    core.load_plugins()


def play(folder, name, pitch):
    soundfile.write(folder/name, .3*np.sin(np.arange(8000)*pitch), 16_000)


def write_corpus(name, pitches, dice):
    "Clips of four speakers, each judged by three."
    folder = ROOT/name
    folder.mkdir(exist_ok=True)
    lines = ['file,rater,label,speaker']
    for i, pitch in enumerate(pitches):
        play(folder, f'{i}.wav', pitch)
        lines += [f"{i}.wav,r{j},{o},s{i%4}" for j, o in enumerate(dice.choice(['angry', 'happy', 'neutral', 'sad'], 3))]
    (folder/'ratings.csv').write_text('\n'.join(lines)+'\n')


def run(name, *corpora, models=('mind', 'echo'), **more):
    "A study of each model on each corpus."
    runs = [dict(model=m, corpus='own', name=o, root=str(ROOT/o), labels='four', modes=['label'], styles=['direct'],
                 verify=m=='mind', score=m=='mind')
            for o in corpora for m in models]
    how = dict(name=name, n=4, limit=4, ks=[1, 4], workers=1, temperature=.7, runs=runs) | more
    return config.StudyConfig(**how)


def calls():
    try: return (ROOT/'calls.jsonl').read_text().splitlines()
    except FileNotFoundError: return []


def tables(name):
    "The bytes of what scoring wrote, without what was measured."
    out = {}
    for o in SCORED:
        df = pd.read_parquet(RESULTS/name/f'{o}.parquet')
        df = df[[c for c in df if not c.endswith('_measured')]]
        out[o] = hashlib.sha256(df.to_json(orient='split', double_precision=15).encode()).hexdigest()
    return out


STEPS, TOLD = [], {}


def step(what, study, same=None, imports='', **how):
    "Estimate, run, and compare with a fresh study, or with tables that were found to be those of one."
    expected = int(plans.estimate_study(study)[0].calls.sum())
    state = plans.study_status(study)
    before, said = calls(), io.StringIO()
    with redirect_stderr(said): failed = running.run_study(study, **how)
    new = calls()[len(before):]
    after = plans.study_status(study)
    found = dict(what=what, failed=failed, estimate=expected, made=len(new), twice=len(new)-len({*new}),
                 again=0 if how.get('force') else len({*new} & {*before}), said=said.getvalue(),
                 to_ask=int(state.missing.sum()), left=int(after.missing.sum()), unasked=len(plans.not_asked(study)))
    if same is None:
        (ROOT/'no model').unlink(missing_ok=True)
        log = (ROOT/'calls.jsonl').read_text()
        fresh = study.model_copy(update=dict(name=f'fresh-{len(STEPS)}'))
        if imports: import_file(imports, fresh.name, 'clinic_a', str(ROOT/'clinic_a'), labels='four', model='guest')
        with redirect_stderr(io.StringIO()): found['failed'] += running.run_study(fresh)
        same = tables(fresh.name)
        (ROOT/'calls.jsonl').write_text(log)
    mine = tables(study.name)
    found['differs'] = [o for o in SCORED if mine[o]!=same[o]]
    STEPS.append(found)
    print(json.dumps(found), file=sys.stderr, flush=True)
    return mine


def main():
    notebooks.run_notebook = running.run_notebook = execute
    running.run_shards = one_by_one
    dice = np.random.default_rng(7)
    write_corpus('clinic_a', .03+.01*np.arange(6), dice)
    write_plugins()
    first = step('the first day', run('s', 'clinic_a'))
    step('again', run('s', 'clinic_a'), same=first)
    more = dict(n=20, limit=6, ks=[1, 20])
    step('more samples and clips', run('s', 'clinic_a', **more))
    ratings = ROOT/'clinic_a/ratings.csv'
    lines = ratings.read_text().splitlines()
    for i in (1, 4): lines[i] = lines[i].replace(lines[i].split(',')[2], 'sad' if 'sad' not in lines[i] else 'angry')
    ratings.write_text('\n'.join(lines)+'\n')
    (ROOT/'no model').touch()
    step('other ratings', run('s', 'clinic_a', **more), rescore=True)
    write_plugins(-1)
    step('another strategy', run('s', 'clinic_a', **more))
    write_corpus('clinic_b', [*(.03+.01*np.arange(3)), .5, .51, .52], dice)
    both = run('s', 'clinic_a', 'clinic_b', **more)
    step('a second corpus', both)
    table = pd.DataFrame([(f'{i}.wav', o) for i in range(6) for o in dice.choice(['angry', 'sad'], 4)], columns=['uid', 'text'])
    table.to_csv(ROOT/'said.csv', index=False)
    import_file(ROOT/'said.csv', 's', 'clinic_a', str(ROOT/'clinic_a'), labels='four', model='guest')
    whole = step('imported answers', both, imports=ROOT/'said.csv')
    step('rescored', both, same=whole, rescore=True)
    step('a model less', run('s', 'clinic_a', 'clinic_b', models=['mind'], **more), imports=ROOT/'said.csv')
    warmer = both.model_copy(update=dict(temperature=1.3))
    step('back, and warmer', warmer, imports=ROOT/'said.csv')
    step('as before', both, same=whole)
    play(ROOT/'clinic_a', '2.wav', .9)
    step('another sound', both, imports=ROOT/'said.csv')
    list_b = pd.read_csv(ROOT/'clinic_b/ratings.csv')
    list_b[~list_b.file.eq('5.wav')].to_csv(ROOT/'clinic_b/ratings.csv', index=False)
    last = step('a clip less', both, imports=ROOT/'said.csv')
    step('all anew', both, same=last, force=True)
    print(json.dumps(STEPS))


if __name__ == '__main__': main()
