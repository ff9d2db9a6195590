"Strategies against a slow, plain reference; identities that hold for every pool."
from dataclasses import replace
import itertools
import math
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as hnp
from ambiscale_nb.core import InputError
from ambiscale_nb.corpora.labels import LabelSet
from ambiscale_nb.models.contract import Reply, spelt_ends
from ambiscale_nb.sampling.store import BLANK, answers, reply_row
from ambiscale_nb.sampling.files import CANDIDATES
from ambiscale_nb.study.scores import make_pools
import ambiscale_nb.strategies.beyond  # noqa: F401 (registers its strategies)
from ambiscale_nb.strategies.pool import (NEEDS, STRATEGIES, Pool, applicable, check_pool, pick, pool_of, predict, take, ties)
from ambiscale_nb.strategies.paper import score_by, span_logprob

POOLED = ('majority', 'mean', 'bon', 'w_bon', 'w_bon_mean', 'alm_v', 'w_alm_v')
NAMES = ('angry', 'fearful', 'happy', 'sad')

def some(n, *args, **named):
    "A test of so many examples, the same in every run."
    return lambda test: settings(max_examples=n)(given(*args, **named)(test))

@st.composite
def pools(draw, min_n=1, max_n=6, max_u=3, mode=None, missing=True, split=True, U=None, K=None):
    "Small pools full of ties, holes and repeated strings."
    U, N, K = U or draw(st.integers(1, max_u)), draw(st.integers(min_n, max_n)), K or draw(st.integers(2, 4))
    mode = mode or draw(st.sampled_from(['label', 'dist']))
    raw = draw(hnp.arrays(int, (U, N, K), elements=st.integers(0, 3)))
    if mode=='label':
        raw = raw==raw.max(-1, keepdims=True)
        if not split: raw = np.eye(K, dtype=int)[raw.argmax(-1)]
    mass = raw.sum(-1, keepdims=True)
    hole = draw(hnp.arrays(bool, (U, N))) & draw(hnp.arrays(bool, (U, N))) if missing else np.zeros((U, N), bool)
    dist = np.where(hole[..., None] | (mass==0), 0, raw/np.maximum(mass, 1))
    if not missing: dist = np.where(mass==0, 1/K, dist)
    score = draw(hnp.arrays(int, (U, N), elements=st.integers(-4 if missing else -3, 0)))*.5
    verdict = draw(hnp.arrays(int, (U, K), elements=st.integers(-1 if missing else 0, 4)))/4
    text_id = draw(hnp.arrays(int, (U, N), elements=st.integers(0, 3)))
    lengths = draw(hnp.arrays(int, (U, N), elements=st.integers(1, 3)))
    return Pool([f'u{i}' for i in range(U)], NAMES[:K], mode, 'direct', 'sample', dist, dist.sum(-1)>0,
                np.where(score==-2, np.nan, score), lengths, text_id=text_id,
                label_verdict=np.where(verdict<0, np.nan, verdict))

# ---- the slow reference: one clip, plain loops
def share(x):
    top = max(x)
    won = [float(v>=top-1e-9) for v in x]
    return np.array(won)/sum(won)

