"""Does the test of gain on ambiguous speech fall for strategies that know nothing, and does it find one
that does? Through `gain.donor_test`, the function that the claims use.

    python benchmarks/gain.py [--studies 1000] [--save]

Each study: 20 speakers of 40 clips, five classes, eight raters. Speakers differ in how ambiguous they
are, in how well the model hears them, and in how strongly a strategy smooths. Six strategies make a
distribution from the model's single answer and from nothing else; `real` also knows something of what
people think, more where they disagree, in three strengths. Counted at a nominal 5 %, two-sided: p <= .05
of the donor test, of the shuffled levels, and of the naive test without control; a refusal (a strategy
that its donors match exactly) counts as no rejection and is counted apart. Ends with one JSON line.

Beside them stand strategies whose table of class confusion was fitted, leaving out the clip's own speaker:
on the votes of the same study, with and without saying so (`Setting.fitted`), with donors of any speaker
alone, and, as the control, on the votes of another study of the same size. They know nothing of a clip but
the single answer. What differs is whether the donors' tables have seen the votes of the clip that they are
tried on. A weak `real` shows what donors of the same speaker alone cost in power.
"""
import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ambiscale_nb.ambiguity import soft_labels
from ambiscale_nb.core import rng_of
from ambiscale_nb.gain import Setting, dealt, gap_of, information, per_clip, shuffled_levels, tested

SPEAKERS, CLIPS, K, RATERS = 20, 40, 5, 8
NULLS = ('uniform mix', 'random-lambda mix', '4 noisy samples', '16 noisy samples', 'class confusion',
         'random second label')


def per_speaker(rng, spread, who):
    "A standard normal effect of every speaker, times `spread`, clip by clip."
    return spread*rng.standard_normal(SPEAKERS)[who][:, None]


def drawn(rng, p):
    "One label of each distribution, one-hot."
    return np.eye(p.shape[-1])[(rng.random((*p.shape[:-1], 1))>p.cumsum(-1)[..., :-1]).sum(-1)]


def people(rng):
    "Speakers, opinions, votes and single answers."
    who = np.repeat(np.arange(SPEAKERS), CLIPS)
    sharpness = np.exp(per_speaker(rng, .3, who))
    raw = rng.standard_gamma(.4/sharpness*np.ones(K))+1e-9
    truth = raw/raw.sum(1, keepdims=True)
    votes = rng.multinomial(RATERS, truth)
    skill = 1/(1+np.exp(-(.5+per_speaker(rng, .5, who)+rng.standard_normal((len(who), 1)))))
    return who, truth, votes, drawn(rng, skill*truth+(1-skill)*rng.dirichlet(np.ones(K), len(who)))


def knows_nothing(name, single, who, votes, rng):
    "A distribution made of the single answer, of chance and of the speaker's habits."
    n = len(who)
    if name=='uniform mix': return .6*single+.4/K
    if name=='random-lambda mix':
        w = 1/(1+np.exp(-(per_speaker(rng, .5, who)+rng.standard_normal((n, 1)))))
        return (1-w)*single+w/K
    if 'samples' in name:
        table = rng.dirichlet(np.full(K, .7), K)
        w = np.clip(.5+per_speaker(rng, .1, who), .1, .9)
        p = w*single+(1-w)*(single@table)
        return np.stack([drawn(rng, p) for _ in range(int(name.split()[0]))]).mean(0)
    if name=='class confusion': # what is usually meant by this answer, believed by habit
        table = .6*np.eye(K)+.4*rng.dirichlet(np.full(K, .5), K)
        believed = single@table
        habit = np.exp(per_speaker(rng, .3, who)+.3*rng.standard_normal((n, 1)))
        return believed**habit/(believed**habit).sum(1, keepdims=True)
    w = .5*rng.random((n, 1))
    return (1-w)*single+w*np.eye(K)[rng.integers(0, K, n)]


def knows(strength, single, truth, votes, rng):
    "A smoothed answer that leans on people's opinion, more where they disagree."
    apart = 1-(votes.max(1)/votes.sum(1))[:, None]
    w = np.clip(strength*apart, 0, 1)*rng.random((len(single), 1))
    return (1-w)*(.6*single+.4/K)+w*truth


