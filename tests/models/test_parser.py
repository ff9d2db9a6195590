"The rule kept here: an answer is read or it is not, and what is not read never gets a label."
import json
import math
import sys
import pytest
from hypothesis import given, settings, strategies as st
from ambiscale_nb.core import InputError
from ambiscale_nb.corpora.labels import LABEL_SETS, SYNONYMS, WORDS, label_set
from ambiscale_nb.models.parser import CUES, PARSER_VERSION, STATUSES, ending, parse, parse_verdict

SIX, FOUR, EIGHT = (label_set(o) for o in ('six', 'four', 'eight'))
TWO = dict(angry=.6, sad=.4)
WHY = 'Pitch high, loudness loud, pace fast, voice tense'

def read(text, mode='label', style='direct', labels=SIX, finish='stop'):
    return parse(text, mode, style, labels.labels, labels.merged, finish)

def rows(status, labels, *texts): return [(o, status, labels) for o in texts]

# --- a word, asked for directly; a distribution: status, labels or shares, texts --------------------------------------
WORDS_READ = [
    *rows('ok', 'angry', 'angry', 'Angry.', '**Angry**', '```\nangry\n```', '😠 angry 😠', '\ufeffangry',
         '\x1b[31mangry\x1b[0m', '\x00angry\x00', 'angry<|im_end|>', '<answer>angry</answer>', 'Answer: angry', 'anger',
         'wütend', 'WÜTEND', '愤怒', '<think>calm?</think> angry', 'Answer – angry', 'anger, angry', 'angry\ud800'),
    *rows('ok', 'sad', '  SAD \n', '“sad”', '# sad', '- sad', '(sad)', 'sad\r\n', 'sad</s>', 'unhappy',
         'Antwort: traurig', '答案：难过', 'sadness, sad', 'Answer: happy\nNo, wait.\nAnswer: sad',
         'Answer: angry **Answer**: sad', 'Answer: angry\n**Answer:** sad', 'Answer: angry\nFinal answer: sad',
         '## Final Answer\n\nsad', 'The answer is angry. The final answer is sad', 'ſad',
         'As an AI I cannot hear. Answer: sad'),
    *rows('ok', 'happy', '"happy"', "'happy'!", 'joyful', 'Freude'),
    *rows('ok', 'fearful', '*fearful*'),
    *rows('ok', 'disgusted', '_disgusted_'),
    *rows('ok', 'neutral', '`neutral`', 'calm', 'neutral state'),
    *rows('repaired', 'angry', 'The speaker sounds angry.', 'angry (80%)',
         'angry\n\nThe voice is loud, with no joy and some calm.', 'The emotion is\nangry', '情绪是angry', '说话者很生气',
         '非常愤怒', 'The man is mad, and his car was made in Sadler', 'Angry, because the voice is not calm',
         'Answer: angry. Not sad.', 'angry, since there is little joy', 'The other speaker is angry',
         'Answer: angry\nThe voice was calm before.', 'No, angry'),
    *rows('repaired', 'sad', '```json\n{"emotion": "sad"}\n```',
         'Here is my answer, as you wished\n**sad**\nShe is far from happy, even calm.', 'Sad, though I cannot be sure',
         'Answer: sad\n\nThis answer is a guess.', 'not angry but sad', 'Not angry, sad', 'sad, not angry',
         'sad rather than angry', 'sad (not happy)', "She isn't happy: she is sad", 'There is no doubt that she is sad',
         'nicht wütend, sondern traurig', '不是生气而是难过', 'I am sorry to hear that. Sad.',
         "Sad\nAs an AI, I can't be sure."),
    *rows('repaired', 'fearful', 'Die Stimme klingt ängstlich.'),
    *rows('out_of_set', '', 'not angry', 'no anger', 'No sign of anger', "isn't happy", 'She isn’t happy',
         'she isnt happy', 'un-happy', 'non-angry', 'not unhappy', 'neither angry nor sad', 'not angry or sad',
         'without anger', 'never happy', 'lacks any joy', 'Anger is absent', "Anger isn't there",
         'I do not think that she is angry', 'nicht wütend', 'keine Freude', '不生气', '没有愤怒', '并不高兴', 'Answer: not angry',
         'angry at first, later calm', '{"angry": 60, "sad": 40}', 'excited', 'surprised (pleasant)', 'anxious',
         'other', 'unknown', 'none', '42', '...', 'made', 'fearless', 'madly sadistic', 'happyish', 'Angry? No.',
         'angry: no', 'Answer:', 'angry. Answer:', 'İ', '\ud800', 'angry, disgusted, fearful, happy, neutral, sad',
         'One word: angry or disgusted or fearful or happy or neutral or sad'),
    *rows('repaired', 'angry sad', 'angry or sad', '- angry\n- sad', 'wütend oder traurig', '愤怒和难过',
         'The speaker sounds angry or sad.', 'Answer: angry or sad'),
    *rows('repaired', 'angry happy sad', 'angry, sad and happy'),
    *rows('refusal', '', 'I’m sorry, I can’t help with that.', 'As an AI, I do not hear audio; it might be angry.',
         'As a large language model I have no ears.', 'I am unable to tell whether the speaker is angry.',
         "I can't tell if she is angry or sad", "I don't have access to the audio.",
         'Answer: I cannot say whether it is anger.', 'Es tut mir leid, das kann ich nicht.',
         'Ich kann das leider nicht beurteilen.', '抱歉，我无法判断。', '作为一个AI，我听不到愤怒'),
    *rows('empty', '', '', ' \n\t', '\x00\x1b[0m'),
    *rows('error', '', None, float('nan'), b'angry', 3),
]

