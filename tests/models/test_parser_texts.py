"Sentences of many kinds, as models write them: what each says is what a careful reader would say."
import pytest
from ambiscale_nb.corpora.labels import label_set
from ambiscale_nb.models.parser import parse

SIX = label_set('six')
NOUNS = dict(angry='anger', sad='sadness', happy='happiness', fearful='fear', disgusted='disgust', neutral='neutrality')
OTHER = dict(angry='happy', sad='happy', happy='sad', fearful='angry', disgusted='happy', neutral='angry')


def read(text, style, finish='stop', choices=()):
    return parse(text, 'label', style, SIX.labels, SIX.merged, finish, choices)


# --- templates: {a} the emotion, {n} its noun, {b} and {m} another one, {A} with a capital -----------------------------------
CONCLUSIONS = [
    'The pitch is low. Therefore, the speaker is most likely {a}.',
    'The voice trembles slightly.\n\nThus, I would classify the emotion as {a}.',
    'Step 1: pitch is high.\nStep 2: the pace is quick.\nConclusion: the speaker sounds {a}.',
    'Given these cues, the emotion conveyed is {n}.',
    'The delivery is fast. All in all, {n} is the dominant emotion here.',
    'Based on the tone, the speaker seems to be feeling {a}.', 'The tone is flat, so I believe the speaker is {a}.',
    'Putting it all together, my final classification is **{a}**.',
    '**Pitch:** high\n**Pace:** quick\n**Conclusion:** {a}',
    'The prosody suggests {n}. Overall, I would label this as {a}.', 'In summary: {a}',
    'Pace: slow. Pitch: low.\n\nFinal emotion: {a}', 'It is best characterised as {a}.\n',
    'Considering all of this, {a} is the best fit.',
    'These characteristics are consistent with {n}, so the emotion is {a}.', 'The emotion expressed is clearly {a}.',
    'The answer is therefore {a}.', 'In conclusion, the emotion in the speech is {a}.', 'Hence the label: {a}',
    'I think it is {a}.', 'The most fitting label would be "{a}".', 'After weighing the cues, I settle on {a}.',
    'My judgment: {a}.', 'I lean towards {a}.', 'Everything considered, this voice expresses {n}.',
    'This leads me to the conclusion that the speaker is {a}.', '\\boxed{{{a}}}', 'Thus $\\boxed{{\\text{{{a}}}}}$.',
    '### Emotion\n{a}', '## Final Answer\n\n**{a}**', '<answer>\n{a}\n</answer>', 'So the final answer is **{a}**.',
    'Therefore, among the given options, the closest one is {a}.', 'So, the person appears {a} in this audio clip.',
    'The emotional state of the speaker can be described as {a}.', 'I would therefore go with {a}.']
SENTENCES = [
    'The speaker sounds {a}.', 'The emotion is {a}', 'It sounds like {n}.', 'This is {n}.',
    'I hear {n} in her voice.', 'The person in the audio is feeling {a}.', 'She speaks in a {a} tone.',
    'The dominant emotion is {n}.', 'The speaker is {a}, with a steady voice.', 'Sounds {a} to me.',
    'Definitely {a}!', 'Probably {a}.', 'I believe the speaker is {a}.',
    'The emotion of the speaker is {a}. Their voice is tense, unlike that of a {b} person.',
    'The speaker sounds {a}, not {b}.', '{A}. There are no signs of {m}.', 'The voice conveys a sense of {n}.',
    'A {a} voice.', 'Emotion detected: {a}', 'The emotional tone is predominantly {a}.', '"{a}"',
    'The speaker expresses {n} rather than {m}.',
    "The speaker's voice carries {n}, and it lacks the brightness of {m}.", '{A}: the voice is raised.',
    '{A} - the voice is raised.', '{A} (high confidence)', "I'd say {a}.", 'I would go with {a}.', 'it is {a}',
    'The mood is {a}.', 'I am confident that the speaker is {a}.', 'Their tone is quite {a}.',
    'The audio features a woman speaking in {n}.', 'The man sounds very {a} as he says "I am so {b}".',
    'The audio contains speech that sounds {a}.', 'Mostly {a}, with a touch of {m}.',
    'Primarily {a} with slight {m}.', '{A} with a hint of {m}', 'More {a} than {b}.', '{A}, I think.',
    '{A}, I guess.', 'I can hear {n} in the voice; there is hardly any {m}.', 'Not {b}, but {a}.', 'No, it is {a}.',
    'Although the words are about {m}, the voice is {a}.', 'Although the words sound {b}, the speaker is {a}.',
    'Despite the {b} words, the tone is {a}.', 'The speaker may sound {b} at first, but the emotion is {a}.']
NOTHING = [
    'not {a}', 'The speaker does not sound {a}.', 'There is no {n} in this voice.', 'far from {a}',
    'anything but {a}', 'The voice fails to convey {n}.', 'devoid of {n}', 'free of {n}', 'hardly {a}',
    'scarcely {a}', 'The voice is free from {n}.', 'She is by no means {a}.', 'nowhere near {a}',
    'The speaker is never {a}.', 'It is impossible to tell whether the speaker is {a}.',
    'It is hard to say if the speaker is {a} or {b}.', 'It is unclear whether the speaker is {a} or {b}.',
    'I am unable to tell {a} from {b} here.', 'I cannot determine whether this is {n} or {m}.',
    'Please upload the audio so I can tell whether it is {a}.',
    "I can't tell if the speaker is {a}, {b}, or something else.", 'Is the speaker {a}?',
    'Could it be {a}? Could it be {b}?', 'Rather the opposite of {a}.', 'There is an absence of {n}.',
    'The voice lacks {n}.', 'It could be {a} or {b}; there is no way to know.', 'without a trace of {n}',
    'Neither {a} nor {b}.', 'I would not call this {a}.', "I wouldn't say {a}.", 'Nothing about it is {a}.',
    'If the pitch were higher, I would say {a}.', 'A {a} voice would be louder.', '{A}? Not at all.', '{A}? No.',
    'less than {a}', 'It is too quiet to be {a}.', 'The speaker is talking about a {a} story.',
    'The title of the song is "{A}".', 'Whether {a} or {b} is impossible to say.',
    'It is not possible to decide between {n} and {m}.']

