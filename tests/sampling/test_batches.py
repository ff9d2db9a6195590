"""Clips that share batches: what is stored does not depend on how calls were put together."""
import pandas as pd
import pytest
from ambiscale_nb.corpora.audio import wave_sha
from ambiscale_nb.corpora.toyspeech import EMOTIONS, clip, clip_wave
from ambiscale_nb.models.prompts import prompt
from ambiscale_nb.models.tiny_alm import load_tiny
from ambiscale_nb.sampling.files import CANDIDATES, Store
from ambiscale_nb.sampling.store import Draw, Limits, sample_pool
from ambiscale_nb.sampling.verify import VERDICTS, Judge, verify_pool

WAVES = {f'u{i}': clip_wave(clip('val', i)) for i in range(5)}
ITEMS = pd.DataFrame([dict(corpus='toy', uid=o, audio_sha=wave_sha(w)) for o, w in WAVES.items()])
ASK = [prompt('label', 'cot', EMOTIONS), prompt('label', 'direct', EMOTIONS)]
DRAW = Draw(n=20, temperature=1., widths=(3,), score=tuple(EMOTIONS))
JUDGES = Judge(), Judge('text'), Judge('listwise'), Judge('listwise-text')

@pytest.fixture(scope='module')
def alm(): return load_tiny('nano')

def draw(alm, root, batch, items=ITEMS, wave_of=WAVES.get, **more):
    "Everything that a model is asked, in batches of so many clips."
    alm.most, alm._memo, store = batch, (None, None), Store(root)
    reports = [sample_pool(alm, items, wave_of, ASK, DRAW, store, progress=False, **more)]
    lists = pd.DataFrame(dict(uid=items.uid, options=[list(EMOTIONS[:2+int(o[1:])%4]) for o in items.uid]))
    for o in JUDGES:
        reports.append(verify_pool(alm, items, wave_of, EMOTIONS, store, o, progress=False,
                                   options=lists if o.listwise else None, **more))
    return reports

def stored(root):
    "What counts: rows by key, and their numbers."
    rows, said = (Store(root).read(o).set_index('key').sort_index() for o in (CANDIDATES, VERDICTS))
    return rows[['uid', 'text', 'tokens', 'finish', 'n_in_tokens', 'n_audio_tokens', 'sampler', 'error']], said[
        ['uid', 'text', 'status', 'sampler', 'error']], rows[['sum_logprob', 'confidence']], said[['score']]

def same(a, b):
    for x, y in zip(a, b, strict=True): pd.testing.assert_frame_equal(x, y, check_exact=True)

@pytest.fixture(scope='module')
def alone(alm, tmp_path_factory):
    root = tmp_path_factory.mktemp('alone')
    draw(alm, root, 1)
    return stored(root)

def test_local_samples_say_how_they_were_drawn(alone):
    assert set(alone[0].sampler)=={'', 'gumbel-splitmix64'}=={*alone[1].sampler} and not alone[0].error.any()
    assert len(alone[0])==5*(2*(1+20+3)+6)

@pytest.mark.parametrize('batch', [4, 16])
def test_the_size_of_a_batch_changes_nothing(alm, alone, tmp_path, batch):
    draw(alm, tmp_path, batch)
    same(stored(tmp_path), alone)

def test_order_parts_and_interruptions_change_nothing(alm, alone, tmp_path):
    "Half of the clips in another order by one worker, an interruption, and the rest by another in other batches."
    class Enough(BaseException): "As a user who presses Ctrl-C."
    loads = []
    def some(uid):
        loads.append(uid)
        if len(loads)==4: raise Enough
        return WAVES[uid]
    with pytest.raises(Enough): draw(alm, tmp_path, 2, ITEMS[::-1], some)
    few = len(Store(tmp_path).read(CANDIDATES))
    draw(alm, tmp_path, 3, ITEMS[::-1], part='2/2')
    draw(alm, tmp_path, 5, part='1/2')
    assert 0<few<len(alone[0])
    same(stored(tmp_path), alone)

def test_a_limit_holds_within_a_batch(alm, tmp_path):
    reports = draw(alm, tmp_path, 4, limits=Limits(calls=6))
    assert [o.made for o in reports]==[6, 0, 0, 0, 0] and 'calls: 6 of 6' in reports[0].stopped

def test_a_clip_that_fails_takes_no_other_with_it(alm, alone, tmp_path):
    "Nor does a batch for which there is no memory."
    real, sizes = alm.many, []
    def many(method, calls):
        sizes.append(len(calls))
        if len(calls)>2: raise MemoryError('too many')
        return real(method, calls)
    alm.many = many
    try: draw(alm, tmp_path, 4, wave_of=lambda o: WAVES[o][:900] if o=='u2' else WAVES[o])
    finally: del alm.many
    rows, said, *_ = stored(tmp_path)
    assert set(rows.uid[rows.error!=''])==set(said.uid[said.error!=''])=={'u2'} and max(sizes)==4
    assert set(rows.error[rows.uid.eq('u2')])=={'input'}
    pd.testing.assert_frame_equal(rows[rows.uid.ne('u2')], alone[0][alone[0].uid.ne('u2')])

def test_calls_of_a_batch_are_of_one_kind(alm, tmp_path):
    "And every prompt is read once for all that it is asked."
    read, real = [], alm.model.model.audio_tower.register_forward_hook(lambda m, args, out: read.append(len(out[0])))
    alm.most, alm._memo = 4, (None, None)
    sample_pool(alm, ITEMS, WAVES.get, ASK, DRAW, Store(tmp_path), progress=False)
    real.remove()
    assert read==[4, 4, 1, 1]
