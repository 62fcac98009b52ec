import numpy as np
import pytest

from espnet_audiollm.score.similarity import (
    centred_cosine,
    cosine,
    picture_name,
    plot_similarity,
    read_embeddings,
)


def test_cosine():
    text = np.array([[1.0, 0.0], [0.0, 0.0]])
    audio = np.array([[2.0, 0.0], [1.0, 1.0], [-3.0, 0.0]])
    assert cosine(text, audio) == pytest.approx(np.array([[1, 2**-0.5, -1], [0, 0, 0]]))


def test_centring_takes_away_what_all_share():
    text = np.array([[101.0, 0.0], [99.0, 0.0]])
    audio = np.array([[0.0, 51.0], [0.0, 49.0]]) @ np.array([[0.0, 0.0], [1.0, 0.0]])
    assert cosine(text, audio).min() == pytest.approx(1.0)  # all look alike
    assert centred_cosine(text, audio) == pytest.approx(np.array([[1.0, -1.0], [-1.0, 1.0]]))


@pytest.mark.parametrize(
    "id, name",
    [("a-1_b.c", "similarity_a-1_b.c"), ("a/../$(b)", "similarity_a_.._$(b)")],
)
def test_picture_name(id, name):
    assert picture_name(id) == name.replace("$", "_").replace("(", "_").replace(")", "_")


def test_embeddings_are_read_and_drawn(experiment):
    directory = experiment.system("audiollm", "A", 0.1)
    experiment.embeddings(directory, id="u/1", positions=9, width=8)
    embeddings = read_embeddings(directory / "embeddings.npz")
    assert list(embeddings) == ["u/1"]
    one = embeddings["u/1"]
    assert one.audio_PD.shape == (9, 8) and one.tokens == ("▁two", "▁plus", "▁$three")
    panel = plot_similarity([("A", one)], 0.72).axes[0]
    assert panel.get_xlim() == (0, 0.72)
    assert [label.get_text() for label in panel.get_yticklabels()][:2] == ["▁two", "▁plus"]


def test_bad_embeddings(tmp_path):
    np.savez(
        tmp_path / "e.npz",
        **{
            "u/audio": np.zeros((3, 4)),
            "u/text": np.zeros((2, 5)),
            "u/tokens": np.array(["a", "b"]),
        },
    )
    with pytest.raises(ValueError, match=r"u: audio \(3, 4\), text \(2, 5\)"):
        read_embeddings(tmp_path / "e.npz")
    np.savez(tmp_path / "f.npz", **{"u/audio": np.zeros((3, 4))})
    with pytest.raises(ValueError, match="u is damaged"):
        read_embeddings(tmp_path / "f.npz")
