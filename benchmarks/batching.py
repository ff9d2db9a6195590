"""What sampling costs where clips share batches, and whether it draws what the library's sampling draws.

    python benchmarks/batching.py [--clips 64] [--save]

CPU seconds of one thread for sixteen chains of thought a clip on tiny-alm-tiny: one clip at a time and sixteen, in
turns, from the sound to replies with log-probabilities. It fails where the two give different samples. Then the labels
of noise and arg max are compared with those of the library's `do_sample` and torch's random numbers: a chi-square test
for each prompt, corrected by Holm. The last line of the output is JSON; `--save` keeps it.
"""
import os
os.environ.setdefault('OMP_NUM_THREADS', '1')
import argparse
import json
import time
from pathlib import Path
import numpy as np
import torch
from scipy.stats import chi2_contingency
from statsmodels.stats.multitest import multipletests
from transformers.utils import logging
from ambiscale_nb.corpora.toyspeech import EMOTIONS, clip, clip_wave
from ambiscale_nb.models.parser import parse
from ambiscale_nb.models.prompts import prompt
from ambiscale_nb.models.tiny_alm import load_tiny

N, BATCH = 16, 16
PROMPTS = [prompt(m, s, EMOTIONS) for m, s in (('label', 'direct'), ('label', 'cot'), ('dist', 'direct'))]

def drawn(alm, waves, ask, size):
    "All samples, in batches of so many clips; CPU seconds."
    alm.sounds.clear(); alm.words.clear()
    start, out = time.process_time(), []
    for i in range(0, len(waves), size):
        alm._memo = (None, None)
        out += alm.many('sample', [(o, ask, N, 0, 1.) for o in waves[i:i+size]])
    return out, time.process_time()-start

def by_torch(alm, wave, ask):
    "The library's own sampling, from torch's random numbers."
    prefix = alm.prefix([wave], [ask])
    rows = torch.zeros(N, dtype=torch.long)
    with torch.inference_mode():
        out = alm.model.generate(**alm.resume(prefix, rows), do_sample=True, temperature=1., top_k=0, top_p=1.,
                                 max_new_tokens=ask.max_new_tokens, **alm.settings)
    texts = alm.tokenizer.batch_decode(out.sequences[:, prefix.ids.shape[1]:], skip_special_tokens=True)
    return texts

def counts(texts, ask):
    "How often each label is read; one more place for what is not read, and shared in ties."
    found = np.zeros(len(EMOTIONS)+1)
    for o in texts:
        read = parse(o, ask.mode, ask.style, EMOTIONS)
        found[int(np.argmax(read.dist)) if read.dist is not None else -1] += 1
    return found

def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    args.add_argument('--clips', type=int, default=64)
    args.add_argument('--save', action='store_true', help='keep the figures beside this script')
    args = args.parse_args()
    torch.set_num_threads(1)
    logging.set_verbosity_error(); logging.disable_progress_bar()
    alm, waves = load_tiny('tiny'), [clip_wave(clip('val', i)) for i in range(args.clips)]
    cot, spent = PROMPTS[1], {1: [], BATCH: []}
    drawn(alm, waves[:2], cot, 2)
    for _ in range(3):
        found = {size: drawn(alm, waves, cot, size) for size in spent}
        for size, (_, s) in found.items(): spent[size].append(s)
    pairs = [(a, b) for x, y in zip(found[1][0], found[BATCH][0], strict=True) for a, b in zip(x, y, strict=True)]
    differ = sum(a.tokens!=b.tokens for a, b in pairs)
    far = max(np.abs(np.subtract(a.token_logprobs, b.token_logprobs)).max() for a, b in pairs if a.tokens==b.tokens)
    torch.manual_seed(0)
    p = []
    for ask in PROMPTS:
        ours = [o.text for x in drawn(alm, waves, ask, BATCH)[0] for o in x]
        table = np.stack([counts(ours, ask), counts([t for w in waves for t in by_torch(alm, w, ask)], ask)])
        p.append(chi2_contingency(table[:, table.sum(0)>0]).pvalue)
    reject, holm, *_ = multipletests(p, method='holm')
    cpu = {k: round(float(np.median(v)), 2) for k, v in spent.items()}
    result = dict(clips=args.clips, samples=len(pairs), cpu_s=cpu, ratio=round(cpu[BATCH]/cpu[1], 3), differ=differ,
                  largest_logprob_difference=float(f'{far:.1g}'), p_holm=[round(float(o), 3) for o in holm])
    if args.save: Path(__file__).with_suffix('.json').write_text(json.dumps(result, indent=1)+'\n')
    print(json.dumps(result))
    assert not differ and not reject.any()

if __name__ == '__main__': main()