def reference(sid, cands, K, **o):
    "One clip's candidates: expected credit, and the distributions that may come out with their chances; ties toss a coin."
    ok = [c for c in cands if c['parsed']]
    if not ok: return np.zeros(K), [(1., np.full(K, 1/K))]
    votes = lambda cs, ws: sum(w*share(c['dist']) for c, w in zip(cs, ws, strict=True))/sum(ws)
    pooled = lambda cs, ws: sum(w*c['dist'] for c, w in zip(cs, ws, strict=True))/sum(ws)
    if sid in ('majority', 'mean'):
        v = (votes if sid=='majority' else pooled)(ok, [1]*len(ok))
        return share(v), [(1., v)]
    if 'bon' in sid: score = [round(c['logprob']/(1 if sid=='w_bon' else c['tokens']), 9) for c in ok]
    else: score = [round(c['verdict'], 9) for c in ok]
    has = [(c, s) for c, s in zip(ok, score, strict=True) if math.isfinite(s)]
    if not has: return reference('majority', cands, K)
    if sid in ('bon', 'alm_v'):
        top = [c for c, s in has if s==max(t for _, t in has)]
        return sum(share(c['dist']) for c in top)/len(top), [(1/len(top), c['dist']) for c in top]
    cs = [c for c, _ in has]
    if sid in ('w_bon', 'w_bon_mean'):
        ws = [math.exp(s/o.get('tau', 1)) for _, s in has]
        if o.get('dedupe', 'auto')!='off':
            group = {c['text']: [w for d, w in zip(cs, ws, strict=True) if d['text']==c['text']] for c in cs}
            ws = [np.mean(group[c['text']])/len(group[c['text']]) for c in cs]
    else: ws = [s for _, s in has] if sum(s for _, s in has)>0 else [1]*len(has)
    return share(votes(cs, ws)), [(1., pooled(cs, ws))]

def clip(pool, u, idx=None):
    return [dict(dist=pool.dist[u, i], parsed=pool.parsed[u, i], logprob=pool.sum_logprob[u, i],
                 tokens=pool.n_tokens[u, i], verdict=pool.verdict[u, i], text=pool.text_id[u, i])
            for i in (range(pool.n) if idx is None else idx)]

def defined(pool): return [s for s in POOLED if not applicable(s, pool)]

@some(60, pools())
def test_every_strategy_equals_the_plain_reference(pool):
    for s in defined(pool):
        got = predict(s, pool)
        for u in range(len(pool.uids)):
            L, outcomes = reference(s, clip(pool, u), len(pool.labels))
            np.testing.assert_allclose(got.L[u], L, atol=1e-9, err_msg=s)
            np.testing.assert_allclose(got.dist[u], sum(w*d for w, d in outcomes), atol=1e-9, err_msg=s)
        np.testing.assert_allclose(got.L.sum(-1), ~got.empty, atol=1e-12)
        np.testing.assert_array_equal(got.empty, ~pool.parsed.any(-1))
        assert (got.ess<=got.n_eff+1e-9).all() and (got.ess[~got.empty]>=1-1e-9).all() and not got.ess[got.empty].any()
        assert (got.n_eff<=pool.parsed.sum(-1)+1e-9).all() and not (got.fallback.any() and s in ('majority', 'mean'))

@some(30, pools())
def test_a_pool_twice_over_changes_no_mean(pool):
    twice = take(pool, [*range(pool.n)]*2)
    for s in defined(pool):
        a, b = predict(s, pool), predict(s, twice)
        np.testing.assert_allclose(a.dist, b.dist, atol=1e-9)
        np.testing.assert_allclose(a.L, b.L, atol=1e-9)
    if 'w_bon' in defined(pool):
        a, b = predict('w_bon', pool), predict('w_bon', twice)  # copies do not count, nor do they look effective
        ok = ~a.fallback
        np.testing.assert_allclose(a.ess[ok], b.ess[ok])
        np.testing.assert_allclose(a.n_eff[ok], b.n_eff[ok])

@some(30, pools(missing=False))
def test_limits_of_the_weights(pool):
    mean, bon, vote = (predict(s, pool) for s in ('mean', 'bon', 'majority'))
    for far in (1e9, np.inf):
        flat = predict('w_bon', pool, tau=far, dedupe='off')
        np.testing.assert_allclose(flat.dist, mean.dist, atol=1e-6)
        np.testing.assert_allclose(flat.L, vote.L, atol=1e-6)
    sharp = predict('w_bon', pool, score='mean', tau=1e-4, dedupe='off')
    np.testing.assert_allclose(sharp.dist, bon.dist, atol=1e-9)
    sharp, bon = predict('w_bon', pool, tau=1e-4, dedupe='off'), predict('bon', pool, score='sum')
    np.testing.assert_allclose(sharp.dist, bon.dist, atol=1e-9)
    for v in (1., .37, 0.):
        equal = replace(pool, verdict=np.full(pool.parsed.shape, v))
        np.testing.assert_allclose(predict('w_alm_v', equal).dist, mean.dist, atol=1e-12)
        np.testing.assert_allclose(predict('w_alm_v', equal).L, vote.L)
        np.testing.assert_allclose(predict('alm_v', equal).dist, mean.dist, atol=1e-12)
    zeros = replace(pool, label_verdict=np.zeros((len(pool.uids), len(pool.labels))))
    np.testing.assert_allclose(predict('verifier_alone', zeros).L, 1/len(pool.labels))

