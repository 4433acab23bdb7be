#!/bin/sh
# The ablations of the documentation: ELECTRA and BERT from scratch on Wikipedia, then SST-2; and both continued from the bundled model, on IMDb's
# unlabelled reviews, then IMDb.
#   ELECTRA_DATA=../shared/data OUT=runs/ablations sh experiments/ablation.sh [scratch] [imdb] [record]
# Every part continues where it stopped. Run nothing else meanwhile: training is timed, and one of the comparisons is at equal time.
# A trial in minutes: SCRATCH=15m IMDB=15m RECORD=runs/record IMAGES=runs/images sh experiments/ablation.sh
set -eu
cd "$(dirname "$0")/.."
DATA=${ELECTRA_DATA:-../shared/data}
OUT=${OUT:-runs/ablations}
SCRATCH=${SCRATCH:-75m}
IMDB=${IMDB:-35m}
INIT=${INIT:-shipped:mini}
PRECISION=${PRECISION:-bf16} # faster on processors with bf16 matmuls; fp32 elsewhere
RECORD=${RECORD:-experiments/records/ablation}
IMAGES=${IMAGES:-docs/images}
PATH=$(pwd)/.venv/bin:$PATH
mkdir -p "$OUT"

again() { # the flag of an ablation that was started before
    [ ! -e "$OUT/$1/config.toml" ] || echo --resume
}

[ $# -gt 0 ] || set -- scratch imdb record

for part in "$@"; do
    echo "== $part"
    case $part in
    scratch)
        [ -e "$OUT/shards/manifest.json" ] || electra prepare "$DATA/corpus-en" --tokenizer electra/bundled/mini --output "$OUT/shards" --workers 2
        electra ablate scratch --data "$OUT/shards" --task-data "$DATA/glue/SST-2" --precision "$PRECISION" --budget "$SCRATCH" \
            --output "$OUT/scratch" $(again scratch)
        ;;
    imdb)
        electra ablate imdb --data "$DATA/imdb/aclImdb_v1.tar.xz" --precision "$PRECISION" --budget "$IMDB" \
            --init "$INIT" --preset mini --points 2 --output "$OUT/imdb" $(again imdb)
        ;;
    record) python experiments/ablation_record.py "$OUT" --records "$RECORD" --images "$IMAGES" ;;
    *)
        echo "$part: no such part (scratch, imdb, record)" >&2
        exit 2
        ;;
    esac
done
