"""Do 95 % intervals hold the truth 95 times in 100? Through the function that fills `scores`.

    python benchmarks/coverage.py [--simulations 4000] [--only accuracy] [--save]

Corpora of 10 speakers with 400 clips each and of 91 with 80, equal or with lognormal numbers of clips
(sd .5 is mild, 1 is severe), in which 5 % of the variance lies between speakers. `truth.interval` is
asked for a mean of a value per clip and for UAR over six classes, half of the clips being of one class;
the truth of both is known. The share of interval and p-value that disagree is counted. Accuracies from .5 to .995 are asked
for as well, by the two functions that `interval` calls for them; near 1 often all answers are right. Then the debiased Brier score, at 3 and 10 raters, whole votes, split
ones and ones partly outside the label set, against the distance to what all people would say. Ends with one JSON line.
"""
import argparse
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from scipy.stats import norm
from tqdm import tqdm

from ambiscale_nb.corpora.ambiguity import Judgements, soft_labels
from ambiscale_nb.core import rng_of
from ambiscale_nb.metrics.metrics import brier, mean_of, rater_noise, utterance_scores
from ambiscale_nb.study.truth import interval
from ambiscale_nb.metrics.statistics import (Clusters, cluster_ci, clusters_of, paired_difference,
    proportion_ci)

ICC = .05
SIZES = {'equal': 0., 'mild': .5, 'severe': 1.}
CORPORA = {10: 400, 91: 80}
MIX = np.array([.5, .1, .1, .1, .1, .1])
RECALL = np.array([.8, .5, .4, .6, .3, .5])
LATENT = np.sin(ICC*np.pi/2) # Correlation behind hits whose own is ICC, at a recall of 1/2


def speakers(n, per, sd, rng):
    "Who speaks each clip."
    size = np.rint(per*np.exp(sd*rng.standard_normal(n)-sd**2/2))
    return np.repeat(np.arange(n), np.maximum(size, 1).astype(int))


def clustered(who, icc, rng):
    "Standard normal numbers, correlated within a speaker."
    own = rng.standard_normal(who.max()+1)[who]
    return np.sqrt(icc)*own+np.sqrt(1-icc)*rng.standard_normal(len(who))


def corpus(n, per, sd, rng):
    "A truth and a scored point, as `truth.interval` takes them, and clips of a known mean."
    who = speakers(n, per, sd, rng)
    heard = np.searchsorted(MIX.cumsum()[:-1], rng.random(len(who)), side='right')
    other = (heard+rng.integers(1, 6, len(who)))%6
    tied = rng.random(len(who))<.1 # these clips must not count
    one = np.eye(6)
    votes = np.where(tied, 2, 3)[:, None]*one[heard]+np.where(tied, 2, 1)[:, None]*one[other]
    right = clustered(who, LATENT, rng)<norm.ppf(RECALL)[heard]
    L = one[np.where(right, heard, other)]
    point = SimpleNamespace(L=L, metrics={'brier_debiased': clustered(who, ICC, rng)})
    return SimpleNamespace(votes=votes, speakers=who, who=clusters_of(who), noise=0.), point


def cover(n, per, sd, runs, seed=0, progress=True):
    "Share of intervals that hold the truth, and of those that miss it on either side; mean width."
    rng = rng_of('coverage', n, sd, seed)
    truth = {'brier_debiased': 0., 'uar': RECALL.mean()}
    found = {o: [] for o in truth}
    for _ in tqdm(range(runs), desc=f'{n} speakers, sd {sd:g}', disable=not progress):
        people, point = corpus(n, per, sd, rng)
        use = np.ones(len(people.speakers), bool)
        for metric, known in truth.items():
            e = interval(metric, point, people, use)
            found[metric].append((e.low>known, e.high<known, e.high-e.low, bool(e.reason)))
    out = {}
    for metric, name in (('brier_debiased', 'mean'), ('uar', 'uar')):
        above, below, width, none = np.array(found[metric], float).T
        use = none==0
        out[name] = dict(coverage=round(float(1-(above+below)[use].mean()), 4),
                         too_high=round(float(above[use].mean()), 4), too_low=round(float(below[use].mean()), 4),
                         width=round(float(np.median(width[use])), 4), refused=int(none.sum()))
    return out


def accuracy(n, per, sd, recall, runs, seed=0):
    "Coverage of an accuracy, width, and how often all answers are right; skills of speakers are Beta, ICC of .05."
    rng, found, refused = rng_of('accuracy', n, per, sd, recall, seed), [], 0
    for _ in range(runs):
        code = speakers(n, per, sd, rng)
        who = Clusters(np.arange(n), code)
        hits = (rng.random(len(code))<rng.beta(recall*(1/ICC-1), (1-recall)*(1/ICC-1), n)[code]).astype(float)
        e = proportion_ci(cluster_ci(mean_of(hits), who), hits, np.ones(len(hits)), who)
        if e.reason: refused += 1
        else: found.append((e.low<=recall<=e.high, e.high-e.low, hits.all()))
    held, width, sure = np.mean(found, 0)
    return dict(coverage=round(held, 4), width=round(width, 4), all_right=round(sure, 4), refused=refused)


