"""Serve a trained system over HTTP, with the API of OpenAI.

    python -m espnet_audiollm.bin.serve exp/audiollm/packed --llm exp/llm

Any client of that API talks to http://localhost:8000/v1, in text and audio. MODEL is a packed model
or an experiment of stage 9 (AudioLLM), or one of stage 5 (a cascade); a packed speech LM needs no
--llm, and speaks if it was packed with a vocoder. Other machines reach the server only with a
--host, and then with a token, which the environment variable AUDIOLLM_TOKEN holds. Of what clients
send nothing is logged.
"""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from .cli import add_system_options, load_chosen_system, user_errors

if TYPE_CHECKING:
    from ..infer.recognise import Recogniser
    from ..infer.systems import System
    from ..serve.app import Server
    from ..serve.engine import Engine
    from ..serve.limits import Limits

TOKEN = "AUDIOLLM_TOKEN"


def get_parser() -> argparse.ArgumentParser:
    """The command line's options."""
    parser = argparse.ArgumentParser(
        prog="serve", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_system_options(parser, recogniser_for="/v1/audio/transcriptions")
    add = parser.add_argument
    add("--name", help="of the model, for clients (default: its directory's)")
    add("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    add("--port", type=int, default=8000, help="0: a free one (default: %(default)s)")
    add("--vllm", metavar="URL", help="a vLLM server of the LLM that decodes (default: none does)")
    limits = parser.add_argument_group("limits", "What is beyond is refused (4xx).")
    add = limits.add_argument
    add("--max_bytes", type=int, default=25 << 20, help="of a request (default: %(default)s)")
    add("--max_seconds", type=float, default=60.0, help="of its audio (default: %(default)s)")
    add("--max_recordings", type=int, default=64, help="in a request (default: %(default)s)")
    add("--max_characters", type=int, default=200_000, help="of its text (default: %(default)s)")
    add("--max_turns", type=int, default=64, help="of a dialogue (default: %(default)s)")
    add("--max_new_tokens", type=int, default=1024, help="of an answer (default: %(default)s)")
    add("--max_rows", type=int, default=8, help="answers at the same time (default: %(default)s)")
    add("--max_queue", type=int, default=32, help="requests that wait (default: %(default)s)")
    about = "to send a request, or take an event of a stream (default: %(default)s)"
    add("--max_body_seconds", type=float, default=60.0, help=about)
    caches = parser.add_argument_group("cache", "Dialogues that ended, for their next turns.")
    add = caches.add_argument
    add("--cache_dialogues", type=int, default=64, help="0: none (default: %(default)s)")
    add("--cache_bytes", type=int, default=1 << 30, help="of all, 0: none (default: %(default)s)")
    return parser


@user_errors
def main(argv: list[str] | None = None) -> int:
    """Load the system, then answer until the process is ended."""
    args = get_parser().parse_args(argv)
    from ..serve.app import Server, is_local

    token = os.environ.get(TOKEN)
    if not token and not is_local(args.host):
        raise ValueError(
            f"--host {args.host} can be reached from other machines, and there is no token: set "
            f"{TOKEN} in the environment to a long random text, which clients send as their API key"
        )
    limits = _limits(args)
    system, recognise = _load(args)
    server = Server(
        _engine(args, system, limits.rows),
        args.name or Path(args.model).resolve().name,
        limits,
        recognise,
        token or None,
    )
    _listen(server, args.host, args.port)
    return 0


def _limits(args: argparse.Namespace) -> Limits:
    from ..serve.limits import Limits

    given = {name.removeprefix("max_"): value for name, value in vars(args).items()}
    return Limits(**{name: given[name] for name in Limits.__dataclass_fields__})


def _load(args: argparse.Namespace) -> tuple[System, Recogniser | None]:
    """The system, and what transcribes: --recogniser, or a cascade's own."""
    from ..infer.recognise import load_recogniser

    system, recognise = load_chosen_system(args)
    if recognise is None and system.kind.name == "cascade":
        recognise = load_recogniser(args.model, args.checkpoint, device=args.device)
    return system, recognise


def _engine(args: argparse.Namespace, system: System, rows: int) -> Engine:
    """What writes the answers: this process, or a vLLM server."""
    if args.vllm is None:
        from ..serve.dialogue_cache import DialogueCache
        from ..serve.engine import Engine

        dialogues = DialogueCache(system.llm, args.cache_dialogues, args.cache_bytes)
        return Engine(system, rows, dialogues=dialogues)
    from ..serve.remote_engine import connect

    return connect(args.vllm, system, rows)


def _listen(server: Server, host: str, port: int) -> None:
    """Until Ctrl-C or SIGTERM. Errors (OSError): the address is taken, or none of this machine."""
    import socket

    import uvicorn

    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, port), family=family) as listening:
        address = f"[{host}]" if ":" in host else host
        print(f"{server.name}: http://{address}:{listening.getsockname()[1]}/v1", flush=True)
        config = uvicorn.Config(
            server.app(), access_log=False, log_level="warning", timeout_graceful_shutdown=5
        )
        with suppress(KeyboardInterrupt):  # uvicorn raises it again when it has ended
            uvicorn.Server(config).run(sockets=[listening])


if __name__ == "__main__":
    sys.exit(main())
