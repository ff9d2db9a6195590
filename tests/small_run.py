"A run in small, for tests of fan-out: twelve calls, each kept at once; a ledger of what was paid for, and by which worker."
import os
import time
from pathlib import Path
import nbformat
from ambiscale_nb.sampling.files import INT, STR, Store, Table

CALLS = 12
NOTES = Table('notes', dict(key=STR, group=STR, model=STR, index=INT, text=STR, error=STR),
              ('model',), ('group', 'index'))
CODE = 'import sys\nsys.path.insert(0, home)\nfrom small_run import run\nrun(folder, name)'

def run(folder, name):
    "Make the calls that are missing."
    store = Store(Path(folder)/'store')
    have = store.have(NOTES, model=name)
    for key in (f'{name}-{i}' for i in range(CALLS)):
        if key in have: continue
        wait(Path(folder)/f'hold-{name}', int(key.split('-')[1]))
        with open(Path(folder)/'ledger', 'a') as f: f.write(f'{key} {os.getppid()}\n')  # the worker
        time.sleep(.05)
        store.append(NOTES, [dict(key=key, group=key, model=name, index=0, text='x', error='')])
    store.seal(NOTES, model=name)

def wait(held, call):
    "While a file is there that names this call, or one before it."
    while True:
        try: first = held.read_text()
        except FileNotFoundError: return
        if first and call < int(first): return
        time.sleep(.01)

def hold(folder, names, calls):
    "Let runs wait at their call of that number, until they are released."
    for o in names: (Path(folder)/f'hold-{o}').write_text(str(calls))

def release(folder, names):
    for o in names: (Path(folder)/f'hold-{o}').unlink(missing_ok=True)

def notebook(path, code, **parameters):
    "A notebook with a cell of parameters, and a cell of code."
    lines = [f'{k}: {type(v).__name__} = {v!r}  # Given' for k, v in parameters.items()]
    cells = [nbformat.v4.new_code_cell(o) for o in ('\n'.join(lines), code)]
    cells[0].metadata['tags'] = ['parameters']
    kernel = dict(name='python3', display_name='python3', language='python')
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=dict(kernelspec=kernel)), path)
    return path
