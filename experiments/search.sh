#!/bin/sh
# Search and similarity, measured: STS-B, and SQuAD 1.1 as retrieval (questions of dev-v1.1 to its 2,067 paragraphs). Finished steps are kept:
#
#   ELECTRA_DATA=../shared/data sh experiments/search.sh            all steps, an estimated two hours of two idle cores (so far run in pieces)
#   OUT=runs/search THREADS=1 sh experiments/search.sh sts          one step: data, sts, vectors, reranker, table
#
# MODEL: the public encoder to start from (a folder; experiments/public_encoder.py fetches it). OWN: an ELECTRA of this project.
# The record is experiments/records/search.json; docs/embeddings.md has its tables (python bench/docs_tables.py).
set -eu
OUT=${OUT:-runs/search}
DATA=${ELECTRA_DATA:-../shared/data}
MODEL=${MODEL:-runs/public}
OWN=${OWN:-shipped:mini}
THREADS=${THREADS:-0}
PYTHON=${PYTHON:-.venv/bin/python}
electra() { "$PYTHON" -m electra "$@"; }
steps=${*:-data sts vectors reranker table}
train="--precision bf16 --threads $THREADS"
mkdir -p "$OUT"

step() { case " $steps " in *" $1 "*) [ ! -e "$OUT/$2" ] ;; *) false ;; esac; }

if step data squad/qrels/test.tsv; then
  "$PYTHON" experiments/squad_retrieval.py "$DATA/squad" "$OUT/squad"
fi

# STS-B: the vectors as they are (the mean of the last layer), then after training on its pairs; the layer is chosen on dev where it says so.
sts="--text sentence1 --text-pair sentence2 --label score --threads $THREADS"
for name in own public; do
  if [ "$name" = own ]; then model=$OWN; more="--layers auto --learning-rate 3e-4 --epochs 10"; else model=$MODEL; more="--preset public --epochs 4"; fi
  if step sts "sts-$name-before.json"; then
    electra evaluate "$model" --task embed --data "$DATA/glue/STS-B/dev.tsv" $sts --json > "$OUT/part"
    mv "$OUT/part" "$OUT/sts-$name-before.json"
  fi
  for seed in 1 2 3; do
    if step sts "sts-$name-$seed.json"; then
      rm -rf "$OUT/sts-$name-$seed"
      electra finetune embed --model "$model" --train "$DATA/glue/STS-B/train.tsv" --dev "$DATA/glue/STS-B/dev.tsv" --text-columns sentence1 sentence2 \
        --label score --max-length 64 --output "$OUT/sts-$name-$seed" --seed "$seed" $more $train
      electra evaluate "$OUT/sts-$name-$seed" --task embed --data "$DATA/glue/STS-B/dev.tsv" $sts --json > "$OUT/part"
      mv "$OUT/part" "$OUT/sts-$name-$seed.json"
    fi
  done
done

# Vectors for SQuAD: pairs, 64 of them compared with each other.
if step vectors vectors/best; then
  rm -rf "$OUT/vectors"
  electra finetune embed --model "$MODEL" --preset public --train "$OUT/squad/train.jsonl" --dev "$OUT/squad/dev.jsonl" --max-length 256 \
    --batch-size 16 --accumulation 4 --epochs 2 --learning-rate 5e-5 --output "$OUT/vectors" $train
fi

# A re-ranker: the three paragraphs that BM25 finds first for each question, besides the right one.
if step reranker mined.jsonl; then
  electra mine "$OUT/squad/train.jsonl" --num-negatives 3 --candidates 3 --output "$OUT/mined.jsonl"
fi
if step reranker mined-dev.jsonl; then
  electra mine "$OUT/squad/dev.jsonl" --num-negatives 9 --candidates 9 --output "$OUT/mined-dev.jsonl"
fi
if step reranker reranker/best; then
  rm -rf "$OUT/reranker"
  electra finetune rerank --model "$MODEL" --preset public --head transformers --train "$OUT/mined.jsonl" --dev "$OUT/mined-dev.jsonl" --max-length 192 \
    --batch-size 8 --epochs 1 --output "$OUT/reranker" $train
fi

# BM25, vectors before and after, both together, and the re-ranker on the first twenty of each, alone and with the search's scores; the same thousand
# questions for all.
if step table search-before/report.json; then
  electra evaluate "$MODEL" --task retrieval --data "$OUT/squad" --split test --num-examples 1000 $train --report "$OUT/search-before"
fi
if step table search-after/report.json; then
  electra evaluate "$OUT/vectors" --task retrieval --data "$OUT/squad" --split test --num-examples 1000 --reranker "$OUT/reranker" --candidates 20 --fuse \
    $train --report "$OUT/search-after"
fi
if step table nothing; then
  "$PYTHON" experiments/search_record.py "$OUT" experiments/records/search.json
fi
