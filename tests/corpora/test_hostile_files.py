"""Audio files that nobody vouches for. What can be normalised comes out as the samples that went in,
everything else is refused with a name. Never another exception, never a silent change."""
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
from ambiscale_nb.corpora.audio import (RATE, VERDICTS, AudioError, identical, inspect_files,
    load_wave, probe, wave_reader, wave_sha)
from ambiscale_nb.core import InputError, rng_of

POINTER = b'version https://git-lfs.github.com/spec/v1\noid sha256:'+b'0'*64+b'\nsize 81324\n'


def tone(rate=RATE, seconds=1., peak=.5):
    return (peak*np.sin(2*np.pi*220*np.arange(round(rate*seconds))/rate)).astype(np.float32)


NOISY = tone()+.02*rng_of('noise').normal(size=RATE).astype(np.float32)


def encoded(x, kind='WAV', rate=RATE, **options):
    "The bytes of an audio file."
    out = io.BytesIO()
    sf.write(out, x, rate, format=kind, **options)
    return out.getvalue()


def wav(rate=RATE, channels=1, bits=16, tag=1, frames=RATE, told=None, riff=None, block=None, order='<',
        before=b'', after=b'', magic=b'RIFF'):
    "A WAV file of which every field can lie."
    block = channels*bits//8 if block is None else block
    data = (tone()[:frames, None]*np.ones(channels)*32767).astype(order+'i2').tobytes()
    fmt = struct.pack(order+'HHIIHH', tag, channels, rate, rate*block%2**32, block, bits)
    chunks = (before+b'fmt '+struct.pack(order+'I', 16)+fmt+b'data'
              + struct.pack(order+'I', len(data) if told is None else told)+data+after)
    return magic+struct.pack(order+'I', len(chunks)+4 if riff is None else riff)+b'WAVE'+chunks


@pytest.fixture
def put(tmp_path):
    "Write bytes to a file of a new folder."
    def write(content, name='clip.wav'):
        (tmp_path/name).write_bytes(content)
        return tmp_path/name
    return write


# --- audio that is refused ------------------------------------------------------------------------
def cut(x, share=.6): return x[:int(len(x)*share)]


