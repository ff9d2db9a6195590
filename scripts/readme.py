"""Writes README.md from nbs/index.ipynb; `--check` only says whether it is up to date."""
import sys
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parent.parent


def readme() -> str:
    "The index notebook as Markdown: prose, code and text outputs."
    parts = []
    for cell in nbformat.read(ROOT/'nbs'/'index.ipynb', as_version=4).cells:
        if cell.cell_type == 'markdown':
            parts.append(cell.source)
            continue
        if cell.source.startswith('#| hide'):
            continue
        if not cell.source.startswith('#| echo: false'):
            parts.append(f'```python\n{cell.source}\n```')
        texts = [o.get('text') or o.get('data', {}).get('text/plain', '') for o in cell.outputs]
        parts += [f'```\n{t.rstrip()}\n```' for t in texts if t.strip()]
    return '\n\n'.join(parts)+'\n'


if __name__ == '__main__':
    path, text = ROOT/'README.md', readme()
    if '--check' in sys.argv:
        if not path.exists() or path.read_text() != text:
            sys.exit('README.md is not what nbs/index.ipynb says: run scripts/readme.py')
    else:
        path.write_text(text)
