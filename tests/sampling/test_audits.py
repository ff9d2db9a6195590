"Audits: who does not listen, who looks at places, who cannot tell answers apart, with intervals over speakers."
import math
import numpy as np
import pandas as pd
import pytest
from ambiscale_nb.sampling.audits import (MEASURES, audio_values, audit_rows,
    listwise_ledger, listwise_pool, order_table)
from ambiscale_nb.strategies.budget import curves
from ambiscale_nb.models.contract import Reply
from ambiscale_nb.sampling.files import Store
from ambiscale_nb.metrics.statistics import mean_ci
from ambiscale_nb.strategies.pool import pool_of, rows as clips_of
from ambiscale_nb.strategies.paper import to_judge, with_verdicts
from ambiscale_nb.sampling.verify import (Judge, label_verdicts, list_verdicts, plan_verdicts,
    verdict_rows, verify_pool)
from test_store import FOUR, Scripted, clips, quick, wave_of  # noqa: F401 (a fixture)
from verifiers import order_audit, shuffle_audit, tie_audit

NAN, U = math.nan, 40
ITEMS = clips(U).assign(speaker=[f's{i%10}' for i in range(U)])
Y = np.eye(4)[np.arange(U)%4]*.7+.075
WHO = dict(model='m', corpus='demo', decoding='sample', verifier='v', role='external')
rng = np.random.default_rng(3)
POOL = pool_of([[FOUR[k] for k in rng.permutation(4)[:3]]+[None] for _ in range(U)], FOUR, uids=ITEMS.uid)
LISTS = pd.DataFrame(dict(uid=ITEMS.uid, options=[tuple(o for o, on in zip(FOUR, row, strict=True) if on)
                                                  for row in to_judge(POOL)]))

class Judged(Scripted):
    "Hears the label of the clip's number; deaf: that of the first clip. `place`: what the first place is worth to it."
    name = 'v'
    def __init__(self, deaf=False, place=0.):
        super().__init__()
        self.deaf, self.place = deaf, place
    def likes(self, wave, label):
        at = 0 if self.deaf else round(float(wave[0])*1000)
        return [2., 1., .3, 0.][(FOUR.index(label)-at)%4]
    def score(self, wave, prompt, answers):
        if answers==['yes', 'no']:
            return np.array([self.likes(wave, next(o for o in FOUR if f'Is {o} ' in prompt.text)), 1.])
        return np.array([self.likes(wave, o)+self.place*(i==0) for i, o in enumerate(answers)])

def stored(model, folder, judge, options=None):
    "Rows of a judge, and of the same with other audio."
    out = []
    for o in ('none', 'swap'):
        how = Judge(judge, o)
        verify_pool(model, ITEMS, wave_of, FOUR, Store(folder), how, progress=False, options=options)
        out.append(verdict_rows(Store(folder), plan_verdicts(model, ITEMS, FOUR, how, options)))
    return out

def pointwise(model, folder):
    own, other = stored(model, folder, 'score')
    pool = with_verdicts(POOL, label_verdicts(own, POOL.uids, FOUR))
    return pool, other, audit_rows(pool, ITEMS.speaker, WHO, Y, other)

def listwise(model, folder):
    own, other = stored(model, folder, 'listwise', LISTS)
    pool = listwise_pool(POOL, own, POOL.uids)
    return pool, other, audit_rows(pool, ITEMS.speaker, WHO, Y, other, own), own

def of(table, audit, measure): return table.set_index(['audit', 'measure']).loc[audit, measure]

@pytest.mark.parametrize('ask', [pointwise, listwise])
def test_a_deaf_verifier_is_found_and_a_listening_one_is_not(tmp_path, ask):
    deaf = ask(Judged(deaf=True), tmp_path/'deaf')[2]
    for o in ('choice', 'verdict', 'votes'):
        row = of(deaf, 'audio', o)
        assert row.value==row.blind==0 and row.n==U and row.reason=='no spread between 10 speakers'
    fine = ask(Judged(), tmp_path/'fine')[2]
    for o in ('choice', 'verdict', 'votes'):
        row = of(fine, 'audio', o)
        assert row.low>0 and row.low<row.value<row.high and (row.n, row.speakers, row.reason)==(U, 10, '')

def test_a_silent_verifier_is_found():
    table = audit_rows(with_verdicts(POOL, np.where(np.arange(U)[:, None]%2, .5, np.full(4, NAN))), ITEMS.speaker, WHO, Y)
    missing, tied = (of(table, 'tie', o) for o in ('missing', 'tied'))
    assert (missing.value, missing.n, tied.value, tied.n)==(.5, U, 1, U/2)

