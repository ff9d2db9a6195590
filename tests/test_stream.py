"""Scoring in parts against scoring in memory: random stores in several files, whatever the size of a part; calls that
failed and were answered later, unreadable texts, clips that lack an answer, empty stores."""
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ambiscale_nb.budget import brier, curves
from ambiscale_nb.core import InputError, rng_of
from ambiscale_nb.pool import CANDIDATES, Store, candidate_key
from ambiscale_nb.results import make_pools
from ambiscale_nb.stream import cells, stored_pools, stream_scores

LABELS, TEXTS = ('angry', 'happy', 'sad'), ('angry', 'Answer: happy', 'sad', 'Sad.', 'no idea', '')
METRICS = {'brier': brier}


def row(uid, i, text, model='alm', error='', rng=None, n=4):
    rng = rng or rng_of(uid, i)
    group = f'{model}-{uid}{error}'
    known = dict(corpus='toy', uid=uid, model=model, revision='1', prompt_id='label-direct', prompt_sha='p',
                 mode='label', style='direct', decode='sample', temperature=.7, width=0, max_new_tokens=8, condition='none',
                 block=0, block_size=n, index=i, run_seed=0, seed=0, text=text, finish='stop',
                 sum_logprob=float(-rng.exponential(2)), n_tokens=float(rng.integers(1, 4)), error=error, error_text='',
                 downgrades='', audio_sha=uid, group=group)
    return {o: None for o in CANDIDATES.columns}|known|dict(key=candidate_key(group, i))


def filled(folder, clips, n, seed, models=('alm',), files=3, lost=.2):
    "A store whose clips are spread over several sealed files; some calls failed first."
    rng, store = rng_of('stream', clips, n, seed), Store(folder)
    jobs = [(m, f'c{i:03d}') for m in models for i in range(clips)]
    rng.shuffle(jobs)
    for part in np.array_split(np.arange(len(jobs)), files):
        for j in part:
            model, uid = jobs[j]
            if rng.random()<lost: store.append(CANDIDATES, [row(uid, i, None, model, 'timeout', n=n) for i in range(n)])
            store.append(CANDIDATES, [row(uid, i, rng.choice(TEXTS), model, rng=rng, n=n) for i in range(n)])
        store.seal(CANDIDATES)
    return store


def in_memory(store, **where):
    df = store.read(CANDIDATES, **where)
    df = df[df.error.eq('')].sort_values(['uid', 'block', 'index'], ignore_index=True)
    (pool,) = make_pools(df, LABELS).values()
    return pool


def truth(uids): return np.array([rng_of('people', o).dirichlet(np.ones(3)) for o in uids])


@settings(max_examples=12, deadline=None)
@given(clips=st.integers(1, 12), n=st.integers(1, 5), part=st.integers(1, 40), seed=st.integers(0, 99))
def test_parts_of_any_size_are_the_whole_pool(tmp_path_factory, clips, n, part, seed):
    store = filled(tmp_path_factory.mktemp('store'), clips, n, seed)
    whole, parts = in_memory(store), [p for _, p in stored_pools(store, LABELS, rows=part)]
    assert [u for p in parts for u in p.uids]==whole.uids.tolist()
    for field in ('dist', 'parsed', 'sum_logprob', 'n_tokens'):
        np.testing.assert_array_equal(np.concatenate([getattr(p, field) for p in parts]), getattr(whole, field))
    same = [(p.text_id[:, :, None]==p.text_id[:, None]) for p in parts]
    np.testing.assert_array_equal(np.concatenate(same), whole.text_id[:, :, None]==whole.text_id[:, None])


@pytest.mark.parametrize('part', [1, 7, 1000])
def test_scores_are_those_of_the_whole(tmp_path, part):
    store = filled(tmp_path, 15, 4, 1)
    got = stream_scores(stored_pools(store, LABELS, rows=part), truth, ks=(1, 2, 4), metrics=METRICS)
    pool = in_memory(store)
    want = curves(pool, ['majority', 'mean', 'bon'], (1, 2, 4), truth(pool.uids), METRICS)
    assert len(got)==9
    for o in got.itertuples():
        (point,) = [p for p in want[o.strategy] if p.k==o.k]
        assert o.n==15 and o.brier==pytest.approx(point.metrics['brier'].mean())
        assert o.empty==pytest.approx(point.empty.mean())
        assert o.agree==pytest.approx((point.L*truth(pool.uids)).sum()/15)


def test_every_question_is_scored_apart(tmp_path):
    store = filled(tmp_path, 6, 3, 2, models=('one', 'two'))
    assert cells(store).model.tolist()==['one', 'two']
    got = stream_scores(stored_pools(store, LABELS), truth, metrics=METRICS)
    alone = stream_scores(stored_pools(store, LABELS, model='two'), truth, metrics=METRICS)
    assert set(got.model)=={'one', 'two'} and set(alone.model)=={'two'}
    a, b = (o[o.model.eq('two')].sort_values(['strategy', 'k']).brier for o in (got, alone))
    np.testing.assert_array_equal(a, b)


def test_what_is_scored_can_be_kept(tmp_path):
    seen = []
    store = filled(tmp_path, 5, 3, 3)
    stream_scores(stored_pools(store, LABELS, rows=4), truth, strategies=['majority'], ks=(3,), metrics=METRICS,
                  keep=lambda cell, uids, strategy, point: seen.extend(zip(uids, point.metrics['brier'], strict=True)))
    pool = in_memory(store)
    (point,) = curves(pool, ['majority'], (3,), truth(pool.uids), METRICS)['majority']
    assert seen==[*zip(pool.uids, point.metrics['brier'], strict=True)]


def test_a_clip_that_lacks_an_answer_is_told_whatever_the_part(tmp_path):
    store = filled(tmp_path, 4, 3, 4)
    store.append(CANDIDATES, [row('zz', i, 'sad', n=3) for i in range(2)])
    store.seal(CANDIDATES)
    for part in (1, 3, 100):
        with pytest.raises(InputError, match='run the sampling again'): [*stored_pools(store, LABELS, rows=part)]


@pytest.mark.parametrize('part', [1, 100])
def test_a_clip_whose_call_failed_is_left_out_and_named(tmp_path, part):
    store = Store(tmp_path/'a')
    store.append(CANDIDATES, [row('a', i, 'sad') for i in range(2)])
    store.append(CANDIDATES, [row('b', i, None, error='timeout') for i in range(2)])
    store.seal(CANDIDATES)
    lost = []
    (pool,) = [p for _, p in stored_pools(store, LABELS, rows=part, lost=lost)]
    assert pool.uids.tolist()==['a'] and pool.parsed.all() and [o for _, o in lost]==[['b']]
    with pytest.warns(UserWarning, match='1 clips with failed calls'): [*stored_pools(store, LABELS, rows=part)]


def test_an_empty_store_and_an_unknown_column_are_told(tmp_path):
    store = filled(tmp_path/'a', 2, 2, 5)
    with pytest.raises(InputError, match='No sealed answers'): cells(Store(tmp_path/'b'))
    with pytest.raises(InputError, match='column of candidates'): cells(store, colour='red')
