"""Is the gain on ambiguous speech judged rightly? Simulated studies with a known truth, judged by the rule of
the claims (`equivalence.word_of`, least effect .10) on the shares of `gain.gain_shares`.

    python benchmarks/gain.py [--studies 400] [--workers 2] [--save]

Each study: 24 speakers of 30 clips, six classes, 3 or 10 raters, and 20, 45, 70 or 88 % ambiguous clips on
average. Speakers differ in how ambiguous they are, in how well the model hears them, and in how a strategy
treats them. The base gives one label (`one-hot`), states a distribution (`stated`), or states one from which
the truth is almost known (`strong`; a stress test). The prior is fitted to the votes of each study. In `blends`
the base gives one label and every clip has one emotion or two, so that no Dirichlet prior is right.

Strategies: six that know nothing but the base; the truth; half of the truth in both strata, as a distribution,
as eight samples and as one label; and in one stratum alone. Counted: verdicts. For comparison the same studies
are judged by the first form of the shares: Jensen-Shannon divergence, 30 donors by label, entropy-matched base,
and a perfect predictor that ignores the base (`--compare`, fewer studies). Ends with one JSON line.
"""
import os
os.environ.setdefault('OMP_NUM_THREADS', '1')
import argparse
import json
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from pathlib import Path

import numpy as np
from scipy import optimize

from ambiscale_nb.corpora.ambiguity import (LEVELS, entropy, fit_prior, posterior_draws,

    soft_labels, strata, top_labels)
from ambiscale_nb.core import rng_of
from ambiscale_nb.metrics.gain import (compare_strata, estimated, gain_shares, perfect_predictor,
    prior_scale, sharpened)
from ambiscale_nb.metrics.statistics import effective_clusters
from ambiscale_nb.metrics.metrics import jsd

SPEAKERS, EACH, K, DELTA = 24, 30, 6, .1
NULLS = ('uniform mix', 'random-lambda mix', '4 noisy samples', '16 noisy samples', 'class confusion',
         'random second label')
BOTH = ('both strata', 'both strata, 8 samples', 'both strata, one label')
WHO = np.repeat(np.arange(SPEAKERS), EACH)
PRIOR = np.array([1.6, 1.2, 1., .9, .7, .6])/6


def sigmoid(x): return 1/(1+np.exp(-x))


def per_speaker(rng, spread, who=WHO):
    "A standard normal effect of every speaker, times `spread`, clip by clip."
    return spread*rng.standard_normal(who.max()+1)[who][:, None]


def drawn(rng, p):
    "One label of each distribution, one-hot."
    return np.eye(p.shape[-1])[(rng.random((*p.shape[:-1], 1))>p.cumsum(-1)[..., :-1]).sum(-1)]


def people(rng, concentration, raters, who=WHO):
    "True distributions and votes; speakers differ in how ambiguous they are."
    shape = PRIOR*concentration*np.exp(per_speaker(rng, .3, who))
    logs = np.log(rng.standard_gamma(shape+1))+np.log(rng.random((len(who), K)))/shape # Gamma, never all 0
    truth = np.exp(logs-logs.max(1, keepdims=True))
    truth /= truth.sum(1, keepdims=True)
    return truth, rng.multinomial(raters, truth).astype(float)


def blends(rng, share, raters, who=WHO):
    "True distributions of one emotion or of two, which no Dirichlet prior describes, and votes."
    two = rng.random(len(who))<sigmoid(np.log(share/(1-share))+per_speaker(rng, .5, who)[:, 0])
    first, second = (np.eye(K)[rng.choice(K, len(who), p=PRIOR)] for _ in range(2))
    w = np.where(two, rng.uniform(.35, .65, len(who)), 0)[:, None]
    truth = .94*((1-w)*first+w*second)+.06/K
    return truth, rng.multinomial(raters, truth).astype(float)


def heard(rng, truth, base, who=WHO):
    "What the model says, which it hears better of some speakers and clips."
    skill = sigmoid((-1 if base=='stated' else .3)+per_speaker(rng, .5, who)+rng.standard_normal((len(who), 1)))
    belief = skill*truth+(1-skill)*rng.dirichlet(np.ones(K), len(who))
    return drawn(rng, belief) if base in ('one-hot', 'blends') else belief


@lru_cache(maxsize=None)
def concentration_for(share, raters):
    "The concentration at which that share of clips is ambiguous."
    def lacks(c):
        rng, who = rng_of('tune', share, raters), np.repeat(np.arange(200), 30)
        return np.isin(strata(people(rng, np.exp(c), raters, who)[1]), ['weak', 'tie']).mean()-share
    return float(np.exp(optimize.brentq(lacks, -2.3, 6, xtol=.01)))


