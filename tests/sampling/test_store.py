"""The store under faults: kill -9, races, torn and damaged files, hostile text, keys, resuming."""
import errno
import json
import math
import os
import random
import signal
import time
from dataclasses import replace
from pathlib import Path
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from ambiscale_nb.sampling import store as pool, verify
from ambiscale_nb.core import InputError, rng_of
from ambiscale_nb.corpora.labels import label_set
from ambiscale_nb.models.contract import Capabilities, Reply
from ambiscale_nb.sampling.store import (CANDIDATES, INT, STR, Draw, Limits, Store, Table,
    sample_pool)
from ambiscale_nb.models.prompts import prompt
from ambiscale_nb.strategies.pool import expected_verdict

FOUR = label_set('four').labels
DIRECT, COT = prompt('label', 'direct', FOUR), prompt('label', 'cot', FOUR)
NOTES = Table('notes', dict(key=STR, group=STR, model=STR, index=INT, text=STR, error=STR),
              ('model',), ('group', 'index'))

def note(group, text, error=''):
    return [dict(key=f'{group}-{i}', group=group, model='m', index=i, text=text, error=error)
            for i in range(4)]

def clips(n=6):
    return pd.DataFrame(dict(corpus='demo', uid=[f'clip{i:03}' for i in range(n)],
                             speaker=[f's{i%3}' for i in range(n)],
                             audio_sha=[f'sha{i}' for i in range(n)]))

def wave_of(uid): return np.full(1600, int(uid[4:])/1000, np.float32)

class Scripted:
    "A model whose answers depend on audio, prompt and seed; it counts calls, and fails as told."
    name, revision, capabilities = 'scripted', 'r1', Capabilities()
    def __init__(self, fail=None): self.fail, self.calls = fail or {}, 0
    def say(self, wave, prompt, *seed, n=1):
        self.calls += 1
        at = round(float(wave[0])*1000)
        if self.calls in self.fail or f'clip{at:03}' in self.fail:
            raise self.fail.get(self.calls) or self.fail[f'clip{at:03}']
        words = rng_of(at, prompt.sha, *seed).choice(FOUR, n)
        use = dict(prompt_tokens=9, audio_tokens=3, output_tokens=2)
        return [Reply(str(o), [1, 2], 'stop', [-.5, -.1], use, .25) for o in words]
    def greedy(self, wave, prompt): return self.say(wave, prompt)[0]
    def sample(self, wave, prompt, n, seed, temperature): return self.say(wave, prompt, seed, n=n)
    def beams(self, wave, prompt, width): return self.say(wave, prompt, 'beam', n=width)
    def score(self, wave, prompt, answers): self.calls += 1; return -np.arange(1., len(answers)+1)

def run(model, store, draw=None, items=None, prompts=(DIRECT,), **options):
    items = clips() if items is None else items
    return sample_pool(model, items, wave_of, prompts, draw or Draw(), store, progress=False, **options)

def forked(work):
    "Run `work` in a child process; returns its id. A child never comes back into pytest."
    pid = os.fork()
    if pid: return pid
    try: work(); os._exit(0)
    except BaseException: os._exit(1)

def sealed(root):
    "What is in sealed files, read without the code under test: group -> texts."
    found = {}
    for path in Path(root).rglob('shard-*.parquet'):
        for o in pq.ParquetFile(path).read().to_pylist(): found.setdefault(o['group'], []).append(o['text'])
    return found

@pytest.fixture(autouse=True)
def quick(monkeypatch):
    "A flush costs milliseconds and guards against a power cut, which no test here can bring about."
    flushed = []
    monkeypatch.setattr(os, 'fsync', flushed.append)
    return flushed

def test_a_group_is_flushed_before_it_is_acknowledged(tmp_path, quick):
    store = Store(tmp_path)
    store.append(NOTES, note('a', 'text'))
    fd = next(iter(store.journals.values())).fd
    assert quick[-1]==fd
    store.append(NOTES, note('b', 'text'))
    assert quick.count(fd)==2

