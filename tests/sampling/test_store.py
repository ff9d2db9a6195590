"""The store under faults: kill -9, races, torn and damaged files, hostile text, keys, resuming."""
import hashlib
import json
import math
import os
import signal
import zlib
from dataclasses import replace
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ambiscale_nb.core import InputError, rng_of
from ambiscale_nb.corpora.audio import check_wave
from ambiscale_nb.corpora.labels import label_set
from ambiscale_nb.models.contract import Capabilities, Reply
from ambiscale_nb.models.prompts import prompt
from ambiscale_nb.sampling import files, store as pool, verify
from ambiscale_nb.sampling.files import CANDIDATES, STR, Store, StoreLedger
from ambiscale_nb.sampling.store import Draw, Limits, sample_pool
from ambiscale_nb.sampling.upkeep import check_store
from small_run import NOTES

FOUR = label_set('four').labels
DIRECT, COT = prompt('label', 'direct', FOUR), prompt('label', 'cot', FOUR)

def note(group, text, error=''):
    return [dict(key=f'{group}-{i}', group=group, model='m', index=i, text=text, error=error) for i in range(4)]

def clips(n=6):
    return pd.DataFrame(dict(corpus='demo', uid=[f'clip{i:03}' for i in range(n)],
                             speaker=[f's{i%3}' for i in range(n)], audio_sha=[f'sha{i}' for i in range(n)]))

def wave_of(uid): return np.full(1600, int(uid[4:])/1000, np.float32)

class Scripted:
    "A model whose answers depend on audio, prompt and seed; it counts calls, and fails for the calls and clips in `fail`."
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

def run(model, store, draw=None, items=None, prompts=(DIRECT,), wave=wave_of, **options):
    items = clips() if items is None else items
    return sample_pool(model, items, wave, prompts, draw or Draw(), store, progress=False, **options)

def forked(work):
    "Run `work` in a child process, which never returns into pytest; its exit code."
    pid = os.fork()
    if pid: return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    try: work(); os._exit(0)
    except BaseException: os._exit(1)

def texts(store):
    "Group -> its texts, as they count."
    return store.read(NOTES).groupby('group').text.agg(set).to_dict()

def written(root, *groups):
    "A store with some groups in one journal, and the journal."
    store = Store(root)
    for g in groups: store.append(NOTES, note(g, 'text'))
    return store, next(iter(store.journals.values())).path

def die(store):
    "What is left of a store whose process is gone."
    while store.journals: os.close(store.journals.popitem()[1].fd)

@pytest.fixture(autouse=True)
def quick(monkeypatch):
    "A flush costs milliseconds and guards against a power cut, which no test here can bring about."
    flushed = []
    monkeypatch.setattr(os, 'fsync', flushed.append)
    return flushed

def test_a_group_is_flushed_before_it_is_acknowledged(tmp_path, quick):
    store, _ = written(tmp_path, 'a', 'b')
    fd = next(iter(store.journals.values())).fd
    assert quick[-1]==fd and quick.count(fd)==2

# P1: kill -9; kills.py kills at random moments
@pytest.mark.parametrize('last', ['pyarrow.parquet.write_table', 'os.replace', 'pathlib.Path.unlink'])
def test_kill_inside_a_seal(tmp_path, monkeypatch, last):
    def work():
        store, _ = written(tmp_path, *'abc')
        monkeypatch.setattr(last, lambda *o, **k: os.kill(os.getpid(), signal.SIGKILL))
        store.seal(NOTES)
    assert forked(work)==-signal.SIGKILL
    journal, = tmp_path.rglob('*.jsonl')
    assert len(list(tmp_path.rglob('*.parquet')))==(last=='pathlib.Path.unlink')
    before = Store(tmp_path).read(NOTES)
    assert len(before)==12 and before.key.is_unique and StoreLedger(tmp_path).total()['calls']==3
    later, _ = written(tmp_path, *'bcd')
    later.seal(NOTES)
    assert Store(tmp_path).read(NOTES)[:12].equals(before) and journal.exists()