SHARES = [
    *rows('ok', TWO, '{"angry": 60, "sad": 40}', '{"angry": 0.6, "sad": 0.4}', '{"angry":60,"sad":40,"happy":0}',
         '{"Angry": "60%", "SAD": "40%"}', '{"angry": 60%, "sad": 40 %}', "{'angry': 60, 'sad': 40}",
         '{angry: 60, sad: 40}', '{"angry": 60, "sad": 40,}', '{“angry”：60，“sad”：40}', '{"angry": "60", "sad": ".4e2"}',
         '```json\n{"angry": 60, "sad": 40}\n```', '**{"angry": 60, "sad": 40}**',
         '\x1b[1m{"angry": 60, "sad": 40}\x00', '{"anger": 60, "unhappy": 40}', '{"wütend": 60, "难过": 40}',
         '{"angry": 30, "anger": 30, "sad": 40}', '{"angry": 60, "angry": 60, "sad": 40}',
         'Answer: {"angry": 60, "sad": 40}', '[{"angry": 60}, {"sad": 40}]', '{"angry": 0,6, "sad": 0,4}',
         '{"angry": 60/100, "sad": 40/100}',
         '[{"emotion": "angry", "probability": 0.6}, {"emotion": "sad", "probability": 0.4}]',
         '[{"label": "anger", "score": "60%"}, {"label": "sad", "score": "40%"}]',
         '{"angry": 60, "sad": 40, "surprised": 0}', '{"angry": 60, "sad": 40, "happy": -0.0001}',
         '{"angry": 0.6, "sad": 0.4, "happy": 1e-12}',
         '<think>{"angry": 10, "sad": 90}</think>{"angry": 60, "sad": 40}', '{"angry": 6e-1, "sad": 4E-1}',
         '{"angry": 60, "sad": 40} {"angry": 60, "sad": 40}', '{"angry": 60} {"sad": 40}',
         'First guess: {"angry": 80, "sad": 20}. Corrected: {"angry": 60, "sad": 40}',
         '{"P(angry)": 0.6, "P(sad)": 0.4}'),
    *rows('ok', dict(sad=1), '{"sad": 1}', '{"sad": "100%"}'),
    *rows('ok', dict(angry=0.5, sad=0.5), '{"angry": 49, "sad": 49}', '{"angry": .51, "sad": .51}'),
    *rows('repaired', dict(angry=0.5, sad=0.5), '{"angry": 45, "sad": 45}'),
    *rows('out_of_set', None, '{"angry": 3, "sad": 2}', '{"angry": "0.6%", "sad": "0.4%"}', '{"angry": 1e99}',
         '{"angry": 50, "sad": 30}', '{"angry": 0.6, "sad": 40}', '{"angry": 60, "anger": 60, "sad": 40}',
         '{"emotion": "angry", "probability": 0.9}', 'angry: 10-20, sad: 80-90', 'angry: 90%, bored: 10%',
         '{"angry": -20, "sad": 120}', '{"angry": NaN, "sad": 40}', '{"angry": true, "sad": false}',
         '{"angry": null, "sad": 100}', '{"angry": [60], "sad": 40}', '{"angry": 60, "bored": 40}',
         '{"angry": 60, "excited": 40}', '{"angry": 60, "other": 40}', '{"angry": 0, "sad": 0}', '{}',
         '{"angry": 60, "angry": 50, "sad": 40}', '{"angry": "60%", "sad": 0.4}',
         '{"emotion": "angry", "confidence": 90}', '{"not angry": 60, "sad": 40}', 'angry', '60, 40',
         'angry: high\nsad: 40', '[0.6, 0.4]', '{"angry": 1e999}', '{"angry": "\ud800"}',
         '[["angry", 0.6], ["sad", 0.9]]', '{"emotions": ["angry", "sad"], "weights": [60, 40]}',
         '{"angry": 80, "sad": 20} {"angry": 60, "sad": 40}'),
    *rows('repaired', TWO, 'So: angry: 60%, sad: 40%', 'angry = 60\nsad = 40', 'angry (60), sad (40)',
         '60% angry, 40% sad', 'angry: 60; sad: 40; sum: 100', 'angry: 60/100, sad: 40/100',
         'angry: 60 out of 100, sad: 40 out of 100', '| angry | 60 |\n| sad | 40 |', '{"angry": 63, "sad": 42}',
         'Here you are: {"angry": 60, "sad": 40}', '{"scores": {"angry": 60, "sad": 40}}',
         '{"angry": 60, "sad": 40} or so', 'angry: 60%\nsad: 40%', '- **Angry**: 60%\n- **Sad**: 40%.',
         'angry: 60, sad: 40', 'Votes, of 100:\nangry: 60\nsad: 40', '[["angry", 0.6], ["sad", 0.4]]',
         'Angry: 60%. Sad: 40%. Total: 100%.', "I'd put 60% on angry and 40% on sad.", 'happy 0.0\nangry 0.6\nsad 0.4'),
    *rows('truncated', None, '{"angry": 60, "sad": 40', '{', '{"angry": 60, "sad": 40}, no: {"angry": 5',
         '[["angry", 0.6], ["sad", 0.4]'),
    *rows('empty', None, ''),
    *rows('error', None, None),
    *rows('refusal', None, "I'm sorry, but I cannot judge emotions."),
]

