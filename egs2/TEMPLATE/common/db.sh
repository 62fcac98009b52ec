# shellcheck shell=bash disable=SC2034
# Where corpora lie on this machine. Empty or absent: the recipe asks for it by an option, or
# downloads to downloads/ where there is a network.

AN4="${AN4:-}"                   # Directory of CMU's AN4, with etc/ and wav/.
COMMONVOICE="${COMMONVOICE:-}"   # Directory of a Common Voice release, with a directory a language.
COVOST2="${COVOST2:-}"           # Directory of CoVoST 2's covost_v2.*_*.tsv.
CVSS="${CVSS:-}"                 # Directory of CVSS's unpacked cvss_{c,t}_*_en_v1.0.
FSDD="${FSDD:-}"                 # Directory of the Free Spoken Digit Dataset, with recordings/.
LIBRISPEECH="${LIBRISPEECH:-}"   # Directory that holds train-clean-100, dev-clean, test-clean, ...
MLS_ENGLISH="${MLS_ENGLISH:-}"   # Directory of Multilingual LibriSpeech's English: train, dev, test.
SPOKEN_SQUAD="${SPOKEN_SQUAD:-}" # Directory of spoken_train-v1.1.json and Spoken-SQuAD_audio/.
TRIVIAQA="${TRIVIAQA:-}"         # Directory of TriviaQA, with qa/ or triviaqa-unfiltered/.
VOXPOPULI="${VOXPOPULI:-}"       # Directory of VoxPopuli, with transcribed_data/.
WEBQUESTIONS="${WEBQUESTIONS:-}" # Directory of trainmodel.json, val.json, devtest.json, test.json.
