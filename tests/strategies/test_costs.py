"Costs against a count over all subsets; what rows do not say stays unknown; the Pareto front by brute force."
from itertools import combinations, product
import numpy as np
import pandas as pd
import pytest
from hypothesis import strategies as st
from ambiscale_nb.strategies.adaptive import replay
from ambiscale_nb.strategies.budget import budgets
from ambiscale_nb.core import InputError
from ambiscale_nb.strategies.costs import (RESOURCES, answer_ledger, bill, calls_of, cost_row,
    judged_at_k, judged_bill, pareto, stopped_row, strategy_bill, verdict_ledger)
from simulate import simulate
from test_strategies import pools, some
from ambiscale_nb.strategies.pool import STRATEGIES, Pool, applicable

NAMES = ('angry', 'happy', 'sad')

def call(uid, block, size=4, requests=1, taken=None):
    "The rows of one call, as an endpoint's replies leave them: the first carries what all requests read."
    rows = [dict(index=i, n_tokens=(3., 5, 7, 9)[i%4], n_in_tokens=50.*(1 if i else requests)) for i in range(taken or size)]
    return pd.DataFrame(rows).assign(uid=uid, block=block, block_size=size, prompt_sha='p', decode='sample', width=0, error='',
        condition='none', downgrades='', n_audio_tokens=40., latency_measured=.25, cost_measured=.002)

# ---- what a call gives
@pytest.mark.parametrize(('size', 'requests'), [(1, 1), (4, 1), (4, 2), (4, 4), (16, 2), (16, 16), (10, 3)])
def test_the_number_of_requests_is_recovered(size, requests):
    rows = call('a', 0, size, requests)
    found = calls_of(rows.sample(frac=1, random_state=0))
    assert found.requests.tolist()==[requests] and found.n_in_tokens.tolist()==[50]
    assert answer_ledger(rows, ['a']).each.tolist()==[size/requests]

def test_a_call_of_which_little_was_taken_tells_nothing_where_another_does():
    assert calls_of(pd.concat([call('a', 0, 4, 2), call('a', 1, 4, 2, taken=1)])).n_in_tokens.tolist()==[50]

def test_input_is_paid_for_once_a_call_and_output_for_every_answer():
    ledger = answer_ledger(pd.concat([call(u, b) for u in 'ab' for b in (0, 1)]), ['a', 'b'], {'a': 1.5, 'b': 2.})
    for k, n in ((1, 1), (4, 1), (5, 2), (8, 2), (9, 3)):
        got = bill(ledger, k)
        for o, want in dict(answers=k, calls=n, in_tokens=50*n, out_tokens=6*k, audio_seconds=n*np.array([1.5, 2]),
                            usd=.002*k, wall_seconds=.25*k).items(): np.testing.assert_allclose(got[o], want, err_msg=o)

def test_the_whole_pool_costs_what_its_rows_say():
    rows = pd.concat([call(u, b, 4, r) for u, r in zip('abc', (1, 2, 4), strict=True) for b in (0, 1, 2)])
    got, paid = bill(answer_ledger(rows, [*'abc']), 12), rows.groupby('uid').sum(numeric_only=True)
    np.testing.assert_allclose(got['in_tokens'], rows[rows['index']==0].groupby('uid').n_in_tokens.sum())
    for o, column in dict(out_tokens='n_tokens', usd='cost_measured', wall_seconds='latency_measured').items():
        np.testing.assert_allclose(got[o], paid[column])

# ---- what is not known
@pytest.mark.parametrize(('column', 'resource'), [('n_tokens', 'out_tokens'), ('n_in_tokens', 'in_tokens'),
    ('n_audio_tokens', 'audio_tokens'), ('latency_measured', 'wall_seconds'), ('cost_measured', 'usd')])
