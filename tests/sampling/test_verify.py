"Verifiers: what is asked once, what is missing, who judges whom, and the audits of audio, order and ties."
import math
import os
import signal
import numpy as np
import pandas as pd
import pytest
import loopback
from ambiscale_nb.sampling import verify
from ambiscale_nb.core import InputError, content_key
from ambiscale_nb.models.endpoint import EndpointALM
from ambiscale_nb.corpora.labels import label_set
from ambiscale_nb.models.contract import Capabilities, Reply
from ambiscale_nb.sampling.store import Draw, plan_pool, pool_rows
from ambiscale_nb.sampling.files import Store
from ambiscale_nb.models.prompts import listwise_prompt
from ambiscale_nb.strategies.pool import exchangeable, pool_of, predict
from ambiscale_nb.strategies.paper import listwise_verdicts, to_judge, with_verdicts
from verifiers import order_audit
from ambiscale_nb.sampling.verify import (Judge, label_verdicts, list_verdicts, list_options,
    order_of, plan_verdicts, verdict_rows, verify_pool)
from test_store import COT, DIRECT, FOUR, Scripted, clips, forked, quick, run, wave_of  # noqa: F401 (a fixture)

NAN, SET = math.nan, label_set('four')

class Ear(Scripted):
    "Finds the label whose place is the clip's number, modulo four; deaf: always the first; dies at call number `die`."
    name = 'ear'
    def __init__(self, deaf=False, words=None, die=None):
        super().__init__()
        self.deaf, self.words, self.die, self.asked = deaf, words, die, []
    def label(self, prompt): return next(i for i, o in enumerate(FOUR) if verify.verify_prompt(o, FOUR).sha==prompt.sha)
    def score(self, wave, prompt, answers):
        self.calls += 1
        at, one = 0 if self.deaf else round(float(wave[0])*1000), answers==['yes', 'no']
        self.asked.append((at, self.label(prompt) if one else tuple(answers)))
        if self.calls==self.die: os.kill(os.getpid(), signal.SIGKILL)
        if one: return np.log([.8, .2] if at%4==self.label(prompt) else [.2, .8])
        return np.array([2.*(o==FOUR[at%4]) for o in answers])
    def sample(self, wave, prompt, n, seed, temperature):
        self.calls += 1
        return [Reply(self.words[self.calls%len(self.words)], [1], 'stop', None, {}, .1)]

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
    for _ in 'ab':
        _, rows, v = judged(model, store)
        assert model.calls==len(set(model.asked))==len(rows)==6*4
    np.testing.assert_allclose(v, np.where(np.arange(6)[:, None]%4==np.arange(4), .8, .2))
    pool = pool_of([[*FOUR, FOUR[0], FOUR[0]]]*6, FOUR, label_verdict=v)
    np.testing.assert_allclose(predict('alm_v', pool).L, np.eye(4)[np.arange(6)%4])
    np.testing.assert_allclose(predict('w_alm_v', pool).dist[1], np.array([3*.2, .8, .2, .2])/1.8)

def test_equal_answers_have_one_verdict_and_a_stated_distribution_the_expected_one():
    v, (a, b, _, d) = [[.9, .1, .3, NAN]], FOUR
    label = pool_of([[a, b, a, d, None]], FOUR, label_verdict=v)
    dist = pool_of([[(.5, .5, 0, 0), (1, 0, 0, 0), (0, 0, .5, .5)]], FOUR, 'dist', label_verdict=v)
    np.testing.assert_allclose(label.verdict, [[.9, .1, .9, NAN, NAN]])
    np.testing.assert_allclose(dist.verdict, [[.5, .9, NAN]])
    assert to_judge(label).tolist()==[[True, True, False, True]] and to_judge(dist).all()

# ---- missing
@pytest.mark.parametrize('yes_no, status', [((-np.inf, -np.inf), 'undefined'), ((NAN, 0.), 'error'), ((-np.inf, 0.), 'ok')])
def test_a_score_that_is_none_is_missing_and_a_sure_no_is_not(tmp_path, yes_no, status):
    model = Ear()
    fine = model.score
    model.score = lambda wave, prompt, answers: np.array(yes_no) if model.label(prompt)==2 else fine(wave, prompt, answers)
    _, rows, v = judged(model, Store(tmp_path))
    assert (v[:, 2]==0).all() if status=='ok' else np.isnan(v[:, 2]).all()
    assert np.isfinite(v[:, [0, 1, 3]]).all() and {*rows.status[rows.label!=FOUR[2]]}=={'ok'}
    assert {*rows.status[rows.label==FOUR[2]]}<={status}

