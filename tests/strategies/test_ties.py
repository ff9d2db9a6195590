"A pick that ties has one value: the mean over a fair draw, in scores, predictions, bounds and cells of claims alike."
import numpy as np
import pandas as pd
import pytest
from ambiscale_nb.strategies import beyond  # noqa: F401 (registers its rules)
from ambiscale_nb.corpora.ambiguity import expand_votes, soft_labels
from ambiscale_nb.strategies.beyond import divergence
from ambiscale_nb.study.cells import cell_of_run, recipe
from ambiscale_nb.core import rng_of
from ambiscale_nb.metrics.metrics import bhattacharyya, brier, hits, jsd, rater_noise
from ambiscale_nb.study.truth import Truth
from ambiscale_nb.study.scores import bounds_of, predictions_of, score_pool, stored_metric
from ambiscale_nb.study.truth import one_more_rater, references
from ambiscale_nb.strategies.pool import pool_of

LABELS = ('angry', 'fearful', 'happy', 'sad')
U, N = 60, 6

def world(mode, kind, verdict):
    "A pool whose verdicts tie on most clips, and the votes."
    rng = rng_of('ties', mode, kind, verdict)
    p = rng.dirichlet(np.full(4, .6), U)
    votes, who = rng.multinomial(7, p).astype(float), np.repeat([f's{i}' for i in range(10)], U//10)
    n = 1 if kind=='greedy' else N
    if mode=='label': said = [[LABELS[i] for i in rng.choice(4, n, p=o)] for o in p]
    else: said = [[(.2, .4, .3, .1) if rng.random()<.3 else rng.multinomial(10, o)/10 for _ in range(n)] for o in p]
    view = {'yes and no': (rng.random((U, 4))<.5).astype(float), 'always yes': np.ones((U, 4)),
            'three steps': rng.integers(0, 3, (U, 4))/2}[verdict]
    pool = pool_of(said, LABELS, mode, kind=kind, label_verdict=view, n_tokens=np.ones((U, n)),
                   sum_logprob=-rng.integers(0, 3, (U, n)).astype(float), text_id=np.tile(np.arange(n), (U, 1)))
    return pool, truth_of(pool, votes, who)

def truth_of(pool, votes, who):
    said = expand_votes(votes)
    return Truth(pool.uids, votes, who, LABELS, references(votes, who), rater_noise(said), raters=one_more_rater(said))

WORLDS = [(m, k, v) for m in ('label', 'dist') for k in ('sample', 'beam')
          for v in ('yes and no', 'always yes', 'three steps')]

@pytest.mark.parametrize(('mode', 'kind', 'verdict'), WORLDS)
def test_predictions_and_scores_agree_for_every_strategy(mode, kind, verdict):
    pool, truth = world(mode, kind, verdict)
    scores, _, _ = score_pool(pool, truth, (N,))
    said, y = predictions_of(pool), soft_labels(truth.votes)
    found = scores[(scores.k==N) & ~scores.strategy.str.startswith('adaptive')].set_index(['strategy', 'stratum', 'metric'])
    assert {'alm_v', 'w_alm_v', 'mob_v', 'bon', 'w_bon', 'w_bon_mean', 'mbr', 'majority'}<=set(said.strategy)
    for strategy, rows in said.groupby('strategy'):
        for name, m in (('jsd', jsd), ('bc', bhattacharyya), ('brier_debiased', brier)):
            each = stored_metric(rows, m, y)-(truth.noise if m is brier else 0)
            for level, use in truth.levels.items():
                assert np.isclose(found.value[strategy, level, name], each[use].mean(), rtol=0, atol=1e-9), (strategy, name)
        right = hits(np.array(rows.credit.tolist()), y)
        for level, use in truth.levels.items():
            want = np.nanmean(right[use])
            assert np.isclose(found.value[strategy, level, 'accuracy'], want, rtol=0, atol=1e-9), strategy
    ties = said[said.chance.map(len)>1]
    assert {'alm_v', 'bon'}<=set(ties.strategy)<={'alm_v', 'bon', 'mbr'}
    own = y[ties.uid.map({o: i for i, o in enumerate(pool.uids)})]
    assert stored_metric(ties, jsd, own).mean()>jsd(np.array(ties.dist.tolist()), own).mean()

@pytest.mark.parametrize(('mode', 'kind', 'verdict'), WORLDS[::2])
def test_a_tied_pick_is_what_a_coin_gives_in_many_throws(mode, kind, verdict):
    pool, truth = world(mode, kind, verdict)
    rng, y = np.random.default_rng(0), soft_labels(truth.votes)
    want = stored_metric(predictions_of(pool, ('alm_v',)), jsd, y)
    best = np.round(pool.verdict, 9)==np.round(np.nanmax(pool.verdict, 1, keepdims=True), 9)
    throws = [jsd(pool.dist[np.arange(U), (rng.random(best.shape)*best).argmax(1)], y) for _ in range(3000)]
    off = np.mean(throws, 0)-want
    assert np.allclose(off, 0, atol=.04) and abs(off.mean())<.003

@pytest.mark.parametrize(('mode', 'kind', 'verdict'), WORLDS[::3])
def test_bounds_and_cells_have_the_same_value(mode, kind, verdict):
    pool, truth = world(mode, kind, verdict)
    said, y = predictions_of(pool), soft_labels(truth.votes)
    limits = bounds_of(pool, said, truth).query("stratum=='all'").set_index('strategy')
    for strategy in ('alm_v', 'bon', 'w_alm_v', 'mbr'):
        rows = said[said.strategy==strategy]
        lost = stored_metric(rows, divergence, y)
        assert np.isclose(limits.regret[strategy]+limits.oracle[strategy], lost.mean(), atol=1e-12)
        assert strategy not in ('alm_v', 'bon') or lost.mean()>=limits.oracle[strategy]-1e-9
        how = {strategy: recipe(strategy, kind)}
        cell = cell_of_run(dict(model='m', corpus='c', n_params=None), truth, rows.assign(
            decoding=kind, width=0).sample(frac=1, random_state=0), how, mode)
        assert np.allclose(-cell.score(strategy), lost, atol=1e-9)

def test_old_predictions_without_draws_are_read_as_they_are():
    rows = pd.DataFrame(dict(dist=[[.5, .5], [1., 0]]))
    assert np.allclose(stored_metric(rows, jsd, np.array([[.5, .5], [0, 1.]])), [0, 1])

def test_ties_among_answers_some_of_which_are_unread():
    "Where a subset has fewer tied answers than another, its empty places are no predictions."
    rng = rng_of('ties, some unread')
    said = [[None if rng.random()<.4 else tuple(rng.permutation([.6, .2, .1, .1])) for _ in range(N)] for _ in range(U)]
    pool = pool_of(said, LABELS, 'dist', n_tokens=np.ones((U, N)), sum_logprob=-np.ones((U, N)),
                   text_id=np.tile(np.arange(N), (U, 1)), label_verdict=np.ones((U, 4)))
    votes = rng.multinomial(7, [.25]*4, U).astype(float)
    truth = truth_of(pool, votes, np.repeat([f's{i}' for i in range(10)], U//10))
    scores, _, _ = score_pool(pool, truth, (1, 2, 4, N))
    found = scores[scores.strategy.eq('alm_v') & scores.metric.eq('jsd') & scores.stratum.eq('all')].set_index('k').value
    y, flat = soft_labels(votes), np.full((1, 4), .25)
    want = [jsd(o if len(o := pool.dist[u, pool.parsed[u]]) else flat, y[u]).mean() for u in range(U)]
    assert np.isclose(found[N], np.mean(want), atol=1e-9)  # verdicts all alike: the mean over all that were read
