"""`python -m tests.bench_lists`, which is in tests/bench/lists.py."""

from tests.bench.lists import main

if __name__ == "__main__":
    main()
