"Verifiers: what is asked once, what is missing, who judges whom, and the audits of audio, order and ties."
import json
import math
import os
import signal
from dataclasses import replace
import numpy as np
import pandas as pd
import pytest
import loopback
from ambiscale_nb.sampling import verify
from ambiscale_nb.strategies.budget import curves
from ambiscale_nb.core import InputError, content_key
from ambiscale_nb.models.endpoint import EndpointALM
from ambiscale_nb.corpora.labels import label_set
from ambiscale_nb.models.contract import Capabilities, Reply
from ambiscale_nb.sampling.store import Draw, Limits, Store, plan_pool, pool_rows
from ambiscale_nb.models.parser import parse_list
from ambiscale_nb.models.prompts import listwise_prompt
from ambiscale_nb.strategies.pool import exchangeable, pool_of, predict, role_of
from ambiscale_nb.strategies.paper import listwise_verdicts, real_choice, to_judge, with_verdicts
from verifiers import order_audit, shuffle_audit, tie_audit
from ambiscale_nb.sampling.verify import (Judge, label_verdicts, list_verdicts, options_of,
    order_of, plan_verdicts, verdict_rows, verify_pool)
from test_store import COT, DIRECT, FOUR, Scripted, clips, forked, run, wave_of

NAN, SET = math.nan, label_set('four')

class Ear(Scripted):
    "Finds the label whose place is the clip's number, modulo four; a deaf one hears the first clip in all."
    name = 'ear'
    def __init__(self, deaf=False, words=None): super().__init__(); self.deaf, self.words, self.asked = deaf, words, []
    def at(self, wave): return 0 if self.deaf else round(float(wave[0])*1000)
    def label(self, prompt): return next(i for i, o in enumerate(FOUR) if verify.verify_prompt(o, FOUR).sha==prompt.sha)
    def score(self, wave, prompt, answers):
        self.calls += 1; self.asked.append((self.at(wave), self.label(prompt)))
        return np.array([math.log(.8), math.log(.2)][::1 if self.at(wave)%4==self.label(prompt) else -1])
    def sample(self, wave, prompt, n, seed, temperature):
        self.calls += 1
        return [Reply(self.words[self.calls%len(self.words)], [1], 'stop', None, {}, .1)]

@pytest.fixture(autouse=True)
def quick(monkeypatch): monkeypatch.setattr('os.fsync', lambda fd: None)

def judged(model, store, judge=None, items=None):
    judge, items = judge or Judge(), clips() if items is None else items
    report = verify_pool(model, items, wave_of, FOUR, store, judge, progress=False)
    rows = verdict_rows(store, plan_verdicts(model, items, FOUR, judge))
    return report, rows, label_verdicts(rows, items.uid, FOUR)

# ---- pointwise

@pytest.mark.parametrize('n', [16, 64])
def test_each_label_of_each_clip_is_judged_once_however_many_answers_there_are(tmp_path, n):
    store, model = Store(tmp_path), Ear()
    run(Scripted(), store, Draw(n=n, greedy=False))
    _, rows, v = judged(model, store)
    assert model.calls==6*4 and len(set(model.asked))==6*4 and len(rows)==6*4
    np.testing.assert_allclose(v, np.where(np.arange(6)[:, None]%4==np.arange(4), .8, .2))
    judged(model, store)
    assert model.calls==6*4

def test_clips_of_the_same_bytes_are_judged_once(tmp_path):
    items, model = clips(), Ear()
    items['audio_sha'] = 'same'
    _, _, v = judged(model, Store(tmp_path), items=items)
    assert model.calls==4 and (v==v[0]).all()