# P2: races
@pytest.mark.parametrize('first', ['sealed', 'dead', 'at work'])
@pytest.mark.parametrize('back', [0, 3600], ids=['', 'clock set back'])
def test_racing_writers_give_one_answer_that_never_changes(tmp_path, monkeypatch, first, back):
    one, two = Store(tmp_path), Store(tmp_path)
    one.append(NOTES, note('a', None, 'timeout'))
    one.append(NOTES, note('b', 'first'))
    if first=='sealed': one.seal(NOTES)
    elif first=='dead': die(one)
    now = files.time.time_ns
    monkeypatch.setattr(files.time, 'time_ns', lambda: now()-back*10**9)
    for o in 'abc': two.append(NOTES, note(o, 'second'))
    want = dict(a={'second'}, b={'first'}, c={'second'})
    assert texts(Store(tmp_path))==want and Store(tmp_path).have(NOTES)=={*'abc'}
    two.append(NOTES, note('a', None, 'timeout'))
    two.seal(NOTES)
    assert texts(Store(tmp_path))==want
    three = Store(tmp_path)
    for o in 'abcd': three.append(NOTES, note(o, 'third'))
    assert texts(Store(tmp_path))==dict(want, d={'third'})
    three.seal(NOTES); one.seal(NOTES)
    assert texts(Store(tmp_path))==dict(want, d={'third'})
    assert len(list(tmp_path.rglob('*.jsonl')))==(first=='dead')

def test_a_journal_at_work_is_not_cleared_away(tmp_path):
    (busy, path), (other, _) = written(tmp_path, 'a'), written(tmp_path, 'b')
    other.seal(NOTES)
    assert path.exists() and Store(tmp_path).at_work(NOTES) and not Store(tmp_path).at_work(NOTES, model='else')
    busy.append(NOTES, note('c', 'text'))
    assert Store(tmp_path).have(NOTES)=={*'abc'}
    die(busy)
    assert not Store(tmp_path).at_work(NOTES)

def test_a_journal_that_becomes_parquet_is_read_there(tmp_path, monkeypatch):
    (store, _), read = written(tmp_path, *'ab'), files.journal_rows
    def late(*o): store.seal(NOTES); return read(*o)
    monkeypatch.setattr(files, 'journal_rows', late)
    assert Store(tmp_path).have(NOTES)=={*'ab'}

# Torn and damaged files
@pytest.mark.parametrize('cut', [1, 2, 50, 'all but one byte'])
def test_a_torn_tail_is_cut_and_counted(tmp_path, cut):
    store, path = written(tmp_path, *'abc')
    die(store)
    last = len(path.read_bytes().splitlines()[-1])
    os.truncate(path, path.stat().st_size-(last if isinstance(cut, str) else cut))
    assert files.read_journal(path)[1]==1 and Store(tmp_path).have(NOTES)=={*'ab'}
    again, _ = written(tmp_path, 'c')
    again.seal(NOTES)
    assert Store(tmp_path).have(NOTES)=={*'abc'} and path.exists()

def test_a_line_of_rubbish_costs_one_group(tmp_path):
    store, path = written(tmp_path, *'abc')
    lines = path.read_bytes().splitlines(True)
    path.write_bytes(lines[0]+b'\0'*40+b'\n'+lines[2])
    store.seal(NOTES)                                     # what the disk does not return is not made Parquet
    assert path.exists() and Store(tmp_path).have(NOTES)=={'a', 'c'}

def test_a_full_disk_stops_the_run_and_the_next_one_goes_on(tmp_path, monkeypatch):
    (store, _), write = written(tmp_path, 'a'), os.write
    monkeypatch.setattr(os, 'write', lambda fd, data: write(fd, data[:20]))
    with pytest.raises(OSError, match='Disk full'): store.append(NOTES, note('b', 'text'))
    monkeypatch.setattr(os, 'write', write)
    assert store.have(NOTES)=={'a'}
    store.append(NOTES, note('b', 'text'))
    store.seal(NOTES)
    assert Store(tmp_path).have(NOTES)=={*'ab'}

