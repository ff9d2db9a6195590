"""How fast are strategies: every budget of a large pool, the vote at k, a store of millions of answers.

    python benchmarks/strategies.py [--sizes 100000 300000 1000000] [--save]
    nice python benchmarks/strategies.py --sizes 1000000 3000000 10000000 --save  # 10 M: some GB of disk

First, all strategies that a sampled pool can have, at budgets 1 to 16, in both modes, with two metrics, on a
simulated pool of 10,000 clips, 16 answers and 6 labels, each answer with a confidence and one of two prompts; and
those with a closed form alone. Then the vote at k against a plain Python version of its formula, clip by clip. Then
sealed stores of three sizes, sixteen answers to a clip, from which the cheap strategies are scored at their full
budget, each size in a process of its own, so that its peak memory is its own. Seconds are CPU seconds of all
threads, but for stores, where they are wall time, as half of it is reading. Ends with one JSON line.
"""
import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from math import comb
from pathlib import Path

import numpy as np

from ambiscale_nb import beyond  # noqa: F401 (registers its rules)
from ambiscale_nb.budget import brier, curves, vote_at_k
from ambiscale_nb.core import content_key
from ambiscale_nb.labels import label_set
from ambiscale_nb.metrics import jsd
from ambiscale_nb.pool import CANDIDATES, Store, write_parts
from ambiscale_nb.simulate import simulate
from ambiscale_nb.strategies import STRATEGIES
from ambiscale_nb.stream import stored_pools, stream_scores

KS = (1, 2, 4, 8, 16)
CHEAP = ('majority', 'mean', 'bon')
SIX = label_set('six')
LABELS = SIX.labels
TEXTS = [form for o in LABELS for form in (o, o.title()+'.', f'The speaker is {o}.')]+['I cannot tell.']


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
                         seconds=timed(curves, pool, names, KS, sim.y, {'jsd': jsd, 'brier': brier}),
                         exact=len(exact), exact_seconds=timed(curves, pool, exact, KS, sim.y, {'brier': brier}))
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


def make_store(root, rows, per=400_000):
    "Seal made-up answers: sixteen to a clip, in the columns and the format of a store."
    import pyarrow as pa
    folder = Path(root)/'candidates/model=alm/corpus=toy/prompt=label-direct'
    folder.mkdir(parents=True)
    schema, rng = pa.schema(CANDIDATES.columns.items()), np.random.default_rng(0)
    fixed = dict(corpus='toy', model='alm', revision='1', prompt_id='label-direct', prompt_sha='p', mode='label',
                 style='direct', decode='sample', temperature=.7, width=0, max_new_tokens=8, condition='none',
                 block=0, block_size=16, run_seed=0, finish='stop', error='', error_text='', downgrades='',
                 n_in_tokens=100., n_audio_tokens=80., latency_measured=.1, cost_measured=0.)
    for number, start in enumerate(range(0, rows, per)):
        n = min(per, rows-start)
        clip, length = np.repeat(np.arange(start//16, (start+n)//16), 16), rng.integers(2, 9, n)
        lean = rng.integers(0, len(TEXTS), n//16).repeat(16)
        said = np.where(rng.random(n)<.6, lean, rng.integers(0, len(TEXTS), n))
        group = np.array([content_key(['g', int(i)]) for i in clip[::16]]).repeat(16)
        uid = np.char.add('clip', np.char.zfill(clip.astype(str), 7))
        own = {'key': [f'{g[:28]}{i%16:04x}' for i, g in enumerate(group)], 'group': group, 'uid': uid,
               'audio_sha': group, 'index': np.arange(n)%16, 'seed': clip, 'text': np.array(TEXTS)[said],
               'sum_logprob': -rng.exponential(1, n)*length, 'n_tokens': length.astype(float),
               'tokens': [json.dumps([int(o)]*int(k)) for o, k in zip(said, length, strict=True)],
               'token_logprobs': [json.dumps([-.5]*int(k)) for k in length]}
        columns = [pa.array(own[o.name], o.type) if o.name in own else
                   pa.repeat(pa.scalar(fixed[o.name], o.type), n) for o in schema]
        tmp = write_parts(folder/'.part.tmp', CANDIDATES, [pa.Table.from_arrays(columns, schema=schema)])
        tmp.rename(folder/f'shard-{number:05d}.parquet')


def score_store(root):
    "Score the cheap strategies of a store: seconds, peak memory of this process, and how many answers."
    wall, cpu = time.perf_counter(), time.process_time()
    one = np.full(6, 1/6)
    got = stream_scores(stored_pools(Store(Path(root)), SIX), lambda uids: np.tile(one, (len(uids), 1)), CHEAP,
                        (16,), {'brier': brier})
    return dict(answers=int(got.n.max())*16, strategies=got.strategy.nunique(),
                seconds_measured=round(time.perf_counter()-wall, 1), cpu_measured=round(time.process_time()-cpu, 1),
                peak_gb_measured=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/1e6, 2))


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument('--clips', type=int, default=10_000)
    args.add_argument('--sizes', type=int, nargs='*', default=[100_000, 300_000, 1_000_000], help='answers in a store')
    args.add_argument('--score', help='score this store, and nothing else')
    args.add_argument('--save', action='store_true', help='keep the figures beside this script')
    args = args.parse_args()
    if args.score: print(json.dumps(score_store(args.score))); return
    result = dict(benchmark='strategies', clips=args.clips, curves=all_curves(args.clips),
                  vote=against_plain(args.clips), stores=[])
    for rows in args.sizes:
        with tempfile.TemporaryDirectory() as tmp:
            make_store(tmp, rows//16*16)
            done = subprocess.run([sys.executable, __file__, '--score', tmp], check=True, capture_output=True, text=True)
            result['stores'].append(json.loads(done.stdout))
    if args.save: Path(__file__).with_suffix('.json').write_text(json.dumps(result)+'\n')
    print(json.dumps(result))


if __name__ == '__main__':
    main()