def test_equal_answers_have_one_verdict_and_a_stated_distribution_the_expected_one():
    v = [[.9, .1, .3, NAN]]
    label = pool_of([[FOUR[0], FOUR[1], FOUR[0], FOUR[3], None]], FOUR, label_verdict=v)
    np.testing.assert_allclose(label.verdict, [[.9, .1, .9, NAN, NAN]])
    dist = pool_of([[(.5, .5, 0, 0), (1, 0, 0, 0), (0, 0, .5, .5)]], FOUR, 'dist', label_verdict=v)
    np.testing.assert_allclose(dist.verdict, [[.5, .9, NAN]])
    assert to_judge(label).tolist()==[[True, True, False, True]] and to_judge(dist).all()

def test_the_answer_chosen_is_the_verifiers(tmp_path):
    _, _, v = judged(Ear(), Store(tmp_path))
    pool = pool_of([[*FOUR, FOUR[0], FOUR[0]]]*6, FOUR, label_verdict=v)
    np.testing.assert_allclose(predict('alm_v', pool).L, np.eye(4)[np.arange(6)%4])
    np.testing.assert_allclose(predict('verifier_alone', pool).L, predict('alm_v', pool).L)
    np.testing.assert_allclose(predict('w_alm_v', pool).dist[1], np.array([3*.2, .8, .2, .2])/1.8)

# ---- missing

@pytest.mark.parametrize('yes_no, status', [((-np.inf, -np.inf), 'undefined'), ((NAN, 0.), 'error')])
def test_a_score_that_is_none_is_missing(tmp_path, yes_no, status):
    model = Ear()
    fine = model.score
    model.score = lambda wave, prompt, answers: np.array(yes_no) if model.label(prompt)==2 else fine(wave, prompt, answers)
    _, rows, v = judged(model, Store(tmp_path))
    assert np.isnan(v).sum(0).tolist()==[0, 0, 6, 0] and np.isfinite(v[:, [0, 1, 3]]).all()
    assert {*rows.status[rows.label==FOUR[2]]}<={status} and {*rows.status[rows.label!=FOUR[2]]}=={'ok'}

def test_a_sure_no_is_no_missing_score(tmp_path):
    model = Ear()
    model.score = lambda wave, prompt, answers: np.array([-np.inf, 0.])
    assert (judged(model, Store(tmp_path))[2]==0).all()

def test_words_that_cannot_be_read_are_missing_and_left_out_of_the_mean(tmp_path):
    model = Ear(words=['yes', 'I refuse.', 'no', 'yes'])
    _, rows, v = judged(model, Store(tmp_path), Judge('text', repeats=4), clips(1))
    assert len(rows)==16 and (rows.status=='unparsed').sum()==4==rows.score.isna().sum()
    for label, value in zip(FOUR, v[0], strict=True):
        assert math.isclose(value, np.nanmean(rows.score[rows.label==label])), label
    silent = judged(Ear(words=['Hm.']), Store(tmp_path/'b'), Judge('text'), clips(1))[2]
    assert np.isnan(silent).all()
    pool = pool_of([[FOUR[0], FOUR[0], FOUR[1]]]*2, FOUR, label_verdict=np.r_[silent, [[.1, .2, .3, .4]]])
    p = predict('alm_v', pool)
    assert p.flags.tolist()==['fallback', ''] and p.L[0, 0]==1 and p.L[1, 1]==1

def test_ways_of_asking_that_cannot_be_answered_are_refused():
    class Dumb(Scripted): capabilities = Capabilities(label_scoring=False, verify=False)
    with pytest.raises(InputError, match='cannot score yes and no'): plan_verdicts(Dumb(), clips(), FOUR)
    assert len(plan_verdicts(Dumb(), clips(), FOUR, Judge('text')))==24
    for bad in (dict(verifier='vibes'), dict(repeats=0), dict(repeats=2), dict(condition='random')):
        with pytest.raises(InputError): Judge(**bad)

# ---- who judges

def test_roles():
    assert role_of('a', 'a', ('a', 'b'))=='self' and role_of('b', 'a', ('a', 'b'))=='cross'
    assert role_of('c', 'a', ('a', 'b'))=='external' and role_of('c', 'a')=='external'

