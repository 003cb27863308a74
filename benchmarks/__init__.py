"""This package knows what the product costs and what it finds, in figures.

Its programs calculate on one thread each, as the agents do; that is said here because it must be said before numpy.
"""

import os

for _threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_threads, "1")
