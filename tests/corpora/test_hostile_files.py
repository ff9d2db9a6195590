"""Audio files that cannot be trusted. What can be normalised comes out as the samples that went in; everything else
raises an error with a name. There is no other exception and no silent change."""
import io
import os
import struct
import tracemalloc
import warnings
import librosa
import numpy as np
import pandas as pd
import pytest
import soundfile as sf
from ambiscale_nb.corpora.audio import (FAULTS, RATE, AudioError, identical, inspect_files, load_wave, probe, wave_reader,
    wave_sha)
from ambiscale_nb.core import InputError, rng_of

def tone(rate=RATE, seconds=1., peak=.5):
    return (peak*np.sin(2*np.pi*220*np.arange(round(rate*seconds))/rate)).astype(np.float32)

NOISY = tone()+.02*rng_of('noise').normal(size=RATE).astype(np.float32)
LONG = (rng_of('dialogue').normal(size=5*RATE)*.1).astype(np.float32)

def encoded(x, kind='WAV', rate=RATE, **options):  # The bytes of an audio file
    out = io.BytesIO()
    sf.write(out, x, rate, format=kind, **options)
    return out.getvalue()

def wav(rate=RATE, channels=1, bits=16, tag=1, frames=RATE, told=None, riff=None, block=None, order='<', before=b'',
        after=b'', magic=b'RIFF'):
    "A WAV file in which every field of the header can be wrong."
    block = channels*bits//8 if block is None else block
    data = (tone()[:frames, None]*np.ones(channels)*32767).astype(order+'i2').tobytes()
    fmt = struct.pack(order+'HHIIHH', tag, channels, rate, rate*block%2**32, block, bits)
    chunks = (before+b'fmt '+struct.pack(order+'I', 16)+fmt+b'data'
              + struct.pack(order+'I', len(data) if told is None else told)+data+after)
    return magic+struct.pack(order+'I', len(chunks)+4 if riff is None else riff)+b'WAVE'+chunks

def patched(content, changes):  # Content with other bytes: place -> byte
    out = bytearray(content)
    for at, byte in changes.items(): out[at] = byte
    return bytes(out)

@pytest.fixture
def put(tmp_path):
    def write(content, name='clip.wav'):
        (tmp_path/name).write_bytes(content)
        return tmp_path/name
    return write

def cut(x, share=.6): return x[:int(len(x)*share)]

