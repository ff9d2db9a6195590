"""The verdicts: worlds in which each claim is true, false, too small, too small a study, or impossible to test; models as
replicates; dominance; systems; missing clips, acted labels and the order of clips; cells from stored tables."""
import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from fastcore.test import test_close as close

from ambiscale_nb.core import InputError, rng_of
from ambiscale_nb.corpora.ambiguity import entropy, shared_credit, soft_labels, strata
from ambiscale_nb.metrics.equivalence import INCONCLUSIVE, NOT_TESTABLE, OPPOSITE, SIZE_OPEN, SMALL, SUPPORTED, ranked, verdict
from ambiscale_nb import Study, jsd
from ambiscale_nb.metrics.statistics import paired_difference
from ambiscale_nb.study import effects
from ambiscale_nb.study.cells import ANSWERS as MODES, BASE, PLAIN, SCALED, Cell, cell_of_run, laid_out, main_cell, recipe
from ambiscale_nb.study.claims import (CLAIMS, Claim, beside_published, claim_row, claim_text, claims_of, heading, planned,
                                       short_of_speakers, verdict_table)
from ambiscale_nb.study.effects import STRONG, TOO_ALIKE, able, by_model, deficits, fails, improves, strong_of
from ambiscale_nb.study.config import read_study

EVEN = dict.fromkeys((*SCALED, PLAIN), .3)

def world(model, knows=EVEN, base=0., clear=None, noise=0., mix=0., hits=None, params=np.nan, seed=0, speakers=20,
          each=40, K=4, R=8, corpus='world', mode='dist'):
    """A cell in which strategies know people's opinion by known shares. `clear` are the shares on clear clips,
    `noise` the weight of an unrelated distribution, `mix` the most weight of the uniform one, `hits` the chance
    that a strategy names people's label."""
    rng = rng_of('votes', seed, corpus)
    who = np.repeat([f's{i:02d}' for i in range(speakers)], each)
    truth = rng.dirichlet(np.full(K, .4), len(who))
    votes = rng.multinomial(R, truth)
    rng = rng_of('model', model, seed, corpus)
    ambiguous = np.isin(strata(votes), ['weak', 'tie'])
    said = np.eye(K)[(rng.random((len(who), 1))>truth.cumsum(1)[:, :-1]).sum(1)]

    def near(share, low=None):
        w = np.where(ambiguous, share, share if low is None else low)[:, None]
        flat = mix*rng.random((len(who), 1))
        q = (1-flat)*((1-w)*said+w*truth)+flat/K
        return (1-noise)*q+noise*rng.dirichlet(np.ones(K), len(who))

    dists = {BASE: (1-base)*said+base*truth}|{k: near(v, (clear or {}).get(k)) for k, v in knows.items()}
    credit, luck, guess = {}, rng.random((len(who), 1)), rng.integers(K, size=len(who))
    for k, chance in (hits or {}).items():
        own = luck if chance!=.5 else rng.random((len(who), 1))
        credit[k] = np.where(own<chance, shared_credit(truth), np.eye(K)[guess])
    return Cell(model, corpus, votes, who, dists, credit, params, mode=mode)

def three(**how): return [world(f'm{i}', params=10.**(6+i), **how) for i in range(3)]

def shares(**other): return EVEN|other

def all_of(share): return dict.fromkeys((*SCALED, PLAIN), share)

few = dict(speakers=14, each=3, noise=.7)  # too small and too noisy to tell

def growing(step, start=.1, models=6, **how):
    return [world(f'm{i}', all_of(start+step*i), params=1e6*2**i, **how) for i in range(models)]

def named(strong, other, **how):
    return [world(o, EVEN, base=strong, **how) for o in STRONG]+[world('another', EVEN, base=other, **how)]

def split(*knows, **how): return [world(f'm{i}', o, **how) for i, o in enumerate(knows)]

