"""How fast are strategies: every budget of a large pool, and the vote at k.

    python benchmarks/strategies.py [--save]

First, all strategies that a sampled pool can have, at budgets 1 to 16, in both modes, with two metrics, on a
simulated pool of 10,000 clips, 16 answers and 6 labels, each answer with a confidence and one of two prompts; and
those with a closed form alone. Then the vote at k against a plain Python version of its formula, clip by clip.
Seconds are CPU seconds of all threads. Ends with one JSON line.
"""
import argparse
import json
import sys
import time
from dataclasses import replace
from math import comb
from pathlib import Path

import numpy as np

from ambiscale_nb.strategies import beyond  # noqa: F401 (registers its rules)
from ambiscale_nb.strategies.budget import sq_error, curves, vote_at_k
from ambiscale_nb.metrics.metrics import jsd
from ambiscale_nb.strategies.pool import STRATEGIES

sys.path.append(str(Path(__file__).parents[1]/'tests'))
from simulate import simulate  # noqa: E402

KS = (1, 2, 4, 8, 16)


def timed(what, *args):
    "CPU seconds of a call."
    start = time.process_time()
    what(*args)
    return round(time.process_time()-start, 2)


def all_curves(clips):
    "Every strategy x budget x mode; and those with a closed form, without Monte Carlo."
    sim, rng = simulate(np.random.default_rng(0), n_speakers=100, per_speaker=clips//100, wordings=3, unparsed=.03,
                        unjudged=.02), np.random.default_rng(1)
    out = {}
    for mode, pool in sim.pools.items():
        pool = replace(pool, confidence=rng.gamma(4., size=pool.parsed.shape),
                       prompt=np.tile(np.arange(pool.n)%2, (len(pool.uids), 1)))
        names = [*curves(pool, ks=[16])]
        exact = [o for o in names if STRATEGIES[o].exact]
        out[mode] = dict(strategies=len(names),
                         seconds=timed(curves, pool, names, KS, sim.y, {'jsd': jsd, 'brier': sq_error}),
                         exact=len(exact), exact_seconds=timed(curves, pool, exact, KS, sim.y, {'brier': sq_error}))
    return out


def plain_vote(m, N, k, t):
    "The formula of the vote at k for one clip and one class, word by word."
    total = 0
    for a in range(1, min(m[t], k)+1):
        state = {(0, 0): 1}
        for c, n in [*enumerate(m), (None, N-sum(m))]:
            if c==t: continue
            new = {}
            for (z, j), before in state.items():
                for x in range(min(n, k-a-z, a if c is not None else n)+1):
                    at = (z+x, j+(c is not None and x==a))
                    new[at] = new.get(at, 0)+before*comb(n, x)
            state = new
        total += comb(m[t], a)*sum(o/(j+1) for (z, j), o in state.items() if z==k-a)
    return total/comb(N, k)


def against_plain(clips, some=100):
    "The vote at k of all clips, and of some of them in plain Python; both for each clip."
    votes = simulate(np.random.default_rng(1), n_speakers=100, per_speaker=clips//100, unparsed=.03,
                     pools=('label',)).pools['label'].credit.sum(1)
    few, start = votes[:some].astype(int).tolist(), time.process_time()
    plain = {k: [[plain_vote(m, 16, k, t) for t in range(6)] for m in few] for k in KS}
    slow = (time.process_time()-start)/some
    start = time.process_time()
    fast = {k: vote_at_k(votes, 16, k) for k in KS}
    quick = (time.process_time()-start)/clips
    for k in KS: np.testing.assert_allclose(fast[k][:some], plain[k], atol=1e-12)
    return dict(plain_us=round(slow*1e6, 1), ours_us=round(quick*1e6, 2), times=round(slow/quick))


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument('--clips', type=int, default=10_000)
    args.add_argument('--save', action='store_true', help='keep the figures beside this script')
    args = args.parse_args()
    result = dict(benchmark='strategies', clips=args.clips, curves=all_curves(args.clips),
                  vote=against_plain(args.clips))
    if args.save: Path(__file__).with_suffix('.json').write_text(json.dumps(result)+'\n')
    print(json.dumps(result))


if __name__ == '__main__':
    main()
