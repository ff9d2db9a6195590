"""How long indexing takes at full scale: synthetic trees of the size of IEMOCAP (10,039 utterances), CREMA-D
(7,442 clips) and MSP-Podcast 2.0 (264,705 clips, about 1.5 million worker rows) are written to a temporary
folder and read through `load_corpus`, votes included, each in a process of its own on one core. The last line
is JSON: seconds and peak memory of each, and time per clip relative to CREMA-D's.

    python benchmarks/corpora.py
"""
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT/'tests'))
READ = '''
import resource, sys, time, json, warnings
warnings.simplefilter('ignore')
import pandas, pandera.pandas
from ambiscale_nb.corpora import crema_d, iemocap, msp_podcast
from ambiscale_nb.corpora.registry import load_corpus
start = time.perf_counter()
utterances, ratings = load_corpus(sys.argv[1], sys.argv[2])
seconds = time.perf_counter()-start
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/2**20
print(json.dumps(dict(clips=len(utterances), ratings=0 if ratings is None else len(ratings),
                      seconds_measured=round(seconds, 2), peak_gib_measured=round(peak, 2))))
'''


def write_crema_d(root: Path):
    "7,442 clips of three query types, votes at random."
    from ambiscale_nb.corpora.crema_d import ACTED, SENTENCES
    rng = np.random.default_rng(0)
    names = [f'{a}_{s}_{e}_XX' for a in range(1001, 1092) for s in SENTENCES for e in ACTED]
    names += [f'{a}_IEO_{e}_{o}' for a in range(1001, 1092) for e in ACTED for o in ('LO', 'MD', 'HI')]
    names, rows = names[:7442], []
    for query in (1, 2, 3):
        votes = rng.multinomial(9, rng.dirichlet(np.ones(6)*.5, len(names)))
        for i, (name, v) in enumerate(zip(names, votes, strict=True), 1):
            top = ':'.join(e for e, n in zip('ADFHNS', v, strict=True) if n == v.max())
            rows.append([query*100_000+i, *v, name, 9, v.max()/9, top])
    (root/'processedResults').mkdir()
    columns = ['', *'ADFHNS', 'fileName', 'numResponses', 'agreement', 'emoVote']
    pd.DataFrame(rows, columns=columns).to_csv(root/'processedResults/tabulatedVotes.csv', index=False)


def main():
    from trees_iemocap import write_full
    from trees_msp import large_release
    out = {}
    for name, write in (('crema_d', write_crema_d), ('iemocap', write_full), ('msp_podcast', large_release)):
        with tempfile.TemporaryDirectory() as d:
            write(Path(d))
            done = subprocess.run([sys.executable, '-c', READ, name, d], capture_output=True, text=True,
                                  check=True, env={'OMP_NUM_THREADS': '1', 'PYTHONPATH': str(ROOT)})
            out[name] = json.loads(done.stdout.splitlines()[-1])
            print(name, out[name], flush=True)
    each = {k: o['seconds_measured']/o['clips'] for k, o in out.items()}
    ratios = {f'{k}_per_clip_to_crema_d': round(o/each['crema_d'], 2) for k, o in each.items()}
    print(json.dumps(dict(benchmark='corpora', **ratios, **out)))


if __name__ == '__main__':
    main()
