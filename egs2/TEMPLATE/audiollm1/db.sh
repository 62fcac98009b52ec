# shellcheck shell=bash disable=SC2034
# Where corpora lie on this machine. Empty or absent: the recipe asks for it by an option, or
# downloads to downloads/ where there is a network.

LIBRISPEECH="${LIBRISPEECH:-}" # Directory that holds train-clean-100, dev-clean, test-clean, ...
FSDD="${FSDD:-}"               # Directory of the Free Spoken Digit Dataset, with recordings/.
