"Scores straight from sealed files are those of the same answers in memory, whatever the store went through."
from dataclasses import replace
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from ambiscale_nb.budget import brier, curves
from ambiscale_nb.core import InputError
from ambiscale_nb.labels import label_set
from ambiscale_nb.metrics import jsd
from ambiscale_nb.pool import CANDIDATES, Store, candidate_key
from ambiscale_nb.parser import parse
from ambiscale_nb.strategies import Pool, pool_of, predict
from ambiscale_nb.stream import CELL, cells, stored_pools, stream_scores, whole_clips

FOUR = label_set('four')
LABELS = FOUR.labels
SAYS = dict(label=[*LABELS, 'Excited.', 'Sad.', 'The speaker is happy.', 'I cannot tell.', ''],
            dist=['{"angry": 0.5, "happy": 0.5, "neutral": 0, "sad": 0}', '{"sad": 1}', 'none of these',
                  '{"angry": 10, "happy": 20, "neutral": 30, "sad": 40}'])
STRATEGIES, METRICS = ('majority', 'mean', 'bon', 'alm_v'), dict(brier=brier, jsd=jsd)
BLOCK = 4

def group(uid, block, texts, error='', mode='label', temperature=.7, logprob=None, finish='stop'):
    "One block of answers, as a model's run stores it."
    name = f'{uid}/{block}/{mode}/{temperature}/{error}'
    known = dict(corpus='toy', uid=uid, model='alm', revision='1', prompt_id=f'{mode}-direct', prompt_sha='p', mode=mode,
                 style='direct', decode='sample', temperature=temperature, width=0, max_new_tokens=8, condition='none',
                 block=block, block_size=BLOCK, run_seed=0, seed=0, finish=finish, error=error, error_text='',
                 downgrades='', audio_sha=uid, group=name)
    more = [dict(index=i, text=o, sum_logprob=None if logprob is None else float(logprob[i]), n_tokens=1.+i%3,
                 key=candidate_key(name, i)) for i, o in enumerate(texts)]
    return [{o: None for o in CANDIDATES.columns} | known | o for o in more]

def world(root, seed, U=23, blocks=2, segments=4):
    "A store written in any order over some segments, and what its answers are in memory."
    rng, uids = np.random.default_rng(seed), np.array([f'c{i:02}' for i in range(U)], object)
    jobs, memory, failed = [], {}, {*rng.choice(uids, 3, replace=False)}
    for mode, temperature in (('label', .7), ('label', 1.), ('dist', .7)):
        texts = rng.choice(SAYS[mode], (U, blocks, BLOCK)).astype(object)
        logprob = -rng.gamma(3, 1, (U, blocks, BLOCK)).round(3)
        for u, b in np.ndindex(U, blocks):
            how = dict(mode=mode, temperature=temperature)
            never = b==1 and uids[u] in failed  # the second half of some clips was never answered
            if never: texts[u, b], logprob[u, b] = None, np.nan
            if never or rng.random()<.2: jobs.append((rng.random()-never, group(uids[u], b, [None]*BLOCK, 'timeout', **how)))
            if not never: jobs.append((1+rng.random(), group(uids[u], b, texts[u, b], logprob=logprob[u, b], **how)))
        memory[mode, temperature] = texts.reshape(U, -1), logprob.reshape(U, -1)
    store = Store(root)
    for part in np.array_split(np.arange(len(jobs)), segments):
        for i in part: store.append(CANDIDATES, sorted(jobs, key=lambda o: o[0])[i][1])
        store.seal(CANDIDATES)
    verdicts = pd.DataFrame(rng.random((U, 4)), uids, LABELS)
    truth = pd.DataFrame(rng.dirichlet(np.ones(4), U), uids)
    return store, uids, memory, verdicts, truth

