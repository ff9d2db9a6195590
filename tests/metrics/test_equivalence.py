"The verdict rule: order statistics and least speakers by brute force, interval and p-value, verdicts as studies grow."
from itertools import combinations, groupby, product
import numpy as np
import pytest
from ambiscale_nb.core import InputError, rng_of
from ambiscale_nb.metrics.equivalence import (INCONCLUSIVE, NOT_TESTABLE, OPPOSITE, CLAIM_RULES,
    SIZE_OPEN, SMALL, SUPPORTED, Effect, Ranked, effect_of, least_speakers, ranked, verdict, word_of)
from ambiscale_nb.metrics.statistics import mean_ci

DELTA = .01

def some(m, seed=0, df=20):
    rng = rng_of('effects', m, seed)
    both = zip(rng.normal(.01, .02, m), rng.uniform(.003, .02, m), strict=True)
    return {i: Effect(v, s, df) for i, (v, s) in enumerate(both)}

def simes(p): return min(len(p)/(i+1)*o for i, o in enumerate(sorted(p)))

@pytest.mark.parametrize('m', [1, 2, 5, 7])
def test_partial_conjunction_is_the_worst_of_all_smaller_families(m):
    "Benjamini and Heller (2008): the largest p-value of Simes' test over all subsets of m - r + 1 hypotheses."
    parts = some(m)
    for r, side in product(range(1, m+1), (-1, 1)):
        need = m-r+1 if side<0 else r
        p = [o.p(side) for o in parts.values()]
        brute = max(min(1, simes(s)) for s in combinations(p, need))
        assert Ranked(parts, r).p(side)==pytest.approx(brute)

@pytest.mark.parametrize(('rule', 'shared'), list(product(CLAIM_RULES, (-.15, 0, .5, .9))))
def test_intervals_hold_the_order_statistic_of_the_true_effects(rule, shared):
    "Simes' bound in 1,500 studies each, with effects that depend on each other negatively, not, and positively."
    rng, truth, runs = rng_of('coverage', rule, shared), np.array([.3, .2, .2, .2, .2, .1]), 1500
    spread = np.linalg.cholesky(np.full((6, 6), shared)+(1-shared)*np.eye(6))
    miss = 0
    for noise in rng.normal(size=(runs, 6))@spread.T:
        o = ranked({i: Effect(t+.1*e, .1, 1e6) for i, (t, e) in enumerate(zip(truth, noise, strict=True))}, rule)
        miss += not o.end(-1, .025)<=sorted(truth)[-o.r]<=o.end(1, .025)
    assert miss/runs<=.05+3*np.sqrt(.05*.95/runs)

@pytest.mark.parametrize(('rule', 'seed'), list(product(CLAIM_RULES, range(6))))
def test_interval_and_p_value_agree(rule, seed):
    whole = ranked({'a': ranked(some(5, seed), rule), 'b': ranked(some(3, seed+50), 'most'), 'c': some(1, seed)[0]}, rule)
    for side in (-1, 1):
        p = whole.p(side)
        if p<.5: assert whole.end(side, p)==pytest.approx(0, abs=1e-12)
        if p<.9: assert -side*whole.end(side, p*1.01)>0 and -side*whole.end(side, p*.99)<0
    for family in (1, 2, 7):
        o = verdict(whole, DELTA, family)
        assert (o.p<=.05)==(not o.low<=0<=o.high)
        assert o.low<=o.value<=o.high

def test_ends_are_those_of_parts_between_the_strictest_level_and_the_whole():
    whole = ranked({'a': ranked(some(5), 'most'), 'b': ranked(some(4, 9), 'every')}, 'any')
    leaves = whole.leaves(.025, .025)
    assert len(leaves)==9 and len({names for names, *_ in leaves})==9
    assert min(o.end(-1, low) for _, o, low, _ in leaves)<=whole.end(-1, .025)<=max(o.end(-1, .025) for _, o, *_ in leaves)

