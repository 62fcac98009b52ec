"""Response stores and runs as stages 7 and 10 leave them, written through `store/`."""

from espnet_audiollm.store import responses, runs
from espnet_audiollm.types import Response

NO_PROCESS = 2**22 + 1  # a number above the largest that the kernel gives
LLM = {"fingerprint": "f", "chat_template_hash": "t", "system_prompt": None}


def write_store(directory, answers, **about):
    """A complete response store of {id: (response, token ids)}."""
    made = [Response(id, "", text, tuple(ids), "stop") for id, (text, ids) in answers.items()]
    made.sort(key=lambda response: response.id)
    settings = responses.Settings(
        **{**LLM, **about}, max_tokens_factor=4.0, beam=1, shard_size=4096,
        num_prompts=len(made), prompts_hash="p", prompt_casing="asis",
    )  # fmt: skip
    shards = responses.open_store(directory, settings)
    for shard in shards.windows(made):
        for _ in shard.fill([shard.items], lambda batch: list(map(responses.to_record, batch))):
            pass
    responses.merge(directory)


def read_store(directory):
    """{id: response} of a store, in order of ids."""
    return {response.id: response for response in responses.iter_responses(directory)}


def write_run(directory, kind, label, store, answers, recordings=(), **about):
    """A run on the references of `store`.

    answers: {id: (response, token ids, nats of each reference token, turns or None)}.
    recordings: {id of a recording: hypothesis, or numbers of the alignment}.
    about: other fields of run.json than those of `store`."""
    known = responses.read_about(store)
    references = ((r.id, r.response_ids) for r in responses.iter_responses(store))
    info = runs.RunInfo(
        kind=kind, label=label, llm_fingerprint=known["fingerprint"],
        references=runs.references_hash(references),
        **{
            "model": "", "set": "test", "context": runs.FULL, "beam": 1, "prompt_casing": "asis",
            "system_prompt": known["system_prompt"],
            "chat_template_hash": known["chat_template_hash"], **about,
        },
    )  # fmt: skip
    records = []
    for number, (id, (text, ids, nats, turns)) in enumerate(sorted(answers.items())):
        response = Response(id, "", text, tuple(ids), "stop")
        answer = runs.answer_record(response, sum(nats), nats, turns)
        spoken = dict(recordings) if number == 0 else {}
        records.append({"id": id, info.context: answer, "recordings": spoken})
    runs.write_run(directory, info, records)
    return directory
