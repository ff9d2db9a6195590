"""What the embedded models, trained on wording 0, do with the other wordings: greedy answers on the validation split.

    python benchmarks/wordings.py [--clips 60] [--save]

Ends with one JSON line: share of answers read and, with unread ones as uniform, mean JSD in bits to the votes.
"""
import argparse
import json
from pathlib import Path

import numpy as np
import torch
from transformers.utils import logging

from ambiscale_nb.corpora.toyspeech import EMOTIONS, clip, clip_wave
from ambiscale_nb.metrics.metrics import jsd
from ambiscale_nb.models.parser import parse
from ambiscale_nb.models.prompts import MODES, OURS, STYLES, prompt
from ambiscale_nb.models.tiny_alm import load_tiny


def answer(alm, wave, ask):
    "A greedy answer as a distribution; None if it cannot be read."
    reply = alm.greedy(wave, ask)
    return parse(reply.text, ask.mode, ask.style, EMOTIONS, finish=reply.finish).dist


def main():
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument('--clips', type=int, default=60)
    args.add_argument('--save', action='store_true', help='keep the figures beside this script')
    args = args.parse_args()
    torch.set_num_threads(1)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    heard = [(clip_wave(c), np.bincount(c['said'], minlength=6)/10) for c in (clip('val', i) for i in range(args.clips))]
    out = {}
    for size in ('nano', 'tiny'):
        alm = load_tiny(size)
        for mode, style, wording in ((m, s, w) for m in MODES for s in STYLES for w in OURS.wordings):
            found = [answer(alm, wave, prompt(mode, style, EMOTIONS, wording)) for wave, _ in heard]
            far = [jsd(np.full(6, 1/6) if p is None else np.array(p), y) for p, (_, y) in zip(found, heard, strict=True)]
            out.setdefault(size, {})[f'{mode}/{style} {wording}'] = dict(
                read=round(np.mean([o is not None for o in found]), 3), jsd=round(float(np.mean(far)), 3))
    result = dict(clips=args.clips, found=out)
    if args.save: Path(__file__).with_suffix('.json').write_text(json.dumps(result, indent=1)+'\n')
    print(json.dumps(result))


if __name__ == '__main__':
    main()