best_a, best_b = shares(w_bon=.9), shares(w_alm_v=.9)
weights = shares(w_bon=.8, w_alm_v=.8, mean=.5, bon=.5, alm_v=.5)
selects = shares(w_bon=.3, w_alm_v=.3, bon=.5, alm_v=.5, mean=.5)
same = shares(w_bon=.5, w_alm_v=.5, bon=.5, alm_v=.5, mean=.5)
clear_too = dict(clear=dict.fromkeys(SCALED, .1))
# Claim -> verdict -> worlds; the effects of the tuples are far from the borders of the rule
WORLDS = {
    '1a': {SUPPORTED: three(), OPPOSITE: three(base=.5), SMALL: three(base=.3), INCONCLUSIVE: three(base=.2, **few),
           NOT_TESTABLE: three()[:2]},
    '1b': {SUPPORTED: three(hits={BASE: .4, **all_of(.8)}), OPPOSITE: three(hits={BASE: .8, **all_of(.4)}),
           SMALL: three(hits={BASE: .4, **all_of(.4)}),
           INCONCLUSIVE: three(hits={BASE: .5, **all_of(.5)}, speakers=14, each=5), NOT_TESTABLE: three()},
    '2': {SUPPORTED: three(knows=all_of(.8), **clear_too), OPPOSITE: three(knows=all_of(.1), clear=all_of(.9)),
          INCONCLUSIVE: three(knows=all_of(.4), clear=EVEN, speakers=14, each=6, noise=.85),
          NOT_TESTABLE: [replace(o, votes=np.eye(4, dtype=int)[o.votes.argmax(1)]*8) for o in three()]},
    '3a': {SUPPORTED: growing(.15), OPPOSITE: growing(-.15, .85), SMALL: growing(0., .3, each=400),
           INCONCLUSIVE: growing(.1, **few), NOT_TESTABLE: growing(.2, models=4)},
    '3b': {SUPPORTED: growing(.12, base=.5, models=8), OPPOSITE: growing(.15), INCONCLUSIVE: growing(.05, base=.3, **few),
           NOT_TESTABLE: growing(.2, base=.5, models=4)},
    '4': {SUPPORTED: split(best_a, best_b), OPPOSITE: split(best_a, best_a), TOO_ALIKE: split(all_of(.3), all_of(.3)),
          INCONCLUSIVE: split(best_a, best_b, **few), NOT_TESTABLE: split(best_a)},
    '5a': {SUPPORTED: named(.6, .2), OPPOSITE: named(.2, .6), INCONCLUSIVE: named(.3, .2, speakers=14, each=2),
           NOT_TESTABLE: named(.6, .2)[1:]},
    '5b': {SUPPORTED: named(0., 0.), OPPOSITE: named(.8, 0.), INCONCLUSIVE: named(.42, 0., speakers=14, each=3),
           NOT_TESTABLE: named(.6, .2)[1:]},
    '6a': {SUPPORTED: split(weights, weights), OPPOSITE: split(selects, selects, base=.5),
           SMALL: split(same, same, base=.5), INCONCLUSIVE: split(weights, weights, **few), NOT_TESTABLE: split(weights)},
    '6b': {SUPPORTED: split(weights, weights), OPPOSITE: split(selects, selects), SMALL: split(same, same),
           INCONCLUSIVE: split(weights, weights, **few), NOT_TESTABLE: split(weights)}}

@pytest.mark.parametrize(('key', 'expected'), [(k, o) for k, found in WORLDS.items() for o in found],
                         ids=lambda o: str(o).replace(' ', '-'))
def test_worlds_of_known_truth_get_their_verdict(key, expected):
    row, parts = claim_row(CLAIMS[key], WORLDS[key][expected], 'dist')
    assert row['verdict']==expected, f'{row}\n{parts.to_string()}'
    if expected==NOT_TESTABLE: assert row['note']
    else: assert np.isfinite([row[o] for o in ('effect', 'low', 'high', 'p')]).all() and len(parts)==row['parts']

# --- what does not make a verdict ---------------------------------------------------------------------
def row_of(key, cells, **how): return claim_row(CLAIMS[key], cells, 'dist', **how)[0]

def word(key, cells): return row_of(key, cells)['verdict']

