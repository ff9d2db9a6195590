"""Look-alikes of IEMOCAP, written by the tests: `write_small` has two sessions and every trap that is known,
`write_full` has 10,039 utterances in 151 dialogs with the published counts. Every word and number in them is
invented; only the names of files and utterances follow the pattern of the real ones."""
import io
import wave
from pathlib import Path
import numpy as np

HEADER = '% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n'
LONG = dict(neu='Neutral', hap='Happiness', sad='Sadness', ang='Anger', exc='Excited', fru='Frustration',
            fea='Fear', sur='Surprise', dis='Disgust', oth='Other')

# --- parts of files -------------------------------------------------------------------------------
def block(uid, code, raters, start=1., end=3.5, dimensions=('val 3; act 2; dom  2;',), means='3.0000, 2.5000, 2.0000'):
    "A block of an evaluation file; `raters` maps E1 to `Anger; Sadness;` or to (`Anger;`, note)."
    lines = [f'[{start:.4f} - {end:.4f}]\t{uid}\t{code}\t[{means}]']
    for rater, said in raters.items():
        said, note = said if isinstance(said, tuple) else (said, '')
        lines.append(f'C-{rater}:\t{said}\t({note})')
    lines += [f'A-E{i}:\t{o}\t()' for i, o in enumerate(dimensions, 1)]
    return '\n'.join(lines)+'\n'

def tiny_wave(seconds=.2, channels=1):  # The bytes of a quiet WAV file
    out = io.BytesIO()
    with wave.open(out, 'wb') as f:
        f.setnchannels(channels); f.setsampwidth(2); f.setframerate(16_000)
        f.writeframes(bytes(int(seconds*16_000)*2*channels))
    return out.getvalue()

def put(path, content=''):  # Write a file and the folders above it
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, str): content = content.encode()
    path.write_bytes(content)
    return path

def write_dialog(release, name, blocks, words=()):  # One dialog: its evaluation, and its transcript if there is one
    session = release/f'Session{int(name[3:5])}'
    put(session/'dialog'/'EmoEvaluation'/f'{name}.txt', HEADER+'\n'+'\n'.join(blocks))
    if words: put(session/'dialog'/'transcriptions'/f'{name}.txt', '\n'.join(words)+'\n')
    return session

# --- small, with every trap -----------------------------------------------------------------------
SMALL = { # uid -> code, raters; what is to be found is in test_iemocap.py
    'Ses01F_impro08b_F000': ('neu', {'E1': 'Neutral;', 'E2': 'Neutral;', 'E4': 'Neutral state;',
                                     'F1': ('Anger; Sadness;', 'seething, (really) but quiet; calm')}),
    'Ses01F_impro08b_M000': ('ang', {'E1': 'Anger; Frustration;', 'E2': ('Anger;', 'loud, sharp; not sad'),
                                     'E4': 'Frustration;'}),
    'Ses01F_impro08b_M001': ('xxx', {'E1': 'Sadness;', 'E2': 'Neutral;', 'E4': 'Frustration;',
                                     'M1': 'Sadness;'}),
    'Ses01M_script03_3b_F000': ('xxx', {'E1': 'Happiness;', 'E2': 'Happiness;', 'E3': 'Excited;',
                                        'E4': 'Excited;', 'F1': 'Excited;'}),
    'Ses01M_script03_3b_M000': ('oth', {'E1': ('Other;', 'sulking (a bit), Anger;'), 'E2': ('Other;', ')('),
                                        'E4': 'Neutral;'}),
    'Ses03M_impro08a_F000': ('exc', {'E4': 'Excited; Surprise; Excited;', 'E3': 'excited;', 'E1': 'Happiness;'}),
    'Ses03M_impro05b_M017': ('hap', {'E1': 'Happiness; Excited; Surprise;', 'E2': 'Happiness; ', 'E3': 'Neutral'}),
}
NOISE = 'C-E1:\tNeutral;\t(this file is not to be read)\n'

