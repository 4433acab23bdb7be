#!/bin/sh
# The table of tasks: an English and a Chinese model fine-tuned on every task there are files for, several seeds each, with baselines.
#   ELECTRA_DATA=../shared/data OUT=runs/tasks MODEL=shipped:mini CHINESE=checkpoints/chinese-mini sh experiments/tasks.sh [task ...]
# The same command resumes. For a better model set MODEL, and SCHEDULE= (empty) for the paper's hyperparameters, which do not suit networks of
# this size; about four core hours with the default models.
set -eu
cd "$(dirname "$0")/.."
DATA=${ELECTRA_DATA:-../shared/data}
OUT=${OUT:-runs/tasks}
MODEL=${MODEL:-shipped:mini}
CHINESE=${CHINESE:-checkpoints/chinese-mini}
SCHEDULE=${SCHEDULE---preset mini}
WORKERS=${WORKERS:-2}
PATH=$(pwd)/.venv/bin:$PATH
mkdir -p "$OUT"
[ $# -gt 0 ] || set -- cola mrpc wnli rte stsb chunk tnews chnsenticorp squad cmrc2018 csl iflytek imdb sst2

tune() { # task model seeds, then flags
    task=$1 model=$2 seeds=$3
    shift 3
    electra finetune "$task" --model "$model" --seeds "$seeds" --workers "$WORKERS" --output "$OUT/$task" $SCHEDULE "$@" --baselines --resume
}

for task in "$@"; do
    echo "== $task"
    case $task in
    cola) tune cola "$MODEL" 5 --data "$DATA/glue/CoLA" --epochs 3 ;;
    mrpc) tune mrpc "$MODEL" 5 --data "$DATA/glue/MRPC" --epochs 3 ;;
    wnli) tune wnli "$MODEL" 5 --data "$DATA/glue/WNLI" --epochs 3 ;;
    rte) tune rte "$MODEL" 3 --data "$DATA/glue/RTE" --epochs 5 ;;
    stsb) tune stsb "$MODEL" 3 --data "$DATA/glue/STS-B" --epochs 5 ;;
    sst2) tune sst2 "$MODEL" 5 --data "$DATA/glue/SST-2" ;;
    chunk) tune chunk "$MODEL" 3 --data "$DATA/conll2000" --epochs 3 ;;
    imdb) tune imdb "$MODEL" 2 --data "$DATA/imdb/aclImdb_v1.tar.xz" --epochs 1 --truncate head-tail ;;
    squad) tune squad "$MODEL" 2 --train "$DATA/squad/train-subset-v1.1.json" --dev "$DATA/squad/dev-v1.1.json" --epochs 2 ;;
    tnews) tune tnews "$CHINESE" 3 --data "$DATA/clue/FewCLUE/tnews" --fold few_all --epochs 10 ;;
    csl) tune csl "$CHINESE" 3 --data "$DATA/clue/FewCLUE/csl" --fold few_all --epochs 5 ;;
    iflytek) tune iflytek "$CHINESE" 2 --data "$DATA/clue/FewCLUE/iflytek" --fold few_all --epochs 5 ;;
    chnsenticorp) tune chnsenticorp "$CHINESE" 2 --data "$DATA/clue/ChnSentiCorp" --epochs 2 ;;
    # CMRC's training file is not there: its dev set trains, its trial set judges.
    cmrc2018) tune cmrc2018 "$CHINESE" 2 --train "$DATA/cmrc2018/dev.json" --dev "$DATA/cmrc2018/trial.json" --epochs 1 ;;
    *) echo "unknown task '$task'" >&2; exit 2 ;;
    esac
done
python experiments/task_table.py "$OUT" --model "$MODEL" --chinese "$CHINESE"