# P1: kill -9

def test_kill_loses_no_acknowledged_group_and_doubles_none(tmp_path, monkeypatch):
    monkeypatch.setattr(pool, 'SHARD', 24)                # so that kills fall into seals, too
    total, kills, acknowledged, chance = 130, 0, {}, random.Random(0)
    def write(pipe, most):
        store, have = Store(tmp_path), Store(tmp_path).have(NOTES)
        for i, g in enumerate(o for o in map(str, range(total)) if o not in have):
            while i==most: signal.pause()                 # to be killed here at the latest
            text = os.urandom(6).hex()                    # another text on every attempt
            store.append(NOTES, note(g, text))
            os.write(pipe, f'{g} {text}\n'.encode())
        store.seal(NOTES)
    for attempt in range(12):
        out, into = os.pipe()
        first = chance.randint(1, 7)
        most = first+chance.randint(0, 4) if attempt<11 else total
        pid = forked(lambda into=into, most=most: write(into, most))
        os.close(into)
        with os.fdopen(out, 'rb') as f:
            if attempt<11:
                acknowledged.update(f.readline().decode().split() for _ in range(first))
                time.sleep(chance.random()*.004)          # the kill comes anywhere in what follows
                os.kill(pid, signal.SIGKILL)
            for line in f.read().decode().splitlines(): acknowledged.update([line.split()])
        kills += os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])==-signal.SIGKILL
    rows = Store(tmp_path).read(NOTES)
    assert kills==11
    assert rows.key.is_unique and len(rows)==4*total
    assert {g: rows.text[rows.group==g].unique().tolist() for g in acknowledged} == {
        g: [t] for g, t in acknowledged.items()}
    assert {g: len(t) for g, t in sealed(tmp_path).items()}=={str(g): 4 for g in range(total)}

@pytest.mark.parametrize('at', ['before the link', 'after the link', 'first journal', 'second journal'])
def test_kill_inside_a_seal(tmp_path, monkeypatch, at):
    for name in 'ab':
        store = Store(tmp_path)
        for i in range(3): store.append(NOTES, note(f'{name}{i}', f'text of {name}{i}'))
        store.close()
    before = Store(tmp_path).read(NOTES)
    def die(): os.kill(os.getpid(), signal.SIGKILL)
    def seal():
        publish, unlink, gone = pool.publish, Path.unlink, []
        def killed_publish(*o):
            if at=='before the link': die()
            publish(*o); die()
        def killed_unlink(path, **how):
            if path.suffix=='.jsonl':
                gone.append(path)
                if len(gone)==(1 if at=='first journal' else 2): die()
            unlink(path, **how)
        if 'link' in at: pool.publish = killed_publish
        else: Path.unlink = killed_unlink
        Store(tmp_path).seal(NOTES)
    pid = forked(seal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])==-signal.SIGKILL
    assert Store(tmp_path).read(NOTES).equals(before)
    kept = sealed(tmp_path)
    Store(tmp_path).seal(NOTES)
    assert Store(tmp_path).read(NOTES).equals(before)
    assert not kept or sealed(tmp_path)==kept
    assert sorted(sealed(tmp_path))==sorted(before.group.unique())
    assert not list(tmp_path.rglob('*.jsonl'))
    for o in tmp_path.rglob('.*.tmp'): os.utime(o, (0, 0))
    Store(tmp_path).seal(NOTES)
    assert not list(tmp_path.rglob('.*.tmp'))

# P2: races

