"""The page for raters, and the tables of what they say."""