@pytest.mark.parametrize(('how', 'words'), [
    (dict(mix=.5, knows=all_of(0.)), (SMALL, INCONCLUSIVE)), (dict(knows=all_of(.61), base=.6), (SMALL, INCONCLUSIVE)),
    (dict(knows=all_of(1.)), (SUPPORTED, SIZE_OPEN, SMALL, INCONCLUSIVE))],
    ids=['smoothing', 'what the base knew', 'the truth is not judged opposite'])
def test_what_is_no_gain_on_ambiguous_speech(how, words):
    "The mean gains of a random mixture with uniform differ much between strata; what it recovers does not."
    cells = three(**how)
    gain = cells[0].score('w_bon')-cells[0].score(BASE)
    if 'mix' in how: assert gain[cells[0].level=='ambiguous'].mean()-gain[cells[0].level=='clear'].mean()>.05
    assert word('2', cells) in words

def test_strategies_that_change_nothing_are_too_small_and_never_pass():
    claims = claims_of(three(knows=all_of(0.)))[0].set_index(['claim', 'mode']).verdict
    assert not claims.isin([SUPPORTED, SIZE_OPEN, OPPOSITE]).any() and claims['1a', 'dist']==SMALL

def test_one_strategy_does_not_decide_for_all():
    "One of seven loses much more than the others gain: their mean is below 0, most of them gain."
    cells = three(knows=shares(alm_v=0.), base=.15)
    mean = np.mean([cells[0].score(s)-cells[0].score(BASE) for s in SCALED], 0).mean()
    row, parts = claim_row(CLAIMS['1a'], cells, 'dist')
    assert row['verdict']==SUPPORTED and parts[parts.part.str.contains(': alm_v')].effect.max()<0<mean

def test_thousands_of_clips_do_not_replace_models():
    gains = (.1, .5, .3)  # nothing to do with size
    cells = [world(f'm{i}', all_of(o), params=1e6*4**i, each=100) for i, o in enumerate(gains)]
    row = row_of('3a', cells)
    assert row['verdict']==NOT_TESTABLE and '3 of known' in row['note'] and '5 are needed' in row['note']

@pytest.mark.parametrize('models', [5, 8])
def test_gains_unrelated_to_size_are_rarely_called_a_trend(models):
    rng, x, found = rng_of('unrelated', models), np.arange(float(models)), []
    for _ in range(200):
        y = rng.normal(.05, .04, models)+rng.normal(0, .01, (len(SCALED), models))
        for key, effect, rule in (('3a', effects.larger_gain, 'most'), ('3b', effects.small_lose, 'any')):
            whole = ranked({s: effect(x, o) for s, o in zip(SCALED, y, strict=True)}, rule)
            found.append((key, verdict(whole, CLAIMS[key].delta, 2).word))
    for key, words in (('3a', {SUPPORTED, SIZE_OPEN}), ('3b', {SUPPORTED, SIZE_OPEN}), ('3a', {OPPOSITE})):
        assert sum(k==key and o in words for k, o in found)<=.05*200+4

def test_a_loss_elsewhere_supports_nothing():
    "Large models lose more than small ones; weighting loses to the single answer."
    assert word('3b', growing(-.05, .4, base=.6, models=8)) not in (SUPPORTED, SIZE_OPEN)
    assert word('6a', split(weights, weights, base=.95))==OPPOSITE

def test_size_uses_the_corpora_that_all_models_share():
    cells = growing(.1)+growing(.1, corpus='other')[:3]
    x, gains, corpora = by_model(cells)
    assert len(x)==6 and corpora==['world'] and set(gains)==set(SCALED)
    none = growing(.1)[:2]+growing(.1, corpus='other')[2:]
    assert by_model(none)[2]==['other'] and len(by_model(none)[0])==4

# --- dominance ---------------------------------------------------------------------------------------
def test_the_effect_of_claim_four_is_the_least_largest_deficit():
    cells = split(best_a, best_b, shares(bon=.5), speakers=15, each=6)
    names = (BASE, *SCALED)
    brute = min(max((o.score(b)-o.score(a)).mean() for o in cells for b in names if b!=a) for a in names)
    row, parts = claim_row(CLAIMS['4'], cells, 'dist')
    assert row['effect']==pytest.approx(brute) and len(parts)==3*8*7
    both = deficits(cells)
    for (a, b, cell), o in both.items():
        back = both[b, a, cell]
        close([o.value, o.end(-1, .01), o.end(1, .01)], [-back.value, -back.end(1, .01), -back.end(-1, .01)])