def test_words_that_cannot_be_read_are_missing_and_left_out_of_the_mean(tmp_path):
    model = Ear(words=['yes', 'I refuse.', 'no', 'yes'])
    _, rows, v = judged(model, Store(tmp_path), Judge('text', repeats=4), clips(1))
    assert len(rows)==16 and (rows.status=='unparsed').sum()==4==rows.score.isna().sum()
    np.testing.assert_allclose(v[0], rows.groupby('label').score.mean()[[*FOUR]])
    silent = judged(Ear(words=['Hm.']), Store(tmp_path/'b'), Judge('text'), clips(1))[2]
    assert np.isnan(silent).all()
    p = predict('alm_v', pool_of([[FOUR[0], FOUR[0], FOUR[1]]]*2, FOUR, label_verdict=np.r_[silent, [[.1, .2, .3, .4]]]))
    assert p.flags.tolist()==['fallback', ''] and p.L[0, 0]==1 and p.L[1, 1]==1

@pytest.mark.parametrize('judge, options, what', [
    (dict(), None, 'cannot score yes and no'), (dict(verifier='listwise'), FOUR, 'cannot score the answers of a list'),
    (dict(verifier='listwise'), None, 'judged by a listwise verifier'), (dict(), FOUR, 'judged by a listwise verifier'),
    (dict(verifier='text'), None, 24), (dict(verifier='listwise-text', repeats=3), FOUR, 18),
    (dict(verifier='vibes'), None, 'Unknown verifier'), (dict(repeats=0), None, 'repeats=0'), (dict(repeats=2), None, 'repeats=2'),
    (dict(condition='random'), None, 'Unknown condition'), (dict(verifier='listwise-text', repeats=1), FOUR, 'take 2')])
def test_ways_of_asking_that_cannot_be_answered_are_refused(judge, options, what):
    class Dumb(Scripted): capabilities = Capabilities(label_scoring=False, verify=False)
    def plan(): return plan_verdicts(Dumb(), clips(), FOUR, Judge(**judge), options and listed(options))
    if isinstance(what, int): assert len(plan())==what; return
    with pytest.raises(InputError, match=what): plan()

# ---- who judges
def test_a_verifiers_verdicts_are_its_own_and_go_with_any_pool(tmp_path):
    "The same store, two verifiers and two models' answers: nobody's verdicts are taken for another's."
    store, other = Store(tmp_path), Ear(deaf=True)
    other.name = 'other'
    mine, theirs = judged(Ear(), store)[2], judged(other, store)[2]
    assert not np.allclose(mine, theirs) and (theirs==theirs[0]).all()
    np.testing.assert_allclose(judged(Ear(), store)[2], mine)
    pool = pool_of([[*FOUR]]*6, FOUR, uids=clips().uid, label_verdict=mine)
    cross = with_verdicts(pool, theirs)
    np.testing.assert_allclose(predict('alm_v', cross).L, np.eye(4)[[0]*6])

# ---- listwise: the order
def test_the_order_audit_by_hand():
    "The first clip keeps its favourite, the second changes it, a third lacks an order; two coins agree half of the time."
    scores = np.array([[[.9, .1], [.8, .2], [.5, .4]], [[.7, .3], [.4, .6], [NAN, NAN]]])
    found = order_audit(scores, np.array([[[0, 1]]*3, [[1, 0]]*3]))
    assert found['n']==2 and found['agreement']==.5
    np.testing.assert_allclose(found['by_place'], [np.mean([.1, .2, 0, .1, .2]), np.mean([-.1, -.2, 0, -.1, -.2])], atol=1e-9)
    assert order_audit(np.full((2, 1, 2), .5), np.array([[[0, 1]], [[1, 0]]]))['agreement']==.5
    np.testing.assert_allclose(listwise_verdicts(scores), [[.8, .2], [.6, .4], [.5, .4]])

def test_answers_judged_in_view_of_each_other_are_not_exchangeable():
    for way in ('listwise', 'pointwise'):
        pool = pool_of([[*FOUR]], FOUR, verdict=[[.2, .4, .1, .3]], verdicts_by=way)
        assert ('all answers' in exchangeable(pool))==(way=='listwise')

# ---- listwise: the calls
def listed(*options, n=6): return pd.DataFrame([dict(uid=o, options=s) for o in clips(n).uid for s in options])

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
    model, store = Ear(), Store(tmp_path)
    report, rows = side_by_side(model, store)
    assert report.made==12 and len(rows)==12*4 and rows.key.is_unique and rows.status.eq('ok').all()
    for at in range(6):
        one, two = (o for i, o in model.asked if i==at)
        assert one==two[::-1] and set(one)==set(FOUR)
    assert len({o for _, o in model.asked})>4  # not one order for all clips
    scores, places = scores_of(rows)
    np.testing.assert_allclose(scores.sum(-1), 1)
    assert (places.sum(0)==3).all() and (listwise_verdicts(scores).argmax(-1)==np.arange(6)%4).all()
    assert side_by_side(model, store)[0].made==0 and model.calls==12

