"""How often worlds of known truth get each verdict, through the functions that judge a study (`claims`, `equivalence`).

    nice python benchmarks/verdicts.py [--studies 400] [--only clips --claims 1b 6b] [--save]
    python benchmarks/verdicts.py --table

A study is simulated at the level of scores: each clip has a score of every strategy, made of a common part, the true effect,
an effect of the speaker (sd .015) and noise (sd .15 bits; both doubled for accuracy, whose delta is twice as large). Corpora
have 500, 2,000 or 8,000 clips of 24, 48 or 91 speakers with unequal numbers of clips. A difference of means depends on a
speaker's clips through their number and their sum alone, so the sums are drawn, each from its normal distribution, for all
studies of a line at once. Half of the clips are ambiguous, which is where claim 5b looks; the class prior cancels in its
effect. True effects are -2, 0, .3, .7, 1 and 2 times delta, the least
effect that matters; two output modes are judged together. Claims 1a and 1b: three cells, seven strategies, all with the
effect. Claim 4: two cells; of two leading strategies each is ahead of the other by the effect in one cell, and all others are
far behind (below 0: one leads in both cells; 0: all eight are equal). Claims 5a, 5b, 6a and 6b: every comparison has the
effect. Claims 3a and 3b have models as replicates, so the number of models varies instead of the number of clips: gains of 5,
8 and 16 models lie about a line in the logarithm of their size, with a standard deviation of .01 bits between models.
`unrelated` are gains that have nothing to do with size. Claim 2 works on distributions: strategies that state the truth,
smooth at random, or know something of ambiguous or of clear clips alone or of both; and strategies that know .3 of the truth
of clear clips and as much more of ambiguous ones as the effect says (`gain.py` has more settings).

Comparisons are computed by the closed form of the delete-one-speaker jackknife of a mean, and the ends of intervals for all
studies at once; the script checks that `effects.part` gives the same on single clips, and `claims.judged` the same verdicts on
the first studies of each line. Ends with one JSON line.
"""
import argparse
import json
from collections import Counter
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np
from scipy import special
from tqdm import tqdm

from ambiscale_nb.study import claims, effects
from ambiscale_nb.metrics import gain
from ambiscale_nb.corpora.ambiguity import strata
from ambiscale_nb.study.cells import BASE, PLAIN, SCALED, WEIGHTED, Cell
from ambiscale_nb.study.claims import CLAIMS
from ambiscale_nb.study.effects import STRONG
from ambiscale_nb.core import rng_of
from ambiscale_nb.metrics.equivalence import Effect, Ranked, word_of

CORPORA = {500: 24, 2000: 48, 8000: 91}  # Clips -> speakers
EFFECTS = (-2., 0., .3, .7, 1., 2.)  # In units of delta
MODELS = (5, 8, 16)
SPEAKER, CLIP, BETWEEN = .015, .15, .01  # Standard deviations
NAMES = (BASE, *SCALED, PLAIN)
slow_part = effects.part


@dataclass(frozen=True)
class Scores(Cell):
    "A cell whose scores are given; of speakers, they are sums over clips, (S, G) in S studies."
    level = 'ambiguous'
    def score(self, name, metric='jsd'): return self.dists[name]


def fast_part(better, worse, n, use=None):
    "The mean difference with its delete-one-speaker jackknife (CR3) and the effective number of speakers, from sums."
    total, G = np.asarray(better, float)-worse, n.shape[-1]
    value = total.sum(-1)/n.sum(-1)
    left = (total.sum(-1, keepdims=True)-total)/(n.sum(-1, keepdims=True)-n)
    se = np.sqrt((G-1)/G*((left-value[..., None])**2).sum(-1))
    return Effect(value, se, n.sum(-1)**2/(n**2).sum(-1)-1, G, 1)


def ends(effect, side, level):
    "What `Ranked.end` gives, for all studies at once."
    if isinstance(effect, Effect): return np.full(len(effect.value), side*np.inf) if effect.refusal(level) else (
        effect.value-side*special.stdtrit(effect.df, level)*effect.se)
    (r, n), parts = effect.hold(side), effect.parts.values()
    found = [np.sort([ends(o, side, level*i/n) for o in parts], 0)[::side][r+i-2] for i in range(1, n+1)]
    return np.max(found, 0) if side<0 else np.min(found, 0)


def study(effect, i):
    "One of many studies."
    if isinstance(effect, Effect): return replace(effect, value=effect.value[i], se=effect.se[i], df=effect.df[i])
    return Ranked({k: study(o, i) for k, o in effect.parts.items()}, effect.r)