def test_a_verifiers_verdicts_are_its_own_and_go_with_any_pool(tmp_path):
    "The same store, two verifiers and two models' answers: nobody's verdicts are taken for another's."
    store, other = Store(tmp_path), Ear(deaf=True)
    other.name = 'other'
    mine, theirs = judged(Ear(), store)[2], judged(other, store)[2]
    assert not np.allclose(mine, theirs) and (theirs==theirs[0]).all()
    np.testing.assert_allclose(judged(Ear(), store)[2], mine)
    pool = pool_of([[*FOUR]]*6, FOUR, uids=clips().uid, label_verdict=mine, verifier='ear', role='self')
    cross = with_verdicts(pool, theirs, verifier='other', role='cross')
    np.testing.assert_allclose(predict('alm_v', cross).L, np.eye(4)[[0]*6])

def test_the_verifier_alone_needs_no_answers():
    v = np.array([[.2, .4, .4, 0], [NAN]*4])
    unread = pool_of([[None]]*2, FOUR, label_verdict=v)
    p = predict('verifier_alone', unread)
    np.testing.assert_allclose(p.L, [[0, .5, .5, 0], [0]*4])
    np.testing.assert_allclose(p.dist, [[.2, .4, .4, 0], [.25]*4])
    assert predict('alm_v', unread).empty.all()

# ---- does it listen

def test_a_swapped_judge_hears_another_speaker(tmp_path):
    model, items = Ear(), clips()
    plan = plan_verdicts(model, items, FOUR, Judge(condition='swap'))
    speaker = items.set_index('audio_sha').speaker
    assert (speaker[plan.audio_sha].to_numpy()!=speaker[items.set_index('uid').audio_sha[plan.uid]].to_numpy()).all()
    assert not {*plan.group} & {*plan_verdicts(model, items, FOUR).group}

@pytest.mark.parametrize('deaf', [False, True])
def test_the_audio_audit_tells_who_listens(tmp_path, deaf):
    model, store = Ear(deaf), Store(tmp_path)
    own, other = (judged(model, store, Judge(condition=o))[2] for o in ('none', 'swap'))
    pool = pool_of([[*FOUR]]*6, FOUR, label_verdict=own)
    found = shuffle_audit(pool, with_verdicts(pool, other), np.eye(4)[np.arange(6)%4])
    if deaf: assert found==dict(n=6, changed=0, moved=0, gain=0)
    else:
        plan = plan_verdicts(model, clips(), FOUR, Judge(condition='swap')).drop_duplicates('uid')
        moved = np.mean([int(o[3:])%4 for o in plan.audio_sha]!=np.arange(6)%4)  # heard a clip of another favourite
        assert moved>.5 and found['n']==6
        np.testing.assert_allclose([found['changed'], found['gain'], found['moved']], [moved, moved, .3*moved])

def test_the_audio_audit_looks_only_where_there_is_a_choice():
    pool = pool_of([['sad', 'sad'], ['sad', 'angry'], ['sad', None]], ('angry', 'sad'), label_verdict=[[.9, .1]]*3)
    other = with_verdicts(pool, np.array([[.1, .9]]*3))
    assert real_choice(pool).tolist()==[False, True, False]
    found = shuffle_audit(pool, other)
    assert found['n']==1 and found['changed']==1 and math.isnan(found['gain'])
    none = shuffle_audit(*[with_verdicts(pool_of([['sad']], ('angry', 'sad')), np.array([[.9, .1]]))]*2)
    assert none['n']==0 and math.isnan(none['changed']) and math.isnan(none['moved'])

# ---- listwise: the order

def orders(P, U, N, seed=0):
    rng = np.random.default_rng(seed)
    return np.array([[rng.permutation(N) for _ in range(U)] for _ in range(P)])

