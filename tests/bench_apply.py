"""`python -m tests.bench_apply`, which is in tests/bench/apply.py."""

from tests.bench.apply import main

if __name__ == "__main__":
    main()