def clips_of(clips, studies, rng):
    "Clips of speakers with unequal numbers of them, at least one each: (S, G)."
    share = rng.lognormal(0, .3, (studies, CORPORA[clips]))
    return 1.+rng.multinomial(clips-CORPORA[clips], share/share.sum(1, keepdims=True))


def cell(name, effects, n, rng, wide=1.):
    "Scores of one model: a common part, an effect of each prediction, of its speakers, and noise; sums by speaker."
    def noise(sd): return sd*rng.standard_normal(n.shape)
    common = np.sqrt(n)*noise(.2)
    scores = {k: common+n*(v+noise(wide*SPEAKER))+np.sqrt(n)*noise(wide*CLIP) for k, v in effects.items()}
    made = Scores(name, 'world', n, n, scores, scores)
    made.__dict__['who'] = n
    return made


def same(effect, *names): return dict.fromkeys(NAMES, 0.)|dict.fromkeys(names, effect)


def cells_of(key, effect, n, rng):
    "The cells of studies in which a claim has an effect."
    if key[0]=='1': return [cell(f'm{i}', same(effect, *SCALED), n, rng, 2. if key=='1b' else 1.) for i in range(3)]
    if key=='4':
        far = same(-5*CLAIMS['4'].delta)
        if not effect: return [cell(f'm{i}', same(0.), n, rng) for i in range(2)]
        if effect<0: return [cell(f'm{i}', far|dict(w_bon=-effect), n, rng) for i in range(2)]
        lead = [dict(w_bon=effect, w_alm_v=0.), dict(w_bon=0., w_alm_v=effect)]
        return [cell(f'm{i}', far|o, n, rng) for i, o in enumerate(lead)]
    if key=='5a': return [cell(o, {BASE: effect}, n, rng) for o in STRONG]+[cell('other', {BASE: 0.}, n, rng)]
    if key=='5b':
        n = np.maximum(1., rng.binomial(n.astype(int), .5))  # ambiguous clips
        return [cell(o, {BASE: -effect}, n, rng) for o in STRONG]
    return [cell(f'm{i}', same(effect, *WEIGHTED), n, rng) for i in range(2)]


def words(key, cells, first=2):
    "The verdict of every study; the first ones are also judged by the library."
    claim, found = CLAIMS[key], []
    effect, deficits = claim.effect(cells, STRONG), claims.deficits
    low, high = (ends(effect, o, .025/2) for o in (-1, 1))
    whole = deficits(cells) if key=='4' else {}
    for i in range(len(low)):
        def parts(_, i=i): return {k: study(o, i) for k, o in whole.items()}
        beaten = key=='4' and high[i]<claim.delta
        if beaten or i<first:
            claims.deficits, given = parts if beaten else deficits, replace(claim, effect=lambda *_, i=i: study(effect, i))
            found.append(claims.judged(given, cells, family=2)[1].word)
            claims.deficits = deficits
            assert beaten or found[-1]==word_of(low[i], high[i], claim.delta)
        else: found.append(word_of(low[i], high[i], claim.delta))
    return found


def by_clips(studies, keys, keep):
    "Verdicts on the claims about clips and speakers."
    check()
    effects.part, effects.others_mix, effects.utterance_scores = fast_part, lambda *_: None, lambda *_: np.zeros(1)
    for key, effect, clips in tqdm([*product(keys, EFFECTS, CORPORA)]):
        rng = rng_of('verdicts', key, effect, clips)
        keep(f'{key}, {effect:g} delta, {clips} clips', Counter(words(key, cells_of(
            key, effect*CLAIMS[key].delta, clips_of(clips, studies, rng), rng))))
    fewer = {'1a': slice(2), '1b': slice(2), '4': slice(1), '5a': slice(1, 3), '5b': slice(1), '6a': slice(1), '6b': slice(1)}
    for key in keys:
        rng = rng_of('verdicts', key)
        cells = cells_of(key, 2*CLAIMS[key].delta, clips_of(2000, 1, rng), rng)[fewer[key]]
        keep(f'{key}, one cell too few', Counter([claims.judged(CLAIMS[key], cells, family=2)[1].word]))


def check():
    "The closed form is what a study is judged by."
    rng = rng_of('closed form')
    code = rng.permutation(np.repeat(np.arange(24), clips_of(500, 1, rng)[0].astype(int)))
    a, b = (rng.normal(0, 1, 500)+rng.normal(0, 1, 24)[code] for _ in range(2))
    def total(x): return np.bincount(code, x)[None]
    one, two = slow_part(a, b, code.astype(str)), study(fast_part(total(a), total(b), total(np.ones(500))), 0)
    assert np.allclose([one.value, one.se, one.df, one.speakers], [two.value, two.se, two.df, two.speakers]), (one, two)