@pytest.mark.parametrize('links', [True, False])
def test_racing_writers_give_one_answer_that_never_changes(tmp_path, monkeypatch, links):
    def no_link(*o): raise OSError(errno.EPERM, 'no hard links here')
    if not links: monkeypatch.setattr(os, 'link', no_link)
    monkeypatch.setattr(pool, 'SHARD', 16)
    for trial in range(5):
        root, seen = tmp_path/str(trial), {}
        def write(who, root=root):
            store = Store(root)
            for i in range(8): store.append(NOTES, note(f'g{i}', f'{who}, attempt {os.urandom(4).hex()}'))
            store.seal(NOTES)
        pids = [forked(lambda who=who: write(who)) for who in 'ab']
        done = {}
        while len(done)<2:
            for g, texts in sealed(root).items(): assert seen.setdefault(g, texts)==texts
            for pid in set(pids)-set(done):
                found, status = os.waitpid(pid, os.WNOHANG)
                if found: done[pid] = status
        assert set(done.values())=={0}
        late = Store(root)
        for i in range(8): late.append(NOTES, note(f'g{i}', 'too late'))
        late.seal(NOTES)
        final = sealed(root)
        assert {g: len(t) for g, t in final.items()}=={f'g{i}': 4 for i in range(8)}
        assert all(final[g]==t for g, t in seen.items())
        assert all(len(set(t))==1 for t in final.values())          # never a mixture of two attempts
        assert not list(root.rglob('*.jsonl')) and not list(root.rglob('.*.tmp'))

def test_a_journal_at_work_is_not_cleared_away(tmp_path):
    busy, other = Store(tmp_path), Store(tmp_path)
    busy.append(NOTES, note('a', 'busy'))
    other.append(NOTES, note('b', 'other'))
    assert other.seal(NOTES)['sealed']==1
    busy.append(NOTES, note('c', 'busy again'))
    assert Store(tmp_path).have(NOTES)=={'a', 'b', 'c'}
    busy.seal(NOTES)
    assert {g: t[0] for g, t in sealed(tmp_path).items()}==dict(a='busy', b='other', c='busy again')

def test_without_locks_only_our_own_journals_are_removed(tmp_path, monkeypatch):
    monkeypatch.setattr(pool, 'lock', lambda *o: None)
    foreign, ours = Store(tmp_path), Store(tmp_path)
    foreign.append(NOTES, note('a', 'foreign'))
    ours.append(NOTES, note('b', 'ours'))
    assert ours.seal(NOTES)['sealed']==1
    foreign.append(NOTES, note('c', 'foreign'))
    foreign.close()
    assert Store(tmp_path).have(NOTES)=={'a', 'b', 'c'} and list(sealed(tmp_path))==['b']

def test_a_lock_file_left_behind_is_named(tmp_path, monkeypatch):
    def no_link(*o): raise OSError(errno.EPERM, 'no hard links here')
    monkeypatch.setattr(os, 'link', no_link)
    wait = pool.wait_for
    monkeypatch.setattr(pool, 'wait_for', lambda guard: wait(guard, 0))
    store = Store(tmp_path)
    store.append(NOTES, note('a', 'kept'))
    guard = tmp_path/'notes/model=m/shard-00000.lock'
    guard.touch()
    with pytest.raises(InputError, match='shard-00000.lock'): store.seal(NOTES)
    assert Store(tmp_path).have(NOTES)=={'a'}
    guard.unlink()
    assert Store(tmp_path).seal(NOTES)['sealed']==1

# Torn and damaged files

@pytest.mark.parametrize('cut', [1, 2, 50, 'all but one byte'])
def test_a_torn_tail_is_cut_and_counted(tmp_path, cut):
    store = Store(tmp_path)
    for g in 'abc': store.append(NOTES, note(g, 'text'))
    path = next(iter(store.journals.values())).path
    store.close()
    size, last = path.stat().st_size, len(path.read_bytes().splitlines()[-1])
    os.truncate(path, size-(last if isinstance(cut, str) else cut))
    again = Store(tmp_path)
    assert pool.store_status(again, NOTES).torn.tolist()==[1]
    assert again.have(NOTES)=={'a', 'b'}
    again.append(NOTES, note('c', 'text'))
    assert again.seal(NOTES)==dict(sealed=3, repeated=0, torn=1)
    assert len(again.read(NOTES))==12