def test_pools_that_hold_the_same_labels_share_a_call_and_others_do_not(tmp_path):
    two = ('angry', 'sad')
    model, store = Ear(), Store(tmp_path)
    side_by_side(model, store, listed(FOUR))
    report, rows = side_by_side(model, store, listed(FOUR, two))
    assert report.had==12 and model.calls==24
    few = scores_of(rows, two)[0]
    assert np.isnan(few[:, :, [1, 2]]).all() and np.allclose(np.nansum(few, -1), 1)
    assert not np.allclose(few[:, :, 0], scores_of(rows)[0][:, :, 0])
    assert np.isnan(scores_of(rows, FOUR[:3])[0]).all()  # what was judged on another list is no verdict on this one

def test_the_key_of_a_list_holds_its_answers_and_their_order():
    plan = plan_verdicts(Ear(), clips(1), FOUR, Judge('listwise', repeats=6), listed(FOUR, FOUR[:2], n=1))
    assert plan.group.is_unique and len(plan)==12
    assert {verify.verdict_key(o) for o in plan.to_dict('records')}=={*plan.group}
    assert len({listwise_prompt(o).sha for o in (FOUR, FOUR[::-1], FOUR[:3])})==3
    assert order_of('a', FOUR, 0)==order_of('a', FOUR[::-1], 0)

def test_the_lists_of_a_run_are_the_labels_of_its_pools(tmp_path):
    store, model = Store(tmp_path), Scripted()
    run(model, store, Draw(n=4), prompts=(DIRECT, COT))
    rows = pool_rows(store, plan_pool(model, clips(), (DIRECT, COT), Draw(n=4)))
    found = list_options(rows, SET)
    for uid, part in rows[rows.decode.eq('sample')].groupby('uid'):
        want = {tuple(o for o in FOUR if o in set(p.text)) for _, p in part.groupby('style')}
        assert {o for o in want if len(o)>1}=={*found.options[found.uid==uid]}, uid
    other_word = rows.assign(text=rows.text.str.replace('happy', 'excited'))  # with four labels the same emotion
    assert not found.duplicated().any() and other_word.text.ne(rows.text).any() and list_options(other_word, SET).equals(found)
    one = rows[rows.decode.eq('greedy')]
    assert not sum(map(len, (list_options(one, SET), list_options(one, SET, ('greedy',)), list_options(rows[:0], SET))))
    rows['text'] = rows.text.where(rows['index'].ne(0), 'Hm.')
    assert {*map(len, list_options(rows, SET).options)}<={2, 3}  # what cannot be read is not on the list
    rows['error'] = rows.error.where(rows['style'].ne('cot') | rows.uid.ne('clip000') | rows['index'].ne(1), 'timeout')
    assert (list_options(rows, SET).uid=='clip000').sum()<=1  # a pool with a failed call waits

def test_killed_and_resumed_no_call_is_made_twice(tmp_path):
    for die in (1, 5, 9):
        store, again = tmp_path/str(die), Ear()
        assert forked(lambda store=store, die=die: side_by_side(Ear(die=die), Store(store)))==-signal.SIGKILL
        report, rows = side_by_side(again, Store(store))
        assert (report.had, again.calls, len(rows))==(die-1, 13-die, 48) and rows.key.is_unique
    whole = side_by_side(Ear(), Store(tmp_path/'whole'))[1]
    same = [c for c in rows if not c.endswith('_measured')]
    pd.testing.assert_frame_equal(rows[same], whole[same])

def test_where_nobody_has_a_choice_nothing_is_asked(tmp_path):
    for o in (listed(FOUR).iloc[:0], list_options(pd.DataFrame(dict(decode=[])), SET)):
        report, rows = side_by_side(model := Ear(), Store(tmp_path), o)
        assert (report.planned, report.made, len(rows), model.calls)==(0, 0, 0, 0)
    assert np.isnan(scores_of(rows)[0]).all()

def test_a_failed_list_is_an_error_for_each_answer_and_is_tried_again(tmp_path):
    class Late(Ear):
        def score(self, wave, prompt, answers):
            if (self.calls, self.die)==(2, None): self.calls += 1; raise TimeoutError('no reply in 60 s')
            return super().score(wave, prompt, answers)
    store = Store(tmp_path)
    report, rows = side_by_side(Late(), store)
    bad = rows[rows.error.ne('')]
    assert report.failed==1 and dict(report.kinds)=={'timeout': 1}
    assert len(bad)==4 and set(bad.label)==set(FOUR) and bad.score.isna().all() and bad['index'].nunique()==4
    scores = scores_of(rows)[0]
    assert np.isnan(scores).sum()==4 and np.isfinite(listwise_verdicts(scores)).all()  # the other order is left
    assert order_audit(*scores_of(rows))['n']==5
    again, rows = side_by_side(Ear(), store)
    assert again.made==1 and np.isfinite(scores_of(rows)[0]).all()

