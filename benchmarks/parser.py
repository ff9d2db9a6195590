"""Precision and recall of the parser on a file of texts with accepted readings, by style and kind, and its time per answer.

    python benchmarks/parser.py FILE [FILE ...]             # figures
    python benchmarks/parser.py FILE --errors               # and every text that is read wrongly or not at all
    python benchmarks/parser.py FILE --against OTHER.py     # and the time per answer of another version, in the same run
    python benchmarks/parser.py FILE --save                 # and the last figures, beside this file

One JSON object a line: `text`, `style`, `label_set`, and either `labels` (the one right reading, [] for none) or `accept` (all
readings, null for none; lists of labels, or label -> share); optional: `mode`, `finish`, `choices`, `why` (the kind).
"""
import argparse
import importlib.util
import json
import time
from pathlib import Path

import pandas as pd

from ambiscale_nb.corpora.labels import label_set
from ambiscale_nb.models.parser import PARSER_VERSION, parse


def load(path):
    "The texts of a file, each with the readings that are accepted."
    rows = [json.loads(o) for o in Path(path).read_text(encoding='utf8').splitlines() if o.strip()]
    for o in rows:
        if 'accept' not in o: o['accept'] = [o['labels'] or None]
    return rows


def arguments(o):
    "How `parse` is called for a text."
    labels = label_set(o['label_set'])
    return (o['text'], o.get('mode') or 'label', o['style'], labels.labels, labels.merged, o.get('finish') or 'stop')


def reading(o):
    "What the parser reads: labels, label -> share, or None."
    answer = parse(*arguments(o), choices=o.get('choices') or ())
    if answer.dist is None: return None
    if (o.get('mode') or 'label') == 'label': return sorted(answer.label)
    return {k: p for k, p in zip(label_set(o['label_set']).labels, answer.dist, strict=True) if p}


def same(a, b):
    "Whether two readings agree; shares may differ by .02."
    if isinstance(a, dict) and isinstance(b, dict):
        total = sum(b.values())
        return all(abs(a.get(k, 0)-b.get(k, 0)/total) < .02 for k in {*a, *b})
    return a == (sorted(b) if isinstance(b, list) else b)


def judged(rows):
    "A row per text: whether it was read, rightly, and whether every accepted reading has a label."
    out = []
    for o in rows:
        got = reading(o)
        right = any(same(got, b) for b in o['accept'])
        out.append(dict(style=o['style'], kind=o.get('why') or '', read=got is not None, right=right and got is not None,
                        wanted=None not in o['accept'], found=right and None not in o['accept'], got=got, good=right))
    return pd.DataFrame(out)


def figures(df, by):
    "Precision of what is read and recall of what should be, by some columns."
    sums = df.assign(texts=1).groupby(by)[['texts', 'read', 'right', 'wanted', 'found']].sum()
    return sums.assign(precision=sums.right/sums.read, recall=sums.found/sums.wanted).round(3)


def seconds(read, rows, repeats=10):
    "CPU time per answer, the least of some rounds after one that fills the caches."
    calls, best = [arguments(o) for o in rows], float('inf')
    for o in calls: read(*o)
    for _ in range(repeats):
        start = time.process_time()
        for o in calls: read(*o)
        best = min(best, time.process_time()-start)
    return best/len(rows)


def version(path):
    "The `parse` of a file with another version."
    spec = importlib.util.spec_from_file_location('other_parser', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.parse


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument('files', nargs='+')
    args.add_argument('--errors', action='store_true')
    args.add_argument('--against', help='a Python file with another version of `parse`')
    args.add_argument('--save', action='store_true', help='keep the figures in benchmarks/parser.json')
    args = args.parse_args()
    print(f'parser {PARSER_VERSION}')
    saved = dict(benchmark='parser', parser=PARSER_VERSION, files={})
    for path in args.files:
        rows = load(path)
        df = judged(rows)
        print(f'\n{Path(path).name}')
        kept = saved['files'][Path(path).name] = dict(modes={})
        for by in ('all', 'style', 'kind'):
            shown = figures(df.assign(all='all'), by)
            print(f'{shown.to_string()}\n')
            kept[by] = {o: {k: None if v != v else float(v) for k, v in row.items()} for o, row in shown.to_dict('index').items()}
        for mode in ('label', 'dist'):
            some = [o for o in rows if (o.get('mode') or 'label') == mode]
            if not some: continue
            own = kept['modes'][mode] = dict(texts=len(some), microseconds_measured=round(seconds(parse, some)*1e6, 1))
            print(f'{mode}: {own["microseconds_measured"]} microseconds per answer', end='')
            if args.against:
                own['other_measured'] = round(seconds(version(args.against), some)*1e6, 1)
                own['ratio_measured'] = round(own['microseconds_measured']/own['other_measured'], 2)
                print(f', {own["other_measured"]} with the other version: {own["ratio_measured"]} times', end='')
            print()
        for o, row in zip(rows, df.itertuples(), strict=True) if args.errors else ():
            if not row.good: print(json.dumps([o.get('id'), row.style, row.kind, o['accept'], row.got, o['text']], ensure_ascii=False))

    if args.save: Path(__file__).with_suffix('.json').write_text(json.dumps(saved, indent=1)+'\n')

if __name__ == '__main__': main()