def test_a_line_of_rubbish_costs_one_group(tmp_path):
    store = Store(tmp_path)
    for g in 'abc': store.append(NOTES, note(g, 'text'))
    path = next(iter(store.journals.values())).path
    store.close()
    lines = path.read_bytes().splitlines(True)
    path.write_bytes(lines[0]+b'\0'*40+b'\n'+lines[2])
    assert Store(tmp_path).have(NOTES)=={'a', 'c'}
    assert Store(tmp_path).seal(NOTES)==dict(sealed=2, repeated=0, torn=1)

def test_a_full_disk_stops_the_run_and_the_next_one_goes_on(tmp_path, monkeypatch):
    store, write = Store(tmp_path), os.write
    store.append(NOTES, note('a', 'text'))
    monkeypatch.setattr(os, 'write', lambda fd, data: write(fd, data[:20]))
    with pytest.raises(OSError, match='Disk full'): store.append(NOTES, note('b', 'text'))
    monkeypatch.setattr(os, 'write', write)
    assert store.have(NOTES)=={'a'}
    store.append(NOTES, note('b', 'text'))
    assert store.seal(NOTES)==dict(sealed=2, repeated=0, torn=1)

def test_a_damaged_shard_is_named(tmp_path):
    store = Store(tmp_path)
    store.append(NOTES, note('a', 'text'))
    store.seal(NOTES)
    path, = tmp_path.rglob('shard-*.parquet')
    path.chmod(0o644); path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(InputError, match='shard-00000.parquet is damaged'): Store(tmp_path).have(NOTES)
    path.unlink()
    assert Store(tmp_path).have(NOTES)==set()

# Text

TEXTS = ['', ' ', 'a\x00b', '\x00', 'x'*2_000_000, 'two\nlines\r\n', '\x1b[31mred', '😀 wütend 愤怒', '\u2028',
         '=1+1', '"\\', '<script>alert(1)</script>', 'null', 'NaN', '\ud83d\ude00', 'half \ud83d', '\udc00']

def test_any_text_comes_back_from_journal_and_shard(tmp_path):
    store = Store(tmp_path)
    for i, text in enumerate(TEXTS): store.append(NOTES, note(f'{i:02}', text))
    loose = store.read(NOTES)
    store.seal(NOTES)
    assert store.read(NOTES).equals(loose)
    for i, text in enumerate(TEXTS):
        spelt = ''.join(f'\\u{ord(o):04x}' if '\ud800'<=o<='\udfff' else o for o in text)
        assert set(loose.text[loose.group==f'{i:02}'])=={spelt}

def test_a_text_with_half_a_surrogate_is_flagged():
    task = pool.plan_pool(Scripted(), clips(1), [DIRECT], Draw(n=None)).iloc[0].to_dict()
    assert pool.reply_row(task, 0, Reply('\ud83d', [], 'stop'))['downgrades']=='surrogates spelled out'
    assert pool.reply_row(task, 0, Reply('fine', [], 'stop'))['downgrades']==''

def test_an_error_has_no_text_and_no_label(tmp_path):
    store = Store(tmp_path)
    run(Scripted({'clip001': ConnectionError('happy')}), store, Draw(n=4))
    rows = store.read(CANDIDATES)
    assert (rows.text.isna()==(rows.error!='')).all() and set(rows.error)=={'', 'connection'}
    answers = pool.answers(rows, label_set('four')).set_index('key')
    assert set(answers.parse_status[rows.key[rows.error!='']])=={'error'}
    assert set(answers.label[rows.key[rows.error!='']])=={()}

# P10: keys

TASK = dict(audio_sha='a', model='m', revision='r', prompt_sha='p', decode='sample', temperature=.7, width=0,
            max_new_tokens=64, run_seed=0, condition='none', block=0, block_size=16)

@pytest.mark.parametrize('change', [
    dict(revision='r2'), dict(model='m2'), dict(prompt_sha='q'), dict(audio_sha='b'), dict(temperature=.71),
    dict(run_seed=1), dict(condition='swap'), dict(block=1), dict(block_size=8), dict(decode='beam'),
    dict(width=3), dict(max_new_tokens=65)])