def test_listwise_verdicts_are_the_mean_over_orders():
    scores = np.array([[[.2, NAN, NAN]], [[.6, .5, NAN]]])
    np.testing.assert_allclose(listwise_verdicts(scores), [[.4, .5, NAN]])
    with pytest.raises(InputError, match='two orders'): listwise_verdicts(scores[:1])

def test_the_order_audit_finds_a_verifier_that_looks_at_places():
    places, worth = orders(4, 300, 5), np.random.default_rng(1).random((300, 5)).round(6)
    fair = order_audit(np.broadcast_to(worth, places.shape), places)
    assert fair['n']==300 and math.isclose(fair['agreement'], 1)
    np.testing.assert_allclose(fair['by_place'], 0, atol=1e-12)
    blind = order_audit(1-places/5, places)
    assert abs(blind['agreement']-.2)<.05  # as often as by chance: the first of five, whoever it is
    np.testing.assert_allclose(blind['by_place'], .75*np.array([.4, .2, 0, -.2, -.4]), atol=.03)  # the mean has its own
    leaning = order_audit(worth*.8+.2*(places==0), places)
    assert blind['agreement']<leaning['agreement']<1 and leaning['by_place'][0]>.1>leaning['by_place'][1]

def test_the_order_audit_by_hand():
    "Two clips, two orders: the first keeps its favourite, the second changes it; a third lacks an order."
    scores = np.array([[[.9, .1], [.8, .2], [.5, .4]], [[.7, .3], [.4, .6], [NAN, NAN]]])
    places = np.array([[[0, 1]]*3, [[1, 0]]*3])
    found = order_audit(scores, places)
    assert found['n']==2 and found['agreement']==.5
    np.testing.assert_allclose(found['by_place'], [np.mean([.1, .2, 0, .1, .2]), np.mean([-.1, -.2, 0, -.1, -.2])], atol=1e-9)

def test_ties_share_the_agreement():
    scores, places = np.full((2, 1, 2), .5), np.array([[[0, 1]], [[1, 0]]])
    assert order_audit(scores, places)['agreement']==.5  # two coins agree half of the time

def listwise_pool():
    rng = np.random.default_rng(0)
    answers = [[FOUR[i] for i in rng.integers(0, 4, 6)] for _ in range(5)]
    return pool_of(answers, FOUR, verdict=listwise_verdicts(rng.random((2, 5, 6))), verdicts_by='listwise')

def test_answers_judged_in_view_of_each_other_are_not_exchangeable():
    pool = listwise_pool()
    assert 'all answers' in exchangeable(pool) and exchangeable(replace(pool, verdicts_by='pointwise'))==''
    points = curves(pool, ['alm_v', 'majority'], [6], np.full((5, 4), .25))
    for s in ('alm_v', 'majority'): np.testing.assert_allclose(points[s][0].L, predict(s, pool).L)

def test_listwise_pools_have_no_budgets_below_their_own():
    points = curves(listwise_pool(), ['alm_v'], None, np.full((5, 4), .25))['alm_v']
    assert [o.k for o in points]==[6]

# ---- ties

def test_the_tie_audit_by_hand():
    "Equal verdicts on one label are no coin; equal ones on two labels are; without a choice a clip does not count."
    three = ('angry', 'happy', 'sad')
    pool = pool_of([['sad', 'sad', 'angry'], ['sad', 'happy', 'angry'], ['sad', 'happy', 'angry'], ['sad']*3], three,
                   label_verdict=[[.2, NAN, .9], [.2, .9, .9], [.5, .5, .5], [.1, .1, .1]])
    assert tie_audit(pool)==dict(n=3, tied=2/3)
    none = tie_audit(pool_of([['sad']], three, label_verdict=[[.1, .1, .1]]))
    assert none['n']==0 and math.isnan(none['tied'])

