"""The test of gain on ambiguous speech: donors are who they should be, the numbers are those of a plain
loop, strategies that know nothing do not pass, one that knows something does, and whatever cannot be
tested says why. How often each happens at 1,000 studies is measured in `benchmarks/gain.py`."""
import importlib.util
from pathlib import Path

import numpy as np
import pytest

from ambiscale_nb.ambiguity import expand_votes, soft_labels, strata
from ambiscale_nb.core import InputError, rng_of
from ambiscale_nb.gain import (MOST, Setting, dealt, donor_test, donors_of, gain_table, gap_of, halves,
                               information, matched_mix, over_donors, per_clip, response,
                               shuffled_levels, slope_of, split_test, welch)
from ambiscale_nb.gain import tested as by_speaker
from ambiscale_nb.metrics import jsd

HERE = Path(__file__).parent.parent
spec = importlib.util.spec_from_file_location('bench_gain', HERE/'benchmarks'/'gain.py')
bench = importlib.util.module_from_spec(spec)
spec.loader.exec_module(bench)


def made(name, seed=0):
    "A study of the benchmark, with one of its strategies."
    rng = rng_of('test gain', seed)
    who, truth, votes, single = bench.people(rng)
    if name in bench.NULLS: dist = bench.knows_nothing(name, single, who, votes, rng)
    else: dist = bench.knows(.6, single, truth, votes, rng)
    return Setting(single, dist/dist.sum(1, keepdims=True), votes, who)


def test_donors_gave_the_same_answer_and_are_of_the_same_speaker_where_five_are():
    s = made('random-lambda mix')
    donors, answer = donors_of(s.base, s.speakers), s.base.argmax(1)
    for i in range(0, len(answer), 37):
        own = [j for j in donors[:, i] if j>=0]
        mine = np.flatnonzero((answer==answer[i]) & (s.speakers==s.speakers[i]) & (np.arange(len(answer))!=i))
        assert own and i not in own and len(set(own))==len(own)
        assert (answer[own]==answer[i]).all()
        if len(mine)>=5: assert set(own)<=set(mine) and len(own)==min(len(mine), MOST)
        else: assert len(own)>=20


@pytest.mark.parametrize('n', [1, 2, 5, 6, 7, 40, 41, 42, 43, 100])
def test_everybody_gives_equally_often(n):
    donors = dealt(np.zeros(n, int), rng_of(n))
    if n<6: assert (donors<0).all(); return
    given = np.bincount(donors[donors>=0], minlength=n)
    assert (given==min(n-1, MOST)).all()
    assert not (donors==np.arange(n)).any()
    assert all(len({*o[o>=0]})==(o>=0).sum() for o in donors.T)


def test_the_test_is_the_plain_loop():
    s = made('random-lambda mix', 3)
    donors, y = donors_of(s.base, s.speakers), soft_labels(s.votes)
    h = np.array([np.mean([jsd(s.scaled[j], y[i]) for j in donors[:, i] if j>=0])-jsd(s.scaled[i], y[i])
                  for i in range(60)])
    assert np.allclose(information(s)[:60], h)
    amb = np.isin(strata(s.votes), ['weak', 'tie'])
    full = information(s)
    assert np.isclose(donor_test(s).value, full[amb].mean()-full[~amb].mean())
    base = per_clip('jsd', s.base, s.votes) # the base cancels
    did = gap_of(per_clip('jsd', s.scaled, s.votes)-base, amb)()-gap_of(over_donors('jsd', s, donors)-base, amb)()
    assert np.isclose(did, donor_test(s).value)


@pytest.mark.parametrize('name', bench.NULLS)
def test_what_knows_nothing_passes_the_naive_test_and_not_this_one(name):
    p, naive = [], []
    for seed in range(5):
        s = made(name, seed)
        p.append(donor_test(s).p)
        gain = per_clip('jsd', s.scaled, s.votes)-per_clip('jsd', s.base, s.votes)
        naive.append(by_speaker(gap_of(gain, s.level=='ambiguous'), s.speakers).p)
    assert max(naive)<.01
    assert sum(o<=.05 for o in p)<=2


def test_what_knows_something_is_found():
    for seed in range(3):
        found = donor_test(made('real', seed))
        assert found.value>0 and found.p<.001


def test_an_exact_function_of_the_answer_is_refused_not_passed():
    found = donor_test(made('uniform mix'))
    assert np.isnan(found.p) and found.value==0 and 'no spread' in found.p_reason


@pytest.mark.parametrize('speakers', [1, 2, 5])
def test_few_speakers_get_no_p(speakers):
    s = made('real')
    use = np.isin(s.speakers, np.arange(speakers))
    part = Setting(*(o[use] for o in (s.base, s.scaled, s.votes, s.speakers)))
    table = gain_table(part, expand_votes(part.votes))
    assert table.p.isna().all() and (table.reason!='').all()
    assert f'{speakers} speaker' in table.reason[0] or 'one speaker' in table.reason[0]


