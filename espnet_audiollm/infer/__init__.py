"""Generation, recognition, and the systems' answers."""
