"""The official boto3 package: Bedrock's converse and converse-stream, by bearer token."""

import json

import boto3
import botocore
import botocore.config
import botocore.exceptions
from botocore.exceptions import ClientError

from checks import ASK, BASE, CITY, HELLO, KEY, OTHERS, OWN, RESULT, check, done, everywhere, raises, same, versions

versions("boto3", "botocore")


def of(key):
    """As with AWS_BEARER_TOKEN_BEDROCK, which the package heeds over TLS only."""
    config = botocore.config.Config(retries={"total_max_attempts": 1}, signature_version=botocore.UNSIGNED)
    made = boto3.client("bedrock-runtime", endpoint_url=BASE, region_name="eu-north-1", config=config)

    def show(request, **_):
        request.headers["Authorization"] = f"Bearer {key}"

    made.meta.events.register("before-send.bedrock-runtime", show)
    return made


client = of(KEY)
weather = {"tools": [{"toolSpec": {"name": "weather", "description": "Tells the weather", "inputSchema": {"json": CITY}}}]}


def user(*content):
    return {"role": "user", "content": list(content)}


def plain(model):
    answer = client.converse(modelId=model, messages=[user({"text": HELLO})])
    usage = answer["usage"]
    same("the total", usage["totalTokens"], usage["inputTokens"] + usage["outputTokens"])
    check("a latency", answer["metrics"]["latencyMs"] >= 0, answer)
    [block] = answer["output"]["message"]["content"]
    return block["text"], answer["stopReason"], usage["inputTokens"], usage["outputTokens"]


def streamed(model, messages, **more):
    return list(client.converse_stream(modelId=model, messages=messages, **more)["stream"])


def stream(model):
    events = streamed(model, [user({"text": HELLO})])
    kinds = [next(iter(event)) for event in events]
    same("the order of events", [kinds[0], *kinds[-3:]], ["messageStart", "contentBlockStop", "messageStop", "metadata"])
    texts = [event["contentBlockDelta"]["delta"]["text"] for event in events if "contentBlockDelta" in event]
    usage = events[-1]["metadata"]["usage"]
    return "".join(texts), events[-2]["messageStop"]["stopReason"], usage["inputTokens"], usage["outputTokens"], len(texts)


def tool(model):
    turns = [user({"text": ASK})]
    answer = client.converse(modelId=model, messages=turns, toolConfig=weather)
    same("it stopped for its call", answer["stopReason"], "tool_use")
    message = answer["output"]["message"]
    [call] = [block["toolUse"] for block in message["content"] if "toolUse" in block]
    result = {"toolUseId": call["toolUseId"], "content": [{"json": {"said": RESULT}}]}
    more = client.converse(modelId=model, messages=[*turns, message, user({"toolResult": result})], toolConfig=weather)
    return call["name"], call["input"], more["output"]["message"]["content"][0]["text"]


def tool_stream(model):
    events = streamed(model, [user({"text": ASK})], toolConfig=weather)
    [call] = [event["contentBlockStart"]["start"]["toolUse"] for event in events if "contentBlockStart" in event]
    pieces = [event["contentBlockDelta"]["delta"]["toolUse"]["input"] for event in events if "contentBlockDelta" in event]
    check("the streamed call has an id", call["toolUseId"], call)
    return call["name"], json.loads("".join(pieces))


MODELS = [OWN, *OTHERS.values()]
everywhere("converse", MODELS, plain, stream, tool, tool_stream)

hello = [user({"text": HELLO})]
status = lambda error: (error.response["ResponseMetadata"]["HTTPStatusCode"], error.response["Error"]["Code"])
wrong = of("tg_wrong")
raises("a wrong key", ClientError, (403, "AccessDeniedException"), lambda: wrong.converse(modelId=OWN, messages=hello), status)
raises("an unknown model", ClientError, (404, "ResourceNotFoundException"), lambda: client.converse(modelId="sim-2", messages=hello), status)
for model in MODELS:
    raises(f"a rate limit at {model}", client.exceptions.ThrottlingException, (429, "ThrottlingException"),
           lambda: client.converse(modelId=f"{model}?status=429", messages=hello), status)
    raises(f"too long a prompt at {model}", client.exceptions.ValidationException, (400, "ValidationException"),
           lambda: client.converse(modelId=f"{model}?error=context", messages=hello), status)
    error = raises(f"a failure on the way at {model}", botocore.exceptions.EventStreamError, None,
                   lambda: streamed(f"{model}?error_at=3", hello), lambda error: None)
    check("it says what happened", "told to fail" in str(error), error)
done()
