"""How often worlds of known truth get each verdict, through the functions that judge a study (`claims`, `equivalence`).

    nice python benchmarks/verdicts.py [--studies 400] [--save]
    python benchmarks/verdicts.py --table

A study is simulated at the level of scores: each clip has a score of every strategy, made of a common part, the true effect,
an effect of the speaker (sd .015) and noise (sd .15 bits). Corpora have 500, 2,000 or 8,000 clips of 24, 48 or 91 speakers
with unequal numbers of clips. True effects are -2, 0, .3, .7, 1 and 2 times delta, the least effect that matters; two output
modes are judged together. Claim 1a (1b has the same rule): three cells, seven strategies, all with the effect. Claim 4: two
cells; of two leading strategies each is ahead of the other by the effect in one cell, and all others are far behind (below 0: one leads
in both cells; 0: all eight are equal). Claims 5a and 6a (5b and 6b have the same rule): every comparison has the effect. Claims 3a and 3b have models
as replicates, so the number of models varies instead of the number of clips: gains of 5, 8 and 16 models lie about a line in
the logarithm of their size, with a standard deviation of .01 bits between models. `unrelated` are gains that have nothing to
do with size. Claim 2 works on distributions: strategies that state the truth, smooth at random, or know something of
ambiguous or of clear clips alone; 500 clips (`gain.py` has more settings).

Comparisons are computed by the closed form of the delete-one-speaker jackknife of a mean; the script checks that
`claims.part` gives the same. Ends with one JSON line.
"""
import argparse
import json
from collections import Counter
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ambiscale_nb import claims
from ambiscale_nb.ambiguity import strata
from ambiscale_nb.cells import BASE, PLAIN, SCALED, WEIGHTED, Cell
from ambiscale_nb.claims import CLAIMS, STRONG
from ambiscale_nb.core import rng_of
from ambiscale_nb.equivalence import Effect
from ambiscale_nb.statistics import Clusters

CORPORA = {500: 24, 2000: 48, 8000: 91}  # Clips -> speakers
EFFECTS = (-2., 0., .3, .7, 1., 2.)  # In units of delta
MODELS = (5, 8, 16)
SPEAKER, CLIP, BETWEEN = .015, .15, .01  # Standard deviations
NAMES = (BASE, *SCALED, PLAIN)
slow_part = claims.part


@dataclass(frozen=True)
class Scores(Cell):
    "A cell whose scores are given."
    def score(self, name, metric='jsd'): return self.dists[name]


def fast_part(better, worse, who, use=None):
    "The mean difference with its delete-one-speaker jackknife (CR3) and the effective number of speakers."
    gap = np.asarray(better, float)-worse
    use = np.isfinite(gap) if use is None else use & np.isfinite(gap)
    n = np.bincount(who.codes, use, len(who.names))
    total = np.bincount(who.codes, np.where(use, gap, 0), len(who.names))
    n, total = n[n>0], total[n>0]
    G, value = len(n), total.sum()/n.sum()
    left = (total.sum()-total)/(n.sum()-n)
    se = np.sqrt((G-1)/G*((left-value)**2).sum())
    return Effect(float(value), float(se), float(n.sum()**2/(n**2).sum()-1), G, int(n.sum()))


def speakers_of(clips, rng):
    "Speakers with unequal numbers of clips."
    n = CORPORA[clips]
    share = rng.lognormal(0, .3, n)
    return Clusters(np.array([f's{i:02d}' for i in range(n)], object), rng.choice(n, clips, p=share/share.sum()))


def cell(name, effects, who, rng):
    "Scores of one model: a common part, an effect of each prediction, of its speakers, and noise."
    U, G = len(who.codes), len(who.names)
    common = rng.normal(0, .2, U)
    def one(mean): return common+mean+rng.normal(0, SPEAKER, G)[who.codes]+rng.normal(0, CLIP, U)
    scores = {k: one(v) for k, v in effects.items()}
    made = Scores(name, 'world', np.ones(U, bool), who.codes, scores)
    made.__dict__['who'] = who
    return made


def same(effect, *names): return dict.fromkeys(NAMES, 0.)|dict.fromkeys(names, effect)


def cells_of(key, effect, clips, rng):
    "The cells of a study in which a claim has an effect."
    who = speakers_of(clips, rng)
    if key=='1a': return [cell(f'm{i}', same(effect, *SCALED), who, rng) for i in range(3)]
    if key=='4':
        far = same(-5*CLAIMS['4'].delta)
        if not effect: return [cell(f'm{i}', same(0.), who, rng) for i in range(2)]
        if effect<0: return [cell(f'm{i}', far|dict(w_bon=-effect), who, rng) for i in range(2)]
        lead = [dict(w_bon=effect, w_alm_v=0.), dict(w_bon=0., w_alm_v=effect)]
        return [cell(f'm{i}', {k: v-5*CLAIMS['4'].delta for k, v in same(0.).items()}|o, who, rng) for i, o in enumerate(lead)]
    if key=='5a':
        return [cell(o, {BASE: effect}, who, rng) for o in STRONG]+[cell('other', {BASE: 0.}, who, rng)]
    return [cell(f'm{i}', same(effect, *WEIGHTED), who, rng) for i in range(2)]


