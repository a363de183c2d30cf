"""The miniature corpora of tests/fixtures/sources: one module a source, made by scripts/make_mini_corpora.py."""