HUGE_FLAC = bytearray(encoded(NOISY, 'FLAC'))
HUGE_FLAC[21:26] = bytes([HUGE_FLAC[21] | 0xF])+b'\xff'*4 # 2**36-1 frames
NO_LENGTH_FLAC = bytearray(encoded(NOISY, 'FLAC'))
NO_LENGTH_FLAC[21:26] = bytes([NO_LENGTH_FLAC[21] & 0xF0])+bytes(4)
NO_EOS = bytearray(encoded(NOISY, 'OGG'))
NO_EOS[bytes(NO_EOS).rfind(b'OggS')+5] &= ~4
REFUSED = {
    # the fourteen of the fault list
    '0 frames': (wav(frames=0), 'no samples', '0 samples'),
    'truncated data': (cut(wav()), 'truncated', 'of 32,000 bytes'),
    'NaN': (encoded(tone()*np.float32('nan'), subtype='FLOAT'), 'NaN or infinite', '16000 samples'),
    'one infinity': (encoded(np.r_[tone(), -np.inf], subtype='DOUBLE'), 'NaN or infinite', '1 samples'),
    '9 channels': (wav(channels=9), 'out of limits', '9 channels'),
    '0 channels': (wav(channels=0), 'out of limits', '0 channels'),
    '65535 channels': (wav(channels=65535, block=1, frames=1), 'out of limits', '65535 channels'),
    'rate 0': (wav(rate=0), 'out of limits', '0 Hz'),
    'rate 2**31-1': (wav(rate=2**31-1), 'out of limits', '2147483647 Hz'),
    '7 bits a sample': (wav(bits=7), 'damaged', '7 bits'),
    '4 GB announced, 32 KB there': (wav(told=2**32-16), 'truncated', 'of 4,294,967,280 bytes'),
    'empty': (b'', 'empty', '0 bytes'),
    'HTML': (b'\n<!DOCTYPE html><html><title>Log in</title></html>', 'web page', 'DOCTYPE'),
    'short header': (wav()[:30], 'truncated', 'before its `data`'),
    # and more
    'git-LFS pointer': (POINTER, 'git-LFS pointer', 'run `git lfs pull`'),
    'XML error page': (b'<?xml version="1.0"?><Error>AccessDenied</Error>', 'web page', 'xml'),
    'text': (b'angry,happy\n', 'not audio', 'angry'),
    'zeros': (bytes(50_000), 'not audio', 'begins with'),
    'noise': (b'\x17'+rng_of('bytes').bytes(50_000), 'not audio', 'begins with'),
    'one byte': (b'R', 'not audio', 'begins with'),
    'only a mark': (b'RIFF', 'truncated', '4 bytes'),
    'AVI': (b'RIFF\x00\x10\x00\x00AVI '+bytes(5000), 'not audio', 'AVI'),
    'pipe, 0xFFFFFFFF': (wav(told=2**32-1, riff=2**32-1), 'streamed', '4,294,967,295'),
    'pipe, 0': (wav(told=0, riff=0), 'streamed', 'ffmpeg'),
    'cut by one byte': (wav()[:-1], 'truncated', '31,999'),
    'cut RF64': (cut(encoded(tone(), 'RF64')), 'truncated', 'bytes'),
    'cut in mid frame': (wav(told=31_999), 'damaged', 'a frame has 2'),
    '12 bits a sample': (wav(bits=12, block=2), 'damaged', '12 bits'),
    '0 bits a sample': (wav(bits=0), 'damaged', '0 bits'),
    'block of other size': (wav(block=4), 'damaged', 'frame of 4 bytes'),
    'no fmt chunk': (b'RIFF\x24\0\0\0WAVEdata\x04\0\0\0\0\0\0\0', 'damaged', 'fmt'),
    'short fmt chunk': (b'RIFF\x24\0\0\0WAVEfmt \x04\0\0\0\0\0\0\0data\0\0\0\0', 'damaged', '4 bytes'),
    'endless chunks': (b'RIFF\x24\0\0\0WAVE'+b'junk\0\0\0\0'*5000, 'damaged', 'first 1000'),
    'unknown coding': (wav(tag=0x1234), 'damaged', 'not readable'),
    '3 kHz': (wav(rate=3000), 'out of limits', '3000 Hz'),
    '400 kHz': (wav(rate=400_000), 'out of limits', '400000 Hz'),
    'integers in floats': (encoded(tone()*32767, subtype='FLOAT'), 'too loud', '1.64e+04'),
    'loud at 44.1 kHz': (encoded(tone(44_100)*3, rate=44_100, subtype='FLOAT'), 'too loud', 'peak 1.5'),
    'loud channels that cancel': (encoded(np.c_[tone(), -tone()]*9, subtype='FLOAT'), 'too loud', '4.5'),
    'channels that cancel': (encoded(np.c_[tone(), -tone()]), 'cancelled', 'opposite phase'),
    'cut FLAC': (cut(encoded(NOISY, 'FLAC')), 'damaged', 'flac'),
    'FLAC of 2**36 frames': (bytes(HUGE_FLAC), 'out of limits', ' h, over 24 h'),
    'FLAC without length': (bytes(NO_LENGTH_FLAC), 'streamed', 'how long'),
    'cut Ogg': (cut(encoded(NOISY, 'OGG'), .95), 'truncated', 'last page'),
    'Ogg without end': (bytes(NO_EOS), 'truncated', 'last page'),
    'cut MP3': (cut(encoded(NOISY, 'MP3')), 'truncated', 'of 16,000 frames'),
    'cut AIFF': (cut(encoded(tone(), 'AIFF')), 'truncated', 'bytes are there'),
    'cut AU': (cut(encoded(tone(), 'AU')), 'truncated', 'bytes are there'),
    'cut CAF': (cut(encoded(tone(), 'CAF'), .9), 'truncated', 'bytes are there'),
    'CAF chunk of 2**63 bytes': (b'caff\0\1\0\0free\x7f'+b'\xff'*7+bytes(99), 'truncated', '`data`'),
    'cut W64': (cut(encoded(tone(), 'W64')), 'truncated', 'bytes are there'),
    'cut SPHERE': (cut(encoded(tone(), 'NIST')), 'truncated', 'bytes are there'),
    'a container whose end nobody knows': (encoded(tone(), 'MAT4'), 'not audio', 'begins with'),
}


@pytest.mark.parametrize('case', REFUSED)
@pytest.mark.parametrize('name', ['clip.wav', 'clip.raw', 'clip.mp3', 'clip'])
def test_refused_with_a_name(case, name, put):
    "The message has the file's name, the value and the remedy; the extension changes nothing."
    content, verdict, value = REFUSED[case]
    with pytest.raises(AudioError) as e: load_wave(put(content, name))
    assert e.value.verdict==verdict and isinstance(e.value, InputError)
    assert str(e.value).startswith(name+': ') and value in str(e.value) and VERDICTS[verdict] in str(e.value)


