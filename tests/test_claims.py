"""The verdicts: worlds in which each claim is true, false, too small a study, or impossible to test; what Holm,
missing clips, acted labels and the order of clips do; cells from stored tables."""
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from fastcore.test import test_close as close

from ambiscale_nb.ambiguity import shared_credit, strata
from ambiscale_nb.claims import (BASE, CLAIMS, PLAIN, SCALED, STRONG, Cell, Claim, able, cell_of_run, claims_of,
                                 deficits, judged, laid_out, part, parts_of, recipe, together, turned, verdict)
from ambiscale_nb.core import InputError, rng_of
from ambiscale_nb.gain import gap_of, per_clip
from ambiscale_nb.gain import tested as by_speaker
from ambiscale_nb.metrics import jsd
from ambiscale_nb.statistics import Comparison, paired_difference

EVEN = dict.fromkeys((*SCALED, PLAIN), .3)


def world(model, knows=EVEN, base=0., clear=None, noise=0., mix=0., hits=None, params=np.nan, seed=0, speakers=20,
          each=40, K=4, R=8):
    """A cell in which strategies know people's opinion by known shares. `clear` are the shares on clear clips,
    `noise` the weight of an unrelated distribution, `mix` the most weight of the uniform one, `hits` the chance
    that a strategy names people's label."""
    rng = rng_of('votes', seed)
    who = np.repeat([f's{i:02d}' for i in range(speakers)], each)
    truth = rng.dirichlet(np.full(K, .4), len(who))
    votes = rng.multinomial(R, truth)
    rng = rng_of('model', model, seed)
    ambiguous = np.isin(strata(votes), ['weak', 'tie'])
    said = np.eye(K)[(rng.random((len(who), 1))>truth.cumsum(1)[:, :-1]).sum(1)]

    def near(share, low=None):
        w = np.where(ambiguous, share, share if low is None else low)[:, None]
        flat = mix*rng.random((len(who), 1))
        q = (1-flat)*((1-w)*said+w*truth)+flat/K
        return (1-noise)*q+noise*rng.dirichlet(np.ones(K), len(who))

    low = clear or {}
    dists = {BASE: (1-base)*said+base*truth}|{k: near(v, low.get(k)) for k, v in knows.items()}
    credit, luck, guess = {}, rng.random((len(who), 1)), rng.integers(K, size=len(who))
    for k, chance in (hits or {}).items():
        own = luck if chance!=.5 else rng.random((len(who), 1))
        credit[k] = np.where(own<chance, shared_credit(truth), np.eye(K)[guess])
    return Cell(model, 'world', votes, who, dists, credit, params)


def known(row): return [row[o] for o in ('effect', 'low', 'high', 'p')]


def three(**how): return [world(f'm{i}', params=10.**(6+i), **how) for i in range(3)]


def shares(**other): return EVEN|other


few = dict(speakers=6, each=4, noise=.7)  # too small and too noisy to tell
right, wrong = dict.fromkeys((*SCALED, PLAIN), .8), dict.fromkeys((*SCALED, PLAIN), .41)


def growing(step, start=.1, **how):
    return [world(f'm{i}', dict.fromkeys((*SCALED, PLAIN), start+step*i), params=1e6*4**i, **how) for i in range(3)]


def named(strong, other, **how):
    return [world(o, EVEN, base=strong, **how) for o in STRONG]+[world('another', EVEN, base=other, **how)]


def split(*knows, **how): return [world(f'm{i}', o, **how) for i, o in enumerate(knows)]


