"""The Hugging Face Hub: upload of a packed model. Only here, and only when asked for."""

from __future__ import annotations

import re
from pathlib import Path


def check(repo: str) -> None:
    """Whether an upload could begin. Errors (ValueError): no name of a repository, the network is
    forbidden, nobody is logged in."""
    from huggingface_hub import constants, get_token

    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repo):
        raise ValueError(f"--upload {repo} is no repository: give OWNER/NAME")
    if constants.HF_HUB_OFFLINE:
        raise ValueError(
            f"--upload {repo}: HF_HUB_OFFLINE is set, which forbids the network; unset it, or pack "
            "without --upload and upload the directory elsewhere (hf upload)"
        )
    if not get_token():
        raise ValueError(f"--upload {repo}: nobody is logged in; `hf auth login`, or set HF_TOKEN")


def upload(directory: str | Path, repo: str) -> str:
    """Upload the files of a directory; the address of the commit. A new repository is private.

    Errors (ValueError): the Hub cannot be reached, or refuses."""
    from huggingface_hub import HfApi

    api = HfApi()
    try:
        api.create_repo(repo, private=True, exist_ok=True)
        return str(api.upload_folder(repo_id=repo, folder_path=str(directory)))
    except Exception as error:  # the client's errors have no common class
        what = " ".join(str(error).split())[:200] or type(error).__name__
        raise ValueError(
            f"{directory} is packed, but could not be uploaded to {repo} ({what}): check network "
            f"and rights, then `hf upload {repo} {directory}`"
        ) from error