def test_what_a_row_does_not_say_is_unknown_never_zero(column, resource):
    rows = pd.concat([call('a', 0), call('b', 0).assign(**{column: np.nan})])
    got = bill(answer_ledger(rows, ['a', 'b'], {'a': 1., 'b': 1.}), 2)
    assert np.isfinite(got[resource][0]) and np.isnan(got[resource][1])
    for o in RESOURCES:
        if o!=resource: assert np.isfinite(got[o]).all(), o

def test_failed_calls_are_not_billed():
    rows = pd.concat([call('a', 0), call('a', 1).assign(error='timeout', n_tokens=np.nan)])
    assert answer_ledger(rows, ['a']).answer['out_tokens'].tolist()==[6]
    with pytest.raises(InputError, match='1 clips have no answer'): answer_ledger(rows.assign(error='timeout'), ['a'])

# ---- verifiers
def judgements(uids, labels, repeats=1):
    rows = pd.DataFrame(product(uids, labels, range(repeats)), columns=['uid', 'label', 'repeat'])
    return rows.assign(error='', n_in_tokens=60., n_audio_tokens=40., n_tokens=2., latency_measured=.1, cost_measured=.001)

@some(25, pools(min_n=2, U=2, K=3))
def test_verdicts_at_k_equal_a_count_over_all_subsets(pool):
    for k in range(1, pool.n+1):
        named = [(pool.dist[:, list(o)]>0).any(1) for o in combinations(range(pool.n), k)]
        np.testing.assert_allclose(judged_at_k(pool, k), np.mean(named, 0), atol=1e-9)

@some(15, pools(min_n=2, U=2, K=3))
def test_every_strategy_is_billed_as_by_hand(pool):
    ledger = answer_ledger(pd.concat([call(u, 0, pool.n) for u in pool.uids]), pool.uids)
    verdicts = verdict_ledger(judgements(pool.uids, pool.labels, 2), pool.uids, pool.labels)
    for o, k in product([o for o in STRATEGIES if not applicable(o, pool)], range(1, pool.n+1)):
        marginal, full = strategy_bill(o, pool, k, ledger, verdicts)
        needs, asked = STRATEGIES[o].needs, o!='verifier_alone'
        n = (judged_at_k(pool, k) if 'verdicts' in needs else np.ones((2, 3))*('label_verdicts' in needs)).sum(1)
        for got, want in ((marginal['calls'], 2*n), (marginal['in_tokens'], 120*n), (full['answers'], 2*n+k*asked),
                          (full['calls'], 2*n+asked), (full['in_tokens'], 120*n+50*asked)):
            np.testing.assert_allclose(got, want)

def test_costs_never_fall_with_the_budget_and_a_vote_adds_nothing():
    sim = simulate(np.random.default_rng(1), n_speakers=4, per_speaker=5, N=8, unparsed=.1)
    for pool in sim.pools.values():
        rows = pd.concat([call(u, b) for u in pool.uids for b in (0, 1)])
        seconds = dict.fromkeys(pool.uids, 2.)
        paid = (answer_ledger(rows, pool.uids, seconds),
                verdict_ledger(judgements(pool.uids, pool.labels), pool.uids, pool.labels, seconds))
        table = pd.DataFrame([dict(strategy=o, k=k, **cost_row(o, pool, k, *paid))
                              for o in STRATEGIES if not applicable(o, pool) for k in budgets(pool, None)])
        assert (table.unknown=='').all() and table.notna().all().all()
        for o, part in table.groupby('strategy'):
            for r in RESOURCES: assert part[r].is_monotonic_increasing, (o, r)
        votes = table[table.strategy.isin(['majority', 'mean', 'bon'])]
        assert (votes[[f'marginal_{o}' for o in RESOURCES]]==0).all().all()

def test_repeats_are_paid_for_and_missing_judgements_are_unknown():
    table = judgements('ab', NAMES, 3)
    got = verdict_ledger(table[~(table.uid.eq('b') & table.label.eq('sad'))], [*'ab'], NAMES)
    assert (got['calls'][0]==3).all() and np.isnan(got['calls'][1, 2])
    half = table.assign(n_tokens=np.where(table.repeat==0, np.nan, 2.))
    assert np.isnan(verdict_ledger(half, [*'ab'], NAMES)['out_tokens']).all()