@pytest.mark.parametrize('logp, status, error, scores', [
    ([-np.inf]*4, 'undefined', '', None), ([0, NAN, 0, 0], 'error', 'bad_score', None), ([0., *[-np.inf]*3], 'ok', '', {0, 1})])
def test_a_list_without_probabilities_has_no_scores_and_some_without_are_a_sure_no(tmp_path, logp, status, error, scores):
    model = Ear()
    model.score = lambda wave, prompt, answers: np.array(logp)
    rows = side_by_side(model, Store(tmp_path))[1]
    assert set(rows.status)=={status} and set(rows.error)=={error}
    assert set(rows.score)==scores if scores else np.isnan(scores_of(rows)[0]).all()

@pytest.mark.parametrize('how', ['score', 'listwise'])
def test_another_clips_audio_is_another_speakers_and_leaves_the_order(how):
    own, other = (plan_verdicts(Ear(), clips(), FOUR, Judge(how, o), listed(FOUR) if how=='listwise' else None)
                  for o in ('none', 'swap'))
    both, speaker = own.merge(other, on=['uid', 'repeat', 'label']), clips().set_index('audio_sha').speaker
    assert len(both)==len(own) and not {*own.group} & {*other.group}
    assert (speaker[both.audio_sha_x].to_numpy()!=speaker[both.audio_sha_y].to_numpy()).all()

# ---- listwise, in words
def fake_words(monkeypatch, replies):
    "The server says these in turn, whatever it is asked."
    said = iter(replies)
    monkeypatch.setattr(loopback, 'answers', lambda sound, question, ask, n, beam: [next(said)]*n)

def asked_in_words(root, options, faults=()):
    "Two clips judged by a server, again, and what it was asked."
    with loopback.Loopback() as server:
        server.faults = list(faults)
        model = EndpointALM('demo', 'openai', server.url, key='')
        (report, rows), (again, _) = (side_by_side(model, Store(root), options, Judge('listwise-text'), clips(2)) for _ in 'ab')
        model.close()
        return report, rows, again, [o['messages'][0]['content'][1]['text'] for _, o in server.asked]

def test_a_server_judges_lists_in_words(tmp_path, monkeypatch):
    three = ('angry', 'happy', 'sad')
    fake_words(monkeypatch, ['{"angry": 80, "happy": 5, "sad": 40}', 'angry > sad > happy',
                             "I can't judge voices.", '{"sad": 90, "happy": "?"}'])
    report, rows, _, asked = asked_in_words(tmp_path, listed(three, n=2))
    assert (report.made, report.failed, len(rows))==(4, 0, 12) and all('Answer with JSON' in o for o in asked)
    scores = scores_of(rows, three, 2)[0]
    np.testing.assert_allclose(scores, [[[.8, .05, NAN, .4], [NAN]*4], [[1, 0, NAN, .5], [NAN, NAN, NAN, .9]]])
    assert set(rows.status[rows.score.isna()])=={'unparsed'} and set(rows.status[rows.score.notna()])=={'ok'}
    np.testing.assert_allclose(listwise_verdicts(scores), [[.9, .025, NAN, .45], [NAN, NAN, NAN, .9]])
    calls = rows.groupby('group').agg(text=('text', 'first'), out=('n_tokens', 'sum'))
    assert (calls.out==calls.text.str.len()+1).all()  # what a call wrote is shared by its rows, and not counted twice

@pytest.mark.parametrize('fault', ['refusal', 'content filter', 'bad_request'])
def test_a_refusal_of_a_list_is_no_score_and_a_failure_is_tried_again(tmp_path, monkeypatch, fault):
    fake_words(monkeypatch, ['{"angry": 80, "sad": 40}']*9)
    report, rows, again, _ = asked_in_words(tmp_path, listed(('angry', 'sad'), n=2), [None, fault])
    lost, failed = rows[rows.score.isna()], fault=='bad_request'
    assert (report.made, report.failed, again.made)==(4-failed, failed, failed)
    assert len(lost)==2 and lost.group.nunique()==1 and set(lost.status)=={'error' if failed else 'unparsed'}
    assert np.isfinite(listwise_verdicts(scores_of(rows, ('angry', 'sad'), 2)[0])[:, [0, 3]]).all()
