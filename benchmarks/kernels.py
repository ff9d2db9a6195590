"""Whether kernels that start together get in each other's way. Two processes start a kernel each at the same moment,
run one cell in it and end it, a hundred times: 200 kernels, of which none may be lost. `--transport tcp` shows what the
usual ports do, where two kernels may be given the same one. The last line is JSON; `--save` keeps it beside this file.

    python benchmarks/kernels.py --save
"""
import argparse
import json
import sys
import tempfile
import time
from multiprocessing import get_context
from pathlib import Path

from ambiscale_nb.study import notebooks

sys.path.insert(0, str(Path(__file__).resolve().parent.parent/'tests'))


def one(folder, i, transport, meet, pipe):
    "Execute a notebook when the other process is ready; sends (how often a kernel was started, the error)."
    started, kernel_in = [], notebooks.kernel_in
    notebooks.kernel_in = lambda *args: started.append(args) or kernel_in(*args)
    if transport: notebooks.transports = lambda: (transport,)*3
    for pair in range(i[1]):
        meet.wait()
        started.clear()
        try: notebooks.run_notebook(Path(folder)/'nothing.ipynb', Path(folder)/f'{pair}-{i[0]}.ipynb', {})
        except Exception as e: pipe.send((len(started), repr(e)))
        else: pipe.send((len(started), ''))


def main():
    from small_run import notebook
    options = argparse.ArgumentParser()
    options.add_argument('--pairs', type=int, default=100)
    options.add_argument('--transport', default='', choices=['', 'ipc', 'tcp'])
    options.add_argument('--save', action='store_true')
    options = options.parse_args()
    context, start = get_context('spawn'), time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        notebook(Path(folder)/'nothing.ipynb', 'pass', x=1)
        meet, pipes = context.Barrier(2), [context.Pipe(duplex=False) for _ in range(2)]
        jobs = [context.Process(target=one, args=(folder, (i, options.pairs), options.transport, meet, send))
                for i, (_, send) in enumerate(pipes)]
        for o in jobs: o.start()
        found = [receive.recv() for _ in range(options.pairs) for receive, _ in pipes]
        for o in jobs: o.join()
    lost = [why for _, why in found if why]
    out = dict(benchmark='kernels', kernels=len(found), transport=options.transport or notebooks.transports()[0],
               lost=len(lost), started_again=sum(n-1 for n, _ in found), errors=sorted(set(lost))[:3],
               pair_s_measured=round((time.perf_counter()-start)/options.pairs, 2))
    print(json.dumps(out))
    if options.save: Path(__file__).with_suffix('.json').write_text(json.dumps(out, indent=1)+'\n')
    return 1 if lost else 0


if __name__ == '__main__': sys.exit(main())
