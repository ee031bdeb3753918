"""`python -m tests.bench_wait`, which is in tests/bench/wait.py."""

from tests.bench.wait import main

if __name__ == "__main__":
    main()
