"""A small HTTP server that speaks what is used of vLLM's addresses, with faults on demand.

Its answers are those of an LLM in this process, so that right and wrong can be distinguished."""

import base64
import io
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import torch

from espnet_audiollm.infer.generate import generate


class StandIn:
    """What the server does next: `faults` are taken one for each completion ("503", "drop", "cut");
    `loading` answers of /health say that it is not there yet."""

    def __init__(self, llm, key=None, loading=0, embeds=True):
        self.llm, self.key, self.loading, self.embeds = llm, key, loading, embeds
        self.faults, self.completions, self.before_return = [], 0, lambda: None
        self.cut = threading.Event()  # a stream ended because its client left
        self.lock = threading.Lock()

    def complete(self, body):
        """(status, answer) of a completion."""
        size = self.llm.model.config.vocab_size
        if "prompt_embeds" in body and not self.embeds:
            return 400, {"error": {"message": "embeds are not enabled"}}
        if "prompt_embeds" in body:
            data = io.BytesIO(base64.b64decode(body["prompt_embeds"]))
            prompt = torch.load(data, weights_only=True)
        else:
            prompt = body["prompt"]
            if max(prompt) >= size:
                return 400, {"error": {"message": f"Token id {max(prompt)} is out of vocabulary"}}
        with self.lock:
            (said,) = generate(self.llm, [prompt], body["max_tokens"])
        choice = {"token_ids": said.ids, "finish_reason": said.finish_reason}
        choice["logprobs"] = {"token_logprobs": [-said.nats, *[0.0] * (len(said.ids) - 1)]}
        if "prompt_logprobs" in body:
            logp = self.llm.model(torch.tensor([prompt])).logits[0].log_softmax(-1)
            known = zip(prompt[1:], logp, strict=False)
            found = [{str(id_): {"logprob": float(row[id_])}} for id_, row in known]
            choice |= {"prompt_token_ids": prompt, "prompt_logprobs": [None, *found]}
        return 200, {"choices": [choice]}


def handler(stand_in):
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *words):
            pass

        def answer(self, status, body=None):
            data = json.dumps(body or {}).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def do_GET(self):
            if self.path == "/health":
                if stand_in.loading > 0:
                    stand_in.loading -= 1
                    return self.answer(503)
                stand_in.before_return()
                return self.answer(200)
            self.answer(200, {"data": [{"id": "tiny", "max_model_len": 512}]})

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if stand_in.key and self.headers["Authorization"] != f"Bearer {stand_in.key}":
                return self.answer(401, {"error": {"message": "Unauthorized"}})
            with stand_in.lock:
                stand_in.completions += 1
                fault = stand_in.faults.pop(0) if stand_in.faults else ""
            if fault == "drop":
                self.close_connection = True
                return None
            if fault:
                return self.answer(int(fault), {"error": {"message": "EngineDead"}})
            return self.answer(*stand_in.complete(body))

    return Handler


@contextmanager
def standing_in(llm, **how):
    """A stand-in with its `url`."""
    made = StandIn(llm, **how)
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(made))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}).start()
    made.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
