"""How fast are strategies: every budget of a large pool, and the vote at k.

    python benchmarks/strategies.py [--save] [--only curves vote frames divergence]

First, all strategies that a sampled pool can have, at budgets 1 to 16, in both modes, with two metrics, on a
simulated pool of 10,000 clips, 16 answers and 6 labels, each answer with a confidence and one of two prompts; and
those with a closed form alone. Then the vote at k against a plain Python version of its formula, clip by clip;
majority and mean of a pool that is stored as a table, building the pool included, against a group-by of that table
in pandas and in DuckDB; and a million Jensen-Shannon divergences against the plain formula. The routes take turns,
and must agree; a ratio is one of the fastest turns. Seconds are CPU seconds of all threads. Ends with one JSON line.
"""
import argparse
import json
import sys
import time
from dataclasses import replace
from math import comb
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd

from ambiscale_nb.strategies import beyond  # noqa: F401 (registers its rules)
from ambiscale_nb.strategies.budget import curves, vote_at_k
from ambiscale_nb.metrics.metrics import brier as sq_error, jsd
from ambiscale_nb.strategies.pool import STRATEGIES, Pool, predict

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


def turns(routes, same, rounds=15):
    "Milliseconds of the fastest turn of each route, and each as a multiple of the first; `same` compares their results."
    fastest = dict.fromkeys(routes, float('inf'))
    for _ in range(rounds):
        made = {}
        for name, route in routes.items():
            start = time.process_time()
            made[name] = route()
            fastest[name] = min(fastest[name], time.process_time()-start)
    first, *others = made.values()
    for o in others: same(first, o)
    ours = next(iter(fastest.values()))
    return {k: dict(ms=round(o*1000, 1), ratio=round(o/ours, 2)) for k, o in fastest.items()}


def against_frames(clips):
    "Majority and mean of a table with a row per answer: by a pool, and by a group-by for each of the two."
    def one(mode, pool):
        labels, N = list(pool.labels), pool.n
        table = pd.DataFrame(pool.dist.reshape(-1, len(labels)), columns=labels)
        table = table.assign(uid=np.repeat(pool.uids, N), parsed=pool.parsed.ravel())
        def ours():
            made = Pool(table.uid.iloc[::N].to_numpy(), labels, mode, 'direct', 'sample',
                        table[labels].to_numpy().reshape(-1, N, len(labels)), table.parsed.to_numpy().reshape(-1, N))
            return [predict(o, made).dist for o in ('majority', 'mean')]
        def pandas():
            rows = table[table.parsed]
            votes, x = rows, rows[labels].to_numpy()
            if mode=='dist':
                top = x>=x.max(1, keepdims=True)-1e-9
                votes = pd.DataFrame(top/top.sum(1, keepdims=True), rows.index, labels).assign(uid=rows.uid)
            return [o.groupby('uid', sort=False)[labels].mean().to_numpy() for o in (votes, rows)]
        def sql(columns):
            return connection.execute(f"select {', '.join(f'avg({o})' for o in columns)} from table_ where parsed "
                                      "group by uid order by uid").df().to_numpy()
        connection = duckdb.connect(config=dict(threads=1))
        connection.register('table_', table)
        top = f"greatest({', '.join(labels)})-1e-9"
        count = '+'.join(f'({o}>={top})::int' for o in labels)
        def duck(): return [sql([f'({o}>={top})::int/({count})' for o in labels]), sql(labels)]
        def same(a, b):
            for x, y in zip(a, b, strict=True): np.testing.assert_allclose(x, y, rtol=0, atol=1e-12)
        return turns(dict(ours=ours, pandas=pandas, duckdb=duck), same)
    pools = simulate(np.random.default_rng(0), n_speakers=100, per_speaker=clips//100, unparsed=.03).pools
    return {mode: one(mode, pool) for mode, pool in pools.items()}


def plain_jsd(p, q):
    "The formula, word by word; 0 log 0 is 0."
    mix = (p+q)/2
    with np.errstate(divide='ignore', invalid='ignore'):
        return sum(np.where(o>0, o*np.log2(o/mix), 0).sum(-1) for o in (p, q))/2


def divergences(pairs=1_000_000):
    "The metric, with its checks, against the formula without any."
    p, q = np.random.default_rng(0).dirichlet(np.ones(6), (2, pairs))
    return turns(dict(ours=lambda: jsd(p, q), plain=lambda: plain_jsd(p, q)),
                 lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-12))


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument('--clips', type=int, default=10_000)
    args.add_argument('--save', action='store_true', help='keep the figures beside this script')
    parts = dict(curves=all_curves, vote=against_plain, frames=against_frames, divergence=lambda clips: divergences())
    args.add_argument('--only', nargs='+', choices=parts, default=[*parts], help='parts to measure')
    args = args.parse_args()
    kept = Path(__file__).with_suffix('.json')
    result = json.loads(kept.read_text())|dict(clips=args.clips, **{o: parts[o](args.clips) for o in args.only})
    if args.save: kept.write_text(json.dumps(result)+'\n')
    print(json.dumps(result))


if __name__ == '__main__':
    main()