@some(25, pools(min_n=2))
def test_axes_in_front_are_the_same_as_a_loop(pool):
    rng = np.random.default_rng(0)
    idx = rng.integers(0, pool.n, (5, len(pool.uids), 2))
    full = replace(pool, confidence=-pool.sum_logprob, prompt=np.tile(np.arange(pool.n)%2, (len(pool.uids), 1)))
    for s in [o for o in STRATEGIES if o!='prompt_ensemble' and not applicable(o, full)]:
        pool, stack = full, STRATEGIES[s].aggregate(take(pool, idx))
        for i in range(5):
            one = STRATEGIES[s].aggregate(take(pool, idx[i]))
            np.testing.assert_allclose(stack.L[i], one.L, atol=1e-8)
            np.testing.assert_allclose(stack.dist[i], one.dist, atol=1e-8)
            np.testing.assert_array_equal(stack.flags[i], one.flags)

# ---- degenerate pools
def demo(answers, mode='label', **fields):
    "Answers of which everything is known, and the same of all."
    U, N = len(answers), len(answers[0])
    same = np.ones((U, N))
    return pool_of(answers, NAMES, mode, **dict(sum_logprob=-same, n_tokens=same, label_verdict=np.full((U, 4), .5),
        text_id=[[*range(N)]]*U, confidence=same, answer_logprob=-same, answer_tokens=same,
        prompt=np.tile(np.arange(N)%2, (U, 1))) | fields)

# ---- the tokens of an answer after reasoning
@st.composite
def tokenised(draw):
    "A text in tokens that are cut anywhere, in the middle of characters too, and a span of it."
    text = draw(st.text('aé€😀 .', min_size=1, max_size=12))
    raw = text.encode()
    cuts = sorted(draw(st.sets(st.integers(1, max(1, len(raw)-1)))) & set(range(1, len(raw))))
    pieces = [raw[a:b] for a, b in itertools.pairwise([0, *cuts, len(raw)])]+draw(st.sampled_from([[], [b'<|end|>']]))
    logp = draw(st.lists(st.integers(-9, 0).map(float), min_size=len(pieces), max_size=len(pieces)))
    first = draw(st.integers(0, len(text)-1))
    return text, pieces, logp, (first, draw(st.integers(first+1, len(text))))

@given(tokenised())
def test_an_answers_own_tokens_are_those_that_hold_a_byte_of_it(case):
    text, pieces, logp, (a, b) = case
    owner = [i for i, o in enumerate(pieces) for _ in o]  # token of every byte, one after the other
    place = [i for i, o in enumerate(text) for _ in o.encode()]  # character of every byte
    own = {t for t, c in zip(owner, place, strict=False) if a<=c<b}
    got = span_logprob(spelt_ends(pieces, text), logp, text, (a, b))
    assert got==(sum(logp[i] for i in own), len(own))

def reasoned(lines, ends=True):
    "Rows of one clip after reasoning: (what each token says, its log-probability), per answer."
    task = dict.fromkeys([o for o in CANDIDATES.columns if o not in BLANK], '') | dict(
        group='g'*32, mode='label', style='cot', decode='sample', uid='u', temperature=1., width=0, max_new_tokens=9,
        block=0, block_size=len(lines), run_seed=0, seed=0)
    rows = []
    for i, tokens in enumerate(lines):
        text, logp = ''.join(t for t, _ in tokens), [p for _, p in tokens]
        known = spelt_ends([t.encode() for t, _ in tokens], text) if ends is True or ends[i] else None
        rows.append(reply_row(task, i, Reply(text, [], 'stop', logp, dict(output_tokens=len(logp)), token_ends=known)))
    return pd.DataFrame(rows)

