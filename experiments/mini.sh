#!/bin/sh
# The `mini` record, from raw text to scores, and the small Chinese model, on two CPU cores: about seven hours in all, every step resumes when this is run again.
#   ELECTRA_DATA=../shared/data OUT=runs sh experiments/mini.sh [vocab] [shards] [electra] [mlm] [paper] [evaluate] [sst2] [zh]
# Run nothing else on the machine: trainings and timings need all cores.
set -eu
cd "$(dirname "$0")/.."
DATA=${ELECTRA_DATA:-../shared/data}
OUT=${OUT:-runs}
PATH=$(pwd)/.venv/bin:$PATH
mkdir -p "$OUT"
[ $# -gt 0 ] || set -- vocab shards electra mlm paper evaluate sst2 zh

# The official folder; only its unlabelled reviews are pre-training text.
reviews() {
    [ -d "$OUT/aclImdb/train/unsup" ] || tar -xJf "$DATA/imdb/aclImdb_v1.tar.xz" -C "$OUT" --wildcards 'aclImdb/train/unsup/*'
    echo "$OUT/aclImdb/train/unsup"
}

train() { # name preset
    if [ -d "$OUT/$1/final" ]; then return; fi
    if [ -e "$OUT/$1/config.toml" ]; then
        electra pretrain "$2" --output "$OUT/$1" --resume
    else
        electra pretrain "$2" --data "$OUT/shards-wiki" "$OUT/shards-imdb" --weights 1 2 --output "$OUT/$1" --budget 60m --threads 2
    fi
}

for part in "$@"; do
    echo "== $part"
    case $part in
    vocab) [ -e "$OUT/vocab/vocab.txt" ] || electra vocab "$DATA/corpus-en" "$(reviews)" --size 8192 --output "$OUT/vocab" ;;
    shards)
        [ -e "$OUT/shards-wiki/manifest.json" ] || electra prepare "$DATA/corpus-en" --tokenizer "$OUT/vocab" --output "$OUT/shards-wiki" --workers 2
        [ -e "$OUT/shards-imdb/manifest.json" ] || electra prepare "$(reviews)" --tokenizer "$OUT/vocab" --output "$OUT/shards-imdb" --workers 2
        ;;
    electra) train mini mini ;;
    mlm) train mini-mlm mini-mlm ;;
    paper) train mini-paper mini-paper ;;
    evaluate)
        electra evaluate "$OUT/mini" --data "$OUT/shards-wiki" "$OUT/shards-imdb" --corruption "$OUT/fixed.npz"
        electra plot "$OUT/mini" --x tokens --output "$OUT/mini.png"
        python experiments/equal_hours.py --corruption "$OUT/fixed.npz" --run "mini=$OUT/mini" --run "mini-paper=$OUT/mini-paper" --run "mini-mlm=$OUT/mini-mlm"
        electra plot "$OUT/mini" "$OUT/mini-mlm" "$OUT/mini-paper" --x tokens --metrics masked_lm_loss disc_loss disc_auc \
            --output "$OUT/equal-hours.png"
        ;;
    sst2)
        python experiments/sst2_after_pretraining.py --data "$DATA/glue/SST-2" --output "$OUT/sst2" --seeds 5 --preset mini --threads 2 --start "electra=$OUT/mini/final" \
            --start "random=random:$OUT/mini/final" --start "mlm=$OUT/mini-mlm/final" --start "paper=$OUT/mini-paper/final"
        ;;
    zh)
        [ -e "$OUT/shards-zh/manifest.json" ] ||
            electra prepare "$DATA/corpus-zh" --tokenizer "$DATA/vocab/zh.txt" --output "$OUT/shards-zh" --words chinese --workers 2
        [ -d "$OUT/chinese-mini/final" ] || electra pretrain chinese-mini --data "$OUT/shards-zh" --output "$OUT/chinese-mini" --num-train-steps 4800
        electra evaluate "$OUT/chinese-mini" --data "$OUT/shards-zh"
        ;;
    *) echo "unknown part '$part'; known: vocab shards electra mlm paper evaluate sst2 zh" >&2; exit 2 ;;
    esac
done
