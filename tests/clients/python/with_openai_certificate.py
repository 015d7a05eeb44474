"""The official openai package with a client certificate and no key: SCRIPT BASE_URL KEY, and the files in the environment."""

import os
import ssl

import openai

from checks import BASE, HELLO, OWN, check, done, raises, same, versions

versions("openai")
hello = [{"role": "user", "content": HELLO}]


def client(shows_certificate, key=None):
    trust = ssl.create_default_context(cafile=os.environ["ROOT"])
    if shows_certificate:
        trust.load_cert_chain(os.environ["CERT"], os.environ["CERT_KEY"])
    # The client wants some key; where there is none, nothing shall stand in its header.
    headers = {} if key else {"Authorization": ""}
    http = openai.DefaultHttpxClient(verify=trust)
    return openai.OpenAI(base_url=f"{BASE}/v1", api_key=key or "none", max_retries=0, default_headers=headers, http_client=http)


certified = client(True)
answer = certified.chat.completions.create(model=OWN, messages=hello)
check("an answer without a key", answer.choices[0].message.content, answer)
pieces = list(certified.chat.completions.create(model=OWN, messages=hello, stream=True))
check("a stream without a key", len(pieces) > 2, pieces)
check("a list of models", any(model.id == "sim-1" for model in certified.models.list()), "no sim-1")
raises("neither", openai.AuthenticationError, 401, lambda: client(False).chat.completions.create(model=OWN, messages=hello))
wrong = client(True, "tg_wrong")
error = raises("a wrong key beside it", openai.AuthenticationError, 401, lambda: wrong.models.list())
same("which says so", error.body["tollgate"]["code"], "malformed_key")
done()