best_a, best_b = shares(w_bon=.9), shares(w_alm_v=.9)
weights, selects = shares(w_bon=.8, w_alm_v=.8, mean=.5), shares(w_bon=.3, w_alm_v=.3, bon=.31, alm_v=.31, mean=.31)
harm = shares(cot=.3)
CASES = {
    '1a': (three(), three(knows=shares(**dict.fromkeys(SCALED, .31)), base=.3), three(**few), three()[:2]),
    '1b': (three(hits={BASE: .4, **right}), three(hits={BASE: .4, **wrong}),
           three(hits={BASE: .5, **dict.fromkeys(SCALED, .5)}, speakers=6, each=5), three()),
    '2': (three(knows=shares(**dict.fromkeys(SCALED, .8)), clear=dict.fromkeys(SCALED, .1)),
          three(mix=.5, knows=dict.fromkeys(EVEN, 0.)),
          three(knows=shares(**dict.fromkeys(SCALED, .4)), clear=EVEN, speakers=6, each=6, noise=.85),
          [replace(o, votes=np.eye(4, dtype=int)[o.votes.argmax(1)]*8) for o in three()]),
    '3a': (growing(.2), growing(0., .3), growing(.1, **few), [replace(o, params=np.nan) for o in growing(.2)]),
    '3b': (three(base=.9), three(), three(base=.3, **few), three()[:1]),
    '4': (split(best_a, best_b), split(best_a, best_a), split(best_a, best_b, **few), split(best_a)),
    '5a': (named(.6, .2), named(.2, .6), named(.3, .2, speakers=6, each=2), named(.6, .2)[1:]),
    '5b': (named(0., 0.), named(.8, 0.), named(.3, 0., speakers=6, each=3), named(.6, .2)[1:]),
    '6a': (split(weights, weights), split(selects, selects), split(weights, weights, **few), split(weights)),
    '6b': (split(weights, weights), split(selects, selects), split(weights, weights, **few), split(weights))}
VERDICTS = ('supported', 'contradicted', 'inconclusive', 'not testable yet')


@pytest.mark.parametrize(('key', 'case', 'expected'), [
    (k, i, o) for k in CASES for i, o in enumerate(VERDICTS)], ids=lambda o: str(o).replace(' ', '-'))
def test_worlds_of_known_truth_get_their_verdict(key, case, expected):
    row, table = verdict(CLAIMS[key], parts_of(key, CASES[key][case]))
    assert row['verdict']==expected, table.to_string()
    if expected=='not testable yet': assert CLAIMS[key].needs in row['note']
    else: assert np.isfinite([row[o] for o in ('effect', 'low', 'high', 'p', 'detectable', 'power')]).all()
    if expected=='inconclusive': assert row['power']<.8


def test_smoothing_passes_the_naive_test_of_claim_two_and_not_ours():
    cells = CASES['2'][1]
    o = cells[0]
    naive = np.mean([per_clip('jsd', o.dists[s], o.votes) for s in SCALED], 0)-per_clip('jsd', o.dists[BASE], o.votes)
    found = by_speaker(gap_of(naive, o.level=='ambiguous'), o.speakers)
    assert found.value>.05 and found.p<.001
    assert verdict(CLAIMS['2'], parts_of('2', cells))[0]['verdict']=='contradicted'


def test_a_stated_distribution_gets_no_credit_for_what_its_base_knew():
    "Claim 2 is about the gain: strategies that repeat an informed base gain nothing on ambiguous speech."
    cells = three(knows=dict.fromkeys(EVEN, .61), base=.6)
    row, _ = verdict(CLAIMS['2'], parts_of('2', cells))
    assert row['verdict']=='contradicted' and abs(row['effect'])<.01


def test_five_speakers_give_no_verdict():
    claims, parts = claims_of(three(speakers=5)+named(.6, .2, speakers=5))
    asked = claims[claims.shown.ne('')]
    assert asked.verdict.eq('not testable yet').all() and asked.p.isna().all()
    assert parts[parts.stands.eq('refused')].reason.str.contains('5 speakers').any()


def test_strategies_that_change_nothing_are_refused_and_never_pass():
    cells = three(knows=dict.fromkeys(EVEN, 0.))
    claims, _ = claims_of(cells)
    assert not claims.verdict.eq('supported').any()
    assert 'no spread' in claims.set_index('claim').note['1a']


