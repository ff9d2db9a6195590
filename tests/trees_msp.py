"""Trees that look like releases of MSP-Podcast: a small one in every layout, with invented clips and
workers, and one of the size of release 2.0, for timing."""
import csv
import json
from dataclasses import dataclass
from pathlib import Path
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

@dataclass(frozen=True)
class Clip:  # What a release says of a clip, and what a loader must make of it
    name: str # Without MSP-PODCAST_ and .wav
    letter: str # Consensus, '' if withheld
    answers: tuple # (primary, secondary) of each worker
    primary: tuple # Emotions that these are
    speaker: str = 'Unknown'
    gender: str = 'Unknown'
    part: str = 'Train'
    twice: tuple = () # Further answers of the first worker

CLIPS = (
    Clip('9101_0001', 'N', (('Neutral', 'Neutral'), ('Neutral', ''), ('Neutral', 'Neutral,Concerned'),
                            ('Sad', 'Sad,Dissapointed'), ('Other-tired', 'Neutral')),
         ('neutral', 'neutral', 'neutral', 'sad', 'other'), '7', 'Female'),
    Clip('9101_0002', 'X', (('Happy', 'Amused'), ('Happy', 'Happy,Excited'), ('Neutral', 'Neutral'),
                            ('Neutral', 'Confused'), ('Sad', 'Sad')),
         ('happy', 'happy', 'neutral', 'neutral', 'sad'), '7', 'Female'),
    Clip('9101_0003', 'O', (('Other-Concerned ', 'Concerned'), ('Other- wry, dry: (a bit)', 'Amused'),
                            ('Other-', 'Neutral'), ('Neutral', 'Neutral'), ('Neutral', 'Neutral')),
         ('other', 'other', 'other', 'neutral', 'neutral'), part='Development'),
    Clip('9102_0001', 'A', (('Angry', 'Annoyed,Angry'), ('Angry', 'Angry'), ('Disgust', 'Disgust'),
                            ('Contempt', 'Contempt'), ('Other(Sad,bored)', 'Other(Happy,odd),Sad')),
         ('angry', 'angry', 'disgusted', 'contemptuous', 'other'), '12', 'Male', 'Test1'),
    Clip('9102_0002_001', 'X', (('Surprise', 'Surprise'), ('Fear', 'Fear'), ('Surprise', 'Excited'),
                                ('Fear', 'Concerned'), ('Neutral', 'Neutral')),
         ('surprised', 'fearful', 'surprised', 'fearful', 'neutral'), part='Test1',
         twice=(('Surprise', 'Surprise'), ('Surprise', 'Frustrated'))),
    Clip('9103_0001', 'S', (('Sad', 'Depressed'), ('Sad', 'Sad'), ('Neutral', 'Neutral'), ('Sad', 'Sad'),
                            ('Other-None', 'Neutral')),
         ('sad', 'sad', 'neutral', 'sad', 'other'), '30', 'Male', 'Test2'),
    Clip('9104_0001', 'X', (('Other-well; who knows: a, b', 'Neutral'), ('Other-happy', 'Happy'),
                            ('Happy', 'Happy'), ('Happy', 'Happy,Other-so; so'), ('Sad', 'Sad')),
         ('other', 'other', 'happy', 'happy', 'sad'), '31', 'Male', 'NA'),
    Clip('1909_1017', 'H', (('Happy', 'Happy'),)*5, ('happy',)*5, '32', 'Female'),
    Clip('test3_0001', '', (), (), part='Test3'),
)
NO_AUDIO = 'MSP-PODCAST_1909_1017'
WORKERS = [f'WORKER_{o}' for o in 'KLMNPQ']

@dataclass(frozen=True)
class Layout:  # How a release is laid out
    labels: str = 'Labels'
    audio: str = 'Audios'
    spelling: str = 'consensus'
    detail: str = 'lines' # lines: EmoDetail; columns
    rater: str = 'WorkerID' # Column of the worker in `columns`
    files: tuple = ('csv',) # csv, json, txt
    txt: str = 'labels.txt'
    partitions: str = 'Partitions.txt'
    known: bool = True # Are speaker, gender and split columns of the consensus?
    development: str = 'Development'

    def part(self, clip): return self.development if clip.part=='Development' else clip.part