def table_of_others(single, who, votes, learned_from):
    "What people heard, on average, where the single answer was the same; of all speakers but the clip's."
    answers, speakers, heard = learned_from[0], learned_from[1], soft_labels(learned_from[2])
    tables = []
    for s in range(SPEAKERS):
        use = speakers!=s
        tables.append(answers[use].T@heard[use]/np.maximum(answers[use].sum(0), 1)[:, None])
    return np.stack(tables)[who, single.argmax(1)]


def smoothed(rng, dist, who):
    "A distribution bent by each speaker's habit, and clip by clip."
    habit = np.exp(per_speaker(rng, .3, who)+.3*rng.standard_normal((len(who), 1)))
    return dist**habit/(dist**habit).sum(1, keepdims=True)


def tables(rng, single, who, votes):
    "Settings of fitted tables: name -> setting and, where they are not the test's own, donors."
    other_who, _, other_votes, other_single = people(rng)
    same = table_of_others(single, who, votes, (single, who, votes))
    apart = table_of_others(single, who, votes, (other_single, other_who, other_votes))
    bent, any_speaker = smoothed(rng, same, who), dealt(single.argmax(1), rng)
    def one(dist, fitted=False): return Setting(single, dist, votes, who, fitted)
    return {'fitted table, not said': (one(same), None),
            'fitted table, said': (one(same, True), None),
            'fitted table, donors of any speaker': (one(same), any_speaker),
            'table of another study': (one(apart), None),
            'table of another study, donors of any speaker': (one(apart), any_speaker),
            'fitted table and habit, not said': (one(bent), None),
            'fitted table and habit, said': (one(bent, True), None),
            'fitted table and habit, donors of any speaker': (one(bent), any_speaker)}


def study(rng, shuffles, more):
    """For every strategy: p of the donor test and its value, p of shuffled levels, p of the naive test, mean
    information, clips with donors."""
    who, truth, votes, single = people(rng)
    made = {o: knows_nothing(o, single, who, votes, rng) for o in NULLS}
    made |= {f'real, strength {o:g}': knows(o, single, truth, votes, rng) for o in (.3, .6)}
    settings = {k: (Setting(single, o/o.sum(1, keepdims=True), votes, who), None) for k, o in made.items()}
    weak = knows(.05, single, truth, votes, more)
    settings['real, strength 0.05'] = Setting(single, weak/weak.sum(1, keepdims=True), votes, who), None
    for o in ('0.05', '0.3', '0.6'): # the same predictions, with donors of the same speaker alone
        s = settings[f'real, strength {o}'][0]
        settings[f'real, strength {o}, own donors'] = replace(s, fitted=True), None
    settings |= tables(more, single, who, votes)
    before, out = per_clip('jsd', single, votes), {}
    for name, (s, donors) in settings.items():
        h, amb = information(s, donors=donors), s.level=='ambiguous'
        main, naive = tested(gap_of(h, amb), who), per_clip('jsd', s.scaled, votes)-before
        shuffled = shuffled_levels(h, amb, who, shuffles, rng)[0] if shuffles else np.nan
        out[name] = main.p, main.value, shuffled, tested(gap_of(naive, amb), who).p, np.nanmean(h), main.n
    return out


def main():
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument('--studies', type=int, default=1000)
    args.add_argument('--shuffled', type=int, default=200, help='studies with shuffled levels, too')
    args.add_argument('--save', action='store_true', help='keep the figures beside this script')
    args = args.parse_args()
    found = [study(rng_of('gain', i), 199 if i<args.shuffled else 0, rng_of('gain tables', i))
             for i in tqdm(range(args.studies))]
    rows = {}
    for name in found[0]:
        p, value, shuffled, naive, known, n = np.array([o[name] for o in found]).T
        told = dict(donor_test=float((p<=.05).mean()), gains=float(((p<=.05) & (value>0)).mean()),
                    refused=float(np.isnan(p).mean()),
                    shuffled_levels=float((shuffled[:args.shuffled]<=.05).mean()),
                    naive_test=float((naive<=.05).mean()), mean_value=float(np.mean(value)),
                    mean_information=float(np.mean(known)), clips=float(np.mean(n)))
        rows[name] = {k: round(v, 5) for k, v in told.items()}
    out = dict(studies=args.studies, shuffled=args.shuffled, speakers=SPEAKERS, clips=CLIPS, raters=RATERS,
               nominal=.05, worst_false_positive=max(rows[o]['donor_test'] for o in NULLS), rates=rows)
    if args.save: Path(__file__).with_suffix('.json').write_text(json.dumps(out, indent=1)+'\n')
    print(json.dumps(out))


if __name__=='__main__': main()
