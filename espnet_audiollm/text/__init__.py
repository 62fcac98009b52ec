"""Texts: normalisation by language, numbers, tokens, casing."""