def old_shard(path, rows):
    "A file as the version before wrote it: its checksum is in its metadata."
    with pq.ParquetWriter(path, rows.schema, compression='zstd', write_page_checksum=True) as w:
        w.write(rows)
        w.add_key_value_metadata({'ambiscale': 'blake2b:'+'0'*32})
    data = path.read_bytes()
    at = data.rfind(b'blake2b:')+8
    path.write_bytes(data[:at]+hashlib.blake2b(data, digest_size=16).hexdigest().encode()+data[at+32:])
    return path

@pytest.mark.parametrize('harm', ['cut', 'empty', *range(0, 100, 20)], ids=str)
@pytest.mark.parametrize('old', [False, True], ids=['', 'of the version before'])
def test_a_damaged_shard_is_named(tmp_path, harm, old):
    written(tmp_path, 'a')[0].seal(NOTES)
    path, = tmp_path.rglob('shard-*.parquet')
    if old:
        rows = pq.read_table(path).select([*NOTES.columns])
        path.unlink()
        path = old_shard(path.with_name('shard-00000.parquet'), rows)
    assert Store(tmp_path).have(NOTES)=={'a'}
    data = bytearray(path.read_bytes())
    if isinstance(harm, int): data[len(data)*harm//100] ^= 1
    path.write_bytes({'cut': data[:-30], 'empty': b''}.get(harm, data))
    with pytest.raises(InputError, match=f'Damaged.*{path.name}.*move the file out of the store'): Store(tmp_path).have(NOTES)
    path.unlink()
    assert Store(tmp_path).have(NOTES)==set()

def test_a_store_of_the_version_before_is_read_as_it_is(tmp_path):
    "Numbered files without a time, merged files next to what was merged, journals whose lines have no time."
    place = tmp_path/'notes/model=m'
    (place/'journal').mkdir(parents=True)
    timeout, sealed, again = note('a', None, 'timeout'), note('b', 'sealed'), note('a', 'again')
    for name, rows in {'00000': timeout+sealed, '00001': again, '00000-00001': again+sealed}.items():
        old_shard(place/f'shard-{name}.parquet', pa.Table.from_pylist(rows, NOTES.schema))
    loose = [json.dumps(o).encode() for o in (note('c', 'loose'), note('b', 'too late'))]
    loose = b''.join(b'%s, "_sum": "%08x"}]\n' % (o[:-2], zlib.crc32(o)) for o in loose)
    (place/'journal'/f'{10**18:016x}-{"0"*32}.jsonl').write_bytes(loose)
    new, _ = written(tmp_path, *'bcd')
    new.seal(NOTES)
    assert texts(Store(tmp_path))==dict(a={'again'}, b={'sealed'}, c={'loose'}, d={'text'})
    assert StoreLedger(tmp_path).total()['seconds']<60

# Text
TEXTS = ['', ' ', 'a\x00b', '\x00', 'x'*2_000_000, 'two\nlines\r\n', '\x1b[31mred', '😀 wütend 愤怒', '\u2028',
         '=1+1', '"\\', '<script>alert(1)</script>', 'null', 'NaN', '\ud83d\ude00', 'half \ud83d', '\udc00']

def test_any_text_comes_back_from_journal_and_shard(tmp_path):
    store = Store(tmp_path)
    for i, text in enumerate(TEXTS): store.append(NOTES, note(f'{i:02}', text))
    loose = store.read(NOTES)
    store.seal(NOTES)
    assert store.read(NOTES).equals(loose)
    spelt = [''.join(f'\\u{ord(o):04x}' if '\ud800'<=o<='\udfff' else o for o in text) for text in TEXTS]
    assert loose.groupby('group').text.agg(set).tolist()==[{o} for o in spelt]

def test_an_error_has_no_text_and_no_label(tmp_path):
    run(Scripted({'clip001': ConnectionError('happy')}), Store(tmp_path), Draw(n=4))
    rows = Store(tmp_path).read(CANDIDATES)
    assert (rows.text.isna()==(rows.error!='')).all() and set(rows.error)=={'', 'connection'}
    lost = pool.answers(rows, label_set('four')).set_index('key').loc[rows.key[rows.error!='']]
    assert set(lost.parse_status)=={'error'} and set(lost.label)=={()}

# P10: keys
TASK = dict(audio_sha='a', model='m', revision='r', prompt_sha='p', decode='sample', temperature=.7, width=0,
            max_new_tokens=64, run_seed=0, condition='none', block=0, block_size=16)
ASKED = [dict(revision='r2'), dict(model='m2'), dict(prompt_sha='q'), dict(audio_sha='b'), dict(temperature=.71),
         dict(run_seed=1), dict(condition='swap')]

@pytest.mark.parametrize('change', [*ASKED, dict(block=1), dict(block_size=8), dict(decode='beam'), dict(width=3),
                                    dict(max_new_tokens=65)])
def test_a_key_changes_with_what_was_asked(change):
    assert pool.group_key({**TASK, **change})!=pool.group_key(TASK)!=pool.group_key(TASK, ['angry'])

@pytest.mark.parametrize('change', [
    dict(temperature=np.float64(.7)), dict(width=0.), dict(width=np.int64(0)), dict(block=0.), dict(uid='renamed'),
    dict(path='/elsewhere'), dict(strategy='majority'), dict(n=32), dict(corpus='moved')])
def test_a_key_does_not_change_with_anything_else(change):
    assert pool.group_key(dict(reversed({**TASK, **change}.items())))==pool.group_key(TASK)

def test_a_key_changes_with_the_schema_and_is_that_of_the_first_studies(monkeypatch):
    before = pool.group_key(TASK)
    assert before=='f1bf184a00e539c6e93752558d81b375'
    monkeypatch.setattr(files, 'SCHEMA', 2)
    assert pool.group_key(TASK)!=before

@pytest.mark.parametrize('change', [*ASKED, dict(verifier='text'), dict(repeat=1)])
def test_a_verdict_key_changes_with_what_was_asked(change):
    task = dict(TASK, verifier='score', repeat=0)
    assert verify.verdict_key({**task, **change})!=verify.verdict_key(task)

def test_another_revision_prompt_seed_or_temperature_is_drawn_anew(tmp_path):
    store, model, base = Store(tmp_path), Scripted(), Draw(n=16, greedy=False)
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
    for a, b in [(16, 32), (32, 33)]: assert all(y[:len(x)]==x for x, y in zip(pools[a], pools[b], strict=True))
    assert store.read(CANDIDATES).drop_duplicates(['uid', 'block', 'block_size']).seed.is_unique

def test_a_model_that_gives_fewer_at_once_gets_smaller_blocks(tmp_path):
    store, model = Store(tmp_path), Scripted()
    model.capabilities = Capabilities(max_n=5)
    run(model, store, Draw(n=16, greedy=False))
    rows = store.read(CANDIDATES)
    assert set(rows.block_size)=={5, 1} and rows.block.max()==3 and model.calls==6*4 and len(rows)==6*16

# P4: resuming
def test_one_bad_clip_fails_alone_and_is_tried_again(tmp_path):
    store, long = Store(tmp_path), {'clip002': InputError('clip002: 40.00 s is over 30 s')}
    first, still, fixed = run(Scripted(long), store), Scripted(long), Scripted()
    assert (first.made, first.failed, first.kinds)==(10, 2, {'input': 2})
    rows = store.read(CANDIDATES)
    assert set(rows.uid[rows.error!=''])=={'clip002'} and (rows.error=='input').sum()==17
    assert (run(still, store).failed, still.calls)==(2, 2) and store.read(CANDIDATES).equals(rows)
    second, after = run(fixed, store), store.read(CANDIDATES)
    assert (second.had, second.made, fixed.calls)==(10, 2, 2)
    assert set(after.error)=={''} and len(after)==6*17 and set(after.uid[after.downgrades!=''])=={'clip002'}
    good = rows[rows.error==''].reset_index(drop=True)
    assert after[after.key.isin(good.key)].reset_index(drop=True).equals(good)
    assert StoreLedger(tmp_path).total()['failed']==4

def test_audio_that_cannot_be_loaded_costs_no_call(tmp_path):
    def broken(uid):
        if uid=='clip003': raise InputError('clip003: it is empty')
        return wave_of(uid)
    report = run(model := Scripted(), Store(tmp_path), wave=broken)
    assert (report.failed, report.made, model.calls)==(2, 10, 10)

class WrongKey(RuntimeError): fatal = True

@pytest.mark.parametrize('stop', [KeyboardInterrupt(), SystemExit(), WrongKey('401')])
def test_an_interrupted_run_pays_only_for_what_is_missing(tmp_path, stop):
    with pytest.raises(type(stop)) as e: run(Scripted({7: stop}), Store(tmp_path))
    assert '6 of 12 calls remain' in e.value.__notes__[0] and len(Store(tmp_path).have(CANDIDATES))==6
    again = Scripted()
    assert (run(again, Store(tmp_path)).had, again.calls)==(6, 6)
    assert len(Store(tmp_path).read(CANDIDATES))==6*17 and not list(tmp_path.rglob('*.jsonl'))

def test_limits_hold_over_runs(tmp_path):
    store, bad = Store(tmp_path), {f'clip{i:03}': TimeoutError() for i in range(6)}
    for limits, why in [(Limits(calls=5), 'calls: 5 of 5'), (Limits(calls=5), 'calls: 5 of 5'),
                        (Limits(tokens=200), 'tokens: '), (Limits(seconds=0), 'seconds: ')]:
        assert run(Scripted(), store, limits=limits).stopped.startswith(why)
    run(Scripted(), store)
    spent = StoreLedger(tmp_path).total()
    assert [spent[o] for o in ('calls', 'tokens', 'usd')]==[12, 12*9+6*17*2, 0] and 0<spent['seconds']<99
    report = run(Scripted(bad), Store(tmp_path/'b'), limits=Limits(fail_on_error=.25))
    assert (report.failed, report.stopped)==(3, 'fail_on_error: 3 of 3')
    assert run(Scripted(), Store(tmp_path/'c'), limits=Limits(fail_on_error=True)).stopped==''

def test_a_limit_counts_what_other_processes_store(tmp_path):
    "While this run is at work, another one draws other samples: its calls count as soon as they are stored."
    class Two(Scripted):
        def greedy(self, wave, prompt):
            if self.calls==0: run(Scripted(), Store(tmp_path), Draw(seed=1, greedy=False), clips(2))
            return super().greedy(wave, prompt)
    report = run(Two(), Store(tmp_path), limits=Limits(calls=6))
    assert (report.made, report.stopped)==(4, 'calls: 6 of 6')

def test_two_runs_give_the_same_bytes(tmp_path):
    def stored(root, items):
        run(Scripted(), Store(root), Draw(n=20, widths=(3,), score=FOUR), items, (DIRECT, COT))
        out = {o.parent.relative_to(root): pq.ParquetFile(o).read().to_pandas() for o in root.rglob('*.parquet')}
        return {k: rows[[c for c in rows if not c.endswith('_measured')]] for k, rows in out.items()}
    a, b = stored(tmp_path/'a', clips()), stored(tmp_path/'b', clips().sample(frac=1, random_state=0))
    assert len(a)==2 and a.keys()==b.keys() and all(a[o].equals(b[o]) for o in a)

# Reading
def asked_one_by_one(root, items, draw):
    "A store whose journal holds what was drawn."
    store = Store(root)
    for o in pool.plan_pool(Scripted(), items, [DIRECT], draw).to_dict('records'):
        store.append(CANDIDATES, pool.ask(Scripted(), [wave_of(o['uid'])], [DIRECT], [o])[0])
    return store

def test_filters_agree_with_pandas_sealed_or_not(tmp_path):
    store = Store(tmp_path)
    run(Scripted(), store, Draw(n=20, widths=(3,)), prompts=(DIRECT, COT))
    asked_one_by_one(tmp_path, clips(), Draw(n=4, seed=9, greedy=False))
    rows = store.read(CANDIDATES)
    assert len(rows)==2*6*(1+20+3)+6*4 and rows.equals(rows.sort_values([*CANDIDATES.order], ignore_index=True))
    for where in (dict(decode='beam'), dict(uid=['clip001', 'clip004'], width=[0, 3]), dict(run_seed=9), dict(text='sad'),
                  dict(prompt_id=COT.id, block=1), dict(uid=[]), dict(model='nobody'), dict(temperature=.7),
                  dict(group=rows.group[rows.run_seed.eq(9)].unique())):
        want = rows
        for c, v in where.items(): want = want[want[c].isin(files.listed(v))]
        assert store.read(CANDIDATES, **where).key.tolist()==want.key.tolist()
    assert store.read(CANDIDATES, ['uid', 'text']).columns.tolist()==['uid', 'text']
    assert store.read(CANDIDATES).dtypes.equals(Store(tmp_path/'none').read(CANDIDATES).dtypes)

def test_a_column_added_later_is_missing_in_old_shards(tmp_path):
    store, _ = written(tmp_path, 'a')
    store.seal(NOTES)
    wider = replace(NOTES, columns={**NOTES.columns, 'mood': STR})
    assert store.read(wider).mood.isna().all()
    store.append(wider, [{**o, 'mood': 'good'} for o in note('b', 'new')])
    for _ in 'ab':
        assert set(store.read(wider).mood.dropna())=={'good'} and len(store.read(NOTES))==8
        store.seal(wider)

def test_altered_rows_are_found(tmp_path):
    store = Store(tmp_path)
    run(Scripted(), store, Draw(n=4, widths=(3,), score=FOUR))
    rows = store.read(CANDIDATES)
    assert pool.false_keys(rows)==[] and check_store(store).empty
    for c, value in dict(temperature=.1, revision='r9', audio_sha='x', index=99, condition='swap').items():
        assert pool.false_keys(rows.assign(**{c: [value, *rows[c][1:]]})), c

def test_the_check_names_what_is_harmless(tmp_path):
    "A journal of a run that was killed, its torn line, and a half-written file."
    store = asked_one_by_one(tmp_path, clips(2), Draw(n=None))
    place, = store.places(CANDIDATES, {})
    path, = place.glob('journal/*')
    os.truncate(path, path.stat().st_size-9)
    (place/'.shard-x').touch()
    found = check_store(Store(tmp_path))
    assert found.problem.tolist()==['torn', 'journal', 'half_written'] and found.harmless.all()
    assert found['count'].tolist()==[1, 1, 1] and not found.file.str.startswith('/').any()

# Swapped audio
@pytest.mark.parametrize('seed', range(8))
def test_a_swap_is_a_derangement_between_speakers(seed):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 9, rng.integers(3, 12))
    sizes = np.minimum(sizes, sizes.sum()-sizes.max()) if 2*sizes.max()>sizes.sum() else sizes
    items = clips(sizes.sum()).assign(speaker=np.repeat([f's{i}' for i in range(len(sizes))], sizes))
    out, who = pool.heard(items, 'swap'), items.set_index('uid').speaker
    assert sorted(out.audio_uid)==sorted(items.uid) and (who[out.uid].values!=who[out.audio_uid].values).all()
    mixed = pool.heard(items.sample(frac=1, random_state=seed), 'swap').sort_values('uid')
    assert mixed.audio_uid.tolist()==out.sort_values('uid').audio_uid.tolist()