# --- audio that is refused ------------------------------------------------------------------------
FLAC, OGG = encoded(NOISY, 'FLAC'), encoded(NOISY, 'OGG')
LAST, LENGTH = OGG.rfind(b'OggS')+5, range(22, 26) # the length of a FLAC file, with four bits of byte 21
REFUSED = {
    '0 frames': (wav(frames=0), 'no samples', '0 samples'),
    'truncated data': (cut(wav()), 'truncated', 'of 32,000 bytes'),
    'NaN': (encoded(tone()*np.float32('nan'), subtype='FLOAT'), 'NaN or infinite', '16000 samples'),
    '9 channels': (wav(channels=9), 'out of limits', '9 channels'),
    'rate 0': (wav(rate=0), 'out of limits', '0 Hz'),
    '7 bits a sample': (wav(bits=7), 'damaged', '7 bits'),
    '4 GB announced, 32 KB there': (wav(told=2**32-16), 'truncated', 'of 4,294,967,280 bytes'),
    'empty': (b'', 'empty', '0 bytes'),
    'HTML': (b'\n<!DOCTYPE html><html><title>Log in</title></html>', 'web page', 'DOCTYPE'),
    'short header': (wav()[:30], 'truncated', 'before its `data`'),
    'git-LFS pointer': (b'version https://git-lfs.github.com/spec/v1\noid sha256:'+b'0'*64+b'\nsize 81324\n', 'git-LFS pointer',
                        'run `git lfs pull`'),
    'text': (b'angry,happy\n', 'not audio', 'angry'),
    'noise': (b'\x17'+rng_of('bytes').bytes(50_000), 'not audio', 'begins with'),
    'one byte': (b'R', 'not audio', 'begins with'), 'only a mark': (b'RIFF', 'truncated', '4 bytes'),
    'AVI': (b'RIFF\x00\x10\x00\x00AVI '+bytes(5000), 'not audio', 'AVI'),
    **{o: (encoded(tone(), o), 'not audio', 'convert it to WAV or FLAC') for o in ('AIFF', 'AU', 'W64', 'CAF', 'NIST', 'MAT4')},
    'pipe, 0xFFFFFFFF': (wav(told=2**32-1, riff=2**32-1), 'streamed', '4,294,967,295'),
    'pipe, 0': (wav(told=0, riff=0), 'streamed', 'ffmpeg'),
    'cut RF64': (cut(encoded(tone(), 'RF64')), 'truncated', 'bytes'),
    'cut in mid frame': (wav(told=31_999), 'damaged', 'a frame has 2'),
    'block of other size': (wav(block=4), 'damaged', 'frame of 4 bytes'),
    'no fmt chunk': (b'RIFF\x24\0\0\0WAVEdata\x04\0\0\0\0\0\0\0', 'damaged', 'fmt'),
    'short fmt chunk': (b'RIFF\x24\0\0\0WAVEfmt \x04\0\0\0\0\0\0\0data\0\0\0\0', 'damaged', '4 bytes'),
    'endless chunks': (b'RIFF\x24\0\0\0WAVE'+b'junk\0\0\0\0'*5000, 'damaged', 'first 1000'),
    'unknown coding': (wav(tag=0x1234), 'damaged', 'not readable'),
    '400 kHz': (wav(rate=400_000), 'out of limits', '400000 Hz'),
    'integers in floats': (encoded(tone()*32767, subtype='FLOAT'), 'too loud', '1.64e+04'),
    'loud at 44.1 kHz': (encoded(tone(44_100)*3, rate=44_100, subtype='FLOAT'), 'too loud', 'peak 1.5'),
    'channels that cancel': (encoded(np.c_[tone(), -tone()]), 'cancelled', 'opposite phase'),
    'cut FLAC': (cut(FLAC), 'damaged', 'flac'),
    'FLAC of 2**36 frames': (patched(FLAC, {21: FLAC[21] | 0xF} | dict.fromkeys(LENGTH, 0xFF)), 'out of limits', ' h, over 24 h'),
    'FLAC without length': (patched(FLAC, {21: FLAC[21] & 0xF0} | dict.fromkeys(LENGTH, 0)), 'streamed', 'how long'),
    'cut Ogg': (cut(OGG, .95), 'truncated', 'last page'),
    'Ogg without end': (patched(OGG, {LAST: OGG[LAST] & ~4}), 'truncated', 'last page'),
    'cut MP3': (cut(encoded(NOISY, 'MP3')), 'truncated', 'of 16,000 frames')}

@pytest.mark.parametrize('case', REFUSED)
def test_refused_with_a_name(case, put):
    """The message has the file's name, the value and the remedy; the extension and a look at the whole corpus change
    nothing. From the header alone, the fault is the same or is not seen. No numpy warning comes with it."""
    content, fault, value = REFUSED[case]
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        for name in ('clip.wav', 'clip.raw', 'clip.mp3', 'clip'):
            with pytest.raises(AudioError) as e: load_wave(path := put(content, name))
            assert e.value.fault==fault and isinstance(e.value, InputError)
            assert str(e.value).startswith(name+': ') and value in str(e.value) and FAULTS[fault] in str(e.value)
    shallow, deep = (inspect_files([path], deep=o, progress=False).iloc[0] for o in (False, True))
    if fault!='cancelled': assert deep.fault==fault and deep.why
    assert shallow.fault in (fault, 'ok') and deep.bytes==len(content)
    decoded = fault in ('NaN or infinite', 'too loud', 'cancelled') or case in ('cut FLAC', 'cut MP3', 'unknown coding')
    assert (shallow.fault=='ok')==decoded

PATHS = {
    'absent': (lambda d: d/'none.wav', 'missing'), 'below a file': (lambda d: d/'clip.wav'/'below.wav', 'missing'),
    'no name': (lambda d: '', 'missing'), 'folder': (lambda d: d, 'not a file'),
    'pipe': (lambda d: os.mkfifo(d/'pipe') or d/'pipe', 'not a file'), 'device': (lambda d: '/dev/zero', 'not a file'),
    'NUL': (lambda d: 'a\0b', 'unreadable'), 'None': (lambda d: None, 'unreadable'),
    'long name': (lambda d: 'a'*5000, 'unreadable'), 'NaN': (lambda d: float('nan'), 'unreadable'),
    'loop': (lambda d: os.symlink('loop', d/'loop') or d/'loop', 'unreadable'),
    'dangling link': (lambda d: os.symlink('gone', d/'dangling') or d/'dangling', 'missing')}

