"""What sixteen samples cost: sixteen calls, `num_return_sequences=16`, or one shared prefix.

python benchmarks/prefill.py [--save] [--repeats 3] [--tokens 4 16 64]

CPU seconds of one thread, so that other work on the machine does not count. Every route delivers the
same: tokens and their log-probabilities, features included. The last line of the output is JSON.
"""
import os
os.environ.setdefault('OMP_NUM_THREADS', '1')  # numpy's threads too: process time adds threads up
import argparse
import json
import platform
import time
from datetime import date
from pathlib import Path
import numpy as np
import torch
import transformers
from ambiscale_nb.local import PLAIN, LocalALM, byte_bpe, toy_processor, toy_qwen2_audio
from ambiscale_nb.labels import label_set
from ambiscale_nb.prompts import prompt

HERE, N, LABELS = Path(__file__).parent, 16, label_set('six').labels

def make_alm():
    "A random Qwen2-Audio of 30 M parameters with the true encoder's window: 3000 frames, always."
    processor = toy_processor(byte_bpe())
    model = toy_qwen2_audio(processor, width=512, layers=5, ffn=1536, lm_ffn=1536, heads=8)
    return LocalALM(model, processor, 'bench', 'random')

class Bench:
    "One clip, one prompt, and the routes to its samples and label scores."
    def __init__(self, alm, wave, tokens):
        self.alm, self.wave = alm, wave
        self.ask = prompt('label', 'direct', LABELS).__class__(
            'label', 'direct', prompt('label', 'direct', LABELS).text, tokens)
        alm.settings['min_new_tokens'] = tokens # no early end: all routes make as many tokens
        self.plain = dict(PLAIN, do_sample=True, temperature=1., max_new_tokens=tokens,
            min_new_tokens=tokens, use_cache=True, output_logits=True, return_dict_in_generate=True)

    def raw(self, inputs, n): # rows of (tokens, log-probabilities), the library's way
        out = self.alm.model.generate(**inputs, num_return_sequences=n, **self.plain)
        logp = self.alm.model.compute_transition_scores(out.sequences, out.logits,
                                                        normalize_logits=True)
        return list(zip(out.sequences[:, inputs['input_ids'].shape[1]:].tolist(), logp.tolist()))

    def calls(self):
        "A: a call for each sample."
        inputs = self.alm.inputs(self.wave, self.ask)
        return [self.raw(inputs, 1)[0] for _ in range(N)]

    def rows(self):
        "B: one call, sixteen rows."
        return self.raw(self.alm.inputs(self.wave, self.ask), N)

    def shared(self, n=N):
        "C: the prefix read once."
        self.alm._memo = (None, None)
        return [(o.tokens, o.token_logprobs) for o in self.alm.sample(self.wave, self.ask, n, seed=1)]

    def forwards(self):
        "Label scores from a full forward pass a label."
        inputs = dict(self.alm.inputs(self.wave, self.ask))
        head, out = inputs.pop('input_ids'), []
        for label in LABELS:
            say = self.alm.tokenizer(label+self.alm.tokenizer.eos_token, return_tensors='pt').input_ids
            ids = torch.cat([head, say], 1)
            logits = self.alm.model(input_ids=ids, **{**inputs, 'attention_mask': torch.ones_like(ids)}
                                    ).logits[0, head.shape[1]-1:-1]
            out.append(float(logits.log_softmax(-1).gather(1, say.T).sum()))
        return np.array(out)

    def scores(self, fresh=True):
        "Label scores from the shared prefix; `fresh` reads it anew."
        if fresh: self.alm._memo = (None, None)
        return self.alm.score(self.wave, self.ask, list(LABELS))

def cost(work): # CPU seconds, encoder rows, result
    "Run `work` under one seed."
    rows, tower = [], WATCHED.model.audio_tower
    hook = tower.register_forward_hook(lambda _, args, kw, out: rows.append(len(out[0])), with_kwargs=True)
    torch.manual_seed(1)
    start = time.process_time()
    with torch.inference_mode(): result = work()
    spent = time.process_time()-start
    hook.remove()
    return spent, sum(rows), result