def write_small(folder):
    "Seven utterances, two of which are without audio and one without words; returns the release folder."
    release = Path(folder)/'IEMOCAP_full_release'
    dialogs = dict.fromkeys(o[:-5] for o in SMALL)
    for name in dialogs:
        mine = [o for o in SMALL if o[:-5]==name]
        blocks = [block(o, *SMALL[o], start=1.+3*i, end=3.5+3*i) for i, o in enumerate(mine)]
        words = [f'{o} [00{1+3*i}.0000-00{3+3*i}.5000]: words: of [{o[-4:]}], spoken' for i, o in enumerate(mine)]
        session = write_dialog(release, name, blocks, words)
        put(session/'dialog'/'wav'/f'{name}.wav', tiny_wave(7, channels=2))
        for uid in mine: put(session/'sentences'/'wav'/name/f'{uid}.wav', tiny_wave())
    one, three = release/'Session1', release/'Session3'
    first = one/'dialog'/'EmoEvaluation'/'Ses01F_impro08b.txt'
    text = first.read_text().replace('dom  2;\t()', 'dom  ;\t()', 1) # an empty dominance
    first.write_bytes(text.replace('\n', '\r\n').encode())
    other = three/'dialog'/'EmoEvaluation'/'Ses03M_impro05b.txt'
    other.write_bytes(b'\xef\xbb\xbf'+other.read_bytes().replace(b'()', b'(na\xefve)', 1)) # BOM, Latin-1
    words = one/'dialog'/'transcriptions'/'Ses01F_impro08b.txt'
    lines = words.read_text().split('\n')
    words.write_text('\n'.join([*lines[:2], 'M: (coughs)', '', 'Ses01F_impro08b_MXX0 [007.1000-007.2000]: Hm.']))
    for path in list(release.rglob('*')): # a Mac was here
        if path.is_file(): put(path.with_name('._'+path.name), NOISE)
    put(one/'dialog'/'EmoEvaluation'/'._.DS_Store', b'\0')
    put(one/'dialog'/'EmoEvaluation'/'Attribute'/'Ses01F_impro08b_e1_atr.txt', NOISE)
    (one/'sentences'/'wav'/'Ses01F_impro08b'/'Ses01F_impro08b_M001.wav').unlink()
    (three/'sentences'/'wav'/'Ses03M_impro08a'/'Ses03M_impro08a_F000.wav').unlink()
    return release

# --- full scale -----------------------------------------------------------------------------------
SPEAKERS = dict(Ses01F=873, Ses01M=946, Ses02F=859, Ses02M=952, Ses03F=1048, Ses03M=1088, Ses04F=987,
                Ses04M=1116, Ses05F=1033, Ses05M=1137)
FOUR = [dict(zip(('neu', 'ang', 'sad', 'hap', 'exc'), o, strict=True)) for o in (
    (384, 229, 194, 135, 143), (362, 137, 197, 117, 210), (320, 240, 305, 135, 151), (258, 327, 143, 65, 238),
    (384, 170, 245, 143, 299))] # agreed codes a session
REST = dict(xxx=2507, fru=1849, sur=107, fea=40, oth=3, dis=2) # the other codes, in all
TOTAL, IMPROVISED, IMPROVISED_FOUR, SECONDS = 10_039, 4784, 2943, 12.44*3600
MOCAP = 4941 # utterances of dialogs in which the woman wore the markers
SELF = [598, 305, 900, 0, 182] # self-reports a session

def dialogs_of(session):  # Names of a session's dialogs: 28, 30, 32, 30, 31
    scripts = ['script01_1', 'script01_2', 'script01_3', 'script02_1', 'script02_2', 'script03_1', 'script03_2']
    scenes = [f'impro0{i}' for i in range(1, 8 if session==1 else 9)]
    out = [f'Ses0{session}{who}_{o}' for who in 'FM' for o in (*scenes, *scripts)]
    for o in ('Ses03M_impro05', 'Ses03M_impro08') if session==3 else ():
        at = out.index(o)
        out[at:at+1] = [f'{o}a', f'{o}b']
    return [*out, 'Ses05M_script01_1b'] if session==5 else out

def shares(total, sizes):  # Parts of `total` in proportion to `sizes`, whole numbers that sum to it
    exact = np.asarray(sizes)*total/sum(sizes)
    out = np.floor(exact).astype(int)
    out[np.argsort(out-exact, kind='stable')[:total-out.sum()]] += 1
    return out.tolist()