def test_coarse_scales_tie():
    rng = np.random.default_rng(0)
    v = rng.random((400, 4))
    pool = pool_of([[*FOUR]]*400, FOUR, label_verdict=v)
    tied = [tie_audit(with_verdicts(pool, o))['tied'] for o in (v, v.round(1), v.round())]
    assert tied[0]==0<tied[1]<tied[2] and tied[2]>.6

# ---- listwise: the calls

class Lister(Scripted):
    "Hears the label whose place is the clip's number, modulo four; `lean`: it adds that to the first on the list."
    name = 'lister'
    def __init__(self, lean=0., die=None): super().__init__(); self.lean, self.die, self.asked = lean, die, []
    def score(self, wave, prompt, answers):
        self.calls += 1
        self.asked.append((round(float(wave[0])*1000), tuple(answers)))
        if self.calls==self.die: os.kill(os.getpid(), signal.SIGKILL)
        best = FOUR[self.asked[-1][0]%4]
        return np.array([2.*(o==best)+self.lean*(i==0) for i, o in enumerate(answers)])

def listed(*options, n=6):
    return pd.DataFrame([dict(uid=o, options=s) for o in clips(n).uid for s in options])

def side_by_side(model, store, options=None, judge=None, items=None, **more):
    judge, items = judge or Judge('listwise'), clips() if items is None else items
    options = listed(FOUR) if options is None else options
    report = verify_pool(model, items, wave_of, FOUR, store, judge, progress=False, options=options, **more)
    return report, verdict_rows(store, plan_verdicts(model, items, FOUR, judge, options))

def scores_of(rows, shown=FOUR, n=6):
    return list_verdicts(rows, clips(n).uid, FOUR, np.array([[o in shown for o in FOUR]]*n))

KEYS = ['3bae02c477de87e0e209005b9cf375a1', 'a6289b5a6380777870b9236bf5d9f482', '848ce30458d5fb3344fb44a0788ee23d']
SEEDS = [0, 5934144765928247640, 0]

def test_pointwise_judgements_keep_the_keys_under_which_they_are_stored():
    "Keys and seeds of the first version with which studies were run: verdicts that were paid for are found again."
    items = pd.DataFrame(dict(corpus='demo', uid=['a', 'b'], speaker=['x', 'y'], audio_sha=['s0', 's1']))
    plans = [plan_verdicts(Ear(), items, FOUR, o) for o in (Judge(), Judge('text', repeats=2), Judge(condition='swap'))]
    assert [content_key(o.group.tolist()) for o in plans]==KEYS
    assert [o.seed.iloc[0] for o in plans]==SEEDS

def test_a_list_is_judged_in_an_order_and_its_reverse(tmp_path):
    model, store = Lister(), Store(tmp_path)
    report, rows = side_by_side(model, store)
    assert report.made==12 and len(rows)==12*4 and rows.key.is_unique and rows.status.eq('ok').all()
    for at in range(6):
        one, two = (o for i, o in model.asked if i==at)
        assert one==two[::-1] and set(one)==set(FOUR)
    assert len({o for _, o in model.asked})>4  # not one order for all clips
    scores, places = scores_of(rows)
    np.testing.assert_allclose(scores.sum(-1), 1)
    assert (places.sum(0)==3).all()
    np.testing.assert_allclose(listwise_verdicts(scores).argmax(-1), np.arange(6)%4)
    side_by_side(model, store)
    assert model.calls==12

def test_pools_that_hold_the_same_labels_share_a_call_and_others_do_not(tmp_path):
    two = ('angry', 'sad')
    model, store = Lister(), Store(tmp_path)
    side_by_side(model, store, listed(FOUR))
    report, rows = side_by_side(model, store, listed(FOUR, two))
    assert report.had==12 and model.calls==24
    few = scores_of(rows, two)[0]
    assert np.isnan(few[:, :, [1, 2]]).all() and np.allclose(np.nansum(few, -1), 1)
    assert not np.allclose(few[:, :, 0], scores_of(rows)[0][:, :, 0])
    assert np.isnan(scores_of(rows, FOUR[:3])[0]).all()  # what was judged on another list is no verdict on this one