def test_a_key_changes_with_what_was_asked(change):
    assert pool.group_key({**TASK, **change})!=pool.group_key(TASK)

@pytest.mark.parametrize('change', [
    dict(temperature=np.float64(.7)), dict(width=0.), dict(width=np.int64(0)), dict(block=0.), dict(uid='renamed'),
    dict(path='/elsewhere'), dict(strategy='majority'), dict(n=32), dict(corpus='moved')])
def test_a_key_does_not_change_with_anything_else(change):
    assert pool.group_key({**TASK, **change})==pool.group_key(TASK)
    assert pool.group_key(dict(reversed({**TASK, **change}.items())))==pool.group_key(TASK)

def test_a_key_changes_with_the_schema_and_the_labels_scored(monkeypatch):
    before = pool.group_key(TASK)
    assert pool.group_key(TASK, ['angry'])!=before
    monkeypatch.setattr(pool, 'SCHEMA', 2)
    assert pool.group_key(TASK)!=before

@pytest.mark.parametrize('change', [
    dict(revision='r2'), dict(model='m2'), dict(prompt_sha='q'), dict(audio_sha='b'), dict(verifier='text'),
    dict(condition='swap'), dict(repeat=1), dict(temperature=.5), dict(run_seed=1)])
def test_a_verdict_key_changes_with_what_was_asked(change):
    task = dict(TASK, verifier='score', repeat=0)
    assert verify.verdict_key({**task, **change})!=verify.verdict_key(task)

def test_another_revision_prompt_seed_or_temperature_is_drawn_anew(tmp_path):
    store, model = Store(tmp_path), Scripted()
    base = Draw(n=16, greedy=False)
    runs = [dict(), dict(), dict(draw=replace(base, temperature=.5)), dict(draw=replace(base, seed=1)),
            dict(prompts=[COT]), dict(draw=replace(base, condition='swap')),
            dict(items=clips().assign(audio_sha=lambda df: 'new'+df.audio_sha))]
    made = [run(model, store, **{'draw': base, **o}).made for o in runs]
    model.revision = 'r2'
    assert made+[run(model, store, base).made]==[6, 0]+[6]*6
    renamed = clips().assign(uid=[f'clip{100+i}' for i in range(6)])
    assert run(model, store, base, renamed).made==0
    assert len(pool.pool_rows(store, pool.plan_pool(model, renamed, [DIRECT], base)))==6*16

# Blocks

def test_raising_n_reuses_blocks(tmp_path):
    store, model, pools = Store(tmp_path), Scripted(), {}
    for n, calls in [(8, 6), (16, 12), (32, 18), (33, 24), (8, 24)]: # 8 are a block of their own: no more is asked for
        draw = Draw(n=n, greedy=False)
        run(model, store, draw)
        assert model.calls==calls
        rows = pool.pool_rows(store, pool.plan_pool(model, clips(), [DIRECT], draw))
        assert (rows.groupby('uid').size()==n).all()
        pools[n] = rows.groupby('uid').key.agg(list)
    for a, b in [(16, 32), (32, 33)]:
        assert all(y[:len(x)]==x for x, y in zip(pools[a], pools[b], strict=True))
    assert store.read(CANDIDATES).drop_duplicates(['uid', 'block', 'block_size']).seed.is_unique

def test_a_model_that_gives_fewer_at_once_gets_smaller_blocks(tmp_path):
    store, model = Store(tmp_path), Scripted()
    model.capabilities = Capabilities(max_n=5)
    run(model, store, Draw(n=16, greedy=False))
    rows = store.read(CANDIDATES)
    assert set(rows.block_size)=={5, 1} and rows.block.max()==3 and model.calls==6*4 and len(rows)==6*16

