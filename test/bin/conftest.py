import pytest


@pytest.fixture(scope="session")
def systems(tmp_path_factory):
    """A directory with all that stages 6, 7 and 10 read, and stage 7's store."""
    import tiny_systems

    from espnet_audiollm.bin import generate_responses

    root = tiny_systems.make(tmp_path_factory.mktemp("systems"))
    generate_responses.main(
        ["--llm", f"{root}/llm", "--data", f"{root}/data", "--output", f"{root}/responses"]
    )
    return root