def named(profile, code, four):
    "What observers say: `profile` is how the emotions spread, `code` leads or is among those that do."
    first = LONG.get(code, 'Neutral')
    a, b, c, d, e = [first, *[o for o in LONG.values() if o not in (first, 'Other')]][:5]
    three = {'unanimous': (a, a, a), 'alone': (a, a, b), 2: (a, b, f'{a}; {b}'), 3: (a, b, c),
             4: (a, b, f'{c}; {d}'), 5: (f'{a}; {b}', f'{c}; {d}', e)}
    more = {'unanimous': (a,)*4, 'alone': (a, a, a, b), 2: (a, b, a, b), 3: (a, b, c, f'{a}; {b}; {c}'),
            4: (a, b, c, d), 5: (f'{a}; {b}', f'{c}; {d}', e, f'{a}; {b}; {c}; {d}; {e}')}
    return (more if four else three)[profile]

def full_table(seed=0):
    "Who says what in the full tree: rows of uid, code, what observers said, self-report, seconds."
    rng = np.random.default_rng(seed)
    improvised = shares(IMPROVISED, list(SPEAKERS.values()))
    parts = shares(MOCAP, [a if k else b-a for b, a in zip(SPEAKERS.values(), improvised, strict=True)
                           for k in (1, 0)]) # with the woman's markers, improvised and scripted
    places = []
    for i, ((speaker, n), a) in enumerate(zip(SPEAKERS.items(), improvised, strict=True)):
        s, who = int(speaker[4]), speaker[5]
        for kind, size, with_f in (('impro', a, parts[2*i]), ('script', n-a, parts[2*i+1])):
            for mocap, count in (('F', with_f), ('M', size-with_f)):
                here = [o for o in dialogs_of(s) if o[5]==mocap and o[7:].startswith(kind)]
                places += [(s, kind, f'{here[j%len(here)]}_{who}{j//len(here):03d}') for j in range(count)]
    return _rows(places, rng)

def _rows(places, rng):  # Codes, votes, self-reports and durations for the utterances
    agreed = shares(IMPROVISED_FOUR, [sum(o.values()) for o in FOUR])
    def mixed(counts): return rng.permutation([k for k, n in counts.items() for _ in range(n)]).tolist()
    rest = mixed(REST)
    code = {}
    for s in range(1, 6):
        pool = mixed(FOUR[s-1])
        for kind, n in (('impro', agreed[s-1]), ('script', len(pool)-agreed[s-1])):
            mine = [o[2] for o in places if o[:2]==(s, kind)]
            use, pool = pool[:n], pool[n:]
            use, rest = use+rest[:len(mine)-n], rest[len(mine)-n:]
            code |= zip(rng.permutation(mine).tolist(), use, strict=True)
    usual = [o for o in code if code[o] in FOUR[0]]
    unsure = [o for o in code if code[o]=='xxx']
    sure = [o for o in code if code[o] in REST and code[o]!='xxx']
    sure.sort(key=lambda o: code[o]!='oth') # without `Other`, one emotion is left: unanimous
    spread = dict(zip(usual, [2]*194+['unanimous']*1416+['alone']*(len(usual)-1610), strict=True))
    spread |= zip(sure, ['alone']*3+['unanimous']*490+['alone']*(len(sure)-493), strict=True)
    spread |= zip(unsure, [2]*706+[3]*1581+[4]*59+[5]*2+['alone']*159, strict=True)
    four = set(rng.permutation([o[2] for o in places])[:2409].tolist())
    own = {uid for s in range(1, 6) for uid in [o[2] for o in places if o[0]==s][:SELF[s-1]]}
    seconds = np.linspace(.58, 8.342, TOTAL)
    seconds = rng.permutation(seconds*SECONDS/seconds.sum())
    return [(uid, code[uid], named(spread[uid], code[uid], uid in four), uid in own, t)
            for (_, _, uid), t in zip(places, seconds, strict=True)]

def write_full(folder):  # All of it, without audio. Returns the release folder.
    release, dialogs = Path(folder)/'IEMOCAP_full_release', {}
    for row in full_table(): dialogs.setdefault(row[0][:-5], []).append(row)
    for name, rows in dialogs.items():
        at, blocks, words = 1., [], []
        for uid, code, said, reported, seconds in rows:
            raters = {f'E{i}': o+';' for i, o in enumerate(said, 1)}
            if reported: raters[f'{uid[-4]}1'] = 'Surprise; Disgust;'
            blocks.append(block(uid, code, raters, at, at+seconds, ['val 3; act 2; dom  2;']*len(said)))
            words.append(f'{uid} [{at:08.4f}-{at+seconds:08.4f}]: invented words of {uid[-4:]}')
            at += seconds+.5
        write_dialog(release, name, blocks, words)
    return release