def test_a_swap_stores_the_audio_that_was_heard(tmp_path):
    run(Scripted(), Store(tmp_path), Draw(n=4, condition='swap'))
    rows, heard = Store(tmp_path).read(CANDIDATES), pool.heard(clips(), 'swap').set_index('uid')
    assert (rows.audio_sha==heard.audio_sha[rows.uid].values).all()
    assert (rows.audio_sha!=clips().set_index('uid').audio_sha[rows.uid].values).all()

# Words and silence in place of a clip
class Reader(Scripted):
    "Takes words too; keeps what it was given."
    capabilities = Capabilities(text=True)
    def __init__(self): super().__init__(); self.given = []
    def greedy(self, wave, prompt): self.given.append(wave); return Reply('sad', [1], 'stop', [-.1])

def test_words_are_part_of_the_key_and_clips_that_share_them_share_a_pool(tmp_path):
    said = clips().assign(transcript=['no', 'no', 'yes', 'it is', '', None])
    model, draw, store = Reader(), Draw(None, condition='transcript'), Store(tmp_path)
    report = run(model, store, draw, said)
    assert report.planned == 3
    assert model.given == [f'The speaker says: "{o}"\n' for o in ('no', 'yes', 'it is')]
    assert len(pool.pool_rows(store, pool.plan_pool(model, said, [DIRECT], draw))) == 4
    run(model, store, draw, said.replace('yes', 'maybe'))
    assert len(model.given) == 4 and model.given[-1] == 'The speaker says: "maybe"\n'

