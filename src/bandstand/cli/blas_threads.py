"""One thread for numpy's linear algebra; imported before numpy is.

The matrices here have at most 256 rows. OpenBLAS would share a product of 128 with all cores, spinning until the last
one is done: five times the processor time, and on a machine that has other work, or a container with one core,
milliseconds instead of microseconds. Who has set it otherwise is left alone.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
