"""How fast are intervals: every metric of a large study without each of its speakers.

    python benchmarks/intervals.py [--clips 10000] [--speakers 100] [--save]

A simulated study, six labels, eight raters; answers to some clips cannot be read. Every registered metric, of a
clip or of a corpus, is given its interval by `cluster_ci`, from the prediction to the two ends. Seconds are wall
time and CPU time of all threads, metric by metric; the peak memory is that of the whole process. Ends with one
JSON line.
"""
import argparse
import json
import resource
import sys
import time
from pathlib import Path

import numpy as np

from ambiscale_nb.metrics.metrics import METRICS, statistic
from ambiscale_nb.metrics.statistics import cluster_ci
from ambiscale_nb.strategies.pool import predict

sys.path.append(str(Path(__file__).parents[1]/'tests'))
from simulate import simulate  # noqa: E402


def peak_mb():
    "The most memory this process has held, in MB."
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/1024


def study(clips, speakers):
    "Votes, speakers, labels and what a strategy says of every clip."
    sim = simulate(np.random.default_rng(0), ('dist',), n_speakers=speakers, per_speaker=clips//speakers, N=8, icc=.05,
                   unparsed=.3)
    return sim, predict('dirichlet', sim.pools['dist'])


def one(name, sim, said):
    "A metric and its interval, with what they took."
    output = said.L if METRICS[name].kind=='label' else said.dist
    wall, cpu = time.perf_counter(), time.process_time()
    made = statistic(name, output, sim.votes)
    ready = time.process_time()
    found = cluster_ci(made, sim.speakers)
    return dict(wall=time.perf_counter()-wall, cpu=time.process_time()-cpu, score=ready-cpu,
                method=found.reason or found.method)


if __name__=='__main__':
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for option, value in (('--clips', 10_000), ('--speakers', 100)):
        parser.add_argument(option, type=int, default=value)
    parser.add_argument('--save', action='store_true', help='write the figures beside this file')
    asked = parser.parse_args()
    world, prediction = study(asked.clips, asked.speakers)
    before = peak_mb()
    found = {name: one(name, world, prediction) for name in METRICS}
    slow = sorted(found, key=lambda o: -found[o]['cpu'])
    for name in slow: print(f"{name:22} {found[name]['cpu']:6.2f} s  {found[name]['method']}")
    total = {o: round(sum(v[o] for v in found.values()), 2) for o in ('wall', 'cpu', 'score')}
    figures = dict(clips=len(world.uids), speakers=asked.speakers, metrics=len(found),
                   with_interval=sum(v['method']=='cluster jackknife' for v in found.values()),
                   wall_seconds=total['wall'], cpu_seconds=total['cpu'], scoring_cpu_seconds=total['score'],
                   slowest={o: round(found[o]['cpu'], 2) for o in slow[:8]},
                   peak_mb=round(peak_mb()), peak_mb_before=round(before))
    if asked.save: Path(__file__).with_suffix('.json').write_text(json.dumps(figures, indent=1)+'\n')
    print(json.dumps(figures))
