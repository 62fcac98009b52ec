import pytest


@pytest.fixture(scope="session")
def systems(tmp_path_factory):
    """A directory with all that stages 6, 7 and 10 read, and stage 7's store."""
    import tiny_systems

    from espnet_audiollm.bin import generate_responses

    root = tiny_systems.make(tmp_path_factory.mktemp("systems"))
    for data, output in (("data", "responses"), ("talks.jsonl", "talks_responses")):
        words = ["--llm", f"{root}/llm", "--data", f"{root}/{data}"]
        generate_responses.main([*words, "--output", f"{root}/{output}"])
    return root