def test_values_are_those_of_the_audits_and_intervals_those_of_speakers(tmp_path):
    pool, other, table, own = listwise(Judged(place=.8), tmp_path)
    swapped = listwise_pool(pool, other, pool.uids)
    found = shuffle_audit(pool, swapped, Y)
    for name, o in (('choice', 'changed'), ('verdict', 'moved'), ('votes', 'gain')):
        assert math.isclose(of(table, 'audio', name).value, found[o], rel_tol=1e-12)
    scores, places = list_verdicts(own, pool.uids, FOUR, to_judge(pool))
    order = order_audit(scores, places)
    assert math.isclose(of(table, 'order', 'agreement').value, order['agreement'])
    assert math.isclose(of(table, 'order', 'first').value, order['by_place'][0])
    assert math.isclose(of(table, 'tie', 'tied').value, tie_audit(pool)['tied'], abs_tol=1e-12)
    e = mean_ci(audio_values(pool, other, Y)['votes'], ITEMS.speaker)
    row = of(table, 'audio', 'votes')
    assert (row.value, row.low, row.high)==(e.value, e.low, e.high)

def test_a_part_of_the_clips_may_be_audited(tmp_path):
    pool, other, _ = pointwise(Judged(), tmp_path)
    def votes(uids): return of(audit_rows(pool, ITEMS.speaker, WHO, Y, other[other.uid.isin(uids)]), 'audio', 'votes')
    assert votes(ITEMS.uid[:12]).n==12 and 'set `audit`' in votes([]).reason

def test_what_cannot_be_told_has_a_reason(tmp_path):
    pool, _, table, own = listwise(Judged(), tmp_path)
    for t in (table, audit_rows(pool, ITEMS.speaker, WHO, judged=own), audit_rows(with_verdicts(POOL, Y), ITEMS.speaker, WHO)):
        assert [*zip(t.audit, t.measure, strict=True)]==[*MEASURES]
        assert (t.reason.ne('') | t[['value', 'low', 'high']].notna().all(axis=1)).all()
        assert (t.value.isna()<=t.reason.ne('')).all() and t.says.str.len().gt(9).all()
        known = t[t.low.notna()]
        assert (known.low<=known.value+1e-12).all() and (known.value<=known.high+1e-12).all()
    assert of(table, 'alone', 'votes').reason=='a list does not judge every label'
    voteless = audit_rows(with_verdicts(POOL, Y), ITEMS.speaker, WHO)
    assert of(voteless, 'alone', 'votes').reason=='nobody voted'
    assert of(voteless, 'order', 'first').reason.startswith('asked about one label at a time')

# ---- pools
def test_a_stated_distribution_has_the_expected_verdict_of_its_list():
    rows = pd.DataFrame([dict(uid='a', group=f'g{r}', repeat=r, label=o, index=i, score=s, error='') for r in (0, 1)
                         for i, (o, s) in enumerate([('angry', .2), ('sad', .8)][::1-2*r])])
    pool = pool_of([[(.5, 0, 0, .5), (1, 0, 0, 0)]], FOUR, 'dist', uids=['a'])
    np.testing.assert_allclose(listwise_pool(pool, rows, 'a').verdict, [[.5, .2]])

def test_it_runs_at_its_own_budget_and_lists_of_other_pools_are_not_its_bill(tmp_path):
    pool, _, _, own = listwise(Judged(), tmp_path)
    assert [o.k for o in curves(pool, ['alm_v'], None, Y)['alm_v']]==[4]
    next_label = dict(zip(FOUR, FOUR[1:]+FOUR[:1], strict=True))
    more = pd.concat([own, own.assign(group=own.group+'x', label=own.label.map(next_label))])
    assert listwise_ledger(clips_of(pool, [0, 1]), more)['calls'].tolist()==[2, 2]

def test_words_are_billed_by_the_call(tmp_path):
    class Words(Scripted):
        def sample(self, wave, prompt, n, seed, temperature):
            return [Reply('{"angry": 80, "sad": 40}', [1], 'stop', None,
                          dict(prompt_tokens=90, output_tokens=12, usd=.02), .5)]
    items, judge = ITEMS.iloc[:2], Judge('listwise-text')
    options = pd.DataFrame(dict(uid=items.uid, options=[('angry', 'sad')]*2))
    verify_pool(Words(), items, wave_of, FOUR, Store(tmp_path), judge, progress=False, options=options)
    rows = verdict_rows(Store(tmp_path), plan_verdicts(Words(), items, FOUR, judge, options))
    paid = listwise_ledger(pool_of([['angry', 'sad']]*2, FOUR, uids=items.uid), rows)
    for o, want in dict(calls=2, in_tokens=180, out_tokens=24, usd=.04, wall_seconds=1).items():
        np.testing.assert_allclose(paid[o], want)

def test_a_lost_order_counts_as_missing_nowhere_but_in_the_order(tmp_path):
    own, _ = stored(Judged(), tmp_path, 'listwise', LISTS)
    gone = own.uid.eq(ITEMS.uid[0]) & own['repeat'].eq(1)
    pool = listwise_pool(POOL, own[~gone], POOL.uids)
    assert np.isfinite(pool.verdict[0][pool.parsed[0]]).all()
    scores, places = list_verdicts(own[~gone], POOL.uids, FOUR, to_judge(POOL))
    assert order_table(scores, places).agreement.isna().tolist()==[True]+[False]*(U-1)
