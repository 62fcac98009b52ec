"""The page on which a recipe author listens to a corpus."""