def test_an_empty_stratum_is_named():
    s = made('real')
    use = s.level=='clear'
    part = Setting(*(o[use] for o in (s.base, s.scaled, s.votes, s.speakers)))
    found = donor_test(part)
    assert np.isnan(found.value) and np.isnan(found.p) and 'one of the levels' in found.p_reason
    assert 'clips of one level' in shuffled_levels(information(part), part.level=='ambiguous', part.speakers)[1]
    assert not ((gain_table(part).p.isna()) & (gain_table(part).reason=='')).any()


def test_swapping_the_levels_turns_the_sign_and_order_of_clips_does_not_matter():
    s = made('real')
    h, amb = information(s), s.level=='ambiguous'
    a, b = by_speaker(gap_of(h, amb), s.speakers), by_speaker(gap_of(h, ~amb), s.speakers)
    assert np.isclose(a.value, -b.value) and np.isclose(a.p, b.p) and np.isclose(a.low, -b.high)
    order = rng_of('order').permutation(len(h))
    c = by_speaker(gap_of(h[order], amb[order]), s.speakers[order])
    assert np.isclose(a.p, c.p) and np.isclose(a.value, c.value)


def test_plain_differences_are_fooled_by_a_noisy_small_stratum_and_studentised_ones_are_not():
    hits, plain = 0, 0
    for seed in range(80):
        rng = rng_of('noisy stratum', seed)
        amb = np.arange(240)<40
        who = np.tile(np.arange(8), 30)
        gain = np.where(amb, 3, 1)*rng.standard_normal(240)
        hits += shuffled_levels(gain, amb, who, 99, rng)[0]<=.05
        seen = abs(gain[amb].mean()-gain[~amb].mean())
        null = [abs(gain[o].mean()-gain[~o].mean()) for o in (rng.permutation(amb) for _ in range(99))]
        plain += (1+sum(o>=seen for o in null))/100<=.05
    assert plain>=12 and hits<=9


def test_welch_is_scipys():
    from scipy.stats import ttest_ind
    rng = rng_of('welch')
    g, amb = rng.standard_normal(90), rng.random(90)<.3
    n = amb.sum(), (~amb).sum()
    ours, theirs = welch(g, amb), ttest_ind(g[amb], g[~amb], equal_var=False).statistic
    assert np.isclose(ours, theirs) and min(n)>5


def test_the_slope_is_least_squares_with_covariates():
    rng = rng_of('slope')
    dose, more = rng.random(200), rng.standard_normal((200, 2))
    gain = 3*dose+more@[1, -2]+rng.standard_normal(200)
    w = rng.integers(0, 3, 200)
    X = np.c_[np.ones(200), dose, more]
    known = np.linalg.lstsq(X*np.sqrt(w)[:, None], gain*np.sqrt(w), rcond=None)[0][1]
    assert np.isclose(slope_of(gain, dose, more)(w), known)
    bins = response(gain, dose, rng.integers(0, 9, 200), 4)
    assert bins.n.sum()==200 and bins.dose.is_monotonic_increasing and bins.value.iloc[-1]>bins.value.iloc[0]


def test_halves_share_no_rater_and_few_raters_are_left_out():
    votes = np.array([[3, 3, 1], [2, 2, 1], [6, 0, 0]])
    a, b = halves(expand_votes(votes), rng_of(0))
    assert ((a+b)[[0, 2]]==votes[[0, 2]]).all() and (a+b)[1].sum()==0
    assert list(a.sum(1))==[3, 0, 3]


def test_levels_and_truth_from_different_raters():
    s = made('real')
    found = split_test(s, expand_votes(s.votes), splits=3)
    assert found.value>0 and found.p<.01 and found.n<=len(s.votes)
    dull = split_test(made('random-lambda mix'), expand_votes(made('random-lambda mix').votes), splits=3)
    assert dull.p>.01


def test_a_mixture_as_smooth_as_asked():
    s = made('random second label')
    mix, w = matched_mix(s)
    from ambiscale_nb.ambiguity import entropy
    assert 0<w<1 and np.isclose(entropy(mix).mean(), entropy(s.scaled).mean())
    sharp = Setting(s.base, s.base, s.votes, s.speakers)
    assert matched_mix(sharp)[1]==0


def test_wrong_input_is_refused():
    s = made('real')
    with pytest.raises(InputError, match='same clips'): Setting(s.base[:5], s.scaled, s.votes, s.speakers)
    with pytest.raises(InputError, match='no better side'): per_clip('entropy', s.scaled, s.votes)
    with pytest.raises(InputError, match='no better side'): per_clip('uar', s.scaled, s.votes)
    with pytest.raises(InputError): per_clip('jsdd', s.scaled, s.votes)