def false_positives(n, per, sd, runs, seed=0):
    "Share of paired tests with p <= .05 between two strategies that do not differ; and where the interval disagrees."
    rng, found, apart, used = rng_of('paired', n, sd, seed), 0, 0, 0
    for _ in range(runs):
        who = speakers(n, per, sd, rng)
        e = paired_difference(clustered(who, ICC, rng), np.zeros(len(who)), who)
        if e.reason: continue
        used += 1; found += e.p<=.05; apart += (e.p<=.05)==(e.low<=0<=e.high)
    return dict(rejected=round(found/used, 4), interval_disagrees=apart)


def panel(truth, raters, split, outside, rng):
    "Judgements of each clip: one vote each, or shared with a second emotion, or with one outside the label set."
    U, K = truth.shape
    who = np.repeat(np.arange(U), raters)
    def draw(): return (rng.random((len(who), 1))>truth.cumsum(1)[who, :-1]).sum(1)
    first, second = draw(), draw()
    both = rng.random(len(who))<split
    said = np.where(both[:, None], (np.eye(K)[first]+np.eye(K)[second])/2, np.eye(K)[first])
    out = (rng.random(len(who))<outside) & (first==0)  # who hears the first label may hear something else as well
    return Judgements(np.where(out[:, None], said/2, said), who, U)


def brier_bias(raters, split, outside, runs, seed=0, clips=500):
    "Raw and debiased Brier score less the true one: mean over simulated corpora and its error."
    rng, raw, fair, ratio = rng_of('brier bias', raters, split, outside, seed), [], [], []
    for _ in range(runs):
        truth, guess = rng.dirichlet([.6, .4, .3, .2], clips), rng.dirichlet(np.full(4, 2.), clips)
        said = panel(truth, raters, split, outside, rng)
        votes, noise = said.equal_votes, rater_noise(said)
        known = brier(guess, truth).mean()
        raw.append(brier(guess, soft_labels(votes)).mean()-known)
        fair.append(utterance_scores('brier_debiased', guess, votes, noise).mean()-known)
        ratio.append(utterance_scores('brier_debiased', guess, said.sums(said.said), noise).mean()-known)
    return dict(raw=round(float(np.mean(raw)), 5), debiased=round(float(np.mean(fair)), 5),
                error=round(float(np.std(fair)/np.sqrt(runs)), 5), by_mass_inside=round(float(np.mean(ratio)), 5))


def accuracies(runs):
    "Coverage of accuracies, by size of the corpus."
    cells = [(n, per, o, p) for n, per in ((10, 20), (10, 400), (91, 5), (91, 80)) for o in ('mild', 'severe')
             for p in (.5, .7, .9, .95, .98, .995)]
    return {f'{n} speakers of {per} clips, {o}, {p:g}': accuracy(n, per, SIZES[o], p, runs) for n, per, o, p in tqdm(cells)}


def main():
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument('--simulations', type=int, default=4000)
    args.add_argument('--only', choices=('accuracy',), help='this part alone')
    args.add_argument('--save', action='store_true', help='keep the figures beside this script')
    args = args.parse_args()
    runs, out, file = args.simulations, {}, Path(__file__).with_suffix('.json')
    if args.only:
        result = json.loads(file.read_text())|dict(accuracy=accuracies(runs), accuracy_simulations=runs)
        if args.save: file.write_text(json.dumps(result, indent=1)+'\n')
        print(json.dumps(result['accuracy'])); return
    for n, per in CORPORA.items():
        for name, sd in SIZES.items():
            out[f'{n} speakers, {name}'] = cover(n, per, sd, runs)
    false = {f'{n} speakers, {name}': false_positives(n, per, sd, runs)
             for n, per in CORPORA.items() for name, sd in SIZES.items()}
    bias = {f'{r} raters, {o:.0%} split, {x:.0%} partly out': brier_bias(r, o, x, max(runs//4, 10))
            for r in (3, 10) for o, x in ((0., 0.), (.3, 0.), (0., .5))}
    near = accuracies(runs)
    result = dict(simulations=runs, accuracy_simulations=runs, nominal=.95, icc=ICC, coverage=out, paired_false_positives=false,
                  accuracy=near, brier_less_truth=bias)
    if args.save:
        file.write_text(json.dumps(result, indent=1)+'\n')
    print(json.dumps(result))


if __name__ == '__main__':
    main()