@pytest.mark.parametrize('case', REFUSED)
def test_a_look_at_the_corpus_says_the_same(case, put):
    "Deep, the verdict is that of loading; header only, it is that or 'ok'."
    content, verdict, _ = REFUSED[case]
    paths = [put(content)]
    shallow, deep = (inspect_files(paths, deep=o, progress=False).iloc[0] for o in (False, True))
    if verdict!='cancelled': assert deep.verdict==verdict and deep.why
    assert shallow.verdict in (verdict, 'ok') and deep.bytes==len(content)
    by_content = ('NaN or infinite', 'too loud', 'cancelled')
    decoded = verdict in by_content or case in ('cut FLAC', 'cut MP3', 'unknown coding')
    assert (shallow.verdict=='ok')==decoded


@pytest.mark.parametrize(('make', 'verdict'), [
    (lambda d: d/'none.wav', 'missing'), (lambda d: d/'clip.wav'/'below.wav', 'missing'),
    (lambda d: '', 'missing'),
    (lambda d: d, 'not a file'), (lambda d: os.mkfifo(d/'pipe') or d/'pipe', 'not a file'),
    (lambda d: '/dev/zero', 'not a file'), (lambda d: 'a\0b', 'unreadable'), (lambda d: None, 'unreadable'),
    (lambda d: 'a'*5000, 'unreadable'), (lambda d: os.symlink('loop', d/'loop') or d/'loop', 'unreadable'),
    (lambda d: os.symlink('gone', d/'dangling') or d/'dangling', 'missing'),
    (lambda d: float('nan'), 'unreadable')],
    ids=['absent', 'below a file', 'no name', 'folder', 'pipe', 'device', 'NUL', 'None', 'long name', 'loop',
         'dangling link', 'NaN'])
def test_a_path_that_is_no_file(make, verdict, tmp_path, put):
    put(wav())
    path = make(tmp_path)
    with pytest.raises(AudioError) as e: load_wave(path) # and neither waits for a pipe nor reads a device to its end
    assert e.value.verdict==verdict
    assert inspect_files([path], progress=False).verdict.tolist()==[verdict]
    assert identical([path, path])==[]


@pytest.mark.parametrize(('call', 'error'), [('open', PermissionError(13, 'Permission denied')),
                                            ('read', OSError(5, 'Input/output error'))])
def test_a_file_that_cannot_be_read(call, error, put, monkeypatch):
    path = put(wav())
    def fail(*args): raise error
    monkeypatch.setattr(os, call, fail)
    with pytest.raises(AudioError, match='(?i)clip.wav: '+error.strerror) as e: load_wave(path)
    monkeypatch.undo()
    assert e.value.verdict=='unreadable'


def test_names_that_cannot_be_printed(put):
    "A message can be printed and stored, whatever the file is called."
    path = put(b'', 'a\x1b[31m\n\udce4.wav')
    with pytest.raises(AudioError) as e: load_wave(path)
    assert str(e.value).isprintable() and str(e.value).encode()