@pytest.mark.parametrize('text, status, labels', WORDS_READ, ids=ascii)
def test_word(text, status, labels):
    answer = read(text)
    assert (answer.status, answer.label) == (status, tuple(labels.split())), answer.note
    n = len(answer.label)
    assert answer.dist == (tuple((o in answer.label)/n for o in SIX.labels) if labels else None)
    assert bool(labels) == bool(answer.span)

@pytest.mark.parametrize('text, status, share', SHARES, ids=ascii)
def test_distribution(text, status, share):
    answer = read(text, 'dist')
    assert answer.status == status, answer
    assert answer.dist == (share and pytest.approx([share.get(o, 0) for o in SIX.labels], abs=1e-12))
    assert answer.label == tuple(o for o in SIX.labels if share and share.get(o) == max(share.values()))

# --- reasons first, and texts that were cut off or withheld -----------------------------------------------------------
@pytest.mark.parametrize('text, finish, status, labels', [
    (f'{WHY}. Answer: angry', 'stop', 'ok', 'angry'), (f'{WHY}.\n**Answer**: Angry.', 'stop', 'ok', 'angry'),
    (f'{WHY}, so angry at first. Answer: sad', 'stop', 'ok', 'sad'), (f'{WHY}。答案：生气', 'stop', 'ok', 'angry'),
    (f'{WHY}. It is not sad. Antwort: wütend', 'stop', 'ok', 'angry'),
    (f'<think>{WHY}, calm?</think><answer>sad</answer>', 'stop', 'ok', 'sad'),
    (f'{WHY}. Final answer: sad, not angry', 'stop', 'repaired', 'sad'),
    (f'{WHY}. Answer: sad or angry', 'stop', 'repaired', 'angry sad'),
    (f'{WHY}. Answer: not angry', 'stop', 'out_of_set', ''), (f'{WHY}. Answer: tense', 'stop', 'out_of_set', ''),
    (f'{WHY}. Angry. Answer:', 'stop', 'out_of_set', ''), (f'{WHY}. Answer: angry', 'length', 'truncated', ''),
    (f'{WHY}. Answer: an', 'length', 'truncated', ''), (f'{WHY}, clearly angry', 'length', 'truncated', ''),
    (f'{WHY}.\nangry', 'max_tokens', 'truncated', ''), (f'{WHY}, but I cannot', 'length', 'truncated', ''),
    (f'{WHY}.\n**Angry**', 'stop', 'repaired', 'angry'), (f'{WHY}.\n```\nangry\n```', 'stop', 'repaired', 'angry'),
    ('angry', 'stop', 'repaired', 'angry'), ('Pitch low, pace slow, voice calm.', 'stop', 'out_of_set', ''),
    (f'{WHY}, so angry.', 'stop', 'repaired', 'angry'), ('angry\nbecause of the pitch', 'stop', 'repaired', 'angry'),
    ("I'm sorry, I can't do that.", 'stop', 'refusal', ''), ("I'm sorry, but I cannot", 'length', 'refusal', ''),
    ('', 'length', 'truncated', ''), ('', 'content_filter', 'refusal', ''), ('angry', 'SAFETY', 'refusal', ''),
    ('Answer: angry', 'abort', 'error', '')], ids=ascii)