def test_the_key_of_a_list_holds_its_answers_and_their_order():
    plan = plan_verdicts(Lister(), clips(1), FOUR, Judge('listwise', repeats=6), listed(FOUR, FOUR[:2], n=1))
    assert plan.group.is_unique and len(plan)==12
    assert {verify.verdict_key(o) for o in plan.to_dict('records')}=={*plan.group}
    shas = {listwise_prompt(o).sha for o in (FOUR, FOUR[::-1], FOUR[:3])}
    assert len(shas)==3 and order_of('a', FOUR, 0)==order_of('a', FOUR[::-1], 0)

def test_the_lists_of_a_run_are_the_labels_of_its_pools(tmp_path):
    store, model = Store(tmp_path), Scripted()
    run(model, store, Draw(n=4), prompts=(DIRECT, COT))
    rows = pool_rows(store, plan_pool(model, clips(), (DIRECT, COT), Draw(n=4)))
    found = options_of(rows, SET)
    for uid, part in rows[rows.decode.eq('sample')].groupby('uid'):
        want = {tuple(o for o in FOUR if o in set(p.text)) for _, p in part.groupby('style')}
        assert {o for o in want if len(o)>1}=={*found.options[found.uid==uid]}, uid
    assert not found.duplicated().any()
    other_word = rows.assign(text=rows.text.str.replace('happy', 'excited'))  # with four labels the same emotion
    assert other_word.text.ne(rows.text).any() and options_of(other_word, SET).equals(found)
    one = rows[rows.decode.eq('greedy')]
    assert not len(options_of(one, SET)) and not len(options_of(one, SET, ('greedy',)))  # one answer is no choice
    rows['text'] = rows.text.where(rows['index'].ne(0), 'Hm.')
    assert {*map(len, options_of(rows, SET).options)}<={2, 3}  # what cannot be read is not on the list
    rows['error'] = rows.error.where(rows['style'].ne('cot') | rows.uid.ne('clip000') | rows['index'].ne(1), 'timeout')
    assert (options_of(rows, SET).uid=='clip000').sum()<=1  # a pool with a failed call waits
    assert not len(options_of(rows.iloc[:0], SET))

def test_killed_and_resumed_no_call_is_made_twice(tmp_path):
    for die in (1, 5, 9):
        store = tmp_path/str(die)
        pid = forked(lambda store=store, die=die: side_by_side(Lister(die=die), Store(store)))
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])==-signal.SIGKILL
        again = Lister()
        report, rows = side_by_side(again, Store(store))
        assert (report.had, again.calls)==(die-1, 13-die)
        assert len(rows)==48 and rows.key.is_unique
    whole = side_by_side(Lister(), Store(tmp_path/'whole'))[1]
    same = [c for c in rows if not c.endswith('_measured')]
    pd.testing.assert_frame_equal(rows[same], whole[same])

def test_where_nobody_has_a_choice_nothing_is_asked(tmp_path):
    model = Lister()
    for o in (listed(FOUR).iloc[:0], options_of(pd.DataFrame(dict(decode=[])), SET)):
        report, rows = side_by_side(model, Store(tmp_path), o)
        assert (report.planned, report.made, len(rows), model.calls)==(0, 0, 0, 0)
    assert np.isnan(scores_of(rows)[0]).all()

def test_a_limit_ends_a_listwise_run_and_the_next_goes_on(tmp_path):
    first = side_by_side(Lister(), Store(tmp_path), limits=Limits(calls=5))[0]
    assert first.made==5 and 'calls: 5 of 5' in first.stopped
    second = side_by_side(Lister(), Store(tmp_path))[0]
    assert (second.had, second.made)==(5, 7)

