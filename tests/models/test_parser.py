"The rule kept here: an answer is read or it is not, and what is not read never gets a label."
import json
import math
import sys
from pathlib import Path
import pytest
import yaml
from hypothesis import given, settings, strategies as st
from ambiscale_nb.core import InputError
from ambiscale_nb.corpora.labels import LABEL_SETS, SYNONYMS, WORDS, label_set
from ambiscale_nb.models.parser import CUES, PARSER_VERSION, STATUSES, ending, parse, parse_verdict

SIX, FOUR, EIGHT = (label_set(o) for o in ('six', 'four', 'eight'))
TABLES = yaml.safe_load((Path(__file__).parent/'parser.yaml').read_text('utf-8'))
WHY = 'Pitch high, loudness loud, pace fast, voice tense'
OPTIONS = ('angry', 'sad', 'happy', 'fear')

def read(text, mode='label', style='direct', labels=SIX, finish='stop'):
    return parse(text, mode, style, labels.labels, labels.merged, finish)

def table(name):  # Of `parser.yaml`: texts, and what is to be read
    return [(text.replace('WHY', WHY), *row['case'].values()) for row in TABLES[name] for text in row['texts']]

# --- texts of models --------------------------------------------------------------------------------------------------
NO_TEXT = [(o, 'error', '') for o in (None, float('nan'), b'angry', 3)]
@pytest.mark.parametrize('text, status, labels', table('word')+NO_TEXT, ids=ascii)
def test_word(text, status, labels):
    answer = read(text)
    assert (answer.status, answer.label) == (status, tuple(labels.split())), answer.note
    n = len(answer.label)
    assert answer.dist == (tuple((o in answer.label)/n for o in SIX.labels) if labels else None)
    assert bool(labels) == bool(answer.span)

@pytest.mark.parametrize('text, status, share', [*table('shares'), (None, 'error', None)], ids=ascii)
def test_distribution(text, status, share):
    answer = read(text, 'dist')
    assert answer.status == status, answer
    assert answer.dist == (share and pytest.approx([share.get(o, 0) for o in SIX.labels], abs=1e-12))
    assert answer.label == tuple(o for o in SIX.labels if share and share.get(o) == max(share.values()))

@pytest.mark.parametrize('text, finish, status, labels', table('word after reasons'), ids=ascii)
def test_chain_of_thought(text, finish, status, labels):
    answer = read(text, style='cot', finish=finish)
    assert (answer.status, answer.label) == (status, tuple(labels.split())), answer.note

@pytest.mark.parametrize('text, finish, status, share', table('shares after reasons'), ids=ascii)
def test_distribution_after_reasons(text, finish, status, share):
    answer = read(text, 'dist', 'cot', finish=finish)
    assert answer.status == status, answer
    assert answer.dist == (share and pytest.approx([share.get(o, 0) for o in SIX.labels]))

NOUNS = dict(angry='anger', sad='sadness', happy='happiness', fearful='fear', disgusted='disgust', neutral='neutrality')
OTHER = dict(angry='happy', sad='happy', happy='sad', fearful='angry', disgusted='happy', neutral='angry')

@pytest.mark.parametrize('label', SIX.labels)
@pytest.mark.parametrize('case', TABLES['templates'], ids=lambda o: o['case']['kind'])
def test_templates(case, label):
    other, (_, style, seen) = OTHER[label], case['case'].values()
    for template in case['texts']:
        text = template.format(a=label, n=NOUNS[label], b=other, m=NOUNS[other], A=label.capitalize())
        answer = read(text, style=style)
        assert answer.label == ((label,) if seen else ()), (text, answer)

@pytest.mark.parametrize('case', TABLES['sentences'], ids=lambda o: '-'.join(o['case'].values()))
def test_sentences(case):
    kind, style, labels = case['case'].values()
    for text in case['texts']:
        answer = parse(text, 'label', style, SIX.labels, SIX.merged, choices=OPTIONS if kind == 'letters' else ())
        assert answer.label == tuple(labels.split()), (text, answer)

@pytest.mark.parametrize('end, reasons', [
    ('stop', ['stop', 'STOP', 'end_turn', 'stop_sequence', 'eos', '', None, float('nan'), 0, '</s>']),
    ('length', ['length', 'MAX_TOKENS', 'FinishReason.MAX_TOKENS', 'max_output_tokens', 'truncated']),
    ('refusal', ['content_filter', 'SAFETY', 'RECITATION', 'SPII', 'sensitive', 'refusal', 'PROHIBITED_CONTENT',
                 'finish_reason.language']),
    ('failed', ['error', 'abort', 'cancelled', 'timeout', 'timed out', 'rate_limit', 'other', 'MALFORMED_CALL'])])
def test_reasons_of_the_end(end, reasons): assert {ending(o) for o in reasons} == {end}

