#!/bin/sh
# The bundled models, from a public encoder (experiments/public_encoder.py, or ENCODER=, such as one continued on more text):
#   sentiment   the encoder at full size, fine-tuned on SST-2 with counterfactual rows, several seeds, the median one in int8
#   encoder     a student with a smaller vocabulary: the encoder trimmed, its hidden states distilled into 4 layers of 256; in int8
#   detector    on request (parts `detector evaluate`): replaced-token detection continued from the student, with a small generator: an int8 artifact, and
#   and mini    the fp16 checkpoint of both. The bundled ones are of the preset mini-ship, which is better so far: docs/log.md
# -> electra/bundled and its record. `make model` runs it: about three hours of two CPU cores with bf16 (trim and shards 2 minutes; one thread: student 70 minutes, a
# seed of sentiment 27; detector 20; bundle 5). Every step resumes and can be run alone:
#   ELECTRA_DATA=../shared/data OUT=runs/model sh experiments/model.sh [trim] [shards] [student] [detector] [evaluate] [balanced] [sst2] [bundle]
# Made elsewhere: TEXTS=, REVIEWS= (folders of text), WIKI=, IMDB= (shards with the trimmed vocabulary), STUDENT=, DETECTOR= (runs), CORRUPTION= (jsonl that detectors are scored on).
# A trial in minutes: STUDENT_LENGTH="--budget 1m" DETECTOR_LENGTH="--budget 1m" SEEDS=1 EPOCHS=0.02 TEXTS=one.txt REVIEWS=other.txt BUNDLED=/tmp/bundled RECORD=/tmp/record
# after: cp -r electra/bundled /tmp/bundled; cp -r experiments/records/bundled /tmp/record    (the models that are not made are kept from there)
# Lengths are counted in tokens, so that the training is the same on every machine. PRECISION=fp32 where the processor has no bf16.
set -eu
cd "$(dirname "$0")/.."
PATH=$(pwd)/.venv/bin:$PATH
DATA=${ELECTRA_DATA:-../shared/data}
OUT=${OUT:-runs/model}
SIZE=${SIZE:-8192}
TEXTS=${TEXTS:-$DATA/corpus-en}
WIKI=${WIKI:-$OUT/shards-wiki}
IMDB=${IMDB:-$OUT/shards-imdb}
STUDENT=${STUDENT:-$OUT/student}
DETECTOR=${DETECTOR:-$OUT/detector}
STUDENT_LENGTH=${STUDENT_LENGTH:---num-train-tokens 11M}
DETECTOR_LENGTH=${DETECTOR_LENGTH:---num-train-tokens 14M}
CORRUPTION=${CORRUPTION:-$OUT/words.jsonl}
AGAINST=${AGAINST:-}
BALANCED=${BALANCED:-$OUT/sst2-balanced}
SEEDS=${SEEDS:-1 2 3}
EPOCHS=${EPOCHS:-3}
PRECISION=${PRECISION:-bf16}
THREADS=${THREADS:-2}
REMARK=${REMARK:-}
BUNDLED=${BUNDLED:-electra/bundled}
RECORD=${RECORD:-experiments/records/bundled}
mkdir -p "$OUT"
[ $# -gt 0 ] || set -- trim shards student balanced sst2 bundle

# The encoder, fetched once.
encoder() {
    [ -e "$OUT/encoder.txt" ] || echo "${ENCODER:-$(python experiments/public_encoder.py)}" > "$OUT/encoder.txt"
    cat "$OUT/encoder.txt"
}

# The official folder; only its unlabelled reviews are pre-training text.
reviews() {
    if [ -n "${REVIEWS:-}" ]; then echo "$REVIEWS"; return; fi
    [ -e "$OUT/aclImdb/unpacked" ] || { tar -xJf "$DATA/imdb/aclImdb_v1.tar.xz" -C "$OUT" --wildcards 'aclImdb/train/unsup/*' && touch "$OUT/aclImdb/unpacked"; }
    echo "$OUT/aclImdb/train/unsup"
}

train() { # preset output length flags...
    run=$2 length=$3 preset=$1
    shift 3
    if [ -d "$run/final" ]; then return; fi
    if [ -e "$run/config.toml" ]; then
        electra pretrain --resume "$run"
    else
        electra pretrain "$preset" --data "$WIKI" "$IMDB" --weights 1 1 --output "$run" $length --precision "$PRECISION" --threads "$THREADS" "$@"
    fi
}

for part in "$@"; do
    echo "== $part"
    case $part in
    trim)
        [ -e "$OUT/trimmed/config.json" ] || electra vocab "$TEXTS" "$(reviews)" --trim "$(encoder)" --size "$SIZE" --output "$OUT/trimmed" | tee "$OUT/trimmed.txt"
        ;;
    shards)
        [ -e "$WIKI/manifest.json" ] || electra prepare "$TEXTS" --tokenizer "$OUT/trimmed" --output "$WIKI" --workers "$THREADS"
        [ -e "$IMDB/manifest.json" ] || electra prepare "$(reviews)" --tokenizer "$OUT/trimmed" --output "$IMDB" --workers "$THREADS"
        ;;
    student) train student "$STUDENT" "$STUDENT_LENGTH" --teacher "$OUT/trimmed" --batch-size 16 ;;
    detector) train student-rtd "$DETECTOR" "$DETECTOR_LENGTH" --init "$STUDENT/final" ;;
    evaluate)
        # Words that a masked LM replaced which is no detector's generator; AGAINST= another detector, such as the one bundled until now.
        if [ -e "$OUT/evaluation.json" ]; then continue; fi
        [ -e "$CORRUPTION" ] || python experiments/corruption.py join "$CORRUPTION" --data "$DATA/wikitext2/test.txt"
        electra evaluate "$DETECTOR/final" --corruption "$CORRUPTION" ${AGAINST:+--against "$AGAINST"} --json > "$OUT/evaluation.json.new"
        mv "$OUT/evaluation.json.new" "$OUT/evaluation.json"
        ;;
    balanced) [ -e "$BALANCED/train.tsv" ] || python experiments/counterfactual.py "$DATA/glue/SST-2" "$BALANCED" ;;
    sst2)
        # A run for every seed, so that the weights of each are kept and the median one can be bundled.
        for seed in $SEEDS; do
            [ -e "$OUT/sst2/seed-$seed/scores.json" ] || electra finetune sst2 --preset public --model "$(encoder)" --data "$BALANCED" --calibrate --epochs "$EPOCHS" \
                --batch-size 128 --learning-rate 3e-4 --seed "$seed" --precision "$PRECISION" --threads "$THREADS" --output "$OUT/sst2/seed-$seed" --resume
        done
        ;;
    bundle)
        python experiments/ship.py --finetuned "$OUT"/sst2/seed-* --trimmed "$OUT/trimmed" --student "$STUDENT" \
            $([ ! -d "$DETECTOR/final" ] || echo "--detector $DETECTOR") $([ ! -e "$OUT/evaluation.json" ] || echo "--evaluation $OUT/evaluation.json") \
            --data "$DATA/glue" --output "$BUNDLED" --record "$RECORD" ${REMARK:+--remark "$REMARK"}
        ;;
    *) echo "unknown part '$part'; known: trim shards student detector evaluate balanced sst2 bundle" >&2; exit 2 ;;
    esac
done