LAYOUTS = {
    '1.6': Layout('label', 'Audio', 'concensus', 'columns', 'Workers', partitions='Partition.txt',
                  known=False, development='Validation'),
    '1.7': Layout(spelling='concensus', development='Validation', partitions='Partition.txt'),
    '1.8': Layout(spelling='concensus', development='Validation'),
    '1.8 json': Layout('label', 'Audio', 'concensus', files=('json',), development='Validation'),
    '1.8 txt': Layout('label', files=('txt',), txt='Labels.txt', known=False, development='Validation'),
    '1.9': Layout('labels', spelling='concensus'),
    '1.10': Layout(), '1.11': Layout(files=('csv', 'json', 'txt')),
    '1.12': Layout('LABELS', 'Audios'),
    '2024-11': Layout(partitions='Partition.txt'), '2.0': Layout(detail='columns'),
    '2.0 json': Layout(files=('json',)),
}

def worker_line(worker, answer): return f'{worker}; {answer[0]}; {answer[1]}; A:4.000000; V:3.500000; D:5.000000;'

def write_rows(path, rows):
    with open(path, 'w', encoding='utf-8', newline='') as f: csv.writer(f, lineterminator='\n').writerows(rows)

def file_of(clip): return f'MSP-PODCAST_{clip.name}.wav'

def answers_of(clip):  # (worker, answer), in the order of the file
    return [*zip(WORKERS, clip.answers, strict=False), *((WORKERS[0], o) for o in clip.twice)]

def write_release(root, layout, clips=CLIPS, transcripts=False):
    "Write a release of `layout` (or its name) and return its folder."
    layout, root = LAYOUTS[layout] if isinstance(layout, str) else layout, Path(root)
    labels, rated = root/layout.labels, [o for o in clips if o.letter]
    labels.mkdir(parents=True, exist_ok=True)
    for kind in layout.files: WRITERS[kind](labels, layout, rated)
    lines = [f'{layout.part(o)}; {file_of(o)}' for o in clips if o.part!='NA']
    (root/layout.partitions).write_text('\n'.join(lines)+'\n', encoding='utf-8')
    who = [f'{file_of(o)}; {o.speaker}' for o in rated]
    who += sorted({f'Speaker_{o.speaker}; {o.gender}' for o in rated if o.speaker!='Unknown'})
    (root/'Speaker_ids.txt').write_text('\n'.join(who)+'\n', encoding='utf-8')
    (root/layout.audio).mkdir(exist_ok=True)
    for o in clips:
        if NO_AUDIO not in file_of(o): (root/layout.audio/file_of(o)).touch()
    if transcripts:
        (root/'Transcripts').mkdir()
        for o in rated[:2]: (root/f'Transcripts/{file_of(o)[:-4]}.txt').write_text(f'words of {o.name} \n')
    return root

def write_csv(labels, layout, clips):
    head = ['FileName', 'EmoClass', 'EmoAct', 'EmoVal', 'EmoDom']
    known = ['SpkrID', 'Gender', 'Split_Set'] if layout.known else []
    rows = [[file_of(o), o.letter, 4., 3.5, 5., *([o.speaker, o.gender, layout.part(o)] if known else [])] for o in clips]
    write_rows(labels/f'labels_{layout.spelling}.csv', [head+known, *rows])
    said = [(file_of(o), w, a) for o in clips for w, a in answers_of(o)]
    if layout.detail=='lines': head, rows = ['FileName', 'EmoDetail'], [[f, worker_line(w, a)] for f, w, a in said]
    else:
        head = ['FileName', layout.rater, 'EmoClass_Major', 'EmoClass_Second', 'EmoAct', 'EmoVal', 'EmoDom']
        rows = [[f, w, *a, 4., 3.5, 5.] for f, w, a in said]
    write_rows(labels/'labels_detailed.csv', [head, *rows])

def write_json(labels, layout, clips):
    def facts(o): return dict(EmoClass=o.letter, EmoAct=4., EmoDom=5., EmoVal=3.5, Gender=o.gender,
        SpkrID=int(o.speaker) if o.speaker.isdigit() else o.speaker, Split_Set=layout.part(o))
    stated = {file_of(o): facts(o) for o in clips}
    (labels/f'labels_{layout.spelling}.json').write_text(json.dumps(stated), encoding='utf-8')
    def said(a): return json.dumps(dict(EmoClass_Major=a[0], EmoClass_Second=a[1], EmoAct=4., EmoDom=5., EmoVal=3.5))
    def one(o): return ', '.join(f'"{w}": {said(a)}' for w, a in answers_of(o)) # a key may come twice
    text = ',\n'.join(f'"{file_of(o)}": {{{one(o)}}}' for o in clips)
    (labels/'labels_detailed.json').write_text(f'{{{text}}}', encoding='utf-8')