def in_memory(uids, mode, texts, logprob, verdicts):
    "The pool of one cell, answer by answer."
    def read(text):
        got = None if text is None else parse(text, mode, 'direct', LABELS, FOUR.merged, 'stop').dist
        return np.zeros(4) if got is None else got
    dist = np.array([[read(o) for o in row] for row in texts])
    n_tokens = np.tile(1.+np.arange(BLOCK)%3, texts.shape[1]//BLOCK)*np.ones((len(uids), 1))
    return Pool(uids, LABELS, mode, 'direct', 'sample', dist, dist.sum(-1)>0, logprob, n_tokens,
                label_verdict=verdicts.loc[uids].to_numpy())

def answered(memory, at, uids):
    "The clips of a cell whose every call was answered at last, and their answers."
    texts, logprob = memory[at]
    whole = ~np.array([[o is None for o in row] for row in texts]).any(1)
    return uids[whole], texts[whole], logprob[whole]

@pytest.fixture(scope='module', params=[0, 1, 2])
def made(request, tmp_path_factory): return world(tmp_path_factory.mktemp('store'), request.param)

@pytest.mark.parametrize('rows', [1, 9, 70, 10_000])
def test_the_numbers_are_those_of_the_answers_in_memory(made, rows):
    store, uids, memory, verdicts, truth = made
    got = stream_scores(stored_pools(store, FOUR, rows=rows, verdicts=verdicts, lost=[]),
                        lambda o: truth.loc[o].to_numpy(), STRATEGIES, (1, 3, 8), METRICS)
    assert len(got)==3*len(STRATEGIES)*3 and (got.n==len(uids)-3).all()
    exact = 0
    for mode, temperature in memory:
        clips, *answers = answered(memory, (mode, temperature), uids)
        y = truth.loc[clips].to_numpy()
        pool = in_memory(clips, mode, *answers, verdicts)
        for s, points in curves(pool, STRATEGIES, (1, 3, 8), y, METRICS).items():
            for p in points:
                o = got[(got['mode']==mode) & (got.temperature==temperature) & (got.strategy==s) & (got.k==p.k)].iloc[0]
                np.testing.assert_allclose([o['empty'], o['agree']],
                                           [p.empty.mean(), (p.L*y).sum(-1).mean()], atol=1e-9)
                for m in METRICS: np.testing.assert_allclose(o[m], p.metrics[m].mean(), atol=1e-9, err_msg=f'{s} {m}')
                exact += 1
    assert exact==len(got)

def test_every_clip_comes_once_and_whole(made):
    store, uids, memory, verdicts, _ = made
    for rows in (1, 30):
        seen, some = {}, verdicts.mask(verdicts<.2)
        for cell, pool in stored_pools(store, FOUR, rows=rows, verdicts=some, lost=[]):
            assert pool.n==2*BLOCK and tuple(cell)==CELL
            seen.setdefault((cell['mode'], cell['temperature']), []).append(pool)
        assert seen.keys()==memory.keys()
        for at, parts in seen.items():
            clips, *answers = answered(memory, at, uids)
            assert sorted(np.concatenate([o.uids for o in parts]))==sorted(clips) and len(parts)>=(3 if rows==30 else 20)
            whole = in_memory(clips, at[0], *answers, some)
            for part in parts:
                idx = pd.Index(clips).get_indexer(part.uids)
                np.testing.assert_allclose(part.dist, whole.dist[idx])
                np.testing.assert_allclose(part.sum_logprob, whole.sum_logprob[idx])
                np.testing.assert_allclose(part.verdict, whole.verdict[idx])

def test_clips_with_failed_calls_are_left_out_and_named(made):
    store, uids, memory, _, _ = made
    clips, *_ = answered(memory, ('label', .7), uids)
    how = dict(rows=30, mode='label', temperature=.7)
    lost = []
    assert sum(len(p.uids) for _, p in stored_pools(store, FOUR, lost=lost, **how))==len(clips)
    (cell, names), = lost
    assert cell['temperature']==.7 and sorted(names)==sorted({*uids}-{*clips}) and len(names)==3
    with pytest.warns(UserWarning, match='3 clips with failed calls'): [*stored_pools(store, FOUR, **how)]

def test_a_store_in_one_segment_gives_the_same(tmp_path):
    def score(store, truth): return stream_scores(stored_pools(store, FOUR, rows=30, lost=[]),
                                                  lambda o: truth.loc[o].to_numpy(), ks=(1, 8), metrics=METRICS)
    one, *_, truth = world(tmp_path/'one', 5, segments=1)
    many, *_ = world(tmp_path/'many', 5, segments=7)
    by = [*CELL, 'strategy', 'k']
    pd.testing.assert_frame_equal(score(one, truth).sort_values(by, ignore_index=True),
                                  score(many, truth).sort_values(by, ignore_index=True))

def test_empty_partitions_add_nothing(tmp_path):
    store, *_, truth = world(tmp_path, 0, U=6)
    def score(): return stream_scores(stored_pools(store, FOUR, lost=[]), lambda o: truth.loc[o].to_numpy(),
                                      ks=(1, 8), metrics=METRICS)
    before, counts = score(), cells(store)
    shard = sorted(tmp_path.rglob('shard-*.parquet'))[0]
    for name in ('folder', 'file'):
        other = shard.parent.with_name(shard.parent.name.split('=')[0]+f'=no-{name}')
        other.mkdir()
        if name=='file': pq.write_table(pq.read_table(shard, partitioning=None).slice(0, 0), other/shard.name)
    store = Store(tmp_path)
    pd.testing.assert_frame_equal(cells(store), counts)
    pd.testing.assert_frame_equal(score(), before)

def test_a_filter_that_leaves_nothing_yields_no_pool(made):
    store, *_ = made
    assert [*stored_pools(store, FOUR, uid=['nobody'])]==[] and not len(cells(store, uid=['nobody']))

def test_an_empty_store_is_refused(tmp_path):
    with pytest.raises(InputError, match='sample first'): [*stored_pools(Store(tmp_path), FOUR)]

def test_some_clips_only(made):
    store, uids, memory, verdicts, _ = made
    clips, *answers = answered(memory, ('dist', .7), uids)
    some = [clips[4], clips[2]]
    found = [*stored_pools(store, FOUR, uid=some, mode='dist', verdicts=verdicts)]
    assert [o for _, p in found for o in p.uids]==sorted(some)
    whole = predict('majority', in_memory(clips, 'dist', *answers, verdicts))
    np.testing.assert_allclose(np.concatenate([predict('majority', p).dist for _, p in found]), whole.dist[[2, 4]])

def test_what_is_kept_is_every_clip_of_every_point(made):
    store, uids, _, _, truth = made
    kept = []
    stream_scores(stored_pools(store, FOUR, rows=30, lost=[]), lambda o: truth.loc[o].to_numpy(), ('majority',), (2,), METRICS,
                  keep=lambda cell, u, s, p: kept.append((cell['mode'], cell['temperature'], s, p.k, len(u), len(p.L))))
    assert {o[:4] for o in kept}=={(m, t, 'majority', 2) for m, t in (('label', .7), ('label', 1.), ('dist', .7))}
    assert sum(o[4] for o in kept)==3*(len(uids)-3) and all(o[4]==o[5] for o in kept)

def test_no_clip_is_cut_whatever_the_parts():
    import pyarrow as pa
    rng = np.random.default_rng(0)
    for _ in range(40):
        uid = np.sort(rng.integers(0, 8, 30)).astype(str)
        cuts = np.split(np.arange(30), np.sort(rng.integers(0, 31, rng.integers(0, 12))))
        got = [o['uid'].to_pylist() for o in whole_clips([pa.table({'uid': uid[i]}) for i in cuts])]
        assert sum(got, [])==uid.tolist()
        assert not any({*a} & {*b} for a, b in zip(got, got[1:], strict=False)) and all(got)

def test_a_clip_with_fewer_answers_is_named(tmp_path):
    store, *_ = world(tmp_path, 0, U=4)
    store.append(CANDIDATES, group('z', 0, ['sad']*BLOCK))
    store.seal(CANDIDATES)
    for rows in (1, 1000):
        with pytest.raises(InputError, match='answers'): [*stored_pools(store, FOUR, rows=rows, mode='label', temperature=.7, lost=[])]

def test_a_part_in_which_nothing_was_judged_falls_back_like_the_rest(made):
    "The last clip has no verdicts: the majority speaks for it, however the clips are parted."
    store, uids, memory, verdicts, truth = made
    clips, *answers = answered(memory, ('label', .7), uids)
    some = verdicts.copy()
    some.loc[clips[-1]] = np.nan
    got = stream_scores(stored_pools(store, FOUR, verdicts=some, lost=[], mode='label', temperature=.7),
                        lambda o: truth.loc[o].to_numpy(), ('alm_v',), (8,), METRICS)
    want = predict('alm_v', in_memory(clips, 'label', *answers, some)).dist
    assert got.n.tolist()==[len(clips)]
    np.testing.assert_allclose(got['brier'], brier(want, truth.loc[clips].to_numpy()).mean())


def test_w_bon_after_reasoning_is_refused_not_weighed_otherwise():
    pool = pool_of([['sad', 'angry']], LABELS, sum_logprob=[[-1., -2]], n_tokens=[[2, 2]], text_id=[[0, 1]])
    found = lambda style: stream_scores([(dict.fromkeys(CELL, ''), replace(pool, style=style))], lambda o: np.full((1, 4), .25),
                                        ('w_bon', 'w_bon_mean'), (2,))
    assert set(found('direct').strategy)=={'w_bon', 'w_bon_mean'}
    with pytest.raises(InputError, match='take w_bon_mean'): found('cot')