def knows_nothing(name, base, rng):
    "A distribution made of the base, of chance and of the speaker's habits."
    if name=='uniform mix': return .6*base+.4/K
    if name=='random-lambda mix':
        w = sigmoid(per_speaker(rng, .5)+rng.standard_normal((len(base), 1)))
        return (1-w)*base+w/K
    if 'samples' in name:
        w = np.clip(.4+per_speaker(rng, .1), .1, .9)
        return np.mean([drawn(rng, (1-w)*base+w/K) for _ in range(int(name.split()[0]))], 0)
    if name=='class confusion':
        believed = base@(.6*np.eye(K)+.4*rng.dirichlet(np.full(K, .5), K))
        p = believed**np.exp(per_speaker(rng, .3)+.3*rng.standard_normal((len(base), 1)))
        return p/p.sum(1, keepdims=True)
    w = np.clip(.5*rng.random((len(base), 1))+per_speaker(rng, .1), 0, .9)
    return (1-w)*base+w*np.eye(K)[rng.integers(0, K, len(base))]


def strategies(rng, base, truth, ambiguous):
    "Name -> distributions."
    out = {o: knows_nothing(o, base, rng) for o in NULLS}
    w, smooth = np.clip(.5+per_speaker(rng, .1), 0, 1), .8*base+.2/K
    part = (1-w)*smooth+w*truth
    out |= {'truth': truth, 'both strata': part,
            'both strata, 8 samples': np.mean([drawn(rng, part) for _ in range(8)], 0),
            'both strata, one label': drawn(rng, part),
            'ambiguous alone': np.where(ambiguous[:, None], part, smooth),
            'clear alone': np.where(ambiguous[:, None], smooth, part)}
    return out


def shares(base, made, votes, alpha, first):
    "Name -> `Gain`: what `gain_shares` gives for each strategy, with one perfect predictor for all."
    ideal, y, found = perfect_predictor(votes, base, alpha).dist, soft_labels(votes), {}
    def scale_of(spread): return prior_scale(ideal, spread, votes, top_labels(base), WHO)
    common = scale_of(base[:, :-1])
    for k, o in made.items():
        sharp, spread, scale = sharpened(base, entropy(o).mean()), base[:, :-1], common
        if sharp is not base:
            spread = np.c_[base[:, :-1], sharp[:, :-1]]
            scale = scale_of(spread)
        found[k] = compare_strata([o, ideal], spread, y, top_labels(base), votes, WHO, scale, len(WHO))
    if first: # The glue is the library's own
        same = gain_shares(base, made['truth'], votes, WHO, alpha)
        assert np.allclose([same.effect.value, same.effect.se], [found['truth'].effect.value, found['truth'].effect.se])
    return found


# --- the first form of the shares, for comparison --------------------------------------------------------------
def random_donors(group, rng, most=30):
    "Up to 30 clips of the same group and other speakers, at least 5; -1 for none."
    out = np.full((most, len(group)), -1)
    for i in range(len(group)):
        able = np.flatnonzero((group==group[i]) & (WHO!=WHO[i]))
        if len(able)>=5: out[:min(most, len(able)), i] = rng.permutation(able)[:most]
    return out


def matched(base, goal):
    "The base mixed with uniform, or sharpened by a power, until its mean entropy is `goal`."
    def mix(w): return (1-w)*base+w/K
    def gap(w): return entropy(mix(w)).mean()-goal
    if gap(0.)<=0: return mix(optimize.brentq(gap, 0, 1))
    return sharpened(base, goal)


def first_form(base, made, votes, alpha, ambiguous, rng):
    "Name -> (effect, standard error, degrees of freedom) in JSD."
    y, donors = soft_labels(votes), random_donors(base.argmax(1)*2+ambiguous, rng)
    has = donors>=0
    def info(p): # (U,), of the donors less its own
        lent = np.where(has, jsd(p[donors], y), 0).sum(0)/np.maximum(has.sum(0), 1)
        return np.where(has.any(0), lent-jsd(p, y), 0)
    known = np.mean([info(p) for p in posterior_draws(votes, alpha, 20, rng)], 0)-info(base)
    out, sizes = {}, [np.bincount(WHO[ambiguous==o]) for o in (0, 1)]
    df = min(effective_clusters(o) for o in sizes)-1
    for name, p in made.items():
        got = info(p)-info(matched(base, entropy(p).mean()))
        sums = np.array([[np.bincount(WHO, o*(ambiguous==s), SPEAKERS) for s in (0, 1)] for o in (got, known)])
        full, left = sums.sum(-1), sums.sum(-1, keepdims=True)-sums
        effect, without = np.diff(full[0]/full[1])[0], np.diff(left[0]/left[1], axis=0)[0]
        out[name] = effect, np.sqrt((SPEAKERS-1)/SPEAKERS*((without-effect)**2).sum()), df
    return out


# --- counting --------------------------------------------------------------------------------------------------
def word_of(low, high):
    "The verdict of the claims' rule."
    if low>DELTA: return 'supported'
    if low>0 and high>=DELTA: return 'size open'
    if low>-DELTA and high<DELTA: return 'too small'
    return 'opposite' if high<0 else 'inconclusive'


