"""Whether another processor gives the same answers: the libraries' own variables switch newer instructions off.

    python benchmarks/processors.py [--clips 32] [--save]

Each kind of processor is a process of its own. It synthesises clips, and draws for each clip and prompt a greedy answer,
sixteen samples, three beams and the scores of the labels. Reported are the clips with the same sound, the answers with the
same tokens and the largest difference of a log-probability, in comparison with the processor as it is; and the same for
weights in 32 bits. It fails where an answer of the embedded models differs. The last line of the output is JSON; `--save`
keeps it.
"""
import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

KINDS = {
    'as it is': {},
    'without AVX-512': dict(ATEN_CPU_CAPABILITY='avx2', MKL_ENABLE_INSTRUCTIONS='AVX2', ONEDNN_MAX_CPU_ISA='AVX2',
                            OPENBLAS_CORETYPE='Haswell', NPY_DISABLE_CPU_FEATURES='AVX512F AVX512CD AVX512_SKX'),
    'without AVX': dict(ATEN_CPU_CAPABILITY='default', MKL_ENABLE_INSTRUCTIONS='SSE4_2', ONEDNN_MAX_CPU_ISA='SSE41',
                        OPENBLAS_CORETYPE='Nehalem', NPY_DISABLE_CPU_FEATURES='AVX2 FMA3 AVX512F AVX512CD AVX512_SKX')}
N, BATCH = 16, 16

def drawn(size, clips, half):
    "Hashes of the sounds; every answer as (tokens, log-probabilities); the scores of the labels."
    import torch
    from ambiscale_nb.corpora.audio import wave_sha
    from ambiscale_nb.corpora.toyspeech import EMOTIONS, clip, clip_wave
    from ambiscale_nb.models.prompts import prompt
    from ambiscale_nb.models.tiny_alm import load_tiny
    alm, waves, found = load_tiny(size), [clip_wave(clip('val', i)) for i in range(clips)], []
    if half: alm.model.float()
    for ask in (prompt(m, s, EMOTIONS) for m in ('label', 'dist') for s in ('direct', 'cot')):
        for at in range(0, clips, BATCH):
            some = waves[at:at+BATCH]
            found += alm.many('greedy', [(o, ask) for o in some])
            found += sum(alm.many('sample', [(o, ask, N, 0, 1.) for o in some]), [])
            found += sum(alm.many('beams', [(o, ask, 3) for o in some]), [])
    ask = prompt('label', 'direct', EMOTIONS)
    scores = [alm.score(o, ask, list(EMOTIONS)).tolist() for o in waves]
    about = f'{torch.backends.cpu.get_cpu_capability()}, numpy {np.__version__}'
    return dict(sounds=[wave_sha(o) for o in waves], answers=[(o.tokens, o.token_logprobs) for o in found],
                scores=scores, about=about)

def on(kind, *told):
    "What a process draws that believes to run on a kind of processor."
    env = os.environ | KINDS[kind] | dict(OMP_NUM_THREADS='1', TQDM_DISABLE='1')
    done = subprocess.run([sys.executable, __file__, '--draw', *map(str, told)], env=env, capture_output=True, text=True)
    if done.returncode: raise RuntimeError(done.stderr[-2000:])
    return json.loads(done.stdout.splitlines()[-1])

def compare(a, b):
    "How far two processors agree."
    same = [x[0]==y[0] for x, y in zip(a['answers'], b['answers'], strict=True)]
    far = [np.abs(np.subtract(x[1], y[1])).max() for x, y, o in zip(a['answers'], b['answers'], same, strict=True) if o]
    return dict(sounds=sum(map(str.__eq__, a['sounds'], b['sounds'])), answers=len(same), differ=len(same)-sum(same),
                largest_logprob_difference=float(f'{max(far):.1g}'),
                largest_score_difference=float(f"{np.abs(np.subtract(a['scores'], b['scores'])).max():.1g}"))

def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    args.add_argument('--clips', type=int, default=32)
    args.add_argument('--save', action='store_true', help='keep the figures beside this script')
    args.add_argument('--draw', nargs=3, help=argparse.SUPPRESS)
    args = args.parse_args()
    if args.draw:
        size, clips, half = args.draw
        print(json.dumps(drawn(size, int(clips), half=='32')))
        return
    result = {}
    for size, bits in (('nano', 64), ('tiny', 64), ('small', 64), ('tiny', 32)):
        found = {o: on(o, size, args.clips, bits) for o in KINDS}
        for o in KINDS:
            if o!='as it is': result[f'{size}, {bits} bits, {o}'] = dict(
                processor=found[o]['about'], clips=args.clips, **compare(found['as it is'], found[o]))
    for k, v in result.items(): print(k, v)
    if args.save: Path(__file__).with_suffix('.json').write_text(json.dumps(result, indent=1)+'\n')
    print(json.dumps(result))
    assert not any(v['differ'] for k, v in result.items() if '64 bits' in k)

if __name__ == '__main__': main()