def test_a_failed_list_is_an_error_for_each_answer_and_is_tried_again(tmp_path):
    class Late(Lister):
        def score(self, wave, prompt, answers):
            if (self.calls, self.die)==(2, None): self.calls += 1; raise TimeoutError('no reply in 60 s')
            return super().score(wave, prompt, answers)
    store = Store(tmp_path)
    report, rows = side_by_side(Late(), store)
    bad = rows[rows.error.ne('')]
    assert report.failed==1 and dict(report.kinds)=={'timeout': 1}
    assert len(bad)==4 and set(bad.label)==set(FOUR) and bad.score.isna().all() and bad['index'].tolist()!=[0]*4
    scores = scores_of(rows)[0]
    assert np.isnan(scores).sum()==4 and np.isfinite(listwise_verdicts(scores)).all()  # the other order is left
    assert order_audit(*scores_of(rows))['n']==5
    assert side_by_side(Lister(), store)[0].made==1
    assert np.isfinite(scores_of(side_by_side(Lister(), store)[1])[0]).all()

@pytest.mark.parametrize('logp, status, error', [([-np.inf]*4, 'undefined', ''), ([0, NAN, 0, 0], 'error', 'bad_score')])
def test_a_list_without_probabilities_has_no_scores(tmp_path, logp, status, error):
    model = Lister()
    model.score = lambda wave, prompt, answers: np.array(logp)
    rows = side_by_side(model, Store(tmp_path))[1]
    assert set(rows.status)=={status} and set(rows.error)=={error} and np.isnan(scores_of(rows)[0]).all()

def test_some_answers_without_probability_are_a_sure_no(tmp_path):
    model = Lister()
    model.score = lambda wave, prompt, answers: np.array([0., -np.inf, -np.inf, -np.inf])
    rows = side_by_side(model, Store(tmp_path))[1]
    assert set(rows.score)=={0, 1} and set(rows.status)=={'ok'}

def test_another_clips_audio_leaves_the_order(tmp_path):
    own, other = (plan_verdicts(Lister(), clips(), FOUR, Judge('listwise', o), listed(FOUR)) for o in ('none', 'swap'))
    key = ['uid', 'repeat']
    both = own.merge(other, on=key)
    assert (both.label_x==both.label_y).all() and (both.audio_sha_x!=both.audio_sha_y).all()
    assert not {*own.group} & {*other.group}

def test_ways_of_listing_that_cannot_be_answered_are_refused():
    class Dumb(Scripted): capabilities = Capabilities(label_scoring=False, verify=False)
    with pytest.raises(InputError, match='cannot score the answers of a list'):
        plan_verdicts(Dumb(), clips(), FOUR, Judge('listwise'), listed(FOUR))
    assert len(plan_verdicts(Dumb(), clips(), FOUR, Judge('listwise-text', repeats=3), listed(FOUR)))==18
    for judge, options in ((Judge('listwise'), None), (Judge(), listed(FOUR))):
        with pytest.raises(InputError, match='judged by a listwise verifier'):
            plan_verdicts(Scripted(), clips(), FOUR, judge, options)
    with pytest.raises(InputError, match='take 2'): Judge('listwise-text', repeats=1)

@pytest.mark.parametrize('lean', [0, 1.5, 40.])
def test_a_taste_for_the_first_place_is_found(tmp_path, lean):
    rows = side_by_side(Lister(lean), Store(tmp_path))[1]
    found = order_audit(*scores_of(rows))
    assert found['n']==6
    if not lean: assert found['agreement']==1 and np.allclose(found['by_place'], 0)
    else: assert found['by_place'][0]>.1>found['by_place'][1]
    assert (found['agreement']==0)==(lean==40)

# ---- listwise, in words

def fake_words(monkeypatch, replies):
    "The server says these in turn, whatever it is asked."
    said = iter(replies)
    monkeypatch.setattr(loopback, 'answers', lambda sound, question, ask, n, beam: [next(said)]*n)