def study(cell, i, compare):
    "Verdict, effect and shares of each strategy in one study."
    share, raters, base_kind = cell
    rng = rng_of('gain', share, raters, base_kind, i)
    if base_kind=='blends': truth, votes = blends(rng, share, raters)
    else: truth, votes = people(rng, concentration_for(share, raters), raters)
    base = heard(rng, truth, base_kind)
    ambiguous = np.array([LEVELS[o]=='ambiguous' for o in strata(votes)])
    made, alpha = strategies(rng, base, truth, ambiguous), fit_prior(votes)
    if compare:
        found = first_form(base, made, votes, alpha, ambiguous.astype(int), rng)
        def e(o): return estimated(np.r_[o[0], np.full(SPEAKERS, o[0])], np.ones(SPEAKERS, int))
        from scipy.stats import t
        return {k: ('shape only' if s<1e-9 else word_of(v-t.ppf(.975, d)*s, v+t.ppf(.975, d)*s), v, s, np.nan, np.nan)
                for k, (v, s, d) in found.items()}
    out = {}
    for k, o in shares(base, made, votes, alpha, i==0).items():
        e = o.effect
        word = word_of(e.low, e.high) if e.se>0 else \
            'shape only' if 'shape' in e.reason else 'nothing to learn'
        out[k] = word, e.value, e.se, o.clear.value, o.ambiguous.value
    return out


def run(cell, start, stop, compare):
    "Several studies of one cell."
    return [study(cell, i, compare) for i in range(start, stop)]


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument('--studies', type=int, default=400)
    args.add_argument('--compare', type=int, default=100, help='studies of the first form')
    args.add_argument('--workers', type=int, default=2)
    args.add_argument('--bases', nargs='+', default=['one-hot', 'stated', 'blends'])
    args.add_argument('--shares', nargs='+', type=float, default=[.2, .45, .7, .88])
    args.add_argument('--raters', nargs='+', type=int, default=[10, 3])
    args.add_argument('--save', action='store_true', help='keep the figures beside this script, next to those of other cells')
    args = args.parse_args()
    cells = [(s, r, b) for b in args.bases for r in args.raters for s in args.shares]
    file, rows = Path(__file__).with_suffix('.json'), {}
    kept = json.loads(file.read_text())['cells'] if file.exists() else {}
    with ProcessPoolExecutor(args.workers) as pool:
        for form, total in (('now', args.studies), ('first', args.compare)):
            for cell in cells:
                jobs = [pool.submit(run, cell, i, min(i+10, total), form=='first') for i in range(0, total, 10)]
                found = [o for job in jobs for o in job.result()]
                if not found: continue
                name = f'{form}, {cell[2]}, {cell[1]} raters, {cell[0]:.0%} ambiguous'
                rows[name] = summary(found)
                print(name, json.dumps({k: v['verdicts'] for k, v in rows[name].items()}), flush=True)
                out = dict(studies=args.studies, compared=args.compare, speakers=SPEAKERS, clips=len(WHO),
                           delta=DELTA, cells=kept | rows)
                if args.save: file.write_text(json.dumps(out, indent=1)+'\n')
    print(json.dumps(dict(studies=args.studies, worst=worst(rows))))


def summary(found):
    "Strategy -> share of verdicts, mean effect, its spread, mean standard error, mean shares."
    out = {}
    for k in found[0]:
        words, *numbers = zip(*(o[k] for o in found), strict=True)
        v, se, clear, amb = np.array(numbers, float)
        def mean(x): return round(float(np.nanmean(x)), 4) if np.isfinite(x).any() else None
        out[k] = dict(verdicts={w: round(n/len(found), 4) for w, n in sorted(Counter(words).items())},
                      effect=mean(v), spread=round(float(np.nanstd(v)), 4), se=mean(se), clear=mean(clear),
                      ambiguous=mean(amb))
    return out


def worst(rows):
    "The rates that the benchmark is about, at their worst over cells, by form and base."
    out = {}
    for name, cell in rows.items():
        key = ', '.join(name.split(', ')[:2])
        def rate(k, *words, cell=cell): return sum(cell[k]['verdicts'].get(w, 0) for w in words)
        new = {'no information: gains': max(rate(o, 'supported', 'size open') for o in NULLS),
               'truth: opposite': rate('truth', 'opposite'),
               'truth: supported': rate('truth', 'supported', 'size open'),
               'ambiguous alone: not found': 1-rate('ambiguous alone', 'supported', 'size open'),
               'clear alone: not found': 1-rate('clear alone', 'opposite')}
        new |= {f'{o}: not small or inconclusive': 1-rate(o, 'too small', 'inconclusive') for o in BOTH}
        old = out.setdefault(key, dict.fromkeys(new, 0.))
        out[key] = {k: round(max(old[k], v), 4) for k, v in new.items()}
    return out


if __name__=='__main__': main()