# --- label sets, merges, ties, places ---------------------------------------------------------------------------------
@pytest.mark.parametrize('text, labels, status, label', [
    ('excited', FOUR, 'ok', 'happy'), ('happy/excited', FOUR, 'ok', 'happy'), ('frustrated', FOUR, 'out_of_set', ''),
    ('fearful', FOUR, 'out_of_set', ''), ('surprised (pleasant)', EIGHT, 'repaired', 'surprised'),
    ('contempt', EIGHT, 'ok', 'contemptuous'),
    ('Contemptuous or disgusted', EIGHT, 'repaired', 'contemptuous disgusted')])
def test_label_sets_and_merges(text, labels, status, label):
    answer = read(text, labels=labels)
    assert (answer.status, answer.label) == (status, tuple(label.split())), answer.note

def test_merges_are_the_callers():
    asked = ('label', 'direct', FOUR.labels)
    assert parse('frustrated', *asked, merged=[['frustrated', 'angry']]).label == ('angry',)
    assert parse('bored', *asked, merged=(('bored', 'neutral'),)).label == ('neutral',)
    assert parse('excited', 'label', 'direct', ('excited', 'happy'), FOUR.merged).label == ('excited',)
    assert parse('calm', 'label', 'direct', ('calm', 'neutral')).label == ('calm',)
    assert parse('others', 'label', 'direct', ('happy', 'other')).label == ('other',)

def test_merged_mass_adds_up_and_ties_do_not_hang_on_rounding():
    for text in ('{"happy": 30, "excited": 20, "sad": 50}', '{"happy": .1, "excited": .4, "sad": .5}'):
        assert read(text, 'dist', labels=FOUR).label == ('happy', 'sad')

@pytest.mark.parametrize('text, mode, expected', [
    ('\x1b[1mVoice calm. Answer: **sad**!', 'label', 'sad'), ('so: {"sad": 100}.', 'dist', '{"sad": 100}'),
    ('Answer: angry or sad.', 'label', 'angry or sad')])
def test_the_span_is_where_the_answer_stands(text, mode, expected):
    low, high = read(text, mode).span
    assert text[low:high] == expected

@pytest.mark.parametrize('name', LABEL_SETS)
def test_every_known_word_is_read_as_its_emotion_or_refused(name):
    labels = LABEL_SETS[name]
    for emotion, words in SYNONYMS.items():
        target = emotion if emotion in labels.labels else dict(labels.merged).get(emotion)
        for word in (emotion, *words):
            answer = read(word, labels=labels)
            assert answer.label == ((target,) if target else ()), word
            assert (answer.status == 'ok') == bool(target), word
            assert read(f'not {word}', labels=labels).label == (), word
    for o in labels.labels: assert read(f'{{"{o}": 100}}', 'dist', labels=labels).label == (o,)

# --- properties -------------------------------------------------------------------------------------------------------
PIECES = [*WORDS, 'not', 'no', "isn't", 'but', 'or', 'and', 'Answer:', '**Answer**:', 'Final answer', '答案', 'Antwort:',
          '<answer>', '{', '}', '"', "'", ':', ',', '%', '60', '.4', '-1', 'NaN', 'true', '1e99', '\n', '\x1b[1m',
          '\x00', '\ud800', 'ſ', 'İ', 'K', '```json', "I'm sorry, but I cannot", 'As an AI', '🙂', '，', '：']
TEXT = st.one_of(
    st.text(st.characters(codec=None, exclude_categories=())),
    st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=3)), max_size=12).map(''.join),
    st.lists(st.sampled_from(PIECES), max_size=12).map(' '.join),
    st.dictionaries(st.sampled_from(list(WORDS)), st.floats() | st.integers() | st.booleans() | st.none()).map(str))

@settings(deadline=None, max_examples=600, derandomize=True)
@given(TEXT, st.sampled_from(['label', 'dist']), st.sampled_from(['direct', 'cot']),
       st.sampled_from(list(LABEL_SETS.values())),
       st.sampled_from(['stop', 'length', 'content_filter', '']), st.randoms())
def test_any_text_is_read_or_refused_in_any_order_of_labels(text, mode, style, labels, finish, rng):
    answer = read(text, mode, style, labels, finish)
    answer.note.encode() # A note can always be stored
    if answer.dist is None:
        assert answer.status in STATUSES[2:] and answer.note
        assert (answer.label, answer.span) == ((), None)
    else:
        best = [o for o, p in zip(labels.labels, answer.dist, strict=True) if p == max(answer.dist)]
        assert answer.status in STATUSES[:2] and answer.label == tuple(best)
        assert math.isclose(math.fsum(answer.dist), 1, abs_tol=1e-9) and min(answer.dist) >= 0
        assert 0 <= answer.span[0] < answer.span[1] <= len(text)
    order = rng.sample(range(len(labels)), len(labels))
    other = parse(text, mode, style, [labels.labels[o] for o in order], labels.merged, finish)
    assert other == answer._replace(dist=answer.dist and tuple(answer.dist[o] for o in order))

