#!/bin/sh
# The bundled models, from raw text: reviews and Wikipedia -> vocabulary -> shards -> pre-training (120 M tokens, two to three hours of two CPU cores) ->
# fine-tuning on SST-2 over five seeds -> artifacts, scores, bias probe, card -> electra/bundled. `make model` runs it; every step resumes
# and can be run alone:
#   ELECTRA_DATA=../shared/data OUT=runs/model sh experiments/model.sh [vocab] [shards] [pretrain] [evaluate] [sst2] [random] [ship]
# Results made elsewhere: VOCAB=, WIKI=, IMDB= (shards), RUN= (pre-training), FIXED= (a corruption set, to compare runs). A trial in minutes: BUDGET=2m SEEDS=1 EPOCHS=0.05 SHIPPED=/tmp/shipped RECORD=/tmp/record
# With BUDGET= run nothing else on the machine: the budget is wall-clock time.
set -eu
cd "$(dirname "$0")/.."
DATA=${ELECTRA_DATA:-../shared/data}
OUT=${OUT:-runs/model}
VOCAB=${VOCAB:-$OUT/vocab}
WIKI=${WIKI:-$OUT/shards-wiki}
IMDB=${IMDB:-$OUT/shards-imdb}
RUN=${RUN:-$OUT/pretrained}
FIXED=${FIXED:-$OUT/fixed.npz}
PRESET=${PRESET:-mini-ship}
BUDGET=${BUDGET:-}
SEEDS=${SEEDS:-1 2 3 4 5}
EPOCHS=${EPOCHS:-}
REMARK=${REMARK:-}
THREADS=${THREADS:-2}
SHIPPED=${SHIPPED:-electra/bundled}
RECORD=${RECORD:-experiments/records/shipped}
PATH=$(pwd)/.venv/bin:$PATH
mkdir -p "$OUT"
[ $# -gt 0 ] || set -- vocab shards pretrain evaluate sst2 random ship

# The official folder; only its unlabelled reviews are pre-training text.
reviews() {
    [ -e "$OUT/aclImdb/unpacked" ] || { tar -xJf "$DATA/imdb/aclImdb_v1.tar.xz" -C "$OUT" --wildcards 'aclImdb/train/unsup/*' && touch "$OUT/aclImdb/unpacked"; }
    echo "$OUT/aclImdb/train/unsup"
}

# A run for every seed, so that the weights of each are kept and the median one can be shipped.
tune() { # name model
    for seed in $SEEDS; do
        [ -e "$OUT/$1/seed-$seed/scores.json" ] || electra finetune sst2 --preset mini --model "$2" --data "$DATA/glue/SST-2" --seed "$seed" \
            --threads "$THREADS" --output "$OUT/$1/seed-$seed" ${EPOCHS:+--epochs "$EPOCHS"} --resume
    done
}

for part in "$@"; do
    echo "== $part"
    case $part in
    vocab) [ -e "$VOCAB/vocab.txt" ] || electra vocab "$DATA/corpus-en" "$(reviews)" --size 8192 --output "$VOCAB" ;;
    shards)
        [ -e "$WIKI/manifest.json" ] || electra prepare "$DATA/corpus-en" --tokenizer "$VOCAB" --output "$WIKI" --workers 2
        [ -e "$IMDB/manifest.json" ] || electra prepare "$(reviews)" --tokenizer "$VOCAB" --output "$IMDB" --workers 2
        ;;
    pretrain)
        if [ -d "$RUN/final" ]; then continue; fi
        if [ -e "$RUN/config.toml" ]; then
            electra pretrain "$PRESET" --output "$RUN" --resume
        else
            electra pretrain "$PRESET" --data "$WIKI" "$IMDB" --output "$RUN" --threads "$THREADS" ${BUDGET:+--budget "$BUDGET"}
        fi
        ;;
    evaluate)
        if [ -e "$OUT/evaluation.json" ]; then continue; fi
        electra evaluate "$RUN" --data "$WIKI" "$IMDB" --corruption "$FIXED" --json > "$OUT/evaluation.json.new"
        mv "$OUT/evaluation.json.new" "$OUT/evaluation.json"
        ;;
    sst2) tune sst2 "$RUN/final" ;;
    random) tune random "random:$RUN/final" ;;
    ship)
        python experiments/ship.py --pretrained "$RUN" --finetuned "$OUT"/sst2/seed-* --random "$OUT"/random/seed-* --data "$DATA/glue/SST-2" \
            --evaluation "$OUT/evaluation.json" --output "$SHIPPED" --record "$RECORD" ${REMARK:+--remark "$REMARK"}
        ;;
    *) echo "unknown part '$part'; known: vocab shards pretrain evaluate sst2 random ship" >&2; exit 2 ;;
    esac
done