CHOSEN = LabelSet('these', ('angry', 'happy', 'sad'))
LINES = [[('A raised', -9.), (' voice. Answer:', -3.), (' an', -1.), ('gry', -.5), ('.', -.1)],
         [('Laughs. Answer: ', -1.), ('happy', -2.)],
         [('Slow. ', -.5), ('Answer: sa', -.25), ('d.', -4.)],   # both tokens hold more than the answer
         [('I cannot tell', -1.), ('', -2.)]]                     # not read: it needs no tokens of its own

def pool_from(rows): return next(iter(make_pools(rows, CHOSEN).values()))

def test_after_reasoning_an_answer_weighs_what_its_own_tokens_do():
    pool, own = pool_from(reasoned(LINES)), np.exp([-1.5, -2., -4.25])
    assert score_by(pool)=='answer' and pool.answer_tokens[0, :3].tolist()==[2, 1, 2]
    assert pool.parsed.tolist()==[[True, True, True, False]]
    np.testing.assert_allclose(predict('w_bon', pool).dist, [own/own.sum()])
    mean = np.exp([-13.6/5, -1.5, -4.75/3])
    np.testing.assert_allclose(predict('w_bon_mean', pool).dist, [mean/mean.sum()])

@pytest.mark.parametrize('ends', [(1, 1, 0, 1), (0, 0, 0, 0)])
def test_where_one_answers_tokens_are_unknown_the_whole_pool_falls_back_and_says_so(ends):
    pool = pool_from(reasoned(LINES, ends))
    assert score_by(pool)=='mean' and pool.answer_logprob is None
    assert 'own tokens' in applicable('w_bon', pool, score='answer')
    np.testing.assert_allclose(predict('w_bon', pool).dist, predict('w_bon_mean', pool).dist)
    assert score_by(pool_from(reasoned(LINES, (1, 1, 1, 0))))=='answer'  # the one that was not read lacks nothing
    some = replace(pool, answer_logprob=np.array([[-1., np.nan, -1, np.nan]]), answer_tokens=np.ones((1, 4)))
    assert score_by(some)=='mean'

def test_stores_from_before_token_ends_are_read_as_they_were_and_keys_stay():
    old = reasoned(LINES).drop(columns='token_ends')
    assert score_by(pool_from(old))=='mean'
    assert old.key.equals(reasoned(LINES, (0, 0, 0, 0)).key) and old.key.equals(reasoned(LINES).key)
    direct = reasoned(LINES).assign(style='direct', text=['angry', 'happy', 'sad', 'who knows'])
    assert pool_from(direct).answer_logprob is None and score_by(pool_from(direct))=='answer'
    assert answers(old, CHOSEN).parse_status.eq('ok').sum()==3

@some(40, pools())
def test_what_a_tie_draws_from_is_the_prediction(pool):
    for s in ('bon', 'alm_v', 'greedy', 'mbr'):
        if applicable(s, pool): continue
        p = predict(s, pool)
        some = p.chance.sum(-1)>0
        np.testing.assert_allclose(p.chance.sum(-1)[some], 1)
        assert not (some & (p.empty | (p.fallback & (s!='mbr')))).any()
        np.testing.assert_allclose((p.chance[..., None]*p.picks).sum(-2)[some], p.dist[some], atol=1e-9)

def test_dedupe_counts_a_string_once_on_samples_only():
    def dist(text_id, kind='sample', **how):
        pool = demo([['sad', 'sad', 'angry']], kind=kind, text_id=text_id)
        return predict('w_bon', pool, **how).dist[0, [0, 3]].tolist()
    twice, apart = [[0, 0, 1]], [[0, 1, 2]]
    assert dist(twice)==[.5, .5]
    np.testing.assert_allclose([dist(twice, 'beam'), dist(apart)], [[1/3, 2/3]]*2)

