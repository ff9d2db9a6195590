"""How fast the store takes answers in, and how fast it gives them back.

    python benchmarks/store.py [--partitions 2 6 19] [--save]

First answers are stored as a run stores them: sixteen per group, one flush to disk per group; next to it the same
without the flush. Then Parquet files of two million rows each are written in the store's own format, with
checksums, one for each of nineteen models: 38 million rows, 125,000 clips with 16 answers per model. The store's own
query, which decides for each group which copy counts, then takes the vote and the mean log-probability of every clip
over a growing number of files, in a process of its own; beside it, the same of the files alone. The ratio of times to
the ratio of rows shows whether it grows linearly. About ten minutes, 6 GB of disk, which are given back. Ends with
one JSON line.
"""
import argparse
import json
import multiprocessing
import os
import resource
import tempfile
import time
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
from tqdm import tqdm

from ambiscale_nb.sampling import files as pool
from ambiscale_nb.sampling.files import CANDIDATES, INT, STORED, Store, shards, write_shard

CLIPS, N = 125_000, 16
WORDS = np.array(['angry', 'disgusted', 'fearful', 'happy', 'neutral', 'sad'])
VOTES = '''SELECT count(*) AS clips FROM (SELECT model, uid, mode(text) AS vote, count(*) AS n, avg(sum_logprob) AS fit
           FROM {} WHERE error='' GROUP BY model, uid) WHERE n={}'''


def answer(group, i):
    "A row of `candidates`."
    blank = {c: '' if t==pool.STR else 0 for c, t in CANDIDATES.columns.items()}
    return {**blank, 'key': f'{group}{i:02}', 'group': group, 'corpus': 'demo',
            'uid': f'clip{group}', 'model': 'm', 'prompt_id': 'label-direct', 'index': i, 'block': 0,
            'text': 'neutral', 'tokens': '[1, 2]', 'sum_logprob': -.5, 'n_tokens': 2, 'finish': 'stop', 'error': ''}


def write_rate(groups, flush):
    "Rows per second that are stored one group at a time, without turning them into Parquet."
    pool.SHARD, before = 10**9, os.fsync
    if not flush: os.fsync = lambda fd: None
    try:
        with tempfile.TemporaryDirectory() as folder:
            store, rows = Store(folder), [[answer(f'{g:032x}', i) for i in range(N)] for g in range(groups)]
            start = time.perf_counter()
            for o in rows: store.append(CANDIDATES, o)
            took = time.perf_counter()-start
            for o in store.journals.values(): os.close(o.fd)
    finally: os.fsync = before
    return groups*N/took


def template():
    "Two million rows, sorted as the store sorts them."
    rng, rows = np.random.default_rng(0), CLIPS*N
    clip = np.repeat(np.arange(CLIPS), N)
    names = np.char.add('clip', np.char.zfill(np.arange(CLIPS).astype(str), 7))
    hexes = [rng.bytes(16).hex() for _ in range(CLIPS)]
    given = dict(
        corpus=pa.array(['demo']).take(pa.array(np.zeros(rows, int))), uid=pa.array(names).take(pa.array(clip)),
        group=pa.array(hexes).take(pa.array(clip)), index=pa.array(np.tile(np.arange(N), CLIPS)),
        text=pa.array(WORDS).take(pa.array(rng.integers(0, 6, rows))), sum_logprob=pa.array(-rng.exponential(1, rows)),
        error=pa.array(['']).take(pa.array(np.zeros(rows, int))), n_tokens=pa.array(np.full(rows, 2)))
    given['key'] = pa.compute.binary_join_element_wise(given['group'], given['index'].cast(pa.string()), '')
    given[STORED] = pa.array(np.arange(rows)//N)
    return pa.table({c: given[c].cast(t) if c in given else pa.nulls(rows, t)
                     for c, t in [*CANDIDATES.columns.items(), (STORED, INT)]})


def write_all(root, partitions):
    "One file per model; returns seconds and bytes."
    table, start = template(), time.perf_counter()
    def changed(table, column, values): return table.set_column(table.schema.get_field_index(column), column, values)
    for i in tqdm(range(partitions), desc='write'):
        folder = root/f'candidates/model=model{i:02}/corpus=demo/prompt=x'
        folder.mkdir(parents=True)
        name = pa.array([f'model{i:02}']).take(pa.array(np.zeros(len(table), int)))
        group = pa.compute.binary_replace_slice(table['group'], 0, 2, f'{i:02}')  # the model is part of the key
        write_shard(folder/'shard-0-0-0', changed(changed(table, 'model', name), 'group', group))
    return time.perf_counter()-start, sum(o.stat().st_size for o in root.rglob('*.parquet'))


def read(root, models, reply):
    "The votes of all clips: seconds by the store and of the files alone, peak memory in GiB, clips."
    store, start = Store(root), time.perf_counter()
    clips = store.query(CANDIDATES, VOTES.format('kept', N), model=models).clips[0]
    took, peak = time.perf_counter()-start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/2**20
    files, start = [str(o) for o in shards(store.places(CANDIDATES, dict(model=models)))], time.perf_counter()
    with duckdb.connect(config=dict(memory_limit='3GB', threads=2)) as con:
        con.execute('SET enable_progress_bar=false')
        con.sql(VOTES.format('read_parquet(?)', N), params=[files]).fetchall()
    reply.put((took, time.perf_counter()-start, peak, int(clips)))


def main():
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument('--partitions', type=int, nargs='+', default=[2, 6, 19])
    asked.add_argument('--groups', type=int, default=3000)
    asked.add_argument('--save', action='store_true')
    asked = asked.parse_args()
    rates = {o: write_rate(asked.groups, o) for o in (True, False)}
    sizes, context = [], multiprocessing.get_context('spawn')
    with tempfile.TemporaryDirectory() as folder:
        took, size = write_all(Path(folder), max(asked.partitions))
        for n in tqdm(asked.partitions, desc='read'):
            reply = context.Queue()
            process = context.Process(target=read, args=(folder, [f'model{i:02}' for i in range(n)], reply))
            process.start(); seconds, alone, gib, clips = reply.get(timeout=900); process.join()
            if clips != n*CLIPS: raise SystemExit(f'{clips} clips instead of {n*CLIPS}')
            sizes.append(dict(rows=n*CLIPS*N, seconds_measured=round(seconds, 2),
                              alone_measured=round(alone, 2), peak_gib_measured=round(gib, 2)))
    first, last = sizes[0], sizes[-1]
    growth = (last['seconds_measured']/first['seconds_measured'])/(last['rows']/first['rows'])
    found = dict(benchmark='store', rows_a_second_flushed_measured=round(rates[True]),
                 cost_of_the_flush=round(rates[False]/rates[True], 1), bytes_a_row=round(size/max(asked.partitions)/CLIPS/N, 1),
                 rows_a_second_as_parquet_measured=round(max(asked.partitions)*CLIPS*N/took), sizes=sizes,
                 time_by_rows_last_to_first=round(growth, 2))
    if asked.save: Path(__file__).with_suffix('.json').write_text(json.dumps(found, indent=1)+'\n')
    print(json.dumps(found))


if __name__ == '__main__': main()
