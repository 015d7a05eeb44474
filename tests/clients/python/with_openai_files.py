"""The official openai package where bodies and answers are no JSON, and where the provider keeps something: sound, pictures,
moderation, files, uploads, batches, and responses by their ids."""

import io
import json

import openai

from checks import BASE, HELLO, KEY, OTHERS, check, done, raises, same, versions

versions("openai")
client = openai.OpenAI(base_url=f"{BASE}/v1", api_key=KEY, max_retries=0)
azure = openai.AzureOpenAI(azure_endpoint=BASE, api_key=KEY, api_version="2024-10-21", max_retries=0)

SOUND = "sim/sim-sound"
for model, painter, judge in ((SOUND, "sim/sim-picture", "sim/sim-guard"), (OTHERS["openai"],) * 3):
    heard = client.audio.transcriptions.create(model=model, file=("talk.wav", b"x" * 400), prompt="names", temperature=0.2)
    same(f"a transcript at {model}", heard.text, "sim: heard 400 bytes of talk.wav")
    same("its usage", heard.usage.total_tokens, heard.usage.input_tokens + heard.usage.output_tokens)
    for kind in ("text", "srt", "vtt"):
        text = client.audio.transcriptions.create(model=model, file=io.BytesIO(b"x" * 9), response_format=kind)
        check(f"a transcript as {kind} at {model}", isinstance(text, str) and "heard 9 bytes" in text, text)
    events = list(client.audio.transcriptions.create(
        model=model, file=("a.wav", b"xyz"), stream=True, timestamp_granularities=["word", "segment"]))
    same(f"a streamed transcript at {model}", "".join(e.delta for e in events[:-1]), events[-1].text)
    same("it ended by itself", events[-1].type, "transcript.text.done")
    check("translated", client.audio.translations.create(model=model, file=("a.wav", b"xyz")).text)

    whole = client.audio.speech.create(model=model, voice="alloy", input="one two three").content
    with client.audio.speech.with_streaming_response.create(model=model, voice="alloy", input="one two three") as answer:
        same("the type of the sound", answer.headers["content-type"], "audio/mpeg")
        pieces = list(answer.iter_bytes(1000))
    same(f"speech at {model}", (b"".join(pieces), len(whole)), (whole, 6000))

    picture = client.images.generate(model=painter, prompt="a gate")
    check(f"a picture at {model}", picture.data[0].b64_json and picture.usage.output_tokens == 272, picture)
    events = list(client.images.generate(model=painter, prompt="a gate", stream=True, partial_images=1))
    same("pictures in parts", [e.type for e in events], ["image_generation.partial_image", "image_generation.completed"])
    edited = client.images.edit(model=painter, image=[("a.png", b"PNG"), ("b.png", b"PNG")], prompt="wider")
    check(f"an edited picture at {model}", edited.data[0].b64_json, edited)
    judged = client.moderations.create(model=judge, input=["fine", "pure violence"])
    same(f"moderation at {model}", [r.flagged for r in judged.results], [False, True])

check("moderation without a model", client.moderations.create(input="fine").results[0].flagged is False)
governed = client.audio.transcriptions.with_raw_response.create(
    model=SOUND, file=("a.wav", b"xyz"), extra_body={"tollgate": {"use_case": "sdk", "user": "ann"}})
same("the tollgate object in a form", governed.headers["tollgate-target"], SOUND)
raises("a wrong data class in a form", openai.BadRequestError, 400, lambda: client.audio.transcriptions.create(
    model=SOUND, file=("a.wav", b"xyz"), extra_body={"tollgate": {"data_class": "secret"}}))
raises("an error of the provider", openai.RateLimitError, 429, lambda: client.audio.transcriptions.create(
    model=f"{SOUND}?status=429", file=("a.wav", b"xyz")))
deployed = azure.audio.transcriptions.create(model=SOUND, file=("a.wav", b"xyz"))
same("by a deployment", deployed.text, "sim: heard 3 bytes of a.wav")

lines = [{"custom_id": str(n), "method": "POST", "url": "/v1/chat/completions",
          "body": {"model": "sim-1", "messages": [{"role": "user", "content": HELLO}]}} for n in range(3)]
content = "".join(json.dumps(line) + "\n" for line in lines).encode()
for at, extra in ((client, {}), (azure, {}), (client, {"extra_headers": {"tollgate-provider": "sim"}})):
    made = at.files.create(file=("in.jsonl", content), purpose="batch", **extra)
    same("a file", (made.filename, made.bytes, made.purpose), ("in.jsonl", len(content), "batch"))
    check("is listed", made.id in [f.id for f in at.files.list(**extra)])
    same("is found", at.files.retrieve(made.id).id, made.id)
    same("holds what was sent", at.files.content(made.id).read(), content)
    batch = at.batches.create(input_file_id=made.id, endpoint="/v1/chat/completions", completion_window="24h", metadata={"a": "b"})
    batch = at.batches.retrieve(batch.id)
    same("a batch", (batch.status, batch.request_counts.completed), ("completed", 3))
    output = [json.loads(line) for line in at.files.content(batch.output_file_id).text.splitlines()]
    same("its output", [line["custom_id"] for line in output], ["0", "1", "2"])
    check("is listed too", batch.id in [b.id for b in at.batches.list(**extra)])
    same("a batch that is ended", at.batches.cancel(batch.id).status, "cancelling")
    check("is taken away", at.files.delete(made.id).deleted)
    raises("and is gone", openai.NotFoundError, 404, lambda: at.files.retrieve(made.id))
up = client.uploads.create(bytes=6, filename="big", mime_type="text/plain", purpose="user_data")
parts = [client.uploads.parts.create(up.id, data=data).id for data in (b"abc", b"def")]
up = client.uploads.complete(up.id, part_ids=parts)
same("an upload in parts", client.files.content(up.file.id).read(), b"abcdef")
same("an upload that is ended", client.uploads.cancel(client.uploads.create(
    bytes=1, filename="x", mime_type="text/plain", purpose="user_data").id).status, "cancelled")

first = client.responses.create(model=OTHERS["openai"], input=HELLO)
second = client.responses.create(model=OTHERS["openai"], input="more", previous_response_id=first.id)
check("one response after another", second.output_text.startswith("sim: more"), second)
same("a response by its id", client.responses.retrieve(first.id).output_text, first.output_text)
same("its input", client.responses.input_items.list(first.id).data[0].content[0].text, HELLO)
events = list(client.responses.retrieve(first.id, stream=True))
same("as a stream", events[-1].type, "response.completed")
same("ended", client.responses.cancel(first.id).status, "cancelled")
client.responses.delete(first.id)
raises("taken away", openai.NotFoundError, 404, lambda: client.responses.retrieve(first.id))
error = raises("not at another provider", openai.NotFoundError, 404, lambda: client.responses.create(
    model=OTHERS["anthropic"], input="more", previous_response_id=second.id))
check("the error names who holds it", "`as_openai` holds" in str(error), error)
done()
