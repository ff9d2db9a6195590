"Calibration: fits are optimal, no clip is calibrated by its own speaker, curves agree with a loop over all subsets."
from itertools import combinations
import numpy as np
import pytest
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import softmax
from ambiscale_nb.metrics.metrics import brier as sq_error
from ambiscale_nb.strategies.budget import curve
from ambiscale_nb.strategies.calibration import (FITS, LEAST_SPEAKERS, apply_map,
    calibrated_curve, calibrated_points, calibration_refused, cross_fit, fit_dirichlet, fit_map,
    fit_temperature, learn_at, logs, speaker_folds)
from ambiscale_nb.core import InputError
from simulate import simulate
from test_strategies import some
from ambiscale_nb.strategies.pool import STRATEGIES, Pool, applicable, pool_of, predict, take, ties

METRICS = {'brier': sq_error}

def opinions(n=400, K=4, seed=0, low=.02): # no zeros, so that what is mixed in does not matter
    p = np.random.default_rng(seed).dirichlet(np.full(K, 1.5), n)
    return (p+low)/(p+low).sum(1, keepdims=True)

def spoken(G=8, per=12, K=4, seed=0):
    "Predictions, soft labels and speakers who each have a habit."
    rng = np.random.default_rng(seed)
    y, who = opinions(G*per, K, seed), np.repeat([f's{i}' for i in range(G)], per)
    return softmax(1.7*np.log(y)+np.repeat(rng.normal(0, .6, (G, K)), per, 0), -1), y, who

# ---- maps
def test_the_gradient_is_right_and_the_minimum_is_one():
    p, y, _ = spoken(5, 8, 3)
    strength, rest, x = .05, np.eye(3, 4), np.hstack([logs(p), np.ones((len(p), 1))])
    weight = strength*np.hstack([np.where(np.eye(3)>0, .01, 1), np.ones((3, 1))])
    def loss(flat):
        A = flat.reshape(3, 4)
        q = softmax(x@A.T, -1)
        return -(y*np.log(q)).sum()/len(x)+.5*(weight*(A-rest)**2).sum()
    got = fit_dirichlet(p, y, strength)
    found = np.hstack([got.W, got.b[:, None]]).ravel()
    for seed in range(2): # from elsewhere, with numerical gradients
        start = rest.ravel()+np.random.default_rng(seed).normal(0, .3, 12)
        assert loss(found)<=minimize(loss, start, method='BFGS').fun+1e-5

@pytest.mark.parametrize('how', FITS)
@some(8, seed=st.integers(0, 50))
def test_names_of_labels_and_order_of_clips_do_not_matter(how, seed):
    p, y, _ = spoken(5, 6, 4, seed)
    rng = np.random.default_rng(seed)
    labels, clips = rng.permutation(4), rng.permutation(len(p))
    want = apply_map(fit_map(how, p, y), p)
    got = apply_map(fit_map(how, p[:, labels][clips], y[:, labels][clips]), p[:, labels])
    np.testing.assert_allclose(got, want[:, labels], atol=1e-3)
    np.testing.assert_allclose(want.sum(1), 1)

@pytest.mark.parametrize('how', FITS)
def test_what_says_nothing_stays_and_teaches_nothing(how):
    p, y, _ = spoken()
    flat, alone = np.full((3, 4), .25), fit_map(how, p, y)
    learnt = fit_map(how, np.vstack([p, flat]), np.vstack([y, y[:3]]))
    assert (apply_map(learnt, flat)==flat).all() and (learnt.W==alone.W).all()
    unvoted = fit_map(how, np.vstack([p, p[:2]]), np.vstack([y, [[np.nan]*4, [0]*4]]))
    np.testing.assert_array_equal(unvoted.b, alone.b)

def test_one_hot_predictions_have_a_logarithm():
    y = opinions()
    p = np.eye(4)[y.argmax(1)]
    for q in (apply_map(fit_map(how, p, y), p) for how in FITS): assert np.isfinite(q).all() and (q>0).all()
    assert fit_temperature(p, y).temperature>2

def test_what_cannot_be_learnt_is_refused():
    p, y, _ = spoken()
    for heard in ((p, 0*y), (0*p+.25, y)):
        with pytest.raises(InputError, match='No clip has both'): fit_map('prior', *heard)
    for n in (1, 9):
        with pytest.raises(InputError, match='from 2 to 8'): speaker_folds(np.repeat(range(8), 2), n)

# ---- other speakers
@pytest.mark.parametrize('how', FITS)
@pytest.mark.parametrize('n_folds', [None, 3])
def test_no_clip_is_calibrated_by_its_own_speaker(how, n_folds):
    p, y, who = spoken()
    fitted = cross_fit(how, p, y, who, n_folds)
    for s in np.unique(who):
        mine = who==s
        fold, = np.unique(fitted.fold[mine]) # a speaker is in one group
        changed_y, changed_p = y.copy(), p.copy()
        changed_y[mine], changed_p[mine] = y[mine][:, ::-1], p[mine][::-1]
        together = fitted.fold==fold
        np.testing.assert_array_equal(cross_fit(how, p, changed_y, who, n_folds).dist[together], fitted.dist[together])
        m = cross_fit(how, changed_p, y, who, n_folds).maps[fold]
        np.testing.assert_array_equal(m.W, fitted.maps[fold].W) # nor by its own predictions
        np.testing.assert_array_equal(fitted.maps[fold].b, fit_map(how, p[~together], y[~together]).b)

