"""Files that nobody vouches for. Audio: what can be normalised comes out as the samples that went in,
everything else is refused with a name; archives: files under one folder, all or none. Never another
exception, never a silent change, nothing left behind."""
import gzip
import io
import os
import re
import stat
import struct
import tarfile
import tracemalloc
import warnings
import zipfile
import librosa
import numpy as np
import pandas as pd
import pytest
import soundfile as sf
from ambiscale_nb.archives import unpack
from ambiscale_nb.audio import (RATE, VERDICTS, AudioError, identical, inspect_files, load_wave, probe,
                                wave_reader, wave_sha)
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


# --- archives -------------------------------------------------------------------------------------
def tar_of(*members, mode='w:gz', kind=tarfile.PAX_FORMAT):
    "A tar file of (name, content, {field: value})."
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode, format=kind) as tar:
        for name, content, *fields in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            for k, v in (fields[0] if fields else {}).items(): setattr(info, k, v)
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def zip_of(*members, method=zipfile.ZIP_DEFLATED, mode=None):
    "A zip file of (name, content)."
    out = io.BytesIO()
    with zipfile.ZipFile(out, 'w', method) as zipped, warnings.catch_warnings():
        warnings.simplefilter('ignore') # about names that are there twice
        for name, content in members:
            info = zipfile.ZipInfo(name)
            info.compress_type = method
            if mode: info.external_attr = mode<<16
            zipped.writestr(info, content)
    return out.getvalue()


def encrypted(content):
    "A zip file whose members say that they are encrypted."
    out, at = bytearray(content), content.find(b'PK\x01\x02')
    out[6] |= 1; out[at+8] |= 1
    return bytes(out)


def claims(content, size):
    "A zip file whose first member claims another size, in both places."
    out, at = bytearray(content), content.find(b'PK\x01\x02')
    out[22:26] = out[at+24:at+28] = struct.pack('<I', size)
    return bytes(out)


def patched(content, at, new):
    "A plain tar file with a changed header and the checksum to match."
    out = bytearray(content)
    out[at:at+len(new)] = new
    out[148:156] = b' '*8
    out[148:156] = b'%06o\0 '%sum(out[:512])
    return bytes(out)


