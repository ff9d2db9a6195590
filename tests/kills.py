"""Kill -9, again and again: what a store holds after racing writers were killed at any moment.

    python tests/kills.py --kills 200 [--save]

Two writers work in the same folder. They store the same groups in different orders, each with a text of its own,
and acknowledge each group when the store says that it is on disk. Half of them have a clock that was set back by an
hour. Both are killed at random moments and started again, some of them while a journal becomes Parquet, and the
files are read from outside all the time. Then the rows are counted. `--save` writes the table next to this file;
`make test` makes twenty of these kills.
"""
import argparse
import json
import multiprocessing
import os
import random
import re
import signal
import tempfile
import time
import zlib
from collections import Counter
from pathlib import Path
import duckdb  # noqa: F401 (before the processes fork)
import pyarrow.parquet as pq
from ambiscale_nb.sampling import files
from ambiscale_nb.sampling.files import Store
from small_run import NOTES

ROWS, GROUPS, ROUND = 4, 200, 25  # rows of a group, groups of a store, kills of a store
FORK = multiprocessing.get_context('fork')
PROMISES = ('lost', 'missing in the end', 'twice', 'mixed', 'changed', 'touched by others', 'failed by themselves')

def write(root, who, tell):
    "Store what is missing, in an order of one's own; four groups fill a journal."
    files.SHARD, finish, now = 4*ROWS, files.Journal.finish, time.time_ns
    if os.getpid()%2: files.time.time_ns = lambda: now()-3600*10**9
    def told(journal, table):
        tell('finish')
        finish(journal, table)
        tell('write')
    files.Journal.finish = told
    tell('start')
    store = Store(root)
    have, names = store.have(NOTES), [str(o) for o in range(GROUPS)]
    random.Random(who).shuffle(names)
    for group in names:
        if group in have: continue
        text = f'{who} {os.urandom(6).hex()}'  # another text at every attempt
        time.sleep(.002)  # a model thinks
        tell('write')
        store.append(NOTES, [dict(key=f'{group}-{i}', group=group, model='m', index=i, text=text, error='')
                             for i in range(ROWS)])
        tell(f'stored {group}')
    store.seal(NOTES)

class Worker:
    "A process that can be killed, and what it said."
    def __init__(self, root, who):
        self.out, into = os.pipe()
        os.set_blocking(self.out, False)
        self.process = FORK.Process(target=write, args=(root, who, lambda said: os.write(into, f'{said}\n'.encode())))
        self.process.start()
        os.close(into)
        self.text, self.phase = b'', 'start'

    def hear(self):
        "The groups that were acknowledged since the last time."
        try:
            while data := os.read(self.out, 65536): self.text += data
        except BlockingIOError: pass
        *lines, self.text = self.text.split(b'\n')
        said = [o.decode().split() for o in lines]
        if said: self.phase = said[-1][0].replace('stored', 'write')
        return [o[1] for o in said if o[0] == 'stored']

    def over(self): return not self.process.is_alive()

    def end(self):
        "Wait for it; its last words."
        self.process.join()
        words = self.hear()
        os.close(self.out)
        return words

def copies(root):
    "Group -> (time, texts) of each copy, from journals and then Parquet, read without the code under test."
    found = {}
    for path in root.rglob('*.jsonl'):
        try: lines = path.read_bytes().split(b'\n')[:-1]
        except FileNotFoundError: continue  # it is Parquet now
        for line in lines:
            body, sum_ = re.fullmatch(rb'(.*), "_sum": "(\w{8})"}\]', line).groups()
            assert zlib.crc32(body+b'}]') == int(sum_, 16)
            rows = json.loads(body+b'}]')
            found.setdefault(rows[0]['group'], set()).add((rows[-1]['_stored'], *(o['text'] for o in rows)))
    for path in root.rglob('shard-*.parquet'):
        here = {}
        for o in pq.ParquetFile(path).read().to_pylist():
            here.setdefault((o['group'], o['stored_measured']), []).append(o['text'])
        for (group, stored), texts in here.items(): found.setdefault(group, set()).add((stored, *texts))
    return found

def one_store(root, kills, rng, count):
    "Kill until `kills` is reached, then finish; what went wrong is counted."
    crew = {who: Worker(root, who) for who in 'ab'}
    acknowledged, seen, dead, done = set(), {}, {}, 0
    def look():
        for worker in crew.values(): acknowledged.update(worker.hear())
        for group, found in copies(root).items():
            first = seen.setdefault(group, min(found))
            count['changed'] += first != min(found)
    while done < kills:
        time.sleep(rng.random()*.01)
        look()
        who = rng.choice(sorted(crew))
        wanted = rng.choice(('start', 'write', 'finish'))
        for _ in range(100):
            if crew[who].over() or crew[who].phase == wanted: break
            time.sleep(.002)
            for o in crew.values(): acknowledged.update(o.hear())
        crew[who].process.kill()
        acknowledged.update(crew[who].end())
        killed = crew[who].process.exitcode == -signal.SIGKILL
        done += killed
        count[f'killed in {crew[who].phase}'] += killed
        count['failed by themselves'] += not killed and crew[who].process.exitcode != 0
        if all(o.over() for o in crew.values()): dead = {o: o.read_bytes() for o in root.rglob('*.jsonl')}
        crew[who] = Worker(root, who)
    crew['last'] = Worker(root, 'last')
    for worker in crew.values():
        while not worker.over(): look(); time.sleep(.002)
        count['failed by themselves'] += worker.process.exitcode != 0
    look()
    final = Store(root).read(NOTES).groupby('group').text.agg(tuple).to_dict()
    count['lost'] += len(acknowledged-final.keys())
    count['missing in the end'] += GROUPS-len(final)
    count['twice'] += sum(len(o) != ROWS for o in final.values())
    count['mixed'] += sum(len(set(o)) > 1 for o in final.values())
    count['changed'] += sum(final[g] != copy[1:] for g, copy in seen.items() if g in final)
    count['touched by others'] += sum(not o.exists() or o.read_bytes() != data for o, data in dead.items())
    count['acknowledged'] += len(acknowledged)

def campaign(kills, seed=0, root=None):
    "What came of so many kills: a table of counts."
    rng, count = random.Random(seed), Counter(dict.fromkeys((*PROMISES, 'acknowledged'), 0))
    with tempfile.TemporaryDirectory(dir=root) as folder:
        for i, start in enumerate(range(0, kills, ROUND)):
            one_store(Path(folder)/str(i), min(ROUND, kills-start), rng, count)
    by_phase = {k: v for k, v in sorted(count.items()) if k.startswith('killed in')}
    return dict(kills=sum(by_phase.values()), **by_phase, **{o: count[o] for o in ('acknowledged', *PROMISES)})

def as_text(table):
    return '\n'.join(['| what | how often |', '|---|--:|', *(f'| {k} | {v:,} |' for k, v in table.items())])+'\n'

if __name__ == '__main__':
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument('--kills', type=int, default=200)
    asked.add_argument('--seed', type=int, default=0)
    asked.add_argument('--save', action='store_true')
    asked = asked.parse_args()
    table = campaign(asked.kills, asked.seed)
    print(as_text(table))
    if asked.save:
        text = '# Two writers, killed again and again\n\nWritten by `python tests/kills.py --save`.\n\n'
        Path(__file__).with_suffix('.md').write_text(text+as_text(table))
    bad = {k: v for k, v in table.items() if v and k in PROMISES}
    if bad: raise SystemExit(f'Not as promised: {bad}')