def test_bad_settings_are_refused():
    for bad in (dict(n=0), dict(n=-1), dict(temperature=0), dict(temperature=math.nan), dict(widths=(1,)),
                dict(condition='other')):
        with pytest.raises(InputError): Draw(**bad)
    with pytest.raises(InputError, match='n must be at least 1, got 0: for no samples use None'): Draw(n=0)
    assert Draw(n=None).n is None

# P4: resuming

def test_one_bad_clip_fails_alone_and_is_tried_again(tmp_path):
    store = Store(tmp_path)
    first = run(Scripted({'clip002': InputError('clip002: 40.00 s is over 30 s')}), store)
    assert (first.made, first.failed, first.kinds)==(10, 2, {'input': 2})
    rows = store.read(CANDIDATES)
    assert set(rows.uid[rows.error!=''])=={'clip002'} and (rows.error=='input').sum()==17
    still = Scripted({'clip002': InputError('clip002: 40.00 s is over 30 s')})
    assert (run(still, store).failed, still.calls)==(2, 2)
    assert len(list(tmp_path.rglob('shard-*.parquet')))==1      # the same failure is not stored twice
    mended = Scripted()
    second = run(mended, store)
    assert (second.had, second.made, mended.calls)==(10, 2, 2)
    after = store.read(CANDIDATES)
    assert set(after.error)=={''} and len(after)==6*17
    assert set(after.uid[after.downgrades!=''])=={'clip002'}
    good = rows[rows.error==''].reset_index(drop=True)
    assert after[after.key.isin(good.key)].reset_index(drop=True).equals(good)

def test_audio_that_cannot_be_loaded_costs_no_call(tmp_path):
    def broken(uid):
        if uid=='clip003': raise InputError('clip003: it is empty')
        return wave_of(uid)
    store, model = Store(tmp_path), Scripted()
    report = sample_pool(model, clips(), broken, [DIRECT], Draw(), store, progress=False)
    assert (report.failed, report.made, model.calls)==(2, 10, 10)

@pytest.mark.parametrize('stop', [KeyboardInterrupt(), SystemExit()])
def test_an_interrupted_run_pays_only_for_what_is_missing(tmp_path, stop):
    store, model = Store(tmp_path), Scripted({7: stop})
    with pytest.raises(type(stop)): run(model, store)
    assert pool.store_status(store)[['done', 'failed', 'journals', 'torn']].values.tolist()==[[6, 0, 1, 0]]
    again = Scripted()
    assert (run(again, store).had, again.calls)==(6, 6)
    assert len(store.read(CANDIDATES))==6*17 and not list(tmp_path.rglob('*.jsonl'))

def test_a_fatal_error_ends_the_run(tmp_path):
    class WrongKey(RuntimeError): fatal = True
    store, model = Store(tmp_path), Scripted({4: WrongKey('401')})
    with pytest.raises(WrongKey): run(model, store)
    assert model.calls==4 and len(store.have(CANDIDATES))==3

def test_limits_hold_over_runs(tmp_path):
    store = Store(tmp_path)
    for limits, why in [(Limits(calls=5), 'calls: 5 of 5'), (Limits(calls=5), 'calls: 5 of 5'),
                        (Limits(tokens=200), 'tokens: '), (Limits(seconds=0), 'seconds: ')]:
        assert run(Scripted(), store, limits=limits).stopped.startswith(why)
    spent = run(Scripted(), store).spent
    assert spent==dict(calls=12, tokens=12*9+6*17*2, usd=0)
    bad = {f'clip{i:03}': TimeoutError() for i in range(6)}
    report = run(Scripted(bad), Store(tmp_path/'b'), limits=Limits(fail_on_error=.25))
    assert (report.failed, report.stopped)==(3, 'fail_on_error: 3 of 3')
    assert run(Scripted(), Store(tmp_path/'c'), limits=Limits(fail_on_error=True)).stopped==''