def write_txt(labels, layout, clips):
    blocks = ['\n'.join([f'{file_of(o)}; {o.letter}; A:4.000000; V:3.500000; D:5.000000;',
                         *(worker_line(w, a) for w, a in answers_of(o))]) for o in clips]
    (labels/layout.txt).write_text('\n\n'.join(blocks)+'\n\n', encoding='utf-8')

WRITERS = dict(csv=write_csv, json=write_json, txt=write_txt)

# --- the size of release 2.0 ----------------------------------------------------------------------
EIGHT = ('Neutral', 'Happy', 'Angry', 'Sad', 'Contempt', 'Surprise', 'Disgust', 'Fear')
LETTERS = np.array(list('NHASCUDFOX'))
SECONDARY = (*EIGHT, 'Amused', 'Frustrated', 'Depressed', 'Concerned', 'Disappointed', 'Excited', 'Confused',
             'Annoyed', 'Dissapointed')

def large_votes(n, rng):  # Which clip, worker, primary and letter: arrays; about 5.6 answers a clip.
    many = np.minimum(5+rng.geometric(.62, n)-1, 32)
    clip = np.repeat(np.arange(n), many)
    # a worker is on a clip once: steps coprime to the number of workers
    nth = np.arange(len(clip))-np.repeat(np.cumsum(many)-many, many)
    worker = (rng.integers(0, 14_363, n)[clip]+nth*(1+rng.integers(0, 400, n)[clip])) % 14_363
    leaning = rng.choice(8, n, p=[.4, .2, .09, .08, .07, .07, .06, .03])
    said = np.where(rng.random(len(clip))<.55, leaning[clip], rng.choice(9, len(clip)))
    votes = np.bincount(clip*9+said, minlength=n*9).reshape(-1, 9)
    top = votes==votes.max(1, keepdims=True)
    return clip, worker, said, LETTERS[np.where(top.sum(1)==1, votes.argmax(1), 9)]

def large_release(root, layout='2.0', n=264_705, repeats=500):
    "Write a release of `n` clips without audio; returns what was made: letters, votes, repeats."
    rng, layout = np.random.default_rng(0), LAYOUTS[layout]
    labels = Path(root)/layout.labels
    labels.mkdir(parents=True, exist_ok=True)
    clip, worker, said, letter = large_votes(n, rng)
    files = np.array([f'MSP-PODCAST_{i//110:04d}_{i%110*7:04d}.wav' for i in range(n)], object)
    files[0] = NO_AUDIO+'.wav' # which no other clip is named
    number = rng.integers(0, 3641, n//70)[np.arange(n)//70%(n//70)].astype(str).astype(object)
    known = rng.random(n)<.8
    parts = rng.choice(['Train', 'Development', 'Test1', 'Test2'], n, p=[.64, .13, .17, .06])
    stated = dict(FileName=files, EmoClass=letter, EmoAct=4., EmoVal=3.5, EmoDom=5.,
                  SpkrID=np.where(known, number, 'Unknown'), Gender=np.where(known, 'Male', 'Unknown'), Split_Set=parts)
    pd.DataFrame(stated).to_csv(labels/f'labels_{layout.spelling}.csv', index=False)
    again = rng.choice(len(clip), repeats, replace=False)
    row = np.sort(np.r_[np.arange(len(clip)), again], kind='stable')
    others = [f'Other-free text number {i}' for i in range(1400)]
    free = 8+rng.integers(0, len(others), len(clip))
    take = lambda words, codes: pa.DictionaryArray.from_arrays(codes[row], words).cast(pa.string())
    pairs = [a if a==b else f'{a},{b}' for a in SECONDARY for b in SECONDARY]+['']
    primary = take([*EIGHT, *others], np.where(said<8, said, free))
    secondary = take(pairs, rng.integers(0, len(pairs), len(clip)))
    who = take([f'WORKER{i:08d}' for i in range(14_363)], worker)
    columns = [take(list(files), clip)]
    numbers = [pa.array(rng.integers(1, 8, len(row))).cast(pa.string()) for _ in range(3)]
    if layout.detail=='columns':
        columns += [who, primary, secondary, *numbers]
        names = ['FileName', layout.rater, 'EmoClass_Major', 'EmoClass_Second', 'EmoAct', 'EmoVal', 'EmoDom']
    else:
        pieces = [x for o, a in zip(numbers, 'AVD', strict=True) for x in (f'; {a}:', o, '.000000')]
        columns.append(pc.binary_join_element_wise(who, '; ', primary, '; ', secondary, *pieces, ';', ''))
        names = ['FileName', 'EmoDetail']
    pacsv.write_csv(pa.table(columns, names), labels/'labels_detailed.csv')
    return dict(letter=letter, answers=len(clip), repeats=repeats)