SPEECH = encoded(NOISY)
GOOD = [('corpus/wav/a.wav', SPEECH), ('corpus/wav/b.wav', SPEECH[::-1]), ('corpus/README', b'none')]
LINK = dict(type=tarfile.SYMTYPE, linkname='..')
ZEROS = ('zeros', bytes(2**25))
BOMBED = tar_of(('a', b'1'), ZEROS)
HOSTILE = {
    # the seven of the fault list
    'tar climbs': (tar_of(('ok', b'1'), ('../evil', b'1')), 'climbs'),
    'tar symlink, then through it': (tar_of(('l', b'', LINK), ('l/evil', b'1')), 'is a link'),
    'tar hard link': (tar_of(('h', b'', dict(type=tarfile.LNKTYPE, linkname='../x'))), 'is a link'),
    'tar device': (tar_of(('d', b'', dict(type=tarfile.CHRTYPE, devmajor=1))), 'special file'),
    'tar absolute': (tar_of(('/evil', b'1')), 'absolute'),
    'zip climbs': (zip_of(('a/../../evil', b'1')), 'climbs'),
    'zip bomb': (zip_of(ZEROS), 'raise `max_ratio`'),
    # and more
    'tar bomb': (BOMBED, 'raise `max_ratio`'),
    'tar.bz2 bomb': (tar_of(ZEROS, mode='w:bz2'), 'raise `max_ratio`'),
    'gzip of zeros': (gzip.compress(bytes(2**25)), 'raise `max_ratio`'),
    'gzip of a text': (gzip.compress(b'angry'*400), 'cut'),
    'tar long-name bomb': (tar_of(('n'*3_000_000, b''), kind=tarfile.GNU_FORMAT), 'a header of 3,0'),
    'tar attribute bomb': (tar_of(('n', b'', dict(pax_headers={'c': 'x'*3_000_000}))), 'a header of 3,0'),
    'tar fifo': (tar_of(('f', b'', dict(type=tarfile.FIFOTYPE))), 'special file'),
    'tar unknown type': (tar_of(('f', b'', dict(type=b'Z')), mode='w'), 'special file'),
    'tar sparse': (tar_of(('s', b'1', dict(pax_headers={
        'GNU.sparse.map': '0,1', 'GNU.sparse.size': str(2**40)}))), 'special file'),
    'tar negative size': (patched(tar_of(('a', bytes(600)), mode='w'), 124, b'\xff'*12), 'corpus'),
    'tar link inside': (tar_of(('a', b'1'), ('b', b'', LINK | dict(linkname='a'))), 'is a link'),
    'tar one name twice': (tar_of(('a', b'1'), ('./a', b'2')), 'twice'),
    'tar file and folder': (tar_of(('a', b'1'), ('a/b', b'2')), 'twice'),
    'tar folder and file': (tar_of(('a/b', b'1'), ('a', b'2')), 'twice'),
    'tar cut in a file': (tar_of(*GOOD, mode='w')[:20_000], 'cut'),
    'tar cut between files': (tar_of(('a', bytes(512)), ('b', bytes(512)), mode='w')[:1024], 'cut'),
    'tar second header damaged': (
        tar_of(('a', b''), ('b', b''), mode='w').replace(b'b\0\0', b'c\0\0', 1), 'cut'),
    'tar.gz cut': (tar_of(*GOOD)[:-20], 'cut'),
    'tar.gz checksum': (tar_of(*GOOD)[:-8]+b'beef'+tar_of(*GOOD)[-4:], 'CRC'),
    'tar of no files': (tar_of(('a', b'', dict(type=tarfile.DIRTYPE))), 'holds no file'),
    'zip absolute': (zip_of(('/etc/evil', b'1')), 'absolute'),
    'zip drive': (zip_of(('C:evil', b'1')), 'absolute'),
    'zip backslashes': (zip_of(('..\\evil', b'1')), 'backslash'),
    'zip NUL in a name': (zip_of(('aaaa', b'1')).replace(b'aaaa', b'a\0.x'), 'cannot be printed'),
    'zip symlink': (zip_of(('l', b'/etc/passwd'), mode=stat.S_IFLNK | 0o777), 'is a link'),
    'zip device': (zip_of(('d', b''), mode=stat.S_IFBLK | 0o777), 'special file'),
    'zip one name twice': (zip_of(('a', b'1'), ('a', b'2')), 'twice'),
    'zip encrypted': (encrypted(zip_of(('a', b'1'))), 'encrypted'),
    'zip bzip2 inside': (zip_of(('a', b'1'), method=zipfile.ZIP_BZIP2), 'method 12'),
    'zip claims less': (claims(zip_of(('a', SPEECH)), 100), 'CRC'),
    'zip claims 4 GB': (claims(zip_of(('a', SPEECH)), 2**32-2), 'raise `max_ratio`'),
    'zip cut': (zip_of(*GOOD)[:-30], 'cut'),
    'zip checksum': (zip_of(('a', SPEECH), method=0).replace(SPEECH[99:120], SPEECH[99:119]+b'?'), 'CRC'),
    'zip of no files': (zip_of(), 'holds no file'),
    '33 folders deep': (zip_of(('d/'*33+'a', b'1')), '34 folders'),
    'name over 255 bytes': (zip_of(('a'*300, b'1')), 'name too long'),
    'escape sequence in a name': (zip_of(('\x1b[31m', b'1')), 'cannot be printed'),
    'git-LFS pointer': (POINTER, 'run `git lfs pull`'),
    'web page': (b'<!DOCTYPE html>'+bytes(600), 'no zip and no tar'),
    'empty': (b'', 'no zip and no tar'),
}


def tree(folder): return sorted(str(o.relative_to(folder)) for o in folder.rglob('*'))


@pytest.mark.parametrize('case', HOSTILE)
@pytest.mark.parametrize('there', [False, True], ids=['new', 'existing'])
def test_hostile_archives_leave_nothing(case, there, tmp_path):
    "Refused with a name; the disk is as before."
    content, why = HOSTILE[case]
    (tmp_path/'corpus.zip').write_bytes(content)
    if there: (tmp_path/'out').mkdir(); (tmp_path/'out'/'mine').write_text('mine')
    was = tree(tmp_path)
    with pytest.raises(InputError, match='(?i)'+re.escape(why)) as e:
        unpack(tmp_path/'corpus.zip', tmp_path/'out')
    assert 'corpus.zip' in str(e.value) and tree(tmp_path)==was
    assert not os.path.lexists(tmp_path.parent/'evil')


PACKED = {'tar': tar_of(*GOOD, mode='w'), 'tar.gz': tar_of(*GOOD),
          'tgz': tar_of(*GOOD, kind=tarfile.GNU_FORMAT),
          'tar.bz2': tar_of(*GOOD, mode='w:bz2'), 'zip': zip_of(*GOOD), 'stored.zip': zip_of(*GOOD, method=0),
          'ustar.tar': tar_of(*GOOD, mode='w', kind=tarfile.USTAR_FORMAT), 'named-wrong.zip': tar_of(*GOOD)}