@settings(deadline=None, max_examples=100, derandomize=True)
@given(st.lists(st.integers(0, 100), min_size=6, max_size=6).filter(any))
def test_stated_distributions_are_kept(votes):
    total = sum(votes)
    for text in (json.dumps(dict(zip(SIX.labels, votes, strict=True))),
                 json.dumps({o: 100*n/total for o, n in zip(SIX.labels, votes, strict=True)})):
        answer, off = read(text, 'dist'), 0 if '.' in text or total == 1 else abs(total-100)
        assert answer.status == ('ok' if off <= 2 else 'repaired' if off <= 15 else 'out_of_set')
        if off <= 15: assert answer.dist == pytest.approx([o/total for o in votes], abs=1e-9)

# --- cost -------------------------------------------------------------------------------------------------------------
UNITS = ['a', ' ', '\n', '{', '}', '{"angry":', '"', ',', ':', '*', '1', '.', 'angry ', 'not ', 'angry: 60\n',
         '{"angry": 60} ', 'Answer:', 'answer ', 'Answer: angry ', '\x1b[', '\x1b[0', '\x00', 'I can', 'ich kann a ',
         'sad, ', 'sad. ', '不', '愤怒', '\ud800', '<|a', "n't ", '0.', '60%', "angry '", 'emotion: ', 'emotion: [',
         'sad? ', '<think>', '[{', 'B ']
WAYS = (('label', 'direct'), ('label', 'cot'), ('dist', 'direct'))

def calls(*asked):  # How many functions are called to read a text
    count = 0
    def seen(frame, event, arg):
        nonlocal count
        count += event in ('call', 'c_call')
    sys.setprofile(seen)
    try: parse(*asked, SIX.labels, choices=SIX.labels)
    finally: sys.setprofile(None)
    return count

@pytest.mark.parametrize('unit', UNITS, ids=ascii)
def test_cost_is_linear_in_the_length_of_a_text(unit):
    "Calls are counted; inside of patterns nothing is: at quadratic cost the long text would take many minutes."
    for mode, style in WAYS:
        assert calls(unit*400+'x', mode, style) <= 2.2*calls(unit*200+'x', mode, style)+50
        assert read(unit*(100_000//len(unit))+'x', mode, style).status in STATUSES
    assert not parse_verdict(unit*(100_000//len(unit))) > 1

@pytest.mark.parametrize('text, mode, status', [
    ('a'*1_000_000 + ' angry', 'label', 'repaired'), ('the voice is loud, '*50_000 + 'Answer: angry', 'label', 'ok'),
    ('{"angry": 1' + ' '*1_000_000 + '}', 'dist', 'ok'), ('{"angry": ' + '1'*1_000_000 + '}', 'dist', 'out_of_set'),
    ('{"' + '\\'*1_000_000 + '": 1}', 'dist', 'out_of_set')], ids=lambda o: ascii(o[:12]))
def test_a_text_of_a_million_characters_is_read(text, mode, status): assert read(text, mode).status == status

# --- verdicts, misuse, the table --------------------------------------------------------------------------------------
@pytest.mark.parametrize('value, texts', [
    (1, ['yes', 'Yes.', '**Yes**', 'Yes, there is no doubt', 'ja', '是', '是的', '100', '1.0', '1', 'No doubt',
         'No question about it', 'True', '<think>no</think>yes']),
    (0, ['no', 'No, she sounds sad', 'Nein', '否', '不是', 'Pitch high. Answer: no', '0', 'False']),
    (.85, ['85', '85%', '85/100', '0.85']), (.5, ['.5']), (.01, ['1%']), (.7, ['Score: 70']), (.875, ['87.5']),
    (None, ['No audio was provided', 'No way to tell', 'yes and no', 'yes or no', 'Yes/No', 'no or yes', 'Not sure',
            'No idea', '101', '-5', '8/10', 'nan', 'maybe', '', None, 5, "I'm sorry", '是否', 'yesterday', '\x00',
            '\ud800', 'between 60 and 80'])], ids=ascii)
def test_verdict(value, texts):
    wanted = pytest.approx(math.nan if value is None else value, nan_ok=True)
    for text in texts: assert parse_verdict(text) == wanted, text
    for finish in ('refusal', 'error'): assert math.isnan(parse_verdict('yes', finish))

@settings(deadline=None, max_examples=200, derandomize=True)
@given(TEXT)
def test_a_verdict_is_a_probability_or_missing(text):
    assert math.isnan(value := parse_verdict(text)) or 0 <= value <= 1

@pytest.mark.parametrize('mode, style', [('verify', 'direct'), ('label', 'vanilla')])
def test_misuse_is_refused(mode, style):
    with pytest.raises(InputError, match='Choose from'): parse('yes', mode, style, SIX.labels)

def test_the_version_follows_from_rules_and_table():
    number, _, key = PARSER_VERSION.partition('-')
    assert number.isdigit() and len(key) == 8 and all(isinstance(o, str) for o in CUES.values())
