"A corpus of one's own on disk, for tests: sounds, and a list of who heard what."
import soundfile

def write_corpus(folder, waves, said, speakers, subtype='PCM_16', more=()):
    "Clips `c00.wav`, `c01.wav` ... of so many speakers, and the labels that the raters R0, R1 ... gave to each."
    folder.mkdir(exist_ok=True)
    lines = ['file,rater,label,speaker']
    for i, (wave, labels) in enumerate(zip(waves, said, strict=True)):
        soundfile.write(folder/f'c{i:02d}.wav', wave, 16_000, subtype=subtype)
        lines += [f'c{i:02d}.wav,R{r},{o},s{i%speakers}' for r, o in enumerate(labels)]
    (folder/'ratings.csv').write_text('\n'.join([*lines, *more])+'\n')
    return folder