def test_label_logprob_ignores_row_order_and_sums_spellings():
    lp = np.log([[.1, .2, .3, .4]])
    def scored(answers, lp): return predict('label_logprob', pool_of(answers, NAMES, kind='score', sum_logprob=lp))
    order = [2, 0, 3, 1]
    for o in (scored([[*NAMES]], lp), scored([[NAMES[i] for i in order]], lp[:, order])):
        np.testing.assert_allclose(o.dist, np.exp(lp))
    np.testing.assert_allclose(scored([[*NAMES, 'sad']], np.log([[.2]*5])).dist[0, 3], .4)
    assert scored([[*NAMES], [*NAMES[:3], None]], np.repeat(lp, 2, 0)).flags.tolist()==['', 'empty']

# ---- refusals
def test_refusals_name_the_reason_and_a_remedy():
    bare, untold = pool_of([['sad', 'angry']], NAMES), replace(demo([['sad', 'angry']]), text_id=None)
    for s, words in dict(bon='use majority or mean', w_bon='log-probabilities', alm_v='run the verifier first', w_alm_v='run '
                         'the verifier', verifier_alone='run the verifier', greedy='greedy pools', label_logprob='score pools',
                         majorty="Did you mean 'majority'").items():
        with pytest.raises(InputError, match=words): predict(s, bare)
    assert 'text_id' in applicable('w_bon', untold) and applicable('majority', bare)==''
    assert applicable('w_bon', untold, dedupe='off')==applicable('w_bon', replace(untold, kind='beam'))==''
    with pytest.raises(InputError, match='needs n_tokens'): predict('bon', pool_of([['sad']], NAMES, sum_logprob=[[-1]]))

@pytest.mark.parametrize('change, words', [
    (dict(dist=np.zeros((1, 2, 3))), 'shape'), (dict(uids=['a', 'b']), 'shape'), (dict(verdict=[[.5]]), 'verdict has shape'),
    (dict(label_verdict=np.ones((1, 3))), 'label_verdict has shape'), (dict(text_id=np.ones((2, 2))), 'text_id has shape'),
    (dict(dist=np.full((1, 2, 4), np.nan)), 'non-finite'), (dict(dist=[[[2, -1, 0, 0], [1, 0, 0, 0.]]]), 'negative'),
    (dict(parsed=[[True, False]]), 'sum to 1'), (dict(dist=[[[.6, .4, 0, 0], [1, 0, 0, 0]]]), 'one-hot'),
    (dict(uids=['a', 'a'], dist=np.eye(4)[[[0], [1]]], parsed=np.ones((2, 1)), verdict=None, sum_logprob=np.zeros((2, 1)),
          n_tokens=np.ones((2, 1))), 'same uid'), (dict(mode='words'), 'mode'), (dict(kind='samples'), "Did you mean 'sample'"),
    (dict(label_verdict=[[2, 0, 0, 0]]), r'\[0, 1\]')])
def test_a_bad_pool_is_refused(change, words):
    with pytest.raises(InputError, match=words): check_pool(replace(pool_of([['sad', 'angry']], NAMES), **change))

# ---- the rest
def test_ties_are_not_broken_by_index():
    np.testing.assert_allclose(ties([[.1+.2, .3, 0], [1, 1+1e-6, 0]]), [[.5, .5, 0], [0, 1, 0]])
    picks = pick(np.full((2000, 4), .25), [str(i) for i in range(2000)], 'majority', 0)
    assert (abs(np.bincount(picks, minlength=4)/2000-.25)<.05).all()
    np.testing.assert_array_equal(picks[:5], pick(np.full((5, 4), .25), [*'01234'], 'majority', 0))

def test_registry_is_consistent():
    for s, o in STRATEGIES.items():
        assert o.id==s and o.about.endswith('.') and o.needs<=set(NEEDS)
        assert (o.exact=='select')==(o.score is not None)