def test_two_runs_give_the_same_bytes(tmp_path):
    def files(root, items):
        run(Scripted(), Store(root), Draw(n=20, widths=(3,), score=FOUR), items, (DIRECT, COT))
        out = {}
        for o in sorted(root.rglob('*.parquet')):
            rows = pq.ParquetFile(o).read().to_pandas()
            out[str(o.relative_to(root))] = rows[[c for c in rows if not c.endswith('_measured')]]
        return out
    a, b = files(tmp_path/'a', clips()), files(tmp_path/'b', clips().sample(frac=1, random_state=0))
    assert len(a)==2 and a.keys()==b.keys() and all(a[o].equals(b[o]) for o in a)

def test_a_store_without_measured_scores_is_the_same_to_the_byte(tmp_path):
    for root in 'ab': run(Scripted(), Store(tmp_path/root), Draw(n=20, widths=(3,)))
    a, b = ([o.read_bytes() for o in sorted((tmp_path/root).rglob('*.parquet'))] for root in 'ab')
    assert a==b

# Reading

def test_filters_agree_with_pandas_sealed_or_not(tmp_path):
    store = Store(tmp_path)
    run(Scripted(), store, Draw(n=20, widths=(3,)), prompts=(DIRECT, COT))
    tail = Store(tmp_path)
    plan = pool.plan_pool(Scripted(), clips(), [DIRECT], Draw(n=4, seed=9, greedy=False))
    for o in plan.to_dict('records'):
        tail.append(CANDIDATES, pool.ask(Scripted(), wave_of(o['uid']), DIRECT, o))
    rows = store.read(CANDIDATES)
    assert len(rows)==2*6*(1+20+3)+6*4
    for where in (dict(decode='beam'), dict(uid=['clip001', 'clip004'], width=[0, 3]), dict(run_seed=9),
                  dict(prompt_id=COT.id, block=1), dict(uid=[]), dict(model='nobody'), dict(text='sad')):
        want = rows
        for c, v in where.items(): want = want[want[c].isin(pool.listed(v))]
        got = store.read(CANDIDATES, **where)
        assert len(want)==len(got) and (want.key.values==got.key.values).all()
    assert store.read(CANDIDATES, ['uid', 'text']).columns.tolist()==['uid', 'text']
    assert store.read(CANDIDATES).dtypes.equals(Store(tmp_path/'none').read(CANDIDATES).dtypes)

def test_a_column_added_later_is_missing_in_old_shards(tmp_path):
    store = Store(tmp_path)
    store.append(NOTES, note('a', 'old'))
    store.seal(NOTES)
    wider = replace(NOTES, columns={**NOTES.columns, 'mood': STR})
    assert store.read(wider).mood.isna().all()
    store.append(wider, [{**o, 'mood': 'good'} for o in note('b', 'new')])
    store.seal(wider)
    assert set(store.read(wider).mood.dropna())=={'good'} and len(store.read(NOTES))==8

def test_altered_rows_are_found(tmp_path):
    store = Store(tmp_path)
    run(Scripted(), store, Draw(n=4, widths=(3,), score=FOUR))
    rows = store.read(CANDIDATES)
    assert pool.false_keys(rows)==[]
    for c, value in dict(temperature=.1, revision='r9', audio_sha='x', index=99, condition='swap').items():
        odd = rows.copy()
        odd.loc[0, c] = value
        assert pool.false_keys(odd), c

# Swapped audio

@pytest.mark.parametrize('seed', range(8))
def test_a_swap_is_a_derangement_between_speakers(seed):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 9, rng.integers(3, 12))
    sizes = np.minimum(sizes, sizes.sum()-sizes.max()) if 2*sizes.max()>sizes.sum() else sizes
    speaker = np.repeat([f's{i}' for i in range(len(sizes))], sizes)
    items = pd.DataFrame(dict(corpus='demo', uid=[f'u{i}' for i in range(len(speaker))], speaker=speaker,
                              audio_sha=[f'a{i}' for i in range(len(speaker))]))
    out = pool.heard(items, 'swap')
    who = items.set_index('uid').speaker
    assert sorted(out.audio_uid)==sorted(items.uid) and (who[out.uid].values!=who[out.audio_uid].values).all()
    mixed = pool.heard(items.sample(frac=1, random_state=seed), 'swap').sort_values('uid')
    assert mixed.audio_uid.tolist()==out.sort_values('uid').audio_uid.tolist()