def test_chain_of_thought(text, finish, status, labels):
    answer = read(text, style='cot', finish=finish)
    assert (answer.status, answer.label) == (status, tuple(labels.split())), answer.note

@pytest.mark.parametrize('text, finish, status, share', [
    (f'{WHY}. Answer: {{"angry": 60, "sad": 40}}', 'stop', 'ok', TWO),
    (f'{{"happy": 100}}? {WHY}. Answer: {{"angry": 60, "sad": 40}}', 'stop', 'ok', TWO),
    (f'{WHY}.\n**Answer:**\n```json\n{{"angry": 60, "sad": 40}}\n```', 'stop', 'ok', TWO),
    (f'{WHY}. {{"angry": 60, "sad": 40}}', 'stop', 'repaired', TWO),
    (f'{WHY}. Answer: angry: 60, sad: 40', 'stop', 'repaired', TWO),
    (f'{WHY}. Answer: {{"angry": 60, "sa', 'length', 'truncated', None),
    (f'{WHY}. Answer: {{"angry": 60, "sad": 40}}', 'length', 'truncated', None),
    ('angry: 60, sad: 40', 'stop', 'out_of_set', None), (f'{WHY}\nangry: 60\nsad: 40', 'stop', 'out_of_set', None),
    (WHY, 'stop', 'out_of_set', None), (f'{WHY}. Answer: angry', 'stop', 'out_of_set', None)], ids=ascii)
def test_distribution_after_reasons(text, finish, status, share):
    answer = read(text, 'dist', 'cot', finish=finish)
    assert answer.status == status, answer
    assert answer.dist == (share and pytest.approx([share.get(o, 0) for o in SIX.labels]))

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

def calls(*asked):
    "How many functions are called to read a text."
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
