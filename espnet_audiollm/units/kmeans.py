"""K-means over frames of speech, by scikit-learn."""

# N frames, C their width, K centroids

from __future__ import annotations

import numpy as np

BATCH = 10_000  # frames of an update: more than any K in use
PASSES = 20  # over the frames, at most
FIRST = 10  # frames a cluster, among which the first centroids are sought (k-means++)


def learn_centroids(frames_NC: np.ndarray, size: int, seed: int = 0) -> np.ndarray:
    """(K, C) float32 centroids of `size` clusters; the seed decides them.

    Errors (ValueError): fewer different frames than clusters, or frames that are no numbers."""
    from sklearn.cluster import MiniBatchKMeans

    if size < 2:
        raise ValueError(f"{size} units: at least 2")
    if not np.isfinite(frames_NC).all():
        raise ValueError("some frames are not numbers (inf or nan): train the encoder again")
    different = len(np.unique(frames_NC[: max(10 * size, 1000)], axis=0))
    if different < size:
        different = len(np.unique(frames_NC, axis=0))
    if different < size:
        raise ValueError(
            f"{different} different frames of {len(frames_NC)} do not make {size} units: give more "
            "audio (--max_hours, a larger --data), or a smaller --size"
        )
    clusters = MiniBatchKMeans(
        size,
        batch_size=BATCH,
        max_iter=PASSES,
        init_size=FIRST * size,
        n_init=3,
        random_state=seed,
        compute_labels=False,
    )
    return clusters.fit(frames_NC).cluster_centers_.astype(np.float32)
