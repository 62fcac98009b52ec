#!/usr/bin/env bash
# Speech-to-speech translation into English: ./run.sh --llm ID --commonvoice DIR [--lang es] [--version c]
set -euo pipefail
# shellcheck source=utils/corpus_option.sh
. "$(dirname "$(readlink -f "$0")")/utils/corpus_option.sh" commonvoice COMMONVOICE "$@"
take_option lang CVSS_LANG
take_option version CVSS_VERSION
voice=cvss_c # CVSS-C has one voice, CVSS-T those of the sources.
[ "${CVSS_VERSION:-c}" == c ] || voice=""

exec ./speechlm.sh \
    --language "${CVSS_LANG:-es}" --translation_language en \
    --spoken_translations true --translation_speaker "${voice}" \
    --ctc_config conf/train_ctc_25hz.yaml \
    --unit_source ctc:../audiollm1/exp/ctc_25hz:9 --unit_size 1024 --unit_hours 10 \
    "${arguments[@]}"
