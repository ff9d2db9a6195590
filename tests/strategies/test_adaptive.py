"Adaptive stopping against a plain walk through every order of small pools, and what it is worth."
from itertools import permutations
import numpy as np
import pytest
from hypothesis import strategies as st
from ambiscale_nb.strategies.adaptive import (Stop, adaptive_points, check_stop, expected_tv,
    expected_tv_of_mean, replay, replay_orders, stop_at, stopped)
from ambiscale_nb.metrics.metrics import brier as sq_error
from ambiscale_nb.strategies.budget import curve
from ambiscale_nb.core import InputError
from simulate import simulate
from test_strategies import pools, some
from ambiscale_nb.strategies.pool import STRATEGIES, Pool, predict, rows, settings_of, take

NAMES = ('angry', 'happy', 'sad')
METRICS = {'brier': sq_error}

stops = st.builds(Stop, st.sampled_from(['mode', 'precision']), st.sampled_from([.6, .8, .95]),
                  st.sampled_from([.1, .2, .3]))

def walk(pool, u, order, stop):
    "Answers that are asked for in one order, one step after the other, and nothing clever."
    p, names, n = pool.dist[u], pool.credit[u], 0
    while n<pool.n:
        n += 1
        seen = [i for i in order[:n] if pool.parsed[u, i]]
        votes = sum((names[i] for i in seen), np.zeros(3))
        if stop.rule=='mode':
            a, b = sorted(votes)[-1], sorted(votes)[-2]
            x = np.linspace(0, 1, 20_001)
            weight = x**a*(1-x)**b
            sure = weight[10_001:].sum()/weight.sum()>=stop.level # P(Beta > 1/2) by adding up
        elif pool.mode=='label': sure = expected_tv(votes)<=stop.delta
        else: sure = expected_tv_of_mean(len(seen), sum((p[i] for i in seen), np.zeros(3)),
                                         sum((p[i]**2 for i in seen), np.zeros(3)))<=stop.delta
        if sure: break
    return n

# ---- what it means to be sure
@pytest.mark.parametrize('alpha', [.2, .5, 1.])
@pytest.mark.parametrize('votes', [(0, 0), (3, 1, 0), (8, 0, 0, 0, 0, 0), (2.5, 1.5, 4)])
def test_the_expected_distance_equals_simulation(votes, alpha):
    p = np.random.default_rng(0).dirichlet(np.array(votes)+alpha, 60_000)
    assert expected_tv(votes, alpha)==pytest.approx(.5*np.abs(p-p.mean(0)).sum(1).mean(), abs=3e-3)

@some(60, st.lists(st.integers(0, 9), min_size=3, max_size=3), st.integers(0, 2))
def test_distances_lie_between_zero_and_one_and_do_not_know_labels(votes, i):
    assert 0<expected_tv(votes)<1
    assert expected_tv(votes)==pytest.approx(expected_tv(votes[i:]+votes[:i]))
    assert expected_tv(np.multiply(votes, 4)+4)<expected_tv(np.array(votes)+1.) # four times the answers

def test_a_mean_of_distributions_is_as_close_as_is_promised():
    sim = simulate(np.random.default_rng(3), pools=('dist',), n_speakers=10, per_speaker=40, N=8, skill=.9)
    p = sim.pools['dist'].dist
    promised = expected_tv_of_mean(np.full(len(p), 8), p.sum(1), (p**2).sum(1))
    found = .5*np.abs(p.mean(1)-sim.model).sum(1)
    assert found.mean()<=promised.mean()<2*found.mean() # careful, not blind
    assert np.corrcoef(promised, found)[0, 1]>.3

# ---- rules
@some(40, pools(max_n=5, U=2, K=3), stops)
def test_stops_equal_a_plain_walk_in_every_order(pool, stop):
    orders = np.array(list(permutations(range(pool.n))))
    got = stop_at(pool, np.repeat(orders[:, None], 2, 1), stop)
    for s, order in enumerate(orders):
        for u in range(2): assert got[s, u]==walk(pool, u, order, stop), (order, u)

@some(20, pools(max_n=5, U=2, K=3), stops)
def test_a_replay_is_the_strategy_on_what_was_asked_for(pool, stop):
    rng = np.random.default_rng(0)
    y = rng.dirichlet(np.ones(3), 2)
    orders = np.repeat(np.array(list(permutations(range(pool.n))))[:, None], 2, 1)
    for o in ('majority', 'mean'):
        found = replay_orders(pool, orders, (STRATEGIES[o], settings_of(o), METRICS), stop, y)
        for s, order in enumerate(orders[:, 0]):
            for u in range(2):
                p = predict(o, take(pool, order[:walk(pool, u, order, stop)]))
                np.testing.assert_allclose(found['L'][s, u], p.L[u], atol=1e-12)
                assert found['brier'][s, u]==pytest.approx(sq_error(p.dist, y)[u])
        point = stopped(found, pool)
        np.testing.assert_allclose(point.L.sum(-1), 1-point.empty, atol=1e-9)
        np.testing.assert_allclose(point.answers, found['answers'].mean(0))