def test_acted_labels_are_judged_by_accuracy_alone():
    cells = [replace(o, acted=True) for o in three(hits={BASE: .4, **right})]
    got = claims_of(cells)[0].set_index('claim').verdict
    assert got['1b']=='supported' and got.drop('1b').eq('not testable yet').all()
    assert able(cells, SCALED)==[] and len(able(cells, SCALED, accuracy=True))==3


def test_p_values_are_adjusted_over_the_parts_where_one_can_decide():
    rng = rng_of('holm of claims')
    who = np.repeat(np.arange(8).astype(str), 5)
    parts = {f'p{i}': part(rng.normal(.02, .05, 40), 0, who) for i in range(10)}
    adjusted = judged(CLAIMS['3b'], parts)[0].p
    plain = judged(CLAIMS['6a'], parts)[0].p
    assert (adjusted>=plain).all() and adjusted.min()==pytest.approx(min(1, 10*plain.min()))


def test_pairs_are_counted_once_in_their_family():
    parts = deficits(split(best_a, best_b, speakers=8, each=5))
    assert len(parts)==2*15
    table = judged(CLAIMS['4'], parts)[0]
    assert len(table)==2*30
    smallest = min(o.p for o in parts.values())
    assert table.p.min()==pytest.approx(min(1, 30*smallest))
    both = turned(parts)
    (a, b, cell), o = next(iter(parts.items()))
    close([both[b, a, cell].value, both[b, a, cell].low, both[b, a, cell].high], [-o.value, -o.high, -o.low])