@pytest.mark.parametrize('name', PACKED)
def test_good_archives(name, tmp_path):
    (tmp_path/name).write_bytes(PACKED[name])
    paths = unpack(tmp_path/name, tmp_path/'new'/'out')
    assert paths==[tmp_path/'new'/'out'/o for o, _ in GOOD]
    assert [o.read_bytes() for o in paths]==[o for _, o in GOOD]
    assert sorted(os.listdir(tmp_path))==sorted([name, 'new']) and os.listdir(tmp_path/'new')==['out']


def test_modes_are_not_restored(tmp_path):
    (tmp_path/'a.tar').write_bytes(tar_of(('d', b'', dict(type=tarfile.DIRTYPE, mode=0)),
                                          ('d/a', b'1', dict(mode=0o6777)), mode='w'))
    path, = unpack(tmp_path/'a.tar', tmp_path/'out')
    assert not path.stat().st_mode & 0o7111 and path.parent.stat().st_mode & 0o700==0o700


def test_archives_share_a_folder_but_no_file(tmp_path):
    for name, members in dict(a=[('w/a', b'a')], b=[('w/b', b'b')], c=[('w/c', b'c'), ('w/a', b'!')]).items():
        (tmp_path/name).write_bytes(zip_of(*members))
    for name in 'ab': unpack(tmp_path/name, tmp_path/'out')
    with pytest.raises(InputError, match=r"1 of the files of c are in .*first 'w/a'"):
        unpack(tmp_path/'c', tmp_path/'out')
    assert tree(tmp_path/'out')==['w', 'w/a', 'w/b'] and (tmp_path/'out/w/a').read_bytes()==b'a'


def test_a_move_that_fails_is_undone(tmp_path, monkeypatch):
    (tmp_path/'a.zip').write_bytes(zip_of(*GOOD))
    rename, calls = os.rename, []
    def fails(a, b):
        calls.append(b)
        if len(calls)==3: raise OSError(28, 'No space left on device')
        rename(a, b)
    monkeypatch.setattr(os, 'rename', fails)
    with pytest.raises(InputError, match='a.zip .No space left on device'):
        unpack(tmp_path/'a.zip', tmp_path/'out')
    assert tree(tmp_path)==['a.zip']


def test_an_interrupt_leaves_nothing(tmp_path, monkeypatch):
    (tmp_path/'a.zip').write_bytes(zip_of(*GOOD))
    def stop(*args): raise KeyboardInterrupt
    monkeypatch.setattr('ambiscale_nb.archives.shutil.copyfileobj', stop)
    with pytest.raises(KeyboardInterrupt): unpack(tmp_path/'a.zip', tmp_path/'out')
    assert tree(tmp_path)==['a.zip']


@pytest.mark.parametrize('name', ['tar', 'tar.gz', 'zip'])
def test_limits_can_be_set(name, tmp_path):
    (tmp_path/name).write_bytes(PACKED[name])
    with pytest.raises(InputError, match='more than 60,000 bytes.*raise `max_bytes`'):
        unpack(tmp_path/name, tmp_path/'out', max_bytes=60_000)
    assert tree(tmp_path)==[name]
    (tmp_path/'bomb').write_bytes(BOMBED)
    assert len(unpack(tmp_path/'bomb', tmp_path/'out', max_ratio=2000))==2


def test_a_bomb_costs_no_more_than_its_limit(tmp_path):
    "What was refused was never written nor held in memory."
    (tmp_path/'bomb').write_bytes(gzip.compress(tar_of(('zeros', bytes(2**26)), mode='w'), 1))
    tracemalloc.start()
    with pytest.raises(InputError, match='bomb'): unpack(tmp_path/'bomb', tmp_path/'out', max_ratio=10)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak<16*2**20


@pytest.mark.parametrize(('archive', 'folder', 'why'), [
    ('none.zip', 'out', 'No archive at'), ('.', 'out', 'No archive at'), ('a.zip', 'a.zip', 'is no folder'),
    ('a.zip', 'a.zip/below', 'a.zip')])
def test_bad_places(archive, folder, why, tmp_path):
    (tmp_path/'a.zip').write_bytes(zip_of(*GOOD))
    with pytest.raises(InputError, match=why): unpack(tmp_path/archive, tmp_path/folder)
    assert tree(tmp_path)==['a.zip']


@pytest.mark.parametrize('name', PACKED)
def test_damaged_archives_are_unpacked_or_refused(name, tmp_path):
    "No other exception, no file outside, all or nothing."
    home = tmp_path/'home'
    home.mkdir()
    for i, content in enumerate(mutants(PACKED[name], 80, name)):
        (home/'a').write_bytes(content)
        try: paths = unpack(home/'a', home/f'out{i}')
        except InputError: assert not (home/f'out{i}').exists()
        else: assert all(o.is_file() for o in paths)
        assert not [o for o in os.listdir(home) if o[0]=='.'] and os.listdir(tmp_path)==['home']
