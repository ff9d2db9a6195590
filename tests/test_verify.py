"Verifiers: what is asked once, what is missing, who judges whom, and the audits of audio, order and ties."
import math
from dataclasses import replace
import numpy as np
import pytest
from ambiscale_nb import verify
from ambiscale_nb.budget import curves
from ambiscale_nb.core import InputError
from ambiscale_nb.models import Capabilities, Reply
from ambiscale_nb.pool import Draw, Store
from ambiscale_nb.strategies import (exchangeable, facts, listwise_verdicts, order_audit, pool_of, predict, real_choice,
    role_of, shuffle_audit, tie_audit, to_judge, verdict_pool, with_verdicts)
from ambiscale_nb.verify import Judge, label_verdicts, plan_verdicts, verdict_rows, verify_pool
from test_store import FOUR, Scripted, clips, run, wave_of

NAN = math.nan

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
    for p, name, role in ((pool, 'ear', 'self'), (cross, 'other', 'cross')):
        got = facts('alm_v', p)
        assert (got['verifier'], got['role'])==(name, role) and facts('majority', p)['verifier']==''

def test_the_verifier_alone_needs_no_answers():
    v = np.array([[.2, .4, .4, 0], [NAN]*4])
    p = predict('verifier_alone', verdict_pool(['a', 'b'], FOUR, v, 'ear', 'external'))
    np.testing.assert_allclose(p.L, [[0, .5, .5, 0], [0]*4])
    np.testing.assert_allclose(p.dist, [[.2, .4, .4, 0], [.25]*4])
    with pytest.raises(InputError, match='verdict pool'): predict('alm_v', verdict_pool(['a', 'b'], FOUR, v))

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