def test_corpora_are_averaged_with_equal_weight():
    rng = rng_of('corpora of claims')
    a, b = (part(rng.normal(m, .1, n), 0, np.repeat(np.arange(10).astype(str), n//10))
            for m, n in ((.1, 50), (.3, 500)))
    e = together([a, b])
    close([e.value, e.se], [(a.value+b.value)/2, np.sqrt(a.se**2+b.se**2)/2])
    refused = Comparison(.1, np.nan, np.nan, 3, 1, 'none', 'one speaker', p_reason='one speaker')
    assert np.isnan(together([a, refused]).p) and 'one speaker' in together([a, refused]).p_reason


def test_clips_without_a_prediction_do_not_count():
    cells = three()
    holes = {k: v.copy() for k, v in cells[0].dists.items()}
    holes['w_bon'][:300] = np.nan
    found = parts_of('1a', [replace(cells[0], dists=holes), *cells[1:]])
    assert [o.n for o in found.values()]==[500, 800, 800]


def test_the_order_of_clips_is_nothing():
    cells, back = three(), []
    for o in cells:
        turn = np.arange(len(o.votes))[::-1]
        back.append(replace(o, votes=o.votes[turn], speakers=o.speakers[turn],
                            dists={k: v[turn] for k, v in o.dists.items()}))
    for key in ('1a', '3a', '4', '6a'):
        a, b = (verdict(CLAIMS[key], parts_of(key, c))[0] for c in (cells, back))
        assert known(a)==pytest.approx(known(b), nan_ok=True)
        assert a['verdict']==b['verdict']


def test_models_of_claim_five_can_be_named():
    cells = [replace(o, model=n) for o, n in zip(named(.6, .2), ('big', 'bigger', 'small'), strict=True)]
    assert claims_of(cells)[0].set_index('claim').verdict['5a']=='not testable yet'
    assert 'gpt-4o' in claims_of(cells)[0].set_index('claim').note['5a']
    assert claims_of(cells, ('big', 'bigger'))[0].set_index('claim').verdict['5a']=='supported'


def test_a_gain_of_part_is_the_paired_difference_of_means():
    o = three()[0]
    mean = np.mean([o.score(s) for s in SCALED], 0)
    e = paired_difference(mean, o.score(BASE), o.speakers)
    got = parts_of('1a', three())[f'{o.model} on {o.corpus}']
    close([got.value, got.low, got.high, got.p], [e.value, e.low, e.high, e.p], eps=1e-9)


def test_stored_predictions_become_cells():
    labels, uids = ('angry', 'happy'), np.array(['a', 'b', 'c'])
    def row(uid, strategy, style, variant, mode, dist, names):
        credit = [float(o in names)/len(names) for o in labels]
        return dict(uid=uid, strategy=strategy, style=style, variant=variant, mode=mode, dist=dist, credit=credit,
                    tied=[], chance=[])
    said = pd.DataFrame([
        row('c', 'greedy', 'direct', 'greedy', 'dist', [.2, .8], ['happy']),
        row('a', 'greedy', 'direct', 'greedy', 'dist', [.5, .5], ['angry', 'happy']),
        row('a', 'greedy', 'direct', 'greedy', 'label', [1., 0], ['angry']),
        row('a', 'bon', 'direct', 'beam5', 'dist', [1., 0], ['angry']),
        row('a', 'bon', 'cot', 'sample', 'dist', [1., 0], ['angry'])])
    how = {o: recipe(o) for o in (BASE, 'bon')}
    got = laid_out(said[said['mode'].eq('dist')], uids, labels, how, 'dist')
    assert set(got)=={BASE}  # the beam and the reasoned samples are other predictions
    assert np.isnan(got[BASE][1]).all() and got[BASE][[0, 2]].tolist()==[[.5, .5], [.2, .8]]
    assert laid_out(said, uids, labels, {'bon': recipe('bon', 'beam5')}, 'credit')['bon'][0].tolist()==[1, 0]

    class Truth: pass
    truth = Truth()
    truth.uids, truth.labels, truth.source = uids, labels, 'votes'
    truth.votes, truth.speakers = np.array([[3, 1], [2, 2], [0, 4]]), np.array(['s', 's', 't'])
    cell = cell_of_run(dict(model='m', corpus='c', n_params=None), truth, said, how)
    assert np.isnan(cell.params) and not cell.acted and cell.credit[BASE][0].tolist()==[1, 0]
    assert np.isnan(cell.score(BASE)[1]) and np.isnan(cell.score(BASE, 'accuracy')[2])


def test_a_tied_pick_has_the_mean_over_a_fair_draw_in_a_cell():
    uids, labels, votes = np.array(['a', 'b']), ('angry', 'happy', 'sad'), np.array([[3, 1, 0], [0, 0, 4]])
    row = dict(strategy='alm_v', style='direct', variant='sample', mode='dist')
    said = pd.DataFrame([
        row | dict(uid='b', dist=[1., 0, 0], credit=[1., 0, 0], tied=[], chance=[]),
        row | dict(uid='a', dist=[.25, .75, 0], credit=[.25, .75, 0], tied=[1., 0, 0, 0, 1, 0], chance=[.25, .75])])
    truth = SimpleNamespace(uids=uids, labels=labels, source='votes', votes=votes, speakers=np.array(['s', 't']))
    cell = cell_of_run(dict(model='m', corpus='c', n_params=None), truth, said, {'alm_v': recipe('alm_v')})
    y = votes/votes.sum(1, keepdims=True)
    want = .25*jsd(np.eye(3)[0], y[0])+.75*jsd(np.eye(3)[1], y[0])
    assert np.allclose(cell.score('alm_v'), [-want, -1]) and not np.isclose(want, jsd([.25, .75, 0], y[0]))


def test_a_claim_of_ones_own_is_judged_by_the_same_rules():
    mine = Claim('x', 'Beams help', 'gain', 'beams', 'every', .01, 'bits')
    row, _ = verdict(mine, parts_of('1a', three()))
    assert row['verdict']=='supported' and row['claim']=='x'


def test_nothing_to_judge_is_told():
    with pytest.raises(InputError, match='no finished run'): claims_of([])