def world(seed=0, **how): return simulate(np.random.default_rng(seed), **{'n_speakers': 6, 'per_speaker': 10, **how})

def bare(dist, parsed, labels=NAMES):
    "Answers in label mode of which nothing else is known."
    return Pool(np.arange(len(dist)).astype(str), labels, 'label', 'direct', 'sample', dist, parsed)

def test_a_rule_that_never_stops_is_the_whole_pool_and_one_that_always_does_is_one_answer():
    for pool in world(unparsed=.1).pools.values():
        y = np.full((60, 6), 1/6)
        one, whole = curve(pool, 'mean', [1, 16], y, METRICS)
        all_of_it, least = (replay(pool, 'mean', Stop(level=o), y, METRICS, n) for o, n in ((2, 5), (0, 200)))
        np.testing.assert_allclose(all_of_it.L, whole.L, atol=1e-12)
        np.testing.assert_allclose(all_of_it.metrics['brier'], whole.metrics['brier'])
        assert (all_of_it.answers==16).all() and all_of_it.mc_se('brier')<1e-12 and (least.answers==1).all()
        assert abs((least.metrics['brier']-one.metrics['brier']).mean())<4*least.mc_se('brier')

def test_unreadable_answers_are_paid_for_and_tell_nothing():
    clear, parsed = np.tile(np.eye(3)[0], (1, 8, 1)), np.array([[True, False]*4])
    assert stop_at(bare(clear*parsed[..., None], parsed), np.arange(8)[None, None], Stop()).tolist()==[[7]] # four were read
    point = replay(bare(0*clear, 0*parsed), 'majority', n_subsets=3)
    assert point.answers.tolist()==[8] and point.empty.tolist()==[1] and not point.L.any()

@pytest.mark.parametrize(('stop', 'message'), [(Stop(rule='mood'), 'mood'), (Stop(alpha=0.), 'above 0')])
def test_rules_without_meaning_are_refused(stop, message):
    with pytest.raises(InputError, match=message): check_stop(stop, world().pools['label'])

def test_pools_without_a_random_order_are_refused():
    sim = world(pools=('label', 'beam3', 'greedy', 'score'))
    for o, strategy in dict(beam3='majority', greedy='greedy', score='label_logprob').items():
        with pytest.raises(InputError, match='no random order'): replay(sim.pools[o], strategy)
    pool = sim.pools['label']
    with pytest.raises(InputError, match='verdicts'): replay(bare(pool.dist, pool.parsed, pool.labels), 'alm_v')
    with pytest.raises(InputError, match='pass y'): replay(pool, 'majority', metrics=METRICS)

def test_the_same_seed_gives_the_same_and_clips_do_not_depend_on_each_other():
    pool = world().pools['label']
    a, b, few = (replay(o, 'majority', n_subsets=7, seed=3) for o in (pool, pool, rows(pool, range(9))))
    assert (a.L==b.L).all() and (a.answers==b.answers).all() and (few.answers==a.answers[:9]).all()

# ---- what it is worth
def test_being_sure_of_the_mode_is_for_labels_and_of_the_distribution_for_distributions():
    rng = np.random.default_rng(1)
    truth = np.concatenate([rng.dirichlet([8, .5, .5], 300), rng.dirichlet([3, 3, 2], 300)])
    dist = np.eye(3)[(rng.random((600, 32, 1))>truth.cumsum(1)[:, None, :2]).sum(-1)]
    pool = bare(dist, np.ones((600, 32)))
    tv = lambda p, y: np.abs(p-y).sum(-1)/2
    right = truth==truth.max(1, keepdims=True)
    found = {}
    for name, stop in (('mode', Stop()), ('dist', Stop('precision', delta=.1))):
        point = replay(pool, 'mean', stop, truth, {'tv': tv}, 20)
        k = point.answers.mean() # The same number of answers to every clip, by a mixture of two budgets
        less, more = curve(pool, 'mean', [int(k), int(k)+1], truth, {'tv': tv}, 20)
        at = lambda get, w=k-int(k), a=less, b=more: ((1-w)*get(a)+w*get(b)).mean()
        accuracy = lambda o: (o.L*right).sum(1)
        found[name] = (accuracy(point).mean()-at(accuracy), point.metrics['tv'].mean()-at(lambda o: o.metrics['tv']),
                       point.metrics['tv'].mean())
    assert found['mode'][0]>.005
    assert found['mode'][1]>.01 and abs(found['dist'][1])<.005
    assert found['dist'][2]<.1 # what was asked for is what one gets

@pytest.mark.parametrize('mode', ['label', 'dist'])
def test_what_the_scoring_needs_is_there(mode):
    pool = world(pools=(mode,)).pools[mode]
    points = adaptive_points(pool, np.full((60, 6), 1/6), METRICS, 10)
    assert {*points}=={'adaptive_mode', 'adaptive_dist'}
    for o in points.values():
        assert o.k==16 and o.method('L')==o.method('brier')=='mc' and np.isfinite(o.mc_se('brier'))
        assert o.answers.shape==o.ess.shape==o.empty.shape==(60,) and o.L.shape==(60, 6)
        assert o.low_resolution==(o.answers.mean()>8)