@pytest.mark.parametrize('case', PATHS)
def test_a_path_that_is_no_file(case, tmp_path, put):
    put(wav())
    make, fault = PATHS[case]
    path = make(tmp_path)
    with pytest.raises(AudioError) as e: load_wave(path) # and neither waits for a pipe nor reads a device to its end
    assert e.value.fault==fault and inspect_files([path], progress=False).fault.tolist()==[fault]
    assert identical([path, path])==[]

@pytest.mark.parametrize(('call', 'error'), [('open', PermissionError(13, 'Permission denied')),
                                            ('read', OSError(5, 'Input/output error'))])
def test_a_file_that_cannot_be_read(call, error, put, monkeypatch):
    path = put(wav())
    def fail(*args): raise error
    monkeypatch.setattr(os, call, fail)
    with pytest.raises(AudioError, match='(?i)clip.wav: '+error.strerror) as e: load_wave(path)
    monkeypatch.undo()
    assert e.value.fault=='unreadable'

def test_names_that_cannot_be_printed(put):  # A message can be printed and stored, whatever the file is called
    with pytest.raises(AudioError) as e: load_wave(put(b'', 'a\x1b[31m\n\udce4.wav'))
    assert str(e.value).isprintable() and str(e.value).encode()

@pytest.mark.parametrize(('seconds', 'why'), [(.05, 'under 0.1 s'), (31, 'over the model')])
def test_too_short_and_too_long(seconds, why, put):
    with pytest.raises(InputError, match=why): load_wave(put(encoded(tone(seconds=seconds))))

def peak_memory(call):
    tracemalloc.start()
    try: return call(), tracemalloc.get_traced_memory()[1]
    finally: tracemalloc.stop()

def test_long_files_cost_no_memory(put):  # Neither a header that announces much nor a part of ten minutes
    path = put(encoded(np.zeros(2**22), subtype='PCM_U8', rate=4000))
    def refused():
        with pytest.raises(InputError, match=r'1048.58 s is over the model'): load_wave(path)
    assert peak_memory(refused)[1]<2**20
    path = put(encoded(np.tile(LONG, 120)))
    wave, peak = peak_memory(lambda: load_wave(path, start=500, end=501))
    assert np.array_equal(wave, load_wave(path, start=0, end=1)) and peak<2**20

# --- audio that is normalised ---------------------------------------------------------------------
TYPES = [('WAV', 'PCM_U8', .008), ('WAV', 'PCM_16', 1e-4), ('WAV', 'PCM_24', 1e-6), ('WAV', 'PCM_32', 1e-6),
         ('WAV', 'FLOAT', 0), ('WAV', 'DOUBLE', 0), ('WAV', 'ULAW', .02), ('WAV', 'ALAW', .02), ('WAV', 'IMA_ADPCM', .25),
         ('WAVEX', 'PCM_16', 1e-4), ('WAVEX', 'PCM_24', 1e-6), ('RF64', 'PCM_16', 1e-4), ('FLAC', 'PCM_16', 1e-4),
         ('FLAC', 'PCM_24', 1e-6), ('FLAC', 'PCM_S8', .008), ('OGG', 'VORBIS', .03), ('MP3', 'MPEG_LAYER_III', .04)]

@pytest.mark.parametrize(('kind', 'subtype', 'within'), TYPES, ids=[f'{k}-{s}' for k, s, _ in TYPES])
def test_sample_types(kind, subtype, within, put):
    "The same samples, whatever stores them and whatever the file is called."
    if subtype not in sf.available_subtypes(kind): pytest.skip(f'libsndfile cannot write {kind} {subtype}')
    wave = load_wave(put(encoded(tone(), kind, subtype=subtype), 'clip.xyz'))
    assert wave.dtype==np.float32 and 0<=len(wave)-RATE<=512 # ADPCM comes in blocks
    assert np.abs(wave[:RATE]-tone()).max()<=within

