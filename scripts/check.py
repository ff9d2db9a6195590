"""Executes every library notebook again and compares its text outputs with the committed ones.

Names of notebooks (`02_paper`) check these alone; `--write` replaces the committed outputs instead. Pictures are
redrawn but not compared; text on stderr (progress bars, warnings of libraries) is left out.
"""
import os
import signal
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
ENV = os.environ | dict(TQDM_DISABLE='1', OMP_NUM_THREADS='1', HF_HUB_OFFLINE='1')


def library() -> list:
    "The notebooks of the library, in the order of reading."
    rooms = [o for o in sorted((ROOT/'nbs').glob('*.ipynb')) if o.stem != 'index']
    return [ROOT/'nbs'/'index.ipynb', *rooms, *sorted((ROOT/'nbs').glob('[0-9]_*/*.ipynb'))]


def said(path: Path) -> list:
    "The text outputs of every cell."
    out = []
    for cell in nbformat.read(path, as_version=4).cells:
        own = [o for o in cell.get('outputs', []) if o.get('name') != 'stderr']
        out.append((cell.id, ''.join(o.get('text', '') or o.get('data', {}).get('text/plain', '')
                                     for o in own if 'image/png' not in o.get('data', {}))))
    return out


def execute(path: Path, target: Path) -> str:
    "Run a notebook from top to bottom; returns what went wrong, or nothing."
    done = subprocess.run([BIN/'exec_nb', path.name, '--dest', target, '--exc_stop'], cwd=path.parent,
                          env=ENV, capture_output=True, text=True)
    if done.returncode:
        return f'{path.name}: does not run\n{done.stderr[-1500:]}'
    nb = nbformat.read(target, as_version=4)
    for cell in nb.cells:
        if cell.cell_type == 'code':
            cell.outputs = [o for o in cell.outputs if o.get('name') != 'stderr']
    nbformat.write(nb, target)
    subprocess.run([BIN/'nbdev_clean', '--fname', target], check=True, env=ENV, cwd=ROOT)
    return ''


def main() -> int:
    names = {Path(o).stem for o in sys.argv[1:] if not o.startswith('-')}
    paths = [o for o in library() if not names or o.stem in names]
    if unknown := names-{o.stem for o in paths}:
        sys.exit(f"No notebook nbs/{', '.join(sorted(unknown))}")
    signal.signal(signal.SIGINT, signal.default_int_handler) # A job in the background would hand on that it is ignored
    bad = []
    with tempfile.TemporaryDirectory() as d, ThreadPoolExecutor(2) as pool:
        for path, error in zip(paths, pool.map(lambda o: execute(o, Path(d)/o.name), paths), strict=True):
            new = Path(d)/path.name
            changed = [] if error else [a[0] for a, b in zip(said(path), said(new), strict=False) if a != b]
            print(f"{path.name}: {error or ('changed ' + ', '.join(changed) if changed else 'same')}",
                  flush=True)
            if '--write' in sys.argv and not error:
                path.write_text(new.read_text())
            elif error or changed:
                bad.append(path.name)
    return int(bool(bad))


if __name__ == '__main__':
    sys.exit(main())