@pytest.mark.parametrize('seed', range(6))
def test_equal_strategies_do_not_dominate(seed):
    "Six strategies of equal score, each with errors of its own."
    cells = [replace(o, dists={k: world(f'{o.model} {k}', all_of(.3), seed=seed).dists['w_bon'] for k in o.dists})
             for o in split(EVEN, EVEN, seed=seed)]
    assert word('4', cells) in (TOO_ALIKE, INCONCLUSIVE)

def test_what_dominates_or_is_equal_is_named():
    assert row_of('4', WORLDS['4'][OPPOSITE])['note'].startswith('w_bon dominates')
    row = row_of('4', split(*[shares(w_bon=.9, w_alm_v=.9)]*2))
    assert row['verdict']==TOO_ALIKE and 'w_bon' in row['note'] and 'w_alm_v' in row['note']

# --- both modes, and all that a verdict rests on -------------------------------------------------------
@pytest.fixture(scope='module')
def claims(): return claims_of(three()+three(mode='label', base=.5), style='cot')[0]

def test_every_claim_is_judged_in_both_modes_and_the_modes_are_its_family(claims):
    assert [*claims.claim.unique()]==[*CLAIMS] and all(tuple(o)==tuple(MODES) for _, o in claims.groupby('claim')['mode'])
    got = claims.set_index(['claim', 'mode'])
    assert got.verdict['1a', 'dist']==SUPPORTED and got.verdict['1a', 'label']==OPPOSITE
    alone = claims_of(three())[0].set_index(['claim', 'mode'])
    wide, narrow = ((o.high-o.low)['1a', 'dist'] for o in (got, alone))
    assert wide>narrow and alone.family.eq(1).all() and got.family.eq(2).all()
    assert 'no answers in this mode' in alone.note['1a', 'label']

def test_a_verdict_is_printed_with_all_that_it_rests_on(claims):
    for key, rows in claims.groupby('claim'):
        o, text = CLAIMS[key], claim_text(rows)
        for piece in (o.says, o.estimand, o.rule, f'{o.delta:g} {o.unit}', o.baseline, o.metric,
                      *MODES.values(), *rows.verdict.str.upper()): assert piece in text, (key, piece)
        assert all(s in rows.strategies.iloc[0] for s in o.names if s!=BASE)
    assert 'majority' in SCALED and 'self_consistency' in SCALED
    assert 'prompt style: cot' in heading(claims)
    assert [*verdict_table(claims)]==['claim', 'says', *MODES.values()]

def test_cells_that_lack_something_are_counted_and_named():
    less = three()
    less[0] = replace(less[0], dists={k: v for k, v in less[0].dists.items() if k!='bon'})
    row = row_of('1a', less+[world('m4')])
    assert row['verdict']==SUPPORTED and '1 of 4 cells left out: m0 on world lacks bon' in row['note']
    assert row_of('1a', less)['note'].startswith('2 of 3 cells have all that is compared')

def test_acted_labels_are_judged_by_accuracy_alone():
    cells = [replace(o, acted=True) for o in three(hits={BASE: .4, **all_of(.8)})]
    got = claims_of(cells)[0].query("mode=='dist'").set_index('claim').verdict
    assert got['1b']==SUPPORTED and got.drop('1b').eq(NOT_TESTABLE).all()
    assert able(cells, SCALED)[0]==[] and len(able(cells, SCALED, 'accuracy')[0])==3

def test_clips_without_a_prediction_do_not_count():
    cells = three()
    holes = {k: v.copy() for k, v in cells[0].dists.items()}
    holes['w_bon'][:300] = np.nan
    _, parts = claim_row(CLAIMS['1a'], [replace(cells[0], dists=holes), *cells[1:]], 'dist')
    assert parts.set_index('part').n['m0 on world: w_bon']==500 and parts.n.value_counts()[800]==20