def filled(template, label):
    other = OTHER[label]
    return template.format(a=label, n=NOUNS[label], b=other, m=NOUNS[other], A=label.capitalize())


@pytest.mark.parametrize('label', SIX.labels)
def test_templates(label):
    for style, templates, expected in (('cot', CONCLUSIONS, (label,)), ('direct', SENTENCES, (label,)), ('direct', NOTHING, ())):
        for text in (filled(o, label) for o in templates):
            answer = read(text, style)
            assert answer.label == expected, (text, answer)


# --- single texts: kind, style, label, reason of the end, options, texts ------------------------------------------
TEXTS = [
    ('courtesy', 'direct', '', 'stop', (), [
        "I'd be happy to help! Please upload the audio file.",
        'I would be happy to assist you with that. Could you please share the recording?',
        "I'm happy to help you with the analysis.", 'Happy to help! What would you like me to do?',
        "I'm afraid the recording is silent.", "I'm afraid I can't do that.",
        'I am afraid that there is no speech in the file.', "I am sorry, I can't hear any audio.",
        'Sadly, the file is empty.', 'Unhappily, I received no sound.',
        "I'd be glad to listen, but there's no clip attached.", "I'm sad to say that the file did not load.",
        'I would be more than happy to analyze the emotion once you provide the clip.',
        'We are happy to announce our new product.',
        'I will be happy to tell you whether the speaker is angry or sad once I have the audio.',
        "I'm so happy for you!", "Don't be sad, everything will be fine.", "Don't worry, be happy!",
        'Happy birthday to you!', 'I fear that the file is damaged.',
        "I'm very sorry, but I'm afraid the audio is too short.", 'I was happy to assist. Anything else?',
        "Hello! I'm happy to chat with you today. How can I help?", "Oh no, I'm sad to hear that.",
        'That makes me angry.', "I'm angry that the file is missing",
        "We'd be happy to take a look at the recording if you send it.",
        'I am not able to detect anger or joy without the recording.',
        "I'm happy that you asked, but no audio reached me.", 'It would make me happy to help.',
        'I hope you are happy with this answer.', 'You should be happy with the result.',
        'Thanks, happy to be of service.', 'Have a happy day!',
        'I can only describe text; tell me if the speaker is sad.', 'There is no reason to be afraid of me.']),
    ('refusal', 'cot', '', 'stop', (), [
        "I'm sorry, but as an AI I cannot listen to audio. If the voice trembles, the speaker may be afraid; if it is loud, angry.",
        "To determine the emotion I would listen for pitch (high: happy or fearful; low: sad), loudness (loud: angry) and pace. However, I don't have the audio.",
        'The clip is silent, so whether the speaker is happy, sad or angry cannot be established.',
        'It is difficult to determine the emotion from such a short clip. It might be neutral or sad.']),
    ('thought', 'direct', 'sad', 'stop', (), [
        '<think>angry? maybe happy</think>sad', '<thinking>happy</thinking>\n\nsad',
        '<thought>Happy, I think</thought> Sad.', '[THINK]this is angry[/THINK]sad',
        '<reasoning>angry</reasoning>sad', '<mm:think>angry</mm:think>sad', '<seed:think>angry</seed:think>sad',
        'angry... no</think>sad',
        '<|channel|>analysis<|message|>angry<|end|><|start|>assistant<|channel|>final<|message|>sad',
        '<|channel>thought\nangry<channel|>sad', '<THINK>angry</THINK>Sad', '◁think▷angry◁/think▷sad',
        '<think>\nangry</think>\n\n**Answer:** sad']),
    ('thought', 'cot', '', 'stop', (), [
        '<think>The voice is loud. So the speaker is angry.', '<thinking>angry\nAnswer: angry', '[THINK]angry',
        '<think>The answer is angry</think>', '<reasoning>So he is angry.']),
    ('tags', 'direct', 'sad', 'stop', (), [
        '<|SAD|> i am so happy', '<|en|><|SAD|><|Speech|><|withitn|>I am happy to see you.',
        '<|zh|><|SAD|><|Speech|><|woitn|>我很高兴']),
    ('tags', 'direct', '', 'stop', (), [
        '<|EMO_UNKNOWN|>', '<|en|><|EMO_UNKNOWN|><|Speech|>i am so happy']),
    ('echo', 'direct', 'sad', 'stop', (), [
        'Choose one of: angry, disgusted, fearful, happy, neutral, sad.\nsad',
        'The options are angry, disgusted, fearful, happy, neutral and sad. The speaker is sad.',
        'Among angry, disgusted, fearful, happy, neutral and sad, I choose sad.',
        'Which emotion? angry / disgusted / fearful / happy / neutral / sad -> sad']),
    ('echo', 'direct', '', 'stop', (), [
        'angry, disgusted, fearful, happy, neutral, sad',
        'Please choose one of angry, disgusted, fearful, happy, neutral or sad.']),
    ('first', 'direct', 'sad', 'stop', (), [
        'Sad.\n\nExplanation: The voice is slow; an angry or happy voice would be faster.',
        'The speaker is sad. A happy voice would rise, and an angry voice would be louder.',
        'Sad\n\nThe final answer was hard, since the start could be read as anger.',
        'Answer: sad\n\nExplanation: I considered anger. The answer "angry" would need a louder voice.',
        'Sad, because he is not happy and not angry.', 'Sad. Angry people shout.',
        'The speaker sounds sad. The speaker says "I hate this", which might be read as anger.',
        'The speaker feels sad. Their tone is not angry, happy, or disgusted.',
        'Sad; the speaker seems to be mourning, although some anger shines through.',
        'Answer: sad (the opening might be read as happy)']),
    ('kindred', 'direct', 'angry', 'stop', (), [
        'angry and frustrated', 'Angry and frustrated.', 'frustrated and angry',
        'The speaker sounds frustrated and angry.', 'anger and irritation', 'The speaker is angry and impatient.',
        'Angry/annoyed', 'The speaker conveys anger, frustration and impatience.']),
    ('kindred', 'direct', '', 'stop', (), [
        'frustrated', 'irritated and impatient', 'The speaker sounds anxious.', 'anxious, with a hint of sadness',
        'surprised', 'confused and surprised', 'The speaker is frustrated.', 'nervous', 'The speaker sounds bored.',
        'sarcastic']),
    ('hedge', 'direct', 'sad', 'stop', (), [
        'mostly sad, with a hint of anger', 'Mainly sad, slightly angry', 'sad with some anger',
        'sad, perhaps a little angry', 'sad, bordering on neutral', 'sad, with undertones of fear',
        'predominantly sad, though one can hear anger', 'sad (maybe a bit angry)',
        'The speaker sounds sad, with occasional anger.', 'sad but not angry', 'sad, almost angry',
        'The overall emotion is sad with traces of anger.', 'Sad, verging on anger.',
        'The tone is sad with an undercurrent of anger.', 'The voice is sad, tinged with anger.',
        'sad, leaning towards neutral', "I'm not certain, but I'd say sad.",
        'It is hard to be sure, but the speaker sounds sad.', 'Hard to tell, but probably sad.',
        'Most likely sad, possibly neutral.', 'Sad, if I had to guess.', 'If I had to choose, sad.',
        'If anything, sad.', 'I am not 100% sure, but it seems sad.', 'sad (low confidence)',
        'Sad with moderate confidence', 'Leaning sad.', 'I guess sad.', 'Sad, but it could also be neutral.',
        'Sad, although there are moments of anger.', 'Sad; neutral is a close second.',
        'Sadness with a small dose of anger.', 'The tone is sad, even if the words are happy.',
        'Sad rather than neutral.', 'More sad than angry.', 'Less angry than sad.', 'Rather sad.', 'Somewhat sad.',
        'A bit sad.', 'Quite sad.', 'Very sad!', 'slightly sad', 'Moderately sad',
        "I think the speaker is sad, though I can't rule out fear.", 'Could be neutral, but sad is more likely.',
        'It may sound angry, yet the speaker is sad.',
        'The primary emotion is sadness; the secondary emotion is anger.', 'Dominant: sad. Secondary: angry.',
        'Mainly sadness with elements of fear', 'Sad, and there might be some fear in it.', "I'd lean toward sad.",
        'My best guess is sad.', 'Best guess: sad', 'Sad (80%), neutral (20%)', '80% sad, 20% neutral',
        'Emotion: sad, secondary: angry', 'The speaker is sad, with anger below the surface.']),
    ('several', 'direct', 'angry sad', 'stop', (), [
        'angry and sad', 'Both angry and sad.', 'The speaker sounds both angry and sad.',
        'a mix of anger and sadness', 'A mixture of sadness and anger', 'angry, sad', 'equally sad and angry']),
    ('german', 'direct', 'sad', 'stop', (), [
        'Die Stimme klingt traurig.', 'Ich würde sagen: traurig.', 'Der Sprecher ist traurig, nicht wütend.',
        'Traurigkeit', 'Eine traurige Stimme.', 'Nicht wütend, sondern traurig.', 'Die Person wirkt traurig.',
        'Die Emotion ist Trauer.', 'Antwort: Traurig.']),
    ('german', 'direct', '', 'stop', (), [
        'nicht traurig', 'keine Trauer', 'Ich kann nicht sagen, ob sie traurig ist.', 'weder traurig noch wütend',
        'ohne Trauer', 'kaum traurig']),
    ('chinese', 'direct', 'angry', 'stop', (), [
        '愤怒', '说话人非常愤怒。', '情绪：愤怒', '憤怒', '說話者非常憤怒', '无比愤怒', '不禁愤怒', '她不由得生气', '未免生气', '这段语音的情绪是愤怒。', '答案是愤怒',
        '说话人听起来很生气，而不是悲伤', '不是悲伤，而是愤怒', '生氣']),
    ('chinese', 'direct', '', 'stop', (), [
        '生气勃勃', '不愤怒', '没有愤怒', '並不憤怒', '無法判斷是憤怒還是悲傷', '无法判断是愤怒还是悲伤', '毫无愤怒', '并非愤怒', '不生氣', '沒有憤怒', '很难判断说话人是高兴还是悲伤']),
    ('chinese', 'cot', 'sad', 'stop', (), [
        '音调低，语速慢。因此，说话人很悲伤。', '语调低沉。所以情绪是悲伤。', '综上，情绪为悲伤。']),
    ('compound', 'direct', '', 'stop', (), [
        'happy.wav', 'happy-go-lucky', 'sad_song.mp3', 'angry-birds']),
    ('json', 'direct', 'sad', 'stop', (), [
        '{"emotion": "sad"}', '{"emotion": "Sad", "confidence": 0.8}', "{'Emotion': 'sad'}", '{"label": "sad"}',
        '```json\n{"emotion": "sad", "reason": "not happy, slow"}\n```',
        '{"predicted_emotion": "sad", "transcript": "i am happy"}', '[{"emotion": "sad"}]',
        '{"emotion":{"label":"sad","score":0.9}}', '{"sad": true, "angry": false, "happy": false}',
        '{"emotion": "sad", "transcription": "what a happy day"}', '{"result": {"emotion": "sadness"}}',
        'emotion: sad\ntranscript: so happy', 'Emotion - sad', '{"answer": "sad"}', '["sad"]',
        '{"happy": "no", "sad": "yes"}', '{"primary_emotion": "sad", "secondary_emotion": "anger"}',
        '{"emotion": "sad", "alternatives": ["angry", "happy"]}', '{"emotion": "sad", "not": "happy"}',
        '{"speaker": "woman", "emotion": "sad"}',
        'Here is the JSON:\n```json\n{"emotion": "sad"}\n```\nThe voice is not happy.', '{"Answer": "Sad"}',
        '{"output": {"emotion": "sad"}}', '{"emotions": ["sad"]}',
        '{"top_emotion": "sad", "scores": {"sad": 0.7, "angry": 0.3}}', 'emotion="sad"', '<emotion>sad</emotion>',
        '<label>sad</label>', '{emotion: sad}', '"emotion": "sad"', '{"emotion": "sad",',
        '[{"speaker": 1, "emotion": "sad"}]', '{"final_answer": "sad"}', '{"category": "sad"}', 'result: sad',
        'Label: sad', 'Prediction: sad', 'Sentiment: sad', 'Answer = sad', 'Answer - sad', 'A. sad', '(a) sad',
        '1. sad', '> sad', '| sad |', 'sad.', 'SAD!', '"Sad."', 'sad...', '*sad*', 'sad 😢', '😢 sad', 'sad\n',
        'The answer is: sad', 'My answer: sad', 'Correct answer: sad', 'ANSWER: SAD', '[Answer] sad', 'Answer:sad',
        'Answer : sad', 'Final: sad', 'Output: sad', '**Final Answer:** sad', 'Response: sad', 'Emotion → sad',
        'Emotion - Sad', 'The correct label is "sad".', 'Category: Sadness', 'Emotion category: sadness',
        'Speaker emotion: sad', 'Predicted emotion: sad']),
    ('json', 'direct', '', 'stop', (), [
        '{"emotion": "frustrated"}', '{"emotion": null}', '{"emotion": "unknown"}', '{"emotion": ""}', '{}',
        '{"transcript": "i am happy"}']),
    ('quote', 'direct', 'sad', 'stop', (), [
        'The speaker says "I am so happy today" in a sad voice.', 'She says “I am angry”, but she sounds sad.',
        "He says 'I'm happy' but sounds sad.", 'The sentence "don\'t be angry" is spoken in a sad tone.',
        'sad ("I am happy")', 'The speaker says "that makes me angry". The emotion is sad.']),
    ('quote', 'direct', '', 'stop', (), [
        'The speaker says "I am happy".', '"I\'m so happy"', 'The transcript reads: "I am angry and I hate you".']),
    ('cut', 'direct', '', 'stop', (), [
        'The speaker sounds']),
    ('concl', 'cot', 'sad', 'stop', (), [
        'The voice drags. Every word costs her an effort. If I put these cues side by side, sadness is the word for it.',
        'Energy: low\nPitch: falling\n\nThis pattern matches sadness.',
        'The voice is soft, slow and monotone. This pattern is typical of sadness.',
        'He speaks slowly and with long pauses. His pitch is low. These acoustic cues indicate a sad emotional state.',
        'Slow tempo and a low pitch signal sadness.',
        'The melody falls. The breathing is heavy. What I hear is sadness.',
        'I hear a trembling voice and long pauses; my conclusion: sadness.',
        "The speaker's pitch is low and steady; the volume is soft. It sounds sad.",
        '1. Pitch: low\n2. Volume: low\n3. Speed: slow\n\nOverall emotion: Sad',
        "Let's analyze. Pitch is low, tempo slow. The speaker seems down and sad.",
        'Low energy, little variation. Sadness, then.',
        'The low pitch rules out anger, and the slow pace rules out happiness. That leaves sadness.',
        'Not angry, since there is no force. Not happy, since there is no lift. Sad it is.',
        'The tone is not neutral since it is heavy, which makes me think of sadness.',
        'I considered anger because of the harsh onset, but the rest of the clip is clearly sad.',
        'At first I thought it was neutral. Listening again, I hear sadness.', 'Sad is my answer.',
        'The emotion can only be sadness.', 'Everything about this clip says sad.',
        'My reading of this voice is that the man is sad.', 'There is grief in every word: sad.',
        'The evidence favours sadness over neutrality.', 'It is sadness that colours this voice, not anger.',
        '...which is why I pick sad.', 'Given the options, sad fits best.', 'Of the options, sad comes closest.',
        "I'd classify this as sad, not neutral.", 'The verdict is sadness.',
        '**Emotion:** Sad (the voice is low and slow)', 'Emotion label: sad.', "The label I'd assign is sad.",
        'The speaker might sound neutral at first glance, but the emotion is sadness.', 'Taken together: sad.',
        'Pitch is low -> sad or neutral. Pace is slow -> sad. So: sad.', "I'm going with sad.",
        'Final classification - sad']),
    ('concl', 'cot', '', 'stop', (), [
        'The pitch is high, which can be a sign of fear or joy. The pace is fast, which can be a sign of anger.',
        'The first step is to listen for anger, then for sadness, then for joy.',
        'Step 1: check whether the voice is loud (angry) or soft (sad).\nStep 2: check the pace.',
        'The words are sad, but words alone do not settle the matter.',
        'Both anger and fear would fit the tight voice; I cannot choose between them.',
        'We cannot conclude that the speaker is sad.', 'This is not enough to call it sad.',
        'The speaker describes a sad event.', 'The speaker mentions being angry with his boss yesterday.',
        'People who are afraid speak faster.', 'An angry person would shout here, a sad one would whisper.',
        'The audio contains a dog barking and a door. No emotion can be determined.',
        'The speaker asks why she should be happy.',
        'One would expect joy from these words, yet nothing of it can be heard.']),
    ('denial', 'direct', '', 'stop', (), [
        "I don't hear any sadness.", 'I detect no anger in the voice.', 'Sadness is not what I hear.',
        'That is not an angry voice.', 'Anger? I hear none.', "I wouldn't describe this as happy.",
        'The voice shows little sadness.', 'The speaker is not at all happy.', 'I see no reason to call it sad.',
        'By no stretch is this happy.', 'No one would call this voice happy.', 'This has nothing to do with anger.',
        "It isn't fear.", 'Definitely not sad.', 'Certainly not anger.', 'Anything but sad.', 'Sad? I think not.',
        'The voice is never really happy.', "There isn't a hint of joy.", 'The sadness is gone.',
        'She no longer sounds angry.', 'This is the opposite of a happy voice.',
        'None of anger, joy or sadness is present.', 'He did not sound angry to me.', "You can't call that happy.",
        'I rule out anger.', 'Anger is ruled out.', 'Happiness is absent.', 'Far from being happy.',
        'It would be wrong to say she is angry.', 'I doubt he is sad.', "It's doubtful that he is angry.",
        'The voice could not be less happy.', 'The least likely emotion is anger.', 'happy: no\nsad: no',
        'Neither happiness nor sadness can be heard.', 'Not exactly happy.', 'Hardly a happy voice.',
        "I'd rule out happy.", 'There was no trace of fear in it.']),
    ('undecided', 'direct', '', 'stop', (), [
        "It's hard to tell whether she's angry or afraid.", "I'm not sure if it's sad or neutral.",
        'Could be anything from sad to neutral.',
        'The emotion is ambiguous; it could be anger, and it could be fear.',
        "I can't decide between angry and sad.", "Sad or neutral? I can't say.",
        'Whether this is anger, I cannot tell.', 'The clip is too short to say if she is happy.',
        'Not enough information to say sad or happy.', 'Impossible to say: happy, sad, neutral?',
        'It remains unclear whether the speaker is angry.', "I don't know if he is sad.",
        'I have no idea whether that is joy or anger.', 'Depending on the context, angry or happy.',
        'It depends: angry if he shouts, sad if he whispers.', 'You would have to ask whether he was angry.',
        "There's no telling if she's happy.", "Who knows whether he's sad.", 'Unable to determine happy vs sad.',
        'The audio quality makes it impossible to distinguish anger from fear.',
        'Tell me whether the speaker is angry, please.', 'Let me know if you want me to look for anger or joy.']),
    ('whose', 'direct', 'sad', 'stop', (), [
        'The speaker tells a happy story in a sad voice.',
        'She talks about her angry neighbour and sounds sad herself.',
        'He wants to cheer up his angry friend, but sounds sad.',
        'The song is called Happy, but the singer sounds sad.', 'The woman is sad because her boss was angry.',
        'The speaker is sad about the happy days that are gone.',
        'The voice is sad, whereas the laughter in the background is happy.', 'She is sad that he is angry.',
        'He sounds sad when he says he is happy.', "Sad. I'm afraid that's all I can say.",
        "I'm happy to help: the speaker sounds sad.", 'Happy to help! The emotion is sad.',
        "Sure, I'd be glad to help. The speaker sounds sad.", 'I fear the speaker is sad.',
        'Unfortunately, the speaker sounds sad.', "The emotion is sad. I'd be happy to explain.",
        'Sadly, the speaker sounds sad.', 'The topic is happy, the voice sad.']),
    ('whose', 'direct', '', 'stop', (), [
        "I'm glad you asked! I need the audio file first.", "I'm afraid not.", "Afraid I can't open the file.",
        'I would be happy if you sent the file again.', "I'm happy with either option.", 'Sorry to make you angry.',
        'Are you happy now?', 'Make the listener happy!', "I'll be happy to continue.", 'Glad to be of help!',
        "I'm happy to report that the file is fine.", 'I love this happy song!', 'Happy New Year!',
        'The Angry Birds movie is playing.', 'A happy ending awaits.', 'The file angry_01.wav could not be opened.',
        'I get angry when files do not load.', "We're happy you're here.",
        'My apologies, I am sad to disappoint you.', "It's my pleasure, happy to be here", "I'd be afraid to guess.",
        'No fear, I will find out.']),
    ('letters', 'direct', 'sad', 'stop', ('angry', 'sad', 'happy', 'fear'), [
        'B', 'b', 'B.', '(B)', 'B)', 'b)', 'Option B', 'The answer is B.', 'The correct answer is (B).', 'Answer: B',
        'Answer: (b)', 'B) sad', 'B: sad', '**B**', '**B. sad**', 'I choose B.', 'My answer is B', 'It is B.', '[B]',
        '<answer>B</answer>', '\\boxed{B}', 'The best option is B, since the voice is slow.']),
    ('letters', 'cot', 'sad', 'stop', ('angry', 'sad', 'happy', 'fear'), [
        'The pitch is low. Answer: B', 'The voice is low, so A does not fit. The answer is B.', '**Answer: B**',
        'Therefore, the correct option is B.', '<think>A or B</think>B', 'So the answer is (B) sad.', 'Thus B.',
        'The final answer is B', 'After listening, I choose option (B).']),
    ('letters', 'direct', '', 'stop', ('angry', 'sad', 'happy', 'fear'), [
        'E', 'N', 'none', 'None of the above', '(E)', 'A or B']),
    ('ending', 'direct', '', 'length', (), [
        'angry', 'The speaker is angry.', 'Answer: angry']),
    ('ending', 'direct', '', 'MAX_TOKENS', (), [
        'angry']),
    ('ending', 'direct', '', 'content_filter', (), [
        'angry']),
    ('ending', 'direct', '', 'SAFETY', (), [
        'angry']),
    ('ending', 'direct', '', 'abort', (), [
        'angry']),
    ('ending', 'direct', '', 'sensitive', (), [
        'angry']),
    ('ending', 'direct', '', 'RECITATION', (), [
        'angry']),
    ('ending', 'direct', '', 'error', (), [
        'angry']),
    ('ending', 'direct', '', 'FinishReason.MAX_TOKENS', (), [
        'angry']),
    ('ending', 'direct', 'angry', 'end_turn', (), [
        'angry']),
    ('ending', 'direct', 'angry', 'STOP', (), [
        'angry']),
    ('ending', 'direct', 'angry', '', (), [
        'angry']),
    ('ending', 'direct', 'angry', None, (), [
        'angry']),
    ('ending', 'direct', 'angry', 'stop_sequence', (), [
        'angry']),
    ('ending', 'direct', 'angry', 'eos', (), [
        'angry']),
    ('zh', 'direct', 'sad', 'stop', (), [
        '说话人的情绪是悲伤', '她听起来很难过。', '这个声音表达了悲伤。', '情感：悲伤', '我认为是悲伤', '悲伤（不是愤怒）', '不难听出他很悲伤', '他说“我很开心”，但听起来悲伤',
        '他並不開心，而是悲傷', '悲傷', '她非常難過', '主要是悲伤', '情绪偏向悲伤']),
    ('zh', 'direct', '', 'stop', (), [
        '听不出悲伤', '谈不上悲伤', '没有任何悲伤', '他不悲伤', '不是悲伤', '毫不悲伤', '无法确定是否悲伤', '难以判断是悲伤还是愤怒', '请上传音频，我很高兴为您分析', '我很高兴帮助您',
        '很高兴为您服务！请提供音频。']),
    ('de', 'direct', 'sad', 'stop', (), [
        'Das klingt traurig.', 'Die Sprecherin ist traurig.', 'Ich höre Trauer in der Stimme.',
        'Eher traurig als wütend.', 'Traurig.', 'Emotion: traurig', 'Sie spricht mit trauriger Stimme.',
        'Der Tonfall ist traurig und nicht fröhlich.']),
    ('de', 'direct', '', 'stop', (), [
        'Nicht fröhlich.', 'Er klingt keineswegs traurig.',
        'Ich kann Ihnen gern helfen, bitte laden Sie die Datei hoch.', 'Glücklicherweise ist die Aufnahme kurz.',
        'Es ist unklar, ob sie traurig oder wütend ist.', 'Keine Spur von Trauer.']),
    ('cot', 'cot', 'angry', 'stop', (), [
        '<thinking_summary>\nThe voice is loud, maybe happy.\n</thinking_summary>\nThe volume is high and the words are clipped.\n\nAngry',
        '**Pitch**: High, with strong peaks.\n**Volume**: Loud.\n**Emotion**: Angry',
        '[ANS] The speaker is angry. Their tone is sharp, and they raise their voice at the end.',
        '[ANS] Angry\n\nPitch: high\nVolume: loud',
        'The loudness is high, the pitch rises and the pace is quick.\n\nThese features point to anger rather than to joy or fear.',
        '*   **Tone:** Hostile.\n*   **Pitch:** High.\n*   **Emotion:** Anger.\n',
        'Here is how I see it:\n\n1. **Tone**: The tone is sharp.\n2. **Speed**: The speed is fast.\n\nThese features suggest an angry emotional state.',
        'In this audio the speaker sounds angry because the voice is loud and the words are short.',
        'This voice sounds angry. The volume is high, while a neutral voice would be softer.',
        'The speaker is most probably angry, as the shouting shows.', 'The shouting tells me the speaker is angry.',
        'As the voice is loud and harsh, the emotion expressed by the speaker is most consistent with anger.',
        'After analysing the audio, it can be inferred that the speaker is angry.',
        'It can be concluded that the speaker feels angry.', 'We can infer that the emotion is anger.',
        'The analysis shows that the emotion is anger.', 'The speaker exhibits anger.',
        'The speaker is showing signs of anger.', 'There are clear signs of anger in the voice.',
        'These are the marks of an angry speaker.', 'The overall impression is one of anger.',
        'What remains is anger.', 'I therefore classify the clip as angry.', 'The clip should be labelled angry.',
        'This clip belongs to the class angry.', '**Step 3: Decision**\nThe emotion is angry.',
        '### Step 3: Result\nAngry', 'Result: The speaker is angry.', '**Final judgment**: angry', '*Answer*: angry',
        'Answer - angry', 'The final emotion is: **angry**', '> Angry', '...so angry is what I pick.',
        'My answer would be angry.', 'The answer should be "angry".',
        'The emotion that the speaker conveys is: Angry.', 'From the above, anger.',
        'The emotion here is, without doubt, anger.', 'This must be anger.', 'It has to be anger.', 'Clearly anger.',
        'Anger it is.', 'The speaker is frustrated and angry.', 'He seems irritated, even angry.',
        'The voice conveys irritation that borders on anger, so I would go for angry.']),
    ('cot', 'cot', '', 'stop', (), [
        'The speaker sounds irritated and impatient.', 'The voice is tense; surprise is the best word for it.',
        'The emotion is surprise.\n\nSurprised', 'So the emotion is boredom.', 'The final emotion is curiosity.',
        'Overall the speaker sounds anxious.',
        'I cannot listen to audio, so I cannot say whether it is anger or joy.',
        'Let me think about pitch, pace and loudness. Pitch:',
        'The user wants the emotion of the clip: angry, happy, neutral or sad.',
        'To sum up, no emotion could be identified.', 'It is not anger, not joy, not sadness.',
        'In conclusion, the emotion is not anger.', 'So anger can be excluded.',
        'Thus neither anger nor fear is present.', 'Therefore I cannot tell whether it is anger.',
        'So is it anger or fear?', 'So the question is whether this is anger.']),
    ('direct', 'direct', 'angry', 'stop', (), [
        'The emotion of the person speaking is angry.', 'The speaker is clearly very angry and upset.',
        'angry/frustrated', 'Angry / Frustrated', 'angry, frustrated, and upset', 'Angry (frustrated)',
        'Anger/Frustration', 'Anger, frustration', 'Emotion: Anger/Frustration',
        'The speaker sounds angry and a bit sad.', 'an angry tone', 'In an angry tone.', 'with anger', 'In anger.',
        'angrily', 'He says it angrily.', 'She shouts angrily.', 'The person sounds like they are angry.',
        'It sounds as if the speaker is angry.', 'It seems like the speaker is angry.',
        'It sounds like someone who is angry.', 'She appears to be angry.', 'I think she might be angry.',
        'Looks angry to me', 'The speaker is expressing anger towards someone.',
        'The speaker is angry at his happy neighbour.', 'The speaker is angry about something sad.',
        'A man shouting angrily', 'A man with an angry voice says "I am happy".', 'The voice of the woman is angry.',
        'angry tone, fast speech', 'angry male voice', 'an angry man', 'This is an angry woman.',
        'The tone is angry and the words are happy.', 'The words are happy but the tone is angry.',
        'Angry, definitely.', 'Angry, 100%.', '100% angry', 'Angry: 90%', 'angry 0.9', 'anger (0.93)',
        'Answer: angry (90%)', 'The speaker is "angry".', 'The emotion is [angry].', '[angry]', '<angry>', '#angry',
        'angry emotion', 'Angry emotion.', 'angry state', 'The state is angry', 'emotional state: angry',
        'Emotional tone: angry', 'The tone of the speaker is one of anger.', 'There is anger in the voice.',
        'There is a lot of anger here.', 'Lots of anger.', 'Full of anger.', 'Pure anger', 'Strong anger.',
        'Cold anger.', 'Suppressed anger.', 'barely contained anger', 'She can barely contain her anger.',
        'She cannot conceal her anger.', 'He makes no secret of his anger.', 'Nothing but anger.', 'Only anger.',
        'Just angry.', 'Simply angry', 'No other emotion than anger.', 'The speaker does not hide that he is angry.',
        'The speaker is not happy but angry.', 'Rather than happy, the speaker is angry.',
        'Instead of joy, I hear anger.', 'Unlike the words, the voice is angry.', 'angry!!', 'ANGRY!!!', 'angry :(',
        'angry >:(', 'A: angry', 'Q: Which emotion? A: angry', 'Emotion is angry', 'emotion angry',
        'The label is angry', 'Label -> angry', 'angry.\n\nLet me know if you need anything else!',
        'angry\n\nI am happy to explain this.', 'angry. I hope this helps!',
        'angry. If you need anything else, I will be happy to help.', 'Thanks for the clip! The speaker is angry.',
        'Interesting clip. Angry.', 'OK. Angry.', 'Sure! Angry.', 'Certainly! The speaker sounds angry.',
        'Of course. The emotion is anger.', 'As requested: angry', 'One word: angry', 'In one word: anger.',
        'If I had to pick one: angry.', 'angry (as opposed to sad)', 'angry, as opposed to happy',
        'angry and not sad', 'angry, neither happy nor sad', 'angry, no sadness', 'angry with no trace of joy',
        'angry, without any joy', 'Angry, the voice is not calm.']),
    ('name', 'direct', '', 'stop', (), [
        'Joy Miller is speaking', 'This is Ms. Joy Baker, calling about the bill.', 'The speaker is called Joy.',
        'Her name is Joy.', 'Mr. Happy is on the line.', 'Joy Adams talks to Mr. Brown.']),
    ('name', 'direct', 'sad', 'stop', (), ['Joy Miller sounds sad.', 'The speaker, Joy Miller, is sad.']),
    ('name', 'direct', 'happy', 'stop', (), ['Joy', 'Joy.', 'Joy is what I hear.', '**Joy**']),
    ('superlative', 'direct', 'happy', 'stop', (), [
        "Couldn't be happier!", 'The speaker could not be happier.', 'He could not be more happy.']),
    ('superlative', 'direct', '', 'stop', (), ['The voice could not be less happy.', "He couldn't be happy."]),
    ('letters', 'direct', 'angry happy', 'stop', ('angry', 'sad', 'happy', 'fear'), ['A and C', '(A) and (C)', 'Both A and C']),
    ('letters', 'direct', 'sad', 'stop', ('angry', 'sad', 'happy', 'fear'), [
        'option b', 'The answer is b.', 'I would choose option b.', "It's B.", 'Not A but B', 'B is the best fit',
        'Between A and B, I prefer the latter.', 'A is wrong, so B.']),
    ('letters', 'direct', 'angry', 'stop', ('angry', 'sad', 'happy', 'fear'), [
        'option a', 'Option A is correct.', "I'd go with A.", 'Between A and B, I prefer the former.']),
    ('latter', 'direct', 'sad', 'stop', (), [
        'Between angry and sad, I prefer the latter.', "Between sad and angry, I'd choose the former."]),
    ('speakers', 'direct', 'angry sad', 'stop', (), [
        'Speaker 1: angry\nSpeaker 2: sad', 'The man sounds angry. The woman sounds sad.', 'Male: angry\nFemale: sad',
        'Speaker A sounds angry. Speaker B sounds sad.', 'The first voice is angry. The second voice is sad.']),
    ('request', 'direct', '', 'stop', (), [
        'Please upload the audio so I can decide between angry and sad.', 'Please share the recording of the sad speaker.',
        'Kindly attach the audio file for the emotion (angry, sad, happy).']),
    ('imagined', 'cot', '', 'stop', (), [
        'A sad voice would be louder, and a happy voice softer.', 'Step 1: listen for sadness.\nStep 2: listen for the pace.',
        'It would be a mistake to call this sad.', 'The tone is neutral. So the emotion is boredom.']),
    ('preferred', 'cot', 'angry', 'stop', (), [
        'Still, angry would be my bet.', "If I had to choose, I'd choose angry.", 'I decide against sad and for angry.',
        'Sad can be crossed off, angry stays.', 'Angry is out of the question? No: it is angry.', 'I prefer anger to sadness.',
        'Sad is out, happy is out, which leads me to angry.', 'Wut bleibt. Freude scheidet aus.', 'Ergebnis: Wut',
        "Is it sad? The words are, the voice isn't. He spits them out, and he is angry.", 'So what is it? It is anger.',
        'The pace is quick, which suggests joy or anger. The shout, however, is not joy. Anger.']),
    ('denied', 'direct', '', 'stop', (), [
        'Anger is out.', 'I decide against angry.', 'Happy he is not.', 'My bet would not be on happy.', 'Angry is too strong a word.',
        'Too noisy to call it sad.', 'Were he angry, he would shout.', 'He used to be happy.', 'Von Freude keine Spur.']),
    ('asserted', 'direct', 'angry', 'stop', (), [
        "It's nothing if not angry.", 'Sad she is not; what you hear is anger.', 'He can\'t keep the anger out of his voice.',
        'Is he angry? Absolutely.', 'sad - no, angry - yes', '与其说是悲伤，不如说是愤怒。', 'La voix exprime la colère.',
        'A happy couple is shouted at by the speaker, an angry neighbour.', 'You could not call it anything but angry.']),
    ('first', 'direct', 'sad', 'stop', (), [
        'Answer: sad\nSecond choice: fearful', 'First choice: sad. Second choice: angry.', 'sad > angry > neutral',
        'Angry. Correction: sad.', 'Angry, no, sad.', '~~angry~~ sad', 'First guess: angry. Corrected: sad',
        'Options: neutral, happy, sad, angry.\nPick: sad', '{"emotion": "sad", "secondary": "angry"}',
        '{"top": "sad", "alternatives": ["angry", "fearful"]}',
        'The choice is between sad and neutral, and sad wins.', 'At first I thought angry, but it is sad.']),
    ('halves', 'direct', 'angry sad', 'stop', (), [
        'half angry, half sad', 'angry as well as sad', 'halb wütend, halb traurig', '既生气又难过', 'As much anger as sadness.']),
    ('candidates', 'cot', 'neutral', 'stop', (), [
        '- angry? He shouts once, at a bus. So no.\n- sad? The tempo is normal. No.\n- neutral? Flat and even. Yes.']),
    ('letters', 'direct', 'angry', 'stop', ('angry', 'sad', 'happy', 'fear'), [
        "I'd go with (A), though (B) can't be ruled out.", 'A rather than C.', 'I choose (A) over (B).', 'Not B, C or D; A.',
        'Option A fits best; option B does not.', 'Answer: A (second choice: B)', 'The best option is A, as D would be louder.']),
    ('letters', 'direct', '', 'stop', ('angry', 'sad', 'happy', 'fear'), ["It can't be (A).", 'Not A.']),
    ('speakers', 'cot', 'angry sad', 'stop', (), [
        '**Speaker A**\n- shouts\n\nEmotion of speaker A: angry\n\n**Speaker B**\n- weeps\n\nEmotion of speaker B: sad']),
]
SHARES = ['[["angry", 0.6], ["sad", 0.4]]', '{"emotions": ["angry", "sad"], "weights": [60, 40]}', 'Angry: 60%. Sad: 40%. Total: 100%.',
          'First guess: {"angry": 80, "sad": 20}. Corrected: {"angry": 60, "sad": 40}', '{"angry": "60%", "sad": "40%"}',
          'happy 0.0\nangry 0.6\nsad 0.4', "I'd put 60% on angry and 40% on sad."]
NO_SHARES = ['[["angry", 0.6], ["sad", 0.9]]', '{"emotions": ["angry", "sad"], "weights": [1]}', '[["angry", 0.6], ["sad", 0.4]',
             '{"angry": 80, "sad": 20} {"angry": 60, "sad": 40}', '{"angry": 60, "sad": 40, "angry": 50}']


@pytest.mark.parametrize('text, read', [*((o, True) for o in SHARES), *((o, False) for o in NO_SHARES)])
def test_shares(text, read):
    answer = parse(text, 'dist', 'direct', SIX.labels, SIX.merged)
    assert answer.dist == (pytest.approx((.6, 0, 0, 0, 0, .4)) if read else None), answer


@pytest.mark.parametrize('kind, style, labels, finish, choices, texts', TEXTS, ids=[f'{i}-{o[0]}' for i, o in enumerate(TEXTS)])
def test_texts(kind, style, labels, finish, choices, texts):
    for text in texts:
        answer = read(text, style, finish, choices)
        assert answer.label == tuple(labels.split()), (text, answer)