def test_silence_has_the_length_of_the_clip_and_survives_sixteen_bits(tmp_path):
    run(model := Reader(), Store(tmp_path), Draw(None, condition='silence'), wave=lambda o: np.ones(1600+int(o[4:]), np.float32))
    assert [len(o) for o in model.given] == [1600+i for i in range(6)] and check_wave(model.given[0]) is model.given[0]
    assert set(np.rint(model.given[0]*32768)) == {-1, 0, 1}
    assert not set(Store(tmp_path).read(CANDIDATES).group) & set(pool.plan_pool(model, clips(), [DIRECT], Draw(None)).group)

@pytest.mark.parametrize('model, items, said', [
    (Scripted(), clips().assign(transcript='no'), 'scripted takes no question without audio'),
    (Reader(), clips(), 'demo has no transcripts, so nothing can be asked')])
def test_what_cannot_be_asked_in_writing_is_refused_before_a_call(tmp_path, model, items, said):
    with pytest.raises(InputError, match=said): run(model, Store(tmp_path), Draw(condition='transcript'), items)
    assert not model.calls and not [*tmp_path.iterdir()]

# Replies and verdicts
@pytest.mark.parametrize('reply, kind', [
    ([Reply(None, [], 'stop')], 'no_text'), ([], 'wrong_n'), ([Reply('sad', [1], 'stop', [math.nan])], 'nan_logprob'),
    ([Reply('sad', [1], 'stop')]*2, 'wrong_n'), ([Reply('sad', [1], 'stop', [-1.], token_ends=[1, 3])], 'token_ends')])
def test_a_reply_that_is_not_one_is_an_error_of_a_named_kind(tmp_path, reply, kind):
    model = Scripted()
    model.sample = lambda *o, **k: reply*(16 if len(reply)==1 else 1)
    assert set(run(model, Store(tmp_path), Draw(greedy=False)).kinds)=={kind}

def test_replies_of_a_bare_backend_are_stored_with_gaps(tmp_path):
    model = Scripted()
    model.greedy = lambda *o: Reply('sad', None, 'stop', None, {}, .1)
    run(model, Store(tmp_path), Draw(n=None))
    rows = Store(tmp_path).read(CANDIDATES)
    assert rows[['tokens', 'token_logprobs', 'sum_logprob', 'n_tokens', 'cost_measured']].isna().all(axis=None)
    assert json.loads(rows.to_json())['text']['0']=='sad'