@pytest.mark.parametrize('rate', [4000, 8000, 11_025, 16_000, 22_050, 32_000, 44_100, 48_000, 96_000, 192000])
def test_rates_and_channels(rate, put):  # Resampled and averaged, a tone is the tone; the ends ring a little
    for channels in (1, 2, 8):
        wave = load_wave(put(encoded(np.tile(tone(rate), (channels, 1)).T, rate=rate)))
        assert len(wave)==RATE and np.abs(wave-tone())[200:-200].max()<2e-3 and np.abs(wave).max()<=1
    assert np.abs(load_wave(put(encoded(np.c_[tone(), 0*tone()])))-tone()/2).max()<1e-4

@pytest.mark.parametrize('options', [
    dict(before=b'LIST\x03\0\0\0abc\0'), dict(before=b'LIST'+struct.pack('<I', 9000)+bytes(9000)),
    dict(after=b'id3 \x04\0\0\0abcd'), dict(riff=0), dict(riff=99), dict(order='>', magic=b'RIFX')],
    ids=['odd chunk', 'long chunk', 'chunk after', 'RIFF size 0', 'RIFF size wrong', 'big-endian'])
def test_harmless_oddities(options, put):
    path = put(wav(**options))
    assert np.abs(load_wave(path)-tone()).max()<1e-4
    assert inspect_files([path], progress=False).seconds.tolist()==[1.]

@pytest.mark.parametrize('kind', ['MP3', 'OGG'])
def test_lossy_overshoot_is_scaled(kind, put):
    "A full square wave decodes to over 1; it is scaled, not clipped and not refused."
    square = np.sign(tone())*np.float32(.999)
    raw = sf.read(io.BytesIO(encoded(square, kind)), dtype='float32')[0]
    wave = load_wave(put(encoded(square, kind)))
    assert np.abs(raw).max()>1.1 and np.allclose(wave, raw/np.abs(raw).max(), atol=1e-6)

@pytest.mark.parametrize('rate', [8_000, 16_000, 44_100])
@pytest.mark.parametrize('subtype', ['PCM_16', 'PCM_24', 'DOUBLE'])
@pytest.mark.parametrize('channels', [1, 2])
def test_stored_keys_still_hold(rate, subtype, channels, put):
    "Keys of stored answers depend on the samples, so plain files load bit by bit as when answers were first stored."
    x = np.clip(rng_of('old', rate).normal(size=(rate, channels))*.3, -1, 1)
    path = put(encoded(x, rate=rate, subtype=subtype))
    wave = sf.read(path, dtype='float32', always_2d=True)[0].mean(1)
    if rate!=RATE:
        wave = librosa.resample(wave, orig_sr=rate, target_sr=RATE)
        wave = wave/max(1., np.abs(wave).max())
    assert wave_sha(load_wave(path))==wave_sha(wave.astype(np.float32))

# --- parts of longer files ------------------------------------------------------------------------
@pytest.mark.parametrize('kind', ['WAV', 'FLAC', 'OGG'])
@pytest.mark.parametrize('span', [(0, 1), (1.25, 2.5), (4, 5), (3, None), (None, 2), (2.00004, 2.3), (4, 5.009)])
def test_a_part_is_a_slice(kind, span, put):  # A rounded end is the end
    path = put(encoded(LONG, kind))
    a, b = (round(RATE*(d if o is None else min(o, 5))) for o, d in zip(span, (0, 5), strict=True))
    assert np.array_equal(load_wave(path, 30, *span), load_wave(path)[a:b])

@pytest.mark.parametrize('span', [(-.1, 1), (2, 2), (3, 2), (4, 5.02), (5, 6), (9, None), (0, float('nan')),
                                  (0, float('inf')), ('x', 2), ([1], 2), (1, 1.00001)], ids=str)
def test_bad_spans(span, put):
    with pytest.raises(AudioError, match='clip.wav: ') as e: load_wave(put(encoded(LONG)), 30, *span)
    assert e.value.fault=='bad span'

def test_the_model_hears_a_part_of_what_is_too_long(put):
    path = put(encoded(LONG))
    assert len(load_wave(path, 2., 1, 3))==2*RATE
    for span in ((None, None), (0, 2.1)):
        with pytest.raises(InputError, match='over the model'): load_wave(path, 2., *span)
    with pytest.raises(AudioError, match='convert it to WAV'): load_wave(put(encoded(LONG, 'MP3')), 30, 1, 2)

# --- many files -----------------------------------------------------------------------------------
def listing(folder, **columns): return pd.DataFrame(columns).assign(path=lambda d: [str(folder/o) for o in d.path])

