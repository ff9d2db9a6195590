"""Which sampling temperature brings 16 answers nearest to the votes, on the validation split.

    python benchmarks/temperature.py [--clips 160] [--save]

Ends with one JSON line: mean JSD in bits of the averaged answers, by model, prompt and temperature.
"""
import argparse
import json
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm
from transformers.utils import logging

from ambiscale_nb.core import seed_of
from ambiscale_nb.metrics.metrics import jsd
from ambiscale_nb.models.parser import parse
from ambiscale_nb.models.prompts import prompt
from ambiscale_nb.models.tiny_alm import load_tiny
from ambiscale_nb.corpora.toyspeech import EMOTIONS, clip, clip_wave

PROMPTS = [('label', 'direct'), ('label', 'cot'), ('dist', 'direct')]
TEMPERATURES = (.5, .7, 1.)


def votes_of(alm, wave, mode, style, temperature, seed):
    "The averaged answers as a distribution, or None if none could be read."
    replies = alm.sample(wave, prompt(mode, style, EMOTIONS), 16, seed, temperature)
    read = [parse(o.text, mode, style, EMOTIONS, finish=o.finish).dist for o in replies]
    read = [o for o in read if o is not None]
    return np.mean(read, 0) if read else np.full(len(EMOTIONS), 1/len(EMOTIONS))


def main():
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument('--clips', type=int, default=160)
    args.add_argument('--save', action='store_true', help='keep the figures beside this script')
    args = args.parse_args()
    torch.set_num_threads(1)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    out = {}
    for size in ('nano', 'tiny'):
        alm, found = load_tiny(size), {}
        for i in tqdm(range(args.clips), desc=size):
            c = clip('val', i)
            wave, y = clip_wave(c), np.bincount(c['said'], minlength=6)/10
            for mode, style in PROMPTS:
                for t in TEMPERATURES:
                    p = votes_of(alm, wave, mode, style, t, seed_of('temperature', i, t))
                    found.setdefault(f'{mode}/{style} T={t:g}', []).append(jsd(p, y))
        out[size] = {k: round(float(np.mean(v)), 4) for k, v in found.items()}
    result = dict(clips=args.clips, jsd_bits=out)
    if args.save:
        Path(__file__).with_suffix('.json').write_text(json.dumps(result, indent=1)+'\n')
    print(json.dumps(result))


if __name__ == '__main__':
    main()