def test_the_order_of_clips_is_nothing():
    cells = three()
    back = [replace(o, votes=o.votes[::-1], speakers=o.speakers[::-1], dists={k: v[::-1] for k, v in o.dists.items()})
            for o in cells]
    for key in ('1a', '4', '6a'):
        a, b = (row_of(key, c) for c in (cells, back))
        assert [a[o] for o in ('effect', 'low', 'high', 'p')]==pytest.approx([b[o] for o in ('effect', 'low', 'high', 'p')])
        assert a['verdict']==b['verdict']

def test_a_part_is_the_paired_difference_of_means():
    o = three()[0]
    e, got = paired_difference(o.score('bon'), o.score(BASE), o.speakers), improves([o]).parts[o.name].parts['bon']
    close([got.value, got.end(-1, .025), got.end(1, .025)], [e.value, e.low, e.high], eps=1e-9)

# --- the systems of claim 5 --------------------------------------------------------------------------
def called(cells, names):
    "Cells of the strong systems under other names."
    other = dict(zip(STRONG, names, strict=True))
    return [replace(o, model=other.get(o.model, o.model)) for o in cells]

def test_registered_and_answering_names_are_judged_alike():
    for names in (STRONG, ('gpt-4o-audio', 'gemini-2.0-flash-001')): assert word('5a', called(named(.6, .2), names))==SUPPORTED

def test_systems_that_were_shut_down_without_recordings_can_no_longer_be_tested(tmp_path, monkeypatch):
    monkeypatch.setattr(effects, 'RESULTS', tmp_path)
    for row in (row_of(o, three()) for o in ('5a', '5b')):
        assert row['verdict']==NOT_TESTABLE and 'can no longer be tested' in row['note']
        assert '2026-05-07' in row['note'] and 'yet' not in row['note']
    tape = tmp_path/'mine'/'recordings'/'1.jsonl'
    tape.parent.mkdir(parents=True)
    tape.write_text(json.dumps(dict(request=dict(model='gpt-4o-audio-preview-2024-12-17')))+'\n')
    note = row_of('5a', three())['note']
    assert 'replay them' in note and 'no longer' not in note

def test_the_study_file_names_other_systems_and_the_statement_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr('ambiscale_nb.study.results.RESULTS', tmp_path)
    (tmp_path/'mine').mkdir()
    assert strong_of(Study('mine'))==STRONG
    (tmp_path/'mine'/'study.json').write_text(json.dumps(dict(strong=['gpt-audio-1.5', 'gemini-3.8-flash'])))
    strong = strong_of(Study('mine'))
    cells = called(named(.6, .2), strong)
    row = claims_of(cells, strong)[0].query("claim=='5a' and mode=='dist'").iloc[0]
    assert row.verdict==SUPPORTED and row.says.startswith('gpt-audio-1.5 and gemini-3.8-flash have the strongest')
    assert row_of('5a', cells[:1]+cells[2:], strong=strong)['note']=='the study has no answers of gemini-3.8-flash'

def test_systems_in_a_study_file_are_checked_when_it_is_read(tmp_path):
    def strong(text):
        (tmp_path/'mine.yaml').write_text(f'name: mine\nruns: [{{model: tiny-alm-nano}}]\nstrong: {text}\n')
        return read_study(tmp_path/'mine.yaml').strong
    assert strong('[gpt-audio-1.5, gemini-2.0-flash]')==['gpt-audio-1.5', 'gemini-2.0-flash']
    with pytest.raises(InputError, match="Did you mean 'gpt-audio-1.5'"): strong('[gpt-audio-15]')

def test_the_class_prior_is_that_of_other_dyads():
    cell = world(STRONG[0], noise=.3)
    dyad, y = np.array([f'd{int(o[1:])//2}' for o in cell.speakers]), soft_labels(cell.votes)
    for groups, given in ((cell.speakers, cell), (dyad, replace(cell, groups=dyad))):
        prior = np.stack([y[groups!=o].mean(0) for o in groups])
        want = (jsd(cell.dists[BASE], y)-jsd(prior, y))[cell.level=='ambiguous'].mean()
        assert np.isclose(fails([given], STRONG).value, want, rtol=1e-12)
    assert not np.isclose(fails([replace(cell, groups=dyad)]).value, fails([cell]).value, rtol=1e-9)

