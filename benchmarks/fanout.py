"""What fan-out gains and costs. Eight notebooks, each of which asks a server on this machine for an answer
and waits for it (`--wait` seconds), are executed by one worker and by two: the second should take half the
time, because waiting needs no processor. Then 24 notebooks that do nothing are executed by two workers, by a
plain pool of two processes, and by this process: what Dask adds to each, and what a kernel costs anyway. The
last line is JSON; `--save` keeps it beside this file.

    python benchmarks/fanout.py --save
"""
import argparse
import json
import sys
import tempfile
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing import get_context
from pathlib import Path

from ambiscale_nb.study.fanout import connect, run_shards
from ambiscale_nb.study.notebooks import run_notebook

sys.path.insert(0, str(Path(__file__).resolve().parent.parent/'tests'))

ASK = 'from urllib.request import urlopen\nprint(urlopen(url).read().decode())'


def serve(wait):
    "A server that answers after a while; returns its address."
    class Slow(BaseHTTPRequestHandler):
        def do_GET(self):
            time.sleep(wait)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'neutral')
        def log_message(self, *about): pass
    server = ThreadingHTTPServer(('127.0.0.1', 0), Slow)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f'http://127.0.0.1:{server.server_port}'


def timed(work):
    "Seconds, and what came of it."
    start = time.perf_counter()
    out = work()
    return time.perf_counter()-start, out


def shards(source, folder, n, workers, parameters):
    "Seconds of a whole fan-out, cluster included, and the sum of its notebooks' own."
    tasks = [(source, Path(folder)/f'{workers}-{i}.ipynb', parameters) for i in range(n)]
    took, out = timed(lambda: run_shards(tasks, workers=workers, progress=False))
    assert {o.status for o in out} == {'done'}, out
    return took, sum(o.seconds_measured for o in out)


def pooled(source, folder, n, workers):
    "Seconds of the same by a pool of processes, which neither retries nor resumes."
    def go():
        with ProcessPoolExecutor(workers, get_context('spawn')) as pool:
            jobs = [pool.submit(run_notebook, source, Path(folder)/f'{i}.ipynb', {}) for i in range(n)]
            return [o.result() for o in jobs]
    return timed(go)[0]


def start_up():
    "Seconds until two workers are there, and until they are gone."
    def go():
        with connect(2): pass
    return timed(go)[0]


def main():
    from small_run import notebook
    options = argparse.ArgumentParser()
    options.add_argument('--wait', type=float, default=10.)
    options.add_argument('--save', action='store_true')
    options = options.parse_args()
    with tempfile.TemporaryDirectory() as d:
        ask = notebook(Path(d)/'ask.ipynb', ASK, url='')
        nothing = notebook(Path(d)/'nothing.ipynb', 'pass', x=1)
        run_notebook(nothing, Path(d)/'warm.ipynb', {})
        url = dict(url=serve(options.wait))
        one, two = (shards(ask, f'{d}/{n}', 8, n, url)[0] for n in (1, 2))
        cluster = start_up()
        many, inside = shards(nothing, f'{d}/many', 24, 2, {})
        pool = pooled(nothing, f'{d}/pool', 24, 2)
        alone = timed(lambda: [run_notebook(nothing, Path(d)/'alone'/f'{i}.ipynb', {}) for i in range(24)])[0]
    out = dict(benchmark='fanout', waits=8, wait_s=options.wait, speedup_of_two_workers=round(one/two, 2),
               one_worker_s_measured=round(one, 1), two_workers_s_measured=round(two, 1),
               cluster_s_measured=round(cluster, 2), notebook_s_measured=round(alone/24, 2),
               dask_24_s_measured=round(many, 1), pool_24_s_measured=round(pool, 1),
               scheduling_s_per_shard_measured=round(max(many-inside/2, 0)/24, 3))
    print(json.dumps(out))
    if options.save: Path(__file__).with_suffix('.json').write_text(json.dumps(out, indent=1)+'\n')
    return 0 if out['speedup_of_two_workers'] >= 1.8 and out['scheduling_s_per_shard_measured'] < 3 else 1


if __name__ == '__main__':
    sys.exit(main())
