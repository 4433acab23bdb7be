"""`python -m electra`, which is how torchrun starts it: torchrun --nproc-per-node 2 -m electra pretrain ..."""

import sys

from electra.cli import main

if __name__ == "__main__":
    sys.exit(main())