@pytest.mark.parametrize('speakers', [5, 6, 7, 8, 10, 14])
def test_what_is_short_of_speakers_is_known_before_the_study(speakers):
    "A study with the same speakers and nothing to find gives the same reasons."
    names = [*STRONG, 'a', 'b']
    said = {o.split()[1]: o.split(': ', 1)[1] for o in short_of_speakers([planned(o, 'world', speakers) for o in names],
                                                                         modes=2)}
    cells = [world(o, EVEN, base=.29, noise=.9, speakers=speakers, each=9, seed=3) for o in names]
    both = [replace(o, mode=m, credit=o.dists) for m in MODES for o in cells]
    rows, _ = claims_of(both)
    found = rows[rows['mode'].eq('dist') & rows.verdict.isin([INCONCLUSIVE, NOT_TESTABLE])].set_index('claim')
    for key, row in found[~found.index.isin(['2', '3a', '3b'])].iterrows():
        assert said.get(key, '')==row.note, key
    if speakers==5:
        assert rows.verdict.eq(NOT_TESTABLE).all() and rows[['low', 'high']].isna().all(axis=None)
        assert found.note['1a'].count('5 speakers')
    assert bool(said)==(speakers<12) and said.get('2')==said.get('1a')
    cells = [planned(o, 'world', speakers) for o in 'abc']
    for modes, case in ((1, 'can be judged only where its parts agree'), (2, 'cannot be supported')):
        if speakers==6: assert all(case in o for o in short_of_speakers(cells, modes=modes))
    if speakers==6: assert [o.split()[1] for o in short_of_speakers(cells[:1])]==['2']  # other claims lack cells

def test_a_claim_of_ones_own_is_judged_by_the_same_rule(monkeypatch):
    own = Claim('x', 'Beams help', 'gain', 'every', 'single answer', .01, 'bits', lambda cells, _: improves(cells), least=4)
    few, _ = claim_row(own, three(), 'dist')
    assert few['verdict']==NOT_TESTABLE and few['note'].startswith('3 of 3 cells')
    monkeypatch.setitem(CLAIMS, 'x', replace(own, least=3))
    rows = claims_of(three()+three(mode='label', base=.5))[0]
    found, first = (rows[rows.claim.eq(o)].set_index('mode') for o in ('x', '1a'))
    assert found.verdict.dist==SUPPORTED and found.verdict.equals(first.verdict) and found.low.equals(first.low)
    assert 'Beams help' in claim_text(rows[rows.claim.eq('x')]) and 'x' in set(verdict_table(rows).claim)