def by_clips(studies):
    "Verdicts on the claims about clips and speakers."
    found = {}
    for key, effect, clips in tqdm([*product(('4', '1a', '5a', '6a'), EFFECTS, CORPORA)]):
        rng, count = rng_of('verdicts', key, effect, clips), Counter()
        for i in range(studies):
            cells = cells_of(key, effect*CLAIMS[key].delta, clips, rng)
            if not i: check(cells)
            count[claims.judged(CLAIMS[key], cells, family=2)[1].word] += 1
        found[f'{key}, {effect:g} delta, {clips} clips'] = rates(count)
    for key, cells in (('1a', cells_of('1a', .02, 2000, rng)[:2]), ('4', cells_of('4', .02, 2000, rng)[:1]),
                       ('5a', cells_of('5a', .02, 2000, rng)[1:]), ('6a', cells_of('6a', .02, 2000, rng)[:1])):
        found[f'{key}, one cell too few'] = rates(Counter([claims.judged(CLAIMS[key], cells, family=2)[1].word]))
    return found


def check(cells):
    "The closed form is what a study is judged by."
    o = cells[0]
    a, b = o.score([*o.dists][-1]), cells[-1].score(BASE) if len(o.dists)==1 else o.score([*o.dists][0])
    one, two = fast_part(a, b, o.who), slow_part(a, b, o.who)
    assert np.allclose([one.value, one.se, one.df], [two.value, two.se, two.df]), (one, two)


def by_models(studies):
    "Verdicts on the claims about models."
    found = {}
    for key, effect, models in tqdm([*product(('3a', '3b'), (*EFFECTS, None), (4, *MODELS))]):
        rng, count, delta = rng_of('models', key, effect, models), Counter(), CLAIMS[key].delta
        for _ in range(studies):
            x = np.arange(float(models))
            line = np.zeros(models) if effect is None else effect*delta*x if key=='3a' else (
                -effect*delta*(1-x/x.max()))  # the smallest loses, the largest loses nothing
            own = rng.normal(0, BETWEEN*(4 if effect is None else 1), models)
            gains = {s: line+own+rng.normal(0, BETWEEN/4, models) for s in SCALED}
            cells = [Scores(f'm{i}', 'world', np.ones(1, bool), np.array(['s']),
                            {BASE: np.zeros(1), **{s: gains[s][i:i+1] for s in SCALED}}, params=2.**i) for i in range(models)]
            count[claims.judged(CLAIMS[key], cells, family=2)[1].word] += 1
        what = 'unrelated' if effect is None else f'{effect:g} delta'
        found[f'{key}, {what}, {models} models'] = rates(count)
    return found


WORLDS = {'truth': (1., 1.), 'random smoothing': None, 'ambiguous alone': (.6, 0.), 'clear alone': (0., .6),
          'both': (.6, .6)}


def heard(world, clips, rng, K=4, R=8):
    "Votes, a single answer, and a strategy that knows some of the truth of either stratum, or smooths at random."
    who = speakers_of(clips, rng)
    truth = rng.dirichlet(np.full(K, .4), clips)
    votes = rng.multinomial(R, truth)
    single = np.eye(K)[(rng.random((clips, 1))>truth.cumsum(1)[:, :-1]).sum(1)]
    if WORLDS[world] is None: w = .6*rng.random((clips, 1)); q = (1-w)*single+w/K
    else:
        w = np.where(np.isin(strata(votes), ['weak', 'tie']), *WORLDS[world])[:, None]
        q = (1-w)*single+w*truth
    return Cell('m', 'world', votes, who.names[who.codes], {BASE: single, **dict.fromkeys(SCALED, q)})


def by_strata(studies):
    "Verdicts on claim 2; strategies that are equal are computed once."
    found, whole = {}, claims.gain_shares
    for world, clips in tqdm([*product(WORLDS, (500,))]):
        rng, count = rng_of('strata', world, clips), Counter()
        for _ in range(studies):
            kept = []
            def once(*args, kept=kept, **how):
                if not kept: kept.append(whole(*args, **how))
                return kept[0]
            claims.gain_shares = once
            count[claims.judged(CLAIMS['2'], [heard(world, clips, rng)], family=2)[1].word] += 1
        found[f'2, {world}, {clips} clips'] = rates(count)
    claims.gain_shares = whole
    return found


def rates(count): return {k: round(v/sum(count.values()), 4) for k, v in count.most_common()}


WORDS = ('supported', 'supported, size open', 'too small to matter', 'too alike to tell', 'opposite', 'inconclusive',
         'not testable')


def table(found):
    "The figures as Markdown."
    lines = ['| claim | true effect | study | '+' | '.join(WORDS)+' |', '|---|---|---|'+'--:|'*len(WORDS)]
    for name, got in found.items():
        parts = [*name.split(', '), ''][:3]
        lines.append('| '+' | '.join([*parts, *(f'{got[o]:.3f}' if o in got else '' for o in WORDS)])+' |')
    return '\n'.join(lines)


def main():
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument('--studies', type=int, default=400)
    args.add_argument('--only', default='', help='clips, models or strata')
    args.add_argument('--save', action='store_true', help='keep the figures beside this script')
    args.add_argument('--table', action='store_true', help='print the kept figures')
    args = args.parse_args()
    path = Path(__file__).with_suffix('.json')
    kept = json.loads(path.read_text()) if path.exists() else {}
    if args.table: print(table({k: v for o in kept.values() for k, v in o['verdicts'].items()})); return
    claims.part = fast_part
    parts = dict(models=by_models, clips=by_clips, strata=by_strata)
    for name in [args.only] if args.only else parts:
        found = dict(studies=args.studies, verdicts=parts[name](args.studies))
        kept[name] = found
        if args.save:  # Each part as it is done, next to the others
            now = json.loads(path.read_text()) if path.exists() else {}
            path.write_text(json.dumps(now|{name: found}, indent=1)+'\n')
    print(json.dumps(kept))


if __name__ == '__main__':
    main()