def by_models(studies, keys, keep):
    "Verdicts on the claims about models."
    for key, effect, models in tqdm([*product(keys, (*EFFECTS, None), (4, *MODELS))]):
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
        keep(f'{key}, {what}, {models} models', count)


WORLDS = {'truth': (1., 1.), 'random smoothing': None, 'ambiguous alone': (.6, 0.), 'clear alone': (0., .6),
          'both': (.6, .6)}
WORLDS |= {f'{o:g} delta': (.3+o*CLAIMS['2'].delta, .3) for o in EFFECTS if o}


def speakers_of(clips, rng):
    "The speaker of each clip."
    return np.repeat([f's{i:02d}' for i in range(CORPORA[clips])], clips_of(clips, 1, rng)[0].astype(int))


def heard(worlds, clips, rng, K=4, R=8):
    "Per world, a cell: votes, a single answer, and a strategy that knows some of the truth of either stratum, or smooths."
    who, cells = speakers_of(clips, rng), []
    truth = rng.dirichlet(np.full(K, .4), clips)
    votes = rng.multinomial(R, truth)
    ambiguous = np.isin(strata(votes), ['weak', 'tie'])
    single = np.eye(K)[(rng.random((clips, 1))>truth.cumsum(1)[:, :-1]).sum(1)]
    for world in worlds:
        if WORLDS[world] is None: w = .6*rng.random((clips, 1)); q = (1-w)*single+w/K
        else:
            w = np.where(ambiguous, *WORLDS[world])[:, None]
            q = (1-w)*single+w*truth
        cells.append(Cell('m', 'world', votes, who, {BASE: single, **dict.fromkeys(SCALED, q)}))
    return cells


def by_strata(studies, worlds, keep):
    "Verdicts on claim 2; what is the same in all strategies and worlds of a study is computed once."
    for clips in CORPORA:
        rng, counts = rng_of('strata', clips), {o: Counter() for o in worlds}
        for i in tqdm(range(studies), desc=f'{clips} clips'):
            effects.fit_prior, effects.perfect_predictor, gain.prior_scale = map(cache_of, SLOW)
            for world, made in zip(worlds, heard(worlds, clips, rng), strict=True):
                effects.gain_shares = cache_of(whole_gain)
                counts[world][claims.judged(CLAIMS['2'], [made], family=2)[1].word] += 1
            if i%20==19 or i==studies-1:
                for world in worlds: keep(f'2, {world}, {clips} clips', counts[world])


SLOW, whole_gain = (effects.fit_prior, effects.perfect_predictor, gain.prior_scale), effects.gain_shares


def cache_of(function):
    "A function that is computed once, whatever it is given."
    kept = []
    def once(*args, **how):
        if not kept: kept.append(function(*args, **how))
        return kept[0]
    return once


def rates(count): return {k: round(v/sum(count.values()), 4) for k, v in count.most_common()}


WORDS = ('supported', 'supported, size open', 'too small to matter', 'too alike to tell', 'opposite', 'inconclusive',
         'not testable')


def table(found):
    "The figures as Markdown."
    columns = (*WORDS, 'studies')
    lines = ['| claim | true effect | study | '+' | '.join(columns)+' |', '|---|---|---|'+'--:|'*len(columns)]
    for name, got in found.items():
        parts = [*name.split(', '), ''][:3]
        shown = [f'{got[o]:.3f}' if o in got else '' for o in WORDS]
        lines.append('| '+' | '.join([*parts, *shown, str(got['studies'])])+' |')
    return '\n'.join(lines)


PARTS = dict(models=(by_models, ('3a', '3b')), strata=(by_strata, tuple(WORLDS)),
             clips=(by_clips, ('4', '1a', '1b', '5a', '5b', '6a', '6b')))


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument('--studies', type=int, default=400)
    args.add_argument('--only', default='', choices=('', *PARTS), help='one part')
    args.add_argument('--claims', nargs='+', default=[], help='of that part: claims, or worlds of claim 2')
    args.add_argument('--save', action='store_true', help='keep the figures beside this script')
    args.add_argument('--table', action='store_true', help='print the kept figures')
    args = args.parse_args()
    path, found = Path(__file__).with_suffix('.json'), {}
    def kept(): return json.loads(path.read_text()) if path.exists() else {}
    if args.table: print(table(kept())); return
    def keep(name, count):  # As soon as it is done, next to the others
        found[name] = rates(count)|dict(studies=sum(count.values()))
        if args.save: path.write_text(json.dumps(kept()|found, indent=1)+'\n')
    for name in [args.only] if args.only else PARTS:
        run, keys = PARTS[name]
        run(args.studies, args.claims or keys, keep)
    print(json.dumps(found))


if __name__ == '__main__':
    main()