def test_a_verdict_that_is_not_asked_for_need_not_be_known():
    pool = Pool(['a'], NAMES, 'label', 'direct', 'sample', np.eye(3)[[[0, 1]]], np.ones((1, 2)),
                label_verdict=[[.2, .5, np.nan]])
    v = verdict_ledger(judgements('a', NAMES[:2]), ['a'], NAMES)
    assert judged_bill('alm_v', pool, 2, v)['calls'].tolist()==[2]
    assert np.isnan(judged_bill('verifier_alone', pool, 2, v)['calls']).all()

def test_a_row_of_results_says_what_is_unknown():
    rows = pd.concat([call('a', 0), call('b', 0).assign(cost_measured=np.nan)])
    pool = Pool([*'ab'], NAMES, 'label', 'direct', 'sample', np.eye(3)[[[0]*4, [1]*4]], np.ones((2, 4)))
    got = cost_row('majority', pool, 4, answer_ledger(rows, [*'ab'], {'a': 1., 'b': 1.}))
    assert got['unknown']=='usd of 1 clips' and np.isnan(got['usd']) and got['marginal_usd']==0
    assert {*got}=={*RESOURCES, *(f'marginal_{o}' for o in RESOURCES), 'unknown'}
    with pytest.raises(InputError, match='pass their ledger'): cost_row('alm_v', pool, 4, answer_ledger(rows, [*'ab']))

@pytest.mark.parametrize('requests', [1, 2, 4])
def test_adaptive_stopping_reads_the_clip_with_every_answer(requests):
    pool = simulate(np.random.default_rng(2), n_speakers=2, per_speaker=5, N=8, pools=('label',)).pools['label']
    ledger = answer_ledger(pd.concat([call(u, b, 4, requests) for u in pool.uids for b in (0, 1)]), pool.uids)
    point = replay(pool, 'majority', n_subsets=20)
    n, row = point.answers.mean(), stopped_row(point, ledger)
    assert [row[o] for o in ('answers', 'calls', 'in_tokens', 'out_tokens')]==pytest.approx([n, n, 50*n, 6*n])
    assert row['marginal_audio_seconds']==0 and row['unknown']=='audio_seconds of 10 clips' and np.isnan(row['audio_seconds'])

def test_bills_of_listwise_judges():
    v = verdict_ledger(judgements('a', NAMES), ['a'], NAMES)
    pool = Pool(['a'], NAMES, 'label', 'direct', 'sample', np.eye(3)[[[0, 1]]], np.ones((1, 2)), label_verdict=[[.2, .5, .1]])
    listwise, ledger = {o: np.array([2.]) for o in RESOURCES}, answer_ledger(call('a', 0), ['a'])
    for k in (1, 2): assert strategy_bill('alm_v', pool, k, ledger, listwise)[1]['calls'].tolist()==[3]
    assert judged_bill('majority', pool, 2, v)['calls'].tolist()==[0]
    assert bill(ledger, [9])['calls'].tolist()==[3] and bill(ledger, [9], requests=1)['in_tokens'].tolist()==[50]

# ---- the front
@some(150, st.lists(st.tuples(*[st.integers(0, 6)|st.none()]*2), max_size=12), st.sampled_from(['lower', 'higher']))
def test_the_front_is_what_nothing_beats(pairs, better):
    df, sign = pd.DataFrame(pairs, columns=['answers', 'value'], dtype=float), 1 if better=='lower' else -1
    def beats(a, b): return a[0]<=b[0] and sign*a[1]<=sign*b[1] and (a[0]<b[0] or sign*a[1]<sign*b[1])
    known = [o for o in pairs if None not in o]
    assert pareto(df, better=better).tolist()==[None not in b and not any(beats(a, b) for a in known) for b in pairs]