def test_probe_names_duplicates_and_reads_parts(tmp_path, put):
    for content, name in ((encoded(LONG), 'talk.wav'), (encoded(LONG[:RATE]), 'a.wav'), (b'', 'empty.wav')): put(content, name)
    df = listing(tmp_path, uid=list('abcdef'),
                 path=[f'{o}.wav' for o in ('a', 'talk', 'talk', 'empty', 'talk', 'a')],
                 start=[np.nan, 0, 1, np.nan, 2, None], end=[np.nan, 1, 2, np.nan, np.nan, np.nan])
    kept, lost = probe(df)
    assert kept.uid.tolist()==list('abcef') and kept.duplicate_of.tolist()==['', 'a', '', '', 'a']
    assert kept.duration.tolist()==[1, 1, 1, 3, 1] and lost.uid.tolist()==['d'] and lost.kind.tolist()==['empty']
    read = wave_reader(kept)
    assert [wave_sha(read(o)) for o in kept.uid]==kept.audio_sha.tolist()
    with pytest.raises(InputError, match="No clip 'z'"): read('z')
    kept, lost = probe(listing(tmp_path, uid=['a', 'b'], path=['x', 'y']))
    assert len(kept)==0 and len(lost)==2 and {'audio_sha', 'duration', 'duplicate_of'}<=set(kept)
    with pytest.raises(InputError, match="share a uid, first 'a'"): probe(listing(tmp_path, uid=['a', 'a'], path=['a', 'b']))

def test_inspect_files_deep(put, tmp_path):
    put(encoded(0*tone()), 'silent.wav')
    for o in ('wav', 'mp3'): put(encoded(np.tile(LONG, 13), o.upper()), f'minute.{o}')
    paths = sorted(tmp_path.iterdir())+[tmp_path/'none.wav']
    out = inspect_files(paths, deep=True)
    assert out.path.tolist()==[str(o) for o in paths]
    assert out.fault.tolist()==['ok', 'ok', 'silent', 'missing'] and out.seconds.tolist()[:2]==[65, 65]
    assert inspect_files([], deep=True).empty

def test_identical_files(put):
    x, y = encoded(NOISY), bytearray(encoded(NOISY))
    y[-1] ^= 1 # same size, same middle
    paths = [put(o, f'{i}.wav') for i, o in enumerate((x, bytes(y), x, b'', b'', x[:-2], x))]
    assert identical([*paths, paths[1]])==[[str(paths[o]) for o in (0, 2, 6)]]

def test_headers_are_read_and_nothing_else(put, monkeypatch):
    "Ten thousand files a second are needed, so their audio is not read: a few kilobytes of each, in a few steps."
    paths, read, own = [put(wav(frames=200_000), f'{i}.wav') for i in range(20)], [], os.read
    monkeypatch.setattr(os, 'read', lambda fd, n: read.append(own(fd, n)) or read[-1])
    assert (inspect_files(paths, progress=False).fault=='ok').all()
    assert sum(map(len, read))<=2048*len(paths) and len(read)<=8*len(paths)

def mutants(content, n, *about):  # A file with a few bytes changed, cut out or doubled, mostly where headers are
    for i in range(n):
        rng, out = rng_of('mutant', *about, i), bytearray(content)
        for _ in range(rng.integers(1, 5)):
            at = int(rng.integers(min(len(out), 80 if rng.random()<.7 else len(out))))
            what = rng.random()
            if what<.6: out[at] = rng.integers(256)
            elif what<.75: out[at:at+4] = rng.choice([b'\xff'*4, b'\0'*4, b'\x7f\xff\xff\xff', b'\0\0\0\x80'])
            elif what<.85: del out[at:at+int(rng.integers(1, 40))]
            else: out[at:at] = out[at:at+int(rng.integers(1, 40))]
        yield bytes(out)

@pytest.mark.parametrize('kind', 'WAV WAVEX RF64 FLAC OGG MP3'.split())
def test_damaged_audio_is_loaded_or_refused(kind, put):  # No other exception and no wave that a model would mishear
    heard = 0
    for content in mutants(encoded(NOISY[:4000], kind), 120, kind):
        path = put(content)
        try: wave = load_wave(path)
        except InputError: continue
        heard += 1
        assert wave.dtype==np.float32 and np.isfinite(wave).all() and np.abs(wave).max()<=1.001
        assert inspect_files([path], progress=False).fault.tolist()==['ok']
    assert heard<120