def test_unbounded_headers_cost_no_memory(put):
    path = put(encoded(np.zeros(2**22), subtype='PCM_U8', rate=4000))
    tracemalloc.start()
    with pytest.raises(InputError, match=r'1048.58 s is over the model'): load_wave(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak<2**20


@pytest.mark.parametrize(('seconds', 'why'), [(.05, 'under 0.1 s'), (31, 'over the model')])
def test_too_short_and_too_long(seconds, why, put):
    with pytest.raises(InputError, match=why): load_wave(put(encoded(tone(seconds=seconds))))


# --- audio that is normalised ---------------------------------------------------------------------
TYPES = [('WAV', 'PCM_U8', .008), ('WAV', 'PCM_16', 1e-4), ('WAV', 'PCM_24', 1e-6), ('WAV', 'PCM_32', 1e-6),
         ('WAV', 'FLOAT', 0), ('WAV', 'DOUBLE', 0), ('WAV', 'ULAW', .02), ('WAV', 'ALAW', .02),
         ('WAV', 'IMA_ADPCM', .25), ('WAVEX', 'PCM_16', 1e-4), ('WAVEX', 'PCM_24', 1e-6),
         ('RF64', 'PCM_16', 1e-4),
         ('FLAC', 'PCM_16', 1e-4), ('FLAC', 'PCM_24', 1e-6), ('FLAC', 'PCM_S8', .008), ('OGG', 'VORBIS', .03),
         ('MP3', 'MPEG_LAYER_III', .04), ('AIFF', 'PCM_16', 1e-4), ('AIFF', 'PCM_24', 1e-6),
         ('AIFF', 'DOUBLE', 0),
         ('AU', 'PCM_16', 1e-4), ('AU', 'ULAW', .02), ('W64', 'PCM_16', 1e-4), ('CAF', 'PCM_16', 1e-4),
         ('NIST', 'PCM_16', 1e-4)]


@pytest.mark.parametrize(('kind', 'subtype', 'within'), TYPES, ids=[f'{k}-{s}' for k, s, _ in TYPES])
def test_sample_types(kind, subtype, within, put):
    "The same samples, whatever stores them and whatever the file is called."
    if subtype not in sf.available_subtypes(kind): pytest.skip(f'libsndfile cannot write {kind} {subtype}')
    wave = load_wave(put(encoded(tone(), kind, subtype=subtype), 'clip.xyz'))
    assert wave.dtype==np.float32 and 0<=len(wave)-RATE<=512 # ADPCM comes in blocks
    assert np.abs(wave[:RATE]-tone()).max()<=within


@pytest.mark.parametrize('rate', [4000, 8000, 11_025, 16_000, 22_050, 32_000, 44_100, 48_000, 96_000, 192000])
@pytest.mark.parametrize('channels', [1, 2, 8])
def test_rates_and_channels(rate, channels, put):
    "Resampled and averaged, a tone is the tone; the ends ring a little."
    wave = load_wave(put(encoded(np.tile(tone(rate), (channels, 1)).T, rate=rate)))
    assert len(wave)==RATE and np.abs(wave-tone())[200:-200].max()<2e-3 and np.abs(wave).max()<=1


def test_channels_are_averaged(put):
    x = np.c_[tone(), 0*tone()]
    assert np.abs(load_wave(put(encoded(x)))-tone()/2).max()<1e-4


@pytest.mark.parametrize('options', [
    dict(before=b'LIST\x03\0\0\0abc\0'), dict(before=b'LIST'+struct.pack('<I', 9000)+bytes(9000)),
    dict(after=b'id3 \x04\0\0\0abcd'), dict(riff=0), dict(riff=99), dict(order='>', magic=b'RIFX')],
    ids=['odd chunk', 'long chunk', 'chunk after', 'RIFF size 0', 'RIFF size wrong', 'big-endian'])
def test_harmless_oddities(options, put):
    "The samples are all there and all read."
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


def before(path):
    "How a plain file was loaded when answers were first stored."
    data, rate = sf.read(path, dtype='float32', always_2d=True)
    wave = data.mean(1)
    if rate!=RATE:
        wave = librosa.resample(wave, orig_sr=rate, target_sr=RATE)
        wave = wave/max(1., np.abs(wave).max())
    return wave.astype(np.float32)


@pytest.mark.parametrize('rate', [8_000, 16_000, 44_100])
@pytest.mark.parametrize('subtype', ['PCM_16', 'PCM_24', 'DOUBLE'])
@pytest.mark.parametrize('channels', [1, 2])
def test_stored_keys_still_hold(rate, subtype, channels, put):
    "Keys of stored answers depend on the samples, so plain files load bit by bit as they always did."
    x = np.clip(rng_of('old', rate).normal(size=(rate, channels))*.3, -1, 1)
    path = put(encoded(x, rate=rate, subtype=subtype))
    assert wave_sha(load_wave(path))==wave_sha(before(path))


def test_nothing_is_said_on_the_side(put):
    "No numpy warning comes with any outcome."
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        for content, _, _ in REFUSED.values():
            with pytest.raises(AudioError): load_wave(put(content))


# --- parts of longer files ------------------------------------------------------------------------
LONG = (rng_of('dialogue').normal(size=5*RATE)*.1).astype(np.float32)


@pytest.mark.parametrize('kind', ['WAV', 'FLAC', 'OGG', 'AIFF'])
@pytest.mark.parametrize('span', [(0, 1), (1.25, 2.5), (4, 5), (3, None), (None, 2), (2.00004, 2.3)])
def test_a_part_is_a_slice(kind, span, put):
    path = put(encoded(LONG, kind))
    a, b = (round(RATE*(d if o is None else o)) for o, d in zip(span, (0, 5), strict=True))
    assert np.array_equal(load_wave(path, 30, *span), load_wave(path)[a:b])


@pytest.mark.parametrize('span', [(-.1, 1), (2, 2), (3, 2), (4, 5.02), (5, 6), (9, None), (0, float('nan')),
                                  (0, float('inf')), ('x', 2), ([1], 2), (1, 1.00001)], ids=str)
def test_bad_spans(span, put):
    with pytest.raises(AudioError) as e: load_wave(put(encoded(LONG)), 30, *span)
    assert e.value.verdict=='bad span' and 'clip.wav: ' in str(e.value)


def test_a_rounded_end_is_the_end(put):
    path = put(encoded(LONG))
    assert np.array_equal(load_wave(path, start=4, end=5.009), load_wave(path, start=4))


def test_the_model_hears_a_part_of_what_is_too_long(put):
    path = put(encoded(LONG))
    assert len(load_wave(path, 2., 1, 3))==2*RATE
    for span in ((None, None), (0, 2.1)):
        with pytest.raises(InputError, match='over the model'): load_wave(path, 2., *span)


def test_parts_of_mp3_are_refused(put):
    with pytest.raises(AudioError, match='convert it to WAV'): load_wave(put(encoded(LONG, 'MP3')), 30, 1, 2)


def test_a_part_of_ten_minutes_is_sought(put):
    path = put(encoded(np.tile(LONG, 120)))
    tracemalloc.start()
    wave = load_wave(path, start=500, end=501)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert np.array_equal(wave, load_wave(path, start=0, end=1)) and peak<2**20


# --- many files -----------------------------------------------------------------------------------
def listing(folder, **columns):
    return pd.DataFrame(columns).assign(path=lambda d: [str(folder/o) for o in d.path])


def test_probe_names_duplicates_and_reads_parts(tmp_path, put):
    put(encoded(LONG), 'talk.wav'); put(encoded(LONG[:RATE]), 'a.wav'); put(encoded(LONG[:RATE]), 'b.flac')
    put(b'', 'empty.wav')
    df = listing(tmp_path, uid=list('abcdef'),
                 path=[f'{o}.wav' for o in ('a', 'talk', 'talk', 'empty', 'talk', 'a')],
                 start=[np.nan, 0, 1, np.nan, 2, None], end=[np.nan, 1, 2, np.nan, np.nan, np.nan])
    kept, quarantine = probe(df)
    assert kept.uid.tolist()==list('abcef') and kept.duplicate_of.tolist()==['', 'a', '', '', 'a']
    assert kept.duration.tolist()==[1, 1, 1, 3, 1] and quarantine.uid.tolist()==['d']
    read = wave_reader(kept)
    assert [wave_sha(read(o)) for o in kept.uid]==kept.audio_sha.tolist()
    with pytest.raises(InputError, match="No clip 'z'"): read('z')


def test_probe_of_nothing_that_can_be_heard(tmp_path):
    kept, quarantine = probe(listing(tmp_path, uid=['a', 'b'], path=['a', 'b']))
    assert len(kept)==0 and len(quarantine)==2 and {'audio_sha', 'duration', 'duplicate_of'}<=set(kept)


def test_a_uid_names_one_clip(tmp_path):
    with pytest.raises(InputError, match="share a uid, first 'a'"):
        probe(listing(tmp_path, uid=['a', 'a'], path=['a', 'b']))


def test_inspect_files_deep(put, tmp_path):
    put(encoded(0*tone()), 'silent.wav'); put(encoded(np.tile(LONG, 13)), 'minute.wav')
    put(encoded(np.tile(LONG, 13), 'MP3'), 'minute.mp3')
    paths = sorted(tmp_path.iterdir())+[tmp_path/'none.wav']
    out = inspect_files(paths, deep=True)
    assert out.path.tolist()==[str(o) for o in paths]
    assert out.verdict.tolist()==['ok', 'ok', 'silent', 'missing'] and out.seconds.tolist()[:2]==[65, 65]
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
    assert (inspect_files(paths, progress=False).verdict=='ok').all()
    assert sum(map(len, read))<=2048*len(paths) and len(read)<=8*len(paths)


def mutants(content, n, *about):
    "A file with a few bytes changed, cut out or doubled, mostly where headers are."
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


@pytest.mark.parametrize('kind', 'WAV WAVEX RF64 FLAC OGG MP3 AIFF AU CAF W64 NIST'.split())
def test_damaged_audio_is_loaded_or_refused(kind, put):
    "No other exception and no wave that a model would mishear."
    heard = 0
    for content in mutants(encoded(NOISY[:4000], kind), 120, kind):
        path = put(content)
        try: wave = load_wave(path)
        except InputError: continue
        heard += 1
        assert wave.dtype==np.float32 and np.isfinite(wave).all() and np.abs(wave).max()<=1.001
        assert inspect_files([path], progress=False).verdict.tolist()==['ok']
    assert heard<120