def test_a_swap_stores_the_audio_that_was_heard(tmp_path):
    store, draw = Store(tmp_path), Draw(n=4, condition='swap')
    run(Scripted(), store, draw)
    rows, heard = store.read(CANDIDATES), pool.heard(clips(), 'swap').set_index('uid')
    assert (rows.audio_sha==heard.audio_sha[rows.uid].values).all()
    assert (rows.audio_sha!=clips().set_index('uid').audio_sha[rows.uid].values).all()

# Replies and verdicts

@pytest.mark.parametrize('reply, kind', [
    ([Reply(None, [], 'stop')], 'no_text'), ([], 'wrong_n'), ([Reply('sad', [1], 'stop', [math.nan])], 'nan_logprob'),
    ([Reply('sad', [1], 'stop')]*2, 'wrong_n'), ([Reply('sad', [1], 'stop', [-1.], token_ends=[1, 3])], 'token_ends')])
def test_a_reply_that_is_not_one_is_an_error_of_a_named_kind(tmp_path, reply, kind):
    model = Scripted()
    model.sample = lambda *o, **k: reply*(16 if len(reply)==1 else 1)
    assert set(run(model, Store(tmp_path), Draw(greedy=False)).kinds)=={kind}

def test_replies_of_a_bare_backend_are_stored_with_gaps(tmp_path):
    model, store = Scripted(), Store(tmp_path)
    model.greedy = lambda *o: Reply('sad', None, 'stop', None, {}, .1)
    run(model, store, Draw(n=None))
    rows = store.read(CANDIDATES)
    assert rows[['tokens', 'token_logprobs', 'sum_logprob', 'n_tokens', 'cost_measured']].isna().all(axis=None)
    assert json.loads(Store(tmp_path).read(CANDIDATES).to_json())['text']['0']=='sad'

def test_verdicts_resume_and_are_never_a_number_when_missing(tmp_path):
    class Ear(Scripted):
        def score(self, wave, prompt, answers):
            self.calls += 1
            if 'happy' in prompt.text and self.fail: raise TimeoutError('no reply')
            return np.array([1., 0.])
    store = Store(tmp_path)
    def judge(model): return verify.verify_pool(model, clips(), wave_of, FOUR, store, progress=False)
    plan = verify.plan_verdicts(Ear(), clips(), FOUR)
    assert (judge(Ear({'x': 1})).failed, judge(Ear({'x': 1})).failed)==(6, 6)
    v = verify.label_verdicts(verify.verdict_rows(store, plan), clips().uid, FOUR)
    assert np.isnan(v).sum(0).tolist()==[0, 6, 0, 0]
    mended = Ear()
    judge(mended)
    assert mended.calls==6
    v = verify.label_verdicts(verify.verdict_rows(store, plan), clips().uid, FOUR)
    assert np.allclose(v, 1/(1+math.exp(-1)))

def test_the_verdict_of_a_distribution_is_the_expected_one():
    rng = np.random.default_rng(0)
    dist, v = rng.dirichlet(np.full(4, .3), (5, 7)), rng.random((5, 4))
    dist[rng.random((5, 7))<.3] = 0
    v[rng.random((5, 4))<.2] = np.nan
    got = expected_verdict(dist, v)
    for u in range(5):
        for i in range(7):
            used = dist[u, i]>0
            want = (dist[u, i]*v[u])[used].sum() if used.any() else np.nan
            assert np.isclose(got[u, i], want, equal_nan=True)
    lead = expected_verdict(np.stack([dist, dist[:, ::-1]]), v)
    assert np.allclose(lead[1], got[:, ::-1], equal_nan=True)
