#!/bin/sh
# The table of tasks: models fine-tuned on every task there are files for, several seeds each, with baselines.
#   ELECTRA_DATA=../shared/data OUT=runs/tasks sh experiments/tasks.sh [task ...]                        # shipped:mini, checkpoints/chinese-mini; four core hours
#   MODEL=public OUT=runs/tasks-public RECORD=experiments/records/tasks-public.json sh experiments/tasks.sh [task ...]      # all-MiniLM-L6-v2; ten core hours
#   MODEL=runs/adapted OUT=runs/tasks-adapted RECORD=... sh experiments/tasks.sh                        # another encoder, with the preset 'public'
# The same command resumes. SCHEDULE has the fine-tuning flags: the preset 'mini' with epochs by task for networks of this project's size, else 'public'.
set -eu
cd "$(dirname "$0")/.."
DATA=${ELECTRA_DATA:-../shared/data}
OUT=${OUT:-runs/tasks}
MODEL=${MODEL:-shipped:mini}
CHINESE=${CHINESE:-checkpoints/chinese-mini}
RECORD=${RECORD:-experiments/records/tasks.json}
WORKERS=${WORKERS:-2}
PATH=$(pwd)/.venv/bin:$PATH
mkdir -p "$OUT"
NAME=$MODEL
case $MODEL in
shipped:*) SCHEDULE=${SCHEDULE---preset mini} ENGLISH="cola mrpc wnli rte stsb chunk squad imdb sst2" OTHERS="tnews chnsenticorp cmrc2018 csl iflytek" ;;
public) SCHEDULE=${SCHEDULE---preset public --precision bf16} NAME=all-MiniLM-L6-v2 MODEL=$(python experiments/public_encoder.py) ;;
*) SCHEDULE=${SCHEDULE---preset public --precision bf16} ;;
esac
[ $# -gt 0 ] || set -- ${ENGLISH:-cola mrpc wnli rte stsb chunk squad sst2 imdb} ${OTHERS:-}

tune() { # task model seeds epochs (with the preset mini; else the preset's), then flags
    task=$1 model=$2 seeds=$3 epochs=$4
    shift 4
    case $SCHEDULE in *mini*) set -- "$@" --epochs "$epochs" ;; esac
    electra finetune "$task" --model "$model" --seeds "$seeds" --workers "$WORKERS" --output "$OUT/$task" $SCHEDULE "$@" --baselines --resume
}

for task in "$@"; do
    echo "== $task"
    case $task in
    cola) tune cola "$MODEL" 5 3 --data "$DATA/glue/CoLA" ;;
    mrpc) tune mrpc "$MODEL" 5 3 --data "$DATA/glue/MRPC" ;;
    wnli) tune wnli "$MODEL" 5 3 --data "$DATA/glue/WNLI" ;;
    rte) tune rte "$MODEL" 5 5 --data "$DATA/glue/RTE" ;;
    stsb) tune stsb "$MODEL" 3 5 --data "$DATA/glue/STS-B" ;;
    sst2) tune sst2 "$MODEL" 3 2 --data "$DATA/glue/SST-2" ;;
    chunk) tune chunk "$MODEL" 3 3 --data "$DATA/conll2000" ;;
    imdb) tune imdb "$MODEL" 3 1 --data "$DATA/imdb/aclImdb_v1.tar.xz" --truncate head-tail ;;
    squad) tune squad "$MODEL" 3 2 --train "$DATA/squad/train-subset-v1.1.json" --dev "$DATA/squad/dev-v1.1.json" ;;
    tnews) tune tnews "$CHINESE" 3 10 --data "$DATA/clue/FewCLUE/tnews" --fold few_all ;;
    csl) tune csl "$CHINESE" 3 5 --data "$DATA/clue/FewCLUE/csl" --fold few_all ;;
    iflytek) tune iflytek "$CHINESE" 2 5 --data "$DATA/clue/FewCLUE/iflytek" --fold few_all ;;
    chnsenticorp) tune chnsenticorp "$CHINESE" 2 2 --data "$DATA/clue/ChnSentiCorp" ;;
    # CMRC's training file is not there: its dev set trains, its trial set judges.
    cmrc2018) tune cmrc2018 "$CHINESE" 2 1 --train "$DATA/cmrc2018/dev.json" --dev "$DATA/cmrc2018/trial.json" ;;
    *) echo "unknown task '$task'" >&2; exit 2 ;;
    esac
    python experiments/task_table.py "$OUT" --model "$NAME" --chinese "$CHINESE" --record "$RECORD"
done