def test_an_effect_is_the_interval_of_its_estimate():
    who = np.repeat(np.arange(11).astype(str), 9)
    e = mean_ci(rng_of('values').normal(.1, 1, 99), who)
    o = effect_of(e)
    assert [o.end(-1, .025), o.end(1, .025)]==pytest.approx([e.low, e.high])

@pytest.mark.parametrize('level', [.05, .025, .025/2, .001, .025/90])
def test_least_speakers_are_those_whose_best_pattern_of_signs_reaches_the_level(level):
    def best(g): return 1/sum(1 for _ in product((-1, 1), repeat=g))  # one pattern of all is as extreme
    n = least_speakers(level)
    assert best(n)<=level and (n==2 or best(n-1)>level)
    o = Effect(.5, .01, n-1, speakers=n)
    assert np.isfinite(o.end(-1, level))
    few = Effect(.5, .01, n-2, speakers=n-1)
    assert few.end(-1, level)==-np.inf and f'{n} are needed' in few.refusal(level)

def test_one_pair_of_many_that_ten_speakers_cannot_test_says_so_and_how_many_it_needs():
    def one_of_many(n):
        return verdict(ranked({i: Effect(.1*(not i), .01, n-1, speakers=n) for i in range(56)}, 'any'), DELTA, 2)
    o = one_of_many(10)
    assert o.word not in (SUPPORTED, SIZE_OPEN) and one_of_many(24).word==SUPPORTED
    assert '10 speakers cannot reach' in o.reason and f'{least_speakers(.025/2/56)} are needed' in o.reason

@pytest.mark.parametrize(('effect', 'path'), [
    (2, [INCONCLUSIVE, SIZE_OPEN, SUPPORTED]), (1, [INCONCLUSIVE, SIZE_OPEN]), (.7, [INCONCLUSIVE, SIZE_OPEN, SMALL]),
    (.3, [INCONCLUSIVE, SMALL]), (0, [INCONCLUSIVE, SMALL]), (-.7, [INCONCLUSIVE, OPPOSITE, SMALL]),
    (-2, [INCONCLUSIVE, OPPOSITE])])
def test_verdicts_never_turn_round_as_the_error_shrinks(effect, path):
    words = [verdict(Effect(effect*DELTA, se, 30), DELTA).word for se in np.geomspace(.05, .0005, 200)]
    assert [k for k, _ in groupby(words)]==path

def test_the_six_words_cover_every_interval():
    ends = np.linspace(-.05, .05, 41)
    for low, high in combinations([-np.inf, *ends, np.inf], 2):
        word = word_of(low, high, DELTA)
        if word==SUPPORTED: assert low>DELTA
        if word==OPPOSITE: assert high<0 and low<=-DELTA
        if word==SMALL: assert -DELTA<low and high<DELTA
        assert (word==NOT_TESTABLE)==(low==-np.inf and high==np.inf)
        mirrored = word_of(-high, -low, DELTA)
        if word==SMALL: assert mirrored==SMALL
        if word in (SUPPORTED, SIZE_OPEN): assert mirrored==OPPOSITE

def test_refused_parts_stay_in_the_family():
    parts = some(4) | {'x': Effect(np.nan, np.nan, np.nan, reason='one speaker')}
    parts[0] = Effect(.05, .004, 20)
    four, five = (verdict(ranked(o, 'any'), DELTA) for o in ({k: v for k, v in parts.items() if k!='x'}, parts))
    assert five.low<four.low and five.high==np.inf
    every = verdict(ranked(parts, 'every'), DELTA)
    assert every.low==-np.inf and every.word in (INCONCLUSIVE, OPPOSITE)

@pytest.mark.parametrize(('call', 'message'), [
    (lambda: word_of(0, 1, -1), 'above 0, got -1'), (lambda: least_speakers(0), 'between 0 and 1, got 0'),
    (lambda: ranked({}, 'any'), 'at least one'), (lambda: ranked(some(2), 'some'), "Unknown rule 'some'"),
    (lambda: verdict(some(1)[0], .01, 0), 'at least one reading')])
def test_bad_input_names_the_value(call, message):
    with pytest.raises(InputError, match=message): call()