# --- tables ------------------------------------------------------------------------------------------
def test_stored_predictions_become_cells():
    labels, uids = ('angry', 'happy'), np.array(['a', 'b', 'c'])
    def row(uid, strategy, style, decoding, mode, dist, names):
        credit = [float(o in names)/len(names) for o in labels]
        return dict(uid=uid, strategy=strategy, style=style, decoding=decoding, width=5*(decoding=='beam'), mode=mode,
                    dist=dist, credit=credit, tied=[], chance=[])
    said = pd.DataFrame([
        row('c', 'greedy', 'direct', 'greedy', 'dist', [.2, .8], ['happy']),
        row('a', 'greedy', 'direct', 'greedy', 'dist', [.5, .5], ['angry', 'happy']),
        row('a', 'greedy', 'direct', 'greedy', 'label', [1., 0], ['angry']),
        row('a', 'majority', 'cot', 'sample', 'dist', [1., 0], ['angry']),
        row('a', 'bon', 'direct', 'beam', 'dist', [1., 0], ['angry']),
        row('a', 'bon', 'cot', 'sample', 'dist', [1., 0], ['angry'])])
    how = {o: recipe(o) for o in (BASE, 'bon', 'majority', 'self_consistency')}
    got = laid_out(said[said['mode'].eq('dist')], uids, labels, how, 'dist')
    assert set(got)=={BASE, 'self_consistency'}  # the beam and the reasoned samples are other predictions
    assert np.isnan(got[BASE][1]).all() and got[BASE][[0, 2]].tolist()==[[.5, .5], [.2, .8]]
    assert laid_out(said, uids, labels, {'bon': recipe('bon', 'beam', 5)}, 'credit')['bon'][0].tolist()==[1, 0]

    truth = SimpleNamespace(uids=uids, labels=labels, source='votes', votes=np.array([[3, 1], [2, 2], [0, 4]]),
                            speakers=np.array(['s', 's', 't']), groups=np.array(['d', 'd', 'd']))
    run = dict(model='m', corpus='c', n_params=None)
    cell, other = (cell_of_run(run, truth, said, how, o) for o in MODES)
    assert np.isnan(cell.params) and not cell.acted and (cell.mode, other.mode)==tuple(MODES)
    assert cell.groups.tolist()==['d', 'd', 'd']
    assert cell.credit[BASE][0].tolist()==[.5, .5] and other.credit[BASE][0].tolist()==[1, 0]
    assert np.isnan(cell.score(BASE)[1]) and np.isnan(cell.score(BASE, 'accuracy')[1])
    assert main_cell([cell, replace(cell, dists={**cell.dists, PLAIN: cell.dists[BASE]})]).dists.keys()>={PLAIN}

def test_a_tied_pick_has_the_mean_over_a_fair_draw_in_a_cell():
    uids, labels, votes = np.array(['a', 'b']), ('angry', 'happy', 'sad'), np.array([[3, 1, 0], [0, 0, 4]])
    row = dict(strategy='alm_v', style='direct', decoding='sample', width=0, mode='dist')
    said = pd.DataFrame([
        row | dict(uid='b', dist=[1., 0, 0], credit=[1., 0, 0], tied=[], chance=[]),
        row | dict(uid='a', dist=[.25, .75, 0], credit=[.25, .75, 0], tied=[1., 0, 0, 0, 1, 0], chance=[.25, .75])])
    truth = SimpleNamespace(uids=uids, labels=labels, source='votes', votes=votes, speakers=np.array(['s', 't']), groups=None)
    cell = cell_of_run(dict(model='m', corpus='c', n_params=None), truth, said, {'alm_v': recipe('alm_v')})
    y = votes/votes.sum(1, keepdims=True)
    want = .25*jsd(np.eye(3)[0], y[0])+.75*jsd(np.eye(3)[1], y[0])
    assert np.allclose(cell.score('alm_v'), [-want, -1]) and not np.isclose(want, jsd([.25, .75, 0], y[0]))
    assert np.allclose(cell.bits('alm_v'), [0, 0]) and entropy(cell.dists['alm_v'])[0]>.8  # what is drawn has no entropy

def test_published_numbers_are_shown_where_a_study_has_the_corpus():
    "And say so where many of our answers could not be read."
    one = dict(metric='accuracy', stratum='all', mode='label', style='direct', condition='none', k=16, decoding='sample',
               low=.3, high=.5, n=90, model='mine', unparsed=.05)
    rows = pd.DataFrame([dict(one, corpus=c, strategy=s, value=v) for c, s, v in (
        ('crema_d/v1', 'w_bon', .41), ('crema_d/v1', 'alm_v', .4), ('iemocap/x', 'bon', .2), ('iemocap/x', 'majority', .3),
        ('toyspeech', 'bon', .9))])
    got = beside_published(rows)
    assert set(got.corpus)=={'crema_d/v1', 'iemocap/x'} and len(got)==5 and 'unread' not in got
    rows.loc[0, 'unparsed'] = .4
    assert beside_published(rows).set_index('strategy').unread['w_bon']=='40 % unread'
    of = got.set_index(['corpus', 'strategy'])
    close([of.published['crema_d/v1', 'w_bon'], of.ours['crema_d/v1', 'w_bon'], of.ours['iemocap/x', 'the best']],
          [53.24, 41, 30])
    assert np.isnan(of.ours['crema_d/v1', 'greedy'])
