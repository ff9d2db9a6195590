"""Kill -9, again and again: what a store has after racing writers and a compactor were killed at any moment.

    python tests/kills.py --kills 200 [--save]

Two writers and one compactor work in the same folder. The writers store the same groups in different orders,
each with a text of its own, and acknowledge each group when the store says that it is on disk. All three are
killed at random moments and started again, some of them in the middle of sealing or merging, while the sealed
files are read from outside. Then everybody is left in peace, and the rows are counted. `--save` keeps the table
beside this file; `make test` does twenty kills of it.
"""
import argparse
import os
import random
import signal
import tempfile
import time
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
from ambiscale_nb.sampling import store as pool, upkeep
from ambiscale_nb.sampling.store import INT, STR, Store, Table
from ambiscale_nb.sampling.upkeep import compact

ROWS, GROUPS, ROUND = 4, 30, 25  # rows of a group, groups of a store, kills of a store
NOTES = Table('notes', dict(key=STR, group=STR, model=STR, index=INT, text=STR, error=STR),
              ('model',), ('group', 'index'))


def note(group, text):
    return [dict(key=f'{group}-{i}', group=group, model='m', index=i, text=text, error='') for i in range(ROWS)]


def telling(module, name, phase, tell):
    "Let a function of the package say when it is at work."
    function = getattr(module, name)
    def told(*o, **how):
        tell(phase)
        try: return function(*o, **how)
        finally: tell('write')
    setattr(module, name, told)


def write(root, who, tell):
    "Store what is missing, in an order of one's own; seal now and then."
    pool.SHARD = 4*ROWS
    telling(pool, 'seal_folder', 'seal', tell)
    tell('start')
    store = Store(root)
    have, names = store.have(NOTES), [str(o) for o in range(GROUPS)]
    random.Random(who).shuffle(names)
    for group in names:
        if group in have: continue
        text = f'{who} {os.urandom(6).hex()}'  # another text at every attempt
        time.sleep(.002)  # a model thinks
        tell('write')
        store.append(NOTES, note(group, text))
        tell(f'stored {group}')
    store.seal(NOTES)
    store.close()


def merge(root, who, tell):
    "Merge sealed files, over and over."
    telling(upkeep, 'merge', 'merge', tell)
    while True:
        compact(Store(root), (NOTES,))
        tell('look')
        time.sleep(.001)


class Worker:
    "A process that can be killed, and what it said."
    def __init__(self, job, root, who):
        out, into = os.pipe()
        self.pid, self.text, self.phase, self.code = os.fork(), b'', 'start', None
        if not self.pid:
            try: job(root, who, lambda said: os.write(into, f'{said}\n'.encode())); os._exit(0)
            except BaseException:
                import traceback
                traceback.print_exc(); os._exit(1)
        os.close(into)
        os.set_blocking(out, False)
        self.out = out

    def hear(self):
        "The groups that were acknowledged since the last time."
        try:
            while data := os.read(self.out, 65536): self.text += data
        except BlockingIOError: pass
        *lines, self.text = self.text.split(b'\n')
        said = [o.decode() for o in lines]
        if said: self.phase = said[-1].split()[0]
        return [o.split()[1] for o in said if o.startswith('stored')]

    def over(self):
        if self.code is None:
            found, status = os.waitpid(self.pid, os.WNOHANG)
            if found: self.code = os.waitstatus_to_exitcode(status)
        return self.code is not None

    def kill(self):
        "Its last words, and in which phase it was."
        os.kill(self.pid, signal.SIGKILL)
        self.code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        words = self.hear()
        os.close(self.out)
        return words, self.phase


def sealed(root):
    "Group -> texts, from sealed files, read without the code under test; None where a file was just merged away."
    found = {}
    for path in sorted(root.rglob('shard-*.parquet')):
        try: rows = pq.ParquetFile(path).read(columns=['group', 'text']).to_pylist()
        except FileNotFoundError: return None
        here = {}
        for o in rows: here.setdefault(o['group'], []).append(o['text'])
        for group, texts in here.items(): found.setdefault(group, []).append(tuple(texts))
    return found


def one_store(root, kills, rng, count):
    "Kill until `kills` is reached, then finish; what went wrong is counted."
    jobs = {'a': write, 'b': write, 'merger': merge}
    crew = {who: Worker(job, root, who) for who, job in jobs.items()}
    acknowledged, seen, done = set(), {}, 0
    def look():
        for worker in crew.values(): acknowledged.update(worker.hear())
        for group, copies in (sealed(root) or {}).items():
            first = seen.setdefault(group, copies[0])
            count['changed after sealing'] += any(o != first for o in copies)
    while done < kills:
        time.sleep(rng.random()*.03)
        look()
        who = rng.choice(sorted(crew))
        for _ in range(rng.choice((0, 30))):  # half of them in the middle of something rare
            if crew[who].over() or crew[who].phase in ('seal', 'merge'): break
            time.sleep(.001)
            look()
        if not crew[who].over():
            words, phase = crew[who].kill()
            acknowledged.update(words)
            done += 1
            count[f'killed in {dict(stored="write", look="write").get(phase, phase)}'] += 1
        elif crew[who].code: count['failed by themselves'] += 1
        crew[who] = Worker(jobs[who], root, who)
    crew.pop('merger').kill()
    for worker in crew.values():
        while not worker.over(): look(); time.sleep(.002)
        count['failed by themselves'] += worker.code != 0
    look()
    Worker(write, root, 'last')
    os.wait()
    compact(Store(root), (NOTES,))
    final = sealed(root)
    count['lost'] += len(acknowledged-final.keys())
    count['missing in the end'] += GROUPS-len(final)
    count['twice'] += sum(len(o) > 1 or len(o[0]) != ROWS for o in final.values())
    count['mixed'] += sum(len(set(o[0])) > 1 for o in final.values())
    count['changed after sealing'] += sum(final[g][0] != o for g, o in seen.items() if g in final)
    count['left behind'] += len([*root.rglob('*.jsonl')])
    count['acknowledged'] += len(acknowledged)


def campaign(kills, seed=0, root=None):
    "What came of so many kills: a table of counts."
    rng, count = random.Random(seed), Counter()
    names = ('lost', 'missing in the end', 'twice', 'mixed', 'changed after sealing', 'left behind',
             'failed by themselves')
    count.update(dict.fromkeys((*names, 'acknowledged'), 0))
    with tempfile.TemporaryDirectory(dir=root) as folder:
        for i, start in enumerate(range(0, kills, ROUND)):
            one_store(Path(folder)/str(i), min(ROUND, kills-start), rng, count)
    by_phase = {k: v for k, v in sorted(count.items()) if k.startswith('killed in')}
    return dict(kills=sum(by_phase.values()), **by_phase, acknowledged=count['acknowledged'],
                **{o: count[o] for o in names})


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
        text = '# Two writers and a compactor, killed again and again\n\nWritten by `python tests/kills.py --save`.\n\n'
        Path(__file__).with_suffix('.md').write_text(text+as_text(table))
    bad = {k: v for k, v in table.items() if v and k in ('lost', 'missing in the end', 'twice', 'mixed',
                                                       'changed after sealing', 'left behind', 'failed by themselves')}
    if bad: raise SystemExit(f'Not as promised: {bad}')