@some(50, st.lists(st.integers(1, 9), min_size=LEAST_SPEAKERS, max_size=30), st.integers(0, 99))
def test_groups_are_even_and_do_not_depend_on_order(sizes, seed):
    who = np.repeat([f'sp{i}' for i in range(len(sizes))], sizes)
    fold, load = speaker_folds(who), np.bincount(speaker_folds(who))
    assert len(load)==(len(sizes) if len(sizes)<=20 else 10) and load.all()
    shuffled = np.random.default_rng(seed).permutation(len(who))
    np.testing.assert_array_equal(speaker_folds(who[shuffled]), fold[shuffled])
    assert len({*zip(who, fold, strict=True)})==len(sizes) # a speaker is in one group
    assert load.max()-load.min()<=max(sizes) # no group could be relieved by moving a speaker

@pytest.mark.parametrize(('speakers', 'message'), [
    (['a', 'b', 'c', 'd']*3, 'there are 4'), (['a'], 'there are 1'), (['a', 'b', 'c', 'd', 'e', ''], '1 of 6 clips'),
    (['a', 'b', 'c', 'd', 'e', None, np.nan], '2 of 7 clips')])
def test_too_few_or_unknown_speakers_are_refused(speakers, message):
    assert message in calibration_refused(speakers)
    y = opinions(len(speakers))
    with pytest.raises(InputError, match=message): cross_fit('temperature', y, y, speakers)

# ---- curves
def world(seed=0, **how): return simulate(np.random.default_rng(seed), **{
    'n_speakers': 6, 'per_speaker': 4, 'N': 5, 'K': 3, 'unparsed': .15, **how})

@pytest.mark.parametrize('how', FITS)
@pytest.mark.parametrize('mode', ['label', 'dist'])
def test_a_curve_equals_a_plain_loop_over_all_subsets(how, mode):
    sim = world()
    pool = sim.pools[mode]
    for strategy in ('majority', 'mean'):
        points, maps = calibrated_curve(pool, strategy, how, sim.y, sim.speakers, (1, 2, 5), METRICS, 100)
        fold = speaker_folds(sim.speakers)
        for point, learnt in zip(points, maps, strict=True):
            every = list(combinations(range(5), point.k))
            L, value = np.zeros((len(fold), 3)), np.zeros(len(fold))
            for idx in every:
                p = predict(strategy, take(pool, list(idx)))
                q = np.stack([apply_map(learnt[f], d) for f, d in zip(fold, p.dist, strict=True)])
                value += sq_error(q, sim.y)/len(every)
                label = p.L if how=='temperature' else np.where(p.empty[:, None], 0, ties(q))
                L += label/len(every)
            np.testing.assert_allclose(point.metrics['brier'], value, atol=1e-9)
            np.testing.assert_allclose(point.L, L, atol=1e-9)
            np.testing.assert_allclose(point.L.sum(1), 1-point.empty, atol=1e-9)

def test_what_is_drawn_has_an_error_and_is_near_the_truth():
    sim = world(N=12)
    few, many = (calibrated_curve(sim.pools['dist'], 'mean', 'prior', sim.y, sim.speakers, [4], METRICS, o)[0][0]
                 for o in (20, 495))
    assert few.method('L')==few.method('brier')=='mc' and few.se['L'].shape==few.L.shape and {*few.metrics}=={'brier'}
    assert abs(few.metrics['brier'].mean()-many.metrics['brier'].mean())<4*few.mc_se('brier')

def test_every_strategy_and_pool_kind_can_be_calibrated_or_says_why_not():
    sim = world(pools=('label', 'dist', 'greedy', 'score', 'beam2'))
    for pool in sim.pools.values():
        points, refused = calibrated_points(pool, sim.y, sim.speakers, ks=[pool.n], metrics=METRICS, n_subsets=3)
        assert refused==[] and {s for s, _ in points}=={o for o in STRATEGIES if not applicable(o, pool)}
        for (s, h), (point,) in points.items():
            assert np.isfinite(point.metrics['brier']).all(), (s, h)
            if h=='temperature': np.testing.assert_allclose(point.L, curve(pool, s, [pool.n])[0].L, atol=1e-12)
    few, refused = calibrated_points(sim.pools['label'], sim.y, ['a', 'b']*12, ['majority'], metrics=METRICS)
    assert few=={} and [o[:2] for o in refused]==[('majority', h) for h in FITS]
    assert all('there are 2' in o[2] for o in refused)
    with pytest.raises(InputError, match='log-probabilities'):
        bare = Pool(sim.uids, sim.labels, 'label', 'direct', 'sample', sim.pools['label'].dist, sim.pools['label'].parsed)
        calibrated_curve(bare, 'bon', 'prior', sim.y, sim.speakers)

def test_learning_looks_at_random_subsets_of_the_right_size():
    pool = world(N=8, unparsed=0.).pools['label']
    few, every = (learn_at(pool, 'mean', k, 0, 4, {}) for k in (3, 8))
    assert few.shape==(4, 24, 3) and every.shape==(1, 24, 3)
    np.testing.assert_allclose((few*3).round()%1, 0)

def test_where_nothing_was_read_nothing_is_learnt_and_that_is_told():
    "One pool without a readable answer must not stop the scoring of the others."
    _, y, who = spoken()
    def points(answers): return calibrated_points(pool_of(answers, tuple('abcd')), y, who, ['majority'], metrics=METRICS)
    found, refused = points([[None]*3]*len(y))
    assert found=={} and [o[:2] for o in refused]==[('majority', h) for h in FITS]
    assert all(o[2].startswith('No clip has both') for o in refused)
    assert {*points([['a', 'b', 'a']]*(len(y)-1)+[[None]*3])[0]}=={('majority', h) for h in FITS}
