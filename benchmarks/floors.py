"""Are noise floors those of a known population, in every stratum? And the order of references on CREMA-D.

    python benchmarks/floors.py [--studies 400] [--clips 800] [--save]

Populations are drawn from a Dirichlet distribution of six labels (concentration 1 or 2), 3, 5 or 10 raters vote, and the
prior is fitted to their votes. The noise floor (posterior draws against the observed votes) is compared with the
score of the population itself, for accuracy, JSD and the Brier score, over all clips and in both strata. Beside it
are floors against votes that are drawn again, which condition on nothing. One more rater, in the strata of the
remaining raters, is compared with a fresh rater against as many others.

With AMBISCALE_CREMA_D set to the corpus, the references of its genuine votes are printed: a perfect predictor (the
noise floor), one more rater and the predictors without audio, for each stratum and metric, on all clips and on those
whose audio is there. Ends with one JSON line.
"""
import argparse
import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from ambiscale_nb.corpora.ambiguity import (LEVELS, expand_votes, fit_prior, noise_floor,
    posterior_draws, shared_credit, single_raters, soft_labels, strata, top_labels)
from ambiscale_nb.core import rng_of
from ambiscale_nb.corpora.registry import load_corpus
from ambiscale_nb.corpora.labels import label_set
from ambiscale_nb.metrics.metrics import brier, jsd
from ambiscale_nb.study.truth import stratum_references, truth_of

METRICS = {'accuracy': lambda p, q: (shared_credit(p)*shared_credit(q)).sum(-1), 'jsd': jsd, 'brier': brier}
MIX = np.array([.35, .25, .15, .1, .1, .05])
STRATA = ('all', 'clear', 'ambiguous')


def levels(votes):
    "Which clips are in each stratum."
    level = np.array([LEVELS[o] for o in strata(votes)])
    return {o: (level==o) | (o=='all') for o in STRATA}


def redrawn(votes, metric, alpha, rng, draws=10):
    "The floor against votes that are drawn again from the posterior: what strata and ties do not allow."
    n = votes.sum(1)
    return np.mean([metric(p, rng.multinomial(n, p)/n[:, None]) for p in posterior_draws(votes, alpha, draws, rng)], 0)


def one_study(raters, concentration, clips, rng):
    "Sums over clips of every reference, by metric and stratum."
    truth = rng.dirichlet(concentration*MIX, clips)
    votes = rng.multinomial(raters, truth)
    y, alpha, rows = soft_labels(votes), fit_prior(votes), {}
    pairs = single_raters(expand_votes(votes))
    fresh, panel = rng.multinomial(1, truth), rng.multinomial(raters-1, truth)
    for name, m in METRICS.items():
        found = dict(truth=m(truth, y), floor=noise_floor(votes, m, alpha, 60), redrawn=redrawn(votes, m, alpha, rng))
        one, other = m(pairs.said, pairs.truth), m(fresh, soft_labels(panel))
        tied, tied_rest, tied_panel = (top_labels(v).sum(1)>1 for v in (votes, pairs.votes, panel))
        if name!='accuracy': tied, tied_rest, tied_panel = tied & False, tied_rest & False, tied_panel & False
        for o in STRATA:
            here = levels(votes)[o] & ~tied
            rest, them = levels(pairs.votes)[o] & ~tied_rest, levels(panel)[o] & ~tied_panel
            rows[name, o] = {k: (v[here].sum(), here.sum()) for k, v in found.items()}
            rows[name, o] |= dict(one_more_rater=(one[rest].sum(), rest.sum()),
                                  fresh_rater=(other[them].sum(), them.sum()))
    return rows


def simulated(raters, concentration, studies, clips):
    "Means over all studies, and the share by which the floor misses the truth."
    rng, total = rng_of('floors', raters, concentration), {}
    for _ in tqdm(range(studies), desc=f'{raters} raters, concentration {concentration:g}'):
        for key, row in one_study(raters, concentration, clips, rng).items():
            into = total.setdefault(key, {k: np.zeros(2) for k in row})
            for k, v in row.items(): into[k] += v
    mean = lambda o: float(o[0]/o[1]) if o[1] else np.nan
    return pd.DataFrame([dict(raters=raters, concentration=concentration, metric=m, stratum=s,
                              **{k: mean(v) for k, v in o.items()}) for (m, s), o in total.items()])


def crema(folder):
    "References of the genuine votes, on all clips and on those with audio."
    utterances, ratings = load_corpus('crema_d', folder)
    there, rows = utterances.path.map(lambda o: Path(o).exists()).to_numpy(), []
    for name, some in (('all clips', there | True), ('with audio', there)):
        part = utterances[some]
        part = part[part.filter(like='votes_').sum(axis=1)>0]
        truth = truth_of(part, ratings, label_set('six'))
        for metric in truth.metrics:
            for level, use in truth.levels.items():
                rows.append(dict(clips=name, metric=metric, stratum=level, n=int(use.sum()),
                                 **stratum_references(metric, truth, level)))
    return pd.DataFrame(rows)


def main():
    args = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    args.add_argument('--studies', type=int, default=400)
    args.add_argument('--clips', type=int, default=800)
    args.add_argument('--save', action='store_true', help='keep the figures beside this script')
    args = args.parse_args()
    table = pd.concat([simulated(r, c, args.studies, args.clips) for c in (1., 2.) for r in (3, 5, 10)])
    table['miss'] = table.floor/table.truth-1
    table['miss_redrawn'] = table.redrawn/table.truth-1
    print(table.round(3).to_string(index=False))
    out = dict(studies=args.studies, clips=args.clips, largest_miss=round(float(table.miss.abs().max()), 4),
               largest_miss_redrawn=round(float(table.miss_redrawn.abs().max()), 4),
               rows=table.round(4).to_dict('records'))
    if folder := os.environ.get('AMBISCALE_CREMA_D'):
        known = crema(folder)
        print(known.round(3).to_string(index=False))
        sign = np.where(known.metric.isin(['jsd', 'brier_debiased']), 1, -1)
        out |= dict(crema_d=known.round(4).to_dict('records'),
                    crema_d_in_order=bool((sign*(known.one_more_rater-known.noise_floor)>0).all()))
    if args.save: Path(__file__).with_suffix('.json').write_text(json.dumps(out, indent=1).replace('NaN', 'null')+'\n')
    print(json.dumps({k: v for k, v in out.items() if k not in ('rows', 'crema_d')}))


if __name__=='__main__':
    main()
