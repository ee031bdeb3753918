"""`python -m tests.bench_completion`, which is in tests/bench/completion.py."""

from tests.bench.completion import main

if __name__ == "__main__":
    main()