def test_a_server_judges_lists_in_words(tmp_path, monkeypatch):
    three, judge = ('angry', 'happy', 'sad'), Judge('listwise-text')
    fake_words(monkeypatch, ['{"angry": 80, "happy": 5, "sad": 40}', 'angry > sad > happy',
                             "I can't judge voices.", '{"sad": 90, "happy": "?"}'])
    with loopback.Loopback() as server:
        model = EndpointALM('demo', 'openai', server.url, key='')
        report, rows = side_by_side(model, Store(tmp_path), listed(three, n=2), judge, clips(2))
        asked = [o['messages'][0]['content'][1]['text'] for _, o in server.asked]
        model.close()
    assert report.made==4 and not report.failed and len(rows)==12 and all('Answer with JSON' in o for o in asked)
    scores = scores_of(rows, three, 2)[0]
    np.testing.assert_allclose(scores[:, 0], [[.8, .05, NAN, .4], [1, 0, NAN, .5]])
    np.testing.assert_allclose(scores[:, 1], [[NAN]*4, [NAN, NAN, NAN, .9]])
    assert set(rows.status[rows.score.isna()])=={'unparsed'} and set(rows.status[rows.score.notna()])=={'ok'}
    np.testing.assert_allclose(listwise_verdicts(scores), [[.9, .025, NAN, .45], [NAN, NAN, NAN, .9]])
    calls = rows.groupby('group').agg(text=('text', 'first'), out=('n_tokens', 'sum'))
    assert (calls.out==calls.text.str.len()+1).all()  # what a call wrote is shared by its rows, and not counted twice

@pytest.mark.parametrize('fault', ['refusal', 'content filter'])
def test_a_refusal_of_a_list_is_no_score(tmp_path, monkeypatch, fault):
    fake_words(monkeypatch, ['{"angry": 80, "sad": 40}']*9)
    with loopback.Loopback() as server:
        server.faults = [None, fault]
        model = EndpointALM('demo', 'openai', server.url, key='')
        report, rows = side_by_side(model, Store(tmp_path), listed(('angry', 'sad'), n=2), Judge('listwise-text'), clips(2))
        model.close()
    lost = rows[rows.score.isna()]
    assert report.made==4 and len(lost)==2 and lost.group.nunique()==1 and set(lost.status)=={'unparsed'}
    assert np.isfinite(listwise_verdicts(scores_of(rows, ('angry', 'sad'), 2)[0])[:, [0, 3]]).all()

def test_a_server_that_breaks_down_leaves_error_rows(tmp_path, monkeypatch):
    fake_words(monkeypatch, ['{"angry": 80, "sad": 40}']*9)
    with loopback.Loopback() as server:
        server.faults = ['bad_request']
        model = EndpointALM('demo', 'openai', server.url, key='')
        two, way = listed(('angry', 'sad'), n=2), Judge('listwise-text')
        report, rows = side_by_side(model, Store(tmp_path), two, way, clips(2))
        assert report.failed==1 and (rows.error=='bad_request').sum()==2
        assert side_by_side(model, Store(tmp_path), two, way, clips(2))[0].made==1
        model.close()

def test_hostile_lists_are_read_or_missing():
    three = ('angry', 'happy', 'sad')
    junk = ['{'*999, '>'*999, '[' + 'sad,'*999 + ']', 'sad: '*999, '{"sad": 1e99}', '{"sad": NaN}', '\ud800', 'sad:80'*999,
            json.dumps({o: {'score': 50} for o in three}), '{"sad": -5, "angry": true}', '[1, 2, 3]', 'sad > sad > angry']
    for text in junk:
        got = parse_list(text, three)
        assert {*got}=={*three} and all(math.isnan(o) or 0<=o<=1 for o in got.values()), text
    assert parse_list('{"sad": 50%, "angry": 100/100, "happy": 0}', three)==dict(angry=1, happy=0, sad=.5)
    assert parse_list('Final answer: [sad, angry, happy]', three)==dict(sad=1, angry=.5, happy=0)
